/* GPTQ strips: against the f64 reference and a naive U-form, exact identities, independence of
 * rows, steps. SPDX-License-Identifier: Apache-2.0 */
#include "../../../src/quant/gptq_priv.h"

#include "quant_fixture.h"

/* GPTQ in the published U-form: U^T U = H^-1, here U = R^-1; the weight matrix is updated in
 * place. w, codes: processing order. Groups of g columns (dynamic) or one per row (g = cols). As published (paper): in blocks, and a group's grid comes from a
 * matrix that lacks the updates of the block in which it starts. Else the grid sees all columns before it. */
static void naive_u_form(const qep_qspec *s, const double *target, int64_t rows, int64_t cols,
                         const double *R, uint8_t *codes, float *scales, uint8_t *zeros)
{
    int64_t width = s->group_size > 0 ? s->group_size : cols, groups = qep_n_groups(s, cols);
    double *u = test_alloc(cols * cols, sizeof *u);
    double *w = test_alloc(cols, sizeof *w), *e = test_alloc(cols, sizeof *e);
    float *group = test_alloc(cols, sizeof *group);
    for (int64_t i = 0; i < cols; i++) u[i * cols + i] = 1.0;
    qep_trsm_right_f64(false, false, cols, cols, R, cols, u, cols);
    for (int64_t r = 0; r < rows; r++) {
        memcpy(w, target + r * cols, (size_t)cols * sizeof *w);
        const int64_t block_size = s->paper ? s->block_size : cols;
        for (int64_t b = 0; b < cols; b += block_size) {
            int64_t end = qep_min_i64(b + block_size, cols);
            /* the block's copy gets the in-block updates */
            double *block = test_alloc(end - b, sizeof *block);
            memcpy(block, w + b, (size_t)(end - b) * sizeof *w);
            for (int64_t j = b; j < end; j++) {
                int64_t g = j / width;
                if (j % width == 0) {
                    int64_t n = qep_min_i64(width, cols - j);
                    int zero = 0;
                    for (int64_t k = 0; k < n; k++) group[k] = (float)(s->paper ? w[j + k] : block[j - b + k]);
                    qep_grid_find(s, group, NULL, n, &scales[r * groups + g], &zero);
                    zeros[r * groups + g] = (uint8_t)zero;
                }
                double scale = (double)scales[r * groups + g], z = zeros[r * groups + g];
                double c = fmin(fmax(rint(block[j - b] / scale) + z, 0.0), (1 << s->bits) - 1);
                codes[r * cols + j] = (uint8_t)c;
                e[j] = (block[j - b] - scale * (c - z)) / u[j * cols + j];
                for (int64_t k = j; k < end; k++) block[k - b] -= e[j] * u[j * cols + k];
            }
            for (int64_t k = end; k < cols; k++)
                for (int64_t j = b; j < end; j++) w[k] -= e[j] * u[j * cols + k];
            qep_free(block);
        }
    }
    qep_free(group);
    qep_free(e);
    qep_free(w);
    qep_free(u);
}

typedef struct layer {
    int64_t cols;
    float *w;      /* [QEP_STRIP, cols] */
    double *w64;
    double *h, *R; /* h damped, original order; R in processing order */
    int32_t *perm;
} layer;

static layer new_layer(qep_rng *rng, int64_t cols, bool act_order)
{
    layer l = {.cols = cols, .w = random_strip(rng, cols),
               .w64 = test_alloc(QEP_STRIP * cols, sizeof(double))};
    for (int64_t i = 0; i < QEP_STRIP * cols; i++) l.w64[i] = (double)l.w[i];
    l.h = random_hessian(rng, cols, 2 * cols + 8);
    l.perm = act_order ? falling_order(l.h, cols) : NULL;
    double *p = permuted(l.h, cols, l.perm);
    l.R = factor_r(p, cols);
    qep_free(p);
    return l;
}

static void free_layer(layer *l)
{
    void *owned[] = {l->w, l->w64, l->h, l->R, l->perm};
    for (size_t i = 0; i < 5; i++) qep_free(owned[i]);
}

