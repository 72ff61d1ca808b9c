/* Time of a run on a machine that is described, not there: the calls of all blocks, each by a formula. The rank with most work makes the time of a
 * step; what the others wait is the difference to the mean. Messages are those of rank 0, which has most of them.
 *
 * Network: a message costs `latency`, all ranks of a node share `bandwidth`. Inside a node every rank moves NODE_BANDWIDTH, while all others do (an assumption:
 * it is the memory's bandwidth that they share). Reductions and broadcasts go over binary trees, first among nodes, then inside; long broadcasts are pipelined and cost
 * at most twice their bytes. The statistics' sums over the nodes go on while the next panel's products are made. Rows of several nodes for all nodes go around a ring (qep_window_merge_all). p?potrf (run.reproducible = no) on one column of processes: at each block of columns the diagonal
 * block goes to all, the panel to one rank and from there to all. Reading, writing and checkpoints take what `storage` allows, when it is given.
 * SPDX-License-Identifier: Apache-2.0 */
#include "plan_priv.h"

#include <math.h>
#include <string.h>

#define NODE_LATENCY 5e-7    /* seconds */
#define NODE_BANDWIDTH 4e9   /* bytes per second of one rank */

typedef struct clock_sum {
    const qep_run *r;
    qep_machine m;
    int nodes;
    double most[QEP_N_SHARES]; /* largest share of a rank in what goes by sequences; < 0: not known yet */
    double under_way;          /* seconds of sums over the nodes that go on beside the next panel's products */
    qep_phase_time *phase;
} clock_sum;

static double levels(int64_t n)
{
    return n > 1 ? ceil(log2((double)n)) : 0;
}

/* Of what goes to all nodes, and to all ranks of one. */
static double tree(const clock_sum *t, double bytes)
{
    return levels(t->nodes) * t->m.latency + fmin(levels(t->nodes), 2) * bytes / t->m.bandwidth;
}

static double node_tree(const clock_sum *t, double bytes)
{
    return levels(t->r->per_node) * NODE_LATENCY + fmin(levels(t->r->per_node), 2) * bytes / NODE_BANDWIDTH;
}

/* `bytes` in `pieces` of which `givers` nodes in turn have one, to all nodes. */
static double to_all_nodes(const clock_sum *t, double bytes, int64_t pieces, int64_t givers)
{
    const double rounds = (double)qep_ceil_div(pieces, givers);
    if (!qep_window_gathers(givers, t->nodes)) return (double)pieces * tree(t, 0) + tree(t, bytes) - tree(t, 0);
    return rounds * (t->nodes - 1) * (t->m.latency + bytes / (double)pieces / t->m.bandwidth);
}

static double rows_seconds(const clock_sum *t, const qep_call *c)
{
    const int64_t pieces = qep_ceil_div(c->rows, c->block);
    return to_all_nodes(t, (double)c->rows * (double)c->row_bytes, pieces, qep_min_i64(pieces, qep_min_i64(c->owners, t->nodes)));
}

/* Messages of one rank to many. */
static double exchange(const clock_sum *t, const qep_call *c)
{
    const qep_call_traffic n = qep_call_count(t->r, c, 0);
    const double near = (double)(n.bytes - n.far_bytes);
    return (double)n.far_messages * t->m.latency + (double)(n.messages - n.far_messages) * NODE_LATENCY +
           (double)t->r->per_node * (double)n.far_bytes / t->m.bandwidth + near / NODE_BANDWIDTH;
}

/* Each node sends the sum of its ranks, and the node with most owners gets its rows from all others. */
static double sum_to_owners(const clock_sum *t, const qep_call *c)
{
    if (t->nodes == 1) return 0;
    const qep_call_traffic n = qep_call_count(t->r, c, 0);
    const double all = (double)c->rows * (double)c->row_bytes, per = (double)t->r->per_node;
    const double first = c->owners > 0 ? (double)qep_ceil_div(c->owners, t->nodes) / (double)c->owners : per / t->r->ranks; /* of the rows, on the first node */
    const double far = all * fmax(1, first * (t->nodes - 1)) / t->m.bandwidth;
    return (double)n.messages * t->m.latency + far + (double)n.bytes / NODE_BANDWIDTH;
}

