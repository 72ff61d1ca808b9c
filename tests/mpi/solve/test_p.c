/* S and P of GPTAQ: P against its meaning (the regression of a row of C on the channels behind), S against P R, and equal bits however the rows lie.
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

/* H and C, the order, the factor, and what is formed of them. */
typedef struct formed {
    int64_t d;
    qep_dmat *H, *C, *Lr, *S, *P;
    qep_window *w;
    double diag[MAX_D];
    int32_t perm[MAX_D];
    uint64_t digest[2]; /* of S and P */
} formed;

static void form(formed *f, int64_t d, int64_t block, int64_t owners, bool act_order)
{
    float rdiag[MAX_D];
    qep_ladder ladder = {.damping = 0.01};
    *f = (formed){.d = d, .H = make(d, block, owners, definite), .C = make(d, block, owners, unsymmetric)};
    f->w = qep_window_create_all(world, "test.w", qep_stream_bytes(d));
    qep_dmat_diag_all(f->H, f->diag);
    qep_processing_order(f->diag, d, act_order, f->perm);
    assert_all(world, qep_factor_r_all(f->H, f->perm, &ladder, f->w, &f->Lr, rdiag) == QEP_OK);
    const uint64_t before = digest(f->C);
    f->S = qep_form_s_all(f->C, f->perm, f->Lr, "test.s", f->w);
    f->P = qep_dmat_create_all(world, "test.p", d, block, owners);
    qep_dmat_copy(f->P, f->S);
    qep_s_to_p_all(f->P, f->Lr, f->w);
    assert_all(world, digest(f->C) == before);
    f->digest[0] = digest(f->S);
    f->digest[1] = digest(f->P);
}

static void release(formed *f)
{
    qep_dmat **owned[] = {&f->H, &f->C, &f->Lr, &f->S, &f->P};
    for (size_t i = 0; i < 5; i++) qep_dmat_destroy_all(owned[i]);
    qep_window_destroy_all(&f->w);
}

/* P against the regressions; of a large one some rows. */
static double error_of_p(const formed *f, const double *p)
{
    const int64_t d = f->d;
    double *h = gathered(f->H), *c = gathered(f->C), mean = 0;
    double *hp = qep_alloc("test", d * d, sizeof *hp), *cp = qep_alloc("test", d * d, sizeof *cp), *want = qep_alloc("test", d * d, sizeof *want);
    for (int64_t i = 0; i < d; i++) mean += f->diag[i] / (double)d;
    order(h, f->perm, d, hp);
    order(c, f->perm, d, cp);
    for (int64_t i = 0; i < d; i++) hp[i * (d + 1)] += 0.01 * mean;
    for (int64_t q = 0; q < d; q++) {
        if (d > 100 && q % 37 != 0 && q < d - 2) memcpy(want + q * d, p + q * d, (size_t)d * sizeof *p);
        else regression(hp, cp, d, q, want + q * d);
    }
    const double error = d > 1 ? relative(p, want, d * d) : 0.0;
    void *owned[] = {h, c, hp, cp, want};
    for (size_t i = 0; i < 5; i++) qep_free(owned[i]);
    return error;
}

/* S against P R, R = J Lr J. */
static double error_of_s(const formed *f, const double *p)
{
    const int64_t d = f->d;
    double *s = gathered(f->S), *l = gathered(f->Lr), *want = qep_alloc("test", d * d, sizeof *want);
    for (int64_t i = 0; i < d; i++)
        for (int64_t k = i + 1; k < d; k++)
            for (int64_t j = k; j < d; j++) want[i * d + j] += p[i * d + k] * l[(d - 1 - k) * d + d - 1 - j];
    const double error = d > 1 ? relative(s, want, d * d) : 0.0;
    qep_free(s);
    qep_free(l);
    qep_free(want);
    return error;
}

static void clear_to_the_diagonal(const double *m, int64_t d)
{
    int64_t lower = 0;
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j <= i; j++) lower += m[i * d + j] != 0.0;
    assert_all(world, lower == 0);
}

/* The digests are those of one owner; they stand for one kind of CPU and library, so they are not written down but compared. */
static void check(int64_t d, int64_t block, bool act_order)
{
    formed f, one;
    form(&f, d, block, qep_dmat_owners_rule(d, block, qep_size(world), 0), act_order);
    form(&one, d, block, 1, act_order);
    double *p = gathered(f.P), *s = gathered(f.S);
    clear_to_the_diagonal(p, d);
    clear_to_the_diagonal(s, d);
    assert_all(world, error_of_p(&f, p) <= 1e-10);
    assert_all(world, error_of_s(&f, p) <= 1e-10);
    for (int k = 0; k < 2; k++) assert_all(world, f.digest[k] == one.digest[k]);
    qep_free(p);
    qep_free(s);
    release(&f);
    release(&one);
}

static void test_p(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 2, 17, 64, 65, 127, 128, 129, 300};
    for (int k = 0; k < 9; k++)
        for (int act_order = 0; act_order < 2; act_order++) check(sizes[k], k % 2 ? 64 : 16, act_order);
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
