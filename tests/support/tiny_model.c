/* See tiny_model.h. SPDX-License-Identifier: Apache-2.0 */
#include "tiny_model.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "qep/safetensors.h"

static qep_status add(qep_st_layout *l, const tiny_model *m, const char *name, int64_t rows, int64_t cols)
{
    const int64_t shape[2] = {rows, cols};
    return qep_st_layout_add(l, name, m->dtype, cols > 0 ? 2 : 1, shape);
}

/* What a family's files look like, written down here once more, by hand: nothing of the program is asked. NULL: none. */
typedef struct tiny_family {
    const char *model_type, *architecture;
    const char *keys; /* of config.json beside the common ones, each with a comma behind it */
    const char *norms[4];
    bool qkv_bias, stacked, head_norms, wide_norms;
    const char *moe, *parts[3]; /* mixture of experts: parent of router and experts; an expert's gate, up, down */
    const char *count_key;      /* of their number */
} tiny_family;

#define BEFORE {"input_layernorm", "post_attention_layernorm"}
#define AROUND {"input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"}
static const tiny_family families[] = {
    {"llama", "LlamaForCausalLM", "  \"hidden_act\": \"silu\",\n  \"mlp_bias\": false,\n", BEFORE, false, false, false, false, NULL, {NULL}, NULL},
    {"mistral", "MistralForCausalLM", "  \"hidden_act\": \"silu\",\n  \"sliding_window\": 9,\n", BEFORE, false, false, false, false, NULL, {NULL}, NULL},
    {"qwen2", "Qwen2ForCausalLM", "  \"use_sliding_window\": true,\n  \"sliding_window\": 9,\n  \"max_window_layers\": 1,\n", BEFORE, true, false,
     false, false, NULL, {NULL}, NULL},
    {"qwen3", "Qwen3ForCausalLM", "  \"hidden_act\": \"silu\",\n", BEFORE, false, false, true, false, NULL, {NULL}, NULL},
    {"phi3", "Phi3ForCausalLM",
     "  \"partial_rotary_factor\": 0.75,\n  \"rope_scaling\": {\"type\": \"su\", \"short_factor\": [1, 1, 1.1, 1.2, 1.3, 1.4], "
     "\"long_factor\": [1, 2, 3, 4, 5, 6]},\n  \"original_max_position_embeddings\": 24,\n",
     BEFORE, false, true, false, false, NULL, {NULL}, NULL},
    {"gemma2", "Gemma2ForCausalLM", "  \"query_pre_attn_scalar\": 24,\n  \"sliding_window\": 9,\n", AROUND, false, false, false, false, NULL, {NULL}, NULL},
    {"gemma3_text", "Gemma3ForCausalLM",
     "  \"query_pre_attn_scalar\": 16,\n  \"sliding_window\": 9,\n  \"sliding_window_pattern\": 2,\n  \"rope_local_base_freq\": 5000.0,\n",
     AROUND, false, false, true, false, NULL, {NULL}, NULL},
    {"olmo2", "Olmo2ForCausalLM", "  \"hidden_act\": \"silu\",\n", {"post_attention_layernorm", "post_feedforward_layernorm"}, false, false, true,
     true, NULL, {NULL}, NULL},
    {"mixtral", "MixtralForCausalLM", "  \"hidden_act\": \"silu\",\n", BEFORE, false, false, false, false, "block_sparse_moe", {"w1", "w3", "w2"},
     "num_local_experts"},
    {"qwen3_moe", "Qwen3MoeForCausalLM",
     "  \"moe_intermediate_size\": 32,\n  \"norm_topk_prob\": true,\n  \"mlp_only_layers\": [0],\n",
     BEFORE, false, false, true, false, "mlp", {"gate_proj", "up_proj", "down_proj"}, "num_experts"},
};
enum { QWEN_INTER = 32, PIECE = 1 << 20 };

static int64_t experts_of(const tiny_model *m)
{
    return m->experts > 0 ? m->experts : 5;
}

static const tiny_family *family_of(const tiny_model *m)
{
    for (size_t i = 0; m->family && i < sizeof families / sizeof families[0]; i++)
        if (strcmp(m->family, families[i].model_type) == 0) return &families[i];
    return &families[0];
}

static qep_status add_vector(qep_st_layout *l, const tiny_model *m, int64_t b, const char *what, int64_t n)
{
    char name[192];
    snprintf(name, sizeof name, "model.layers.%lld.%s", (long long)b, what);
    return add(l, m, name, n, 0);
}

