/* The factor: residual, the bits of a plain one for every block and number of owners and threads, minors, ScaLAPACK. SPDX-License-Identifier: Apache-2.0 */
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
    qep_window *w = qep_window_create_all(world, "test.window", qep_dmat_factor_window_bytes(n));
    fill(m, value);
    *minor = -1;
    qep_dmat_cholesky_all(m, w, minor);
    qep_window_destroy_all(&w);
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

/* Column by column, one chain of fused multiply-adds per entry. */
static double *plain_factor(int64_t n)
{
    double *L = qep_alloc("test", n * n, sizeof *L);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++) {
            double x = dominant(n, i, j);
            for (int64_t k = 0; k < j; k++) x = fma(-L[i * n + k], L[j * n + k], x);
            L[i * n + j] = i == j ? sqrt(x) : x / L[j * n + j];
        }
    return L;
}

static void test_bits(void **state)
{
    (void)state;
    static const struct { int64_t n, block; } c[] = {{1, 1},   {5, 2},    {63, 5},   {64, 32},  {65, 64},  {100, 32},   {192, 64},  {333, 100}, {511, 64},
                                                     {512, 7}, {513, 64}, {600, 64}, {640, 96}, {777, 13}, {1023, 200}, {1025, 64}, {1100, 512}};
    for (int k = 0; k < 17; k++) {
        const size_t bytes = (size_t)(c[k].n * c[k].n) * sizeof(double);
        double *want = plain_factor(c[k].n);
        for (int64_t owners = 1; owners <= qep_size(world); owners++)
            for (int threads = 1; threads <= 2; threads++) {
                int64_t minor;
                omp_set_num_threads(threads);
                double *L = factor(c[k].n, c[k].block, owners, dominant, &minor);
                const bool same = minor == 0 && memcmp(L, want, bytes) == 0;
                if (!same) print_message("n %d block %d owners %d threads %d\n", (int)c[k].n, (int)c[k].block, (int)owners, threads);
                qep_free(L);
                assert_all(world, same);
            }
        omp_set_num_threads(1);
        qep_free(want);
    }
}

/* run.reproducible = no: another order of the sums, the same factor. */
static void test_scalapack(void **state)
{
    (void)state;
    static const struct { int64_t n, block; } c[] = {{1, 8}, {10, 2}, {65, 64}, {257, 64}, {600, 64}};
    for (int k = 0; k < 5; k++)
        for (int64_t owners = 1; owners <= qep_size(world); owners++) {
            int64_t minor, bad;
            double *by_panels = factor(c[k].n, c[k].block, owners, dominant, &minor), worst = 0.0;
            qep_linalg_set_reproducible(false);
            double *L = factor(c[k].n, c[k].block, owners, dominant, &minor);
            qep_free(factor(c[k].n, c[k].block, owners, indefinite, &bad));
            qep_linalg_set_reproducible(true);
            for (int64_t i = 0; i < c[k].n * c[k].n; i++) {
                const double e = fabs(L[i] - by_panels[i]);
                if (!(e <= worst)) worst = e;
            }
            qep_free(by_panels), qep_free(L);
            assert_all(world, minor == 0 && bad == 2 * c[k].n / 3 + 1);
            assert_all(world, worst <= (double)c[k].n * DBL_EPSILON * sqrt((double)c[k].n));
        }
}

static void test_minors(void **state)
{
    (void)state;
    static const struct { int64_t n, block; } c[] = {{3, 1}, {3, 8}, {10, 2}, {65, 64}, {100, 16}, {200, 64}, {700, 64}, {1200, 33}};
    for (int k = 0; k < 8; k++)
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

static int64_t peak(const char *name)
{
    qep_mem_entry e[64];
    const int n = qep_mem_table(e, 64);
    for (int i = 0; i < n && i < 64; i++)
        if (strcmp(e[i].name, name) == 0) return e[i].peak;
    return 0;
}

/* What the plan counts is what is used. The first test: a peak only rises. */
static void test_bytes(void **state)
{
    (void)state;
    static const int64_t n[] = {1, 100, 512, 1100};
    for (int k = 0; k < 4; k++) {
        int64_t minor;
        qep_free(factor(n[k], 64, qep_size(world), dominant, &minor));
        assert_all(world, peak("dmat.factor") == qep_dmat_factor_bytes(n[k], 64, qep_size(world), qep_rank(world)));
    }
    qep_linalg_set_reproducible(false);
    assert_int_equal(qep_dmat_factor_bytes(100, 64, 1, 0), 128 * 128 * 8);
    assert_int_equal(qep_dmat_factor_bytes(100, 64, 2, 1), 64 * 128 * 8);
    assert_int_equal(qep_dmat_factor_bytes(128, 64, 3, 2), 1 * 128 * 8);
    qep_linalg_set_reproducible(true);
}

int main(int argc, char **argv)
{
    world = qep_par_start(&argc, &argv);
    qep_linalg_start(1);
    if (qep_rank(world) != 0 && !freopen("/dev/null", "w", stdout)) return 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bytes), cmocka_unit_test(test_residual), cmocka_unit_test(test_bits), cmocka_unit_test(test_scalapack),
                                       cmocka_unit_test(test_minors)};
    int64_t failed = cmocka_run_group_tests(tests, NULL, NULL) != 0;
    qep_max_i64_all(world, &failed, 1);
    qep_par_end(&world);
    return failed != 0;
}
