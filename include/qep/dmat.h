/* dmat: square f64 matrices whose rows are spread over ranks block-cyclically, and their Cholesky factor, by panels or by ScaLAPACK (the only door
 * to BLACS and ScaLAPACK). Row blocks of `block` rows are dealt to the first `n_owners` ranks in turn; a rank holds its rows row-major.
 * Picture, block 2, 3 owners:   rows 0 1 | 2 3 | 4 5 | 6 7 | ...  ->  ranks 0 | 1 | 2 | 0 | ...
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_DMAT_H
#define QEP_DMAT_H

#include "qep/par.h"
#include "qep/tensor.h"

/* Number of owners for an n x n matrix: min(ranks, ceil(n / block)), at most `limit` when limit > 0. The rule of solver.grid = auto. */
int64_t qep_dmat_owners_rule(int64_t n, int64_t block, int64_t ranks, int64_t limit);

typedef struct qep_dmat qep_dmat;
/* n x n zeros on the first n_owners ranks of c. Memory n_local * ld * 8 bytes under `name`. Collective. */
qep_dmat *qep_dmat_create_all(qep_comm *c /* [keep] */, const char *name, int64_t n, int64_t block, int64_t n_owners);
void qep_dmat_destroy_all(qep_dmat **m);
/* Bytes that rank `rank` would hold (for the plan). */
int64_t qep_dmat_local_bytes(int64_t n, int64_t block, int64_t n_owners, int64_t rank);
/* Bytes of scratch ("dmat.factor") that rank `rank` needs while qep_dmat_cholesky_all runs: its rows once more, and a corner (by ScaLAPACK:
 * with padding); and of the window. */
int64_t qep_dmat_factor_bytes(int64_t n, int64_t block, int64_t n_owners, int64_t rank);
int64_t qep_dmat_factor_window_bytes(int64_t n);

qep_comm *qep_dmat_comm(const qep_dmat *m); /* borrowed */
int64_t qep_dmat_n(const qep_dmat *m);
int64_t qep_dmat_block(const qep_dmat *m);
int64_t qep_dmat_n_owners(const qep_dmat *m);
int qep_dmat_owner(const qep_dmat *m, int64_t row);        /* rank that holds the row */
/* Rows that rank `rank` holds (without padding), and the global number of its l-th. Local order = ascending global order. */
int64_t qep_dmat_n_rows_of(const qep_dmat *m, int rank);
int64_t qep_dmat_row_of(const qep_dmat *m, int rank, int64_t lrow);
double *qep_dmat_row(qep_dmat *m, int64_t lrow);           /* my l-th row, n entries contiguous; rows are qep_dmat_ld apart */
int64_t qep_dmat_ld(const qep_dmat *m);                    /* n, rounded up to QEP_DMAT_LINE */
enum { QEP_DMAT_LINE = 8 };                                /* doubles of a cache line: where rows start */

void qep_dmat_copy(qep_dmat *dst, const qep_dmat *src);    /* same shape and spread. Local. */
void qep_dmat_add(qep_dmat *dst, const qep_dmat *src);     /* dst += src, same shape and spread. Local. */
void qep_dmat_add_diag(qep_dmat *m, double shift);         /* Local. */
/* The diagonal becomes diag[n], equal on all ranks; in the kept rows too. Collective. */
void qep_dmat_set_diag_all(qep_dmat *m, const double *diag);
/* diag[n] on every rank. Collective. */
void qep_dmat_diag_all(const qep_dmat *m, double *diag);
/* Upper triangle from the lower one. Exact copy. Collective. */
void qep_dmat_symmetrize_all(qep_dmat *m);
/* out = src^T; same shape and spread, out != src. Exact copy. Collective. */
void qep_dmat_transpose_all(qep_dmat *out, const qep_dmat *src);
/* out[i][j] = src[perm[i]][perm[j]]; perm: permutation of 0..n-1, equal on all ranks; same shape and spread. Collective. */
void qep_dmat_permute_all(qep_dmat *out, const qep_dmat *src, const int32_t *perm);
enum { QEP_DMAT_BUNDLE = 512 /* columns that are factored together */ };
/* In place: the lower triangle (diagonal included) becomes L with A = L L^T; the strict upper triangle becomes 0. *minor = 0, or the 1-based
 * order of the leading minor that is not positive (contents then undefined; equal on all ranks). By panels: the same bits for any block, n_owners and threads;
 * with qep_linalg_set_reproducible(false) by p?potrf on a column of processes, whose BLAS uses all threads. w: at least qep_dmat_factor_window_bytes(n),
 * not in use. Collective. */
void qep_dmat_cholesky_all(qep_dmat *m, qep_window *w, int64_t *minor);
/* Rows [row0, row0 + n_rows) (n_rows >= 0) to every node's window at byte `offset`, converted to type (QEP_F32 or QEP_F64), row-major, leading dimension ld;
 * columns [0, n) of a row are written, entries n..ld-1 are set to 0.
 * flip = true: the matrix read backwards in both indices, from its diagonal on: entry (i, c) = A[n-1-(row0+i)][n-1-(row0+c)] for
 * c < n - row0, zeros up to ld. With A = L of the reversed matrix these are rows of R = J L J (H = R R^T).
 * They travel in rounds of a block of each owner, at most QEP_DMAT_ROUND bytes but at least one block. The window part must not be in use. Visible on return.
 * Collective. */
enum { QEP_DMAT_ROUND = 1 << 30 };
void qep_dmat_fetch_rows_all(const qep_dmat *m, int64_t row0, int64_t n_rows, bool flip, qep_dtype type, qep_window *w, int64_t offset, int64_t ld);

/* --- a matrix that many passes read: its rows kept ------------------------------------------- */

/* All rows as qep_dmat_fetch_rows_all gives them in f32, ld = qep_dmat_ld, once per node (qep_dmat_kept_bytes under `name`), until they are dropped or m is
 * destroyed; before that only m's diagonal may be changed (qep_dmat_set_diag_all). Collective. */
void qep_dmat_keep_rows_all(qep_dmat *m, const char *name);
void qep_dmat_drop_rows_all(qep_dmat *m); /* nothing when none are kept. Collective. */
const float *qep_dmat_kept_rows(const qep_dmat *m); /* [n, ld] in my node's memory; NULL: not kept */
int64_t qep_dmat_kept_bytes(int64_t n);

const char *qep_dmat_library(void); /* one line: ScaLAPACK */

#endif
