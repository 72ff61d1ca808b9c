/* The experts of a block: routing, and the tokens of one expert through its three linears.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model_priv.h"

#include <string.h>

enum { GATE, UP, DOWN };

void qep_block_route(const qep_block *b, const float *in, int64_t T, int32_t *expert, float *weight, qep_work *w)
{
    const qep_arch *a = &b->model->arch;
    QEP_REQUIRE(b->index >= 0 && qep_arch_sparse(a, b->index) && T <= w->max_tokens);
    qep_linear_f32(w->logits, a->n_experts, in, a->hidden, b->router, T, a->hidden, a->n_experts, false);
    qep_route(expert, weight, w->logits, T, a->n_experts, a->top_k, a->renormalize);
}

/* y[n, rows of the part] of n tokens x, a product's input. */
static qep_linear linear(const qep_block *b, qep_stream s, int64_t expert, int part, const void *x, int64_t n, float *y)
{
    const qep_weight *w = &b->experts[s][3 * expert + part];
    return qep_weight_linear(w, 0, w->rows, x, n, y);
}

void qep_block_expert_act(const qep_block *b, qep_stream s, int64_t expert, const float *in, int64_t n, float *act, qep_work *w)
{
    const qep_arch *a = &b->model->arch;
    float *gate = w->y, *up = w->y + n * a->expert_inter;
    QEP_REQUIRE(n <= w->max_tokens);
    qep_part_begin("linears");
    const void *x = qep_work_input(w, s, in, n * a->hidden);
    const qep_linear list[] = {linear(b, s, expert, GATE, x, n, gate), linear(b, s, expert, UP, x, n, up)};
    qep_linears(list, 2);
    qep_part_end();
    qep_glu(a->act, act, gate, up, n * a->expert_inter);
}

static void put_down(const qep_block *b, qep_stream s, int64_t expert, const float *act, int64_t n, float *y, qep_work *w)
{
    qep_part_begin("linears");
    const qep_weight *down = &b->experts[s][3 * expert + DOWN];
    qep_weight_product(down, 0, down->rows, qep_work_input(w, s, act, n * down->cols), n, y);
    qep_part_end();
}

void qep_block_expert_errors(const qep_block *b, int64_t expert, int g, int64_t n, const float *in_fp, const float *in_q, qep_out_error *err,
                             qep_work *w)
{
    QEP_REQUIRE(n <= w->max_tokens && (g == 2 || g == 3));
    const int first = g == 2 ? GATE : DOWN, parts = g == 2 ? 2 : 1;
    const int64_t rows = b->experts[0][3 * expert + first].rows, cols = b->experts[0][3 * expert + first].cols;
    qep_linear list[4];
    qep_part_begin("linears");
    const void *fp = qep_work_input(w, QEP_STREAM_FP, in_fp, n * cols), *q = qep_work_input(w, QEP_STREAM_Q, in_q, n * cols);
    for (int p = 0; p < parts; p++) {
        list[2 * p] = linear(b, QEP_STREAM_FP, expert, first + p, fp, n, w->y + 2 * p * n * rows);
        list[2 * p + 1] = linear(b, QEP_STREAM_Q, expert, first + p, q, n, w->y + (2 * p + 1) * n * rows);
    }
    qep_linears(list, 2 * parts);
    qep_part_end();
    for (int p = 0; p < parts; p++) qep_add_error(list[2 * p].y, list[2 * p + 1].y, n, rows, w->token_sums, err++);
}

/* x[t] += weight * y of one expert's tokens: pair[i] = token * top_k + place in its choice. */
static void add_weighted(const qep_arch *a, float *x, const float *y, const float *weight, const int32_t *pair, int64_t n)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        float *row = x + pair[i] / a->top_k * a->hidden;
        for (int64_t c = 0; c < a->hidden; c++) row[c] += weight[pair[i]] * y[i * a->hidden + c];
    }
}

void qep_block_experts(const qep_block *b, qep_stream s, const float *in, int64_t T, float *x, qep_work *w)
{
    const qep_arch *a = &b->model->arch;
    int32_t *pair = qep_alloc("model.pairs", T, sizeof *pair);
    qep_block_route(b, in, T, w->expert, w->weight, w);
    for (int64_t e = 0; e < a->n_experts; e++) {
        int64_t n = 0;
        for (int64_t p = 0; p < T * a->top_k; p++) {
            if (w->expert[p] != e) continue;
            memcpy(w->rows_in + n * a->hidden, in + p / a->top_k * a->hidden, (size_t)a->hidden * sizeof *in);
            pair[n++] = (int32_t)p;
        }
        if (n == 0) continue;
        qep_block_expert_act(b, s, e, w->rows_in, n, w->rows_act, w);
        put_down(b, s, e, w->rows_act, n, w->rows_out, w);
        add_weighted(a, x, w->rows_out, w->weight, pair, n);
    }
    qep_free(pair);
}
