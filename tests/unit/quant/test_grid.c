/* Grids, the clip search and RTN, against plain f64 formulas.
 * SPDX-License-Identifier: Apache-2.0 */
#include "quant_fixture.h"

static void rounds_half_to_even(void **state)
{
    (void)state;
    static const struct {
        float w;
        int code;
    } cases[] = {{0.0f, 4}, {0.5f, 4}, {1.5f, 6}, {2.5f, 6}, {-0.5f, 4}, {-1.5f, 2}, {-2.5f, 2},
                 {3.4f, 7}, {100.0f, 7}, {-4.0f, 0}, {-100.0f, 0}, {-1e30f, 0}, {1e30f, 7}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(qep_grid_code(3, cases[i].w, 1.0f, 4), cases[i].code);
    assert_int_equal(qep_grid_code(8, 254.5f, 1.0f, 0), 254);
    assert_int_equal(qep_grid_code(8, 300.0f, 1.0f, 0), 255);
    assert_true(qep_grid_value(3, 0.25f, 8) == -1.25f);
}

static void group_counts(void **state)
{
    (void)state;
    qep_qspec s = {.bits = 4, .group_size = 32};
    assert_int_equal(qep_n_groups(&s, 128), 4);
    assert_int_equal(qep_n_groups(&s, 129), 5);
    assert_int_equal(qep_n_groups(&s, 1), 1);
    s.group_size = -1;
    assert_int_equal(qep_n_groups(&s, 4096), 1);
}

/* No search: the formulas of G-asym and G-sym. */
static void plain_grids(void **state)
{
    (void)state;
    static const float both[] = {-0.3f, 0.1f, 0.6f}, up[] = {0.2f, 0.3f};
    static const float down[] = {-0.4f, -0.1f}, none[] = {0.0f, -0.0f};
    float scale;
    int zero;
    qep_qspec s = {.bits = 4, .exact_scales = true};
    qep_grid_find(&s, both, NULL, 3, &scale, &zero);
    assert_true(scale == (0.6f + 0.3f) / 15.0f && zero == 5);
    qep_grid_find(&s, up, NULL, 2, &scale, &zero);
    assert_true(scale == 0.3f / 15.0f && zero == 0);
    qep_grid_find(&s, down, NULL, 2, &scale, &zero);
    assert_true(scale == 0.4f / 15.0f && zero == 15);
    qep_grid_find(&s, none, NULL, 2, &scale, &zero);
    assert_true(scale == 2.0f / 15.0f && zero == (int)rintf(1.0f / scale));
    s.symmetric = true;
    qep_grid_find(&s, both, NULL, 3, &scale, &zero);
    assert_true(scale == 1.2f / 15.0f && zero == 8);
    qep_grid_find(&s, up, NULL, 2, &scale, &zero);
    assert_true(scale == 0.6f / 15.0f && zero == 8);
    qep_grid_find(&s, none, NULL, 2, &scale, &zero);
    assert_true(scale == 2.0f / 15.0f && zero == 8);
    s.paper = true; /* the published code halves the range of rows without negative weights, and cuts off the largest */
    qep_grid_find(&s, up, NULL, 2, &scale, &zero);
    assert_true(scale == 0.3f / 15.0f && zero == 8);
    assert_true(qep_grid_value(qep_grid_code(4, 0.3f, scale, zero), scale, zero) < 0.15f);
    qep_grid_find(&s, both, NULL, 3, &scale, &zero);
    assert_true(scale == 1.2f / 15.0f && zero == 8);
    s.paper = false;
    qep_grid_find(&s, up, NULL, 2, &scale, &zero);
    assert_true(qep_grid_value(qep_grid_code(4, 0.3f, scale, zero), scale, zero) > 0.27f);
    s.exact_scales = false;
    qep_grid_find(&s, both, NULL, 3, &scale, &zero);
    assert_true(scale == qep_f16_scale(1.2f / 15.0f) && scale != 1.2f / 15.0f);
}

static double rounded(const qep_qspec *s, float w, float scale, int zero)
{
    return (double)qep_grid_value(qep_grid_code(s->bits, w, scale, zero), scale, zero);
}

/* The smallest zero point of a format is kept, and the largest weight stays inside the grid. */
static void smallest_zero_point(void **state)
{
    (void)state;
    qep_rng rng;
    qep_rng_seed(&rng, 3);
    for (int trial = 0; trial < 3000; trial++) {
        qep_qspec s = {.bits = (int[]){2, 3, 4, 8}[trial % 4], .zero_min = 1,
                       .clip = (qep_clip)(trial % 3)};
        float w[24], weight[24], hi = 0.0f, scale;
        int zero, max_code = (1 << s.bits) - 1;
        double shift = qep_rng_uniform(&rng) * 3.0;
        for (int k = 0; k < 24; k++) {
            w[k] = (float)(qep_rng_normal(&rng) + shift);
            if (trial % 5 == 0) w[k] = fabsf(w[k]);
            weight[k] = (float)(0.1 + qep_rng_uniform(&rng));
            hi = w[k] > hi ? w[k] : hi;
        }
        qep_grid_find(&s, w, weight, 24, &scale, &zero);
        assert_true(zero >= 1 && zero <= max_code);
        assert_true(scale == qep_f16_scale(scale));
        if (s.clip == QEP_CLIP_NONE && hi > 0.0f)
            assert_le_f(fabs(hi - rounded(&s, hi, scale, zero)), 0.51 * scale + 1e-3 * hi);
    }
}

/* Objective of a candidate in f64. */
static double objective(const qep_qspec *s, const float *w, const float *weight, int64_t n,
                        float scale, int zero)
{
    double sum = 0.0;
    for (int64_t k = 0; k < n; k++) {
        double d = fabs(rounded(s, w[k], scale, zero) - w[k]);
        sum += weight ? weight[k] * d * d : pow(d, 2.4);
    }
    return sum;
}

/* The best objective of all candidates, by hand: 80 ranges, or (hessian) 16 ranges with three zero
 * points each. */
static double best_of_all(const qep_qspec *s, const float *w, const float *weight, int64_t n, float lo, float hi)
{
    int max_code = (1 << s->bits) - 1, ranges = weight ? 16 : 80;
    double best = INFINITY;
    for (int i = 0; i < ranges; i++)
        for (int by = -1; by <= 1; by++) {
            float p = (float)(weight ? 1.0 - 0.04 * i : 1.0 - i / 100.0), sc = (p * hi - p * lo) / (float)max_code;
            int z = s->symmetric ? 1 << (s->bits - 1) : (int)rintf(-(p * lo) / sc) + by;
            if (by != 0 && (!weight || s->symmetric || z < 0 || z > max_code)) continue;
            best = fmin(best, objective(s, w, weight, n, sc, z));
        }
    return best;
}

/* The search must find an objective as good as the best (neighbours may tie). */
static void clip_search_finds_the_best(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 2, 15, 16, 17, 31, 32, 33, 64, 127, 128, 129, 300, 1024};
    qep_rng rng;
    qep_rng_seed(&rng, 11);
    for (int trial = 0; trial < 400; trial++) {
        int64_t n = sizes[trial % 14];
        float w[1024], weight[1024], lo = 0.0f, hi = 0.0f, scale;
        int zero;
        double magnitude = pow(10.0, (double)(trial % 9) - 5.0);
        qep_qspec s = {.bits = (int[]){2, 3, 4, 8}[trial / 14 % 4], .symmetric = trial % 2,
                       .exact_scales = true, .clip = trial % 3 ? QEP_CLIP_MSE : QEP_CLIP_HESSIAN};
        for (int64_t k = 0; k < n; k++) {
            double outlier = qep_rng_uniform(&rng) < 0.02 ? 8.0 : 1.0;
            w[k] = (float)(magnitude * outlier * qep_rng_normal(&rng));
            weight[k] = (float)(0.1 + 10.0 * qep_rng_uniform(&rng));
            lo = fminf(lo, w[k]);
            hi = fmaxf(hi, w[k]);
        }
        const float *used = s.clip == QEP_CLIP_HESSIAN ? weight : NULL;
        if (s.symmetric) hi = fmaxf(-lo, hi), lo = -hi;
        double best = best_of_all(&s, w, used, n, lo, hi);
        qep_grid_find(&s, w, weight, n, &scale, &zero);
        double found = objective(&s, w, used, n, scale, zero);
        assert_le_f(found, best * (1.0 + 1e-5) + 1e-30);
    }
}

