/* QuIP: the random transforms are orthogonal and what their factors say; the grid; the published code's codes with its own transforms, those without
 * greedy passes (np0 in the golden files), as QEP's published runs are. SPDX-License-Identifier: Apache-2.0 */
#include "golden.h"

/* --- transforms ----------------------------------------------------------------------------------- */

/* m[n, n] = R, or its transpose, column by column through the kernel. */
static double *matrix_of(const qep_rotation *r, int64_t n, bool transposed)
{
    double *m = test_alloc(n * n, sizeof *m), *x = test_alloc(n * QEP_STRIP, sizeof *x), *scratch = test_alloc(n * QEP_STRIP, sizeof *x);
    for (int64_t c0 = 0; c0 < n; c0 += QEP_STRIP) {
        memset(x, 0, (size_t)(n * QEP_STRIP) * sizeof *x);
        for (int64_t c = c0; c < qep_min_i64(n, c0 + QEP_STRIP); c++) x[c * QEP_STRIP + c - c0] = 1.0;
        qep_rotation_apply(r, transposed, x, scratch);
        for (int64_t i = 0; i < n; i++)
            for (int64_t c = c0; c < qep_min_i64(n, c0 + QEP_STRIP); c++) m[i * n + c] = x[i * QEP_STRIP + c - c0];
    }
    qep_free(x);
    qep_free(scratch);
    return m;
}

static void check_orthogonal(int64_t n)
{
    int64_t before = qep_mem_now();
    qep_rotation *r = qep_rotation_create(n, 42);
    assert_true(qep_mem_now() - before <= qep_rotation_bytes(n) + 8 * 64);
    double *m = matrix_of(r, n, false), *t = matrix_of(r, n, true), worst = 0.0, skew = 0.0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            double dot = 0.0;
            for (int64_t k = 0; k < n; k++) dot += m[i * n + k] * m[j * n + k];
            worst = fmax(worst, fabs(dot - (i == j)));
            skew = fmax(skew, fabs(m[i * n + j] - t[j * n + i]));
        }
    assert_le_f(worst, 1e-12);
    assert_le_f(skew, 1e-14);
    qep_free(m);
    qep_free(t);
    qep_rotation_destroy(&r);
    assert_null(r);
}

static void orthogonal(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 2, 3, 7, 12, 64, 96, 128, 130, 97};
    for (int i = 0; i < 10; i++) check_orthogonal(sizes[i]);
}

static void sides(void **state)
{
    (void)state;
    assert_int_equal(qep_rotation_largest(4096), 64);
    assert_int_equal(qep_rotation_largest(11008), 688);
    assert_int_equal(qep_rotation_largest(8192), 128);
    assert_int_equal(qep_rotation_largest(1733), 1733);
    assert_int_equal(qep_rotation_largest(1), 1);
}

/* A vector with all its weight in one place spreads over all: entries of size about 1 / sqrt(n). Seeds differ. */
static void incoherent(void **state)
{
    (void)state;
    enum { N = 256 };
    double *m[2];
    for (int s = 0; s < 2; s++) {
        qep_rotation *r = qep_rotation_create(N, (uint64_t)s);
        m[s] = matrix_of(r, N, false);
        double top = 0.0, fourth = 0.0;
        for (int i = 0; i < N * N; i++) {
            top = fmax(top, fabs(m[s][i]));
            fourth += pow(m[s][i], 4.0);
        }
        assert_le_f(top, 0.9);
        assert_le_f(fourth / N, 0.1); /* 1 for a permutation; 3 (3 / 16)^2 = 0.1 would be two factors with kurtosis 3 each and n = 16 */
        qep_rotation_destroy(&r);
    }
    int64_t equal = 0;
    for (int i = 0; i < N * N; i++) equal += m[0][i] == m[1][i];
    assert_true(equal == 0);
    qep_free(m[0]);
    qep_free(m[1]);
}

static void grid(void **state)
{
    (void)state;
    for (int bits = 2; bits <= 8; bits++) {
        const int top = (1 << bits) - 1;
        float w[5] = {-9.0f, -2.0f, 0.0f, 2.0f, 9.0f};
        qep_quip_to_codes(w, 5, 2.0, bits);
        assert_true(w[0] == 0.0f && w[1] == 0.0f && w[2] == (float)top / 2.0f && w[3] == (float)top && w[4] == (float)top);
        for (int c = 0; c <= top; c++) {
            float v = qep_quip_value(c, 2.0, bits, false);
            qep_quip_to_codes(&v, 1, 2.0, bits);
            assert_le_f(fabsf(v - (float)c), 1e-4f);
        }
    }
}

