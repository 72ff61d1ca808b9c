/* One decoder block: load, then group by group {taps, statistics, quantize, run both streams}, then the evaluation
 * sequences, which need nothing kept between groups. SPDX-License-Identifier: Apache-2.0 */
#include "run_priv.h"

#include <string.h>

typedef struct group_ctx {
    qep_run *r;
    int g;
    int64_t first; /* of my sequences, for the taps: calibration or held out */
    bool full;     /* the taps show X in place of Xq */
} group_ctx;

static float *stream_at(const qep_run *r, float *x, int64_t i)
{
    return x ? x + r->seq_offset[i] * r->model->arch.hidden : NULL;
}

/* FFN activations that are not kept are computed again, from the norm on, into the buffers for one sequence. */
static bool recomputed(const qep_run *r, int g)
{
    return g == 3 && !r->keep_act;
}

/* act of sequence i that groups 0 and 2 fill and groups 1 and 3 read. */
static float *act_at(const qep_run *r, float *act, int g, int64_t i)
{
    int64_t cols = g < 2 ? qep_group_act_cols(&r->model->arch, 0) : qep_group_act_cols(&r->model->arch, 2);
    return act + r->seq_offset[i] * cols;
}

/* Input of group g for my calibration or validation sequence i in both streams. */
static void group_input(qep_run *r, int g, int64_t i, const float **in_fp, const float **in_q)
{
    int64_t T = r->seq_tokens[i];
    bool again = recomputed(r, g);
    if (g == 0 || g == 2 || again) {
        qep_block_norm(r->block, again ? 2 : g, stream_at(r, r->x_fp, i), T, r->in_fp);
        qep_block_norm(r->block, again ? 2 : g, stream_at(r, r->x_q, i), T, r->in_q);
        *in_fp = r->in_fp;
        *in_q = r->in_q;
        if (!again) return;
        qep_block_advance(r->block, 2, T, r->in_fp, r->in_q, NULL, NULL, r->one_fp, r->one_q, NULL, r->work);
        *in_fp = r->one_fp;
        *in_q = r->one_q;
        return;
    }
    *in_fp = act_at(r, r->act_fp, g, i);
    *in_q = act_at(r, r->act_q, g, i);
}

static int64_t tap_tokens(void *ctx, int64_t i)
{
    const group_ctx *c = ctx;
    return c->r->seq_tokens[c->first + i];
}

static void tap_get(void *ctx, int64_t i, float *xq, float *delta)
{
    group_ctx *c = ctx;
    const float *fp, *q;
    group_input(c->r, c->g, c->first + i, &fp, &q);
    int64_t n = c->r->seq_tokens[c->first + i] * qep_group_cols(&c->r->model->arch, c->g);
    const float *x = c->full ? fp : q;
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < n; k++) xq[k] = x[k];
    if (delta) qep_run_difference(c->r, fp, q, n, delta);
}

/* Difference of the residual streams that the outputs of group 1 or 3 will be added to. */
static void tap_residual(void *ctx, int64_t i, float *rho)
{
    const group_ctx *c = ctx;
    const qep_run *r = c->r;
    const float *fp = stream_at(r, r->x_fp, c->first + i), *q = stream_at(r, r->x_q, c->first + i);
    int64_t n = r->seq_tokens[c->first + i] * r->model->arch.hidden;
#pragma omp parallel for
    for (int64_t k = 0; k < n; k++) rho[k] = fp[k] - q[k];
}

static void sink_put(void *ctx, int member, int64_t row0, int64_t n, const float *values)
{
    group_ctx *c = ctx;
    qep_block_put_rows(c->r->block, c->r->model->arch.group_first[c->g] + member, row0, n, values);
}

static void sink_share_all(void *ctx, int member, const int64_t *begin, const int64_t *count)
{
    group_ctx *c = ctx;
    qep_block_share_all(c->r->block, c->r->model->arch.group_first[c->g] + member, begin, count);
}

/* Pushes my calibration and validation sequences through the linears of group g; per sequence error sums into diff, ref [members][n_mine]. */
static void advance_grouped(qep_run *r, int g, double *diff, double *ref)
{
    int n = r->model->arch.group_count[g];
    for (int64_t i = 0; i < r->n_grouped; i++) {
        qep_out_error err[QEP_MAX_MEMBERS] = {{0}};
        const float *fp, *q;
        float *act_fp = NULL, *act_q = NULL;
        if (g == 2 && !r->keep_act) { /* the results would not be kept; the error sums still want one pass */
            act_fp = r->one_fp;
            act_q = r->one_q;
        } else if (g == 0 || g == 2) {
            act_fp = act_at(r, r->act_fp, g, i);
            act_q = act_at(r, r->act_q, g, i);
        }
        group_input(r, g, i, &fp, &q);
        qep_block_advance(r->block, g, r->seq_tokens[i], fp, q, stream_at(r, r->x_fp, i), stream_at(r, r->x_q, i), act_fp, act_q,
                          err, r->work);
        for (int m = 0; m < n; m++) {
            diff[m * r->n_mine + i] = err[m].diff;
            ref[m * r->n_mine + i] = err[m].ref;
        }
    }
}

