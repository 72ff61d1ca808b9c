/* linalg against plain double loops, and the module's law: the same bits for any number of threads.
 * SPDX-License-Identifier: Apache-2.0 */
#include <omp.h>

#include "qep/linalg.h"
#include "qep/tensor.h"
#include "qep_test.h"

static float *random_f32(qep_rng *r, int64_t n)
{
    float *x = qep_alloc("test", n, sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)qep_rng_normal(r);
    return x;
}

static uint16_t *random_bf16(qep_rng *r, int64_t n)
{
    uint16_t *x = qep_alloc("test", n, sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = qep_f32_to_bf16((float)qep_rng_normal(r));
    return x;
}

static double *random_f64(qep_rng *r, int64_t n)
{
    double *x = qep_alloc("test", n, sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = qep_rng_normal(r);
    return x;
}

/* T, C, O: nothing, one, and both sides of the tile edges 128 and 512, primes */
static const int64_t linear_sizes[][3] = {{0, 5, 7},     {5, 7, 0},      {4, 0, 6},      {1, 1, 1},      {1, 300, 5},
                                          {127, 17, 129}, {128, 31, 128}, {129, 64, 257}, {511, 13, 513}, {512, 8, 1024},
                                          {513, 9, 1025}, {1031, 37, 523}};
#define N_LINEAR ((int)(sizeof linear_sizes / sizeof linear_sizes[0]))

static double dot(const float *a, const float *b, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++)
        s += (double)a[i] * (double)b[i];
    return s;
}

static void check_linear_f32(int64_t T, int64_t C, int64_t O, bool accumulate)
{
    qep_rng r;
    qep_rng_seed(&r, 1);
    int64_t ldx = C + 3, ldy = O + 5;
    float *x = random_f32(&r, T * ldx), *w = random_f32(&r, O * C), *y = random_f32(&r, T * ldy);
    float *old = qep_alloc("test", T * ldy, sizeof *old);
    memcpy(old, y, (size_t)(T * ldy) * sizeof *y);
    if (!accumulate)
        for (int64_t i = 0; i < T * ldy; i++)
            if (i % ldy < O) y[i] = NAN; /* must not be read */
    qep_linear_f32(y, ldy, x, ldx, w, T, C, O, accumulate);
    double worst = 0;
    for (int64_t t = 0; t < T; t++) {
        for (int64_t o = 0; o < O; o++) {
            double want = dot(x + t * ldx, w + o * C, C) + (accumulate ? (double)old[t * ldy + o] : 0.0);
            double err = fabs((double)y[t * ldy + o] - want) / (1 + sqrt((double)C));
            if (!(err <= worst)) worst = err;
        }
        for (int64_t o = O; o < ldy; o++)
            assert_true(y[t * ldy + o] == old[t * ldy + o]); /* padding untouched */
    }
    assert_le_f(worst, 2e-6);
    qep_free(x), qep_free(w), qep_free(y), qep_free(old);
}

static void linear_f32_matches_double(void **state)
{
    (void)state;
    for (int i = 0; i < N_LINEAR; i++) {
        const int64_t *s = linear_sizes[i];
        check_linear_f32(s[0], s[1], s[2], false);
        check_linear_f32(s[0], s[1], s[2], true);
    }
}

static void check_linear_bf16(int64_t T, int64_t C, int64_t O)
{
    qep_rng r;
    qep_rng_seed(&r, 2);
    int64_t ldx = C + 8, ldy = O + 5;
    uint16_t *x = random_bf16(&r, T * ldx), *w = random_bf16(&r, O * C);
    float *y = qep_alloc("test", T * ldy, sizeof *y);
    float *xf = qep_alloc("test", T * ldx, sizeof *xf), *wf = qep_alloc("test", O * C, sizeof *wf);
    qep_to_f32(xf, x, QEP_BF16, T * ldx);
    qep_to_f32(wf, w, QEP_BF16, O * C);
    for (int64_t i = 0; i < T * ldy; i++)
        y[i] = i % ldy < O ? NAN : 42.0F;
    qep_linear_bf16(y, ldy, x, ldx, w, T, C, O);
    double worst = 0;
    for (int64_t t = 0; t < T; t++) {
        for (int64_t o = 0; o < O; o++) {
            double err = fabs((double)y[t * ldy + o] - dot(xf + t * ldx, wf + o * C, C)) / (1 + sqrt((double)C));
            if (!(err <= worst)) worst = err;
        }
        for (int64_t o = O; o < ldy; o++)
            assert_true(y[t * ldy + o] == 42.0F);
    }
    assert_le_f(worst, 2e-6);
    qep_free(x), qep_free(w), qep_free(y), qep_free(xf), qep_free(wf);
}

static void check_linear_back(int64_t T, int64_t C, int64_t O)
{
    qep_rng r;
    qep_rng_seed(&r, 3);
    uint16_t *a16 = random_bf16(&r, T * O), *w16 = random_bf16(&r, O * C);
    float *a = qep_alloc("test", T * O, sizeof *a), *w = qep_alloc("test", O * C, sizeof *w);
    float *g = qep_alloc("test", T * C, sizeof *g), *g16 = qep_alloc("test", T * C, sizeof *g16);
    for (int64_t i = 0; i < T * O; i++) a[i] = qep_bf16_to_f32(a16[i]);
    for (int64_t i = 0; i < O * C; i++) w[i] = qep_bf16_to_f32(w16[i]);
    for (int64_t i = 0; i < T * C; i++) g[i] = g16[i] = NAN; /* must not be read */
    qep_linear_back_f32(g, a, w, T, C, O);
    qep_linear_back_bf16(g16, a16, w16, T, C, O);
    double worst = 0, worst16 = 0;
    for (int64_t t = 0; t < T; t++)
        for (int64_t c = 0; c < C; c++) {
            double want = 0, scale = 1e-30;
            for (int64_t o = 0; o < O; o++) {
                want += (double)a[t * O + o] * (double)w[o * C + c];
                scale += fabs((double)a[t * O + o] * (double)w[o * C + c]);
            }
            const double e = fabs((double)g[t * C + c] - want) / scale, e16 = fabs((double)g16[t * C + c] - want) / scale;
            worst = e <= worst ? worst : e;
            worst16 = e16 <= worst16 ? worst16 : e16;
        }
    assert_le_f(worst, 2e-6);
    assert_le_f(worst16, 2e-6);
    void *owned[] = {a16, w16, a, w, g, g16};
    for (int i = 0; i < 6; i++) qep_free(owned[i]);
}

static void linear_back_matches_double(void **state)
{
    (void)state;
    static const int64_t sizes[][3] = {{1, 1, 1}, {0, 5, 7}, {3, 1, 40}, {5, 130, 17}, {64, 257, 129}, {130, 600, 33}};
    for (int i = 0; i < 6; i++) check_linear_back(sizes[i][0], sizes[i][1], sizes[i][2]);
}

static void linear_bf16_matches_double(void **state)
{
    (void)state;
    for (int i = 0; i < N_LINEAR; i++)
        check_linear_bf16(linear_sizes[i][0], linear_sizes[i][1], linear_sizes[i][2]);
}

/* m, n, k */
static const int64_t tile_sizes[][3] = {{0, 3, 4}, {3, 0, 4}, {3, 4, 0}, {1, 1, 1}, {17, 5, 31}, {64, 128, 256},
                                        {65, 129, 257}, {300, 288, 513}};
#define N_TILE ((int)(sizeof tile_sizes / sizeof tile_sizes[0]))

static void check_tile(int64_t m, int64_t n, int64_t k, bool bf16)
{
    qep_rng r;
    qep_rng_seed(&r, 3);
    int64_t lda = m + 2, ldb = n + 3, ldc = n + 1;
    uint16_t *a16 = random_bf16(&r, k * lda), *b16 = random_bf16(&r, k * ldb);
    float *a = qep_alloc("test", k * lda, sizeof *a), *b = qep_alloc("test", k * ldb, sizeof *b);
    float *c = qep_alloc("test", m * ldc, sizeof *c);
    qep_to_f32(a, a16, QEP_BF16, k * lda);
    qep_to_f32(b, b16, QEP_BF16, k * ldb);
    for (int64_t i = 0; i < m * ldc; i++)
        c[i] = i % ldc < n ? NAN : 42.0F;
    if (bf16) {
        qep_tile_tn_bf16(c, ldc, a16, lda, b16, ldb, m, n, k);
    } else {
        qep_tile_tn_f32(c, ldc, a, lda, b, ldb, m, n, k);
    }
    double worst = 0;
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            double want = 0;
            for (int64_t l = 0; l < k; l++)
                want += (double)a[l * lda + i] * (double)b[l * ldb + j];
            double err = fabs((double)c[i * ldc + j] - want) / (1 + sqrt((double)k));
            if (!(err <= worst)) worst = err;
        }
        assert_true(c[i * ldc + n] == 42.0F);
    }
    assert_le_f(worst, 2e-6);
    qep_free(a16), qep_free(b16), qep_free(a), qep_free(b), qep_free(c);
}

