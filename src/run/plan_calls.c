/* One block of a run as a list of calls: who computes what, and which rows go where. It follows block.c, group.c and the files of layer and solve step by
 * step; tests compare its bytes and messages with those of a run. SPDX-License-Identifier: Apache-2.0 */
#include "plan_priv.h"

typedef struct walk {
    const qep_run *r;
    qep_call_visit *visit;
    void *ctx;
    qep_phase phase;
    int64_t d, block, owners;        /* the group's matrices */
    int64_t strips, rows;            /* of the set at hand */
    bool kept;                       /* the matrix that passes by in f32 is there already, on every node */
} walk;

static void reduce(const walk *w, int64_t bytes)
{
    if (bytes > 0) w->visit(w->ctx, &(qep_call){.kind = QEP_CALL_REDUCE, .phase = w->phase, .row_bytes = bytes});
}

static void agree(const walk *w)
{
    reduce(w, (int64_t)sizeof(int));
}

static void work(const walk *w, qep_share share, qep_rate rate, double flops)
{
    w->visit(w->ctx, &(qep_call){.kind = QEP_CALL_WORK, .phase = w->phase, .flops = flops, .rate = rate, .share = share,
                                 .n = share == QEP_SHARE_ROWS ? w->d : w->strips, .block = w->block, .owners = w->owners});
}

static void matrix_call(const walk *w, qep_call c)
{
    c.phase = w->phase;
    c.n = w->d;
    c.block = w->block;
    c.owners = w->owners;
    w->visit(w->ctx, &c);
}

static void rows(const walk *w, int64_t from, int64_t to, int64_t most, int64_t element, bool flip)
{
    for (int64_t row0 = from; row0 < to; row0 += most)
        matrix_call(w, (qep_call){.kind = QEP_CALL_ROWS, .row0 = row0, .rows = qep_min_i64(most, w->d - row0),
                                  .row_bytes = qep_round_up(w->d, QEP_DMAT_LINE) * element, .flip = flip});
}

/* A matrix passes by. */
static void pass(const walk *w, int64_t element)
{
    if (!w->kept) rows(w, 0, w->d, QEP_STREAM_BUNDLE, element, false);
}

/* It passes by and back again: the rows at which it turns are still there. */
static void pass_and_back(const walk *w)
{
    const int64_t element = (int64_t)sizeof(double);
    rows(w, 0, w->d, QEP_STREAM_BUNDLE, element, false);
    rows(w, 0, (w->d - 1) / QEP_STREAM_BUNDLE * QEP_STREAM_BUNDLE, QEP_STREAM_BUNDLE, element, false);
}

/* The set's strips multiply with what passes by: `flops` per entry and row. */
static void stream(const walk *w, int64_t element, qep_rate rate, double flops)
{
    pass(w, element);
    work(w, QEP_SHARE_STRIPS, rate, flops * (double)w->rows * (double)w->d * (double)w->d);
}

/* They are solved against the factor and its transpose. */
static void solve(const walk *w)
{
    pass_and_back(w);
    work(w, QEP_SHARE_STRIPS, QEP_RATE_F64, 2 * (double)w->rows * (double)w->d * (double)w->d);
}

static void stream_f32(const walk *w)
{
    stream(w, (int64_t)sizeof(float), QEP_RATE_F32, 2);
}

/* Quadratic forms of their rows: half of it, by symmetry. */
static void forms(const walk *w)
{
    stream(w, (int64_t)sizeof(float), QEP_RATE_F32, 1);
}

static void diagonal(const walk *w)
{
    reduce(w, w->d * (int64_t)sizeof(double));
}

/* Rows [row0, row0 + rows) of L, a number of columns of them, pass by. */
static void part(const walk *w, int64_t row0, int64_t n_rows, int64_t cols)
{
    if (cols > 0) matrix_call(w, (qep_call){.kind = QEP_CALL_ROWS, .row0 = row0, .rows = n_rows, .row_bytes = cols * (int64_t)sizeof(double)});
}

/* By bundles of columns: what is left of a bundle's rows goes to all nodes, then the diagonal block, and all rows below are at work: 2 (n - c) c flops
 * for column c. That every rank factors the diagonal block is not counted. */
