/* Everybody to everybody, by pairs with a rotating partner: in step s rank r sends to r + s and
 * receives from r - s, so no rank is swamped and the buffers in flight are two chunks. Sums are formed
 * inside the nodes first, so that a node sends what one rank would, not what all of its ranks would.
 * SPDX-License-Identifier: Apache-2.0 */
#include "par_priv.h"
#include <string.h>

enum { SUM_CHUNK = 4 << 20 }; /* bytes of one of the two buffers of a sum */

static void start_send(const qep_comm *c, int to, const char *buf, int64_t bytes, MPI_Request *req)
{
    MPI_Isend(buf, qep_int(bytes), MPI_BYTE, to, QEP_PAR_TAG, c->job, req);
    qep_par_sent(bytes);
}

static void start_receive(const qep_comm *c, int from, char *buf, int64_t bytes, MPI_Request *req)
{
    MPI_Irecv(buf, qep_int(bytes), MPI_BYTE, from, QEP_PAR_TAG, c->job, req);
}

/* The two directions have their own lengths. */
static void exchange_pair(const qep_comm *c, int to, const char *send, int64_t n_send, int from,
                          char *recv, int64_t n_recv)
{
    for (int64_t i = 0; i < n_send || i < n_recv; i += c->chunk) {
        MPI_Request req[2] = {MPI_REQUEST_NULL, MPI_REQUEST_NULL};
        int64_t in = qep_min_i64(c->chunk, n_recv - i), out = qep_min_i64(c->chunk, n_send - i);
        if (in > 0) start_receive(c, from, recv + i, in, &req[0]);
        if (out > 0) start_send(c, to, send + i, out, &req[1]);
        for (int k = 0; k < 2; k++) MPI_Wait(&req[k], MPI_STATUS_IGNORE);
    }
}

void qep_exchange_all(qep_comm *c, const void *send, const int64_t *count, const int64_t *displ,
                      void *recv, const int64_t *rcount, const int64_t *rdispl)
{
    QEP_REQUIRE(count[c->rank] == rcount[c->rank]);
    if (count[c->rank] > 0)
        memcpy((char *)recv + rdispl[c->rank], (const char *)send + displ[c->rank],
               (size_t)count[c->rank]);
    for (int s = 1; s < c->size; s++) {
        int to = (c->rank + s) % c->size, from = (c->rank - s + c->size) % c->size;
        exchange_pair(c, to, (const char *)send + displ[to], count[to], from,
                      (char *)recv + rdispl[from], rcount[from]);
    }
}

/* Two's complement sum: intermediate overflow is harmless, as it would be for any order of
 * additions. */
static void add_i64(int64_t *restrict sum, const int64_t *restrict part, int64_t n)
{
    for (int64_t i = 0; i < n; i++) sum[i] = (int64_t)((uint64_t)sum[i] + (uint64_t)part[i]);
}

/* One step of the sum: send[n_send] goes to `to`; the part of `from` is added to recv[n_recv].
 * The next chunk is under way into one half of buf[2 * step] while the other half is added. */
static void add_pair(const qep_comm *c, int to, const int64_t *send, int64_t n_send, int from,
                     int64_t *recv, int64_t n_recv, int64_t *buf, int64_t step)
{
    const int64_t size = (int64_t)sizeof *buf;
    MPI_Request rreq = MPI_REQUEST_NULL;
    if (n_recv > 0) start_receive(c, from, (char *)buf, qep_min_i64(step, n_recv) * size, &rreq);
    for (int64_t i = 0, k = 0; i < n_send || i < n_recv; i += step, k++) {
        MPI_Request sreq = MPI_REQUEST_NULL;
        if (i < n_send)
            start_send(c, to, (const char *)(send + i), qep_min_i64(step, n_send - i) * size,
                       &sreq);
        MPI_Wait(&rreq, MPI_STATUS_IGNORE);
        if (n_recv - i > step)
            start_receive(c, from, (char *)(buf + ((k + 1) & 1) * step),
                          qep_min_i64(step, n_recv - i - step) * size, &rreq);
        if (i < n_recv) add_i64(recv + i, buf + (k & 1) * step, qep_min_i64(step, n_recv - i));
        MPI_Wait(&sreq, MPI_STATUS_IGNORE);
    }
}

/* Elements per message: partners must cut alike, so the step may not depend on a rank's own count. */
int64_t qep_sum_to_owners_step(const qep_comm *c, int64_t longest)
{
    int64_t step = qep_max_i64(1, qep_min_i64(SUM_CHUNK, c->chunk) / (int64_t)sizeof(int64_t));
    return qep_min_i64(step, qep_max_i64(1, longest));
}

int64_t qep_sum_to_owners_bytes(const qep_comm *c, int ranks, int per_node, int64_t longest, int64_t total)
{
    if (ranks == 1) return 0;
    const int64_t collected = per_node > 1 && per_node < ranks ? qep_ceil_div(total, per_node) : 0;
    return (2 * qep_sum_to_owners_step(c, longest) + collected) * (int64_t)sizeof(int64_t);
}

