/* Damped Cholesky factors, and the ladder of larger dampings when one fails.
 * SPDX-License-Identifier: Apache-2.0 */
#include "qep/solve.h"

#include <math.h>

#define LADDER_FIRST 1e-3 /* smallest damping of a repair */
#define LADDER_LAST 1.0

static double mean_diag_all(const qep_dmat *H)
{
    const int64_t d = qep_dmat_n(H);
    double *diag = qep_alloc("solve.diag", d, sizeof *diag), sum = 0.0;
    qep_dmat_diag_all(H, diag);
    for (int64_t i = 0; i < d; i++) sum += diag[i];
    qep_free(diag);
    return sum / (double)d;
}

/* m = factor of (H + damping mean I)[order, order]; order NULL: identity. On failure up the
 * ladder. */
static qep_status climb_all(const qep_dmat *H, const int32_t *order, qep_ladder *ladder,
                            qep_window *w, qep_dmat *m)
{
    const double mean = mean_diag_all(H);
    ladder->attempts = 0;
    ladder->minor = 0;
    for (;;) {
        if (order != NULL) {
            qep_dmat_permute_all(m, H, order);
        } else {
            qep_dmat_copy(m, H);
        }
        ladder->shift = ladder->damping * mean;
        qep_dmat_add_diag(m, ladder->shift);
        int64_t minor = 0;
        qep_dmat_cholesky_all(m, w, &minor);
        ladder->attempts++;
        if (minor == 0) return QEP_OK;
        ladder->minor = minor;
        double next = fmax(10.0 * ladder->damping, LADDER_FIRST);
        if (ladder->damping < LADDER_LAST) next = fmin(next, LADDER_LAST);
        if (!ladder->repair || next > LADDER_LAST) break;
        ladder->damping = next;
    }
    static const char hopeless[] = "No damping up to 1 helps: the calibration inputs of this layer "
                                   "are degenerate";
    static const char too_small[] = "Set a larger damping, or run.on_failure = repair";
    return qep_fail(QEP_E_NUMERIC,
                    "the damped Hessian (order %lld, mean of the diagonal %g, relative damping %g) "
                    "is not positive definite: leading minor %lld, attempt %d. %s",
                    (long long)qep_dmat_n(H), mean, ladder->damping, (long long)ladder->minor,
                    ladder->attempts, ladder->repair ? hopeless : too_small);
}

static qep_status factor_all(const qep_dmat *H, const int32_t *order, qep_ladder *ladder,
                             qep_window *w, qep_dmat **out)
{
    *out = qep_dmat_create_all(qep_dmat_comm(H), "solve.factor", qep_dmat_n(H), qep_dmat_block(H),
                               qep_dmat_n_owners(H));
    qep_status st = climb_all(H, order, ladder, w, *out);
    if (st != QEP_OK) qep_dmat_destroy_all(out);
    return st;
}

qep_status qep_factor_all(const qep_dmat *H, qep_ladder *ladder, qep_window *w, qep_dmat **L)
{
    return factor_all(H, NULL, ladder, w, L);
}

qep_status qep_factor_r_all(const qep_dmat *H, const int32_t *perm, qep_ladder *ladder,
                            qep_window *w, qep_dmat **Lr, float *rdiag)
{
    const int64_t d = qep_dmat_n(H);
    int32_t *reversed = qep_alloc("solve.diag", d, sizeof *reversed);
    for (int64_t i = 0; i < d; i++) reversed[i] = perm[d - 1 - i];
    qep_status st = factor_all(H, reversed, ladder, w, Lr);
    qep_free(reversed);
    if (st != QEP_OK) return st;
    double *diag = qep_alloc("solve.diag", d, sizeof *diag);
    qep_dmat_diag_all(*Lr, diag);
    for (int64_t j = 0; j < d; j++) rdiag[j] = (float)diag[d - 1 - j];
    qep_free(diag);
    return QEP_OK;
}
