/* AWQ's candidates and errors against plain loops, its invariants, and the published code's results on the golden layer.
 * SPDX-License-Identifier: Apache-2.0 */
#include "golden.h"

/* --- plain twins ------------------------------------------------------------------------------ */

/* Value of one weight of a row's group, everything in f64 but the grid. */
static void error_ref(const qep_qspec *s, const float *w, const float *scale, double limit, int64_t n, double *e)
{
    float *v = test_alloc(n, sizeof *v), step;
    int zero;
    for (int64_t k = 0; k < n; k++) {
        v[k] = w[k] * scale[k];
        if ((double)v[k] > limit) v[k] = (float)limit;
        if ((double)v[k] < -limit) v[k] = (float)-limit;
    }
    qep_grid_find(s, v, NULL, n, &step, &zero);
    for (int64_t k = 0; k < n; k++)
        e[k] = (double)qep_grid_value(qep_grid_code(s->bits, v[k], step, zero), step, zero) / (double)scale[k] - (double)w[k];
    qep_free(v);
}

static float *some_scales(int64_t d, int ratio)
{
    double *mean = test_alloc(d, sizeof *mean);
    float *scale = test_alloc(d, sizeof *scale);
    for (int64_t c = 0; c < d; c++) mean[c] = c == 2 ? 0.0 : exp2(5.0 * sin((double)c)); /* channel 2 is dead */
    qep_awq_scales(mean, d, ratio, scale);
    qep_free(mean);
    return scale;
}

static void check_error(int64_t d, int64_t group, int bits, bool symmetric)
{
    qep_qspec s = {.bits = bits, .group_size = group, .symmetric = symmetric};
    qep_rng rng;
    qep_rng_seed(&rng, (uint64_t)(d + bits));
    const int64_t width = group > 0 ? group : d;
    float *w = random_strip(&rng, d), *scale = some_scales(d, 7), *e = test_alloc(QEP_STRIP * d, sizeof *e);
    double *want = test_alloc(d, sizeof *want);
    for (int i = 0; i < QEP_AWQ_CLIPS; i += 3) {
        qep_awq_error(&s, w, d, scale, qep_awq_shrink(i), 0, d, e);
        for (int64_t r = 0; r < QEP_STRIP; r++)
            for (int64_t k0 = 0; k0 < d; k0 += width) {
                float top = 0.0f;
                for (int64_t k = k0; k < k0 + width; k++) top = fmaxf(top, fabsf(w[r * d + k] * scale[k]));
                error_ref(&s, w + r * d + k0, scale + k0, (double)(qep_awq_shrink(i) * top), width, want);
                for (int64_t k = 0; k < width; k++)
                    assert_le_f(fabs((double)e[r * d + k0 + k] - want[k]), 1e-6 * fabs((double)w[r * d + k0 + k]) + 1e-9 + 1e-6 * fabs(want[k]));
            }
    }
    void *owned[] = {w, scale, e, want};
    for (size_t i = 0; i < 4; i++) qep_free(owned[i]);
}

static void error_is_the_plain_one(void **state)
{
    (void)state;
    check_error(32, -1, 3, false);
    check_error(96, 32, 2, false);
    check_error(64, 16, 4, true);
    check_error(7, -1, 8, false);
}

/* Blocks of rows of H, of any height, add up to e H e^T. */
static void quadratic_is_the_plain_one(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 5, 64, 513, 700};
    for (int k = 0; k < 5; k++) {
        const int64_t d = sizes[k];
        qep_rng rng;
        qep_rng_seed(&rng, 5);
        float *e = random_strip(&rng, d), *h = test_alloc(d * d, sizeof *h);
        double *sum = test_alloc(3 * QEP_STRIP, sizeof *sum), *hd = random_hessian(&rng, d, 20);
        for (int64_t i = 0; i < d * d; i++) h[i] = (float)hd[i];
        for (int64_t r0 = 0; r0 < d; r0 += 128)
            qep_quadratic_add(e, d, h + r0 * d, d, r0, qep_min_i64(128, d - r0), sum, 3);
        for (int64_t r = 0; r < QEP_STRIP; r++) {
            double want = 0.0;
            for (int64_t i = 0; i < d * d; i++) want += (double)e[r * d + i / d] * hd[i] * (double)e[r * d + i % d];
            assert_le_f(fabs(sum[3 * r] - want), 2e-5 * want);
            assert_true(sum[3 * r + 1] == 0.0 && sum[3 * r + 2] == 0.0);
        }
        void *owned[] = {e, h, sum, hd};
        for (size_t i = 0; i < 4; i++) qep_free(owned[i]);
    }
}

