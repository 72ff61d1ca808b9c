/* A linear group: statistics from its taps, then correction, quantization and output of its members.
 * SPDX-License-Identifier: Apache-2.0 */
#include "run_priv.h"

/* Wide panels, because where inputs are not kept every panel asks for them again, and makes those of down anew without keep_act; but on several nodes
 * at least PANELS of them, so that most of what goes over the nodes has another panel to hide behind. */
int64_t qep_run_panel(const qep_run *r, int64_t d, bool want_c, bool keep_act)
{
    enum { PANELS = 4, MIB_OF_RANK = 64, LEAST_MIB = 256, MOST_MIB = 4096, WITHOUT_ACT = 4 };
    const int64_t nodes = qep_run_n_nodes(r), per_node = r->ranks / nodes, column = d * (int64_t)sizeof(int64_t) * (want_c ? 2 : 1);
    const int64_t mib = qep_min_i64(MOST_MIB, (keep_act ? 1 : WITHOUT_ACT) * qep_max_i64(LEAST_MIB, per_node * MIB_OF_RANK));
    const int64_t panel = qep_max_i64(1, (mib << 20) / (column * QEP_STATS_TILE)) * QEP_STATS_TILE;
    return qep_min_i64(panel, qep_round_up(nodes > 1 ? qep_ceil_div(d, PANELS) : d, QEP_STATS_TILE));
}

double qep_run_tap_passes(const qep_run *r, const qep_stats_plan *p)
{
    const int64_t n = qep_ceil_div(r->corpus->count[QEP_SEQ_CALIBRATION], r->ranks);
    return qep_stats_sets(p, n, r->corpus->max_length, r->threads) < n ? 1 + (double)qep_ceil_div(p->d, p->panel) : 1;
}

void qep_run_needs(const qep_run *r, const int64_t *members, int n, bool *want_h, bool *want_c)
{
    *want_h = *want_c = false;
    for (int i = 0; i < n; i++) {
        *want_h = *want_h || qep_layer_needs_h(&r->linear_cfg[members[i]]);
        *want_c = *want_c || qep_layer_needs_c(&r->linear_cfg[members[i]]);
    }
}

static bool searches_full(const qep_run *r, const int64_t *members, int n)
{
    bool any = false;
    int k = 0;
    if (qep_run_block_of(r, members[0], &k) < 0) return false; /* the head goes by the quantized stream */
    for (int i = 0; i < n; i++) any = any || qep_run_awq_as_published(r, members[i]);
    return any;
}

bool qep_run_searches_apart(const qep_run *r, const int64_t *members, int n)
{
    bool want_h, others;
    qep_run_needs(r, members, n, &want_h, &others); /* C is of the quantized stream, too */
    for (int i = 0; i < n; i++) others = others || (!qep_run_awq_as_published(r, members[i]) && qep_layer_needs_h(&r->linear_cfg[members[i]]));
    return others && searches_full(r, members, n);
}

qep_stats_plan qep_run_stats_plan(const qep_run *r, int64_t d, int64_t tokens, bool want_c, bool keep_act)
{
    int64_t block = r->cfg->solver_block;
    return (qep_stats_plan){.d = d,
                            .compute = r->compute,
                            .total_tokens = tokens,
                            .want_c = want_c,
                            .panel = qep_run_panel(r, d, want_c, keep_act),
                            .block = block,
                            .n_owners = qep_dmat_owners_rule(d, block, r->ranks, r->cfg->grid)};
}

qep_stats_plan qep_run_group_plan(const qep_run *r, const int64_t *members, int n, bool held, bool keep_act)
{
    bool want_h, want_c, want_gamma = false, fits = false;
    qep_run_needs(r, members, n, &want_h, &want_c);
    for (int i = 0; i < n; i++) {
        want_gamma = want_gamma || qep_layer_needs_gamma(&r->linear_cfg[members[i]]);
        fits = fits || qep_layer_fits(&r->linear_cfg[members[i]]);
    }
    QEP_REQUIRE(!want_gamma || n == 1);
    qep_stats_plan p = qep_run_stats_plan(r, r->linears[members[0]].cols,
                                          r->corpus->kind_tokens[held ? QEP_SEQ_VALIDATION : QEP_SEQ_CALIBRATION], want_c, keep_act);
    p.gamma_rows = want_gamma && (fits || !held) ? r->linears[members[0]].rows : 0;
    p.held = held;
    return p;
}

qep_status qep_run_statistics_all(qep_run *r, const qep_stats_plan *plan, const qep_tap_source *taps, qep_stats *sums)
{
    qep_timing t0 = qep_phase_begin(QEP_PHASE_STATISTICS);
    qep_status st = qep_stats_all(r->comm, plan, taps, r->stream, sums);
    qep_phase_end(r, QEP_PHASE_STATISTICS, &t0);
    return st;
}

