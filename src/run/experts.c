/* The mixture of experts of a block. Every expert is two groups of its own: gate and up, then down, with the tokens that the router of the
 * quantized stream sends to it; of the full-precision stream the same tokens stand beside them, wherever its own router sent them. Tokens
 * that only the full-precision stream sends to an expert do not enter its statistics. At the end each stream goes on by its own routing.
 *
 * An expert of d columns with n < d tokens gets (n H + (d - n) H0) / d in place of H, and n C / d in place of C. H0 is formed from all the layer's
 * calibration tokens, sent through this expert: what it would see if nothing were known of the routing. (C stays the expert's own, and
 * with it the correction fades as the tokens do.)
 * SPDX-License-Identifier: Apache-2.0 */
#include "run_priv.h"

#include <string.h>

typedef struct experts {
    qep_run *r;
    int64_t block, expert;
    int g;            /* 2 or 3 */
    bool everyone;    /* all tokens, whatever the routing */
    int32_t *route;   /* [my calibration tokens, top_k]: choice of the quantized stream */
    int64_t *tokens;  /* [n_experts]: of all ranks */
    qep_dmat *pool;   /* H0 of group 2, the same for all experts; NULL until it is needed */
} experts;

static bool is_sent(const experts *x, int64_t i, int64_t t)
{
    const int64_t k = x->r->model->arch.top_k;
    const int32_t *choice = x->route + (x->r->seq_offset[i] + t) * k;
    for (int64_t j = 0; j < k; j++)
        if (choice[j] == x->expert) return true;
    return x->everyone;
}

static int64_t tap_tokens(void *ctx, int64_t i)
{
    const experts *x = ctx;
    int64_t n = 0;
    for (int64_t t = 0; t < x->r->seq_tokens[i]; t++) n += is_sent(x, i, t);
    return n;
}

/* The normed rows of the expert's tokens of sequence i in one stream. */
static int64_t gather(const experts *x, int64_t i, const float *stream, float *rows)
{
    const qep_run *r = x->r;
    int64_t d = r->model->arch.hidden, n = 0;
    for (int64_t t = 0; t < r->seq_tokens[i]; t++)
        if (is_sent(x, i, t)) memcpy(rows + n++ * d, stream + (r->seq_offset[i] + t) * d, (size_t)d * sizeof *rows);
    qep_block_norm(r->block, 2, rows, n, rows);
    return n;
}

/* The group's input for the expert's tokens of sequence i; returns how many. */
static int64_t group_input(const experts *x, int64_t i, const float **fp, const float **q)
{
    qep_run *r = x->r;
    gather(x, i, r->x_fp, r->in_fp);
    int64_t n = gather(x, i, r->x_q, r->in_q);
    *fp = r->in_fp;
    *q = r->in_q;
    if (x->g == 2) return n;
    qep_block_expert_act(r->block, QEP_STREAM_FP, x->expert, r->in_fp, n, r->one_fp, r->work);
    qep_block_expert_act(r->block, QEP_STREAM_Q, x->expert, r->in_q, n, r->one_q, r->work);
    *fp = r->one_fp;
    *q = r->one_q;
    return n;
}

static int64_t group_cols(const experts *x)
{
    const qep_arch *a = &x->r->model->arch;
    return x->g == 2 ? a->hidden : a->expert_inter;
}

static void tap_get(void *ctx, int64_t i, float *xq, float *delta)
{
    const float *fp, *q;
    int64_t n = group_input(ctx, i, &fp, &q) * group_cols(ctx);
    memcpy(xq, q, (size_t)n * sizeof *xq);
    for (int64_t k = 0; delta && k < n; k++) delta[k] = fp[k] - q[k];
}

static int first_part(const experts *x)
{
    return x->g == 2 ? 0 : 2;
}

static void sink_put(void *ctx, int member, int64_t row0, int64_t n, const float *values)
{
    const experts *x = ctx;
    int linear = qep_arch_expert_linear(&x->r->model->arch, x->expert, first_part(x) + member);
    qep_block_put_rows(x->r->block, linear, row0, n, values);
}