static void check_scales(const qep_qspec *s, const result *x)
{
    for (int64_t i = 0; i < x->rows * x->groups; i++) {
        assert_true(x->scales[i] > 0.0f &&
                    x->scales[i] == qep_f16_to_f32(qep_f32_to_f16(x->scales[i])));
        assert_in_range(x->zeros[i], s->symmetric ? 1 : s->zero_min, (1 << s->bits) - 1);
    }
    for (int64_t i = 0; i < x->rows * x->cols; i++)
        assert_in_range(x->codes[i], 0, (1 << s->bits) - 1);
}

static const int64_t columns[] = {1, 31, 32, 33, 127, 128, 129, 256, 320};
static const struct {
    int64_t group, block;
} shapes[] = {{-1, 128}, {128, 128}, {32, 128}, {64, 32}, {48, 32}, {32, 48}, {-1, 37}, {64, 128},
              {128, 1}, {1, 16}, {40, 500}};

/* Every size, group, block; act-order, static groups, clip and grids change from case to case.
 * The f32 loop may decide a tie differently from f64, and such a row then goes its own way: few
 * rows may. */
static void compare_with_reference(const int64_t *sizes, size_t n_sizes, uint64_t seed)
{
    qep_rng rng;
    qep_rng_seed(&rng, seed);
    int64_t flips = 0, total = 0, rows_differ = 0, rows = 0, trial = 0;
    for (size_t c = 0; c < n_sizes; c++)
        for (size_t k = 0; k < sizeof shapes / sizeof shapes[0]; k++, trial++) {
            int64_t cols = sizes[c];
            qep_qspec s = {.method = &qep_method_gptq, .bits = (int[]){4, 3, 2, 8}[trial % 4],
                           .group_size = shapes[k].group,
                           .symmetric = trial % 3 == 0, .act_order = trial % 2,
                           .static_groups = trial % 5 == 0,
                           .clip = trial % 7 == 3 ? QEP_CLIP_HESSIAN : QEP_CLIP_NONE,
                           .block_size = shapes[k].block, .zero_min = trial % 4 == 1, .paper = (k + c / 2) % 2};
            layer l = new_layer(&rng, cols, s.act_order);
            result fast = new_result(&s, QEP_STRIP, cols), ref = new_result(&s, QEP_STRIP, cols);
            run_strip(&s, l.w, cols, l.perm, l.R, NULL, &fast);
            qep_gptq_ref(&s, l.w64, QEP_STRIP, cols, l.perm, l.R, ref.codes, ref.scales, ref.zeros,
                         ref.g_idx);
            check_scales(&s, &fast);
            assert_memory_equal(fast.g_idx, ref.g_idx, (size_t)cols * sizeof(int32_t));
            for (int64_t r = 0; r < QEP_STRIP; r++) {
                int64_t f = count_flips(fast.codes + r * cols, ref.codes + r * cols, cols);
                flips += f;
                rows_differ += f > 0;
            }
            rows += QEP_STRIP;
            total += QEP_STRIP * cols;
            free_result(&fast);
            free_result(&ref);
            free_layer(&l);
        }
    print_message("flips %lld of %lld, rows %lld of %lld\n", (long long)flips, (long long)total,
                  (long long)rows_differ, (long long)rows);
    assert_le_f((double)flips / (double)total, 2e-3);
    assert_le_f((double)rows_differ / (double)rows, 2e-2);
}

static void fast_equals_reference(void **state)
{
    (void)state;
    compare_with_reference(columns, sizeof columns / sizeof columns[0], 23);
}

/* A step is 512 columns, fewer or more with some blocks and groups. */
static void several_steps_equal_reference(void **state)
{
    (void)state;
    static const int64_t sizes[] = {511, 513, 1100};
    compare_with_reference(sizes, sizeof sizes / sizeof sizes[0], 29);
}

/* f64 R-form and the published U-form are the same algorithm: in f64 the codes agree (a tie here
 * and there aside), with grids of stale groups (paper) as with those of fresh ones. */
