/* The calls of one block as SimGrid's time-independent traces: compute, allreduce, send, irecv, recv, wait. One file per rank.
 *
 * What is merged, so that thousands of ranks can be replayed: neighbouring reductions; all passes of a matrix between two computations; the messages
 * between two ranks in one sum, and, on more than MERGE_RANKS ranks, the panels of one set of statistics; steps of p?potrf beyond FACTOR_STEPS. On more
 * than MERGE_NODES ranks a process of the simulation is a whole node: what its ranks send to another node is one message, what goes on inside is time,
 * by the plan's formulas. A broadcast among the nodes goes down a binary tree in pieces. Computing is time: a host of the platform makes 1e9 flops per second.
 * SPDX-License-Identifier: Apache-2.0 */
#include "plan_priv.h"

#include <errno.h>
#include <string.h>

enum { MERGE_RANKS = 64, MERGE_NODES = 1024, FACTOR_STEPS = 64, PIECE = 1 << 20, PIECES = 64 };

typedef struct trace {
    const qep_run *r;
    const qep_machine *m;
    FILE *f;
    int unit;              /* ranks in one process: 1, or those of a node */
    int rank, per, nodes, node, index; /* of the processes; per: on a node */
    double flops;          /* of calls that are not written yet */
    int64_t reduce, passes; /* bytes */
    qep_call pass, sum[2]; /* the pass's owners; sums of matrices and of Gamma; rows 0: none */
} trace;

static void compute(const trace *t, double seconds)
{
    if (seconds > 0) fprintf(t->f, "%d compute %.0f\n", t->rank, seconds * 1e9);
}

static void send_to(const trace *t, int to, double bytes)
{
    fprintf(t->f, "%d send %d 0 %.0f\n", t->rank, to, bytes);
}

static void receive_later(const trace *t, int from, double bytes)
{
    fprintf(t->f, "%d irecv %d 0 %.0f\n", t->rank, from, bytes);
}

static void await(const trace *t, int from)
{
    fprintf(t->f, "%d wait %d %d 0\n", t->rank, from, t->rank);
}

/* Both at once; 0: nothing. What comes in is added up when `add`. */
static void swap(const trace *t, int to, double out, int from, double in, bool add)
{
    if (in >= 1) receive_later(t, from, in);
    if (out >= 1) send_to(t, to, out);
    if (in >= 1) await(t, from);
    if (in >= 1 && add) compute(t, in / qep_plan_node_bandwidth() / t->unit);
}

/* Down a binary tree of n ranks, `stride` apart from rank `first` on, from the root-th of them; others do nothing. */
static void broadcast(const trace *t, int first, int n, int stride, int root, double bytes)
{
    const int at = t->rank - first;
    if (at < 0 || at % stride != 0 || at / stride >= n || n < 2 || bytes < 1) return;
    const int me = (at / stride - root + n) % n, child = 2 * me + 1;
    const int pieces = (int)qep_max_i64(1, qep_min_i64(PIECES, (int64_t)(bytes / PIECE)));
    const int parent = me > 0 ? first + ((me - 1) / 2 + root) % n * stride : -1;
    if (parent >= 0) receive_later(t, parent, bytes / pieces);
    for (int k = 0; k < pieces; k++) {
        if (parent >= 0) await(t, parent);
        if (parent >= 0 && k + 1 < pieces) receive_later(t, parent, bytes / pieces);
        for (int c = child; c < child + 2 && c < n; c++) send_to(t, first + (c + root) % n * stride, bytes / pieces);
    }
}

/* The others of a node go on when its first rank has what was sent to the node. */
static void release(const trace *t)
{
    for (int i = 1; i < t->per && t->index == 0; i++) send_to(t, t->rank + i, 8);
    if (t->index > 0) fprintf(t->f, "%d recv %d 0 8\n", t->rank, t->rank - t->index);
}

/* Rows of process p. */
static double rows_of(const trace *t, const qep_call *c, int p)
{
    double rows = 0;
    for (int q = p * t->unit; q < (p + 1) * t->unit; q++) {
        int64_t first, count;
        qep_partition(qep_ceil_div(c->n, QEP_STRIP), t->r->ranks, q, &first, &count);
        rows += c->owners == 0 ? (double)count * QEP_STRIP
                               : (double)c->n * (double)qep_dmat_local_bytes(c->n, c->block, c->owners, q) / (double)qep_dmat_local_bytes(c->n, c->block, 1, 0);
    }
    return rows;
}