static qep_status run_group_all(qep_run *r, int64_t b, int g)
{
    group_ctx ctx = {r, g, 0, false}, held_ctx = {r, g, r->n_calibration, false}, full_ctx = {r, g, 0, true};
    const qep_arch *a = &r->model->arch;
    int n = a->group_count[g];
    int64_t members[QEP_MAX_MEMBERS];
    for (int i = 0; i < n; i++) members[i] = qep_run_linear_index(r, b, a->group_first[g] + i);
    qep_tap_source taps = {&ctx, r->n_calibration, r->corpus->max_length, tap_tokens, tap_get, tap_residual};
    qep_tap_source held = {&held_ctx, r->n_grouped - r->n_calibration, r->corpus->max_length, tap_tokens, tap_get, tap_residual};
    qep_tap_source full = {&full_ctx, r->n_calibration, r->corpus->max_length, tap_tokens, tap_get, NULL};
    qep_layer_sink sink = {&ctx, sink_put, sink_share_all};
    if (r->quantizes) QEP_TRY(qep_run_group_all(r, members, n, &taps, &held, &full, &sink));
    qep_timing t0 = qep_phase_begin(QEP_PHASE_FORWARD);
    double *diff = qep_alloc("run.errors", n * r->n_mine, sizeof *diff);
    double *ref = qep_alloc("run.errors", n * r->n_mine, sizeof *ref);
    qep_error_sums sums[QEP_MAX_MEMBERS][2];
    if (r->quantizes) advance_grouped(r, g, diff, ref);
    qep_part_begin("sums");
    qep_run_error_sums_all(r, n, diff, ref, sums);
    qep_part_end();
    qep_phase_end(r, QEP_PHASE_FORWARD, &t0);
    qep_free(ref);
    qep_free(diff);
    if (r->quantizes) qep_run_record_errors_all(r, members, n, sums);
    return QEP_OK;
}

/* A whole block on my evaluation sequences. */
static void advance_evaluation(qep_run *r)
{
    const bool sparse = qep_arch_sparse(&r->model->arch, qep_block_index(r->block));
    for (int64_t i = r->n_grouped; i < r->n_mine; i++) {
        float *x_fp = stream_at(r, r->x_fp, i), *x_q = stream_at(r, r->x_q, i);
        int64_t T = r->seq_tokens[i];
        for (int g = 0; g < QEP_N_GROUPS; g += 2) {
            if (g == 2 && sparse) {
                qep_run_experts_sequence(r, i);
                continue;
            }
            qep_block_norm(r->block, g, x_fp, T, r->in_fp);
            if (x_q) qep_block_norm(r->block, g, x_q, T, r->in_q);
            qep_block_advance(r->block, g, T, r->in_fp, r->in_q, NULL, NULL, r->one_fp, r->one_q, NULL, r->work);
            qep_block_advance(r->block, g + 1, T, r->one_fp, r->one_q, x_fp, x_q, NULL, NULL, NULL, r->work);
        }
    }
}

/* Distance of the two streams after block b, summed over the sequences of each kind. */
static void measure_growth_all(qep_run *r, int64_t b)
{
    int64_t d = r->model->arch.hidden;
    double *diff = qep_alloc("run.errors", r->n_mine, sizeof *diff);
    double *ref = qep_alloc("run.errors", r->n_mine, sizeof *ref);
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < r->n_mine; i++)
        qep_eval_distance(stream_at(r, r->x_fp, i), stream_at(r, r->x_q, i), r->seq_tokens[i] * d, &diff[i], &ref[i]);
    for (int kind = 0; kind < QEP_N_SEQ_KINDS; kind++) {
        double *out = r->growth + (b * QEP_N_SEQ_KINDS + kind) * 2;
        out[0] = qep_eval_ordered_sum_all(r->comm, r->corpus, diff, (qep_seq_kind)kind, -1);
        out[1] = qep_eval_ordered_sum_all(r->comm, r->corpus, ref, (qep_seq_kind)kind, -1);
    }
    qep_free(ref);
    qep_free(diff);
}

qep_status qep_run_obey_all(qep_run *r, int64_t b)
{
    if (qep_stop_poll_all(r->comm, &r->stop, false) != QEP_STOP_NOW) return QEP_OK;
    return qep_fail(QEP_E_STOPPED, "stopped in block %lld/%lld (%s); what was done since the last checkpoint will be done again", (long long)b + 1,
                    (long long)r->model->arch.n_blocks, qep_stop_reason());
}

qep_status qep_run_block_all(qep_run *r, int64_t b)
{
    qep_timing t0 = qep_phase_begin(QEP_PHASE_LOAD);
    QEP_TRY(qep_block_load_all(r->block, b));
    qep_phase_end(r, QEP_PHASE_LOAD, &t0);
    if (b + 1 < r->model->arch.n_blocks) qep_block_expect(r->block, b + 1); /* read while this one is computed */
    bool sparse = qep_arch_sparse(&r->model->arch, b);
    qep_status st = QEP_OK;
    for (int g = 0; g < (sparse ? 2 : QEP_N_GROUPS) && st == QEP_OK; g++) {
        st = run_group_all(r, b, g);
        if (st == QEP_OK) QEP_TRY(qep_run_obey_all(r, b));
    }
    if (sparse && st == QEP_OK) st = qep_run_experts_all(r, b);
    t0 = qep_phase_begin(QEP_PHASE_FORWARD);
    if (st == QEP_OK) {
        advance_evaluation(r);
        st = qep_run_check_streams_all(r);
    }
    if (st == QEP_OK && r->quantizes) measure_growth_all(r, b);
    qep_phase_end(r, QEP_PHASE_FORWARD, &t0);
    return st == QEP_OK || st == QEP_E_STOPPED ? st : qep_context(st, "block %lld", (long long)b + 1);
}