static void sink_share_all(void *ctx, int member, const int64_t *begin, const int64_t *count)
{
    const experts *x = ctx;
    int linear = qep_arch_expert_linear(&x->r->model->arch, x->expert, first_part(x) + member);
    qep_block_share_all(x->r->block, linear, begin, count);
}

/* m = a m + b other, entry by entry; both are spread alike. other NULL: m = a m. */
static void blend(qep_dmat *m, double a, qep_dmat *other, double b)
{
    int64_t d = qep_dmat_n(m), rows = qep_dmat_n_rows_of(m, qep_rank(qep_dmat_comm(m)));
    for (int64_t i = 0; i < rows; i++) {
        double *row = qep_dmat_row(m, i), *from = other ? qep_dmat_row(other, i) : NULL;
        for (int64_t c = 0; c < d; c++) row[c] = a * row[c] + (from ? b * from[c] : 0.0);
    }
}

/* H0, of all the layer's calibration tokens. */
static qep_status pooled_all(experts *x, const qep_tap_source *taps, qep_dmat **out)
{
    qep_run *r = x->r;
    if (x->g == 2 && x->pool) {
        *out = x->pool;
        return QEP_OK;
    }
    x->everyone = true;
    qep_stats sums;
    qep_stats_plan plan = qep_run_stats_plan(r, group_cols(x), r->corpus->kind_tokens[QEP_SEQ_CALIBRATION], false, r->keep_act);
    qep_status st = qep_run_statistics_all(r, &plan, taps, &sums);
    *out = sums.H;
    x->everyone = false;
    if (x->g == 2) x->pool = *out;
    return st;
}

/* H and C of the expert's own tokens, made up to d tokens. *borrowed: share of H0 in H. */
static qep_status statistics_all(experts *x, bool want_c, const qep_tap_source *taps, qep_stats *sums, double *borrowed)
{
    qep_run *r = x->r;
    int64_t d = group_cols(x), n = x->tokens[x->expert], block = r->cfg->solver_block;
    int64_t owners = qep_dmat_owners_rule(d, block, r->ranks, r->cfg->grid);
    if (n > 0) {
        qep_stats_plan plan = qep_run_stats_plan(r, d, n, want_c, r->keep_act);
        QEP_TRY(qep_run_statistics_all(r, &plan, taps, sums));
    } else {
        sums->H = qep_dmat_create_all(r->comm, "solve.h", d, block, owners);
        if (want_c) sums->C = qep_dmat_create_all(r->comm, "solve.c", d, block, owners);
    }
    *borrowed = n < d ? (double)(d - n) / (double)d : 0.0;
    if (n >= d) return QEP_OK;
    qep_dmat *pool = NULL;
    QEP_TRY(pooled_all(x, taps, &pool));
    blend(sums->H, 1.0 - *borrowed, pool, *borrowed);
    if (sums->C) blend(sums->C, 1.0 - *borrowed, NULL, 0.0);
    if (x->g == 3) qep_dmat_destroy_all(&pool);
    return QEP_OK;
}

/* Error figures of the members over the expert's tokens. */
static void measure_all(experts *x, const int64_t *members, int n)
{
    qep_run *r = x->r;
    double *sums[2];
    qep_error_sums total[2][2] = {{{0, 0}}}; /* held-out tokens are not counted */
    for (int k = 0; k < 2; k++) sums[k] = qep_alloc("run.errors", n * r->n_mine, sizeof *sums[k]);
    for (int64_t i = 0; i < r->n_calibration; i++) {
        qep_out_error err[2] = {{0}};
        const float *fp, *q;
        int64_t tokens = group_input(x, i, &fp, &q);
        qep_block_expert_errors(r->block, x->expert, x->g, tokens, fp, q, err, r->work);
        for (int m = 0; m < n; m++) {
            sums[0][m * r->n_mine + i] = err[m].diff;
            sums[1][m * r->n_mine + i] = err[m].ref;
        }
    }
    for (int k = 0; k < 2; k++) {
        for (int m = 0; m < n; m++)
            *(k == 0 ? &total[m][0].diff : &total[m][0].ref) = qep_eval_ordered_sum_all(r->comm, r->corpus, sums[k] + m * r->n_mine, QEP_SEQ_CALIBRATION, -1);
        qep_free(sums[k]);
    }
    qep_run_record_errors_all(r, members, n, total);
}

