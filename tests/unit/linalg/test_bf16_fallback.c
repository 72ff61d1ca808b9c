/* bf16 products where oneDNN has none: a CPU without AVX-512, played through DNNL_MAX_CPU_ISA. A program of its own
 * because oneDNN reads the variable once. SPDX-License-Identifier: Apache-2.0 */
#include "qep/linalg.h"
#include "qep/tensor.h"
#include "qep_test.h"

/* n values as bf16, and the same values as f32. */
static uint16_t *random_pair(uint64_t seed, int64_t n, float **as_f32)
{
    qep_rng r;
    qep_rng_seed(&r, seed);
    uint16_t *x = qep_alloc("test", n, sizeof *x);
    *as_f32 = qep_alloc("test", n, sizeof **as_f32);
    for (int64_t i = 0; i < n; i++)
        x[i] = qep_f32_to_bf16((float)qep_rng_normal(&r));
    qep_to_f32(*as_f32, x, QEP_BF16, n);
    return x;
}

static void assert_close(const float *a, const float *b, int64_t n, double tolerance)
{
    for (int64_t i = 0; i < n; i++)
        assert_le_f(fabs((double)a[i] - (double)b[i]), tolerance);
}

/* Both sides of the block edge 256 in each direction. */
static const int64_t sizes[][3] = {{1, 1, 1}, {3, 256, 257}, {255, 257, 2}, {300, 520, 270}, {513, 31, 700}};
#define N_SIZES ((int)(sizeof sizes / sizeof sizes[0]))

static void linear_agrees_with_f32(void **state)
{
    (void)state;
    for (int i = 0; i < N_SIZES; i++) {
        int64_t T = sizes[i][0], C = sizes[i][1], O = sizes[i][2];
        float *xf, *wf;
        uint16_t *x = random_pair(1, T * C, &xf), *w = random_pair(2, O * C, &wf);
        float *y = qep_alloc("test", T * O, sizeof *y), *want = qep_alloc("test", T * O, sizeof *want);
        for (int64_t j = 0; j < T * O; j++)
            y[j] = NAN;
        qep_linear_bf16(y, O, x, C, w, T, C, O);
        qep_linear_f32(want, O, xf, C, wf, T, C, O, false);
        assert_close(y, want, T * O, 4e-6 * sqrt((double)C));
        qep_free(x), qep_free(w), qep_free(xf), qep_free(wf), qep_free(y), qep_free(want);
    }
}

static void tile_agrees_with_f32(void **state)
{
    (void)state;
    for (int i = 0; i < N_SIZES; i++) {
        int64_t m = sizes[i][0], n = sizes[i][1], k = sizes[i][2], lda = m + 1, ldb = n + 2;
        float *af, *bf;
        uint16_t *a = random_pair(3, k * lda, &af), *b = random_pair(4, k * ldb, &bf);
        float *c = qep_alloc("test", m * n, sizeof *c), *want = qep_alloc("test", m * n, sizeof *want);
        for (int64_t j = 0; j < m * n; j++)
            c[j] = NAN;
        qep_tile_tn_bf16(c, n, a, lda, b, ldb, m, n, k);
        qep_tile_tn_f32(want, n, af, lda, bf, ldb, m, n, k);
        assert_close(c, want, m * n, 4e-6 * sqrt((double)k));
        qep_free(a), qep_free(b), qep_free(af), qep_free(bf), qep_free(c), qep_free(want);
    }
}

static void bits_do_not_depend_on_threads(void **state)
{
    (void)state;
    enum { T = 520, C = 300, O = 530 };
    float *xf, *wf, *one = qep_alloc("test", T * O, sizeof *one), *many = qep_alloc("test", T * O, sizeof *many);
    uint16_t *x = random_pair(5, T * C, &xf), *w = random_pair(6, O * C, &wf);
    qep_linalg_start(1);
    qep_linear_bf16(one, O, x, C, w, T, C, O);
    for (int threads = 2; threads <= 3; threads++) {
        qep_linalg_start(threads);
        qep_linear_bf16(many, O, x, C, w, T, C, O);
        assert_memory_equal(one, many, T * O * sizeof *one);
    }
    qep_free(x), qep_free(w), qep_free(xf), qep_free(wf), qep_free(one), qep_free(many);
}

static void the_variable_was_heard(void **state)
{
    (void)state;
    assert_null(strstr(qep_linalg_describe(), "AVX-512"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_variable_was_heard),
        cmocka_unit_test(linear_agrees_with_f32),
        cmocka_unit_test(tile_agrees_with_f32),
        cmocka_unit_test(bits_do_not_depend_on_threads),
    };
    if (setenv("DNNL_MAX_CPU_ISA", "AVX2", 1) != 0) return 1;
    qep_linalg_start(2);
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
