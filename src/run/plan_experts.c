/* The experts of a block as calls, batch by batch: it follows experts.c, experts_stats.c and solve's stats_many.c. How many tokens an expert gets is
 * the router's choice; here all get the same, or what makes the bounds (qep_plan_routing). SPDX-License-Identifier: Apache-2.0 */
#include "plan_priv.h"

typedef struct walk {
    const qep_run *r;
    qep_run one;            /* as a rank sees the experts that it works on alone */
    int64_t block, d, tokens; /* columns of the group; calibration tokens of an expert */
    int g;
    bool apart, own, pool;  /* an expert has sums of its own; it borrows from those of all tokens */
    qep_call_visit *visit;
    void *ctx;
    double flops[QEP_N_PHASES][QEP_N_RATES]; /* of a batch that is worked on apart */
} walk;

typedef struct batch {
    int64_t *number; /* of its experts */
    int64_t n;
    bool want_h, want_c;
} batch;

static void reduce(const walk *w, qep_phase phase, int64_t bytes)
{
    if (bytes > 0) w->visit(w->ctx, &(qep_call){.kind = QEP_CALL_REDUCE, .phase = phase, .row_bytes = bytes});
}

static void work(const walk *w, qep_phase phase, qep_share share, qep_rate rate, double flops)
{
    w->visit(w->ctx, &(qep_call){.kind = QEP_CALL_WORK, .phase = phase, .share = share, .rate = rate, .flops = flops});
}

/* Linears of expert e in the group, as numbers. */
static int members_of(const walk *w, int64_t e, int64_t *members)
{
    const int n = w->g == 2 ? 2 : 1, first = qep_arch_expert_linear(&w->r->model->arch, e, w->g == 2 ? 0 : 2);
    for (int i = 0; i < n; i++) members[i] = qep_run_linear_index(w->r, w->block, first + i);
    return n;
}

/* Weights of gate and up, and of down. */
static double part_flops(const qep_arch *a, int g)
{
    return 2.0 * (g == 2 ? 2 : 1) * (double)a->hidden * (double)a->expert_inter;
}

double qep_plan_experts_flops(const qep_run *r)
{
    const qep_arch *a = &r->model->arch;
    return 2.0 * (double)a->hidden * (double)a->n_experts + (double)a->top_k * (part_flops(a, 2) + part_flops(a, 3));
}

int64_t qep_plan_expert_tokens(const qep_run *r)
{
    const qep_arch *a = &r->model->arch;
    return r->corpus->kind_tokens[QEP_SEQ_CALIBRATION] * a->top_k / a->n_experts;
}

static qep_stats_plan plan_of(const walk *w, int64_t tokens, bool want_c)
{
    return qep_run_stats_plan(w->r, w->d, tokens, want_c, w->r->keep_act);
}

/* Inputs of down are computed anew for every pass over the tokens: both streams. */
static void recompute(const walk *w, double passes, double tokens)
{
    if (w->g == 3) work(w, QEP_PHASE_STATISTICS, QEP_SHARE_CALIBRATION, QEP_RATE_FAST, 2 * passes * tokens * part_flops(&w->r->model->arch, 2));
}

/* --- statistics ---------------------------------------------------------------------------- */

/* One pass by all ranks. */
static void one_sum(const walk *w, int64_t tokens, bool want_c)
{
    const qep_stats_plan p = plan_of(w, tokens, want_c);
    recompute(w, qep_run_tap_passes(w->r, &p), (double)tokens);
    qep_plan_statistics_calls(w->r, &p, w->visit, w->ctx);
}

