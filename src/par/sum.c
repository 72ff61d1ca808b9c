/* Sums over nodes, under way while the caller computes: what a node's ranks have added up in their shared memory goes to the owners' nodes, and every
 * owner adds what arrives to its part, in place. For the ranks of another node, the node's ranks send in turn (qep_par_collector).
 *
 * All messages are known at the start. A rank goes through its list of sends and its list of receives, each in the order of the distance of the nodes,
 * with two chunks of each on their way. The first send, in that order, that is not done has nothing in front of it at its sender, and nothing in front of
 * its receive at its receiver: so something always goes on. SPDX-License-Identifier: Apache-2.0 */
#include "par_priv.h"
#include <string.h>

enum { SUM_CHUNK = 4 << 20, /* bytes of one message */
       ON_THE_WAY = 2 };

typedef struct message {
    int partner;
    int64_t *data; /* in the node's memory: what is sent, or what the message is added to */
    int64_t n, step;
} message;

/* Messages in one direction. */
typedef struct lane {
    message *list; /* owned */
    int64_t n, at, offset; /* the next chunk begins at list[at].data + offset */
    MPI_Request request[ON_THE_WAY];
    int64_t *data[ON_THE_WAY], count[ON_THE_WAY]; /* chunks on their way */
    int oldest;
} lane;

struct qep_sum {
    qep_comm *comm;
    lane out, in;
    int64_t *buf[ON_THE_WAY]; /* owned */
};

/* Elements per message: partners must cut alike, so the step may not depend on a rank's own count. */
int64_t qep_sum_step(const qep_comm *c, int64_t longest)
{
    int64_t step = qep_max_i64(1, qep_min_i64(SUM_CHUNK, c->chunk) / (int64_t)sizeof(int64_t));
    return qep_min_i64(step, qep_max_i64(1, longest));
}

int64_t qep_sum_bytes(const qep_comm *c, int64_t nodes, int64_t longest)
{
    return nodes > 1 ? ON_THE_WAY * qep_sum_step(c, longest) * (int64_t)sizeof(int64_t) : 0;
}

static int64_t step_of(const qep_comm *c, const qep_node_sum *s)
{
    int64_t longest = 0;
    for (int q = 0; q < c->size; q++) longest = qep_max_i64(longest, s->count[q]);
    return qep_sum_step(c, longest);
}

static void list_message(lane *l, int partner, int64_t *data, int64_t n, int64_t step)
{
    if (n > 0) l->list[l->n++] = (message){partner, data, n, step};
}

/* The messages of one sum: with the node `r` further on, and the one as far back. A node with fewer ranks sends to several of one. */
static void list_sum(qep_sum *s, const qep_node_sum *sum)
{
    const qep_comm *c = s->comm;
    const int nodes = c->n_nodes;
    const int64_t step = step_of(c, sum);
    for (int r = 1; r < nodes; r++) {
        const int to = (c->node_id + r) % nodes, from = (c->node_id - r + nodes) % nodes;
        for (int i = c->node_begin[to] + c->node_rank; i < c->node_begin[to + 1]; i += c->node_size) {
            const int q = c->member[i];
            list_message(&s->out, q, sum->data + sum->displ[q], sum->count[q], step);
        }
        list_message(&s->in, c->member[c->node_begin[from] + qep_par_collector(c, from, c->rank)], sum->data + sum->displ[c->rank], sum->count[c->rank], step);
    }
}

/* The next chunk into slot k. */
static void start_chunk(const qep_sum *s, lane *l, int k)
{
    const message *m = &l->list[l->at];
    if (l->at == l->n) return;
    l->data[k] = m->data + l->offset;
    l->count[k] = qep_min_i64(m->step, m->n - l->offset);
    const int64_t bytes = l->count[k] * (int64_t)sizeof(int64_t);
    if (l == &s->in) {
        MPI_Irecv(s->buf[k], qep_int(bytes), MPI_BYTE, m->partner, QEP_PAR_TAG, s->comm->job, &l->request[k]);
    } else {
        MPI_Isend(l->data[k], qep_int(bytes), MPI_BYTE, m->partner, QEP_PAR_TAG, s->comm->job, &l->request[k]);
        qep_par_sent(bytes);
    }
    l->offset += l->count[k];
    if (l->offset < m->n) return;
    l->at++;
    l->offset = 0;
}

/* Two's complement sum: intermediate overflow is harmless, as it would be for any order of
 * additions. */
static void add_i64(int64_t *restrict sum, const int64_t *restrict part, int64_t n)
{
    for (int64_t i = 0; i < n; i++) sum[i] = (int64_t)((uint64_t)sum[i] + (uint64_t)part[i]);
}

/* The oldest chunk has arrived: another takes its place. */
static void finish_chunk(const qep_sum *s, lane *l)
{
    const int k = l->oldest;
    if (l == &s->in) add_i64(l->data[k], s->buf[k], l->count[k]);
    else memset(l->data[k], 0, (size_t)l->count[k] * sizeof *l->data[k]);
    start_chunk(s, l, k);
    l->oldest = (k + 1) % ON_THE_WAY;
}

static bool advance(const qep_sum *s, lane *l)
{
    int done = 0;
    if (l->request[l->oldest] == MPI_REQUEST_NULL) return false;
    MPI_Test(&l->request[l->oldest], &done, MPI_STATUS_IGNORE);
    if (done) finish_chunk(s, l);
    return done != 0;
}

static lane open_lane(int64_t messages)
{
    lane l = {.list = qep_alloc("par.sum", messages, sizeof *l.list)};
    for (int k = 0; k < ON_THE_WAY; k++) l.request[k] = MPI_REQUEST_NULL;
    return l;
}

qep_sum *qep_sum_begin(qep_comm *c, const qep_node_sum *sums, int n)
{
    qep_sum *s = qep_alloc("par.sum", 1, sizeof *s);
    *s = (qep_sum){.comm = c};
    const int64_t turns = qep_ceil_div(c->size, c->node_size) + c->n_nodes; /* ranks that one rank sends to, at most */
    s->out = open_lane(n * turns);
    s->in = open_lane(n * (int64_t)c->n_nodes);
    for (int i = 0; i < n; i++) list_sum(s, &sums[i]);
    int64_t step = 0;
    for (int64_t i = 0; i < s->in.n; i++) step = qep_max_i64(step, s->in.list[i].step);
    for (int k = 0; k < ON_THE_WAY; k++) {
        if (step > 0) s->buf[k] = qep_alloc("par.sum", step, sizeof *s->buf[k]);
        start_chunk(s, &s->in, k);
        start_chunk(s, &s->out, k);
    }
    return s;
}

void qep_sum_poll(qep_sum *s)
{
    bool in = true, out = true;
    while (in || out) {
        in = advance(s, &s->in);
        out = advance(s, &s->out);
    }
}

void qep_sum_end(qep_sum **sum)
{
    qep_sum *s = *sum;
    for (;;) {
        MPI_Request first[2] = {s->in.request[s->in.oldest], s->out.request[s->out.oldest]};
        int which;
        MPI_Waitany(2, first, &which, MPI_STATUS_IGNORE);
        if (which == MPI_UNDEFINED) break; /* neither is on its way */
        lane *l = which == 0 ? &s->in : &s->out;
        l->request[l->oldest] = MPI_REQUEST_NULL;
        finish_chunk(s, l);
    }
    qep_free(s->out.list);
    qep_free(s->in.list);
    for (int k = 0; k < ON_THE_WAY; k++) qep_free(s->buf[k]);
    qep_free(s);
    *sum = NULL;
}
