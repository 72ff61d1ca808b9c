/* A small Llama in a new directory: random weights that depend on tensor name and seed only, with
 * one thing wrong on request.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_TOY_MODEL_H
#define QEP_TOY_MODEL_H
#include "qep_test.h"
#include "qep/model.h"
#include <unistd.h>

enum {
    TOY_HIDDEN = 24,
    TOY_INTER = 37,
    TOY_HEADS = 3,
    TOY_KV = 1,
    TOY_DIM = 10,
    TOY_VOCAB = 41,
    TOY_BLOCKS = 2
};

/* What to do differently; NULL and 0: nothing. */
typedef struct toy_edit {
    const char *skip;             /* leave this tensor out */
    const char *reshape, *retype; /* [3, 5] instead; I32 instead */
    const char *damage;           /* element `at` becomes NaN */
    int64_t at;
    const char *config; /* text of config.json; "" writes none */
    bool no_weights, bias;
    int64_t vocab;   /* rows of the embedding; config must agree */
    qep_dtype dtype; /* 0 (BOOL): F32 */
} toy_edit;

static inline const char *toy_config(bool bias)
{
    return bias ? "{\"model_type\": \"llama\", \"hidden_size\": 24, \"intermediate_size\": 37, "
                  "\"num_hidden_layers\": 2, "
                  "\"num_attention_heads\": 3, \"num_key_value_heads\": 1, \"head_dim\": 10, "
                  "\"vocab_size\": 41, "
                  "\"attention_bias\": true, \"mlp_bias\": true}"
                : "{\"model_type\": \"llama\", \"hidden_size\": 24, \"intermediate_size\": 37, "
                  "\"num_hidden_layers\": 2, "
                  "\"num_attention_heads\": 3, \"num_key_value_heads\": 1, \"head_dim\": 10, "
                  "\"vocab_size\": 41}";
}

static inline void toy_add(qep_st_layout *l, const toy_edit *e, const char *name, int64_t rows,
                           int64_t cols)
{
    int64_t shape[2] = {rows, cols};
    if (e->skip && strcmp(name, e->skip) == 0) return;
    if (e->reshape && strcmp(name, e->reshape) == 0)
        memcpy(shape, (int64_t[2]){3, 5}, sizeof shape);
    const bool retype = e->retype && strcmp(name, e->retype) == 0;
    assert_ok(qep_st_layout_add(l, name,
                                retype     ? QEP_I32
                                : e->dtype ? e->dtype
                                           : QEP_F32,
                                cols ? 2 : 1, shape));
}

static inline void toy_add_all(qep_st_layout *l, const toy_edit *e)
{
    static const struct {
        const char *name;
        int64_t rows, cols;
    } parts[] = {
        {"input_layernorm", TOY_HIDDEN, 0},
        {"post_attention_layernorm", TOY_HIDDEN, 0},
        {"self_attn.q_proj", TOY_HEADS * TOY_DIM, TOY_HIDDEN},
        {"self_attn.k_proj", TOY_KV * TOY_DIM, TOY_HIDDEN},
        {"self_attn.v_proj", TOY_KV * TOY_DIM, TOY_HIDDEN},
        {"self_attn.o_proj", TOY_HIDDEN, TOY_HEADS * TOY_DIM},
        {"mlp.gate_proj", TOY_INTER, TOY_HIDDEN},
        {"mlp.up_proj", TOY_INTER, TOY_HIDDEN},
        {"mlp.down_proj", TOY_HIDDEN, TOY_INTER},
    };
    char name[96];
    toy_add(l, e, "model.embed_tokens.weight", e->vocab ? e->vocab : TOY_VOCAB, TOY_HIDDEN);
    for (int b = 0; b < TOY_BLOCKS; b++) {
        for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
            snprintf(name, sizeof name, "model.layers.%d.%s.weight", b, parts[i].name);
            toy_add(l, e, name, parts[i].rows, parts[i].cols);
            snprintf(name, sizeof name, "model.layers.%d.%s.bias", b, parts[i].name);
            if (e->bias && parts[i].cols) toy_add(l, e, name, parts[i].rows, 0);
        }
        snprintf(name, sizeof name, "model.layers.%d.self_attn.rotary_emb.inv_freq", b);
        toy_add(l, e, name, TOY_DIM / 2, 0);
    }
    toy_add(l, e, "model.norm.weight", TOY_HIDDEN, 0);
    toy_add(l, e, "lm_head.weight", TOY_VOCAB, TOY_HIDDEN);
}

static inline void toy_fill(qep_st_writer *w, const qep_st_tensor *t, const toy_edit *e)
{
    const int64_t n = t->bytes / qep_dtype_size(t->dtype);
    float *values = qep_alloc("test", n, sizeof *values);
    void *raw = qep_alloc("test", t->bytes, 1);
    qep_rng r;
    qep_rng_seed(&r, qep_hash64(t->name, strlen(t->name), 7));
    for (int64_t i = 0; i < n; i++) values[i] = (float)(0.4 * qep_rng_normal(&r));
    if (e->damage && strcmp(e->damage, t->name) == 0) values[e->at] = NAN;
    if (qep_dtype_is_float(t->dtype)) qep_from_f32(raw, t->dtype, values, n);
    assert_ok(qep_st_write(w, t, 0, t->bytes, raw));
    qep_free(raw);
    qep_free(values);
}

static inline void toy_write_weights(const char *dir, const toy_edit *e)
{
    qep_st_layout *l = qep_st_layout_create();
    qep_st_writer *w = NULL;
    toy_add_all(l, e);
    assert_ok(qep_st_layout_finish(l, INT64_MAX));
    assert_ok(qep_st_layout_create_files(l, dir, ""));
    assert_ok(qep_st_writer_open(l, dir, "", &w));
    for (int64_t i = 0; i < qep_st_layout_count(l); i++) toy_fill(w, qep_st_layout_at(l, i), e);
    assert_ok(qep_st_writer_close(&w));
    qep_st_layout_destroy(&l);
}

/* Rank 0 writes; the directory's name (qep_free) on all ranks. */
static inline char *toy_write_all(qep_comm *c, const toy_edit *e)
{
    char dir[] = "/tmp/qep_toy_XXXXXX";
    if (qep_rank(c) == 0) {
        assert_non_null(mkdtemp(dir));
        const char *text = e->config ? e->config : toy_config(e->bias);
        char *file = qep_path_join(dir, "config.json");
        if (*text) assert_ok(qep_file_write(file, text, (int64_t)strlen(text)));
        qep_free(file);
        if (!e->no_weights) toy_write_weights(dir, e);
    }
    qep_bcast_all(c, 0, dir, sizeof dir);
    return qep_strdup("test", dir);
}

static inline void toy_remove_all(qep_comm *c, char *dir)
{
    static const char *const files[] = {"config.json", "model.safetensors"};
    qep_barrier_all(c);
    for (int i = 0; i < 2 && qep_rank(c) == 0; i++) {
        char *file = qep_path_join(dir, files[i]);
        assert_ok(qep_file_remove(file));
        qep_free(file);
    }
    if (qep_rank(c) == 0) assert_int_equal(rmdir(dir), 0);
    qep_free(dir);
}
#endif
