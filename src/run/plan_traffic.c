/* Bytes and messages of a call on one rank, as par counts them, and the comparison with what it did count.
 * SPDX-License-Identifier: Apache-2.0 */
#include "plan_priv.h"

#include <string.h>

/* Rows below `end` that rank q owns. */
int64_t qep_call_rows_below(const qep_run *r, const qep_call *c, int64_t q, int64_t end)
{
    if (c->owners == 0) {
        int64_t first, count;
        qep_partition(qep_ceil_div(c->n, QEP_STRIP), r->ranks, q, &first, &count);
        return qep_max_i64(0, qep_min_i64(end, (first + count) * QEP_STRIP) - first * QEP_STRIP);
    }
    if (q >= c->owners) return 0;
    const int64_t full = end / c->block, last = full % c->owners;
    return (full / c->owners + (q < last)) * c->block + (q == last ? end % c->block : 0);
}

static int64_t rows_of(const qep_run *r, const qep_call *c, int64_t q)
{
    return qep_call_rows_below(r, c, q, c->row0 + c->rows) - qep_call_rows_below(r, c, q, c->row0);
}

/* One transfer from `rank` to `to`, in pieces. */
static void send(const qep_run *r, qep_call_traffic *t, int rank, int to, int64_t bytes, int64_t piece)
{
    if (bytes <= 0 || to == rank) return;
    const int64_t messages = qep_ceil_div(bytes, piece);
    t->bytes += bytes;
    t->messages += messages;
    if (qep_run_node_of(r, to) == qep_run_node_of(r, rank)) return;
    t->far_bytes += bytes;
    t->far_messages += messages;
}

/* What a node gives to the others is counted on its first rank, once. */
static bool gives(const qep_run *r, int rank)
{
    return qep_run_leads_node(r, rank) && qep_run_n_nodes(r) > 1;
}

static void spread(const qep_run *r, qep_call_traffic *t, int64_t bytes)
{
    if (bytes <= 0) return;
    const int64_t messages = qep_ceil_div(bytes, qep_par_chunk(r->comm));
    t->bytes += bytes;
    t->messages += messages;
    t->far_bytes += bytes;
    t->far_messages += messages;
}

/* index[q]: rank q's number inside its node. Returns how many ranks are on rank's node. */
static int number_ranks(const qep_run *r, int rank, int *index)
{
    int *size = qep_alloc("plan.order", r->ranks, sizeof *size); /* by node */
    for (int q = 0; q < r->ranks; q++) index[q] = size[qep_run_node_of(r, q)]++;
    const int mine = size[qep_run_node_of(r, rank)];
    qep_free(size);
    return mine;
}

/* A node's ranks take turns in sending its sums to the ranks of another. */
static void count_sum(const qep_run *r, const qep_call *c, int rank, qep_call_traffic *t)
{
    const int64_t size = (int64_t)sizeof(int64_t);
    const int node = qep_run_node_of(r, rank);
    int *index = qep_alloc("plan.order", r->ranks, sizeof *index);
    const int mine = number_ranks(r, rank, index);
    int64_t longest = 0;
    for (int q = 0; q < r->ranks; q++) longest = qep_max_i64(longest, rows_of(r, c, q));
    const int64_t step = size * qep_sum_step(r->comm, longest * c->row_bytes / size);
    for (int q = 0; q < r->ranks; q++) {
        const int64_t bytes = rows_of(r, c, q) * c->row_bytes;
        if (qep_run_node_of(r, q) != node && index[q] % mine == index[rank]) send(r, t, rank, q, bytes, step);
    }
    qep_free(index);
}

/* Rows that rank `rank`'s node gives, block by block. */
static void count_rows(const qep_run *r, const qep_call *c, int rank, qep_call_traffic *t)
{
    const int node = qep_run_node_of(r, rank);
    for (int64_t at = 0; at < c->rows && gives(r, rank);) {
        const int64_t row = c->flip ? c->n - 1 - (c->row0 + at) : c->row0 + at, inside = row % c->block;
        const int64_t rows = qep_min_i64(c->rows - at, c->flip ? inside + 1 : c->block - inside);
        if (qep_run_node_of(r, (int)(row / c->block % c->owners)) == node) spread(r, t, rows * c->row_bytes);
        at += rows;
    }
}

/* Rows of the linear that rank q has. */
static int64_t linear_rows(const qep_run *r, const qep_call *c, int q)
{
    int64_t first, count;
    qep_partition(c->n, r->ranks, q, &first, &count);
    const int64_t begin = qep_max_i64(0, (first - c->row0) * QEP_STRIP), end = qep_min_i64(c->rows, (first + count - c->row0) * QEP_STRIP);
    return qep_max_i64(0, end - begin);
}

static void count_strips(const qep_run *r, const qep_call *c, int rank, qep_call_traffic *t)
{
    const int node = qep_run_node_of(r, rank);
    for (int q = node; q < r->ranks && gives(r, rank); q++)
        if (qep_run_node_of(r, q) == node) spread(r, t, linear_rows(r, c, q) * c->row_bytes);
}

static void count_turn(const qep_run *r, const qep_call *c, int rank, qep_call_traffic *t)
{
    for (int64_t row0 = rank * c->block; rank < c->owners && row0 < c->n; row0 += c->owners * c->block) {
        const int64_t height = qep_min_i64(c->block, c->n - row0);
        for (int q = 0; q < c->owners; q++)
            send(r, t, rank, q, qep_call_rows_below(r, c, q, row0 + height) * height * (int64_t)sizeof(double), qep_par_chunk(r->comm));
    }
}