/* The search looks at scales after rounding to f16, and never does worse than no search on what
 * it minimises. */
static void clip_never_hurts(void **state)
{
    (void)state;
    qep_rng rng;
    qep_rng_seed(&rng, 5);
    for (int trial = 0; trial < 300; trial++) {
        qep_qspec plain = {.bits = 2 + trial % 3, .symmetric = trial & 1}, search = plain;
        search.clip = trial & 2 ? QEP_CLIP_MSE : QEP_CLIP_HESSIAN;
        float w[128], weight[128], scale[2];
        int zero[2];
        for (int k = 0; k < 128; k++) {
            w[k] = (float)(0.02 * qep_rng_normal(&rng));
            weight[k] = (float)qep_rng_uniform(&rng);
        }
        qep_grid_find(&plain, w, weight, 128, &scale[0], &zero[0]);
        qep_grid_find(&search, w, weight, 128, &scale[1], &zero[1]);
        const float *used = search.clip == QEP_CLIP_HESSIAN ? weight : NULL;
        assert_true(scale[1] == qep_f16_to_f32(qep_f32_to_f16(scale[1])));
        assert_le_f(objective(&search, w, used, 128, scale[1], zero[1]),
                    objective(&search, w, used, 128, scale[0], zero[0]) * (1.0 + 1e-6));
    }
}

