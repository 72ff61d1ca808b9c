/* Rows and columns in another order: the sender reorders the columns of a row, the exchange the
 * rows. A step takes as many rows of the result as fit with at most two blocks of rows sent and
 * received per rank, so the buffers stay small for every permutation.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dmat_priv.h"
#include <string.h>

/* A row on its way. */
typedef struct move {
    const double *from;
    double *to;
} move;

typedef struct exchange {
    int64_t cap;       /* rows that a rank sends or receives in a step */
    double *out, *in;  /* owned: [cap, n] */
    move *moves;       /* owned: [cap] */
    int64_t n_moves;
    int64_t *sent, *got; /* owned: rows of each rank in this step, [P] */
    int64_t *count, *displ, *rcount, *rdispl; /* owned: bytes, [P] */
} exchange;

static exchange exchange_create(const qep_dmat *m)
{
    const int64_t size = qep_size(m->comm);
    exchange x = {.cap = 2 * m->spread.block};
    x.out = qep_alloc("dmat.exchange", x.cap * m->spread.n, sizeof *x.out);
    x.in = qep_alloc("dmat.exchange", x.cap * m->spread.n, sizeof *x.in);
    x.moves = qep_alloc("dmat.exchange", x.cap, sizeof *x.moves);
    x.sent = qep_alloc("dmat.exchange", 6 * size, sizeof *x.sent);
    x.got = x.sent + size;
    x.count = x.got + size;
    x.displ = x.count + size;
    x.rcount = x.displ + size;
    x.rdispl = x.rcount + size;
    return x;
}

static void exchange_destroy(exchange *x)
{
    qep_free(x->out);
    qep_free(x->in);
    qep_free(x->moves);
    qep_free(x->sent);
}

/* End of the step that begins with row i0 of the result; the same on all ranks. */
static int64_t step_end(const qep_dmat *m, const int32_t *perm, exchange *x, int64_t i0)
{
    memset(x->sent, 0, 2 * (size_t)qep_size(m->comm) * sizeof *x->sent); /* and got, behind it */
    int64_t i = i0;
    for (; i < m->spread.n; i++) {
        int64_t *sent = &x->sent[qep_spread_owner(m->spread, perm[i])];
        int64_t *got = &x->got[qep_spread_owner(m->spread, i)];
        if (*sent == x->cap || *got == x->cap) break;
        ++*sent;
        ++*got;
    }
    return i;
}

/* Bytes to and from every rank for rows [i0, i1) of the result. */
static void count_rows(const qep_dmat *m, const int32_t *perm, exchange *x, int64_t i0, int64_t i1)
{
    const int size = qep_size(m->comm), rank = qep_rank(m->comm);
    const int64_t row_bytes = m->spread.n * (int64_t)sizeof(double);
    memset(x->count, 0, 4 * (size_t)size * sizeof *x->count);
    for (int64_t i = i0; i < i1; i++) {
        const int64_t from = qep_spread_owner(m->spread, perm[i]);
        const int64_t to = qep_spread_owner(m->spread, i);
        if (from == rank) x->count[to] += row_bytes;
        if (to == rank) x->rcount[from] += row_bytes;
    }
    for (int q = 1; q < size; q++) {
        x->displ[q] = x->displ[q - 1] + x->count[q - 1];
        x->rdispl[q] = x->rdispl[q - 1] + x->rcount[q - 1];
    }
}

static void plan_move(exchange *x, const double *from, double *to)
{
    x->moves[x->n_moves++] = (move){from, to};
}

/* My rows of the step into x->out, by receiver, columns in the new order. */
static void pack(const qep_dmat *src, const int32_t *perm, exchange *x, int64_t i0, int64_t i1)
{
    const int64_t n = src->spread.n;
    const int rank = qep_rank(src->comm);
    memset(x->sent, 0, (size_t)qep_size(src->comm) * sizeof *x->sent); /* packed so far */
    x->n_moves = 0;
    for (int64_t i = i0; i < i1; i++) {
        if (qep_spread_owner(src->spread, perm[i]) != rank) continue;
        const int64_t to = qep_spread_owner(src->spread, i);
        plan_move(x, src->data + qep_spread_lrow(src->spread, perm[i]) * src->ld, x->out + x->displ[to] / (int64_t)sizeof *x->out + x->sent[to]++ * n);
    }
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < x->n_moves; k++)
        for (int64_t j = 0; j < n; j++) x->moves[k].to[j] = x->moves[k].from[perm[j]];
}

static void unpack(qep_dmat *out, const int32_t *perm, exchange *x, int64_t i0, int64_t i1)
{
    const int64_t n = out->spread.n;
    const int rank = qep_rank(out->comm);
    memset(x->got, 0, (size_t)qep_size(out->comm) * sizeof *x->got); /* unpacked so far */
    x->n_moves = 0;
    for (int64_t i = i0; i < i1; i++) {
        if (qep_spread_owner(out->spread, i) != rank) continue;
        const int64_t from = qep_spread_owner(out->spread, perm[i]);
        plan_move(x, x->in + x->rdispl[from] / (int64_t)sizeof *x->in + x->got[from]++ * n, out->data + qep_spread_lrow(out->spread, i) * out->ld);
    }
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < x->n_moves; k++) memcpy(x->moves[k].to, x->moves[k].from, (size_t)n * sizeof *x->moves[k].to);
}

void qep_dmat_permute_all(qep_dmat *out, const qep_dmat *src, const int32_t *perm)
{
    const int64_t n = src->spread.n;
    QEP_REQUIRE(out != src && memcmp(&out->spread, &src->spread, sizeof out->spread) == 0);
    for (int64_t i = 0; i < n; i++) QEP_REQUIRE(perm[i] >= 0 && perm[i] < n);
    exchange x = exchange_create(src);
    for (int64_t i0 = 0, i1; i0 < n; i0 = i1) {
        i1 = step_end(src, perm, &x, i0);
        count_rows(src, perm, &x, i0, i1);
        pack(src, perm, &x, i0, i1);
        qep_exchange_all(src->comm, x.out, x.count, x.displ, x.in, x.rcount, x.rdispl);
        unpack(out, perm, &x, i0, i1);
    }
    exchange_destroy(&x);
}
