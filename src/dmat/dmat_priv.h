/* dmat, private: who holds which rows, and the matrix itself.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_DMAT_PRIV_H
#define QEP_DMAT_PRIV_H

#include "qep/dmat.h"

/* n rows dealt in blocks of `block` rows to ranks 0 .. n_owners-1 in turn. A value, passed by
 * copy. */
typedef struct qep_spread {
    int64_t n, block, n_owners;
} qep_spread;

struct qep_dmat {
    qep_comm *comm; /* borrowed */
    qep_spread spread;
    int64_t n_rows; /* mine */
    int64_t ld;     /* from row to row, in doubles */
    double *data;   /* owned: [n_rows, ld], entries n .. ld-1 of a row stay 0 */
    qep_window *kept; /* owned: all rows in f32, or NULL */
};

/* Rows of rank `rank` with a number below `end` (<= n): its first so many local rows. */
int64_t qep_spread_rows_below(qep_spread s, int64_t rank, int64_t end);
static inline int64_t qep_spread_rows(qep_spread s, int64_t rank)
{
    return qep_spread_rows_below(s, rank, s.n);
}
static inline int64_t qep_spread_owner(qep_spread s, int64_t row)
{
    return row / s.block % s.n_owners;
}
/* Local number of a row on its owner. */
static inline int64_t qep_spread_lrow(qep_spread s, int64_t row)
{
    return row / s.block / s.n_owners * s.block + row % s.block;
}
/* Global number of local row lrow of rank `rank`. */
static inline int64_t qep_spread_row(qep_spread s, int64_t rank, int64_t lrow)
{
    return (lrow / s.block * s.n_owners + rank) * s.block + lrow % s.block;
}

/* Columns [col0, col0 + n_cols) of rows [row0, row0 + n_rows) to every node's window, f64, from its double `at` on, row-major, ld = ld. The window part
 * must not be in use. Collective. */
void qep_dmat_fetch_part_all(const qep_dmat *m, int64_t row0, int64_t n_rows, int64_t col0, int64_t n_cols, qep_window *w, int64_t at, int64_t ld);

/* The factor by ScaLAPACK; see qep_dmat_cholesky_all. Collective. */
void qep_scalapack_cholesky_all(qep_dmat *m, int64_t *minor);
int64_t qep_scalapack_bytes(qep_spread s, int64_t rank); /* its scratch "dmat.factor" */

#endif