static void tiles_match_double(void **state)
{
    (void)state;
    for (int i = 0; i < N_TILE; i++) {
        check_tile(tile_sizes[i][0], tile_sizes[i][1], tile_sizes[i][2], false);
        check_tile(tile_sizes[i][0], tile_sizes[i][1], tile_sizes[i][2], true);
    }
}

static void check_gemm(int64_t m, int64_t n, int64_t k, bool trans_b)
{
    qep_rng r;
    qep_rng_seed(&r, 4);
    int64_t lda = k + 1, ldb = (trans_b ? k : n) + 2, ldc = n + 3, b_rows = trans_b ? n : k;
    double *a = random_f64(&r, m * lda), *b = random_f64(&r, b_rows * ldb), *c = random_f64(&r, m * ldc);
    double *old = qep_alloc("test", m * ldc, sizeof *old);
    float *a4 = qep_alloc("test", m * lda, sizeof *a4), *b4 = qep_alloc("test", b_rows * ldb, sizeof *b4);
    float *c4 = qep_alloc("test", m * ldc, sizeof *c4);
    for (int64_t i = 0; i < m * lda; i++)
        a4[i] = (float)a[i];
    for (int64_t i = 0; i < b_rows * ldb; i++)
        b4[i] = (float)b[i];
    for (int64_t i = 0; i < m * ldc; i++)
        c4[i] = (float)(old[i] = c[i]);
    qep_gemm_f64(trans_b, m, n, k, -1.5, a, lda, b, ldb, 0.5, c, ldc);
    qep_gemm_f32(trans_b, m, n, k, -1.5F, a4, lda, b4, ldb, 0.5F, c4, ldc);
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < ldc; j++) {
            double want = old[i * ldc + j];
            if (j < n) {
                double s = 0;
                for (int64_t l = 0; l < k; l++)
                    s += a[i * lda + l] * (trans_b ? b[j * ldb + l] : b[l * ldb + j]);
                want = 0.5 * want - 1.5 * s;
            }
            assert_le_f(fabs(c[i * ldc + j] - want), 1e-13 * (double)(k + 1));
            assert_le_f(fabs((double)c4[i * ldc + j] - want), 1e-5 * sqrt((double)(k + 1)));
        }
    }
    qep_free(a), qep_free(b), qep_free(c), qep_free(old), qep_free(a4), qep_free(b4), qep_free(c4);
}