static qep_status add_linear(qep_st_layout *l, const tiny_model *m, int64_t b, const char *role, int64_t rows, int64_t cols)
{
    char name[128];
    const bool attention = strncmp(role, "self_attn", 9) == 0, o = strcmp(role, "self_attn.o_proj") == 0;
    snprintf(name, sizeof name, "model.layers.%lld.%s.weight", (long long)b, role);
    QEP_TRY(add(l, m, name, rows, cols));
    if (!attention || !(m->bias || (family_of(m)->qkv_bias && !o))) return QEP_OK;
    snprintf(name, sizeof name, "%s.bias", role);
    return add_vector(l, m, b, name, rows);
}

static int64_t head_dim(const tiny_model *m)
{
    return m->head_dim > 0 ? m->head_dim : m->hidden / m->heads;
}

static qep_status add_attention(qep_st_layout *l, const tiny_model *m, int64_t b)
{
    const tiny_family *f = family_of(m);
    int64_t D = head_dim(m), q = m->heads * D, kv = m->kv_heads * D;
    if (f->head_norms) {
        QEP_TRY(add_vector(l, m, b, "self_attn.q_norm.weight", f->wide_norms ? q : D));
        QEP_TRY(add_vector(l, m, b, "self_attn.k_norm.weight", f->wide_norms ? kv : D));
    }
    if (f->stacked) {
        QEP_TRY(add_linear(l, m, b, "self_attn.qkv_proj", q + 2 * kv, m->hidden));
    } else {
        QEP_TRY(add_linear(l, m, b, "self_attn.q_proj", q, m->hidden));
        QEP_TRY(add_linear(l, m, b, "self_attn.k_proj", kv, m->hidden));
        QEP_TRY(add_linear(l, m, b, "self_attn.v_proj", kv, m->hidden));
    }
    return add_linear(l, m, b, "self_attn.o_proj", m->hidden, q);
}

static qep_status add_fused(qep_st_layout *l, const tiny_model *m, int64_t b, const char *part, int64_t rows, int64_t cols)
{
    char name[128];
    const int64_t shape[3] = {experts_of(m), rows, cols};
    snprintf(name, sizeof name, "model.layers.%lld.%s.experts.%s", (long long)b, family_of(m)->moe, part);
    return qep_st_layout_add(l, name, m->dtype, 3, shape);
}

/* inter: of one expert. */
static qep_status add_experts(qep_st_layout *l, const tiny_model *m, int64_t b, int64_t inter)
{
    const tiny_family *f = family_of(m);
    char name[96];
    snprintf(name, sizeof name, "%s.gate", f->moe);
    QEP_TRY(add_linear(l, m, b, name, experts_of(m), m->hidden));
    if (m->fused) {
        QEP_TRY(add_fused(l, m, b, "gate_up_proj", 2 * inter, m->hidden));
        return add_fused(l, m, b, "down_proj", m->hidden, inter);
    }
    for (int64_t e = 0; e < experts_of(m); e++)
        for (int k = 0; k < 3; k++) {
            snprintf(name, sizeof name, "%s.experts.%lld.%s", f->moe, (long long)e, f->parts[k]);
            QEP_TRY(add_linear(l, m, b, name, k < 2 ? inter : m->hidden, k < 2 ? m->hidden : inter));
        }
    return QEP_OK;
}

static qep_status add_block(qep_st_layout *l, const tiny_model *m, int64_t b)
{
    const tiny_family *f = family_of(m);
    char name[128];
    for (int n = 0; n < 4 && f->norms[n]; n++) {
        snprintf(name, sizeof name, "%s.weight", f->norms[n]);
        QEP_TRY(add_vector(l, m, b, name, m->hidden));
    }
    QEP_TRY(add_attention(l, m, b));
    const bool mixtral = strcmp(f->model_type, "mixtral") == 0;
    if (f->moe && (mixtral || b > 0)) return add_experts(l, m, b, mixtral ? m->inter : QWEN_INTER);
    if (f->stacked) {
        QEP_TRY(add_linear(l, m, b, "mlp.gate_up_proj", 2 * m->inter, m->hidden));
    } else {
        QEP_TRY(add_linear(l, m, b, "mlp.gate_proj", m->inter, m->hidden));
        QEP_TRY(add_linear(l, m, b, "mlp.up_proj", m->inter, m->hidden));
    }
    return add_linear(l, m, b, "mlp.down_proj", m->hidden, m->inter);
}

