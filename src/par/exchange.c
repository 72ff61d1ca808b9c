/* Everybody to everybody, by pairs with a rotating partner: in step s rank r sends to r + s and
 * receives from r - s, so no rank is swamped and the buffers in flight are two chunks.
 * SPDX-License-Identifier: Apache-2.0 */
#include "par_priv.h"

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
    qep_copy((char *)recv + rdispl[c->rank], (const char *)send + displ[c->rank], count[c->rank]);
    for (int s = 1; s < c->size; s++) {
        int to = (c->rank + s) % c->size, from = (c->rank - s + c->size) % c->size;
        exchange_pair(c, to, (const char *)send + displ[to], count[to], from,
                      (char *)recv + rdispl[from], rcount[from]);
    }
}