static void gemm_matches_double(void **state)
{
    (void)state;
    for (int i = 0; i < N_TILE; i++) {
        check_gemm(tile_sizes[i][0], tile_sizes[i][1], tile_sizes[i][2], false);
        check_gemm(tile_sizes[i][0], tile_sizes[i][1], tile_sizes[i][2], true);
    }
}

/* A well conditioned triangle with NaN in the half that must not be read. */
static double *triangle(qep_rng *r, int64_t n, int64_t ld, bool lower)
{
    double *t = random_f64(r, n * ld);
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < n; j++) {
            t[i * ld + j] /= (double)n;
            if (i == j) t[i * ld + j] = 2 + (double)(i % 3);
            if (lower ? j > i : j < i) t[i * ld + j] = NAN;
        }
    }
    return t;
}

static void check_trsm(int64_t m, int64_t n, bool lower, bool trans)
{
    qep_rng r;
    qep_rng_seed(&r, 5);
    int64_t ldt = n + 1, ldx = n + 2;
    double *t = triangle(&r, n, ldt, lower), *x = random_f64(&r, m * ldx), *b = qep_alloc("test", m * ldx, sizeof *b);
    memcpy(b, x, (size_t)(m * ldx) * sizeof *b);
    qep_trsm_right_f64(lower, trans, m, n, t, ldt, x, ldx);
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) { /* x op(t) = b */
            double s = 0;
            for (int64_t l = 0; l < n; l++) {
                int64_t row = trans ? j : l, col = trans ? l : j;
                if (lower ? col > row : col < row) continue;
                s += x[i * ldx + l] * t[row * ldt + col];
            }
            assert_le_f(fabs(s - b[i * ldx + j]), 1e-12);
        }
    }
    qep_free(t), qep_free(x), qep_free(b);
}

