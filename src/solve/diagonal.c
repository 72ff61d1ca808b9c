/* What is read off the diagonal of H: dead channels, the order of processing.
 * SPDX-License-Identifier: Apache-2.0 */
#include "qep/solve.h"
#include <stdlib.h>

void qep_dead_all(qep_dmat *H, double fixed, uint8_t *dead, int64_t *n_dead, double *mean)
{
    const int64_t d = qep_dmat_n(H);
    double *diag = qep_alloc("solve.diag", d, sizeof *diag), sum = 0.0;
    qep_dmat_diag_all(H, diag);
    *n_dead = 0;
    for (int64_t i = 0; i < d; i++) {
        dead[i] = diag[i] == 0.0;
        *n_dead += dead[i];
        sum += diag[i];
    }
    *mean = *n_dead < d ? sum / (double)(d - *n_dead) : 1.0;
    for (int64_t i = 0; i < d; i++)
        if (dead[i]) diag[i] = fixed > 0 ? fixed : *mean;
    qep_dmat_set_diag_all(H, diag);
    qep_free(diag);
}

typedef struct ranked {
    double diag;
    int32_t index;
} ranked;

static int falling(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->diag != y->diag) return x->diag > y->diag ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

void qep_processing_order(const double *diag, int64_t d, bool act_order, int32_t *perm)
{
    for (int64_t i = 0; i < d; i++) perm[i] = (int32_t)i;
    if (!act_order) return;
    ranked *r = qep_alloc("solve.diag", d, sizeof *r);
    for (int64_t i = 0; i < d; i++) r[i] = (ranked){diag[i], (int32_t)i};
    qsort(r, (size_t)d, sizeof *r, falling);
    for (int64_t i = 0; i < d; i++) perm[i] = r[i].index;
    qep_free(r);
}
