/* Rows that become columns, in steps of one row block per owner: the transpose, and the upper triangle from the lower one.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dmat_priv.h"

/* What one rank sends in a step: rows [row0, row0 + height), columns [0, end), turned by 90
 * degrees. */
typedef struct slab {
    int64_t row0, height, end; /* height 0: nothing */
} slab;

typedef struct turn {
    const qep_dmat *src;
    qep_dmat *out;
    bool lower; /* out is src: its lower triangle goes into the upper one */
} turn;

static slab slab_of(const turn *t, int64_t step, int64_t rank)
{
    const qep_spread s = t->src->spread;
    slab b = {.row0 = (step * s.n_owners + rank) * s.block};
    if (rank < s.n_owners && b.row0 < s.n) b.height = qep_min_i64(s.block, s.n - b.row0);
    b.end = t->lower ? b.row0 + b.height : s.n;
    return b;
}

/* Entries of slab b for rank q: all its columns that are rows of q. */
static int64_t entries_for(qep_spread s, slab b, int64_t q)
{
    return b.height > 0 ? qep_spread_rows_below(s, q, b.end) * b.height : 0;
}

/* part[row of q][row of the slab] */
static void pack(const qep_dmat *m, slab b, int q, double *part)
{
    const int64_t l0 = qep_spread_lrow(m->spread, b.row0);
    const int64_t rows = qep_spread_rows_below(m->spread, q, b.end);
#pragma omp parallel for schedule(static)
    for (int64_t l = 0; l < rows; l++) {
        const double *column = m->data + l0 * m->ld + qep_spread_row(m->spread, q, l);
        for (int64_t j = 0; j < b.height; j++) part[l * b.height + j] = column[j * m->ld];
    }
}

static void unpack(const turn *t, slab b, const double *part)
{
    qep_dmat *m = t->out;
    const int rank = qep_rank(m->comm);
    const int64_t rows = qep_spread_rows_below(m->spread, rank, b.end);
#pragma omp parallel for schedule(static)
    for (int64_t l = 0; l < rows; l++) {
        const int64_t above = qep_max_i64(0, qep_spread_row(m->spread, rank, l) + 1 - b.row0);
        double *row = m->data + l * m->ld + b.row0;
        for (int64_t j = t->lower ? above : 0; j < b.height; j++) row[j] = part[l * b.height + j];
    }
}

/* send, recv: room for the largest step; counts: [4, P], bytes. */
static void one_step(const turn *t, int64_t step, double *send, double *recv, int64_t *counts)
{
    const qep_dmat *m = t->src;
    const int size = qep_size(m->comm), rank = qep_rank(m->comm);
    const int64_t unit = (int64_t)sizeof *send;
    int64_t *count = counts, *displ = count + size, *rcount = displ + size, *rdispl = rcount + size;
    const slab mine = slab_of(t, step, rank);
    int64_t n_send = 0, n_recv = 0;
    for (int q = 0; q < size; q++) {
        const int64_t out = entries_for(m->spread, mine, q);
        const int64_t in = entries_for(m->spread, slab_of(t, step, q), rank);
        if (out > 0) pack(m, mine, q, send + n_send);
        count[q] = out * unit;
        displ[q] = n_send * unit;
        rcount[q] = in * unit;
        rdispl[q] = n_recv * unit;
        n_send += out;
        n_recv += in;
    }
    qep_exchange_all(m->comm, send, count, displ, recv, rcount, rdispl);
    for (int q = 0; q < size; q++)
        if (rcount[q] > 0) unpack(t, slab_of(t, step, q), recv + rdispl[q] / unit);
}

static void turn_all(const turn *t)
{
    const qep_spread s = t->src->spread;
    const int64_t n_blocks = qep_ceil_div(s.n, s.block);
    const int64_t widest = qep_min_i64(s.n_owners * s.block, n_blocks * s.block);
    double *send = qep_alloc("dmat.exchange", s.block * s.n, sizeof *send);
    double *recv = qep_alloc("dmat.exchange", widest * t->src->n_rows, sizeof *recv);
    int64_t *counts = qep_alloc("dmat.exchange", 4 * (int64_t)qep_size(t->src->comm), sizeof *counts);
    for (int64_t step = 0; step * s.n_owners < n_blocks; step++)
        one_step(t, step, send, recv, counts);
    qep_free(counts);
    qep_free(recv);
    qep_free(send);
}

void qep_dmat_symmetrize_all(qep_dmat *m)
{
    turn_all(&(turn){m, m, true});
}

void qep_dmat_transpose_all(qep_dmat *out, const qep_dmat *src)
{
    QEP_REQUIRE(out != src && out->spread.n == src->spread.n && out->spread.block == src->spread.block &&
                out->spread.n_owners == src->spread.n_owners);
    turn_all(&(turn){src, out, false});
}
