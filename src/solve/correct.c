/* The correction of a group's rows: QEP's term (arXiv 2504.09629, Prop. 5.1 and Eq. 6) and that of the residual stream (LoaQ, arXiv
 * 2509.06297, as restated in arXiv 2512.01546), both least squares on the inputs of the quantized stream.
 * SPDX-License-Identifier: Apache-2.0 */
#include "rows_priv.h"

/* out = w + factor[i] y by strips; y in f64 or in f32, the other NULL. */
static void apply(int64_t n_strips, int64_t strip, const double *factor, const double *y64, const float *y32, const float *w_rows, float *out)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n_strips; i++)
        for (int64_t k = i * strip; k < (i + 1) * strip; k++)
            out[k] = factor[i] == 0.0 ? w_rows[k] : (float)((double)w_rows[k] + factor[i] * (y64 ? y64[k] : (double)y32[k]));
}

static void copy_f32(float *to, const double *from, int64_t n)
{
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < n; k++) to[k] = (float)from[k];
}

/* y, W C so far, becomes (alpha[i] W C + beta Gamma) / factor[i]; factor[i] is alpha[i], or where that is 0 beta. */
static void add_residual(int64_t n_strips, int64_t strip, const double *alpha, const double *factor, const double *gamma, double beta, double *y)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n_strips; i++) {
        const double share = factor[i] == 0.0 ? 0.0 : beta / factor[i];
        for (int64_t k = i * strip; k < (i + 1) * strip; k++) y[k] = (alpha[i] == 0.0 ? 0.0 : y[k]) + share * gamma[k];
    }
}

/* By the rows: factor[i] y[i] = (alpha[i] W C + beta Gamma) (H + lambda I)^-1, so that neither factor multiplies a matrix; strips whose factor[i] is 0
 * are left alone. wc: NULL, or takes W C. */
static void correct_by_rows_all(const qep_dmat *C, const qep_dmat *L, int64_t n_strips, const double *alpha, const float *w_rows, const double *gamma,
                                double beta, float *out, float *wc, qep_window *w)
{
    const int64_t d = qep_dmat_n(C), strip = QEP_SOLVE_STRIP * d;
    double *y = qep_alloc("solve.rows", n_strips * strip, sizeof *y);
    double *factor = qep_alloc("solve.rows", n_strips, sizeof *factor);
    for (int64_t i = 0; i < n_strips; i++) factor[i] = alpha[i] == 0.0 && gamma != NULL ? beta : alpha[i];
    qep_part_begin("solves");
    qep_rows_times_f64_all(C, n_strips, w_rows, y, w);
    if (wc != NULL) copy_f32(wc, y, n_strips * strip);
    if (gamma != NULL) add_residual(n_strips, strip, alpha, factor, gamma, beta, y);
    qep_rows_solve_strips_all(L, n_strips * QEP_SOLVE_STRIP, factor, y, d, w);
    qep_part_end();
    apply(n_strips, strip, factor, y, NULL, w_rows, out);
    qep_free(factor);
    qep_free(y);
}

/* M = C (H + lambda I)^-1 once, in f64, for all rows; Y = W M in f32: what it is added to is f32, and larger. y: zeros; NULL: not wanted. */
static void correct_by_matrix_all(qep_dmat *C, const qep_dmat *L, int64_t n_strips, const double *alpha, const float *w_rows, float *out, float *y,
                                  qep_window *w)
{
    const int64_t strip = QEP_SOLVE_STRIP * qep_dmat_n(C);
    float *own = y ? NULL : qep_alloc("solve.rows", n_strips * strip, sizeof *own);
    if (own) y = own;
    qep_part_begin("solves");
    qep_dmat_solve_all(C, L, w);
    qep_part_end();
    qep_part_begin("products");
    qep_rows_times_f32_all(C, n_strips, w_rows, y, w);
    qep_part_end();
    apply(n_strips, strip, alpha, NULL, y, w_rows, out);
    qep_free(own);
}

bool qep_correct_by_matrix(int64_t total_rows, int64_t d, bool gamma)
{
    return total_rows > d && !gamma; /* the solve costs 2 d^2 per row: d rows of C, or the group's rows; Gamma has rows only */
}

void qep_correct_rows_all(qep_dmat *C, const qep_dmat *L, int64_t total_rows, int64_t n_strips, const double *alpha,
                          const float *w_rows, const double *gamma, double beta, float *out, float *beside, qep_window *w)
{
    if (qep_correct_by_matrix(total_rows, qep_dmat_n(C), gamma != NULL)) correct_by_matrix_all(C, L, n_strips, alpha, w_rows, out, beside, w);
    else correct_by_rows_all(C, L, n_strips, alpha, w_rows, gamma, beta, out, beside, w);
}

void qep_correction_sides_all(const qep_dmat *C, int64_t n_strips, const float *w_rows, const double *gamma, double beta, double *y, qep_window *w)
{
    qep_rows_times_f64_all(C, n_strips, w_rows, y, w);
    if (gamma == NULL) return;
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < n_strips * QEP_SOLVE_STRIP * qep_dmat_n(C); k++) y[k] += beta * gamma[k];
}