/* Ratio 0 and the whole range: rounding to nearest. The smallest error wins, the widest range in a tie. */
static void invariants(void **state)
{
    (void)state;
    enum { D = 64, G = 4 };
    qep_qspec s = {.bits = 3, .group_size = D / G};
    qep_rng rng;
    qep_rng_seed(&rng, 11);
    float *w = random_strip(&rng, D), *one = some_scales(D, 0), *scale = some_scales(D, 13), limit[QEP_STRIP * G];
    result a = new_result(&s, QEP_STRIP, D), b = new_result(&s, QEP_STRIP, D);
    for (int64_t c = 0; c < D; c++) assert_true(one[c] == 1.0f);
    double lo = INFINITY, hi = 0.0;
    for (int64_t c = 0; c < D; c++) lo = fmin(lo, (double)scale[c]), hi = fmax(hi, (double)scale[c]);
    assert_le_f(fabs(lo * hi - 1.0), 1e-6);
    qep_awq_strip(&s, w, D, one, NULL, &(qep_qstrip){a.codes, a.scales, a.zeros});
    qep_rtn_strip(&s, w, NULL, D, &(qep_qstrip){b.codes, b.scales, b.zeros});
    assert_memory_equal(a.codes, b.codes, QEP_STRIP * D);
    assert_memory_equal(a.scales, b.scales, QEP_STRIP * G * sizeof(float));

    double errors[QEP_AWQ_CLIPS][QEP_STRIP][G];
    for (int i = 0; i < QEP_AWQ_CLIPS; i++)
        for (int r = 0; r < QEP_STRIP; r++)
            for (int g = 0; g < G; g++) errors[i][r][g] = r == 5 ? 1.0 : (i - (r + g) % QEP_AWQ_CLIPS) * (i - (r + g) % QEP_AWQ_CLIPS);
    qep_awq_limits(&s, w, D, scale, &errors[0][0][0], limit);
    for (int r = 0; r < QEP_STRIP; r++)
        for (int g = 0; g < G; g++) {
            float top = 0.0f;
            for (int c = g * D / G; c < (g + 1) * D / G; c++) top = fmaxf(top, fabsf(w[r * D + c] * scale[c]));
            assert_true(limit[r * G + g] == top * qep_awq_shrink(r == 5 ? 0 : (r + g) % QEP_AWQ_CLIPS));
        }
    free_result(&a);
    free_result(&b);
    void *owned[] = {w, one, scale};
    for (size_t i = 0; i < 3; i++) qep_free(owned[i]);
}

/* --- the published code ------------------------------------------------------------------------- */

typedef struct layer {
    int64_t rows, cols;
    float *w, *q;  /* owned: target; a candidate */
} layer;

static layer load_layer(const qep_st_set *result_file, const qep_st_set *case_file, const char *star, const char *name)
{
    int64_t shape[2];
    layer l = {.w = golden(result_file, star, shape)};
    if (!l.w) l.w = golden(case_file, name, shape);
    l.rows = shape[0], l.cols = shape[1];
    l.q = test_alloc(l.rows * l.cols, sizeof *l.q);
    return l;
}

/* q = Qz(W diag s) diag(1/s); the rows are whole strips. */
static void candidate(const qep_qspec *s, layer *l, const float *scale)
{
    assert_int_equal(l->rows % QEP_STRIP, 0);
    for (int64_t r = 0; r < l->rows; r += QEP_STRIP)
        qep_awq_error(s, l->w + r * l->cols, l->cols, scale, 1.0f, 0, l->cols, l->q + r * l->cols);
    for (int64_t i = 0; i < l->rows * l->cols; i++) l->q[i] += l->w[i];
}

/* y[T, rows] = x w^T */
static double *product(const double *x, int64_t T, const layer *l, const float *w)
{
    double *y = test_alloc(T * l->rows, sizeof *y), *wd = test_alloc(l->rows * l->cols, sizeof *wd);
    for (int64_t i = 0; i < l->rows * l->cols; i++) wd[i] = (double)w[i];
    qep_gemm_f64(true, T, l->rows, l->cols, 1.0, x, l->cols, wd, l->cols, 0.0, y, l->rows);
    qep_free(wd);
    return y;
}