static void trsm_solves(void **state)
{
    (void)state;
    static const int64_t sizes[][2] = {{0, 3}, {3, 0}, {1, 1}, {5, 17}, {64, 64}, {33, 129}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (int mode = 0; mode < 4; mode++)
            check_trsm(sizes[i][0], sizes[i][1], (mode & 1) != 0, (mode & 2) != 0);
}

static void cholesky_factors(void **state)
{
    (void)state;
    static const int64_t sizes[] = {0, 1, 2, 37, 128, 131};
    for (size_t q = 0; q < sizeof sizes / sizeof sizes[0]; q++) {
        int64_t n = sizes[q], ld = n + 3;
        qep_rng r;
        qep_rng_seed(&r, 6);
        double *b = random_f64(&r, n * n), *h = qep_alloc("test", n * ld, sizeof *h);
        double *a = qep_alloc("test", n * ld, sizeof *a);
        qep_gemm_f64(true, n, n, n, 1, b, n, b, n, 0, h, ld);
        for (int64_t i = 0; i < n; i++)
            h[i * ld + i] += (double)n;
        memcpy(a, h, (size_t)(n * ld) * sizeof *a);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = i + 1; j < n; j++)
                a[i * ld + j] = NAN; /* only the lower triangle is read */
        assert_int_equal(qep_cholesky_f64(n, a, ld), 0);
        for (int64_t i = 0; i < n; i++) {
            for (int64_t j = 0; j <= i; j++) {
                double s = 0;
                for (int64_t l = 0; l <= j; l++)
                    s += a[i * ld + l] * a[j * ld + l];
                assert_le_f(fabs(s - h[i * ld + j]), 1e-12 * (double)(n * n + 1));
            }
        }
        qep_free(b), qep_free(h), qep_free(a);
    }
}

static void cholesky_names_the_bad_minor(void **state)
{
    (void)state;
    double a[] = {4, 0, 0, 2, 5, 0, 1, 1, -3};
    assert_int_equal(qep_cholesky_f64(3, a, 3), 3);
    double zero[] = {0};
    assert_int_equal(qep_cholesky_f64(1, zero, 1), 1);
}

/* Everything threaded in one buffer: y f32, y bf16, and tiles computed from a parallel loop of ours. */
#define BITS_T 515
#define BITS_C 96
#define BITS_O 773
#define BITS_N ((int64_t)BITS_T * BITS_O * 2 + (int64_t)8 * BITS_C * BITS_C)

static void everything(float *out, const float *x, const float *w, const uint16_t *x16, const uint16_t *w16)
{
    float *y = out, *y16 = y + (int64_t)BITS_T * BITS_O, *tiles = y16 + (int64_t)BITS_T * BITS_O;
    qep_linear_f32(y, BITS_O, x, BITS_C, w, BITS_T, BITS_C, BITS_O, false);
    qep_linear_bf16(y16, BITS_O, x16, BITS_C, w16, BITS_T, BITS_C, BITS_O);
#pragma omp parallel for schedule(dynamic, 1)
    for (int i = 0; i < 8; i++) {
        float *c = tiles + (int64_t)i * BITS_C * BITS_C;
        int64_t k = BITS_T - 60 * (i / 2); /* several shapes at once, each from two iterations */
        if (i % 2 == 0) {
            qep_tile_tn_bf16(c, BITS_C, x16, BITS_C, x16, BITS_C, BITS_C, BITS_C, k);
        } else {
            qep_tile_tn_f32(c, BITS_C, x, BITS_C, x, BITS_C, BITS_C, BITS_C, k);
        }
    }
}