static void reference_equals_u_form_if(bool paper)
{
    qep_rng rng;
    qep_rng_seed(&rng, 29);
    int64_t flips = 0, total = 0;
    for (size_t c = 0; c < sizeof columns / sizeof columns[0]; c++)
        for (size_t k = 0; k < sizeof shapes / sizeof shapes[0]; k++) {
            int64_t cols = columns[c];
            if (cols > 130 && k % 2) continue;
            qep_qspec s = {.method = &qep_method_gptq, .bits = 3, .group_size = shapes[k].group, .block_size = shapes[k].block,
                           .paper = paper};
            layer l = new_layer(&rng, cols, false);
            result u = new_result(&s, QEP_STRIP, cols), ref = new_result(&s, QEP_STRIP, cols);
            naive_u_form(&s, l.w64, QEP_STRIP, cols, l.R, u.codes, u.scales, u.zeros);
            qep_gptq_ref(&s, l.w64, QEP_STRIP, cols, NULL, l.R, ref.codes, ref.scales, ref.zeros,
                         ref.g_idx);
            flips += count_flips(u.codes, ref.codes, QEP_STRIP * cols);
            total += QEP_STRIP * cols;
            free_result(&u);
            free_result(&ref);
            free_layer(&l);
        }
    assert_le_f((double)flips / (double)total, 1e-5);
}

static void reference_equals_u_form(void **state)
{
    (void)state;
    reference_equals_u_form_if(false);
    reference_equals_u_form_if(true);
}

/* Groups that start inside a block: fresh ones give the same bits whatever the blocks, stale ones (paper) other codes. */
static void stale_groups(void **state)
{
    (void)state;
    static const int64_t groups[] = {32, 48, 200, 700}, blocks[] = {128, 1, 50, 1000};
    qep_rng rng;
    qep_rng_seed(&rng, 47);
    layer l = new_layer(&rng, 1400, true);
    for (int g = 0; g < 4; g++) {
        qep_qspec s = {.method = &qep_method_gptq, .bits = 3, .group_size = groups[g]};
        result first = new_result(&s, QEP_STRIP, l.cols), x = new_result(&s, QEP_STRIP, l.cols);
        for (int b = 0; b < 4; b++) {
            s.block_size = blocks[b];
            run_strip(&s, l.w, l.cols, l.perm, l.R, NULL, b == 0 ? &first : &x);
            if (b == 0) continue;
            assert_memory_equal(first.codes, x.codes, (size_t)(QEP_STRIP * l.cols));
            assert_memory_equal(first.scales, x.scales, (size_t)(QEP_STRIP * x.groups) * sizeof(float));
        }
        s.paper = true;
        s.block_size = 500;
        run_strip(&s, l.w, l.cols, l.perm, l.R, NULL, &x);
        assert_true(count_flips(first.codes, x.codes, QEP_STRIP * l.cols) > QEP_STRIP * l.cols / 1000);
        free_result(&first);
        free_result(&x);
    }
    free_layer(&l);
}

/* H = c I: nothing to propagate; the codes are those of RTN bit for bit, and the loss is c |w -
 * q|^2. */
static void identity_equals_rtn(void **state)
{
    (void)state;
    qep_rng rng;
    qep_rng_seed(&rng, 31);
    for (size_t c = 0; c < sizeof columns / sizeof columns[0]; c++)
        for (int v = 0; v < 6; v++) {
            int64_t cols = columns[c];
            qep_qspec s = {.method = &qep_method_gptq, .bits = v % 2 ? 4 : 3, .group_size = v < 4 ? 32 : -1,
                           .block_size = v % 2 ? 32 : 128,
                           .symmetric = v == 2, .static_groups = v == 3,
                           .clip = v == 1 ? QEP_CLIP_MSE : QEP_CLIP_NONE};
            float *w = random_strip(&rng, cols);
            double *R = test_alloc(cols * cols, sizeof *R);
            for (int64_t i = 0; i < cols; i++) R[i * cols + i] = 1.5;
            result a = new_result(&s, QEP_STRIP, cols), b = new_result(&s, QEP_STRIP, cols);
            run_strip(&s, w, cols, NULL, R, NULL, &a);
            qep_rtn_strip(&s, w, NULL, cols, &(qep_qstrip){b.codes, b.scales, b.zeros});
            assert_memory_equal(a.codes, b.codes, (size_t)(QEP_STRIP * cols));
            assert_memory_equal(a.scales, b.scales, (size_t)(QEP_STRIP * a.groups) * sizeof(float));
            assert_memory_equal(a.zeros, b.zeros, (size_t)(QEP_STRIP * a.groups));
            for (int64_t r = 0; r < QEP_STRIP; r++) {
                double sum = 0.0;
                for (int64_t k = 0; k < cols; k++)
                    sum += pow(w[r * cols + k] - value_at(&a, r, k), 2.0) * 2.25;
                assert_le_f(fabs(sum - a.loss[r]), 1e-5 * sum + 1e-12);
            }
            free_result(&a);
            free_result(&b);
            qep_free(R);
            qep_free(w);
        }
}

