/* A linear group: statistics from its taps, then correction, quantization and output of its members.
 * SPDX-License-Identifier: Apache-2.0 */
#include "run_priv.h"

int64_t qep_run_panel(const qep_run *r, int64_t d, bool want_c, bool keep_act)
{
    int64_t budget = (int64_t)(keep_act ? 256 : 1024) << 20, column = d * (int64_t)sizeof(int64_t) * (want_c ? 2 : 1);
    int64_t panel = qep_max_i64(1, budget / (column * QEP_STATS_TILE)) * QEP_STATS_TILE;
    int64_t shares = keep_act ? qep_size(r->comm) : qep_min_i64(4, qep_size(r->comm));
    return qep_min_i64(panel, qep_round_up(qep_ceil_div(d, shares), QEP_STATS_TILE));
}

void qep_run_needs(const qep_run *r, const int64_t *members, int n, bool *want_h, bool *want_c)
{
    *want_h = *want_c = false;
    for (int i = 0; i < n; i++) {
        *want_h = *want_h || qep_layer_needs_h(&r->linear_cfg[members[i]]);
        *want_c = *want_c || qep_layer_needs_c(&r->linear_cfg[members[i]]);
    }
}

qep_status qep_run_statistics_all(qep_run *r, int64_t d, int64_t tokens, bool want_c, const qep_tap_source *taps, qep_dmat **H, qep_dmat **C)
{
    double t0 = qep_now_s();
    int64_t block = r->cfg->solver_block;
    qep_stats_plan plan = {.d = d,
                           .compute = r->compute,
                           .total_tokens = tokens,
                           .want_c = want_c,
                           .panel = qep_run_panel(r, d, want_c, r->keep_act),
                           .block = block,
                           .n_owners = qep_dmat_owners_rule(d, block, qep_size(r->comm), r->cfg->grid)};
    qep_status st = qep_stats_all(r->comm, &plan, taps, H, C);
    r->seconds[QEP_PHASE_STATISTICS] += qep_now_s() - t0;
    return st;
}

qep_status qep_run_members_all(qep_run *r, const int64_t *members, int n, const qep_tap_source *taps, const qep_layer_sink *sink, qep_dmat *H,
                               qep_dmat *C)
{
    qep_layer_member list[QEP_MAX_MEMBERS];
    qep_layer_record records[QEP_MAX_MEMBERS] = {{0}};
    QEP_REQUIRE(n <= QEP_MAX_MEMBERS);
    for (int i = 0; i < n; i++) {
        const qep_export_linear *l = &r->linears[members[i]];
        list[i] = (qep_layer_member){members[i], l->module, l->weight, l->rows, l->cols, r->linear_cfg[members[i]], l->spec};
    }
    qep_layer_job job = {.comm = r->comm, .files = r->model->files, .output = r->output, .stream = r->stream, .sink = *sink,
                         .taps = taps, .H = H, .C = C, .repair = r->cfg->on_failure[0] == 'r', .digest = r->digest,
                         .seconds_correct = &r->seconds[QEP_PHASE_CORRECTION],
                         .seconds_quantize = &r->seconds[QEP_PHASE_QUANTIZE],
                         .seconds_write = &r->seconds[QEP_PHASE_WRITE]};
    qep_status st = qep_layer_quantize_all(&job, list, n, records);
    if (st != QEP_OK) return qep_context(st, "%s", list[0].module);
    for (int i = 0; i < n; i++) r->records[members[i]].layer = records[i];
    return QEP_OK;
}

qep_status qep_run_group_all(qep_run *r, const int64_t *members, int n, const qep_tap_source *taps, const qep_layer_sink *sink)
{
    bool any = false, want_h, want_c;
    int64_t d = r->linears[members[0]].cols, tokens = r->corpus->kind_tokens[QEP_SEQ_CALIBRATION];
    for (int i = 0; i < n; i++) {
        any = any || r->linears[members[i]].quantized;
        r->records[members[i]].tokens = tokens;
    }
    if (!any) return QEP_OK;
    qep_dmat *H = NULL, *C = NULL;
    qep_status st = QEP_OK;
    qep_run_needs(r, members, n, &want_h, &want_c);
    if (want_h) st = qep_run_statistics_all(r, d, tokens, want_c, taps, &H, &C);
    if (st == QEP_OK) st = qep_run_members_all(r, members, n, taps, sink, H, C);
    qep_dmat_destroy_all(&C);
    qep_dmat_destroy_all(&H);
    return st;
}
