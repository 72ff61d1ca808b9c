/* The forward pass of every family once more: plain loops in double over the values in the files, no kernel and no record of the
 * program. What a family is stands in a ref_model that the test fills in by hand. Facts: the models' papers (RoPE arXiv 2104.09864,
 * YaRN 2309.00071, LongRoPE 2402.13753, Mixtral 2401.04088, Gemma-2 2408.00118) and transformers' modeling files.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_FORWARD_REF_H
#define QEP_FORWARD_REF_H
#include "qep_test.h"
#include "qep/safetensors.h"

typedef enum ref_rope_type { REF_DEFAULT, REF_LINEAR, REF_DYNAMIC, REF_LLAMA3, REF_YARN, REF_LONGROPE } ref_rope_type;
typedef struct ref_rope {
    ref_rope_type type;
    double theta, factor;
    double low, high; /* llama3: low and high frequency factor; yarn: beta_slow and beta_fast */
    int64_t original; /* context before it was stretched; dynamic: max_position_embeddings */
    double longrope[2][8]; /* short and long divisors */
} ref_rope;

typedef struct ref_model {
    int64_t hidden, inter, blocks, heads, kv_heads, head_dim, vocab;
    const char *norms[4];   /* before and after attention, before and after the mlp; NULL: none */
    bool plus_one, gelu, stacked, tied;
    bool head_norms, wide_norms; /* of queries and keys: of each head, of all heads together */
    double embed_scale, score_scale, score_cap, logit_cap; /* caps: 0 none */
    int64_t window;
    unsigned sliding;       /* bit b: block b sees the last `window` keys only */
    int64_t rotated;        /* channels of a head */
    ref_rope rope, local;   /* local: of sliding blocks; theta 0: as the others */
    int64_t experts, top_k, expert_inter;
    bool renormalize;
    unsigned sparse;        /* bit b: block b has experts */
    const char *moe, *parts[3]; /* gate, up, down of an expert */
} ref_model;

static const double ref_eps = 1e-5, ref_pi = 3.14159265358979323846;

/* Rows [row0, row0 + rows) of a tensor (rows 0: a vector, all of it) in double; NULL when the files lack it. */
static inline double *ref_read(const qep_st_set *files, const char *name, int64_t row0, int64_t rows)
{
    const qep_st_tensor *t = qep_st_find(files, name);
    if (!t) return NULL;
    const int64_t n = rows > 0 ? rows : t->shape[0], cols = t->rank == 2 ? t->shape[1] : 1;
    float *stored = qep_alloc("test", n * cols, sizeof *stored);
    double *out = qep_alloc("test", n * cols, sizeof *out);
    assert_ok(qep_st_read_rows_f32(files, t, row0, n, stored));
    for (int64_t i = 0; i < n * cols; i++) out[i] = (double)stored[i];
    qep_free(stored);
    return out;
}

/* out[T, rows] = in[T, cols] times rows [row0, row0 + rows) of a matrix, plus its bias when it has one. */
static inline void ref_linear(const qep_st_set *files, const char *module, int64_t row0, int64_t rows, int64_t cols, const double *in, int64_t T,
                              double *out)
{
    char name[192];
    snprintf(name, sizeof name, "%s.weight", module);
    double *w = ref_read(files, name, row0, rows);
    if (!w) fail_msg("no %s", name);
    snprintf(name, sizeof name, "%s.bias", module);
    double *bias = ref_read(files, name, 0, 0);
    for (int64_t t = 0; t < T; t++)
        for (int64_t r = 0; r < rows; r++) {
            double s = bias ? bias[row0 + r] : 0.0;
            for (int64_t c = 0; c < cols; c++) s += in[t * cols + c] * w[r * cols + c];
            out[t * rows + r] = s;
        }
    qep_free(bias);
    qep_free(w);
}

/* RMSNorm of n vectors x[n, size]. */
static inline void ref_norm(const qep_st_set *files, const ref_model *m, const char *module, const double *x, int64_t n, int64_t size, double *out)
{
    char name[192];
    snprintf(name, sizeof name, "%s.weight", module);
    double *w = ref_read(files, name, 0, 0);
    if (!w) fail_msg("no %s", name);
    for (int64_t i = 0; i < n; i++) {
        double s = 0.0;
        for (int64_t c = 0; c < size; c++) s += x[i * size + c] * x[i * size + c];
        for (int64_t c = 0; c < size; c++)
            out[i * size + c] = x[i * size + c] / sqrt(s / (double)size + ref_eps) * (w[c] + (m->plus_one ? 1.0 : 0.0));
    }
    qep_free(w);
}

