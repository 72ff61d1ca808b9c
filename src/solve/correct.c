/* The correction of a group's rows: QEP's term (arXiv 2504.09629, Prop. 5.1 and Eq. 6) and that of the residual stream (LoaQ, arXiv
 * 2509.06297, as restated in arXiv 2512.01546), both least squares on the inputs of the quantized stream.
 * SPDX-License-Identifier: Apache-2.0 */
#include "rows_priv.h"
#include <string.h>

/* out = w + factor y for one strip. */
static void apply_strip(float *out, const float *w, const double *y, double factor, int64_t n)
{
    if (factor == 0.0) {
        if (out != w) memcpy(out, w, (size_t)n * sizeof *out);
        return;
    }
    for (int64_t k = 0; k < n; k++) out[k] = (float)((double)w[k] + factor * y[k]);
}

/* y = share gamma. */
static void start_strip(double *y, const double *gamma, double share, int64_t n)
{
    for (int64_t k = 0; k < n; k++) y[k] = share * gamma[k];
}

/* factor[i] y[i] = (alpha[i] W C + beta Gamma) (H + lambda I)^-1, so that neither factor multiplies a matrix, by the rows. y: zeros. */
static void solve_rows_all(const qep_dmat *C, const qep_dmat *L, int64_t n_strips, const double *alpha, const double *factor,
                           const float *w_rows, const double *gamma, double beta, double *y, qep_window *w)
{
    const int64_t d = qep_dmat_n(C), strip = QEP_SOLVE_STRIP * d;
    if (gamma != NULL) {
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < n_strips; i++)
            start_strip(y + i * strip, gamma + i * strip, factor[i] == 0.0 ? 0.0 : beta / factor[i], strip);
    }
    qep_rows_times_all(C, n_strips, NULL, w_rows, alpha, y, w);
    qep_rows_solve_strips_all(L, n_strips * QEP_SOLVE_STRIP, factor, y, d, w);
}

static void correct_by_rows_all(const qep_dmat *C, const qep_dmat *L, int64_t n_strips, const double *alpha, const float *w_rows, const double *gamma,
                                double beta, float *out, qep_window *w)
{
    const int64_t d = qep_dmat_n(C), strip = QEP_SOLVE_STRIP * d;
    double *y = qep_alloc("solve.rows", n_strips * strip, sizeof *y);
    double *factor = qep_alloc("solve.rows", n_strips, sizeof *factor);
    for (int64_t i = 0; i < n_strips; i++) factor[i] = alpha[i] == 0.0 && gamma != NULL ? beta : alpha[i];
    solve_rows_all(C, L, n_strips, alpha, factor, w_rows, gamma, beta, y, w);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n_strips; i++)
        apply_strip(out + i * strip, w_rows + i * strip, y + i * strip, factor[i], strip);
    qep_free(factor);
    qep_free(y);
}

/* M = C (H + lambda I)^-1 once, in f64, for all rows; W M in f32: what it is added to is f32, and larger. */
static void correct_by_matrix_all(qep_dmat *C, const qep_dmat *L, int64_t n_strips, const double *alpha, const float *w_rows, float *out, qep_window *w)
{
    const int64_t strip = QEP_SOLVE_STRIP * qep_dmat_n(C);
    float *y = qep_alloc("solve.rows", n_strips * strip, sizeof *y);
    qep_dmat_solve_all(C, L, w);
    qep_rows_times_f32_all(C, n_strips, w_rows, y, w);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n_strips; i++)
        for (int64_t k = i * strip; k < (i + 1) * strip; k++) out[k] = alpha[i] == 0.0 ? w_rows[k] : (float)((double)w_rows[k] + alpha[i] * (double)y[k]);
    qep_free(y);
}

void qep_correct_rows_all(qep_dmat *C, const qep_dmat *L, int64_t total_rows, int64_t n_strips, const double *alpha,
                          const float *w_rows, const double *gamma, double beta, float *out, qep_window *w)
{
    /* the solve costs 2 d^2 per row: d rows of C, or the group's rows; Gamma has rows only */
    if (total_rows > qep_dmat_n(C) && gamma == NULL) correct_by_matrix_all(C, L, n_strips, alpha, w_rows, out, w);
    else correct_by_rows_all(C, L, n_strips, alpha, w_rows, gamma, beta, out, w);
}

void qep_correction_rows_all(qep_dmat *C, const qep_dmat *L, int64_t n_strips, const float *w_rows, const double *gamma,
                             double beta, double *y, qep_window *w)
{
    double *one = qep_alloc("solve.rows", n_strips, sizeof *one);
    memset(y, 0, (size_t)(n_strips * QEP_SOLVE_STRIP * qep_dmat_n(C)) * sizeof *y);
    for (int64_t i = 0; i < n_strips; i++) one[i] = 1.0;
    solve_rows_all(C, L, n_strips, one, one, w_rows, gamma, beta, y, w);
    qep_free(one);
}