static void cholesky(const walk *w)
{
    const double n = (double)w->d;
    qep_call c = {.kind = QEP_CALL_CHOLESKY, .flops = n * n * n / 3, .rate = QEP_RATE_F64, .share = QEP_SHARE_ROWS};
    if (!w->r->cfg->reproducible) {
        matrix_call(w, c);
        reduce(w, (int64_t)sizeof(int64_t));
        return;
    }
    for (; c.row0 < w->d; c.row0 += QEP_DMAT_BUNDLE) {
        const int64_t width = qep_min_i64(QEP_DMAT_BUNDLE, w->d - c.row0);
        const double a = (double)c.row0, b = a + (double)width;
        part(w, c.row0, width, c.row0);
        part(w, c.row0, width, width);
        c.flops = n * (b * b - a * a) - 2.0 / 3 * (b * b * b - a * a * a);
        matrix_call(w, c);
    }
}

static void factor(const walk *w)
{
    diagonal(w);
    cholesky(w);
}

/* --- statistics ---------------------------------------------------------------------- */

static void statistics(walk *w, const qep_stats_plan *p)
{
    const qep_share share = p->held ? QEP_SHARE_VALIDATION : QEP_SHARE_CALIBRATION;
    const double tokens = (double)p->total_tokens, d = (double)p->d;
    w->phase = QEP_PHASE_STATISTICS;
    reduce(w, (int64_t)sizeof(int64_t));
    agree(w);
    reduce(w, (p->d * (p->want_c ? 2 : 1) + p->gamma_rows) * (int64_t)sizeof(float));
    for (int64_t col0 = 0; col0 < p->d; col0 += p->panel) {
        const int64_t width = qep_min_i64(p->panel, p->d - col0), bytes = width * (int64_t)sizeof(int64_t);
        work(w, share, QEP_RATE_FAST, 2 * tokens * (double)width * ((double)(p->d - col0) - 0.5 * (double)width + (p->want_c ? d : 0) + (double)p->gamma_rows));
        matrix_call(w, (qep_call){.kind = QEP_CALL_SUM, .row0 = col0, .rows = p->d - col0, .row_bytes = bytes});
        if (p->want_c) matrix_call(w, (qep_call){.kind = QEP_CALL_SUM, .rows = p->d, .row_bytes = bytes});
        if (p->gamma_rows > 0)
            w->visit(w->ctx, &(qep_call){.kind = QEP_CALL_SUM, .phase = w->phase, .n = p->gamma_rows, .rows = p->gamma_rows, .row_bytes = bytes});
    }
    matrix_call(w, (qep_call){.kind = QEP_CALL_TURN});
}

/* --- a set of linears with the same settings ----------------------------------------------- */

static void correct(const walk *w, const qep_linear_config *c)
{
    const double f64 = (double)w->d * (double)w->d * (double)w->d;
    const int64_t size = (int64_t)sizeof(double);
    const bool once = qep_correct_by_matrix(w->rows, w->d, qep_layer_needs_gamma(c));
    for (int k = 0; k < (qep_layer_fits(c) ? 4 : 0); k++) { /* the dampings that alpha = auto tries */
        if (k == 0) stream_f32(w), stream(w, size, QEP_RATE_F64, 2);
        factor(w);
        solve(w);
        forms(w);
        reduce(w, 2 * w->strips * QEP_STRIP * size);
    }
    factor(w);
    if (once) { /* C (H + lambda I)^-1 by its own rows */
        pass_and_back(w);
        work(w, QEP_SHARE_ROWS, QEP_RATE_F64, 2 * f64);
        stream_f32(w);
        return;
    }
    stream(w, size, QEP_RATE_F64, 2);
    solve(w);
}

static void permute(const walk *w, bool act_order)
{
    matrix_call(w, (qep_call){.kind = QEP_CALL_PERMUTE, .rows = w->d, .row_bytes = w->d * (int64_t)sizeof(double), .flip = !act_order});
}