/* --- rotary embedding ---------------------------------------------------------------------------- */

/* Radians per position of pair i, in a sequence of T tokens. */
static inline double ref_frequency(const ref_rope *r, int64_t i, int64_t dim, int64_t T)
{
    const double n = (double)dim, L0 = (double)r->original;
    const double f = pow(r->theta, -2.0 * (double)i / n), turns = L0 * f / (2.0 * ref_pi); /* turns: within the original context */
    switch (r->type) {
    case REF_DEFAULT: break;
    case REF_LINEAR: return f / r->factor;
    case REF_DYNAMIC: return T <= r->original ? f : pow(r->theta * pow(r->factor * (double)T / L0 - r->factor + 1.0, n / (n - 2.0)), -2.0 * (double)i / n);
    case REF_LLAMA3: {
        const double s = fmin(fmax((turns - r->low) / (r->high - r->low), 0.0), 1.0);
        return s * f + (1.0 - s) * f / r->factor;
    }
    case REF_YARN: {
        /* pairs that turn `high` and `low` times, whole, inside the list */
        const double from = fmax(floor(n * log(L0 / (2.0 * ref_pi * r->high)) / (2.0 * log(r->theta))), 0.0);
        const double to = fmin(ceil(n * log(L0 / (2.0 * ref_pi * r->low)) / (2.0 * log(r->theta))), n - 1.0);
        const double s = fmin(fmax(((double)i - from) / fmax(to - from, 0.001), 0.0), 1.0);
        return (1.0 - s) * f + s * f / r->factor;
    }
    case REF_LONGROPE: return f / r->longrope[T > r->original][i];
    }
    return f;
}

/* What yarn and longrope multiply queries and keys by. */
static inline double ref_rope_size(const ref_rope *r)
{
    if (r->type == REF_YARN) return 0.1 * log(r->factor) + 1.0;
    return r->type == REF_LONGROPE && r->factor > 1.0 ? sqrt(1.0 + log(r->factor) / log((double)r->original)) : 1.0;
}

/* In place on x[T, heads, D]: channels i and i + dim/2 of a head turn together. */
static inline void ref_rotate(const ref_rope *r, int64_t dim, double *x, int64_t T, int64_t heads, int64_t D)
{
    for (int64_t t = 0; t < T; t++)
        for (int64_t h = 0; h < heads; h++)
            for (int64_t i = 0; i < dim / 2; i++) {
                double *a = x + (t * heads + h) * D + i, *b = a + dim / 2;
                const double angle = (double)t * ref_frequency(r, i, dim, T), c = ref_rope_size(r) * cos(angle), s = ref_rope_size(r) * sin(angle);
                const double a0 = *a, b0 = *b;
                *a = a0 * c - b0 * s;
                *b = b0 * c + a0 * s;
            }
}

/* --- attention ------------------------------------------------------------------------------------ */

/* One query head of one token against the keys it sees. score: scratch [T]. */
static inline void ref_attend_one(const ref_model *m, bool slides, const double *q, const double *k, const double *v, int64_t t, double *score, double *out)
{
    const int64_t D = m->head_dim, step = m->kv_heads * D, from = slides && t + 1 > m->window ? t + 1 - m->window : 0;
    double sum = 0.0;
    for (int64_t j = from; j <= t; j++) {
        double s = 0.0;
        for (int64_t d = 0; d < D; d++) s += q[d] * k[j * step + d];
        s *= m->score_scale;
        if (m->score_cap > 0.0) s = m->score_cap * tanh(s / m->score_cap);
        score[j] = exp(s); /* scores are small here */
        sum += score[j];
    }
    for (int64_t d = 0; d < D; d++) {
        out[d] = 0.0;
        for (int64_t j = from; j <= t; j++) out[d] += score[j] / sum * v[j * step + d];
    }
}

