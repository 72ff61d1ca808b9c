/* Barrier, broadcast and gather of bytes, any size. SPDX-License-Identifier: Apache-2.0 */
#include "par_priv.h"
#include <string.h>

void qep_barrier_all(qep_comm *c)
{
    MPI_Barrier(c->job);
}

void qep_par_bcast(const qep_comm *c, MPI_Comm comm, int root, void *buf, int64_t bytes)
{
    QEP_REQUIRE(bytes >= 0);
    int rank = 0;
    MPI_Comm_rank(comm, &rank);
    for (int64_t i = 0; i < bytes; i += c->chunk) {
        int64_t m = qep_min_i64(c->chunk, bytes - i);
        MPI_Bcast((char *)buf + i, qep_int(m), MPI_BYTE, root, comm);
        if (rank == root) qep_par_sent(m);
    }
}

void qep_par_gather_nodes(const qep_comm *c, char *data, int64_t first, const int64_t *begin, const int64_t *count)
{
    const int n = c->n_nodes;
    int64_t longest = 0;
    for (int k = 0; k < n; k++) longest = qep_max_i64(longest, count[k]);
    int *size = qep_alloc("par.gather", 2 * (int64_t)n, sizeof *size), *at = size + n;
    for (int64_t i = 0; i < longest; i += c->chunk) {
        for (int k = 0; k < n; k++) {
            size[k] = qep_int(qep_max_i64(0, qep_min_i64(c->chunk, count[k] - i)));
            at[k] = size[k] > 0 ? qep_int(begin[k] - first + i) : 0;
        }
        MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_BYTE, data + first, size, at, MPI_BYTE, c->leaders);
        if (size[c->node_id] > 0) qep_par_sent(size[c->node_id]);
    }
    qep_free(size);
}

void qep_bcast_all(qep_comm *c, int root, void *buf, int64_t bytes)
{
    QEP_REQUIRE(root >= 0 && root < c->size);
    if (c->size > 1) qep_par_bcast(c, c->job, root, buf, bytes);
}

void qep_bcast_text_all(qep_comm *c, int root, char **text, int64_t *bytes)
{
    QEP_REQUIRE(c->rank != root || *text);
    if (c->rank == root) *bytes = (int64_t)strlen(*text);
    qep_bcast_all(c, root, bytes, (int64_t)sizeof *bytes);
    if (c->rank != root) {
        qep_free(*text);
        *text = qep_alloc("text", *bytes + 1, 1);
    }
    qep_bcast_all(c, root, *text, *bytes);
}

static void send_bytes(const qep_comm *c, int to, const void *buf, int64_t bytes)
{
    for (int64_t i = 0; i < bytes; i += c->chunk) {
        int64_t m = qep_min_i64(c->chunk, bytes - i);
        MPI_Send((const char *)buf + i, qep_int(m), MPI_BYTE, to, QEP_PAR_TAG, c->job);
        qep_par_sent(m);
    }
}

static void receive_bytes(const qep_comm *c, int from, void *buf, int64_t bytes)
{
    for (int64_t i = 0; i < bytes; i += c->chunk) {
        int64_t m = qep_min_i64(c->chunk, bytes - i);
        MPI_Recv((char *)buf + i, qep_int(m), MPI_BYTE, from, QEP_PAR_TAG, c->job,
                 MPI_STATUS_IGNORE);
    }
}

void qep_gather_all(qep_comm *c, int root, const void *mine, int64_t bytes, void **out,
                    int64_t *total)
{
    QEP_REQUIRE(bytes >= 0 && root >= 0 && root < c->size);
    int64_t *size = qep_alloc("par.gather", c->size, sizeof *size);
    MPI_Gather(&bytes, 1, MPI_INT64_T, size, 1, MPI_INT64_T, root, c->job);
    *out = NULL;
    *total = 0;
    if (c->rank != root) {
        send_bytes(c, root, mine, bytes);
    } else {
        for (int r = 0; r < c->size; r++) QEP_REQUIRE(qep_add_i64(*total, size[r], total));
        *out = qep_alloc("gather", qep_max_i64(*total, 1), 1);
        char *at = *out;
        for (int r = 0; r < c->size; at += size[r], r++) {
            if (r != root) receive_bytes(c, r, at, size[r]);
            else if (bytes > 0) memcpy(at, mine, (size_t)bytes);
        }
    }
    qep_free(size);
}
