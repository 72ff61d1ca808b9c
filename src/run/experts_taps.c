/* Which tokens an expert sees, and what they look like at the input of its linears.
 * SPDX-License-Identifier: Apache-2.0 */
#include "experts_priv.h"

#include <string.h>

int64_t qep_experts_cols(const qep_experts *x)
{
    const qep_arch *a = &x->r->model->arch;
    return x->g == 2 ? a->hidden : a->expert_inter;
}

int qep_experts_part(const qep_experts *x)
{
    return x->g == 2 ? 0 : 2;
}

/* Sorts the pairs of a sequence of T tokens, choice[T, top_k], by expert; tokens stay in their order. */
static void sort_pairs(const qep_arch *a, const int32_t *choice, int64_t T, int32_t *sent, int32_t *first)
{
    memset(first, 0, (size_t)(a->n_experts + 1) * sizeof *first);
    for (int64_t p = 0; p < T * a->top_k; p++) first[choice[p] + 1]++;
    for (int64_t e = 0; e < a->n_experts; e++) first[e + 1] += first[e];
    for (int64_t p = 0; p < T * a->top_k; p++) sent[first[choice[p]]++] = (int32_t)(p / a->top_k);
    for (int64_t e = a->n_experts; e > 0; e--) first[e] = first[e - 1]; /* each has moved to its end */
    first[0] = 0;
}

void qep_experts_route_all(qep_experts *x)
{
    qep_run *r = x->r;
    const qep_arch *a = &r->model->arch;
    x->sent = qep_alloc("run.routes", r->seq_offset[r->n_calibration] * a->top_k, sizeof *x->sent);
    x->first = qep_alloc("run.routes", r->n_calibration * (a->n_experts + 1), sizeof *x->first);
    x->tokens = qep_alloc("run.routes", a->n_experts, sizeof *x->tokens);
    int32_t *choice = qep_alloc("run.routes", r->corpus->max_length * a->top_k, sizeof *choice);
    float *weight = qep_alloc("run.routes", r->corpus->max_length * a->top_k, sizeof *weight);
    for (int64_t i = 0; i < r->n_calibration; i++) {
        int32_t *first = x->first + i * (a->n_experts + 1);
        qep_block_norm(r->block, 2, r->x_q + r->seq_offset[i] * a->hidden, r->seq_tokens[i], r->in_q);
        qep_block_route(r->block, r->in_q, r->seq_tokens[i], choice, weight, r->work);
        sort_pairs(a, choice, r->seq_tokens[i], x->sent + r->seq_offset[i] * a->top_k, first);
        for (int64_t e = 0; e < a->n_experts; e++) x->tokens[e] += first[e + 1] - first[e];
    }
    qep_sum_i64_all(r->comm, x->tokens, a->n_experts);
    qep_free(weight);
    qep_free(choice);
}

void qep_experts_forget(qep_experts *x)
{
    qep_dmat_destroy_all(&x->pool);
    qep_free(x->tokens);
    qep_free(x->first);
    qep_free(x->sent);
}

/* The expert's tokens of sequence i; *which: their numbers, NULL for all. */
static int64_t tokens_of(const qep_expert *e, int64_t i, const int32_t **which)
{
    const qep_run *r = e->x->r;
    const qep_arch *a = &r->model->arch;
    *which = NULL;
    if (e->everyone) return r->seq_tokens[i];
    const int32_t *first = e->x->first + i * (a->n_experts + 1) + e->number;
    *which = e->x->sent + r->seq_offset[i] * a->top_k + first[0];
    return first[1] - first[0];
}

static int64_t tap_tokens(void *ctx, int64_t i)
{
    const int32_t *which;
    return tokens_of(ctx, i, &which);
}

/* Their normed rows in one stream. */
static int64_t gather(const qep_expert *e, int64_t i, const float *stream, float *rows)
{
    const qep_run *r = e->x->r;
    const int64_t d = r->model->arch.hidden;
    const int32_t *which;
    const int64_t n = tokens_of(e, i, &which);
    for (int64_t k = 0; k < n; k++)
        memcpy(rows + k * d, stream + (r->seq_offset[i] + (which ? which[k] : k)) * d, (size_t)d * sizeof *rows);
    qep_block_norm(r->block, 2, rows, n, rows);
    return n;
}

int64_t qep_expert_input(const qep_expert *e, int64_t i, const float **fp, const float **q)
{
    qep_run *r = e->x->r;
    gather(e, i, r->x_fp, r->in_fp);
    const int64_t n = gather(e, i, r->x_q, r->in_q);
    *fp = r->in_fp;
    *q = r->in_q;
    if (e->x->g == 2) return n;
    qep_block_expert_act(r->block, QEP_STREAM_FP, e->number, r->in_fp, n, r->one_fp, r->work);
    qep_block_expert_act(r->block, QEP_STREAM_Q, e->number, r->in_q, n, r->one_q, r->work);
    *fp = r->one_fp;
    *q = r->one_q;
    return n;
}

static void tap_get(void *ctx, int64_t i, float *xq, float *delta)
{
    const qep_expert *e = ctx;
    const float *fp, *q;
    const int64_t n = qep_expert_input(e, i, &fp, &q) * qep_experts_cols(e->x);
    memcpy(xq, q, (size_t)n * sizeof *xq);
    if (delta) qep_run_difference(e->x->r, fp, q, n, delta);
}

qep_tap_source qep_expert_taps(qep_expert *e)
{
    const qep_run *r = e->x->r;
    return (qep_tap_source){.ctx = e, .n_seq = r->n_calibration, .max_tokens = r->corpus->max_length, .tokens = tap_tokens, .get = tap_get};
}