/* S = (C' R^-T) o SU, and in the published codes P = S R^-1: each a solve by C's rows, from their own column on. */
static void form_move(const walk *w, const qep_qspec *q)
{
    if (q->act_order) permute(w, true); /* else every row stays where it is */
    for (int k = 0; k < 1 + q->paper; k++) {
        rows(w, 0, w->d, QEP_STREAM_ROWS, (int64_t)sizeof(double), true);
        work(w, QEP_SHARE_ROWS, QEP_RATE_F64, (double)w->d * (double)w->d * (double)w->d / 3);
    }
}

/* R passes by from row0 on and back again: all weights to come are drawn back (FOEM as published). */
static void pull(const walk *w, int64_t row0)
{
    const int64_t left = w->d - row0, blocks = qep_ceil_div(left, QEP_STREAM_ROWS);
    for (int64_t k = 0; k < 2 * blocks; k++) {
        const int64_t from = row0 + (k < blocks ? k : 2 * blocks - 1 - k) * QEP_STREAM_ROWS;
        matrix_call(w, (qep_call){.kind = QEP_CALL_ROWS, .row0 = from, .rows = qep_min_i64(QEP_STREAM_ROWS, w->d - from),
                                  .row_bytes = qep_round_up(w->d - from, QEP_DMAT_LINE) * (int64_t)sizeof(double), .flip = true});
    }
    work(w, QEP_SHARE_STRIPS, QEP_RATE_F64, 2 * (double)w->rows * (double)left * (double)left);
}

/* The loop over columns against the factor R and the method's matrices. */
static void column_loop(const walk *w, const qep_qspec *q)
{
    const int64_t f = (int64_t)sizeof(float);
    const int moves = qep_gptq_moves(q);
    diagonal(w);
    diagonal(w);
    permute(w, q->act_order);
    cholesky(w);
    diagonal(w);
    for (int m = 0; m < moves; m++) form_move(w, q);
    for (int64_t step = 0; step < qep_gptq_n_steps(q, w->d); step++) {
        int64_t row0, n;
        qep_gptq_step_rows(q, w->d, step, &row0, &n);
        if (qep_gptq_pulls(q)) pull(w, row0);
        matrix_call(w, (qep_call){.kind = QEP_CALL_ROWS, .row0 = row0, .rows = n, .row_bytes = qep_layer_row_stride(w->d - row0) * f, .flip = true});
        for (int m = 0; m < moves; m++)
            matrix_call(w, (qep_call){.kind = QEP_CALL_ROWS, .row0 = row0, .rows = qep_gptq_step_cols(q, w->d, step), .row_bytes = qep_layer_row_stride(w->d) * f});
    }
    work(w, QEP_SHARE_STRIPS, QEP_RATE_F32, (1.0 + moves) * (double)w->rows * (double)w->d * (double)w->d);
}

/* Scales by least squares: one pass over H for every batch of strips, then the gradient anew. */
static void refit_scales(const walk *w, const qep_qspec *q)
{
    const int64_t batch = qep_layer_polish_batch(qep_n_groups(q, w->d)), most = qep_ceil_div(w->strips, w->r->ranks);
    for (int64_t first = 0; first < most; first += batch) pass(w, (int64_t)sizeof(float));
    work(w, QEP_SHARE_STRIPS, QEP_RATE_F32, 2 * (double)w->rows * (double)w->d * (double)w->d);
    stream_f32(w);
}

/* Sweeps end early when no code moves; here all are made. */
static void polish(walk *w, const qep_linear_config *c, const qep_qspec *q)
{
    if (!qep_layer_polishes(c, q)) return;
    diagonal(w);
    if (w->r->keep_h) {
        reduce(w, 2 * (int64_t)sizeof(int64_t)); /* the window: its size, that every node has room for it and gets it */
        agree(w);
        agree(w);
        rows(w, 0, w->d, w->d, (int64_t)sizeof(float), false);
    }
    w->kept = w->r->keep_h;
    stream_f32(w);
    for (int64_t k = 0; k < qep_max_i64(1, c->refit); k++) {
        if (c->refit > 0) refit_scales(w, q);
        for (int64_t i = 0; i < c->sweeps; i++) {
            stream(w, (int64_t)sizeof(float), QEP_RATE_F32, 2);
            reduce(w, (int64_t)sizeof(int64_t));
        }
    }
    if (c->refit > 0 && c->sweeps > 0) refit_scales(w, q);
}