/* --- the published code ------------------------------------------------------------------------------ */

typedef struct published {
    int64_t n, d;
    float *U, *V, *D, *W, *W_rot, *H_rot; /* owned */
    double *H;                             /* owned: of the case, not scaled */

} published;

static double *doubles(float *x, int64_t n)
{
    double *y = test_alloc(n, sizeof *y);
    for (int64_t i = 0; i < n; i++) y[i] = (double)x[i];
    return y;
}

/* a[n, n] m[n, d] b[d, d]^T, transposed: a^T m b. */
static double *sandwich(const published *p, const double *m, bool undo)
{
    double *u = doubles(p->U, p->n * p->n), *v = doubles(p->V, p->d * p->d);
    double *half = test_alloc(p->n * p->d, sizeof *half), *out = test_alloc(p->n * p->d, sizeof *out);
    qep_gemm_f64(!undo, p->n, p->d, p->d, 1.0, m, p->d, v, p->d, 0.0, half, p->d);
    for (int64_t i = 0; i < p->n; i++)
        for (int64_t k = 0; k < p->n; k++)
            for (int64_t j = 0; j < p->d; j++) out[i * p->d + j] += (undo ? u[k * p->n + i] : u[i * p->n + k]) * half[k * p->d + j];
    void *owned[] = {u, v, half};
    for (size_t i = 0; i < 3; i++) qep_free(owned[i]);
    return out;
}

static double relative(const double *a, const float *b, int64_t n)
{
    double num = 0.0, den = 0.0;
    for (int64_t i = 0; i < n; i++) {
        num += (a[i] - (double)b[i]) * (a[i] - (double)b[i]);
        den += (double)b[i] * (double)b[i];
    }
    return sqrt(num / den);
}

/* V (d / tr(H') H' + 0.01 I) V^T with H' = diag(1/D) H diag(1/D): what LDLQ factorizes after its own damping. */
static double *rotated_hessian(const published *p, const double *D)
{
    const int64_t d = p->d;
    double *h = test_alloc(d * d, sizeof *h), *v = doubles(p->V, d * d), *half = test_alloc(d * d, sizeof *half), trace = 0.0;
    for (int64_t i = 0; i < d * d; i++) h[i] = p->H[i] / (D[i / d] * D[i % d]);
    for (int64_t i = 0; i < d; i++) trace += h[i * d + i];
    for (int64_t i = 0; i < d * d; i++) h[i] = h[i] * (double)d / trace + (i / d == i % d ? 0.01 : 0.0);
    qep_gemm_f64(true, d, d, d, 1.0, h, d, v, d, 0.0, half, d);
    qep_gemm_f64(false, d, d, d, 1.0, v, d, half, d, 0.0, h, d);
    qep_free(v);
    qep_free(half);
    return h;
}