/* As published the operands have the model's type, here that of the products; the statistics round the difference to it. */
static void subtract_in_bf16(const float *fp, const float *q, int64_t n, float *delta)
{
    enum { SPAN = 1024 };
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i += SPAN) {
        float x[SPAN], y[SPAN];
        const int64_t m = qep_min_i64(SPAN, n - i);
        qep_round_bf16(x, fp + i, m);
        qep_round_bf16(y, q + i, m);
        for (int64_t k = 0; k < m; k++) delta[i + k] = x[k] - y[k];
    }
}

void qep_run_difference(const qep_run *r, const float *fp, const float *q, int64_t n, float *delta)
{
    if (qep_run_as_published(r) && r->compute == QEP_COMPUTE_BF16) {
        subtract_in_bf16(fp, q, n, delta);
        return;
    }
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < n; k++) delta[k] = fp[k] - q[k];
}

static double published_h(const qep_run *r)
{
    return 2.0 * (double)r->corpus->kind_tokens[QEP_SEQ_CALIBRATION] / (double)qep_max_i64(r->corpus->count[QEP_SEQ_CALIBRATION], 1);
}

qep_status qep_run_members_all(qep_run *r, const qep_run_members *m)
{
    qep_layer_member list[QEP_MAX_MEMBERS];
    qep_layer_record records[QEP_MAX_MEMBERS] = {{0}};
    const int n = m->n;
    QEP_REQUIRE(n <= QEP_MAX_MEMBERS);
    for (int i = 0; i < n; i++) {
        const int64_t k = m->index[i];
        const qep_export_linear *l = &r->linears[k];
        list[i] = (qep_layer_member){k, l->module, l->weight, l->rows, l->cols, r->linear_cfg[k], l->spec, qep_run_keeps_range(r, k)};
    }
    qep_layer_job job = {.comm = m->alone ? qep_comm_alone(r->comm) : r->comm, .files = r->model->files, .output = r->output,
                         .stream = m->alone ? r->stream_alone : r->stream, .sink = *m->sink, .means = m->means,
                         .H = m->sums->H, .C = m->sums->C, .search = m->search, .gamma = m->sums->gamma, .held = m->held,
                         .repair = r->cfg->on_failure[0] == 'r', .keep_h = r->keep_h && !m->alone,
                         .published_h = published_h(r), .published_type = r->compute == QEP_COMPUTE_BF16 ? QEP_BF16 : QEP_F32, .digest = r->digest,
                         .correct = &r->phase[QEP_PHASE_CORRECTION],
                         .quantize = &r->phase[QEP_PHASE_QUANTIZE],
                         .write = &r->phase[QEP_PHASE_WRITE]};
    qep_run_fold fold;
    qep_run_fold_begin_all(r, m->index, n, &fold, &job);
    qep_status st = qep_layer_quantize_all(&job, list, n, records);
    qep_run_fold_end(&fold);
    if (st != QEP_OK) return qep_context(st, "%s", list[0].module);
    for (int i = 0; i < n; i++) r->records[m->index[i]].layer = records[i];
    return QEP_OK;
}

qep_status qep_run_group_all(qep_run *r, const int64_t *members, int n, const qep_tap_source *taps, const qep_tap_source *held_taps,
                             const qep_tap_source *full_taps, const qep_layer_sink *sink)
{
    const bool full = searches_full(r, members, n), apart = qep_run_searches_apart(r, members, n);
    bool any = false, want_h, want_c;
    for (int i = 0; i < n; i++) {
        any = any || r->linears[members[i]].quantized;
        r->records[members[i]].tokens = r->corpus->kind_tokens[QEP_SEQ_CALIBRATION];
    }
    if (!any) return QEP_OK;
    qep_stats sums = {NULL, NULL, NULL}, held = sums, search = sums;
    qep_status st = QEP_OK;
    const char *why;
    double *means = NULL;
    const int64_t d = r->linears[members[0]].cols;
    qep_run_needs(r, members, n, &want_h, &want_c);
    qep_stats_plan plan = qep_run_group_plan(r, members, n, false, r->keep_act), held_plan = qep_run_group_plan(r, members, n, true, r->keep_act);
    if (want_h) QEP_GO(st, qep_run_statistics_all(r, &plan, full && !apart ? full_taps : taps, &sums));
    if (apart) {
        qep_stats_plan h_alone = plan;
        h_alone.want_c = false;
        h_alone.gamma_rows = 0;
        QEP_GO(st, qep_run_statistics_all(r, &h_alone, full_taps, &search));
    }
    if (want_c && held_plan.total_tokens > 0) QEP_GO(st, qep_run_statistics_all(r, &held_plan, held_taps, &held));
    if (qep_run_fold_kind(r, members, n, &why) != QEP_FOLD_NONE) {
        means = qep_alloc("run.means", d, sizeof *means);
        qep_abs_means_all(r->comm, full ? full_taps : taps, 1, d, means);
    }
    st = qep_run_members_all(r, &(qep_run_members){members, n, &sums, &held, search.H, means, sink, false});
done:
    qep_free(means);
    qep_stats_free_all(&search);
    qep_stats_free_all(&held);
    qep_stats_free_all(&sums);
    return st;
}
