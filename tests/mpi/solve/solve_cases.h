/* Shared by the tests of solve: numbers by formula, digests, plain copies. SPDX-License-Identifier: Apache-2.0 */
#ifndef SOLVE_CASES_H
#define SOLVE_CASES_H
#include "qep_test.h"
#include "qep/solve.h"

static qep_comm *world;

/* A number in [-0.5, 0.5) from two indices. */
static inline double noise(int64_t i, int64_t j)
{
    uint64_t z = ((uint64_t)i * 1000003u + (uint64_t)j + 1) * 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53 - 0.5;
}

/* Positive definite: B B^T / n + 1/8 would do; this one is cheap. */
static inline double definite(int64_t n, int64_t i, int64_t j)
{
    (void)n;
    return i == j ? 2.0 + noise(i, i) : noise(i < j ? i : j, i < j ? j : i) / (1.0 + fabs((double)(i - j)));
}

static inline double unsymmetric(int64_t n, int64_t i, int64_t j)
{
    return noise(i + n, j) / (1.0 + 0.1 * fabs((double)(i - j)));
}

static inline qep_dmat *make(int64_t n, int64_t block, int64_t owners, double (*value)(int64_t, int64_t, int64_t))
{
    qep_dmat *m = qep_dmat_create_all(world, "test.m", n, block, owners);
    for (int64_t l = 0; l < qep_dmat_n_rows_of(m, qep_rank(world)); l++)
        for (int64_t j = 0; j < n; j++) qep_dmat_row(m, l)[j] = value(n, qep_dmat_row_of(m, qep_rank(world), l), j);
    return m;
}

/* From a full copy on every rank. */
static inline qep_dmat *scatter(const double *a, int64_t n, int64_t block, int64_t owners)
{
    qep_dmat *m = qep_dmat_create_all(world, "test.m", n, block, owners);
    for (int64_t l = 0; l < qep_dmat_n_rows_of(m, qep_rank(world)); l++)
        memcpy(qep_dmat_row(m, l), a + qep_dmat_row_of(m, qep_rank(world), l) * n, (size_t)n * sizeof *a);
    return m;
}

/* The whole matrix on every rank. */
static inline double *gathered(qep_dmat *m)
{
    const int64_t n = qep_dmat_n(m);
    double *a = qep_alloc("test", n * n, sizeof *a);
    for (int64_t l = 0; l < qep_dmat_n_rows_of(m, qep_rank(world)); l++)
        memcpy(a + qep_dmat_row_of(m, qep_rank(world), l) * n, qep_dmat_row(m, l), (size_t)n * sizeof *a);
    qep_sum_f64_all(world, a, n * n);
    return a;
}

/* The same number for the same bits, whoever owns the rows. */
static inline uint64_t digest(qep_dmat *m)
{
    uint64_t sum = 0;
    for (int64_t l = 0; l < qep_dmat_n_rows_of(m, qep_rank(world)); l++)
        sum += qep_hash64(qep_dmat_row(m, l), (size_t)qep_dmat_n(m) * sizeof(double),
                          (uint64_t)qep_dmat_row_of(m, qep_rank(world), l));
    qep_sum_u64_all(world, &sum, 1);
    return sum;
}

static inline double relative(const double *a, const double *b, int64_t n)
{
    double num = 0.0, den = 0.0;
    for (int64_t i = 0; i < n; i++) {
        num += (a[i] - b[i]) * (a[i] - b[i]);
        den += b[i] * b[i];
    }
    return sqrt(num / den);
}

/* The larger error; a NaN wins (fmax would drop it). */
static inline double worse(double a, double b)
{
    return a <= b ? b : (b <= a ? a : NAN);
}

static inline int run_solve_tests(int argc, char **argv, int (*group)(void))
{
    world = qep_par_start(&argc, &argv);
    qep_linalg_start(1);
    if (qep_rank(world) != 0 && !freopen("/dev/null", "w", stdout)) return 1;
    int64_t blocks = qep_mem_blocks(), failed = group() != 0;
    if (!failed && qep_mem_blocks() != blocks) {
        fprintf(stderr, "rank %d: %lld blocks not freed\n", qep_rank(world), (long long)(qep_mem_blocks() - blocks));
        failed = 1;
    }
    qep_max_i64_all(world, &failed, 1);
    qep_par_end(&world);
    return failed != 0;
}
#endif
