/* The calls of one block as SimGrid's time-independent traces: compute, allreduce, send, isend, irecv, recv, wait, waitall. One file per rank.
 *
 * What is merged, so that thousands of ranks can be replayed: neighbouring reductions; all passes of a matrix between two computations; the messages
 * between two ranks in one sum; steps of p?potrf beyond FACTOR_STEPS. On more
 * than MERGE_NODES ranks a process of the simulation is a whole node: what its ranks send to another node is one message, what goes on inside is time,
 * by the plan's formulas. A broadcast among the nodes goes down a binary tree in pieces; what many nodes have for all goes around a ring. Computing is time: a host of the platform makes 1e9 flops per second.
 * On more than OVERLAP_NODES nodes sums do not go on beside the next panel: thousands of messages at the same time would keep the simulator busy for hours.
 * SPDX-License-Identifier: Apache-2.0 */
#include "plan_priv.h"

#include <errno.h>
#include <string.h>

enum { OVERLAP_NODES = 16, MERGE_NODES = 1024, FACTOR_STEPS = 64, PIECE = 1 << 20, PIECES = 64 };

typedef struct trace {
    const qep_run *r;
    const qep_machine *m;
    FILE *f;
    int unit;              /* ranks in one process: 1, or those of a node */
    int rank, per, nodes, node, index; /* of the processes, numbered over the nodes in turn as ranks are; per: on a node */
    bool gathers;          /* the passes' rows come from many nodes at a time */
    double flops;          /* of calls that are not written yet */
    int64_t reduce, passes; /* bytes */
    qep_call pass;         /* the pass's owners */
    bool under_way;        /* sums over the nodes, */
    double arriving;       /* of so many bytes for this process */
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

/* Messages for so many bytes: the simulator counts those of one in 32 bits. */
static int messages_of(double bytes)
{
    return bytes >= 1 ? 1 + (int)(bytes / (1 << 30)) : 0;
}

/* Both at once; 0: nothing. */
static void swap(const trace *t, int to, double out, int from, double in)
{
    const int n_out = messages_of(out), n_in = messages_of(in);
    for (int k = 0; k < n_out || k < n_in; k++) {
        if (k < n_in) receive_later(t, from, in / n_in);
        if (k < n_out) send_to(t, to, out / n_out);
        if (k < n_in) await(t, from);
    }
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

/* Every node's first process has a share of `bytes`, which goes around to all others. */
static void ring(const trace *t, double bytes)
{
    for (int k = 1; k < t->nodes && t->index == 0; k++)
        swap(t, (t->rank + 1) % t->nodes, bytes / t->nodes, (t->rank - 1 + t->nodes) % t->nodes, bytes / t->nodes);
}

/* The others of a node go on when its first rank has what was sent to the node. */
static void release(const trace *t)
{
    for (int i = 1; i < t->per && t->index == 0; i++) send_to(t, t->node + i * t->nodes, 8);
    if (t->index > 0) fprintf(t->f, "%d recv %d 0 8\n", t->rank, t->node);
}

/* Rows of process p. */
static double rows_of(const trace *t, const qep_call *c, int p)
{
    double rows = 0;
    for (int q = p; q < t->r->ranks; q += t->r->ranks / t->unit) {
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
    for (int q = t->rank; q < t->r->ranks; q += t->r->ranks / t->unit) {
        const double share = qep_call_share(t->r, c, q);
        most = share > most ? share : most;
    }
    return most * c->flops / t->m->rates[c->rate];
}

/* Of a sum's rows, those of process p. */
static double bytes_for(const trace *t, const qep_call *c, int p)
{
    return rows_of(t, c, p) * (double)c->row_bytes * (double)c->rows / (double)c->n;
}

/* One node after the other, waited for. */
static void write_sum(trace *t, const qep_call *c)
{
    const double own = bytes_for(t, c, t->rank);
    for (int k = 1; k < t->nodes; k++) {
        const int to = (t->node + k) % t->nodes + t->index * t->nodes, from = (t->node - k + t->nodes) % t->nodes + t->index * t->nodes;
        swap(t, to, bytes_for(t, c, to), from, own);
        t->arriving += own;
    }
}

/* What the nodes have for each other goes off, and stays under way. */
static void begin_sum(trace *t, const qep_call *c)
{
    const double own = bytes_for(t, c, t->rank);
    const int messages = messages_of(own);
    for (int k = 1; k < t->nodes; k++) {
        const int from = (t->node - k + t->nodes) % t->nodes + t->index * t->nodes;
        for (int i = 0; i < messages; i++) receive_later(t, from, own / messages);
        if (own >= 1) t->arriving += own;
    }
    for (int k = 1; k < t->nodes; k++) {
        const int to = (t->node + k) % t->nodes + t->index * t->nodes;
        const double out = bytes_for(t, c, to);
        for (int i = 0; i < messages_of(out); i++) fprintf(t->f, "%d isend %d 0 %.0f\n", t->rank, to, out / messages_of(out));
        t->under_way = t->under_way || out >= 1;
    }
    t->under_way = t->under_way || own >= 1;
}

/* It has arrived and is added. */
static void end_sums(trace *t)
{
    if (t->under_way) fprintf(t->f, "%d waitall\n", t->rank);
    compute(t, t->arriving / qep_plan_node_bandwidth() / t->unit);
    t->under_way = false;
    t->arriving = 0;
}

/* The owners' processes. */
static int owners_of(const trace *t, const qep_call *c)
{
    return t->unit == 1 ? (int)c->owners : (int)qep_min_i64(c->owners, t->nodes);
}

/* Every owner has something for every other. */
static void write_exchange(const trace *t, const qep_call *c)
{
    const int n = owners_of(t, c);
    const double bytes = (c->kind == QEP_CALL_TURN ? 0.5 : 1.0) * (double)c->n * (double)c->n * (double)sizeof(double) / ((double)n * n);
    for (int k = 1; k < n && t->rank < n; k++) swap(t, (t->rank + k) % n, bytes, (t->rank - k + n) % n, bytes);
}

/* To the first n ranks: among the nodes, then inside each. */
static void broadcast_owners(const trace *t, int n, int node, double bytes)
{
    broadcast(t, 0, (int)qep_min_i64(n, t->nodes), 1, node, bytes);
    broadcast(t, t->node, (int)qep_ceil_div(n - t->node, t->nodes), t->nodes, 0, bytes);
}

/* p?potrf on a column of processes: the diagonal block to all, the panel to one and from there to all, then everybody's update. */
static void write_cholesky(const trace *t, const qep_call *c)
{
    const int n = owners_of(t, c), steps = (int)qep_min_i64(FACTOR_STEPS, qep_ceil_div(c->n, c->block));
    const double width = (double)c->n / steps, seconds = work_of(t, c);
    for (int k = 0; k < steps && t->rank < n; k++) {
        const double left = 1 - (k + 0.5) / steps, panel = left * (double)c->n * width * (double)sizeof(double);
        const int root = k % (int)qep_min_i64(n, t->nodes);
        broadcast_owners(t, n, root, width * (double)c->block * (double)sizeof(double));
        for (int q = 0; q < n && t->rank == root && panel / n >= 1; q++)
            if (q != root) fprintf(t->f, "%d recv %d 0 %.0f\n", t->rank, q, panel / n);
        if (t->rank != root && panel / n >= 1) send_to(t, root, panel / n);
        broadcast_owners(t, n, root, panel);
        if (t->unit > 1) compute(t, 3 * panel / qep_plan_node_bandwidth());
        compute(t, seconds * 3 * left * left / steps);
    }
}

static void write_pass(trace *t)
{
    const int nodes = (int)qep_min_i64(t->nodes, owners_of(t, &t->pass)); /* that own rows */
    if (t->passes > 0 && t->gathers) ring(t, (double)t->passes);
    for (int node = 0; node < nodes && t->passes > 0 && !t->gathers; node++) broadcast(t, 0, t->nodes, 1, node, (double)t->passes / nodes);
    if (t->passes > 0 && t->nodes > 1) release(t);
    t->passes = 0;
}

/* What has been collected, in the order in which it is worked off. */
static void flush(trace *t)
{
    write_pass(t);
    compute(t, t->flops);
    t->flops = 0;
    end_sums(t);
    if (t->reduce > 0) fprintf(t->f, "%d allreduce %lld 0\n", t->rank, (long long)t->reduce);
    t->reduce = 0;
}

/* Rows that pass by come from so many nodes at a time that they go around a ring. */
static bool gathers(const trace *t, const qep_call *c)
{
    return qep_window_gathers(qep_min_i64(qep_ceil_div(c->rows, c->block), qep_min_i64(c->owners, t->nodes)), t->nodes);
}

static void write_call(void *ctx, const qep_call *c)
{
    trace *t = ctx;
    const bool by_panels = c->kind == QEP_CALL_CHOLESKY && t->r->cfg->reproducible; /* its messages are calls of their own */
    switch (by_panels ? QEP_CALL_WORK : c->kind) {
    case QEP_CALL_WORK:
        if (t->reduce > 0) flush(t);
        write_pass(t);
        t->flops += work_of(t, c);
        return;
    case QEP_CALL_SUM:
        if (t->flops > 0 || t->reduce > 0) flush(t); /* those of the panel before have had this one's products beside them */
        if (t->nodes > OVERLAP_NODES) write_sum(t, c);
        else begin_sum(t, c);
        return;
    case QEP_CALL_REDUCE:
        if (t->passes > 0 || t->under_way) flush(t);
        t->reduce += c->row_bytes;
        return;
    case QEP_CALL_ROWS:
        if (t->reduce > 0 || t->flops > 0 || t->under_way || (t->passes > 0 && gathers(t, c) != t->gathers)) flush(t);
        t->pass = *c;
        t->gathers = gathers(t, c);
        t->passes += c->rows * c->row_bytes;
        return;
    case QEP_CALL_STRIPS:
        flush(t);
        ring(t, (double)(c->rows * c->row_bytes));
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
    trace t = {.r = r, .m = m, .unit = unit, .rank = rank, .per = per, .nodes = r->ranks / r->per_node, .node = rank % (r->ranks / r->per_node),
               .index = rank / (r->ranks / r->per_node), .f = fopen(path, "w")};
    qep_status st = t.f ? QEP_OK : qep_fail(QEP_E_IO, "%s: cannot be written: %s", path, strerror(errno));
    if (t.f) {
        fprintf(t.f, "%d init\n", rank);
        qep_plan_block_calls(r, 0, QEP_ROUTING_EVEN, write_call, &t);
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