/* Sums of n groups, each for its rank, as many at a time as there is room for. */
static void many_sums(const walk *w, int64_t n, int64_t tokens, bool want_c)
{
    const qep_stats_plan p = plan_of(w, tokens, want_c);
    const int64_t at_once = qep_stats_many_at_once(&p, QEP_EXPERTS_ROOM), ranks = w->r->ranks;
    const double d = (double)w->d;
    for (int64_t first = 0; first < n; first += at_once) {
        const int64_t count = qep_min_i64(at_once, n - first);
        reduce(w, QEP_PHASE_STATISTICS, count * (int64_t)sizeof(int64_t));
        reduce(w, QEP_PHASE_STATISTICS, (int64_t)sizeof(int));
        reduce(w, QEP_PHASE_STATISTICS, count * w->d * (want_c ? 2 : 1) * (int64_t)sizeof(float));
        recompute(w, 2, (double)count * (double)tokens);
        work(w, QEP_PHASE_STATISTICS, QEP_SHARE_CALIBRATION, QEP_RATE_FAST, (double)count * (double)tokens * d * d * (want_c ? 3 : 1));
        w->visit(w->ctx, &(qep_call){.kind = QEP_CALL_SUM, .phase = QEP_PHASE_STATISTICS, .n = n, .row0 = first, .rows = count,
                                     .row_bytes = qep_stats_many_sums(&p) * (int64_t)sizeof(int64_t), .block = 1, .owners = qep_min_i64(ranks, n)});
    }
}

/* H0 of gate and up, the same for all experts: by all ranks, then whole on each of them where they work alone. */
static void pool(const walk *w)
{
    const qep_arch *a = &w->r->model->arch;
    bool wanted = false;
    for (int64_t e = 0; e < a->n_experts && !wanted; e++) {
        int64_t members[2];
        bool want_c;
        qep_run_needs(w->r, members, members_of(w, e, members), &wanted, &want_c);
    }
    if (!wanted || !w->pool || w->g != 2) return;
    const qep_stats_plan p = plan_of(w, w->r->corpus->kind_tokens[QEP_SEQ_CALIBRATION], false);
    const int64_t row = w->d * (int64_t)sizeof(double), at_once = qep_run_stream_bytes(w->r, w->r->keep_act) / row;
    one_sum(w, p.total_tokens, false);
    for (int64_t i = 0; i < w->d && w->apart; i += at_once)
        w->visit(w->ctx, &(qep_call){.kind = QEP_CALL_ROWS, .phase = QEP_PHASE_STATISTICS, .n = w->d, .row0 = i, .rows = qep_min_i64(at_once, w->d - i),
                                     .row_bytes = row, .block = p.block, .owners = p.n_owners});
}

static void statistics(const walk *w, const batch *b)
{
    const int64_t all = w->r->corpus->kind_tokens[QEP_SEQ_CALIBRATION];
    if (!b->want_h) return;
    if (w->apart) {
        if (w->own) many_sums(w, b->n, w->tokens, b->want_c);
        if (w->pool && w->g == 3) many_sums(w, b->n, all, false);
        return;
    }
    if (w->own) one_sum(w, w->tokens, b->want_c);
    if (w->pool && w->g == 3) one_sum(w, all, false);
}

/* --- quantization ---------------------------------------------------------------------------- */

/* Of what a group does, the statistics stand above; one rank alone sends nothing. */
static void quantize_call(void *ctx, const qep_call *c)
{
    walk *w = ctx;
    if (c->phase == QEP_PHASE_STATISTICS) return;
    if (w->apart) w->flops[c->phase][c->rate] += c->flops;
    if (!w->apart || (w->r->ranks == 1 && c->kind == QEP_CALL_REDUCE)) w->visit(w->ctx, c);
}

/* The owners' work, and their weights to every node: one expert of each rank at a time. */
static void finish_apart(walk *w, const batch *b)
{
    const int64_t ranks = w->r->ranks, element = w->r->compute == QEP_COMPUTE_F32 ? 4 : 2;
    qep_call c = {.n = b->n, .block = 1, .owners = qep_min_i64(ranks, b->n), .share = QEP_SHARE_ROWS};
    int64_t members[2];
    for (int p = 0; p < QEP_N_PHASES; p++)
        for (int k = 0; k < QEP_N_RATES; k++) {
            c.kind = QEP_CALL_WORK, c.phase = (qep_phase)p, c.rate = (qep_rate)k, c.flops = w->flops[p][k];
            if (c.flops > 0) w->visit(w->ctx, &c);
            w->flops[p][k] = 0;
        }
    c.kind = QEP_CALL_ROWS, c.phase = QEP_PHASE_WRITE, c.flops = 0;
    const int n = members_of(w, b->number[0], members);
    for (int i = 0; i < n; i++) c.row_bytes += qep_round_up(w->r->linears[members[i]].rows * w->d * element, 64);
    reduce(w, QEP_PHASE_WRITE, (int64_t)sizeof(int));
    for (c.row0 = 0; c.row0 < b->n; c.row0 += ranks) {
        c.rows = qep_min_i64(ranks, b->n - c.row0);
        w->visit(w->ctx, &c);
    }
    reduce(w, QEP_PHASE_WRITE, b->n * n * (int64_t)sizeof(qep_layer_record));
}