/* The MLP's output with gate and up as given. */
static double *mlp(const double *x, int64_t T, const layer *l, const float *gate, const float *up)
{
    double *g = product(x, T, &l[0], gate), *u = product(x, T, &l[1], up);
    for (int64_t i = 0; i < T * l[0].rows; i++) g[i] *= u[i] / (1.0 + exp(-g[i]));
    double *y = product(g, T, &l[2], l[2].w);
    qep_free(g);
    qep_free(u);
    return y;
}

static double mean_square(const double *a, const double *b, int64_t n)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) sum += (a[i] - b[i]) * (a[i] - b[i]);
    return sum / (double)n;
}

/* Losses of all ratios by `output` against the file's; scales; the best one. */
static void check_ratios(const qep_qspec *s, layer *l, bool down, const double *x, int64_t T, const qep_st_set *f)
{
    const int64_t d = down ? l[2].cols : l[0].cols;
    float *scales = golden(f, down ? "down_scales" : "gu_scales", NULL), *mine = test_alloc(d, sizeof *mine);
    double *loss = golden(f, down ? "down_loss" : "gu_loss", NULL), *ratio = golden(f, down ? "down_ratio" : "gu_ratio", NULL);
    double *mean = test_alloc(d, sizeof *mean), best = INFINITY;
    double *ref = down ? product(x, T, &l[2], l[2].w) : mlp(x, T, l, l[0].w, l[1].w);
    int chosen = -1;
    for (int64_t i = 0; i < T * d; i++) mean[i % d] += fabs(x[i]) / (double)T;
    for (int k = 0; k < QEP_AWQ_RATIOS; k++) {
        qep_awq_scales(mean, d, k, mine);
        for (int64_t c = 0; c < d; c++) assert_le_f(fabsf(mine[c] - scales[k * d + c]), 1e-6f * scales[k * d + c]);
        for (int m = down ? 2 : 0; m < (down ? 3 : 2); m++) candidate(s, &l[m], scales + k * d);
        double *y = down ? product(x, T, &l[2], l[2].q) : mlp(x, T, l, l[0].q, l[1].q);
        double error = mean_square(ref, y, T * l[2].rows);
        assert_le_f(fabs(error - loss[k]), 1e-5 * loss[k]);
        if (error < best) best = error, chosen = k;
        qep_free(y);
    }
    assert_int_equal(chosen, (int)lround(ratio[0] * QEP_AWQ_RATIOS));
    void *owned[] = {scales, loss, ratio, mine, mean, ref};
    for (size_t i = 0; i < 6; i++) qep_free(owned[i]);
}

