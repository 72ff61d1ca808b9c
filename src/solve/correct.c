/* QEP's correction of a group's rows (arXiv 2504.09629, Prop. 5.1 and Eq. 6): W + alpha W C (H +
 * lambda I)^-1.
 * SPDX-License-Identifier: Apache-2.0 */
#include "rows_priv.h"
#include <string.h>

/* out = w + alpha y for one strip. */
static void apply_strip(float *out, const float *w, const double *y, double alpha, int64_t n)
{
    if (alpha == 0.0) {
        if (out != w) memcpy(out, w, (size_t)n * sizeof *out);
        return;
    }
    for (int64_t k = 0; k < n; k++) out[k] = (float)((double)w[k] + alpha * y[k]);
}

void qep_correct_rows_all(qep_dmat *C, const qep_dmat *L, int64_t total_rows, int64_t n_strips,
                          const double *alpha, const float *w_rows, float *out, qep_window *w)
{
    const int64_t d = qep_dmat_n(C), strip = QEP_SOLVE_STRIP * d;
    double *y = qep_alloc("solve.rows", n_strips * strip, sizeof *y);
    /* the solve costs 2 d^2 per row: d rows of C, or the group's rows */
    const bool once = total_rows > d;
    if (once) qep_dmat_solve_all(C, L, w);
    qep_rows_times_all(C, n_strips, NULL, w_rows, alpha, y, w);
    if (!once)
        qep_rows_solve_strips_all(L, n_strips * QEP_SOLVE_STRIP, QEP_SOLVE_STRIP, alpha, y, d, w);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n_strips; i++)
        apply_strip(out + i * strip, w_rows + i * strip, y + i * strip, alpha[i], strip);
    qep_free(y);
}
