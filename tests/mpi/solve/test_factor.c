/* Dead channels, order of processing, ladder, both factors. SPDX-License-Identifier: Apache-2.0 */
#include "solve_cases.h"
#include <float.h>

static double with_dead(int64_t n, int64_t i, int64_t j) /* channels 0, 3, 6, ... are dead */
{
    return i % 3 == 0 || j % 3 == 0 ? 0.0 : definite(n, i, j);
}

static double nothing(int64_t n, int64_t i, int64_t j)
{
    (void)n, (void)i, (void)j;
    return 0.0;
}

/* [1 b; b 1] blocks, b = 1 + 0.05: fails up to damping 0.05 of the mean. */
static double pairs(int64_t n, int64_t i, int64_t j)
{
    (void)n;
    return i == j ? 1.0 : i / 2 == j / 2 ? 1.05 : 0.0;
}

static void test_dead(void **state)
{
    (void)state;
    static const int64_t sizes[] = {4, 17, 64, 65};
    for (int k = 0; k < 4; k++) {
        const int64_t d = sizes[k];
        uint8_t *dead = qep_alloc("test", d, 1);
        int64_t n_dead = -1, bad = 0, living = 0;
        double mean = -1.0, sum = 0.0;
        qep_dmat *H = make(d, 16, qep_size(world), with_dead);
        qep_dead_all(H, k % 2 ? 0.5 : 0, dead, &n_dead, &mean);
        for (int64_t i = 0; i < d; i++) {
            bad += dead[i] != (i % 3 == 0);
            if (i % 3 != 0) living++, sum += definite(d, i, i);
        }
        double *a = gathered(H);
        for (int64_t i = 0; i < d * d; i++) {
            const bool filled = i / d == i % d && i / d % 3 == 0;
            bad += !(a[i] == (filled ? (k % 2 ? 0.5 : mean) : with_dead(d, i / d, i % d)));
        }
        qep_free(a);
        qep_dmat_destroy_all(&H);
        qep_free(dead);
        assert_all(world, bad == 0 && n_dead == d - living);
        assert_all(world, fabs(mean - sum / (double)living) <= 4 * DBL_EPSILON * mean * (double)d);
    }
}

static void test_all_dead(void **state)
{
    (void)state;
    uint8_t dead[9];
    int64_t n_dead = 0;
    double mean = 0.0, diag[9];
    qep_dmat *H = make(9, 2, qep_size(world), nothing);
    qep_dead_all(H, 0, dead, &n_dead, &mean);
    qep_dmat_diag_all(H, diag);
    assert_int_equal(n_dead, 9);
    assert_true(mean == 1.0);
    for (int i = 0; i < 9; i++) assert_true(dead[i] == 1 && diag[i] == 1.0);
    qep_dmat_destroy_all(&H);
}

static void test_order(void **state)
{
    (void)state;
    static const double diag[] = {1.0, 3.0, 0.5, 3.0, 0.5, 7.0, 1.0};
    static const int32_t want[] = {5, 1, 3, 0, 6, 2, 4};
    int32_t perm[7];
    qep_processing_order(diag, 7, true, perm);
    assert_memory_equal(perm, want, sizeof perm);
    qep_processing_order(diag, 7, false, perm);
    for (int32_t i = 0; i < 7; i++) assert_int_equal(perm[i], i);
    qep_processing_order(diag, 0, true, perm);
}

static void test_ladder(void **state)
{
    (void)state;
    qep_dmat *H = make(10, 2, qep_size(world), pairs), *L = NULL;
    qep_window *w = qep_window_create_all(world, "test.window", qep_stream_bytes(10));
    const uint64_t before = digest(H);
    qep_ladder good = {.damping = 0.1};
    assert_ok(qep_factor_all(H, &good, w, &L));
    assert_true(good.attempts == 1 && good.minor == 0 && good.damping == 0.1);
    qep_dmat_destroy_all(&L);

    qep_ladder repair = {.damping = 1e-6, .repair = true}; /* then 1e-3, 1e-2, 1e-1 */
    assert_ok(qep_factor_all(H, &repair, w, &L));
    assert_int_equal(repair.attempts, 4);
    assert_int_equal(repair.minor, 2);
    assert_le_f(fabs(repair.damping - 0.1), 1e-15);
    qep_dmat_destroy_all(&L);

    qep_ladder strict = {.damping = 0.01};
    assert_fails(qep_factor_all(H, &strict, w, &L), QEP_E_NUMERIC, "leading minor 2");
    assert_null(L);
    assert_int_equal(strict.attempts, 1);
    assert_int_equal(strict.minor, 2);
    qep_error_clear();
    assert_int_equal(digest(H), before);
    qep_dmat_destroy_all(&H);

    int32_t perm[10] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    float rdiag[10];
    H = make(10, 2, qep_size(world), nothing); /* no damping helps */
    qep_ladder hopeless = {.damping = 0.0, .repair = true}; /* 0, 1e-3, 1e-2, 1e-1, 1 */
    assert_fails(qep_factor_r_all(H, perm, &hopeless, w, &L, rdiag), QEP_E_NUMERIC, "No damping");
    assert_null(L);
    assert_int_equal(hopeless.attempts, 5);
    assert_true(hopeless.damping == 1.0);
    qep_error_clear();
    qep_window_destroy_all(&w);
    qep_dmat_destroy_all(&H);
}