/* out[T, hidden] of the normed in[T, hidden]. */
static inline void ref_attention(const qep_st_set *files, const ref_model *m, int64_t b, const double *in, int64_t T, double *out)
{
    char name[3][160], norm[160];
    const int64_t D = m->head_dim, wide = m->heads * D, kv = m->kv_heads * D, width[3] = {wide, kv, kv};
    const bool slides = m->sliding >> b & 1;
    const ref_rope *rope = slides && m->local.theta > 0.0 ? &m->local : &m->rope;
    double *qkv[3], *act = qep_alloc("test", T * wide, sizeof *act), *score = qep_alloc("test", T, sizeof *score);
    for (int i = 0; i < 3; i++) {
        snprintf(name[i], sizeof name[i], "model.layers.%d.self_attn.%s_proj", (int)b, m->stacked ? "qkv" : i == 0 ? "q" : i == 1 ? "k" : "v");
        qkv[i] = qep_alloc("test", T * width[i], sizeof(double));
        ref_linear(files, name[i], m->stacked ? (i > 0) * wide + (i > 1) * kv : 0, width[i], m->hidden, in, T, qkv[i]);
        if (i == 2) continue;
        snprintf(norm, sizeof norm, "model.layers.%d.self_attn.%s_norm", (int)b, i == 0 ? "q" : "k");
        const int64_t size = m->wide_norms ? width[i] : D;
        if (m->head_norms || m->wide_norms) ref_norm(files, m, norm, qkv[i], T * width[i] / size, size, qkv[i]);
        ref_rotate(rope, m->rotated, qkv[i], T, width[i] / D, D);
    }
    for (int64_t t = 0; t < T; t++)
        for (int64_t h = 0; h < m->heads; h++) {
            const int64_t g = h / (m->heads / m->kv_heads) * D;
            ref_attend_one(m, slides, qkv[0] + (t * m->heads + h) * D, qkv[1] + g, qkv[2] + g, t, score, act + (t * m->heads + h) * D);
        }
    snprintf(norm, sizeof norm, "model.layers.%d.self_attn.o_proj", (int)b);
    ref_linear(files, norm, 0, m->hidden, wide, act, T, out);
    for (int i = 0; i < 3; i++) qep_free(qkv[i]);
    qep_free(score);
    qep_free(act);
}

/* --- the mlp and the experts ------------------------------------------------------------------------ */

static inline double ref_act(const ref_model *m, double g)
{
    return m->gelu ? 0.5 * g * (1.0 + tanh(sqrt(2.0 / ref_pi) * (g + 0.044715 * g * g * g))) : g / (1.0 + exp(-g));
}

/* out[T, hidden] = down (act(gate) up); stacked: gate's rows stand before up's. */
static inline void ref_mlp(const qep_st_set *files, const ref_model *m, const char *gate, const char *up, const char *down, int64_t inter,
                           const double *in, int64_t T, double *out)
{
    double *g = qep_alloc("test", T * inter, sizeof *g), *u = qep_alloc("test", T * inter, sizeof *u);
    ref_linear(files, gate, 0, inter, m->hidden, in, T, g);
    ref_linear(files, up, m->stacked ? inter : 0, inter, m->hidden, in, T, u);
    for (int64_t i = 0; i < T * inter; i++) g[i] = ref_act(m, g[i]) * u[i];
    ref_linear(files, down, 0, m->hidden, inter, g, T, out);
    qep_free(u);
    qep_free(g);
}

/* weight[E] of one token's logits[E]: the top_k largest, the others 0. Returns how far the first left out is behind the last taken. */
static inline double ref_route(const ref_model *m, const double *logits, double *weight)
{
    double all = 0.0, taken = 0.0, least = INFINITY, next = -INFINITY;
    for (int64_t e = 0; e < m->experts; e++) {
        int64_t before = 0;
        for (int64_t f = 0; f < m->experts; f++) before += logits[f] > logits[e] || (!(logits[f] < logits[e]) && f < e);
        const double p = exp(logits[e]);
        all += p;
        weight[e] = before < m->top_k ? p : 0.0;
        taken += weight[e];
        if (before < m->top_k) least = fmin(least, logits[e]);
        else next = fmax(next, logits[e]);
    }
    for (int64_t e = 0; e < m->experts; e++) weight[e] /= m->renormalize ? taken : all;
    return least - next;
}