static double cholesky(const clock_sum *t, const qep_call *c)
{
    const double n = (double)c->n, panel = n * n / 2 * (double)sizeof(double), steps = ceil(n / (double)c->block);
    const int64_t nodes = qep_min_i64(c->owners, t->nodes), inside = qep_ceil_div(c->owners, nodes);
    double s = 0;
    if (nodes > 1) s += steps * 3 * levels(nodes) * t->m.latency + (1 + fmin(levels(nodes), 2)) * panel / t->m.bandwidth;
    if (inside > 1) s += steps * 3 * levels(inside) * NODE_LATENCY + (1 + fmin(levels(inside), 2)) * panel / NODE_BANDWIDTH;
    return s;
}

double qep_call_seconds(const qep_run *r, const qep_machine *m, const qep_call *c)
{
    const clock_sum t = {.r = r, .m = *m, .nodes = qep_run_n_nodes(r)};
    const double barriers = 2 * levels(r->per_node) * NODE_LATENCY;
    if (r->ranks == 1) return 0;
    switch (c->kind) {
    case QEP_CALL_REDUCE: return 2 * tree(&t, (double)c->row_bytes) + 2 * node_tree(&t, (double)c->row_bytes);
    case QEP_CALL_SUM: return sum_to_owners(&t, c);
    case QEP_CALL_ROWS: return barriers + rows_seconds(&t, c);
    case QEP_CALL_STRIPS: return barriers + to_all_nodes(&t, (double)c->rows * (double)c->row_bytes, r->ranks, t.nodes);
    case QEP_CALL_TURN:
    case QEP_CALL_PERMUTE: return exchange(&t, c);
    case QEP_CALL_CHOLESKY: return r->cfg->reproducible ? 0 : cholesky(&t, c);
    case QEP_CALL_WORK: break;
    }
    return 0;
}

/* Part of `all` that the rank has. */
static double part_of(const qep_run *r, qep_seq_kind kind, int rank)
{
    qep_corpus_part p;
    qep_corpus_share(r->corpus, kind, r->ranks, rank, &p);
    return (double)p.tokens;
}

double qep_call_share(const qep_run *r, const qep_call *c, int rank)
{
    static const qep_seq_kind kinds[][2] = {[QEP_SHARE_GROUPED] = {QEP_SEQ_CALIBRATION, QEP_SEQ_VALIDATION},
                                            [QEP_SHARE_CALIBRATION] = {QEP_SEQ_CALIBRATION, QEP_SEQ_CALIBRATION},
                                            [QEP_SHARE_VALIDATION] = {QEP_SEQ_VALIDATION, QEP_SEQ_VALIDATION},
                                            [QEP_SHARE_EVALUATION] = {QEP_SEQ_EVALUATION, QEP_SEQ_TASKS}};
    if (c->share == QEP_SHARE_ROWS)
        return (double)(qep_call_rows_below(r, c, rank, c->n) - qep_call_rows_below(r, c, rank, c->row0)) / (double)(c->n - c->row0);
    if (c->share == QEP_SHARE_STRIPS) {
        int64_t first, count;
        qep_partition(c->n, r->ranks, rank, &first, &count);
        return (double)count / (double)c->n;
    }
    const int64_t *tokens = r->corpus->kind_tokens;
    const qep_seq_kind a = kinds[c->share][0], b = kinds[c->share][1];
    const double mine = part_of(r, a, rank) + part_of(r, b, rank), all = (double)(tokens[a] + tokens[b]);
    return all > 0 ? mine / all : 0;
}

/* Ranks without any of it. */
static int64_t idle_ranks(const qep_run *r, const qep_call *c)
{
    const int64_t *count = r->corpus->count;
    int64_t parts = c->n;
    switch (c->share) {
    case QEP_SHARE_GROUPED: parts = qep_max_i64(count[QEP_SEQ_CALIBRATION], count[QEP_SEQ_VALIDATION]); break;
    case QEP_SHARE_CALIBRATION: parts = count[QEP_SEQ_CALIBRATION]; break;
    case QEP_SHARE_VALIDATION: parts = count[QEP_SEQ_VALIDATION]; break;
    case QEP_SHARE_EVALUATION: parts = qep_max_i64(count[QEP_SEQ_EVALUATION], count[QEP_SEQ_TASKS]); break;
    case QEP_SHARE_ROWS: parts = c->owners; break;
    case QEP_SHARE_STRIPS:
    case QEP_N_SHARES: break;
    }
    return qep_max_i64(0, r->ranks - parts);
}

