/* Everybody to everybody, by pairs with a rotating partner: in step s rank r sends to r + s and
 * receives from r - s, so no rank is swamped and the buffers in flight are two chunks.
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

int64_t qep_sum_to_owners_bytes(const qep_comm *c, int64_t longest)
{
    return c->size == 1 ? 0 : 2 * qep_sum_to_owners_step(c, longest) * (int64_t)sizeof(int64_t);
}

void qep_sum_to_owners_all(qep_comm *c, const int64_t *send, const int64_t *count,
                           const int64_t *displ, int64_t *recv)
{
    const int64_t mine = count[c->rank];
    if (mine > 0) memcpy(recv, send + displ[c->rank], (size_t)mine * sizeof *recv);
    if (c->size == 1) return;
    int64_t longest = 0;
    for (int q = 0; q < c->size; q++) longest = qep_max_i64(longest, count[q]);
    int64_t step = qep_sum_to_owners_step(c, longest);
    int64_t *buf = qep_alloc("par.sum", 2 * step, sizeof *buf);
    for (int s = 1; s < c->size; s++) {
        int to = (c->rank + s) % c->size, from = (c->rank - s + c->size) % c->size;
        add_pair(c, to, send + displ[to], count[to], from, recv, mine, buf, step);
    }
    qep_free(buf);
}