/* loss = the row's (q - w*) H (q - w*)^T with the damped H, original order, act-order or not. */
static void loss_is_the_quadratic_form(void **state)
{
    (void)state;
    qep_rng rng;
    qep_rng_seed(&rng, 37);
    for (int v = 0; v < 8; v++) {
        int64_t cols = v % 2 ? 129 : 200;
        qep_qspec s = {.method = &qep_method_gptq, .bits = 3, .group_size = v & 4 ? 32 : -1, .block_size = 64,
                       .static_groups = v == 5};
        layer l = new_layer(&rng, cols, v & 2);
        result x = new_result(&s, QEP_STRIP, cols);
        run_strip(&s, l.w, cols, l.perm, l.R, NULL, &x);
        for (int64_t r = 0; r < QEP_STRIP; r++) {
            double sum = 0.0;
            for (int64_t i = 0; i < cols; i++)
                for (int64_t j = 0; j < cols; j++)
                    sum += (value_at(&x, r, i) - l.w64[r * cols + i]) * l.h[i * cols + j] *
                           (value_at(&x, r, j) - l.w64[r * cols + j]);
            assert_le_f(fabs(sum - x.loss[r]), 1e-4 * sum + 1e-9);
        }
        free_result(&x);
        free_layer(&l);
    }
}

/* A row's codes, scales, zeros and loss do not depend on the other rows of its strip, nor on its
 * neighbours' values. */
static void rows_are_independent(void **state)
{
    (void)state;
    qep_rng rng;
    qep_rng_seed(&rng, 41);
    for (int v = 0; v < 6; v++) {
        int64_t cols = v % 2 ? 320 : 129;
        qep_qspec s = {.method = &qep_method_gptq, .bits = 4, .group_size = v < 3 ? 32 : -1, .block_size = v == 2 ? 48 : 128,
                       .clip = v == 4 ? QEP_CLIP_MSE : QEP_CLIP_NONE};
        layer l = new_layer(&rng, cols, v & 1);
        result a = new_result(&s, QEP_STRIP, cols), b = new_result(&s, QEP_STRIP, cols);
        run_strip(&s, l.w, cols, l.perm, l.R, NULL, &a);
        for (int64_t r = 0; r < QEP_STRIP; r++)
            for (int64_t k = 0; k < cols; k++)
                if (r % 3)
                    l.w[r * cols + k] = r % 3 == 1 ? 0.0f : (float)(1e3 * qep_rng_normal(&rng));
        run_strip(&s, l.w, cols, l.perm, l.R, NULL, &b);
        for (int64_t r = 0; r < QEP_STRIP; r += 3) {
            assert_memory_equal(a.codes + r * cols, b.codes + r * cols, (size_t)cols);
            assert_memory_equal(a.scales + r * a.groups, b.scales + r * a.groups,
                                (size_t)a.groups * sizeof(float));
            assert_memory_equal(a.zeros + r * a.groups, b.zeros + r * a.groups, (size_t)a.groups);
            assert_memory_equal(&a.loss[r], &b.loss[r], sizeof(double));
        }
        free_result(&a);
        free_result(&b);
        free_layer(&l);
    }
}

