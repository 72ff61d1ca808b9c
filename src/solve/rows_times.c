/* Rows times a distributed matrix, by panels: an entry is one chain of fused multiply-adds over all of the matrix's rows, so its bits do not depend on who
 * owns what. A chunk of columns stays in the second-level cache while all strips pass. SPDX-License-Identifier: Apache-2.0 */
#include "rows_priv.h"
#include "qep/linalg.h"
#include <omp.h>
#include <string.h>

/* Of a strip's columns against a bundle. */
static int64_t piece_size(int64_t d)
{
    return QEP_SOLVE_STRIP * qep_stream_bundle_rows(d, 0);
}

static void turn_strip(void *to, const void *from, qep_dtype type, int64_t d, bool back)
{
    if (type == QEP_F32 && back) qep_panel_to_rows_f32(to, QEP_SOLVE_STRIP, d, from, d);
    else if (type == QEP_F32) qep_panel_from_rows_f32(to, from, QEP_SOLVE_STRIP, d, d);
    else if (back) qep_panel_to_rows_f64(to, QEP_SOLVE_STRIP, d, from, d);
    else qep_panel_from_rows_f64(to, from, QEP_SOLVE_STRIP, d, d);
}

/* Strips of y, f32 or f64, from [64, d] to [d, 64] in place, or back. */
static void turn_strips(void *y, qep_dtype type, int64_t n_strips, int64_t d, bool back)
{
    const int64_t strip = QEP_SOLVE_STRIP * d * qep_dtype_size(type);
    char *copies = qep_alloc("solve.turned", qep_min_i64(omp_get_max_threads(), n_strips) * strip, 1);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n_strips; i++) {
        char *rows = (char *)y + i * strip, *copy = copies + omp_get_thread_num() * strip;
        memcpy(copy, rows, (size_t)strip);
        turn_strip(rows, copy, type, d, back);
    }
    qep_free(copies);
}

/* --- f64 ------------------------------------------------------------------------------------------------- */

/* Columns [row0, row0 + rows) of all strips of a, each turned to [rows, 64]. */
static void turn_pieces_f64(double *pieces, const float *a, int64_t n_strips, int64_t d, int64_t row0, int64_t rows)
{
    enum { R = QEP_SOLVE_STRIP, LINE = 8 };
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t i = 0; i < n_strips; i++)
        for (int64_t c0 = 0; c0 < rows; c0 += LINE)
            for (int64_t r = 0; r < R; r++)
                for (int64_t c = c0; c < qep_min_i64(c0 + LINE, rows); c++)
                    pieces[i * piece_size(d) + c * R + r] = (double)a[(i * R + r) * d + row0 + c];
}

void qep_rows_times_f64_all(const qep_dmat *M, int64_t n_strips, const float *a, double *y, qep_window *w)
{
    const int64_t d = qep_dmat_n(M), strip = QEP_SOLVE_STRIP * d;
    double *pieces = qep_alloc("solve.pieces", n_strips * piece_size(d), sizeof *pieces);
    qep_stream s = qep_stream_open(M, w, QEP_F64);
    turn_strips(y, QEP_F64, n_strips, d, false);
    for (int64_t b = 0; b < qep_stream_bundles(d); b++) {
        const int64_t rows = qep_stream_bundle_rows(d, b);
        const double *packed = qep_stream_panels_f64_all(&s, b);
        turn_pieces_f64(pieces, a, n_strips, d, b * QEP_STREAM_BUNDLE, rows);
#pragma omp parallel for collapse(2) schedule(dynamic)
        for (int64_t j = 0; j < d; j += QEP_SOLVE_CHUNK)
            for (int64_t i = 0; i < n_strips; i++)
                qep_panel_update_f64(y + i * strip + j * QEP_SOLVE_STRIP, 1.0, pieces + i * piece_size(d), rows, packed + j * rows, 0,
                                     qep_min_i64(QEP_SOLVE_CHUNK, d - j));
    }
    turn_strips(y, QEP_F64, n_strips, d, true);
    qep_free(pieces);
    qep_stream_close_all(&s);
}

/* --- f32 ------------------------------------------------------------------------------------------------- */

/* Columns [row0, row0 + rows) of all strips of a, each turned to [rows, 64]. */
static void turn_pieces(float *pieces, const float *a, int64_t n_strips, int64_t d, int64_t row0, int64_t rows)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n_strips; i++) qep_panel_from_rows_f32(pieces + i * piece_size(d), a + i * QEP_SOLVE_STRIP * d + row0, QEP_SOLVE_STRIP, d, rows);
}

static void add_bundle(float *y, const float *pieces, int64_t n_strips, int64_t d, const float *packed, int64_t rows)
{
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (int64_t j = 0; j < d; j += QEP_SOLVE_CHUNK)
        for (int64_t i = 0; i < n_strips; i++)
            qep_panel_update_f32(y + i * QEP_SOLVE_STRIP * d + j * QEP_SOLVE_STRIP, 1.0F, pieces + i * piece_size(d), rows, packed + j * rows, 0,
                             qep_min_i64(QEP_SOLVE_CHUNK, d - j));
}