static void check_run(const published *p, const qep_st_set *f, int bits, const char *run)
{
    char key[64];
    const int64_t n = p->n, d = p->d;
    snprintf(key, sizeof key, "%s.codes", run);
    uint8_t *want = golden(f, key, NULL);
    snprintf(key, sizeof key, "%s.Q_nohalf", run);
    float *q_want = golden(f, key, NULL);
    snprintf(key, sizeof key, "%s.Q", run);
    float *half = golden(f, key, NULL);
    snprintf(key, sizeof key, "%s.Wstar", run);
    float *w = golden(f, key, NULL);
    snprintf(key, sizeof key, "%s.scale", run);
    float *scale = golden(f, key, NULL);
    if (!scale) scale = golden(f, "scale", NULL);
    assert_true(want && q_want && half && scale);

    double *colsq = test_alloc(d, sizeof *colsq), *D = test_alloc(d, sizeof *D), *diag = test_alloc(d, sizeof *diag);
    double *wd = doubles(w ? w : p->W, n * d);
    for (int64_t i = 0; i < n * d; i++) colsq[i % d] += wd[i] * wd[i];
    for (int64_t i = 0; i < d; i++) diag[i] = p->H[i * d + i];
    qep_quip_rescale(diag, colsq, d, D);
    if (!w)
        for (int64_t i = 0; i < d; i++) assert_le_f(fabs(D[i] - (double)p->D[i]), 1e-5 * D[i]);
    for (int64_t i = 0; i < n * d; i++) wd[i] *= D[i % d];
    double *rot = sandwich(p, wd, false), *h = rotated_hessian(p, D), square = 0.0, mean = 0.0;
    if (!w) {
        assert_le_f(relative(rot, p->W_rot, n * d), 1e-5);
        for (int64_t i = 0; i < d; i++) mean += h[i * d + i] / (double)d;
        for (int64_t i = 0; i < d; i++) h[i * d + i] += 0.01 * mean;
        assert_le_f(relative(h, p->H_rot, d * d), 1e-5);
    } else {
        for (int64_t i = 0; i < d; i++) mean += h[i * d + i] / (double)d;
        for (int64_t i = 0; i < d; i++) h[i * d + i] += 0.01 * mean;
    }
    for (int64_t i = 0; i < n * d; i++) square += rot[i] * rot[i];
    const double s = 2.4 * sqrt(square / (double)(n * d)) + 1e-16;
    assert_le_f(fabs(s - (double)scale[0]), 1e-6 * s);

    /* last column to first */
    int32_t *perm = test_alloc(d, sizeof *perm);
    for (int64_t i = 0; i < d; i++) perm[i] = (int32_t)(d - 1 - i);
    double *hp = permuted(h, d, perm), *R = factor_r(hp, d);
    const qep_qspec spec = {.method = &qep_method_gptq, .bits = bits, .group_size = -1, .unit_grid = true, .exact_scales = true, .block_size = 128};
    float *target = test_alloc(n * d, sizeof *target);
    for (int64_t i = 0; i < n * d; i++) target[i] = (float)rot[i];
    qep_quip_to_codes(target, n * d, s, bits);
    result x = new_result(&spec, n, d);
    run_rows(&spec, target, n, d, perm, R, NULL, NULL, &x);
    assert_int_equal(count_flips(x.codes, want, n * d), 0);
    double *q[2];
    for (int paper = 0; paper < 2; paper++) {
        for (int64_t i = 0; i < n * d; i++) rot[i] = (double)qep_quip_value(x.codes[i], s, bits, paper);
        q[paper] = sandwich(p, rot, true);
        for (int64_t i = 0; i < n * d; i++) q[paper][i] /= D[i % d];
    }
    assert_le_f(relative(q[0], q_want, n * d), 1e-5);
    assert_le_f(relative(q[1], half, n * d), 1e-5); /* its f16 numbers are rotated ones */
    assert_le_f(3e-5, relative(q[0], half, n * d));
    free_result(&x);
    void *owned[] = {want, q_want, half, w, scale, colsq, D, diag, wd, rot, h, perm, hp, R, target, q[0], q[1]};
    for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++) qep_free(owned[i]);
}

static void published_codes(void **state)
{
    (void)state;
    if (!shared_dir) skip();
    static const char *const layers[] = {"tall", "dead"};
    for (int i = 0; i < 2; i++) {
        char name[64];
        int64_t shape[2] = {0, 0};
        snprintf(name, sizeof name, "quip__%s__ldlq.safetensors", layers[i]);
        qep_st_set *f = open_golden(name);
        snprintf(name, sizeof name, "case__%s.safetensors", layers[i]);
        qep_st_set *c = open_golden(name);
        published p = {.U = golden(f, "U", NULL), .V = golden(f, "V", NULL), .D = golden(f, "D", NULL), .W_rot = golden(f, "W_rot", NULL),
                       .H_rot = golden(f, "H_rot", NULL), .W = golden(c, "W", shape), .H = golden(c, "H", NULL)};
        p.n = shape[0], p.d = shape[1];
        check_run(&p, f, 2, "b2_np0");
        check_run(&p, f, 3, "b3_np0");
        check_run(&p, f, 4, "b4_np0");
        check_run(&p, f, 3, "b3_np0_qep");
        void *owned[] = {p.U, p.V, p.D, p.W, p.W_rot, p.H_rot, p.H};
        for (size_t k = 0; k < 7; k++) qep_free(owned[k]);
        qep_st_close(&f);
        qep_st_close(&c);
    }
}

int main(void)
{
    find_goldens();
    qep_linalg_start(1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(orthogonal), cmocka_unit_test(sides), cmocka_unit_test(incoherent),
        cmocka_unit_test(grid),       cmocka_unit_test(published_codes),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    qep_free(shared_dir);
    return failed != 0;
}