static void figures(walk *w, int members, const qep_linear_config *c, const qep_qspec *q, bool with_c, bool held)
{
    const bool corrects = qep_layer_corrects(c), y = corrects && qep_correct_by_matrix(w->rows, w->d, qep_layer_needs_gamma(c));
    for (int m = 0; m < 2 * members; m++) reduce(w, (int64_t)sizeof(double)); /* largest scale, scales that were cut */
    if (!with_c) return;
    for (int k = 0; k < 1 + held; k++) {
        if (k == 1) w->kept = false, stream_f32(w); /* the held-out sequences' matrices */
        if (k == 0 && y && qep_layer_rounds(q, w->r->compute == QEP_COMPUTE_BF16 ? QEP_BF16 : QEP_F32)) forms(w);
        for (int stage = 0; stage < 2 + corrects; stage++) { /* the result, W rounded, W corrected or the correction alone */
            forms(w);
            reduce(w, w->strips * QEP_STRIP * (int64_t)sizeof(double));
        }
    }
}

static void write_rows(const walk *w, const int64_t *members, int n)
{
    const int64_t element = w->r->compute == QEP_COMPUTE_F32 ? 4 : 2;
    int64_t first = 0;
    agree(w);
    for (int i = 0; i < n; i++) {
        const qep_export_linear *l = &w->r->linears[members[i]];
        w->visit(w->ctx, &(qep_call){.kind = QEP_CALL_STRIPS, .phase = w->phase, .n = w->strips, .row0 = first, .rows = l->rows, .row_bytes = l->cols * element});
        first += qep_ceil_div(l->rows, QEP_STRIP);
    }
}

static void quantize_set(walk *w, const int64_t *members, int n, bool with_c, bool held)
{
    const qep_linear_config *c = &w->r->linear_cfg[members[0]];
    const qep_qspec *q = &w->r->linears[members[0]].spec;
    w->strips = w->rows = 0;
    for (int i = 0; i < n; i++) {
        w->rows += w->r->linears[members[i]].rows;
        w->strips += qep_ceil_div(w->r->linears[members[i]].rows, QEP_STRIP);
    }
    w->phase = QEP_PHASE_CORRECTION;
    agree(w);
    if (qep_layer_corrects(c)) correct(w, c);
    else if (with_c) stream_f32(w); /* W C for the figures, which a correction leaves (with compat = paper, if no channel is dead) */
    w->phase = QEP_PHASE_QUANTIZE;
    if (q->method->drive == QEP_DRIVE_FACTOR) column_loop(w, q);
    polish(w, c, q);
    figures(w, n, c, q, with_c, held);
    w->kept = false;
    w->phase = QEP_PHASE_WRITE;
    write_rows(w, members, n);
}

/* --- a group, a block -------------------------------------------------------------------- */

static bool together(const qep_run *r, int64_t a, int64_t b)
{
    return qep_layer_same(&r->linear_cfg[a], &r->linears[a].spec, &r->linear_cfg[b], &r->linears[b].spec);
}

static void quantize_group(walk *w, const int64_t *members, int n, bool expert)
{
    const qep_run *r = w->r;
    bool want_h, want_c, done[QEP_MAX_MEMBERS] = {false};
    qep_run_needs(r, members, n, &want_h, &want_c);
    const qep_stats_plan plan = qep_run_group_plan(r, members, n, false, r->keep_act), held = qep_run_group_plan(r, members, n, true, r->keep_act);
    const bool with_held = want_c && !expert && held.total_tokens > 0;
    w->d = plan.d;
    w->block = plan.block;
    w->owners = plan.n_owners;
    if (want_h) statistics(w, &plan);
    if (!expert && qep_run_searches_apart(r, members, n)) {
        qep_stats_plan search = plan;
        search.want_c = false;
        search.gamma_rows = 0;
        statistics(w, &search);
    }
    if (with_held) statistics(w, &held);
    w->phase = QEP_PHASE_CORRECTION;
    if (want_h) diagonal(w);
    for (int i = 0; i < n; i++) {
        int64_t set[QEP_MAX_MEMBERS] = {members[i]};
        int count = 0;
        if (done[i] || !r->linears[members[i]].quantized) continue;
        for (int k = i; k < n; k++) {
            if (done[k] || !r->linears[members[k]].quantized || (k > i && !together(r, members[i], members[k]))) continue;
            done[k] = true;
            set[count++] = members[k];
        }
        quantize_set(w, set, count, want_c, with_held);
    }
}