/* Of the work of a call, by the rank of this process that has most. */
static double work_of(const trace *t, const qep_call *c)
{
    double most = 0;
    for (int q = t->rank * t->unit; q < (t->rank + 1) * t->unit; q++) {
        const double share = qep_call_share(t->r, c, q);
        most = share > most ? share : most;
    }
    return most * c->flops / t->m->rates[c->rate];
}

/* Bytes for the processes with number `index` on their nodes, those of the other nodes included. */
static double collected(const trace *t, const qep_call *c, int index)
{
    double rows = 0;
    for (int node = 0; node < t->nodes; node++) rows += rows_of(t, c, node * t->per + index);
    return rows * (double)c->row_bytes;
}

static void write_sum(const trace *t, const qep_call *c)
{
    const double mine = collected(t, c, t->index), own = rows_of(t, c, t->rank) * (double)c->row_bytes;
    const int first = t->node * t->per;
    if (t->unit > 1) compute(t, 2 * (double)c->n * (double)c->row_bytes / qep_plan_node_bandwidth()); /* sent and added up by each rank */
    for (int k = 1; k < t->per; k++) {
        const int to = (t->index + k) % t->per, from = (t->index - k + t->per) % t->per;
        swap(t, first + to, collected(t, c, to), first + from, mine, true);
    }
    for (int k = 1; k < t->nodes; k++) {
        const int to = (t->node + k) % t->nodes * t->per + t->index, from = (t->node - k + t->nodes) % t->nodes * t->per + t->index;
        swap(t, to, rows_of(t, c, to) * (double)c->row_bytes, from, own, true);
    }
}

/* The owners' processes. */
static int owners_of(const trace *t, const qep_call *c)
{
    return (int)qep_ceil_div(c->owners, t->unit);
}

/* Every owner has something for every other. */
static void write_exchange(const trace *t, const qep_call *c)
{
    const int n = owners_of(t, c);
    const double bytes = (c->kind == QEP_CALL_TURN ? 0.5 : 1.0) * (double)c->n * (double)c->n * (double)sizeof(double) / ((double)n * n);
    for (int k = 1; k < n && t->rank < n; k++) swap(t, (t->rank + k) % n, bytes, (t->rank - k + n) % n, bytes, false);
}

/* To the first n ranks: among the nodes, then inside each. */
static void broadcast_owners(const trace *t, int n, int node, double bytes)
{
    const int first = t->node * t->per;
    broadcast(t, 0, (n + t->per - 1) / t->per, t->per, node, bytes);
    broadcast(t, first, (int)qep_min_i64(t->per, n - first), 1, 0, bytes);
}

/* p?potrf on a column of processes: the diagonal block to all, the panel to one and from there to all, then everybody's update. */
static void write_cholesky(const trace *t, const qep_call *c)
{
    const int n = owners_of(t, c), steps = (int)qep_min_i64(FACTOR_STEPS, qep_ceil_div(c->n, c->block));
    const double width = (double)c->n / steps, seconds = work_of(t, c);
    for (int k = 0; k < steps && t->rank < n; k++) {
        const double left = 1 - (k + 0.5) / steps, panel = left * (double)c->n * width * (double)sizeof(double);
        const int node = k % ((n + t->per - 1) / t->per), root = node * t->per;
        broadcast_owners(t, n, node, width * (double)c->block * (double)sizeof(double));
        for (int q = 0; q < n && t->rank == root && panel / n >= 1; q++)
            if (q != root) fprintf(t->f, "%d recv %d 0 %.0f\n", t->rank, q, panel / n);
        if (t->rank != root && panel / n >= 1) send_to(t, root, panel / n);
        broadcast_owners(t, n, node, panel);
        if (t->unit > 1) compute(t, 3 * panel / qep_plan_node_bandwidth());
        compute(t, seconds * 3 * left * left / steps);
    }
}

