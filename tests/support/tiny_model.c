/* See tiny_model.h. SPDX-License-Identifier: Apache-2.0 */
#include "tiny_model.h"

#include <dirent.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "qep/safetensors.h"

static qep_status add(qep_st_layout *l, const tiny_model *m, const char *name, int64_t rows, int64_t cols)
{
    const int64_t shape[2] = {rows, cols};
    return qep_st_layout_add(l, name, m->dtype, cols > 0 ? 2 : 1, shape);
}

static qep_status add_linear(qep_st_layout *l, const tiny_model *m, int64_t b, const char *role, int64_t rows, int64_t cols)
{
    char name[128];
    snprintf(name, sizeof name, "model.layers.%lld.%s.weight", (long long)b, role);
    QEP_TRY(add(l, m, name, rows, cols));
    if (!m->bias || strncmp(role, "self_attn", 9) != 0) return QEP_OK;
    snprintf(name, sizeof name, "model.layers.%lld.%s.bias", (long long)b, role);
    return add(l, m, name, rows, 0);
}

static int64_t head_dim(const tiny_model *m)
{
    return m->head_dim > 0 ? m->head_dim : m->hidden / m->heads;
}

static qep_status add_block(qep_st_layout *l, const tiny_model *m, int64_t b)
{
    int64_t q = m->heads * head_dim(m), kv = m->kv_heads * head_dim(m);
    char name[128];
    snprintf(name, sizeof name, "model.layers.%lld.input_layernorm.weight", (long long)b);
    QEP_TRY(add(l, m, name, m->hidden, 0));
    QEP_TRY(add_linear(l, m, b, "self_attn.q_proj", q, m->hidden));
    QEP_TRY(add_linear(l, m, b, "self_attn.k_proj", kv, m->hidden));
    QEP_TRY(add_linear(l, m, b, "self_attn.v_proj", kv, m->hidden));
    QEP_TRY(add_linear(l, m, b, "self_attn.o_proj", m->hidden, q));
    snprintf(name, sizeof name, "model.layers.%lld.post_attention_layernorm.weight", (long long)b);
    QEP_TRY(add(l, m, name, m->hidden, 0));
    QEP_TRY(add_linear(l, m, b, "mlp.gate_proj", m->inter, m->hidden));
    QEP_TRY(add_linear(l, m, b, "mlp.up_proj", m->inter, m->hidden));
    return add_linear(l, m, b, "mlp.down_proj", m->hidden, m->inter);
}

static qep_status add_all(qep_st_layout *l, const tiny_model *m)
{
    QEP_TRY(add(l, m, "model.embed_tokens.weight", m->vocab, m->hidden));
    for (int64_t b = 0; b < m->blocks; b++) QEP_TRY(add_block(l, m, b));
    QEP_TRY(add(l, m, "model.norm.weight", m->hidden, 0));
    return m->tied ? QEP_OK : add(l, m, "lm_head.weight", m->vocab, m->hidden);
}

/* Matrices keep the size of what they multiply; norms are near 1, biases small. */
static qep_status fill(const tiny_model *m, qep_st_writer *w, const qep_st_tensor *t, int64_t number)
{
    const char *tail = strrchr(t->name, '.');
    bool norm = strstr(t->name, "norm.weight") != NULL, bias = strcmp(tail, ".bias") == 0;
    bool embed = strcmp(t->name, "model.embed_tokens.weight") == 0;
    int64_t n = t->bytes / qep_dtype_size(t->dtype);
    double scale = norm || bias ? 0.1 : embed ? 1.0 : 1.0 / sqrt((double)t->shape[1]);
    float *x = qep_alloc("test.tiny", n, sizeof *x);
    void *raw = qep_alloc("test.tiny", t->bytes, 1);
    qep_rng rng;
    qep_rng_seed(&rng, m->seed * 1000003u + (uint64_t)number);
    for (int64_t i = 0; i < n; i++) x[i] = (float)((norm ? 1.0 : 0.0) + scale * qep_rng_normal(&rng));
    qep_from_f32(raw, t->dtype, x, n);
    qep_status st = qep_st_write(w, t, 0, t->bytes, raw);
    qep_free(raw);
    qep_free(x);
    return st;
}