/* Share of the rank that has most. Strips are dealt from rank 0 on, and so are the blocks of rows, of which the first may be cut. */
static double most_of(clock_sum *t, const qep_call *c)
{
    if (c->share == QEP_SHARE_ROWS) {
        const int64_t first = c->row0 / c->block;
        return fmax(qep_call_share(t->r, c, (int)(first % c->owners)), qep_call_share(t->r, c, (int)((first + 1) % c->owners)));
    }
    if (c->share == QEP_SHARE_STRIPS) return qep_call_share(t->r, c, 0);
    double *most = &t->most[c->share];
    for (int q = *most < 0 ? 0 : t->r->ranks; q < t->r->ranks; q++) *most = fmax(*most, qep_call_share(t->r, c, q));
    return *most;
}

/* What is under way has `beside` seconds to hide behind; the rest is waited for. */
static void end_sums(clock_sum *t, double beside)
{
    t->phase[QEP_PHASE_STATISTICS].messages += fmax(0, t->under_way - beside);
    t->under_way = 0;
}

static void add_call(void *ctx, const qep_call *c)
{
    clock_sum *t = ctx;
    qep_phase_time *p = &t->phase[c->phase];
    const double seconds = qep_call_seconds(t->r, &t->m, c);
    if (c->kind == QEP_CALL_SUM) {
        t->under_way += seconds;
        return;
    }
    p->messages += seconds;
    const double all = c->flops > 0 ? c->flops / t->m.rates[c->rate] : 0, mine = all > 0 ? all * most_of(t, c) : 0, mean = all / t->r->ranks;
    end_sums(t, mine);
    if (!(all > 0)) return;
    p->work += mean;
    p->uneven += mine - mean;
    const int64_t idle = idle_ranks(t->r, c);
    if (idle > p->idle) p->idle = idle;
}

static clock_sum clock_of(const qep_run *r, const qep_machine *m, qep_phase_time *phase)
{
    clock_sum t = {.r = r, .m = *m, .nodes = qep_run_n_nodes(r), .phase = phase};
    for (int i = 0; i < QEP_N_SHARES; i++) t.most[i] = -1;
    memset(phase, 0, QEP_N_PHASES * sizeof *phase);
    return t;
}

double qep_plan_node_bandwidth(void)
{
    return NODE_BANDWIDTH;
}

double qep_plan_block_seconds(const qep_run *r, const qep_machine *m)
{
    qep_phase_time phase[QEP_N_PHASES];
    clock_sum t = clock_of(r, m, phase);
    double s = 0;
    qep_plan_block_calls(r, 0, QEP_ROUTING_EVEN, add_call, &t);
    for (int p = 0; p < QEP_N_PHASES; p++) s += phase[p].work + phase[p].uneven + phase[p].messages;
    return s;
}

void qep_plan_times(const qep_run *r, const qep_machine *m, qep_phase_time *phase)
{
    const qep_arch *a = &r->model->arch;
    clock_sum t = clock_of(r, m, phase);
    const double evaluation = (double)(r->corpus->kind_tokens[QEP_SEQ_EVALUATION] + r->corpus->kind_tokens[QEP_SEQ_TASKS]);
    const double head = 2 * (double)a->vocab * (double)a->hidden;
    for (int64_t b = 0; b < a->n_blocks; b++) qep_plan_block_calls(r, b, QEP_ROUTING_EVEN, add_call, &t);
    add_call(&t, &(qep_call){.kind = QEP_CALL_WORK, .phase = QEP_PHASE_EVALUATION, .rate = QEP_RATE_FAST, .share = QEP_SHARE_EVALUATION,
                             .flops = (r->quantizes ? 2 : 1) * evaluation * head});
    add_call(&t, &(qep_call){.kind = QEP_CALL_WORK, .phase = QEP_PHASE_EVALUATION, .rate = QEP_RATE_FAST, .share = QEP_SHARE_CALIBRATION,
                             .flops = qep_run_norm_products(r) * head}); /* the final norm's fit */
    if (!(m->storage > 0)) return;
    int64_t fp, q;
    qep_block_bytes(a, r->compute, &fp, &q);
    phase[QEP_PHASE_LOAD].storage = (double)a->n_blocks * (double)fp * t.nodes / m->storage;
    if (r->output) phase[QEP_PHASE_WRITE].storage = (double)qep_export_disk_bytes(r->output) / m->storage;
    if (r->cfg->checkpoint_every > 0)
        phase[QEP_PHASE_CHECKPOINT].storage = (double)qep_ceil_div(a->n_blocks, r->cfg->checkpoint_every) * (double)qep_plan_checkpoint_bytes(r) / m->storage;
}