static void write_pass(trace *t)
{
    const int nodes = (int)qep_min_i64(t->nodes, qep_ceil_div(owners_of(t, &t->pass), t->per)); /* that own rows */
    for (int node = 0; node < nodes && t->passes > 0; node++) broadcast(t, 0, t->nodes, t->per, node, (double)t->passes / nodes);
    if (t->passes > 0 && t->nodes > 1) release(t);
    t->passes = 0;
}

/* What has been collected, in the order in which it is worked off. */
static void flush(trace *t)
{
    write_pass(t);
    compute(t, t->flops);
    t->flops = 0;
    for (int i = 0; i < 2; i++) {
        if (t->sum[i].rows > 0) write_sum(t, &t->sum[i]);
        t->sum[i].rows = 0;
    }
    if (t->reduce > 0) fprintf(t->f, "%d allreduce %lld 0\n", t->rank, (long long)t->reduce);
    t->reduce = 0;
}

/* A sum of some rows, as one of all rows with fewer bytes each. */
static void collect_sum(trace *t, const qep_call *c)
{
    qep_call *s = &t->sum[c->owners == 0];
    const int64_t before = s->rows > 0 ? s->row_bytes : 0;
    *s = *c;
    s->rows = c->n;
    s->row_bytes = before + c->row_bytes * c->rows / c->n;
}

static void write_call(void *ctx, const qep_call *c)
{
    trace *t = ctx;
    const bool merges = t->r->ranks > MERGE_RANKS;
    const bool sums = t->sum[0].rows + t->sum[1].rows > 0;
    switch (c->kind) {
    case QEP_CALL_WORK:
        if (t->reduce > 0 || (sums && !merges)) flush(t);
        write_pass(t);
        t->flops += work_of(t, c);
        return;
    case QEP_CALL_SUM:
        if (t->reduce > 0) flush(t);
        collect_sum(t, c);
        return;
    case QEP_CALL_REDUCE:
        if (t->passes > 0) flush(t);
        t->reduce += c->row_bytes;
        return;
    case QEP_CALL_ROWS:
        if (t->reduce > 0 || t->flops > 0) flush(t);
        t->pass = *c;
        t->passes += c->rows * c->row_bytes;
        return;
    case QEP_CALL_STRIPS:
        flush(t);
        for (int node = 0; node < t->nodes; node++) broadcast(t, 0, t->nodes, t->per, node, (double)(c->rows * c->row_bytes) / t->nodes);
        if (t->nodes > 1) release(t);
        return;
    case QEP_CALL_TURN:
    case QEP_CALL_PERMUTE:
        flush(t);
        write_exchange(t, c);
        return;
    case QEP_CALL_CHOLESKY:
        flush(t);
        write_cholesky(t, c);
        return;
    }
}

static qep_status write_process(const qep_run *r, const qep_machine *m, const char *dir, int unit, int rank)
{
    char *path = qep_strf("plan.trace", "%s/%d", dir, rank);
    const int per = r->per_node / unit;
    trace t = {.r = r, .m = m, .unit = unit, .rank = rank, .per = per, .nodes = r->ranks / r->per_node, .node = rank / per,
               .index = rank % per, .f = fopen(path, "w")};
    qep_status st = t.f ? QEP_OK : qep_fail(QEP_E_IO, "%s: cannot be written: %s", path, strerror(errno));
    if (t.f) {
        fprintf(t.f, "%d init\n", rank);
        qep_plan_block_calls(r, 0, write_call, &t);
        flush(&t);
        fprintf(t.f, "%d finalize\n", rank);
        const bool bad = ferror(t.f) != 0;
        if ((fclose(t.f) != 0 || bad) && st == QEP_OK) st = qep_fail(QEP_E_IO, "%s: cannot be written: %s", path, strerror(errno));
    }
    qep_free(path);
    return st;
}

qep_status qep_plan_trace(const qep_run *r, const qep_machine *m, const char *dir)
{
    if (r->ranks % r->per_node != 0) return qep_fail(QEP_E_CONFIG, "--trace: %d ranks are not a multiple of %d on a node", r->ranks, r->per_node);
    QEP_TRY(qep_dir_make(dir));
    const int unit = r->ranks > MERGE_NODES ? r->per_node : 1;
    for (int rank = 0; rank < r->ranks / unit; rank++) QEP_TRY(write_process(r, m, dir, unit, rank));
    return QEP_OK;
}
