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

/* factor[i] y[i] = (alpha[i] W C + beta Gamma) (H + lambda I)^-1, so that neither factor multiplies a matrix. y: zeros. */
static void solve_all(qep_dmat *C, const qep_dmat *L, bool once, int64_t n_strips, const double *alpha, const double *factor,
                      const float *w_rows, const double *gamma, double beta, double *y, qep_window *w)
{
    const int64_t d = qep_dmat_n(C), strip = QEP_SOLVE_STRIP * d;
    if (gamma != NULL) {
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < n_strips; i++)
            start_strip(y + i * strip, gamma + i * strip, factor[i] == 0.0 ? 0.0 : beta / factor[i], strip);
    }
    if (once) qep_dmat_solve_all(C, L, w);
    qep_rows_times_all(C, n_strips, NULL, w_rows, alpha, y, w);
    if (!once) qep_rows_solve_strips_all(L, n_strips * QEP_SOLVE_STRIP, factor, y, d, w);
}

void qep_correct_rows_all(qep_dmat *C, const qep_dmat *L, int64_t total_rows, int64_t n_strips, const double *alpha,
                          const float *w_rows, const double *gamma, double beta, float *out, qep_window *w)
{
    const int64_t d = qep_dmat_n(C), strip = QEP_SOLVE_STRIP * d;
    double *y = qep_alloc("solve.rows", n_strips * strip, sizeof *y);
    double *factor = qep_alloc("solve.rows", n_strips, sizeof *factor);
    for (int64_t i = 0; i < n_strips; i++) factor[i] = alpha[i] == 0.0 && gamma != NULL ? beta : alpha[i];
    /* the solve costs 2 d^2 per row: d rows of C, or the group's rows; Gamma has rows only */
    solve_all(C, L, total_rows > d && gamma == NULL, n_strips, alpha, factor, w_rows, gamma, beta, y, w);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n_strips; i++)
        apply_strip(out + i * strip, w_rows + i * strip, y + i * strip, factor[i], strip);
    qep_free(factor);
    qep_free(y);
}

void qep_correction_rows_all(qep_dmat *C, const qep_dmat *L, int64_t n_strips, const float *w_rows, const double *gamma,
                             double beta, double *y, qep_window *w)
{
    double *one = qep_alloc("solve.rows", n_strips, sizeof *one);
    memset(y, 0, (size_t)(n_strips * QEP_SOLVE_STRIP * qep_dmat_n(C)) * sizeof *y);
    for (int64_t i = 0; i < n_strips; i++) one[i] = 1.0;
    solve_all(C, L, false, n_strips, one, one, w_rows, gamma, beta, y, w);
    qep_free(one);
}