/* max |A - F F^T| / (n eps max A), F = entries f(i, k) of a full array, k from k0(i, j) on */
static double residual(const double *A, const double *F, int64_t n)
{
    double worst = 0.0, largest = 0.0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0.0;
            for (int64_t k = 0; k < n; k++) sum += F[i * n + k] * F[j * n + k];
            worst = worse(worst, fabs(A[i * n + j] - sum));
            largest = worse(largest, fabs(A[i * n + j]));
        }
    return worst / ((double)n * DBL_EPSILON * largest);
}

/* Damped, permuted copy of H on every rank. */
static double *damped(qep_dmat *H, const int32_t *perm, double damping)
{
    const int64_t n = qep_dmat_n(H);
    double *h = gathered(H), *a = qep_alloc("test", n * n, sizeof *a), mean = 0.0;
    for (int64_t i = 0; i < n; i++) mean += h[i * n + i] / (double)n;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) a[i * n + j] = h[perm[i] * n + perm[j]] + (i == j ? damping * mean : 0.0);
    qep_free(h);
    return a;
}

static void check_factors(int64_t d, bool act_order, uint64_t bits[2])
{
    qep_dmat *H = make(d, 32, qep_dmat_owners_rule(d, 32, qep_size(world), 0), definite), *L = NULL, *Lr = NULL;
    double *diag = qep_alloc("test", d, sizeof *diag), worst = 0.0;
    float *rdiag = qep_alloc("test", d, sizeof *rdiag);
    int32_t *perm = qep_alloc("test", d, sizeof *perm), *same = qep_alloc("test", d, sizeof *same);
    qep_dmat_diag_all(H, diag);
    qep_processing_order(diag, d, act_order, perm);
    qep_processing_order(diag, d, false, same);
    qep_ladder ladder = {.damping = 0.01};
    qep_window *w = qep_window_create_all(world, "test.window", qep_max_i64(qep_stream_bytes(d), d * d * 8));
    assert_ok(qep_factor_all(H, &ladder, w, &L));
    assert_ok(qep_factor_r_all(H, perm, &ladder, w, &Lr, rdiag));
    bits[0] = digest(L);
    bits[1] = digest(Lr);

    double *a = damped(H, same, 0.01), *l = gathered(L);
    const double r_l = residual(a, l, d);
    qep_free(a);
    a = damped(H, perm, 0.01);
    double *R = qep_window_data(w);
    for (int64_t i = 0; i < d; i++) /* row by row: row i carries columns i.. */
        qep_dmat_fetch_rows_all(Lr, i, 1, true, QEP_F64, w, i * d * 8, d);
    double *full = qep_alloc("test", d * d, sizeof *full);
    for (int64_t i = 0; i < d; i++) {
        memcpy(full + i * d + i, R + i * d, (size_t)(d - i) * sizeof *full);
        worst = worse(worst, fabs((double)rdiag[i] - R[i * d]) / R[i * d]);
    }
    const double r_r = residual(a, full, d);
    qep_free(full), qep_free(a), qep_free(l), qep_free(diag), qep_free(rdiag), qep_free(perm), qep_free(same);
    qep_window_destroy_all(&w);
    qep_dmat_destroy_all(&H);
    qep_dmat_destroy_all(&L);
    qep_dmat_destroy_all(&Lr);
    assert_all(world, r_l <= 3.0 && r_r <= 3.0);
    assert_all(world, worst <= 0x1p-24);
}

static void test_factors(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 2, 31, 32, 33, 100, 193};
    uint64_t bits[2];
    for (int k = 0; k < 7; k++)
        for (int act = 0; act < 2; act++) check_factors(sizes[k], act, bits);
    assert_true(bits[0] != bits[1]);
}

static int group(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_dead), cmocka_unit_test(test_all_dead),
                                       cmocka_unit_test(test_order), cmocka_unit_test(test_ladder),
                                       cmocka_unit_test(test_factors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return run_solve_tests(argc, argv, group);
}
