/* The factor: residual, same bits for every number of owners and threads, minors. SPDX-License-Identifier: Apache-2.0 */
#include "dmat_cases.h"
#include <float.h>
#include <omp.h>

/* Symmetric, diagonally dominant. */
static double dominant(int64_t n, int64_t i, int64_t j)
{
    return i == j ? (double)n / 2 + noise(i, i) : noise(i < j ? i : j, i < j ? j : i);
}

static double indefinite(int64_t n, int64_t i, int64_t j) /* minors below 2 n / 3 + 1 are positive */
{
    return i == j && i == 2 * n / 3 ? -1.0 : dominant(n, i, j);
}

static double singular(int64_t n, int64_t i, int64_t j) /* row and column n / 2 are zero */
{
    return i == n / 2 || j == n / 2 ? 0.0 : dominant(n, i, j);
}

static double not_a_number(int64_t n, int64_t i, int64_t j)
{
    return i == n / 2 && j == n / 3 ? NAN : dominant(n, i, j);
}

/* Factor of the matrix by formula, gathered. */
static double *factor(int64_t n, int64_t block, int64_t owners, double (*value)(int64_t, int64_t, int64_t), int64_t *minor)
{
    qep_dmat *m = qep_dmat_create_all(world, "test.m", n, block, owners);
    fill(m, value);
    *minor = -1;
    qep_dmat_cholesky_all(m, minor);
    double *a = gathered(m);
    qep_dmat_destroy_all(&m);
    return a;
}

/* max |A - L L^T| / (n eps max|A|) and an exactly lower L */
static double residual(const double *L, int64_t n)
{
    double worst = 0.0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            if (j > i && L[i * n + j] != 0.0) return INFINITY;
            double sum = 0.0;
            for (int64_t k = 0; k <= (i < j ? i : j); k++) sum += L[i * n + k] * L[j * n + k];
            const double e = fabs(sum - dominant(n, i, j));
            if (!(e <= worst)) worst = e;
        }
    return worst / ((double)n * DBL_EPSILON * ((double)n / 2 + 0.5));
}

static void test_residual(void **state)
{
    (void)state;
    static const struct { int64_t n, block; } c[] = {{1, 1}, {1, 8}, {2, 1}, {9, 4}, {10, 2}, {17, 3}, {64, 64}, {65, 64}, {100, 32}, {257, 64}};
    for (int k = 0; k < 10; k++)
        for (int64_t owners = 1; owners <= qep_size(world); owners++) {
            int64_t minor;
            double *L = factor(c[k].n, c[k].block, owners, dominant, &minor);
            const double r = residual(L, c[k].n);
            qep_free(L);
            assert_all(world, minor == 0);
            assert_all(world, r <= 3.0); /* ScaLAPACK's own threshold */
        }
}

static void test_same_bits(void **state)
{
    (void)state;
    static const struct { int64_t n, block; } c[] = {{64, 32}, {100, 32}, {192, 64}, {200, 64}, {333, 32}, {512, 64}, {640, 64}, {1000, 64}, {1024, 64}};
    for (int k = 0; k < 9; k++) {
        int64_t minor;
        double *one = factor(c[k].n, c[k].block, 1, dominant, &minor);
        const uint64_t want = qep_hash64(one, (size_t)(c[k].n * c[k].n) * sizeof *one, 0);
        for (int64_t owners = 1; owners <= qep_size(world); owners++)
            for (int threads = 1; threads <= 2; threads++) {
                omp_set_num_threads(threads);
                double *L = factor(c[k].n, c[k].block, owners, dominant, &minor);
                const uint64_t got = qep_hash64(L, (size_t)(c[k].n * c[k].n) * sizeof *L, 0);
                if (got != want) print_message("n %d block %d owners %d\n", (int)c[k].n, (int)c[k].block, (int)owners);
                qep_free(L);
                assert_all(world, got == want);
            }
        omp_set_num_threads(1);
        qep_free(one);
    }
}

static void test_minors(void **state)
{
    (void)state;
    static const struct { int64_t n, block; } c[] = {{3, 1}, {3, 8}, {10, 2}, {65, 64}, {100, 16}, {200, 64}};
    for (int k = 0; k < 6; k++)
        for (int64_t owners = 1; owners <= qep_size(world); owners++) {
            int64_t minor;
            qep_free(factor(c[k].n, c[k].block, owners, indefinite, &minor));
            assert_all(world, minor == 2 * c[k].n / 3 + 1);
            qep_free(factor(c[k].n, c[k].block, owners, singular, &minor));
            assert_all(world, minor == c[k].n / 2 + 1);
            qep_free(factor(c[k].n, c[k].block, owners, not_a_number, &minor));
            assert_all(world, minor == c[k].n / 2 + 1);
        }
}

static void test_bytes(void **state)
{
    (void)state;
    assert_int_equal(qep_dmat_factor_bytes(100, 64, 1, 0), 128 * 128 * 8);
    assert_int_equal(qep_dmat_factor_bytes(100, 64, 2, 1), 64 * 128 * 8);
    assert_int_equal(qep_dmat_factor_bytes(128, 64, 3, 2), 1 * 128 * 8);
}

int main(int argc, char **argv)
{
    world = qep_par_start(&argc, &argv);
    qep_linalg_start(1);
    if (qep_rank(world) != 0 && !freopen("/dev/null", "w", stdout)) return 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_residual), cmocka_unit_test(test_same_bits),
                                       cmocka_unit_test(test_minors), cmocka_unit_test(test_bytes)};
    int64_t failed = cmocka_run_group_tests(tests, NULL, NULL) != 0;
    qep_max_i64_all(world, &failed, 1);
    qep_par_end(&world);
    return failed != 0;
}