/* A sum under way. */
typedef struct sum {
    const qep_comm *c;
    const int64_t *send, *count, *displ;
    int64_t *recv;
    int64_t step, *buf; /* [2 * step] */
    int64_t *at;        /* [P] where a rank's part is collected, if here */
    int64_t *parts;     /* collected for ranks of other nodes */
} sum;

/* Where what I collect for each rank is put. */
static void place_parts(sum *s)
{
    const qep_comm *c = s->c;
    int64_t total = 0;
    s->at = qep_alloc("par.sum", c->size, sizeof *s->at);
    for (int k = c->collected_begin[c->node_rank]; k < c->collected_begin[c->node_rank + 1]; k++) {
        const int q = c->collected[k];
        s->at[q] = total;
        if (c->node_of[q] != c->node_id) total += s->count[q];
    }
    if (c->node_size > 1) s->parts = qep_alloc("par.sum", total, sizeof *s->parts);
}

/* Where the sum for rank q, which I collect for, stands. */
static int64_t *place_of(const sum *s, int q)
{
    if (q == s->c->rank) return s->recv;
    return s->parts + s->at[q];
}

/* Inside the node, by rotating partners: every rank gets from all others the parts that it collects. */
static void sum_node(const sum *s)
{
    const qep_comm *c = s->c;
    const int m = c->node_size, me = c->node_rank, *begin = c->collected_begin, *list = c->collected, *member = c->member + c->node_begin[c->node_id];
    for (int k = begin[me]; k < begin[me + 1]; k++) {
        const int q = list[k];
        if (s->count[q] > 0) memcpy(place_of(s, q), s->send + s->displ[q], (size_t)s->count[q] * sizeof *s->recv);
    }
    for (int r = 1; r < m; r++) {
        const int to = (me + r) % m, from = (me - r + m) % m;
        const int n_out = begin[to + 1] - begin[to], n_in = begin[me + 1] - begin[me];
        for (int k = 0; k < n_out || k < n_in; k++) {
            const int out = k < n_out ? list[begin[to] + k] : -1, in = k < n_in ? list[begin[me] + k] : -1;
            add_pair(c, member[to], out < 0 ? NULL : s->send + s->displ[out], out < 0 ? 0 : s->count[out], member[from],
                     in < 0 ? NULL : place_of(s, in), in < 0 ? 0 : s->count[in], s->buf, s->step);
        }
    }
}

/* Between nodes, by rotating nodes: what was collected goes to its owner. A node with fewer ranks collects for several of one: they are
 * served in order of their index, and each knows its turn. */
static void sum_nodes(const sum *s)
{
    const qep_comm *c = s->c;
    const int k = c->n_nodes, n_me = c->node_size;
    for (int r = 1; r < k; r++) {
        const int to = (c->node_id + r) % k, from = (c->node_id - r + k) % k;
        const int n_to = c->node_begin[to + 1] - c->node_begin[to], n_from = c->node_begin[from + 1] - c->node_begin[from];
        const int my_turn = c->node_rank / n_from, sender = c->member[c->node_begin[from] + qep_par_collector(c, from, c->rank)];
        for (int turn = 0, index = c->node_rank; index < n_to || turn <= my_turn; turn++, index += n_me) {
            const int q = index < n_to ? c->member[c->node_begin[to] + index] : -1;
            const int64_t *out = q < 0 ? NULL : n_me > 1 ? s->parts + s->at[q] : s->send + s->displ[q];
            add_pair(c, q, out, q < 0 ? 0 : s->count[q], sender, s->recv, turn == my_turn ? s->count[c->rank] : 0, s->buf, s->step);
        }
    }
}

void qep_sum_to_owners_all(qep_comm *c, const int64_t *send, const int64_t *count,
                           const int64_t *displ, int64_t *recv)
{
    const int64_t mine = count[c->rank];
    if (c->size == 1) {
        if (mine > 0) memcpy(recv, send + displ[0], (size_t)mine * sizeof *recv);
        return;
    }
    sum s = {.c = c, .send = send, .count = count, .displ = displ, .recv = recv};
    int64_t longest = 0;
    for (int q = 0; q < c->size; q++) longest = qep_max_i64(longest, count[q]);
    s.step = qep_sum_to_owners_step(c, longest);
    s.buf = qep_alloc("par.sum", 2 * s.step, sizeof *s.buf);
    place_parts(&s);
    if (c->node_size > 1) sum_node(&s);
    else if (mine > 0) memcpy(recv, send + displ[c->rank], (size_t)mine * sizeof *recv);
    sum_nodes(&s);
    qep_free(s.parts);
    qep_free(s.at);
    qep_free(s.buf);
}
