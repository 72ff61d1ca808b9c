/* P of GPTAQ: against its meaning (the regression of a row of C on the channels behind), and equal bits however the rows lie.
 * SPDX-License-Identifier: Apache-2.0 */
#include "solve_cases.h"

enum { MAX_D = 300 };

/* p[q+1 ..] = c[q+1 ..] (H_>q)^-1 by elimination on a copy. h, c: whole, in processing order. */
static void regression(const double *h, const double *c, int64_t d, int64_t q, double *p)
{
    const int64_t n = d - q - 1;
    double *a = qep_alloc("test", n * n + n, sizeof *a), *x = a + n * n;
    for (int64_t i = 0; i < n; i++) {
        x[i] = c[q * d + q + 1 + i];
        for (int64_t j = 0; j < n; j++) a[i * n + j] = h[(q + 1 + i) * d + q + 1 + j];
    }
    for (int64_t k = 0; k < n; k++)
        for (int64_t i = k + 1; i < n; i++) {
            const double f = a[i * n + k] / a[k * n + k];
            for (int64_t j = k; j < n; j++) a[i * n + j] -= f * a[k * n + j];
            x[i] -= f * x[k];
        }
    for (int64_t i = n - 1; i >= 0; i--) {
        for (int64_t j = i + 1; j < n; j++) x[i] -= a[i * n + j] * x[j];
        x[i] /= a[i * n + i];
    }
    for (int64_t j = 0; j < d; j++) p[j] = j > q ? x[j - q - 1] : 0.0;
    qep_free(a);
}

static void order(const double *m, const int32_t *perm, int64_t d, double *out)
{
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j < d; j++) out[i * d + j] = m[perm[i] * d + perm[j]];
}

static uint64_t one(int64_t d, int64_t block, bool act_order, double *error)
{
    const int64_t owners = qep_dmat_owners_rule(d, block, qep_size(world), 0);
    qep_dmat *H = make(d, block, owners, definite), *C = make(d, block, owners, unsymmetric), *Lr = NULL;
    qep_window *w = qep_window_create_all(world, "test.w", qep_stream_bytes(d));
    double diag[MAX_D];
    float rdiag[MAX_D];
    int32_t perm[MAX_D];
    qep_ladder ladder = {.damping = 0.01};
    qep_dmat_diag_all(H, diag);
    qep_processing_order(diag, d, act_order, perm);
    assert_all(world, qep_factor_r_all(H, perm, &ladder, w, &Lr, rdiag) == QEP_OK);
    const uint64_t before = digest(C);
    qep_dmat *P = qep_form_p_all(C, perm, Lr, "test.p", w);
    assert_all(world, digest(C) == before);
    const uint64_t got = digest(P);

    double *h = gathered(H), *c = gathered(C), *p = gathered(P), mean = 0;
    double *hp = qep_alloc("test", d * d, sizeof *hp), *cp = qep_alloc("test", d * d, sizeof *cp), *want = qep_alloc("test", d * d, sizeof *want);
    for (int64_t i = 0; i < d; i++) mean += diag[i] / (double)d;
    order(h, perm, d, hp);
    order(c, perm, d, cp);
    for (int64_t i = 0; i < d; i++) hp[i * (d + 1)] += 0.01 * mean;
    for (int64_t q = 0; q < d; q++) {
        if (d > 100 && q % 37 != 0 && q < d - 2) { /* some rows of a large one */
            memcpy(want + q * d, p + q * d, (size_t)d * sizeof *p);
            continue;
        }
        regression(hp, cp, d, q, want + q * d);
    }
    *error = d > 1 ? relative(p, want, d * d) : 0.0;
    int64_t lower = 0;
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j <= i; j++) lower += p[i * d + j] != 0.0;
    assert_all(world, lower == 0);
    void *owned[] = {h, c, p, hp, cp, want};
    for (size_t i = 0; i < 6; i++) qep_free(owned[i]);
    qep_dmat_destroy_all(&P);
    qep_dmat_destroy_all(&Lr);
    qep_dmat_destroy_all(&C);
    qep_dmat_destroy_all(&H);
    qep_window_destroy_all(&w);
    return got;
}

/* The digests are those of one rank; they stand for one kind of CPU and library, so they are not written down but
 * compared between one owner and as many as there are. */
static uint64_t on_one_owner(int64_t d, int64_t block, bool act_order)
{
    qep_dmat *H = make(d, block, 1, definite), *C = make(d, block, 1, unsymmetric), *Lr = NULL;
    qep_window *w = qep_window_create_all(world, "test.w", qep_stream_bytes(d));
    double diag[MAX_D];
    float rdiag[MAX_D];
    int32_t perm[MAX_D];
    qep_ladder ladder = {.damping = 0.01};
    qep_dmat_diag_all(H, diag);
    qep_processing_order(diag, d, act_order, perm);
    assert_all(world, qep_factor_r_all(H, perm, &ladder, w, &Lr, rdiag) == QEP_OK);
    qep_dmat *P = qep_form_p_all(C, perm, Lr, "test.p", w);
    const uint64_t got = digest(P);
    qep_dmat_destroy_all(&P);
    qep_dmat_destroy_all(&Lr);
    qep_dmat_destroy_all(&C);
    qep_dmat_destroy_all(&H);
    qep_window_destroy_all(&w);
    return got;
}

static void test_p(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 2, 17, 64, 65, 127, 128, 129, 300};
    for (int k = 0; k < 9; k++)
        for (int order_by = 0; order_by < 2; order_by++) {
            double error;
            const int64_t block = k % 2 ? 64 : 16;
            const uint64_t got = one(sizes[k], block, order_by, &error);
            assert_all(world, error <= 1e-10);
            assert_all(world, got == on_one_owner(sizes[k], block, order_by));
        }
}

static int group(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_p)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return run_solve_tests(argc, argv, group);
}