static qep_status write_text(const char *dir, const char *name, const char *text)
{
    char *path = qep_path_join(dir, name);
    qep_status st = qep_file_write(path, text, (int64_t)strlen(text));
    qep_free(path);
    return st;
}

static const char *dtype_name(qep_dtype t)
{
    return t == QEP_F32 ? "float32" : t == QEP_F16 ? "float16" : "bfloat16";
}

static qep_status write_config(const char *dir, const tiny_model *m)
{
    char *text = qep_strf("test.tiny",
                          "{\n  \"architectures\": [\"LlamaForCausalLM\"],\n  \"model_type\": \"llama\",\n"
                          "  \"attention_bias\": %s,\n  \"mlp_bias\": false,\n  \"head_dim\": %lld,\n"
                          "  \"hidden_act\": \"silu\",\n  \"hidden_size\": %lld,\n  \"intermediate_size\": %lld,\n"
                          "  \"max_position_embeddings\": 2048,\n  \"num_attention_heads\": %lld,\n"
                          "  \"num_hidden_layers\": %lld,\n  \"num_key_value_heads\": %lld,\n"
                          "  \"rms_norm_eps\": 1e-05,\n  \"rope_theta\": 10000.0,\n"
                          "  \"tie_word_embeddings\": %s,\n  \"torch_dtype\": \"%s\",\n  \"vocab_size\": %lld\n}\n",
                          m->bias ? "true" : "false", (long long)head_dim(m), (long long)m->hidden,
                          (long long)m->inter, (long long)m->heads, (long long)m->blocks, (long long)m->kv_heads,
                          m->tied ? "true" : "false", dtype_name(m->dtype), (long long)m->vocab);
    qep_status st = write_text(dir, "config.json", text);
    qep_free(text);
    return st;
}

/* Bytes a shard of all, so that about m->shards of them come out. */
static int64_t shard_bytes(const tiny_model *m)
{
    int64_t q = m->heads * head_dim(m), kv = m->kv_heads * head_dim(m);
    int64_t n = m->blocks * (2 * m->hidden * (q + kv) + 3 * m->hidden * m->inter + 2 * m->hidden);
    n += (m->tied ? 1 : 2) * m->vocab * m->hidden + m->hidden;
    return n * qep_dtype_size(m->dtype) / m->shards + (m->shards == 1 ? INT64_C(1) << 20 : 0);
}

qep_status tiny_model_write(const char *dir, const tiny_model *m)
{
    qep_status st = QEP_OK;
    qep_st_layout *l = qep_st_layout_create();
    qep_st_writer *w = NULL;
    char *index = NULL;
    QEP_GO(st, qep_dir_make(dir));
    QEP_GO(st, write_config(dir, m));
    QEP_GO(st, add_all(l, m));
    QEP_GO(st, qep_st_layout_finish(l, shard_bytes(m)));
    QEP_GO(st, qep_st_layout_create_files(l, dir, ""));
    QEP_GO(st, qep_st_writer_open(l, dir, "", &w));
    for (int64_t i = 0; i < qep_st_layout_count(l); i++) QEP_GO(st, fill(m, w, qep_st_layout_at(l, i), i));
    QEP_GO(st, qep_st_writer_close(&w));
    index = qep_st_layout_index_text(l);
    if (index) st = write_text(dir, "model.safetensors.index.json", index);
done:
    if (w) (void)!qep_st_writer_close(&w);
    qep_free(index);
    qep_st_layout_destroy(&l);
    return st;
}

void tiny_remove_dir(const char *dir)
{
    DIR *d = opendir(dir);
    if (!d) return;
    for (struct dirent *f = readdir(d); f; f = readdir(d)) {
        if (strcmp(f->d_name, ".") == 0 || strcmp(f->d_name, "..") == 0) continue;
        char *path = qep_path_join(dir, f->d_name);
        struct stat sb;
        if (lstat(path, &sb) == 0 && S_ISDIR(sb.st_mode)) tiny_remove_dir(path);
        else unlink(path);
        qep_free(path);
    }
    closedir(d);
    rmdir(dir);
}
