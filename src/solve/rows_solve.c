/* Rows solved against L L^T while row blocks of L stream by, first to last and back.
 * SPDX-License-Identifier: Apache-2.0 */
#include "rows_priv.h"

typedef struct strips {
    double *x; /* borrowed: [n_rows, d] */
    int64_t ld, n_rows, height;
    const double *alpha; /* borrowed, may be NULL */
} strips;

/* x <- x L^-T, one block of columns: x_J <- (x_J - x_<J L_J<^T) L_JJ^-T. row: block J of L's
 * rows. */
static void forward(const strips *s, int64_t j0, int64_t cols, const double *row, int64_t ld_row)
{
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < s->n_rows; i += s->height) {
        if (s->alpha != NULL && s->alpha[i / s->height] == 0.0) continue;
        const int64_t rows = qep_min_i64(s->height, s->n_rows - i);
        double *x = s->x + i * s->ld;
        if (j0 > 0)
            qep_gemm_f64(true, rows, cols, j0, -1.0, x, s->ld, row, ld_row, 1.0, x + j0, s->ld);
        qep_trsm_right_f64(true, true, rows, cols, row + j0, ld_row, x + j0, s->ld);
    }
}

/* x <- x L^-1, one block of columns, last first: x_J <- x_J L_JJ^-1, then x_<J -= x_J L_J<. */
static void backward(const strips *s, int64_t j0, int64_t cols, const double *row, int64_t ld_row)
{
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < s->n_rows; i += s->height) {
        if (s->alpha != NULL && s->alpha[i / s->height] == 0.0) continue;
        const int64_t rows = qep_min_i64(s->height, s->n_rows - i);
        double *x = s->x + i * s->ld;
        qep_trsm_right_f64(true, false, rows, cols, row + j0, ld_row, x + j0, s->ld);
        if (j0 > 0)
            qep_gemm_f64(false, rows, j0, cols, -1.0, x + j0, s->ld, row, ld_row, 1.0, x, s->ld);
    }
}

void qep_rows_solve_strips_all(const qep_dmat *L, int64_t n_rows, int64_t strip,
                               const double *alpha, double *x, int64_t ldx, qep_window *w)
{
    const int64_t d = qep_dmat_n(L), n_blocks = qep_stream_blocks(d);
    const strips rows = {x, ldx, n_rows, strip, alpha};
    qep_stream s = qep_stream_open(L, w, QEP_F64);
    for (int64_t b = 0; b < n_blocks; b++) {
        const double *block = qep_stream_block_all(&s, b);
        forward(&rows, b * QEP_STREAM_ROWS, qep_stream_block_rows(d, b), block, s.ld);
    }
    for (int64_t b = n_blocks - 1; b >= 0; b--) {
        const double *block = qep_stream_block_all(&s, b);
        backward(&rows, b * QEP_STREAM_ROWS, qep_stream_block_rows(d, b), block, s.ld);
    }
    qep_stream_close_all(&s);
}

void qep_rows_solve_all(const qep_dmat *L, int64_t n_strips, double *x, qep_window *w)
{
    const int64_t strip = QEP_SOLVE_STRIP;
    qep_rows_solve_strips_all(L, n_strips * strip, strip, NULL, x, qep_dmat_n(L), w);
}

/* A strip is one row block of M, whatever its neighbours on this rank: the bits do not depend on
 * the owners. */
void qep_dmat_solve_all(qep_dmat *M, const qep_dmat *L, qep_window *w)
{
    const int64_t n_rows = qep_dmat_n_rows_of(M, qep_rank(qep_dmat_comm(M)));
    QEP_REQUIRE(qep_dmat_n(M) == qep_dmat_n(L));
    qep_rows_solve_strips_all(L, n_rows, qep_dmat_block(M), NULL, qep_dmat_row(M, 0),
                              qep_dmat_ld(M), w);
}
