/* Statistics of the experts of a batch. An expert of d columns with n < d tokens gets (n H + (d - n) H0) / d in place of H, and n C / d in place
 * of C. H0 is formed from all the layer's calibration tokens, sent through this expert: what it would see if nothing were known of the routing.
 * (C stays the expert's own, and with it the correction fades as the tokens do.)
 * SPDX-License-Identifier: Apache-2.0 */
#include "experts_priv.h"

#include <string.h>

static qep_stats_plan plan_of(const qep_experts *x, int64_t tokens, bool want_c)
{
    return qep_run_stats_plan(x->r, qep_experts_cols(x), tokens, want_c, x->r->keep_act);
}

static bool is_short(const qep_expert *e)
{
    return e->want_h && e->x->tokens[e->number] < qep_experts_cols(e->x);
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

/* H and C of the expert's own tokens, made up to d tokens. */
static void make_up(qep_expert *e, qep_dmat *pool)
{
    const int64_t d = qep_experts_cols(e->x), n = e->x->tokens[e->number];
    e->borrowed = (double)(d - n) / (double)d;
    if (!e->sums.H) return; /* another rank's */
    blend(e->sums.H, 1.0 - e->borrowed, pool, e->borrowed);
    if (e->sums.C) blend(e->sums.C, 1.0 - e->borrowed, NULL, 0.0);
}

/* Without tokens. */
static void make_zeros_all(qep_expert *e, qep_comm *c)
{
    const qep_stats_plan p = plan_of(e->x, 1, e->want_c);
    const int64_t owners = qep_min_i64(p.n_owners, qep_size(c));
    e->sums.H = qep_dmat_create_all(c, "solve.h", p.d, p.block, owners);
    if (e->want_c) e->sums.C = qep_dmat_create_all(c, "solve.c", p.d, p.block, owners);
}

/* H0 by all ranks. */
static qep_status pooled_all(const qep_experts *x, int64_t number, qep_dmat **out)
{
    qep_expert all = {.x = x, .number = number, .everyone = true};
    const qep_tap_source taps = qep_expert_taps(&all);
    const qep_stats_plan plan = plan_of(x, x->r->corpus->kind_tokens[QEP_SEQ_CALIBRATION], false);
    qep_stats sums;
    const qep_status st = qep_run_statistics_all(x->r, &plan, &taps, &sums);
    *out = sums.H;
    return st;
}

/* A copy of *m, whole on every rank, takes its place. */
static void make_whole_all(qep_run *r, qep_dmat **m)
{
    const qep_timing t0 = qep_phase_begin(QEP_PHASE_STATISTICS);
    const int64_t d = qep_dmat_n(*m), row = d * (int64_t)sizeof(double), at_once = qep_window_bytes(r->stream) / row;
    qep_dmat *whole = qep_dmat_create_all(qep_comm_alone(r->comm), "solve.h", d, qep_dmat_block(*m), 1);
    for (int64_t i = 0; i < d; i += at_once) {
        const int64_t n = qep_min_i64(at_once, d - i);
        const char *rows = qep_window_data(r->stream);
        qep_window_sync_all(r->stream); /* nobody reads the former rows any more */
        qep_dmat_fetch_rows_all(*m, i, n, false, QEP_F64, r->stream, 0, d);
        for (int64_t k = 0; k < n; k++) memcpy(qep_dmat_row(whole, i + k), rows + k * row, (size_t)row);
    }
    qep_window_sync_all(r->stream);
    qep_dmat_destroy_all(m);
    *m = whole;
    qep_phase_end(r, QEP_PHASE_STATISTICS, &t0);
}

qep_status qep_experts_pool_all(qep_experts *x)
{
    const qep_arch *a = &x->r->model->arch;
    bool wanted = false, want_h, want_c;
    for (int64_t e = 0; e < a->n_experts && !wanted; e++) {
        int64_t members[2];
        for (int i = 0; i < 2; i++) members[i] = qep_run_linear_index(x->r, x->block, qep_arch_expert_linear(a, e, i));
        qep_run_needs(x->r, members, 2, &want_h, &want_c);
        wanted = want_h && x->tokens[e] < a->hidden;
    }
    if (!wanted) return QEP_OK;
    QEP_TRY(pooled_all(x, 0, &x->pool));
    if (x->apart) make_whole_all(x->r, &x->pool);
    return QEP_OK;
}

/* One expert by all ranks. */
static qep_status together_all(const qep_experts *x, qep_expert *e)
{
    const int64_t n = x->tokens[e->number];
    const qep_tap_source taps = qep_expert_taps(e);
    qep_dmat *own = NULL;
    if (n > 0) {
        const qep_stats_plan plan = plan_of(x, n, e->want_c);
        QEP_TRY(qep_run_statistics_all(x->r, &plan, &taps, &e->sums));
    } else {
        make_zeros_all(e, x->r->comm);
    }
    if (!is_short(e)) return QEP_OK;
    if (x->g == 3) QEP_TRY(pooled_all(x, e->number, &own));
    make_up(e, own ? own : x->pool);
    qep_dmat_destroy_all(&own);
    return QEP_OK;
}

static void add_part(const qep_experts *x, qep_expert *e, int64_t tokens, bool want_c, qep_stats *out, qep_stats_part *parts, int64_t *n)
{
    parts[(*n)++] = (qep_stats_part){.plan = plan_of(x, tokens, want_c), .source = qep_expert_taps(e), .owner = e->owner, .out = out};
}

/* The sums of the batch's own tokens; then, of group 3, what those with few tokens borrow from. all, pools: scratch [n]. */
static qep_status sums_all(const qep_experts *x, qep_expert *batch, int64_t n, qep_expert *all, qep_stats *pools, qep_stats_part *parts)
{
    int64_t n_own = 0, n_pools = 0;
    bool want_c = false;
    for (int64_t k = 0; k < n; k++) want_c = want_c || batch[k].want_c;
    for (int64_t k = 0; k < n; k++) {
        qep_expert *e = &batch[k];
        const int64_t tokens = x->tokens[e->number];
        if (e->want_h && tokens > 0) add_part(x, e, tokens, want_c, &e->sums, parts, &n_own);
    }
    QEP_TRY(qep_stats_many_all(x->r->comm, parts, n_own, QEP_EXPERTS_ROOM, x->r->stream));
    for (int64_t k = 0; k < n; k++) {
        qep_expert *e = &batch[k];
        const bool mine = e->owner == qep_rank(x->r->comm);
        if (mine && e->want_h && x->tokens[e->number] == 0) make_zeros_all(e, qep_comm_alone(x->r->comm));
        if (!e->want_c) qep_dmat_destroy_all(&e->sums.C); /* others of the batch wanted it */
        all[k] = *e;
        all[k].everyone = true;
        if (x->g == 3 && is_short(e)) add_part(x, &all[k], x->r->corpus->kind_tokens[QEP_SEQ_CALIBRATION], false, &pools[k], parts, &n_pools);
    }
    return qep_stats_many_all(x->r->comm, parts, n_pools, QEP_EXPERTS_ROOM, x->r->stream);
}

/* Many experts, each for its rank. */
static qep_status apart_all(const qep_experts *x, qep_expert *batch, int64_t n)
{
    qep_stats_part *parts = qep_alloc("run.experts", n, sizeof *parts);
    qep_expert *all = qep_alloc("run.experts", n, sizeof *all);
    qep_stats *pools = qep_alloc("run.experts", n, sizeof *pools);
    const qep_status st = sums_all(x, batch, n, all, pools, parts);
    for (int64_t k = 0; k < n; k++) {
        if (st == QEP_OK && is_short(&batch[k])) make_up(&batch[k], x->g == 3 ? pools[k].H : x->pool);
        qep_stats_free_all(&pools[k]);
    }
    qep_free(pools);
    qep_free(all);
    qep_free(parts);
    return st;
}

/* Mean magnitudes of the channels, for those who scale them. */
static void means_all(const qep_experts *x, qep_expert *batch, int64_t n, double *means)
{
    const char *why;
    const int64_t d = qep_experts_cols(x);
    qep_tap_source *taps = qep_alloc("run.experts", n, sizeof *taps);
    int64_t wanted = 0;
    for (int64_t k = 0; k < n; k++) {
        if (qep_run_fold_kind(x->r, batch[k].members, batch[k].n, &why) == QEP_FOLD_NONE) continue;
        batch[k].means = means + wanted * d;
        taps[wanted++] = qep_expert_taps(&batch[k]);
    }
    if (wanted > 0) qep_abs_means_all(x->r->comm, taps, wanted, d, means);
    qep_free(taps);
}

qep_status qep_experts_statistics_all(const qep_experts *x, qep_expert *batch, int64_t n, double *means)
{
    qep_status st = QEP_OK;
    if (x->apart) {
        const qep_timing t0 = qep_phase_begin(QEP_PHASE_STATISTICS);
        st = apart_all(x, batch, n);
        qep_phase_end(x->r, QEP_PHASE_STATISTICS, &t0);
    }
    for (int64_t k = 0; k < n && st == QEP_OK && !x->apart; k++)
        if (batch[k].want_h) st = together_all(x, &batch[k]);
    if (st == QEP_OK) means_all(x, batch, n, means);
    return st;
}