/* RTN: codes in range, error within half a step, same again on its own output, rows independent. */
static void rtn_properties(void **state)
{
    (void)state;
    static const int64_t widths[] = {1, 31, 32, 33, 96, 127, 128, 129, 200};
    qep_rng rng;
    qep_rng_seed(&rng, 17);
    for (int trial = 0; trial < 72; trial++) {
        int64_t cols = widths[trial % 9];
        qep_qspec s = {.bits = (int[]){2, 3, 4, 8}[trial % 4], .group_size = trial % 3 ? 32 : -1,
                       .symmetric = trial % 2};
        int64_t width = s.group_size > 0 ? 32 : cols;
        float *w = random_strip(&rng, cols), *q = test_alloc(QEP_STRIP * cols, sizeof *q);
        result a = new_result(&s, QEP_STRIP, cols), b = new_result(&s, QEP_STRIP, cols);
        qep_rtn_strip(&s, w, NULL, cols, &(qep_qstrip){a.codes, a.scales, a.zeros});
        for (int64_t k = 0; k < cols; k++) a.g_idx[k] = (int32_t)(k / width);
        for (int64_t r = 0; r < QEP_STRIP; r++)
            for (int64_t k = 0; k < cols; k++) {
                int64_t g = r * a.groups + a.g_idx[k];
                double scale = (double)a.scales[g];
                q[r * cols + k] = (float)value_at(&a, r, k);
                assert_in_range(a.codes[r * cols + k], 0, (1 << s.bits) - 1);
                assert_true(qep_grid_code(s.bits, q[r * cols + k], a.scales[g],
                                          a.zeros[g]) == a.codes[r * cols + k]);
                /* sym: the largest weight sits half a step beyond the last code; f16 scales:
                 * 2^-11 of the range */
                assert_le_f(fabs((double)q[r * cols + k] - w[r * cols + k]),
                            scale * (0.501 + (1 << s.bits) * 0x1p-11));
            }
        for (int64_t k = 0; k < cols; k++) q[5 * cols + k] = w[5 * cols + k];
        qep_rtn_strip(&s, q, NULL, cols, &(qep_qstrip){b.codes, b.scales, b.zeros});
        assert_memory_equal(a.codes + 5 * cols, b.codes + 5 * cols, (size_t)cols);
        assert_memory_equal(a.scales + 5 * a.groups, b.scales + 5 * a.groups,
                            (size_t)a.groups * sizeof(float));
        free_result(&a);
        free_result(&b);
        qep_free(q);
        qep_free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounds_half_to_even),        cmocka_unit_test(group_counts),
        cmocka_unit_test(plain_grids),                cmocka_unit_test(smallest_zero_point),
        cmocka_unit_test(clip_search_finds_the_best), cmocka_unit_test(clip_never_hurts),
        cmocka_unit_test(rtn_properties),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