static void do_batch(walk *w, const batch *b)
{
    const qep_arch *a = &w->r->model->arch;
    const double routed = (double)b->n * (double)qep_plan_expert_tokens(w->r);
    const int64_t sequences = w->r->corpus->count[QEP_SEQ_CALIBRATION];
    int64_t members[2];
    statistics(w, b);
    for (int64_t k = 0; k < b->n; k++) qep_plan_group_calls(w->apart ? &w->one : w->r, members, members_of(w, b->number[k], members), true, quantize_call, w);
    if (w->apart) finish_apart(w, b);
    /* errors: both streams through the group's linears, and to its input */
    work(w, QEP_PHASE_FORWARD, QEP_SHARE_CALIBRATION, QEP_RATE_FAST, 2 * routed * (part_flops(a, w->g) + (w->g == 3 ? part_flops(a, 2) : 0)));
    reduce(w, QEP_PHASE_FORWARD, 2 * b->n * (w->g == 2 ? 2 : 1) * sequences * (int64_t)sizeof(double));
}

/* The next experts that are quantized, at most `most`. */
static void open_batch(const walk *w, int64_t *next, int64_t most, batch *b)
{
    b->n = 0;
    b->want_h = b->want_c = false;
    for (; *next < w->r->model->arch.n_experts && b->n < most; (*next)++) {
        int64_t members[2];
        bool any = false, want_h, want_c;
        const int n = members_of(w, *next, members);
        for (int i = 0; i < n; i++) any = any || w->r->linears[members[i]].quantized;
        if (!any) continue;
        qep_run_needs(w->r, members, n, &want_h, &want_c);
        b->want_h = b->want_h || want_h;
        b->want_c = b->want_c || want_c;
        b->number[b->n++] = *next;
    }
}

void qep_plan_experts_calls(const qep_run *r, int64_t b, qep_plan_routing routing, qep_call_visit *visit, void *ctx)
{
    const qep_arch *a = &r->model->arch;
    const int64_t *tokens = r->corpus->kind_tokens;
    walk w = {.r = r, .one = *r, .block = b, .tokens = qep_plan_expert_tokens(r), .visit = visit, .ctx = ctx};
    const bool even = routing == QEP_ROUTING_EVEN || a->top_k == a->n_experts;
    w.one.keep_h = false;
    w.one.ranks = w.one.per_node = 1;
    work(&w, QEP_PHASE_FORWARD, QEP_SHARE_CALIBRATION, QEP_RATE_F32, 2.0 * (double)tokens[QEP_SEQ_CALIBRATION] * (double)(a->hidden * a->n_experts));
    reduce(&w, QEP_PHASE_FORWARD, a->n_experts * (int64_t)sizeof(int64_t));
    for (w.g = 2; w.g <= 3; w.g++) {
        w.d = w.g == 2 ? a->hidden : a->expert_inter;
        w.apart = qep_run_experts_apart(r, w.d);
        w.own = even ? w.tokens > 0 : routing == QEP_ROUTING_MOST;
        w.pool = even ? w.tokens < w.d : routing == QEP_ROUTING_MOST;
        const int64_t most = qep_run_experts_batch(r, w.d);
        batch next = {.number = qep_alloc("plan.experts", most, sizeof *next.number)};
        pool(&w);
        for (int64_t e = 0; e < a->n_experts;) {
            open_batch(&w, &e, most, &next);
            if (next.n > 0) do_batch(&w, &next);
        }
        qep_free(next.number);
    }
    work(&w, QEP_PHASE_FORWARD, QEP_SHARE_GROUPED, QEP_RATE_FAST,
         2 * (double)(tokens[QEP_SEQ_CALIBRATION] + tokens[QEP_SEQ_VALIDATION]) * qep_plan_experts_flops(r));
}