static qep_status add_all(qep_st_layout *l, const tiny_model *m)
{
    QEP_TRY(add(l, m, "model.embed_tokens.weight", m->vocab, m->hidden));
    for (int64_t b = 0; b < m->blocks; b++) QEP_TRY(add_block(l, m, b));
    QEP_TRY(add(l, m, "model.norm.weight", m->hidden, 0));
    return m->tied ? QEP_OK : add(l, m, "lm_head.weight", m->vocab, m->hidden);
}

/* A matrix of its own inside a tensor, or all of it. */
typedef struct part {
    const char *name;
    uint64_t seed;
    int64_t at, n, cols; /* first value and number of values; columns, 0 of a vector */
} part;

/* Matrices keep the size of what they multiply; norms are near 1, biases small. */
static double spread_of(const part *p)
{
    const bool embed = strcmp(p->name, "model.embed_tokens.weight") == 0;
    if (p->cols == 0) return 0.1;
    return embed ? 1.0 : 1.0 / sqrt((double)p->cols);
}

/* Values [first, first + n) of a part, which is cut into pieces with random numbers of their own. */
static qep_status fill_piece(qep_st_writer *w, const qep_st_tensor *t, const part *p, int64_t first, int64_t n)
{
    const double mean = strstr(p->name, "norm.weight") != NULL ? 1.0 : 0.0, spread = spread_of(p);
    const int64_t size = qep_dtype_size(t->dtype);
    float *x = qep_alloc("test.tiny", n, sizeof *x);
    void *raw = qep_alloc("test.tiny", n * size, 1);
    qep_rng rng;
    qep_rng_seed(&rng, p->seed + ((uint64_t)(first / PIECE) << 32));
    for (int64_t i = 0; i < n; i++) x[i] = (float)(mean + spread * qep_rng_normal(&rng));
    qep_from_f32(raw, t->dtype, x, n);
    qep_status st = qep_st_write(w, t, (p->at + first) * size, n * size, raw);
    qep_free(raw);
    qep_free(x);
    return st;
}

static qep_status fill_part(qep_st_writer *w, const qep_st_tensor *t, const part *p)
{
    qep_status st = QEP_OK;
#pragma omp parallel for schedule(dynamic)
    for (int64_t first = 0; first < p->n; first += PIECE) {
        qep_status own = fill_piece(w, t, p, first, qep_min_i64(PIECE, p->n - first));
        if (own == QEP_OK) continue;
#pragma omp critical(tiny)
        st = own;
    }
    return st;
}

static uint64_t seed_of(const tiny_model *m, const char *name)
{
    return m->seed * 1000003u + qep_hash64(name, strlen(name), 0) % 1000003u;
}

/* The matrices of a fused tensor, each as it would be alone. */
static qep_status fill_fused(const tiny_model *m, qep_st_writer *w, const qep_st_tensor *t)
{
    const tiny_family *f = family_of(m);
    const char *tail = strrchr(t->name, '.');
    const bool down = strcmp(tail, ".down_proj") == 0;
    const int64_t parts = down ? 1 : 2, n = t->shape[1] / parts * t->shape[2];
    for (int64_t i = 0; i < t->shape[0] * parts; i++) {
        char name[192];
        snprintf(name, sizeof name, "%.*s.%lld.%s.weight", (int)(tail - t->name), t->name, (long long)(i / parts), f->parts[down ? 2 : i % 2]);
        QEP_TRY(fill_part(w, t, &(part){name, seed_of(m, name), i * n, n, t->shape[2]}));
    }
    return QEP_OK;
}

