/* Shared by the tests of dmat: matrices by formula, and a plain copy on every rank to compare with.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DMAT_CASES_H
#define DMAT_CASES_H
#include "qep_test.h"
#include "qep/dmat.h"
#include "qep/linalg.h"

static qep_comm *world;

/* A number in [-0.5, 0.5) from two indices. */
static double noise(int64_t i, int64_t j)
{
    uint64_t z = ((uint64_t)i * 1000003u + (uint64_t)j + 1) * 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53 - 0.5;
}

static void fill(qep_dmat *m, double (*value)(int64_t n, int64_t i, int64_t j))
{
    const int64_t n = qep_dmat_n(m);
    for (int64_t l = 0; l < qep_dmat_n_rows_of(m, qep_rank(world)); l++)
        for (int64_t j = 0; j < n; j++) qep_dmat_row(m, l)[j] = value(n, qep_dmat_row_of(m, qep_rank(world), l), j);
}

/* The whole matrix on every rank. */
static double *gathered(qep_dmat *m)
{
    const int64_t n = qep_dmat_n(m);
    double *a = qep_alloc("test", n * n, sizeof *a);
    for (int64_t l = 0; l < qep_dmat_n_rows_of(m, qep_rank(world)); l++)
        memcpy(a + qep_dmat_row_of(m, qep_rank(world), l) * n, qep_dmat_row(m, l), (size_t)n * sizeof *a);
    qep_sum_f64_all(world, a, n * n);
    return a;
}
#endif