static void bits_do_not_depend_on_threads(void **state)
{
    (void)state;
    qep_rng r;
    qep_rng_seed(&r, 7);
    float *x = random_f32(&r, BITS_T * BITS_C), *w = random_f32(&r, BITS_O * BITS_C);
    uint16_t *x16 = random_bf16(&r, BITS_T * BITS_C), *w16 = random_bf16(&r, BITS_O * BITS_C);
    float *one = qep_alloc("test", BITS_N, sizeof *one), *many = qep_alloc("test", BITS_N, sizeof *many);
    qep_linalg_start(1);
    everything(one, x, w, x16, w16);
    for (int threads = 2; threads <= 4; threads++) {
        for (int round = 0; round < 3; round++) {
            qep_linalg_start(threads);
            assert_int_equal(qep_linalg_threads(), threads);
            memset(many, 0xff, (size_t)BITS_N * sizeof *many);
            everything(many, x, w, x16, w16);
            assert_memory_equal(one, many, (size_t)BITS_N * sizeof *one);
            assert_int_equal(omp_get_max_threads(), threads); /* the caller's setting is put back */
        }
    }
    qep_linalg_start(2);
    qep_free(x), qep_free(w), qep_free(x16), qep_free(w16), qep_free(one), qep_free(many);
}

/* OpenBLAS alone would use the caller's OpenMP threads here, and its factorizations would change with them. */
static void single_thread_blocks_keep_their_bits(void **state)
{
    (void)state;
    enum { N = 700 };
    qep_rng r;
    qep_rng_seed(&r, 9);
    double *b = random_f64(&r, (int64_t)N * N), *h = qep_alloc("test", (int64_t)N * N, sizeof *h);
    double *l[3], *x[3];
    for (int threads = 1; threads <= 3; threads++) {
        qep_linalg_start(threads);
        double *a = l[threads - 1] = qep_alloc("test", (int64_t)N * N, sizeof *a);
        double *s = x[threads - 1] = qep_alloc("test", (int64_t)N * N, sizeof *s);
        qep_gemm_f64(true, N, N, N, 1, b, N, b, N, 0, h, N);
        for (int i = 0; i < N; i++)
            h[i * N + i] += N;
        memcpy(a, h, sizeof(double) * N * N);
        assert_int_equal(qep_cholesky_f64(N, a, N), 0);
        memcpy(s, b, sizeof(double) * N * N);
        qep_trsm_right_f64(true, true, N, N, a, N, s, N);
        assert_int_equal(omp_get_max_threads(), threads);
        assert_memory_equal(l[0], a, sizeof(double) * N * N);
        assert_memory_equal(x[0], s, sizeof(double) * N * N);
    }
    qep_linalg_start(2);
    for (int i = 0; i < 3; i++)
        qep_free(l[i]), qep_free(x[i]);
    qep_free(b), qep_free(h);
}

/* More shapes than a lane remembers: old ones are dropped and built again. */
static void many_shapes_in_a_row(void **state)
{
    (void)state;
    for (int round = 0; round < 2; round++)
        for (int64_t k = 1; k <= 80; k++)
            check_tile(3, 5, k, true);
}

/* Outputs computed as [0, O) at once or as two calls cut at a tile edge: oneDNN's bf16 product keeps its bits. A CPU without bf16 instructions
 * multiplies in f32 by BLAS, whose bits change with the shape of a call; the program keeps shapes fixed and does not count on this. */
static void bf16_bits_do_not_depend_on_the_split(void **state)
{
    (void)state;
    if (!(qep_peak_bf16_gflops(0.01) > 0)) {
        print_message("# skipped: this CPU has no bf16 instructions\n");
        skip();
    }
    enum { T = 512, C = 288, O = 1024, CUT = 512 };
    qep_rng r;
    qep_rng_seed(&r, 8);
    uint16_t *x = random_bf16(&r, (int64_t)T * C), *w = random_bf16(&r, (int64_t)O * C);
    float *y = qep_alloc("test", (int64_t)T * O, sizeof *y), *z = qep_alloc("test", (int64_t)T * O, sizeof *z);
    qep_linear_bf16(y, O, x, C, w, T, C, O);
    qep_linear_bf16(z, O, x, C, w, T, C, CUT);
    qep_linear_bf16(z + CUT, O, x, C, w + (int64_t)CUT * C, T, C, O - CUT);
    assert_memory_equal(y, z, (size_t)T * O * sizeof *y);
    qep_free(x), qep_free(w), qep_free(y), qep_free(z);
}

