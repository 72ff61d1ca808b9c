/* Scratch for pushing one sequence through a block.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model_priv.h"

/* Weights come from memory once per tile; 512 products with each are enough to hide that. */
enum { TILE_TOKENS = 512 };

typedef struct work_sizes {
    int64_t y, rounded, attention, rope, token_sums; /* elements */
    int64_t logits, rows, rows_act, routes;
} work_sizes;

int64_t qep_work_tile(int g, int64_t T)
{
    if (g == 0 || T == 0) return T;
    return qep_ceil_div(T, qep_ceil_div(T, TILE_TOKENS));
}

static work_sizes sizes_of(const qep_arch *a, qep_compute compute, int64_t max_tokens)
{
    work_sizes n = {.rope = max_tokens * (a->rope.dim + (a->two_ropes ? a->rope_local.dim : 0)) / 2,
                    .token_sums = 2 * max_tokens,
                    .attention = qep_attention_scratch(max_tokens, a->n_heads, a->n_kv_heads, a->head_dim)};
    for (int g = 0; g < QEP_N_GROUPS; g++) {
        const int64_t tokens = g == 0 ? max_tokens : qep_min_i64(max_tokens, TILE_TOKENS);
        int64_t rows = 0;
        for (int i = 0; i < a->group_count[g]; i++) rows += a->linears[a->group_first[g] + i].rows;
        n.y = qep_max_i64(n.y, 2 * tokens * rows);
        if (compute == QEP_COMPUTE_BF16)
            n.rounded = qep_max_i64(n.rounded, tokens * qep_group_cols(a, g));
    }
    if (a->n_experts == 0) return n;
    n.logits = max_tokens * a->n_experts;
    n.rows = max_tokens * a->hidden;
    n.rows_act = max_tokens * a->expert_inter;
    n.routes = max_tokens * a->top_k;
    n.y = qep_max_i64(n.y, 2 * max_tokens * qep_max_i64(2 * a->expert_inter, a->hidden));
    if (compute == QEP_COMPUTE_BF16) n.rounded = qep_max_i64(n.rounded, max_tokens * qep_max_i64(a->expert_inter, a->hidden));
    return n;
}

int64_t qep_work_bytes(const qep_arch *a, qep_compute compute, int64_t max_tokens)
{
    const work_sizes n = sizes_of(a, compute, max_tokens);
    return (n.y + n.attention + 2 * n.rope + n.logits + 2 * n.rows + n.rows_act + 2 * n.routes) * (int64_t)sizeof(float) +
           2 * n.rounded * (int64_t)sizeof(uint16_t) + n.token_sums * (int64_t)sizeof(double);
}

qep_work *qep_work_create(const qep_arch *a, qep_compute compute, int64_t max_tokens)
{
    static const char name[] = "model.work";
    QEP_REQUIRE(max_tokens > 0);
    const work_sizes n = sizes_of(a, compute, max_tokens);
    qep_work *w = qep_alloc(name, 1, sizeof *w);
    *w = (qep_work){.compute = compute, .max_tokens = max_tokens};
    w->y = qep_alloc(name, n.y, sizeof *w->y);
    for (int k = 0; k < 2; k++) w->rounded[k] = qep_alloc(name, n.rounded, sizeof *w->rounded[k]);
    w->attention = qep_alloc(name, n.attention, sizeof *w->attention);
    w->logits = qep_alloc(name, n.logits, sizeof *w->logits);
    w->rows_in = qep_alloc(name, n.rows, sizeof *w->rows_in);
    w->rows_out = qep_alloc(name, n.rows, sizeof *w->rows_out);
    w->rows_act = qep_alloc(name, n.rows_act, sizeof *w->rows_act);
    w->expert = qep_alloc(name, n.routes, sizeof *w->expert);
    w->weight = qep_alloc(name, n.routes, sizeof *w->weight);
    w->token_sums = qep_alloc(name, n.token_sums, sizeof *w->token_sums);
    for (int k = 0; k < 1 + a->two_ropes; k++) {
        qep_rotary *r = &w->rotary[k];
        r->rope = k == 0 ? &a->rope : &a->rope_local;
        r->cos_ = qep_alloc(name, max_tokens * (r->rope->dim / 2), sizeof *r->cos_);
        r->sin_ = qep_alloc(name, max_tokens * (r->rope->dim / 2), sizeof *r->sin_);
        qep_rope_table(r->rope, 0, max_tokens, 0, r->cos_, r->sin_);
    }
    return w;
}

void qep_work_destroy(qep_work **work)
{
    qep_work *w = *work;
    if (!w) return;
    qep_free(w->y);
    qep_free(w->attention);
    qep_free(w->logits);
    qep_free(w->rows_in);
    qep_free(w->rows_out);
    qep_free(w->rows_act);
    qep_free(w->expert);
    qep_free(w->weight);
    qep_free(w->token_sums);
    for (int k = 0; k < 2; k++) {
        qep_free(w->rounded[k]);
        qep_free(w->rotary[k].cos_);
        qep_free(w->rotary[k].sin_);
    }
    qep_free(w);
    *work = NULL;
}

const qep_rotary *qep_work_rotary(qep_work *w, bool sliding, int64_t T)
{
    qep_rotary *r = &w->rotary[sliding && w->rotary[1].rope ? 1 : 0];
    const int64_t class = qep_rope_length_class(r->rope, T);
    if (class != r->length_class)
        qep_rope_table(r->rope, 0, w->max_tokens, T, r->cos_, r->sin_);
    r->length_class = class;
    return r;
}

const void *qep_work_input(qep_work *w, int s, const float *x, int64_t n)
{
    enum { SPAN = 1 << 14 };
    if (w->compute == QEP_COMPUTE_F32) return x;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i += SPAN)
        qep_from_f32(w->rounded[s] + i, QEP_BF16, x + i, qep_min_i64(SPAN, n - i));
    return w->rounded[s];
}