/* The steps cover the columns in order, whole blocks each; rows reach to the end of the last dynamic group that starts in the step. */
static void step_rows(void **state)
{
    (void)state;
    static const struct {
        int64_t group, block, cols, step, row0, own, n;
        bool fixed, paper;
    } cases[] = {
        {-1, 128, 300, 0, 0, 300, 300, 0, 0},    {-1, 128, 1300, 0, 0, 512, 512, 0, 0},      {-1, 128, 1300, 2, 1024, 276, 276, 0, 0},
        {-1, 200, 1300, 1, 400, 400, 400, 0, 0}, {-1, 600, 1300, 1, 600, 600, 600, 0, 0},    {128, 32, 2048, 1, 512, 512, 512, 0, 0},
        {128, 32, 2048, 1, 512, 512, 512, 0, 1}, {1024, 32, 2048, 0, 0, 512, 1024, 0, 1},    {1024, 32, 2048, 1, 512, 512, 512, 0, 1},
        {1024, 32, 2048, 2, 1024, 512, 1024, 0, 1}, {1024, 32, 2048, 1, 1024, 1024, 1024, 0, 0}, {48, 32, 1000, 1, 32, 32, 64, 0, 1},
        {48, 32, 1000, 2, 64, 32, 32, 0, 1},     {48, 32, 1000, 3, 96, 32, 48, 0, 1},        {48, 32, 1000, 2, 960, 40, 40, 0, 0},
        {48, 32, 1000, 1, 512, 488, 488, 1, 0},  {128, 128, 200, 0, 0, 200, 200, 0, 1},      {1, 500, 10, 0, 0, 10, 10, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        qep_qspec s = {.method = &qep_method_gptq, .bits = 4, .group_size = cases[i].group, .block_size = cases[i].block,
                       .static_groups = cases[i].fixed, .paper = cases[i].paper};
        int64_t row0 = -1, n = -1;
        qep_gptq_step_rows(&s, cases[i].cols, cases[i].step, &row0, &n);
        assert_int_equal(row0, cases[i].row0);
        assert_int_equal(n, cases[i].n);
        assert_int_equal(qep_gptq_step_cols(&s, cases[i].cols, cases[i].step), cases[i].own);
    }
    qep_qspec s = {.method = &qep_method_gptq, .bits = 4, .group_size = -1, .block_size = 128};
    assert_int_equal(qep_gptq_n_steps(&s, 1), 1);
    assert_int_equal(qep_gptq_n_steps(&s, 512), 1);
    assert_int_equal(qep_gptq_n_steps(&s, 513), 2);
}

/* GPTQ is there to lower the loss: on average over rows it must beat RTN on the same grid
 * clearly. */
static void beats_rtn(void **state)
{
    (void)state;
    qep_rng rng;
    qep_rng_seed(&rng, 43);
    double gptq = 0.0, rtn = 0.0;
    for (int v = 0; v < 3; v++) {
        int64_t cols = 128;
        qep_qspec s = {.method = &qep_method_gptq, .bits = 3, .group_size = -1, .block_size = 128};
        layer l = new_layer(&rng, cols, false);
        result x = new_result(&s, QEP_STRIP, cols), q = new_result(&s, QEP_STRIP, cols);
        run_strip(&s, l.w, cols, NULL, l.R, NULL, &x);
        qep_rtn_strip(&s, l.w, NULL, cols, &(qep_qstrip){q.codes, q.scales, q.zeros});
        for (int64_t r = 0; r < QEP_STRIP; r++) {
            gptq += x.loss[r];
            for (int64_t j = 0; j < cols; j++) { /* |(q - w) R|^2 */
                double sum = 0.0;
                for (int64_t i = 0; i <= j; i++)
                    sum += (value_at(&q, r, i) - l.w64[r * cols + i]) * l.R[i * cols + j];
                rtn += sum * sum;
            }
        }
        free_result(&x);
        free_result(&q);
        free_layer(&l);
    }
    assert_le_f(gptq, 0.8 * rtn);
}

/* Every strip has its turn once, in order, and the last 2 * threads go one by one. */
static void turns_of_strips(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 5; threads++)
        for (int64_t strips = 0; strips <= 40; strips++) {
            int64_t next = 0, pairs = 0;
            for (int64_t i = 0; i < qep_gptq_turns(strips, threads); i++) {
                int64_t first, n;
                qep_gptq_turn(strips, threads, i, &first, &n);
                assert_int_equal(first, next);
                assert_true(n == 1 || (n == 2 && first + n <= strips - 2 * threads + 1));
                next += n;
                pairs += n == 2;
            }
            assert_int_equal(next, strips);
            assert_true(pairs > 0 || strips < 2 * threads + 2);
        }
}

static void nothing_leaks(void **state)
{
    (void)state;
    assert_int_equal(qep_mem_blocks(), 0);
}

int main(void)
{
    qep_linalg_start(1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fast_equals_reference), cmocka_unit_test(reference_equals_u_form),
        cmocka_unit_test(identity_equals_rtn),   cmocka_unit_test(loss_is_the_quadratic_form),
        cmocka_unit_test(rows_are_independent), cmocka_unit_test(several_steps_equal_reference),  cmocka_unit_test(step_rows),
        cmocka_unit_test(stale_groups),
        cmocka_unit_test(beats_rtn),             cmocka_unit_test(turns_of_strips), cmocka_unit_test(nothing_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