double qep_plan_token_flops(const qep_run *r, int g)
{
    const qep_arch *a = &r->model->arch;
    const double T = r->corpus->n > 0 ? (double)r->corpus->tokens / (double)r->corpus->n : 0;
    double flops = g == 0 ? 2 * T * (double)(a->n_heads * a->head_dim) : 0;
    for (int i = 0; i < a->group_count[g]; i++) {
        const qep_linear_shape *l = &a->linears[a->group_first[g] + i];
        flops += 2 * (double)l->rows * (double)l->cols;
    }
    return flops;
}

/* Both streams through group g. down's inputs that are not kept are computed again, for each pass over the sequences. */
static void forward(walk *w, int g, const int64_t *members, int n)
{
    const qep_run *r = w->r;
    const int64_t *tokens = r->corpus->kind_tokens, *count = r->corpus->count;
    const double grouped = (double)(tokens[QEP_SEQ_CALIBRATION] + tokens[QEP_SEQ_VALIDATION]);
    double flops = qep_plan_token_flops(r, g);
    if (g == 3 && !r->keep_act) {
        const qep_stats_plan p = qep_run_group_plan(r, members, n, false, false);
        flops += qep_plan_token_flops(r, 2) * (1 + qep_run_tap_passes(r, &p));
    }
    w->phase = QEP_PHASE_FORWARD;
    work(w, QEP_SHARE_GROUPED, QEP_RATE_FAST, 2 * grouped * flops);
    for (int m = 0; m < n; m++)
        for (int k = 0; k < 4; k++) reduce(w, count[k < 2 ? QEP_SEQ_CALIBRATION : QEP_SEQ_VALIDATION] * (int64_t)sizeof(double));
}

void qep_plan_statistics_calls(const qep_run *r, const qep_stats_plan *p, qep_call_visit *visit, void *ctx)
{
    walk w = {.r = r, .visit = visit, .ctx = ctx, .d = p->d, .block = p->block, .owners = p->n_owners};
    statistics(&w, p);
}

void qep_plan_group_calls(const qep_run *r, const int64_t *members, int n, bool expert, qep_call_visit *visit, void *ctx)
{
    walk w = {.r = r, .visit = visit, .ctx = ctx};
    quantize_group(&w, members, n, expert);
}

void qep_plan_block_calls(const qep_run *r, int64_t b, qep_plan_routing routing, qep_call_visit *visit, void *ctx)
{
    walk w = {.r = r, .visit = visit, .ctx = ctx, .phase = QEP_PHASE_LOAD};
    const double streams = r->quantizes ? 2 : 1, evaluation = (double)(r->corpus->kind_tokens[QEP_SEQ_EVALUATION] + r->corpus->kind_tokens[QEP_SEQ_TASKS]);
    const bool sparse = qep_arch_sparse(&r->model->arch, b);
    double flops = sparse ? qep_plan_experts_flops(r) : 0; /* of a token */
    agree(&w);
    for (int g = 0; g < (sparse ? 2 : QEP_N_GROUPS); g++) {
        int64_t members[QEP_MAX_MEMBERS];
        const int n = qep_run_plan_members(r, b, g, members);
        bool any = false;
        for (int i = 0; i < n; i++) any = any || r->linears[members[i]].quantized;
        if (any) quantize_group(&w, members, n, false);
        flops += qep_plan_token_flops(r, g);
        if (r->quantizes) forward(&w, g, members, n);
    }
    if (sparse && r->quantizes) qep_plan_experts_calls(r, b, routing, visit, ctx);
    w.phase = QEP_PHASE_FORWARD;
    work(&w, QEP_SHARE_EVALUATION, QEP_RATE_FAST, streams * evaluation * flops);
    agree(&w); /* that the streams are finite */
    for (int kind = 0; kind < QEP_N_SEQ_KINDS && r->quantizes; kind++)
        for (int k = 0; k < 2; k++) reduce(&w, r->corpus->count[kind] * (int64_t)sizeof(double));
}