/* Group g of the expert. */
static qep_status group_all(experts *x)
{
    qep_run *r = x->r;
    int n = x->g == 2 ? 2 : 1;
    int64_t members[2];
    bool any = false, want_h, want_c;
    for (int i = 0; i < n; i++) {
        members[i] = qep_run_linear_index(r, x->block, qep_arch_expert_linear(&r->model->arch, x->expert, first_part(x) + i));
        any = any || r->linears[members[i]].quantized;
    }
    if (!any) return QEP_OK;
    qep_tap_source taps = {.ctx = x, .n_seq = r->n_calibration, .max_tokens = r->corpus->max_length, .tokens = tap_tokens, .get = tap_get};
    qep_layer_sink sink = {x, sink_put, sink_share_all};
    qep_stats sums = {NULL, NULL, NULL};
    const qep_stats held = sums;
    double borrowed = 0.0;
    qep_status st = QEP_OK;
    qep_run_needs(r, members, n, &want_h, &want_c);
    if (want_h) QEP_GO(st, statistics_all(x, want_c, &taps, &sums, &borrowed));
    for (int i = 0; i < n; i++) {
        r->records[members[i]].tokens = x->tokens[x->expert];
        r->records[members[i]].borrowed = borrowed;
    }
    QEP_GO(st, qep_run_members_all(r, members, n, &taps, &sink, &sums, &held));
    measure_all(x, members, n);
done:
    qep_stats_free_all(&sums);
    return st;
}

/* Where the quantized stream sends my calibration tokens, and how many of all ranks' each expert gets. */
static void route_all(experts *x)
{
    qep_run *r = x->r;
    const qep_arch *a = &r->model->arch;
    int64_t n = r->seq_offset[r->n_calibration] * a->top_k;
    x->route = qep_alloc("run.routes", n, sizeof *x->route);
    x->tokens = qep_alloc("run.routes", a->n_experts, sizeof *x->tokens);
    float *weight = qep_alloc("run.routes", r->corpus->max_length * a->top_k, sizeof *weight);
    for (int64_t i = 0; i < r->n_calibration; i++) {
        qep_block_norm(r->block, 2, r->x_q + r->seq_offset[i] * a->hidden, r->seq_tokens[i], r->in_q);
        qep_block_route(r->block, r->in_q, r->seq_tokens[i], x->route + r->seq_offset[i] * a->top_k, weight, r->work);
    }
    for (int64_t p = 0; p < n; p++) x->tokens[x->route[p]]++;
    qep_sum_i64_all(r->comm, x->tokens, a->n_experts);
    qep_free(weight);
}

void qep_run_experts_sequence(qep_run *r, int64_t i)
{
    int64_t T = r->seq_tokens[i], at = r->seq_offset[i] * r->model->arch.hidden;
    qep_block_norm(r->block, 2, r->x_fp + at, T, r->in_fp);
    qep_block_experts(r->block, QEP_STREAM_FP, r->in_fp, T, r->x_fp + at, r->work);
    if (!r->x_q) return;
    qep_block_norm(r->block, 2, r->x_q + at, T, r->in_q);
    qep_block_experts(r->block, QEP_STREAM_Q, r->in_q, T, r->x_q + at, r->work);
}

qep_status qep_run_experts_all(qep_run *r, int64_t b)
{
    experts x = {.r = r, .block = b};
    qep_status st = QEP_OK;
    if (!r->quantizes) return QEP_OK;
    route_all(&x);
    for (x.expert = 0; x.expert < r->model->arch.n_experts && st == QEP_OK; x.expert++) {
        for (x.g = 2; x.g <= 3 && st == QEP_OK; x.g++) st = group_all(&x);
        if (st == QEP_OK) st = qep_run_obey_all(r, b);
    }
    qep_dmat_destroy_all(&x.pool);
    qep_free(x.tokens);
    qep_free(x.route);
    qep_meter t0 = qep_meter_now();
    for (int64_t i = 0; i < r->n_grouped && st == QEP_OK; i++) qep_run_experts_sequence(r, i);
    qep_meter_add(&r->phase[QEP_PHASE_FORWARD], &t0);
    return st;
}