/* Models with experts: by name, so that the weights do not depend on how they are stored. */
static qep_status fill(const tiny_model *m, qep_st_writer *w, const qep_st_tensor *t, int64_t number)
{
    if (t->rank == 3) return fill_fused(m, w, t);
    const uint64_t seed = family_of(m)->moe ? seed_of(m, t->name) : m->seed * 1000003u + (uint64_t)number;
    return fill_part(w, t, &(part){t->name, seed, 0, t->bytes / qep_dtype_size(t->dtype), t->rank == 1 ? 0 : t->shape[1]});
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
    const tiny_family *f = family_of(m);
    char experts[128] = "";
    if (f->moe)
        snprintf(experts, sizeof experts, "  \"%s\": %lld,\n  \"num_experts_per_tok\": %lld,\n", f->count_key, (long long)experts_of(m),
                 (long long)(m->top_k > 0 ? m->top_k : 2));
    char *text = qep_strf("test.tiny",
                          "{\n  \"architectures\": [\"%s\"],\n  \"model_type\": \"%s\",\n%s%s"
                          "  \"attention_bias\": %s,\n  \"head_dim\": %lld,\n"
                          "  \"hidden_size\": %lld,\n  \"intermediate_size\": %lld,\n"
                          "  \"max_position_embeddings\": %lld,\n  \"num_attention_heads\": %lld,\n"
                          "  \"num_hidden_layers\": %lld,\n  \"num_key_value_heads\": %lld,\n"
                          "  \"rms_norm_eps\": 1e-05,\n  \"rope_theta\": 10000.0,\n"
                          "  \"tie_word_embeddings\": %s,\n  \"torch_dtype\": \"%s\",\n  \"vocab_size\": %lld\n}\n",
                          f->architecture, f->model_type, m->keys ? m->keys : f->keys, experts, m->bias ? "true" : "false", (long long)head_dim(m), (long long)m->hidden,
                          (long long)m->inter, (long long)(m->max_positions > 0 ? m->max_positions : 2048), (long long)m->heads, (long long)m->blocks, (long long)m->kv_heads,
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

static qep_status write_weights(const char *dir, const tiny_model *m, const qep_st_layout *l)
{
    qep_st_writer *w = NULL;
    qep_status st;
    QEP_GO(st, qep_st_layout_create_files(l, dir, ""));
    QEP_GO(st, qep_st_writer_open(l, dir, "", &w));
    for (int64_t i = 0; i < qep_st_layout_count(l); i++) QEP_GO(st, fill(m, w, qep_st_layout_at(l, i), i));
    st = qep_st_writer_close(&w);
done:
    if (w) (void)!qep_st_writer_close(&w);
    return st;
}

/* Header of one file with all tensors, in a multiple of 8 bytes behind its length. */
static char *outline_header(const qep_st_layout *l, size_t *bytes, int64_t *data)
{
    char *text = NULL;
    FILE *f = open_memstream(&text, bytes);
    *data = 0;
    fprintf(f, "LENGTH..{\"__metadata__\":{\"format\":\"pt\"}");
    for (int64_t i = 0; i < qep_st_layout_count(l); i++) {
        const qep_st_tensor *t = qep_st_layout_at(l, i);
        const char *type = t->dtype == QEP_F32 ? "F32" : t->dtype == QEP_F16 ? "F16" : "BF16";
        fprintf(f, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[%lld", t->name, type, (long long)t->shape[0]);
        if (t->rank > 1) fprintf(f, ",%lld", (long long)t->shape[1]);
        fprintf(f, "],\"data_offsets\":[%lld,%lld]}", (long long)*data, (long long)(*data + t->bytes));
        *data += t->bytes;
    }
    fputc('}', f);
    while (ftell(f) % 8 != 0) fputc(' ', f);
    fclose(f);
    const uint64_t length = *bytes - 8;
    memcpy(text, &length, sizeof length);
    return text;
}

/* One file that has the size of all weights and takes no room: what is not written reads as zeros. */
static qep_status write_outline(const char *dir, const qep_st_layout *l)
{
    size_t bytes;
    int64_t data;
    char *path = qep_path_join(dir, "model.safetensors"), *header = outline_header(l, &bytes, &data);
    qep_status st = qep_file_write(path, header, (int64_t)bytes);
    if (st == QEP_OK && truncate(path, (off_t)bytes + data) != 0) st = qep_fail(QEP_E_IO, "%s: cannot be made %lld bytes long", path, (long long)data);
    free(header);
    qep_free(path);
    return st;
}

qep_status tiny_model_write(const char *dir, const tiny_model *m)
{
    qep_status st = QEP_OK;
    qep_st_layout *l = qep_st_layout_create();
    char *index = NULL;
    QEP_GO(st, qep_dir_make(dir));
    QEP_GO(st, write_config(dir, m));
    QEP_GO(st, add_all(l, m));
    QEP_GO(st, qep_st_layout_finish(l, shard_bytes(m)));
    if (m->outline) {
        st = write_outline(dir, l);
        goto done;
    }
    QEP_GO(st, write_weights(dir, m, l));
    index = qep_st_layout_index_text(l);
    if (index) st = write_text(dir, "model.safetensors.index.json", index);
done:
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
