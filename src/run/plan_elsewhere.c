/* The plan for a machine that is not there. SPDX-License-Identifier: Apache-2.0 */
#include "plan_priv.h"

#include <string.h>

static double total_of(const qep_phase_time *phase)
{
    double s = 0;
    for (int p = 0; p < QEP_N_PHASES; p++) s += phase[p].work + phase[p].uneven + phase[p].messages + phase[p].storage;
    return s;
}

/* Time of the same run on fewer ranks, of one node. */
static double time_on(const qep_run *r, const qep_machine *m, int ranks)
{
    qep_run other = *r;
    qep_phase_time phase[QEP_N_PHASES];
    other.ranks = other.per_node = ranks;
    qep_plan_times(&other, m, phase);
    return total_of(phase);
}

static double block_on_one(const qep_run *r, const qep_machine *m)
{
    qep_run one = *r;
    one.ranks = one.per_node = 1;
    return qep_plan_block_seconds(&one, m);
}

static void log_machine(const qep_run *r, const qep_machine *m, bool measured)
{
    qep_info("plan for %d ranks with %d threads each, %d on a node; network: %.3g us a message, %.3g GB/s a node; a rank's GFLOP/s, %s: forward %.0f, f32 %.0f, f64 %.0f",
             r->ranks, r->threads, r->per_node, m->latency * 1e6, m->bandwidth * 1e-9, measured ? "measured here" : "as given", m->rates[QEP_RATE_FAST] * 1e-9,
             m->rates[QEP_RATE_F32] * 1e-9, m->rates[QEP_RATE_F64] * 1e-9);
}

static void log_phases(const qep_run *r, const qep_phase_time *phase)
{
    qep_info("  %-12s %12s %12s %12s %12s   %s", "seconds", "work", "uneven", "messages", "storage", "ranks without work in some step");
    for (int p = 0; p < QEP_N_PHASES; p++) {
        const qep_phase_time *t = &phase[p];
        if (!(t->work + t->messages + t->storage > 0)) continue;
        qep_info("  %-12s %12.2f %12.2f %12.2f %12.2f   %lld of %d", qep_phase_name((qep_phase)p), t->work, t->uneven, t->messages, t->storage,
                 (long long)t->idle, r->ranks);
    }
}

/* What a node needs and, where it has several ranks, its first one, with all that is there once per node, and every other. */
static void log_node(const qep_run *r)
{
    char a[32], b[32], c[32];
    const int nodes = qep_run_n_nodes(r);
    qep_memory_plan first, other;
    char *others = NULL;
    qep_plan_memory(r, 0, r->keep_act, &first);
    if (nodes < r->ranks) {
        qep_plan_memory(r, nodes, r->keep_act, &other);
        others = qep_strf("run.plan", "; its first rank, with what is there once per node, %s, every other %s", qep_format_bytes(first.peak, b, sizeof b),
                          qep_format_bytes(other.peak, c, sizeof c));
    }
    qep_info("memory per node: %s%s; FFN activations %s%s", qep_format_bytes(qep_plan_node_peak(r, r->keep_act), a, sizeof a), others ? others : "",
             r->keep_act ? "kept" : "recomputed", qep_plan_h_words(r));
    qep_free(others);
    for (int i = 0; i < first.n; i++)
        qep_info("  %-18s %12s%s", first.items[i].name, qep_format_bytes(first.items[i].rank_bytes, a, sizeof a),
                 first.items[i].per_node ? "  (once per node)" : "");
}

/* What only the routers will know. */
static void log_spread(const qep_run *r)
{
    const qep_arch *a = &r->model->arch;
    if (!r->quantizes || a->n_sparse == 0) return;
    qep_plan_log_experts(r);
    qep_info("the calibration's tokens are taken to be spread evenly over the experts of a layer: %lld for each (%lld of %lld experts a token)",
             (long long)qep_plan_expert_tokens(r), (long long)a->top_k, (long long)a->n_experts);
}

/* Sequences are dealt whole: numbers of ranks that leave none waiting. */
static void log_advice(const qep_run *r)
{
    const int64_t n = r->corpus->count[QEP_SEQ_CALIBRATION], held = r->corpus->count[QEP_SEQ_VALIDATION];
    if (n == 0 || n % r->ranks == 0) {
        if (held % r->ranks != 0)
            qep_info("the %lld validation sequences are not a multiple of %d ranks: in the forward pass %lld ranks wait for the others", (long long)held,
                     r->ranks, (long long)(r->ranks - held % r->ranks));
        return;
    }
    qep_info("sequences stay whole on a rank: %lld calibration sequences on %d ranks are %lld each at most, %.1f on average; a number of ranks that divides "
             "them, with more threads each, leaves none waiting", (long long)n, r->ranks, (long long)qep_ceil_div(n, r->ranks), (double)n / r->ranks);
}

qep_status qep_plan_elsewhere_all(qep_run *r)
{
    const qep_elsewhere *e = &r->args.elsewhere;
    qep_machine m = {.latency = e->latency, .bandwidth = e->bandwidth, .storage = e->storage};
    qep_phase_time phase[QEP_N_PHASES];
    char t[32];
    if (e->flops[0] > 0)
        memcpy(m.rates, e->flops, sizeof m.rates);
    else
        qep_plan_measure_rates(r, QEP_PLAN_MEASURED, m.rates);
    r->keep_act = strcmp(r->cfg->activations, "recompute") != 0;
    r->keep_h = true;
    r->apart = qep_plan_may_part(r);
    log_machine(r, &m, !(e->flops[0] > 0));
    qep_plan_times(r, &m, phase);
    const double all = total_of(phase);
    log_phases(r, phase);
    log_spread(r);
    log_advice(r);
    qep_info("time %s (%.1f s); efficiency %.1f %% against one rank, %.1f %% against one node of %d; %s", qep_format_seconds(all, t, sizeof t), all,
             100 * time_on(r, &m, 1) / (all * r->ranks), 100 * time_on(r, &m, r->per_node) * r->per_node / (all * r->ranks), r->per_node,
             m.storage > 0 ? "with the file system" : "without reading, writing and checkpoints");
    log_node(r);
    if (!e->trace) return QEP_OK;
    qep_info("first block: %.4f s by these formulas, %.4f s on one rank; traces of its calls in %s", qep_plan_block_seconds(r, &m), block_on_one(r, &m), e->trace);
    return qep_agree_all(r->comm, qep_rank(r->comm) == 0 ? qep_plan_trace(r, &m, e->trace) : QEP_OK);
}