/* An order of the data is as good as random. */
static int32_t *some_order(const qep_call *c)
{
    int32_t *perm = qep_alloc("plan.order", c->n, sizeof *perm);
    qep_rng rng;
    qep_rng_seed(&rng, 1);
    for (int64_t i = 0; i < c->n; i++) perm[i] = (int32_t)(c->n - 1 - i);
    for (int64_t i = c->n - 1; i > 0 && !c->flip; i--) {
        const int64_t k = (int64_t)(qep_rng_u64(&rng) % (uint64_t)(i + 1));
        const int32_t kept = perm[i];
        perm[i] = perm[k];
        perm[k] = kept;
    }
    return perm;
}

/* Steps of as many rows as fit into two blocks sent and received per rank. */
static void count_permute(const qep_run *r, const qep_call *c, int rank, qep_call_traffic *t)
{
    int32_t *perm = some_order(c);
    int64_t *sent = qep_alloc("plan.order", 3 * (int64_t)r->ranks, sizeof *sent), *got = sent + r->ranks, *mine = got + r->ranks;
    for (int64_t i = 0; i < c->n;) {
        memset(sent, 0, 3 * (size_t)r->ranks * sizeof *sent);
        for (; i < c->n; i++) {
            const int64_t from = perm[i] / c->block % c->owners, to = i / c->block % c->owners;
            if (sent[from] == 2 * c->block || got[to] == 2 * c->block) break;
            sent[from]++;
            got[to]++;
            if (from == rank) mine[to]++;
        }
        for (int q = 0; q < c->owners; q++) send(r, t, rank, q, mine[q] * c->row_bytes, qep_par_chunk(r->comm));
    }
    qep_free(sent);
    qep_free(perm);
}

qep_call_traffic qep_call_count(const qep_run *r, const qep_call *c, int rank)
{
    qep_call_traffic t = {0};
    switch (c->kind) {
    case QEP_CALL_REDUCE: t = (qep_call_traffic){.bytes = c->row_bytes, .messages = qep_ceil_div(c->row_bytes, qep_par_chunk(r->comm))}; break;
    case QEP_CALL_SUM: count_sum(r, c, rank, &t); break;
    case QEP_CALL_ROWS: count_rows(r, c, rank, &t); break;
    case QEP_CALL_STRIPS: count_strips(r, c, rank, &t); break;
    case QEP_CALL_TURN: count_turn(r, c, rank, &t); break;
    case QEP_CALL_PERMUTE: count_permute(r, c, rank, &t); break;
    case QEP_CALL_WORK:
    case QEP_CALL_CHOLESKY: break;
    }
    return t;
}

/* --- planned against measured ---------------------------------------------------------------- */

typedef struct tally {
    const qep_run *r;
    qep_meter phase[QEP_N_PHASES];
} tally;

static void add_call(void *ctx, const qep_call *c)
{
    tally *t = ctx;
    const qep_call_traffic n = qep_call_count(t->r, c, qep_rank(t->r->comm));
    t->phase[c->phase].bytes += n.bytes;
    t->phase[c->phase].messages += n.messages;
}

static qep_json *spread_json_all(qep_comm *c, int64_t mine)
{
    int64_t extent[2] = {mine, -mine}, sum = mine;
    qep_max_i64_all(c, extent, 2);
    qep_sum_i64_all(c, &sum, 1);
    qep_json *o = qep_json_new_object();
    qep_json_set(o, "min", qep_json_new_int(-extent[1]));
    qep_json_set(o, "mean", qep_json_new_real((double)sum / qep_size(c)));
    qep_json_set(o, "max", qep_json_new_int(extent[0]));
    return o;
}

static qep_json *traffic_json_all(qep_comm *c, const qep_meter *m)
{
    qep_json *o = qep_json_new_object();
    qep_json_set(o, "bytes", spread_json_all(c, m->bytes));
    qep_json_set(o, "messages", spread_json_all(c, m->messages));
    return o;
}

qep_json *qep_plan_traffic_json_all(qep_run *r)
{
    static const qep_phase planned[] = {QEP_PHASE_LOAD, QEP_PHASE_FORWARD, QEP_PHASE_STATISTICS, QEP_PHASE_CORRECTION, QEP_PHASE_QUANTIZE, QEP_PHASE_WRITE};
    qep_json *o = qep_json_new_object();
    static const char *const names[] = {[QEP_ROUTING_EVEN] = "planned", [QEP_ROUTING_LEAST] = "least", [QEP_ROUTING_MOST] = "most"};
    const bool routed = r->model->arch.n_sparse > 0 && r->model->arch.top_k < r->model->arch.n_experts;
    tally t[3] = {{.r = r}, {.r = r}, {.r = r}};
    qep_meter done[QEP_N_PHASES];
    memcpy(done, r->phase, sizeof done);
    for (int64_t b = r->next_block - r->blocks_here; b < r->next_block; b++)
        for (int k = QEP_ROUTING_EVEN; k <= (routed ? QEP_ROUTING_MOST : QEP_ROUTING_EVEN); k++) qep_plan_block_calls(r, b, (qep_plan_routing)k, add_call, &t[k]);
    for (size_t i = 0; i < sizeof planned / sizeof *planned; i++) {
        const qep_phase p = planned[i];
        qep_json *e = qep_json_new_object();
        for (int k = QEP_ROUTING_EVEN; k <= (routed && p == QEP_PHASE_STATISTICS ? QEP_ROUTING_MOST : QEP_ROUTING_EVEN); k++)
            qep_json_set(e, names[k], traffic_json_all(r->comm, &t[k].phase[p]));
        qep_json_set(e, "measured", traffic_json_all(r->comm, &done[p]));
        qep_json_set(o, qep_phase_name(p), e);
        qep_debug("traffic of rank 0, %s: %lld bytes in %lld messages", qep_phase_name(p), (long long)done[p].bytes, (long long)done[p].messages);
    }
    return o;
}
