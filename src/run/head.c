/* After the last block: final norm, quantization of lm_head if asked for, and the figures of the evaluation sets.
 * SPDX-License-Identifier: Apache-2.0 */
#include "run_priv.h"

#include <string.h>

typedef struct head_ctx {
    qep_run *r;
    qep_head *head;
    int64_t first; /* of my sequences, for the taps */
} head_ctx;

static int64_t tap_tokens(void *ctx, int64_t i)
{
    const head_ctx *c = ctx;
    return c->r->seq_tokens[c->first + i];
}

static void tap_get(void *ctx, int64_t i, float *xq, float *delta)
{
    head_ctx *c = ctx;
    qep_run *r = c->r;
    int64_t d = r->model->arch.hidden, T = r->seq_tokens[c->first + i], at = r->seq_offset[c->first + i] * d;
    qep_head_norm(c->head, QEP_STREAM_Q, r->x_q + at, T, xq);
    if (!delta) return;
    qep_head_norm(c->head, QEP_STREAM_FP, r->x_fp + at, T, delta);
    qep_run_difference(r, delta, xq, T * d, delta);
}

static void sink_put(void *ctx, int member, int64_t row0, int64_t n, const float *values)
{
    (void)member;
    qep_head_put_rows(((head_ctx *)ctx)->head, row0, n, values);
}

static void sink_share_all(void *ctx, int member, const int64_t *begin, const int64_t *count)
{
    (void)member;
    qep_head_share_all(((head_ctx *)ctx)->head, begin, count);
}

/* Squared differences of the two streams' products with lm_head over my calibration sequence i, in blocks of tokens. */
static void head_error(head_ctx *c, int64_t i, float *logits, double *diff, double *ref)
{
    qep_run *r = c->r;
    const qep_arch *a = &r->model->arch;
    float *p = logits, *q = p + QEP_EVAL_CHUNK * a->vocab, *normed = q + QEP_EVAL_CHUNK * a->vocab;
    for (int64_t t = 0; t < r->seq_tokens[i]; t += QEP_EVAL_CHUNK) {
        int64_t n = qep_min_i64(QEP_EVAL_CHUNK, r->seq_tokens[i] - t), at = (r->seq_offset[i] + t) * a->hidden;
        double d, s;
        qep_head_norm(c->head, QEP_STREAM_FP, r->x_fp + at, n, normed);
        qep_head_product(c->head, QEP_STREAM_FP, normed, n, p, r->work);
        qep_head_norm(c->head, QEP_STREAM_Q, r->x_q + at, n, normed);
        qep_head_product(c->head, QEP_STREAM_Q, normed, n, q, r->work);
        qep_eval_distance(p, q, n * a->vocab, &d, &s);
        *diff += d;
        *ref += s;
    }
}

static qep_status quantize_head_all(head_ctx *c, float *logits)
{
    qep_run *r = c->r;
    int64_t member = r->n_linears - 1;
    qep_tap_source taps = {c, r->n_calibration, r->corpus->max_length, tap_tokens, tap_get, NULL};
    head_ctx held_ctx = {r, c->head, r->n_calibration};
    qep_tap_source held = {&held_ctx, r->n_grouped - r->n_calibration, r->corpus->max_length, tap_tokens, tap_get, NULL};
    qep_layer_sink sink = {c, sink_put, sink_share_all};
    QEP_TRY(qep_run_group_all(r, &member, 1, &taps, &held, NULL, &sink));
    double *diff = qep_alloc("run.errors", r->n_mine, sizeof *diff);
    double *ref = qep_alloc("run.errors", r->n_mine, sizeof *ref);
    for (int64_t i = 0; i < r->n_grouped; i++) head_error(c, i, logits, &diff[i], &ref[i]);
    qep_error_sums sums[1][2];
    qep_run_error_sums_all(r, 1, diff, ref, sums);
    qep_free(ref);
    qep_free(diff);
    qep_run_record_errors_all(r, &member, 1, sums);
    return QEP_OK;
}

/* One figure of every sequence of mine, picked by offset into the struct, summed over a set. */
static double total_all(const qep_run *r, const qep_eval_figures *mine, size_t offset, int set)
{
    double *v = qep_alloc("run.errors", r->n_mine, sizeof *v);
    for (int64_t i = 0; i < r->n_mine; i++) memcpy(&v[i], (const char *)&mine[i] + offset, sizeof *v);
    double sum = qep_eval_ordered_sum_all(r->comm, r->corpus, v, QEP_SEQ_EVALUATION, set);
    qep_free(v);
    return sum;
}

static qep_status evaluate_all(head_ctx *c, float *logits)
{
    qep_run *r = c->r;
    int64_t d = r->model->arch.hidden;
    qep_eval_figures *mine = qep_alloc("run.errors", r->n_mine, sizeof *mine);
    for (int64_t i = r->n_grouped; i < r->n_mine; i++) {
        int64_t at = r->seq_offset[i] * d;
        qep_eval_sequence(c->head, &r->model->arch, r->corpus->ids[i], qep_run_first_predicted(r, i), r->seq_tokens[i], r->x_fp + at, r->x_q ? r->x_q + at : NULL,
                          r->work, logits, &mine[i]);
        qep_debug("evaluation sequence %lld of this rank: negative log-likelihood %.9g (original), %.9g (quantized) over %lld predictions",
                  (long long)(i - r->n_grouped), mine[i].nll_fp, mine[i].nll_q, (long long)mine[i].predicted);
    }
    for (int s = 0; s < r->corpus->n_sets; s++)
        r->figures[s] = (qep_eval_figures){total_all(r, mine, offsetof(qep_eval_figures, predicted), s),
                                           total_all(r, mine, offsetof(qep_eval_figures, nll_fp), s),
                                           total_all(r, mine, offsetof(qep_eval_figures, nll_q), s),
                                           total_all(r, mine, offsetof(qep_eval_figures, kl), s),
                                           total_all(r, mine, offsetof(qep_eval_figures, same_top), s),
                                           total_all(r, mine, offsetof(qep_eval_figures, top_fp), s),
                                           total_all(r, mine, offsetof(qep_eval_figures, top_q), s)};
    qep_run_score_tasks_all(r, mine);
    qep_free(mine);
    return qep_run_check_figures(r);
}

qep_status qep_run_head_all(qep_run *r)
{
    bool quantized = r->cfg->lm_head && r->linears[r->n_linears - 1].quantized;
    bool fits = qep_run_fits_norm(r);
    if (!quantized && !fits && r->corpus->n_sets == 0 && !r->tasks) return QEP_OK;
    qep_timing t0 = qep_phase_begin(QEP_PHASE_EVALUATION);
    head_ctx c = {r, NULL, 0};
    QEP_TRY(qep_head_load_all(r->comm, r->model, r->compute, quantized, &c.head));
    int64_t bytes = qep_max_i64(qep_eval_bytes(&r->model->arch, r->quantizes), fits ? qep_eval_slope_bytes(&r->model->arch) : 0);
    float *logits = qep_alloc("eval.logits", bytes, 1);
    qep_status st = quantized ? quantize_head_all(&c, logits) : QEP_OK;
    if (st == QEP_OK && fits) st = qep_run_fit_norm_all(r, c.head, logits);
    if (st == QEP_OK) st = evaluate_all(&c, logits);
    qep_free(logits);
    qep_head_destroy_all(&c.head);
    qep_phase_end(r, QEP_PHASE_EVALUATION, &t0);
    return st;
}