/* A list of products of all kinds of sizes, nothing among them, has the bits of one after the other; in f32 and in bf16. */
static void lists_keep_the_bits(void **state)
{
    (void)state;
    enum { N = 6, C = 70 };
    static const int64_t T[N] = {515, 0, 64, 300, 1, 129}, O[N] = {773, 100, 0, 64, 700, 513}, K[N] = {C, C, C, 0, C, 33};
    qep_rng r;
    qep_rng_seed(&r, 9);
    float *xf = random_f32(&r, 515 * C), *wf = random_f32(&r, 773 * C);
    uint16_t *x16 = random_bf16(&r, 515 * C), *w16 = random_bf16(&r, 773 * C);
    for (int bf16 = 0; bf16 < 2; bf16++) {
        float *want[N], *got[N];
        qep_linear list[N];
        for (int k = 0; k < N; k++) {
            const int64_t n = T[k] * O[k] + 1;
            want[k] = qep_alloc("test", n, sizeof *want[k]);
            got[k] = qep_alloc("test", n, sizeof *got[k]);
            memset(want[k], 0x55, (size_t)n * sizeof *want[k]);
            memset(got[k], 0x55, (size_t)n * sizeof *got[k]);
            list[k] = (qep_linear){bf16, got[k], bf16 ? (const void *)x16 : xf, bf16 ? (const void *)w16 : wf, T[k], K[k], O[k]};
            if (bf16) qep_linear_bf16(want[k], O[k], x16, K[k], w16, T[k], K[k], O[k]);
            else qep_linear_f32(want[k], O[k], xf, K[k], wf, T[k], K[k], O[k], false);
        }
        qep_linears(list, N);
        for (int k = 0; k < N; k++) {
            assert_memory_equal(got[k], want[k], (size_t)(T[k] * O[k] + 1) * sizeof *got[k]);
            qep_free(want[k]), qep_free(got[k]);
        }
        qep_linears(NULL, 0);
    }
    qep_free(xf), qep_free(wf), qep_free(x16), qep_free(w16);
}

static void describes_itself(void **state)
{
    (void)state;
    print_message("# %s\n", qep_linalg_describe());
    assert_non_null(strstr(qep_linalg_describe(), "oneDNN"));
    assert_non_null(strstr(qep_linalg_describe(), "core type"));
    if (qep_linalg_warning() != NULL) print_message("# %s\n", qep_linalg_warning());
}

static void peaks_are_plausible(void **state)
{
    (void)state;
    double f32 = qep_peak_f32_gflops(0.05), f64 = qep_peak_f64_gflops(0.05), bf16 = qep_peak_bf16_gflops(0.05);
    print_message("# GFLOP/s of %d threads: f32 %.0f, f64 %.0f, bf16 %.0f\n", qep_linalg_threads(), f32, f64, bf16);
    assert_true(isfinite(f32) && isfinite(f64) && isfinite(bf16));
    assert_true(f32 >= 0 && f64 >= 0 && bf16 >= 0);
    if (f32 > 0) assert_true(f64 > 0 && f32 > f64); /* twice as many lanes */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_f32_matches_double),
        cmocka_unit_test(linear_back_matches_double),
        cmocka_unit_test(linear_bf16_matches_double),
        cmocka_unit_test(tiles_match_double),
        cmocka_unit_test(gemm_matches_double),
        cmocka_unit_test(trsm_solves),
        cmocka_unit_test(cholesky_factors),
        cmocka_unit_test(cholesky_names_the_bad_minor),
        cmocka_unit_test(bits_do_not_depend_on_threads),
        cmocka_unit_test(lists_keep_the_bits),
        cmocka_unit_test(single_thread_blocks_keep_their_bits),
        cmocka_unit_test(many_shapes_in_a_row),
        cmocka_unit_test(bf16_bits_do_not_depend_on_the_split),
        cmocka_unit_test(describes_itself),
        cmocka_unit_test(peaks_are_plausible),
    };
    qep_linalg_start(2);
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
