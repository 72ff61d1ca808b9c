/* linalg: a panel of 64 rows solved against a triangle, from its columns in panels. Both directions leave the solution with the opposite sign, so that what is
 * solved is added to the rest. SPDX-License-Identifier: Apache-2.0 */
#include "qep/linalg.h"

#include <math.h>
#include <string.h>

enum { R = QEP_PANEL_ROWS, N = QEP_PANEL_COLS, BLOCK = 16 * N };

static void add_column(double *restrict x, const double *restrict y, double t)
{
    for (int r = 0; r < R; r++) x[r] = fma(y[r], t, x[r]);
}

static void divide_column(double *x, double t)
{
    for (int r = 0; r < R; r++) x[r] = -(x[r] / t);
}

/* Columns [j, j + n), n <= 6, by each other. */
static void forward_corner(double *x, int64_t j, int64_t n, const double *l, int64_t ldl)
{
    for (int64_t c = j; c < j + n; c++) {
        for (int64_t k = j; k < c; k++) add_column(x + c * R, x + k * R, l[c * ldl + k]);
        divide_column(x + c * R, l[c * ldl + c]);
    }
}

static void backward_corner(double *x, int64_t j, int64_t n, const double *l, int64_t ldl)
{
    for (int64_t c = j + n - 1; c >= j; c--) {
        for (int64_t k = j + n - 1; k > c; k--) add_column(x + c * R, x + k * R, l[k * ldl + c]);
        divide_column(x + c * R, l[c * ldl + c]);
    }
}

/* By the columns of other blocks many at a time, then a panel at a time inside the block. */
void qep_panel_forward_f64(double *x, int64_t cols, const double *packed, const double *l, int64_t ldl)
{
    for (int64_t j0 = 0; j0 < cols; j0 += BLOCK) {
        const int64_t j1 = qep_min_i64(j0 + BLOCK, cols);
        qep_panel_add_f64(x + j0 * R, x, j0, packed + j0 * cols, cols, j1 - j0);
        for (int64_t j = j0; j < j1; j += N) {
            const int64_t n = qep_min_i64(N, j1 - j);
            qep_panel_add_f64(x + j * R, x + j0 * R, j - j0, packed + j * cols + j0 * N, cols, n);
            forward_corner(x, j, n, l, ldl);
        }
    }
}

void qep_panel_backward_f64(double *x, int64_t cols, const double *packed, const double *l, int64_t ldl)
{
    for (int64_t j0 = (cols - 1) / BLOCK * BLOCK; j0 >= 0; j0 -= BLOCK) {
        const int64_t j1 = qep_min_i64(j0 + BLOCK, cols);
        qep_panel_add_f64(x + j0 * R, x + j1 * R, cols - j1, packed + j0 * cols + j1 * N, cols, j1 - j0);
        for (int64_t j = j0 + (j1 - j0 - 1) / N * N; j >= j0; j -= N) {
            const int64_t n = qep_min_i64(N, j1 - j), end = j + n;
            qep_panel_add_f64(x + j * R, x + end * R, j1 - end, packed + j * cols + end * N, cols, n);
            backward_corner(x, j, n, l, ldl);
        }
    }
}

/* The n columns of a diagonal block, whose rows are the lanes, by each other. Returns as qep_panel_cholesky_f64. */
static int64_t factor_columns(double *x, int64_t n)
{
    for (int64_t c = 0; c < n; c++) {
        double *column = x + c * R;
        for (int64_t k = 0; k < c; k++) add_column(column, x + k * R, -x[k * R + c]);
        const double pivot = column[c];
        if (!(pivot > 0.0) || isinf(pivot)) return c + 1;
        const double root = sqrt(pivot);
        divide_column(column, root);
        column[c] = -root;
    }
    return 0;
}

void qep_panel_to_rows_negated_f64(double *rows, int64_t n, int64_t ld, const double *panel, int64_t cols)
{
    qep_panel_to_rows_f64(rows, n, ld, panel, cols);
    for (int64_t r = 0; r < n; r++)
        for (int64_t c = 0; c < cols; c++) rows[r * ld + c] = -rows[r * ld + c];
}

/* n rows of the factor from their panel: `before` columns and their own diagonal block, 0 behind the diagonal up to `cols`. */
static void write_rows(double *rows, int64_t ld, int64_t n, int64_t before, int64_t cols, const double *x)
{
    qep_panel_to_rows_negated_f64(rows, n, ld, x, before + n);
    for (int64_t r = 0; r < n; r++) {
        const int64_t own = before + r + 1;
        memset(rows + r * ld + own, 0, (size_t)(cols - own) * sizeof *rows);
    }
}

/* The transpose of n rows of the factor, k columns, packed, from their panel. */
static void pack_own(double *packed, const double *x, int64_t k, int64_t n)
{
    for (int64_t j = 0; j < n; j += N)
        for (int64_t i = 0; i < k; i++)
            for (int64_t l = 0; l < N; l++) packed[j * k + i * N + l] = j + l < n ? -x[i * R + j + l] : 0.0;
}

int64_t qep_panel_cholesky_bytes(int64_t n)
{
    return (qep_round_up(n, R) * n + qep_panel_packed(n, R)) * (int64_t)sizeof(double);
}

int64_t qep_panel_cholesky_f64(double *a, int64_t lda, int64_t w)
{
    const int64_t strips = qep_ceil_div(w, R);
    double *x = qep_alloc("dmat.factor", qep_panel_cholesky_bytes(w), 1), *packed = x + strips * R * w;
    int64_t minor = 0;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < strips; i++) qep_panel_from_rows_f64(x + i * R * w, a + i * R * lda, qep_min_i64(R, w - i * R), lda, w);
    for (int64_t t = 0; t < w; t += R) {
        const int64_t n = qep_min_i64(R, w - t);
        double *own = x + t * w;
        pack_own(packed, own, t, n);
#pragma omp parallel for schedule(dynamic)
        for (int64_t i = t / R; i < strips; i++) qep_panel_update_f64(x + i * R * w + t * R, 1.0, x + i * R * w, t, packed, 0, n);
        minor = factor_columns(own + t * R, n);
        if (minor > 0) {
            minor += t;
            break;
        }
        double *block = a + t * lda + t;
        write_rows(block, lda, n, 0, n, own + t * R);
        pack_own(packed, own + t * R, n, n);
#pragma omp parallel for schedule(dynamic)
        for (int64_t i = t / R + 1; i < strips; i++) qep_panel_forward_f64(x + i * R * w + t * R, n, packed, block, lda);
    }
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < w; t += R) write_rows(a + t * lda, lda, qep_min_i64(R, w - t), t, w, x + t * w);
    qep_free(x);
    return minor;
}