/* Every expert for all tokens, those that were not sent there by the weight 0. Returns the smallest distance of ref_route. */
static inline double ref_experts(const qep_st_set *files, const ref_model *m, int64_t b, const double *in, int64_t T, double *out)
{
    char name[3][160];
    double margin = INFINITY, *weight = qep_alloc("test", T * m->experts, sizeof *weight), *logits = qep_alloc("test", T * m->experts, sizeof *logits);
    double *y = qep_alloc("test", T * m->hidden, sizeof *y);
    snprintf(name[0], sizeof name[0], "model.layers.%d.%s.gate", (int)b, m->moe);
    ref_linear(files, name[0], 0, m->experts, m->hidden, in, T, logits);
    for (int64_t t = 0; t < T; t++) margin = fmin(margin, ref_route(m, logits + t * m->experts, weight + t * m->experts));
    for (int64_t i = 0; i < T * m->hidden; i++) out[i] = 0.0;
    for (int64_t e = 0; e < m->experts; e++) {
        for (int k = 0; k < 3; k++) snprintf(name[k], sizeof name[k], "model.layers.%d.%s.experts.%d.%s", (int)b, m->moe, (int)e, m->parts[k]);
        ref_mlp(files, m, name[0], name[1], name[2], m->expert_inter, in, T, y);
        for (int64_t i = 0; i < T * m->hidden; i++) out[i] += weight[i / m->hidden * m->experts + e] * y[i];
    }
    qep_free(y);
    qep_free(logits);
    qep_free(weight);
    return margin;
}

/* --- a model -------------------------------------------------------------------------------------- */

/* A norm of x[T, hidden] at one of the four places; without one out is x. */
static inline void ref_block_norm(const qep_st_set *files, const ref_model *m, int64_t b, int place, const double *x, int64_t T, double *out)
{
    char name[160];
    if (out != x) memcpy(out, x, (size_t)(T * m->hidden) * sizeof *x);
    if (!m->norms[place]) return;
    snprintf(name, sizeof name, "model.layers.%d.%s", (int)b, m->norms[place]);
    ref_norm(files, m, name, x, T, m->hidden, out);
}

/* x[T, hidden] through the first (half 0) or second sublayer of block b. */
static inline double ref_sublayer(const qep_st_set *files, const ref_model *m, int64_t b, int half, double *x, int64_t T)
{
    char name[3][160];
    const char *const parts[3] = {m->stacked ? "gate_up_proj" : "gate_proj", m->stacked ? "gate_up_proj" : "up_proj", "down_proj"};
    double margin = INFINITY, *in = qep_alloc("test", T * m->hidden, sizeof *in), *y = qep_alloc("test", T * m->hidden, sizeof *y);
    ref_block_norm(files, m, b, 2 * half, x, T, in);
    for (int k = 0; k < 3; k++) snprintf(name[k], sizeof name[k], "model.layers.%d.mlp.%s", (int)b, parts[k]);
    if (half == 0) ref_attention(files, m, b, in, T, y);
    else if (m->sparse >> b & 1) margin = ref_experts(files, m, b, in, T, y);
    else ref_mlp(files, m, name[0], name[1], name[2], m->inter, in, T, y);
    ref_block_norm(files, m, b, 2 * half + 1, y, T, y);
    for (int64_t i = 0; i < T * m->hidden; i++) x[i] += y[i];
    qep_free(y);
    qep_free(in);
    return margin;
}

/* hidden[blocks + 1, T, hidden]: after the embedding and each block; logits[T, vocab]. Returns by how much the router's choices were decided at least. */
static inline double ref_forward(const qep_st_set *files, const ref_model *m, const int32_t *ids, int64_t T, double *hidden, double *logits)
{
    const int64_t n = T * m->hidden;
    double margin = INFINITY, *embed = ref_read(files, "model.embed_tokens.weight", 0, m->vocab), *x = qep_alloc("test", n, sizeof *x);
    for (int64_t i = 0; i < n; i++) hidden[i] = x[i] = m->embed_scale * embed[ids[i / m->hidden] * m->hidden + i % m->hidden];
    for (int64_t b = 0; b < m->blocks; b++) {
        for (int half = 0; half < 2; half++) margin = fmin(margin, ref_sublayer(files, m, b, half, x, T));
        memcpy(hidden + (b + 1) * n, x, (size_t)n * sizeof *x);
    }
    ref_norm(files, m, "model.norm", x, T, m->hidden, x);
    ref_linear(files, m->tied ? "model.embed_tokens" : "lm_head", 0, m->vocab, m->hidden, x, T, logits);
    for (int64_t i = 0; i < T * m->vocab && m->logit_cap > 0.0; i++) logits[i] = m->logit_cap * tanh(logits[i] / m->logit_cap);
    qep_free(x);
    qep_free(embed);
    return margin;
}
#endif