void qep_rows_times_f32_all(const qep_dmat *M, int64_t n_strips, const float *a, float *y, qep_window *w)
{
    const int64_t d = qep_dmat_n(M);
    qep_stream s = qep_stream_open(M, w, QEP_F32);
    float *pieces = qep_alloc("solve.pieces", n_strips * piece_size(d), sizeof *pieces);
    turn_strips(y, QEP_F32, n_strips, d, false);
    for (int64_t b = 0; b < qep_stream_bundles(d); b++) {
        const int64_t rows = qep_stream_bundle_rows(d, b);
        const float *packed = qep_stream_panels_f32_all(&s, b);
        turn_pieces(pieces, a, n_strips, d, b * QEP_STREAM_BUNDLE, rows);
        add_bundle(y, pieces, n_strips, d, packed, rows);
    }
    turn_strips(y, QEP_F32, n_strips, d, true);
    qep_free(pieces);
    qep_stream_close_all(&s);
}

/* --- quadratic forms ------------------------------------------------------------------------------------ */

/* part[64] = what rows [row0, row0 + rows) and columns [j0, j0 + cols) of H give to a H a^T of a strip's rows, a turned. Left of its diagonal block H
 * counts twice, for its mirror image. */
static void add_form(double *part, const float *a, const float *packed, int64_t row0, int64_t rows, int64_t j0, int64_t cols)
{
    enum { R = QEP_SOLVE_STRIP };
    float y[QEP_SOLVE_CHUNK * R];
    qep_panel_update_f32(y, 0.0F, a + row0 * R, rows, packed + j0 * rows, 0, cols);
    for (int64_t j = 0; j < cols; j++)
        for (int64_t r = 0; r < R; r++)
            part[r] += (j0 + j < row0 ? 2.0 : 1.0) * (double)y[j * R + r] * (double)a[(j0 + j) * R + r];
}

/* form[row] += the parts of the chunks, in their order. */
static void add_parts(double *form, const double *parts, int64_t n_strips, int64_t chunks)
{
    for (int64_t i = 0; i < n_strips; i++)
        for (int64_t k = 0; k < chunks; k++)
            for (int64_t r = 0; r < QEP_SOLVE_STRIP; r++) form[i * QEP_SOLVE_STRIP + r] += parts[(i * chunks + k) * QEP_SOLVE_STRIP + r];
}

void qep_rows_forms_all(const qep_dmat *H, int64_t n_strips, float *a, double *form, qep_window *w)
{
    const int64_t d = qep_dmat_n(H), strip = QEP_SOLVE_STRIP * d, most = qep_ceil_div(d, QEP_SOLVE_CHUNK);
    qep_stream s = qep_stream_open(H, w, QEP_F32);
    double *parts = qep_alloc("solve.pieces", n_strips * most * QEP_SOLVE_STRIP, sizeof *parts);
    turn_strips(a, QEP_F32, n_strips, d, false);
    memset(form, 0, (size_t)(n_strips * QEP_SOLVE_STRIP) * sizeof *form);
    for (int64_t b = 0; b < qep_stream_bundles(d); b++) {
        const int64_t row0 = b * QEP_STREAM_BUNDLE, rows = qep_stream_bundle_rows(d, b), end = row0 + rows, chunks = qep_ceil_div(end, QEP_SOLVE_CHUNK);
        const float *packed = qep_stream_panels_f32_all(&s, b);
        memset(parts, 0, (size_t)(n_strips * chunks * QEP_SOLVE_STRIP) * sizeof *parts);
#pragma omp parallel for collapse(2) schedule(dynamic)
        for (int64_t k = 0; k < chunks; k++)
            for (int64_t i = 0; i < n_strips; i++)
                add_form(parts + (i * chunks + k) * QEP_SOLVE_STRIP, a + i * strip, packed, row0, rows, k * QEP_SOLVE_CHUNK,
                         qep_min_i64(QEP_SOLVE_CHUNK, end - k * QEP_SOLVE_CHUNK));
        add_parts(form, parts, n_strips, chunks);
    }
    turn_strips(a, QEP_F32, n_strips, d, true);
    qep_free(parts);
    qep_stream_close_all(&s);
}

int64_t qep_rows_pieces_bytes(int64_t d, int64_t n_strips, bool f64)
{
    const int64_t parts = qep_ceil_div(d, QEP_SOLVE_CHUNK) * QEP_SOLVE_STRIP * (int64_t)sizeof(double);
    return n_strips * qep_max_i64(parts, piece_size(d) * (int64_t)(f64 ? sizeof(double) : sizeof(float)));
}
