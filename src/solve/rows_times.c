/* Rows times a distributed matrix: one product per strip, block of M's rows and tile of columns;
 * their shapes depend on d only.
 * SPDX-License-Identifier: Apache-2.0 */
#include "rows_priv.h"
#include <omp.h>

enum { COLS = 512, PIECE = QEP_SOLVE_STRIP * QEP_STREAM_ROWS };

/* piece[64, rows] = a[64, rows], ld d. */
static void convert_piece(double *piece, const float *a, int64_t d, int64_t rows)
{
    for (int64_t i = 0; i < QEP_SOLVE_STRIP; i++)
        for (int64_t k = 0; k < rows; k++) piece[i * rows + k] = (double)a[i * d + k];
}

void qep_rows_times_all(const qep_dmat *M, int64_t n_strips, const double *a64, const float *a32,
                        const double *alpha, double *y, qep_window *w)
{
    const int64_t d = qep_dmat_n(M), strip = QEP_SOLVE_STRIP * d;
    const int64_t n_pieces = a64 == NULL ? (int64_t)omp_get_max_threads() * PIECE : 0;
    double *pieces = qep_alloc("solve.rows", n_pieces, sizeof *pieces);
    qep_stream s = qep_stream_open(M, w, QEP_F64);
    for (int64_t b = 0; b < qep_stream_blocks(d); b++) {
        const double *block = qep_stream_block_all(&s, b);
        const int64_t row0 = b * QEP_STREAM_ROWS, rows = qep_stream_block_rows(d, b);
#pragma omp parallel for collapse(2) schedule(static)
        for (int64_t i = 0; i < n_strips; i++)
            for (int64_t j = 0; j < d; j += COLS) {
                if (alpha != NULL && alpha[i] == 0.0) continue;
                const double *a = a64 != NULL ? a64 + i * strip + row0 : NULL;
                if (a == NULL) {
                    double *piece = pieces + omp_get_thread_num() * (int64_t)PIECE;
                    convert_piece(piece, a32 + i * strip + row0, d, rows);
                    a = piece;
                }
                qep_gemm_f64(false, QEP_SOLVE_STRIP, qep_min_i64(COLS, d - j), rows, 1.0, a,
                             a64 != NULL ? d : rows, block + j, s.ld, 1.0, y + i * strip + j, d);
            }
    }
    qep_stream_close_all(&s);
    qep_free(pieces);
}

void qep_rows_times_f64_all(const qep_dmat *M, int64_t n_strips, const double *a, double *y,
                            qep_window *w)
{
    qep_rows_times_all(M, n_strips, a, NULL, NULL, y, w);
}

void qep_rows_times_f32_all(const qep_dmat *M, int64_t n_strips, const float *a, float *y,
                            qep_window *w)
{
    const int64_t d = qep_dmat_n(M), strip = QEP_SOLVE_STRIP * d;
    qep_stream s = qep_stream_open(M, w, QEP_F32);
    for (int64_t b = 0; b < qep_stream_blocks(d); b++) {
        const float *block = qep_stream_block_all(&s, b);
        const int64_t row0 = b * QEP_STREAM_ROWS, rows = qep_stream_block_rows(d, b);
#pragma omp parallel for collapse(2) schedule(static)
        for (int64_t i = 0; i < n_strips; i++)
            for (int64_t j = 0; j < d; j += COLS)
                qep_gemm_f32(false, QEP_SOLVE_STRIP, qep_min_i64(COLS, d - j), rows, 1.0F,
                             a + i * strip + row0, d, block + j, s.ld, 1.0F, y + i * strip + j, d);
    }
    qep_stream_close_all(&s);
}