/* With the file's clip values: its Q. Our own clip values: an objective that is no worse. */
static void check_clip(const qep_qspec *s, layer *l, const char *name, const char *best, const double *x, int64_t T, const qep_st_set *f)
{
    char key[64];
    const int64_t d = l->cols, groups = qep_n_groups(s, d), width = s->group_size > 0 ? s->group_size : d;
    snprintf(key, sizeof key, "%s_Q", name);
    float *want = golden(f, key, NULL), *scale = golden(f, best, NULL);
    snprintf(key, sizeof key, "%s_clip", name);
    float *clip = golden(f, key, NULL);
    assert_true(want && scale && clip);
    double *h = test_alloc(d * d, sizeof *h), ours = 0.0, theirs = 0.0;
    float *hf = test_alloc(d * d, sizeof *hf);
    for (int64_t t = 0; t < T; t++)
        for (int64_t i = 0; i < d * d; i++) h[i] += x[t * d + i / d] * x[t * d + i % d];
    for (int64_t i = 0; i < d * d; i++) hf[i] = (float)h[i];
    double *errors = test_alloc(QEP_AWQ_CLIPS * QEP_STRIP * groups, sizeof *errors);
    float *e = test_alloc(QEP_STRIP * width, sizeof *e), *limit = test_alloc(QEP_STRIP * groups, sizeof *limit);
    result x_mine = new_result(s, QEP_STRIP, d);
    int64_t differ = 0, other_clip = 0;
    for (int64_t r0 = 0; r0 < l->rows; r0 += QEP_STRIP) {
        const float *w = l->w + r0 * d;
        memset(errors, 0, (size_t)(QEP_AWQ_CLIPS * QEP_STRIP * groups) * sizeof *errors);
        for (int i = 0; i < QEP_AWQ_CLIPS; i++)
            for (int64_t g = 0; g < groups; g++) {
                qep_awq_error(s, w, d, scale, qep_awq_shrink(i), g * width, width, e);
                qep_quadratic_add(e, width, hf + g * width * d + g * width, d, 0, width, errors + i * QEP_STRIP * groups + g, groups);
            }
        qep_awq_limits(s, w, d, scale, errors, limit);
        for (int64_t k = 0; k < QEP_STRIP * groups; k++) {
            const float top = limit[k], published = clip[r0 * groups + k];
            double least = INFINITY, at_theirs = NAN;
            float widest = 0.0f;
            for (int64_t c = 0; c < width; c++) {
                const int64_t column = k % groups * width + c;
                widest = fmaxf(widest, fabsf(w[k / groups * d + column] * scale[column]));
            }
            for (int i = 0; i < QEP_AWQ_CLIPS; i++) {
                const double v = errors[i * QEP_STRIP * groups + k];
                least = fmin(least, v);
                if (fabsf(qep_awq_shrink(i) * widest - published) <= 1e-5f * widest) at_theirs = v;
            }
            assert_true(at_theirs >= least);
            ours += least;
            theirs += at_theirs;
            other_clip += !(fabsf(top - published) <= 1e-5f * published);
        }
        qep_awq_strip(s, w, d, scale, clip + r0 * groups, &(qep_qstrip){x_mine.codes, x_mine.scales, x_mine.zeros});
        for (int64_t i = 0; i < QEP_STRIP * d; i++) {
            const int64_t at = i / d * groups + i % d / width;
            const float q = qep_grid_value(x_mine.codes[i], x_mine.scales[at], x_mine.zeros[at]);
            differ += !(fabsf(q - want[r0 * d + i]) <= 1e-5f * (fabsf(q) + x_mine.scales[at]));
        }
    }
    print_message("%s: %lld of %lld values differ, %lld clips of %lld, error %.9g (published choice %.9g)\n", name, (long long)differ,
                  (long long)(l->rows * d), (long long)other_clip, (long long)(l->rows * groups), ours, theirs);
    assert_le_f((double)differ, 0.005 * (double)(l->rows * d));
    assert_le_f((double)other_clip, 0.08 * (double)(l->rows * groups));
    assert_le_f(ours, theirs);
    free_result(&x_mine);
    void *owned[] = {want, scale, clip, h, hf, errors, e, limit};
    for (size_t i = 0; i < 8; i++) qep_free(owned[i]);
}

static double *inputs(const qep_st_set *s, const char *name, int64_t *T)
{
    int64_t shape[2];
    float *x = golden(s, name, shape);
    double *y = test_alloc(shape[0] * shape[1], sizeof *y);
    for (int64_t i = 0; i < shape[0] * shape[1]; i++) y[i] = (double)x[i];
    *T = shape[0];
    qep_free(x);
    return y;
}

static void published(void **state)
{
    (void)state;
    if (!shared_dir) skip();
    static const struct {
        const char *file;
        int bits;
        int64_t group;
    } files[] = {{"awq__mlp__b2_g32_a0.5_l1.safetensors", 2, 32}, {"awq__mlp__b3_pc.safetensors", 3, -1}, {"awq__mlp__b4_g32.safetensors", 4, 32}};
    qep_st_set *c = open_golden("case__awq_mlp.safetensors");
    int64_t T, T_down;
    double *x = inputs(c, "x", &T), *x_down = inputs(c, "x_down", &T_down);
    for (int i = 0; i < 3; i++) {
        const qep_qspec s = {.bits = files[i].bits, .group_size = files[i].group, .free_range = true, .exact_scales = true};
        qep_st_set *f = open_golden(files[i].file);
        layer l[3] = {load_layer(f, c, "Wstar_gate", "W_gate"), load_layer(f, c, "Wstar_up", "W_up"), load_layer(f, c, "", "W_down")};
        check_ratios(&s, l, false, x, T, f);
        check_ratios(&s, l, true, x_down, T_down, f);
        check_clip(&s, &l[0], "gate_proj", "gu_best", x, T, f);
        check_clip(&s, &l[1], "up_proj", "gu_best", x, T, f);
        check_clip(&s, &l[2], "down_proj", "down_best", x_down, T_down, f);
        for (int m = 0; m < 3; m++) {
            qep_free(l[m].w);
            qep_free(l[m].q);
        }
        qep_st_close(&f);
    }
    qep_free(x);
    qep_free(x_down);
    qep_st_close(&c);
}

int main(void)
{
    find_goldens();
    qep_linalg_start(1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error_is_the_plain_one),
        cmocka_unit_test(quadratic_is_the_plain_one),
        cmocka_unit_test(invariants),
        cmocka_unit_test(published),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    qep_free(shared_dir);
    return failed != 0;
}
