/* GPTAQ, ResComp, FOEM: against the papers' recursions done column by column on the whole matrix in f64, and what must hold of them
 * whatever the data. SPDX-License-Identifier: Apache-2.0 */
#include "quant_fixture.h"

#include <math.h>

typedef struct layer {
    int64_t cols;
    float *w;      /* [QEP_STRIP, cols] */
    double *h, *c; /* damped H; C: in processing order (the order is the identity here) */
    double *R, *P; /* P = ((C L) o SU) L^T */
} layer;

static layer new_layer(uint64_t seed, int64_t cols)
{
    qep_rng rng;
    qep_rng_seed(&rng, seed);
    layer l = {.cols = cols, .w = random_strip(&rng, cols), .h = random_hessian(&rng, cols, 2 * cols + 8)};
    l.c = test_alloc(cols * cols, sizeof *l.c);
    for (int64_t i = 0; i < cols; i++)
        for (int64_t j = 0; j < cols; j++)
            l.c[i * cols + j] = 0.05 * qep_rng_normal(&rng) * sqrt(l.h[i * (cols + 1)] * l.h[j * (cols + 1)]);
    l.R = factor_r(l.h, cols);
    double *u = inverse_upper(l.R, cols);
    l.P = masked(l.c, u, cols);
    qep_free(u);
    return l;
}

static void free_layer(layer *l)
{
    void *owned[] = {l->w, l->h, l->c, l->R, l->P};
    for (size_t i = 0; i < 5; i++) qep_free(owned[i]);
}

/* --- the papers' recursions --------------------------------------------------------------------- */

/* One row. R2: ResComp's second matrix. */
static void row_by_the_book(const qep_qspec *s, const layer *l, const double *U, const double *R2, const float *w0, float scale, int zero,
                            uint8_t *codes)
{
    const int64_t d = l->cols;
    const qep_method_options *o = &s->options;
    const bool foem = s->method == &qep_method_foem, next = foem && strcmp(o->foem_variant, "next") == 0;
    const bool org = s->method == &qep_method_rescomp && strcmp(o->rescomp_mode, "org") == 0;
    const double beta = foem ? o->foem_beta : 0, alpha = foem ? o->foem_alpha
                        : s->method == &qep_method_gptaq      ? o->gptaq_alpha
                                                               : o->rescomp_alpha1;
    double *w = test_alloc(d, sizeof *w);
    float *now = test_alloc(d, sizeof *now);
    for (int64_t k = 0; k < d; k++) w[k] = (double)w0[k];
    for (int64_t j = 0; j < d; j++) {
        if (s->group_size > 0 && j % s->group_size == 0) { /* the grid of a group: from its weights as they are by now */
            const int64_t n = qep_min_i64(s->group_size, d - j);
            for (int64_t k = 0; k < n; k++) now[k] = (float)w[j + k];
            qep_grid_find(s, now, NULL, n, &scale, &zero);
        }
        if (next) w[j] -= beta * (w[j] - (double)w0[j]);
        codes[j] = (uint8_t)qep_grid_code(s->bits, (float)w[j], scale, zero);
        const double q = (double)qep_grid_value(codes[j], scale, zero), back = beta * (w[j] - (double)w0[j]);
        const double e = (w[j] - q - back) / U[j * d + j], v = org ? q : w[j];
        for (int64_t k = j + 1; k < d; k++) {
            const double fall = foem && !next ? beta * (w[k] - (double)w0[k]) : 0;
            w[k] += -e * U[j * d + k] - fall + alpha * v * l->P[j * d + k];
            if (R2) w[k] += o->rescomp_alpha2 * ((double)w0[j] - v) * R2[j * d + k];
        }
    }
    qep_free(now);
    qep_free(w);
}

/* ResComp's second matrix from its definition. */
static double *second_matrix(const layer *l, const double *U)
{
    const int64_t d = l->cols;
    double *k = test_alloc(d * d, sizeof *k), mu = 0.0;
    for (int64_t i = 0; i < d; i++) mu += l->h[i * (d + 1)] / (double)d * (0.01 / 1.01); /* the damping in l->h */
    for (int64_t i = 0; i < d * d; i++) k[i] = l->c[i] + l->h[i];
    for (int64_t i = 0; i < d; i++) k[i * (d + 1)] -= mu;
    double *R2 = masked(k, U, d);
    qep_free(k);
    return R2;
}

/* A recursion for one row of weights w0, on its grid (a recursion with groups finds its own). */
typedef void recursion(const qep_qspec *s, const layer *l, const double *U, const double *R2, const float *w0, float scale, int zero, uint8_t *codes);

/* All rows; R2 for ResComp only. */
static void each_row(recursion *row, const qep_qspec *s, const layer *l, uint8_t *codes)
{
    const int64_t d = l->cols;
    double *U = inverse_upper(l->R, d), *R2 = s->method == &qep_method_rescomp ? second_matrix(l, U) : NULL;
    for (int64_t r = 0; r < QEP_STRIP; r++) {
        float scale;
        int zero;
        qep_grid_find(s, l->w + r * d, NULL, d, &scale, &zero);
        row(s, l, U, R2, l->w + r * d, scale, zero, codes + r * d);
    }
    qep_free(R2);
    qep_free(U);
}

static const qep_method_options usual = {.gptaq_alpha = 0.25, .rescomp_alpha1 = 0.25, .rescomp_alpha2 = 0.25, .rescomp_mode = "allw",
                                         .foem_beta = 0.1, .foem_variant = "paper"};

typedef struct kind {
    const qep_method *method;
    qep_method_options options;
} kind;

static int kinds(kind *k)
{
    int n = 0;
    for (int i = 0; i < 2; i++) k[n++] = (kind){&qep_method_gptaq, usual};
    k[1].options.gptaq_alpha = 1.0;
    for (int i = 0; i < 4; i++) k[n++] = (kind){&qep_method_rescomp, usual};
    k[3].options.rescomp_mode = "org";
    k[4].options.rescomp_alpha1 = 0.7;
    k[5].options.rescomp_alpha2 = 1.0;
    for (int i = 0; i < 6; i++) k[n++] = (kind){&qep_method_foem, usual};
    k[7].options.foem_alpha = 0.5;
    k[8].options.foem_variant = k[9].options.foem_variant = "next";
    k[9].options.foem_alpha = 0.25;
    k[10].options.foem_beta = 0.9;
    k[11].options.foem_beta = 1.0;
    return n;
}

/* Blocks of any size; the f32 kernel may decide a tie the other way, and the row then goes its own way. */
static void equal_the_papers(void **state)
{
    (void)state;
    static const int64_t columns[] = {1, 33, 129, 200, 256, 192, 620}, blocks[] = {128, 37, 1, 500, 128, 48, 128}, groups[] = {-1, -1, -1, -1, 32, 64, -1};
    kind k[16];
    const int n = kinds(k);
    for (int i = 0; i < n; i++) {
        int64_t flips = 0, total = 0;
        for (int c = 0; c < 7; c++) {
            layer l = new_layer(50 + (uint64_t)c, columns[c]);
            qep_qspec s = {.method = k[i].method, .options = k[i].options, .bits = 3, .group_size = groups[c], .block_size = blocks[c]};
            result x = new_result(&s, QEP_STRIP, l.cols), want = new_result(&s, QEP_STRIP, l.cols);
            const double *P[QEP_MAX_MOVES] = {l.P};
            run_strip(&s, l.w, l.cols, NULL, l.R, P, &x);
            each_row(row_by_the_book, &s, &l, want.codes);
            flips += count_flips(x.codes, want.codes, QEP_STRIP * l.cols);
            total += QEP_STRIP * l.cols;
            free_result(&x);
            free_result(&want);
            free_layer(&l);
        }
        if (flips) print_message("%s, case %d: %lld flips of %lld\n", k[i].method->name, i, (long long)flips, (long long)total);
        assert_le_f((double)flips / (double)total, 1e-3);
    }
}

/* --- as their authors' codes have them ------------------------------------------------------------ */

/* x (U^T U) for columns [from, to). */
static void drawn(const double *U, int64_t d, int64_t from, int64_t to, double *x)
{
    for (int64_t k = from; k < to; k++) {
        double sum = 0.0;
        for (int64_t i = k; i < to; i++) sum += U[k * d + i] * x[i];
        x[k] = sum;
    }
    for (int64_t k = to - 1; k >= from; k--) {
        double sum = 0.0;
        for (int64_t i = from; i <= k; i++) sum += U[i * d + k] * x[i];
        x[k] = sum;
    }
}

/* One row, on the whole weights. Inside a block what goes on is taken from the weights before rounding, beyond it from what has taken their place: the rounded
 * weights, or in ResComp's other mode the clamped ones. FOEM: beta (W - W0) (H_>)^-1 is taken off behind each column inside the block, behind each block beyond
 * it. */
static void row_as_published(const qep_qspec *s, const layer *l, const double *U, const double *R2, const float *w0, float scale, int zero, uint8_t *codes)
{
    const int64_t d = l->cols;
    const qep_method_options *o = &s->options;
    const bool foem = s->method == &qep_method_foem, clamps = R2 && strcmp(o->rescomp_mode, "org") != 0;
    const double alpha = foem ? o->foem_alpha : R2 ? o->rescomp_alpha1 : o->gptaq_alpha, beta = foem ? o->foem_beta : 0.0;
    const double low = -(double)scale * zero, high = (double)scale * ((1 << s->bits) - 1 - zero);
    double *w = test_alloc(d, sizeof *w), *x = test_alloc(d, sizeof *x), *e = test_alloc(d, sizeof *e);
    for (int64_t k = 0; k < d; k++) w[k] = (double)w0[k];
    for (int64_t c0 = 0; c0 < d; c0 += s->block_size) {
        const int64_t c1 = qep_min_i64(c0 + s->block_size, d);
        for (int64_t j = c0; j < c1; j++) {
            codes[j] = (uint8_t)qep_grid_code(s->bits, (float)w[j], scale, zero);
            const double was = w[j];
            e[j] = (was - (double)qep_grid_value(codes[j], scale, zero)) / U[j * (d + 1)];
            for (int64_t k = j; k < c1; k++) x[k] = w[k] - (double)w0[k];
            if (beta > 0) drawn(U, d, j, c1, x);
            for (int64_t k = j; k < c1; k++) w[k] += -e[j] * U[j * d + k] + alpha * was * l->P[j * d + k] - beta * x[k];
            for (int64_t k = j; R2 && k < c1; k++) w[k] += o->rescomp_alpha2 * ((double)w0[j] - was) * R2[j * d + k];
            if (clamps) w[j] = fmin(fmax(was, low), high);
        }
        for (int64_t k = c1; k < d; k++) x[k] = w[k] - (double)w0[k];
        if (beta > 0) drawn(U, d, c1, d, x);
        for (int64_t k = c1; k < d; k++) {
            for (int64_t j = c0; j < c1; j++) w[k] += -e[j] * U[j * d + k] + alpha * w[j] * l->P[j * d + k];
            for (int64_t j = c0; R2 && j < c1; j++) w[k] += o->rescomp_alpha2 * ((double)w0[j] - w[j]) * R2[j * d + k];
            w[k] -= beta * x[k];
        }
    }
    qep_free(w);
    qep_free(x);
    qep_free(e);
}

/* compat = paper: codes of the code; without it those of the paper. beta is in units of H. */
static void uncancelled_foem(void **state)
{
    (void)state;
    static const int64_t columns[] = {1, 33, 129, 200}, blocks[] = {128, 37, 1, 64};
    for (int v = 0; v < 2; v++) {
        int64_t flips = 0, total = 0, other = 0;
        for (int c = 0; c < 4; c++) {
            layer l = new_layer(150 + (uint64_t)c, columns[c]);
            qep_qspec s = {.method = &qep_method_foem, .options = usual, .bits = 3, .group_size = -1, .block_size = blocks[c], .exact_scales = true,
                           .paper = true};
            s.options.foem_alpha = v ? 0.25 : 0.0;
            s.options.foem_beta = 0.02 * l.h[0];
            result x = new_result(&s, QEP_STRIP, l.cols), want = new_result(&s, QEP_STRIP, l.cols), paper = new_result(&s, QEP_STRIP, l.cols);
            const double *P[QEP_MAX_MOVES] = {l.P};
            run_strip(&s, l.w, l.cols, NULL, l.R, P, &x);
            each_row(row_as_published, &s, &l, want.codes);
            s.paper = false;
            s.options.foem_beta = 0.02;
            run_strip(&s, l.w, l.cols, NULL, l.R, P, &paper);
            flips += count_flips(x.codes, want.codes, QEP_STRIP * l.cols);
            other += count_flips(x.codes, paper.codes, QEP_STRIP * l.cols);
            total += QEP_STRIP * l.cols;
            free_result(&x);
            free_result(&want);
            free_result(&paper);
            free_layer(&l);
        }
        print_message("alpha %g: %lld of %lld codes differ from the recursion, %lld from the paper's\n", v ? 0.25 : 0.0, (long long)flips,
                      (long long)total, (long long)other);
        assert_le_f((double)flips / (double)total, 1e-3);
        assert_true(other > total / 100);
    }
}

/* compat = paper: the matrices add to the target, one or two of them. */
static void published_kin(void **state)
{
    (void)state;
    static const int64_t columns[] = {1, 33, 129, 200, 620}, blocks[] = {128, 37, 1, 70, 128};
    for (int v = 0; v < 3; v++) {
        int64_t flips = 0, total = 0;
        for (int c = 0; c < 5; c++) {
            layer l = new_layer(170 + (uint64_t)c, columns[c]);
            qep_qspec s = {.method = v ? &qep_method_rescomp : &qep_method_gptaq, .options = usual, .bits = 3, .group_size = -1, .block_size = blocks[c],
                           .exact_scales = true, .paper = true};
            s.options.rescomp_mode = v == 1 ? "org" : "allw";
            result x = new_result(&s, QEP_STRIP, l.cols), want = new_result(&s, QEP_STRIP, l.cols);
            double *U = inverse_upper(l.R, l.cols), *R2 = second_matrix(&l, U);
            const double *P[QEP_MAX_MOVES] = {l.P, R2};
            run_strip(&s, l.w, l.cols, NULL, l.R, P, &x);
            each_row(row_as_published, &s, &l, want.codes);
            flips += count_flips(x.codes, want.codes, QEP_STRIP * l.cols);
            total += QEP_STRIP * l.cols;
            qep_free(U), qep_free(R2);
            free_result(&x);
            free_result(&want);
            free_layer(&l);
        }
        if (flips) print_message("published, case %d: %lld flips of %lld\n", v, (long long)flips, (long long)total);
        assert_le_f((double)flips / (double)total, 1e-3);
    }
}

/* --- what must hold ----------------------------------------------------------------------------- */

static void assert_same(const result *a, const result *b)
{
    assert_memory_equal(a->codes, b->codes, (size_t)(a->rows * a->cols));
    assert_memory_equal(a->scales, b->scales, (size_t)(a->rows * a->groups) * sizeof(float));
    assert_memory_equal(a->zeros, b->zeros, (size_t)(a->rows * a->groups));
}

/* Both on the same layer, with groups and blocks that change from case to case: equal bits. */
static void same_bits_if(bool paper, const qep_method *a, qep_method_options oa, const qep_method *b, qep_method_options ob, bool no_c)
{
    for (int v = 0; v < 6; v++) {
        layer l = new_layer(70 + (uint64_t)v, v % 2 ? 129 : 256);
        if (no_c) memset(l.P, 0, (size_t)(l.cols * l.cols) * sizeof *l.P);
        qep_qspec s = {.method = a, .options = oa, .bits = 2 + v % 3, .group_size = v < 2 ? -1 : 32, .block_size = v % 2 ? 128 : 48,
                       .static_groups = v == 3, .clip = v == 4 ? QEP_CLIP_MSE : QEP_CLIP_NONE, .symmetric = v == 5, .paper = paper};
        result x = new_result(&s, QEP_STRIP, l.cols), y = new_result(&s, QEP_STRIP, l.cols);
        const double *P[QEP_MAX_MOVES] = {l.P};
        run_strip(&s, l.w, l.cols, NULL, l.R, P, &x);
        s.method = b;
        s.options = ob;
        run_strip(&s, l.w, l.cols, NULL, l.R, P, &y);
        assert_same(&x, &y);
        free_result(&x);
        free_result(&y);
        free_layer(&l);
    }
}

static void same_bits(const qep_method *a, qep_method_options oa, const qep_method *b, qep_method_options ob, bool no_c)
{
    same_bits_if(false, a, oa, b, ob, no_c);
}

static void limits_are_gptq(void **state)
{
    (void)state;
    qep_method_options o = usual;
    same_bits(&qep_method_gptaq, usual, &qep_method_gptq, usual, true); /* C = 0 */
    o.gptaq_alpha = 0;
    same_bits(&qep_method_gptaq, o, &qep_method_gptq, usual, false);
    o = usual;
    o.rescomp_alpha1 = o.rescomp_alpha2 = 0;
    same_bits(&qep_method_rescomp, o, &qep_method_gptq, usual, false);
    o = usual;
    o.foem_beta = 0;
    same_bits(&qep_method_foem, o, &qep_method_gptq, usual, false);
    o.foem_variant = "next";
    same_bits(&qep_method_foem, o, &qep_method_gptq, usual, false);
}

static void limits_are_gptaq(void **state)
{
    (void)state;
    qep_method_options o = usual;
    o.rescomp_alpha2 = 0;
    same_bits(&qep_method_rescomp, o, &qep_method_gptaq, usual, false);
    o = usual;
    o.foem_beta = 0;
    o.foem_alpha = 0.25;
    same_bits(&qep_method_foem, o, &qep_method_gptaq, usual, false);
    same_bits_if(true, &qep_method_foem, o, &qep_method_gptaq, usual, false);
}

/* H = c I and C = 0: nothing to propagate. */
static void identity_is_rtn(void **state)
{
    (void)state;
    kind k[16];
    const int n = kinds(k);
    for (int i = 0; i < n; i++) {
        const int64_t cols = 160;
        layer l = new_layer(90, cols);
        for (int64_t a = 0; a < cols; a++)
            for (int64_t b = 0; b < cols; b++) {
                l.R[a * cols + b] = a == b ? 1.5 : 0.0;
                l.P[a * cols + b] = 0.0;
            }
        qep_qspec s = {.method = k[i].method, .options = k[i].options, .bits = 3, .group_size = 32, .block_size = 64};
        result x = new_result(&s, QEP_STRIP, cols), y = new_result(&s, QEP_STRIP, cols);
        const double *P[QEP_MAX_MOVES] = {l.P};
        run_strip(&s, l.w, cols, NULL, l.R, P, &x);
        qep_rtn_strip(&s, l.w, NULL, cols, &(qep_qstrip){y.codes, y.scales, y.zeros});
        assert_same(&x, &y);
        free_result(&x);
        free_result(&y);
        free_layer(&l);
    }
}

/* Without fading the size of the blocks does not change a bit, of the errors either: one step or two, and more columns behind a step than go at a time. */
static void blocks_do_not_matter(void **state)
{
    (void)state;
    static const qep_method *const methods[] = {&qep_method_gptq, &qep_method_gptaq, &qep_method_rescomp};
    static const int64_t blocks[] = {1, 17, 32, 128, 1000};
    layer l = new_layer(110, 700);
    for (int i = 0; i < 3; i++)
        for (int g = 0; g < 3; g++) {
            qep_qspec s = {.method = methods[i], .options = usual, .bits = 3, .group_size = g ? 32 : -1, .static_groups = g < 2};
            result first = new_result(&s, QEP_STRIP, l.cols);
            const double *P[QEP_MAX_MOVES] = {l.P};
            for (int b = 0; b < 5; b++) {
                result x = new_result(&s, QEP_STRIP, l.cols);
                s.block_size = blocks[b];
                run_strip(&s, l.w, l.cols, NULL, l.R, P, b == 0 ? &first : &x);
                if (b > 0) assert_same(&first, &x);
                if (b > 0) assert_memory_equal(first.loss, x.loss, QEP_STRIP * sizeof *x.loss);
                free_result(&x);
            }
            free_result(&first);
        }
    free_layer(&l);
}

/* The first column is rounded from the weight itself, whatever the method. */
static void first_column(void **state)
{
    (void)state;
    kind k[16];
    const int n = kinds(k);
    layer l = new_layer(120, 64);
    qep_qspec s = {.method = &qep_method_gptq, .bits = 3, .group_size = -1, .block_size = 128};
    result want = new_result(&s, QEP_STRIP, 64);
    run_strip(&s, l.w, 64, NULL, l.R, NULL, &want);
    for (int i = 0; i < n; i++) {
        result x = new_result(&s, QEP_STRIP, 64);
        const double *P[QEP_MAX_MOVES] = {l.P};
        s.method = k[i].method;
        s.options = k[i].options;
        run_strip(&s, l.w, 64, NULL, l.R, P, &x);
        for (int64_t r = 0; r < QEP_STRIP; r++) assert_int_equal(x.codes[r * 64], want.codes[r * 64]);
        assert_true(count_flips(x.codes, want.codes, QEP_STRIP * 64) > 0); /* but they are not GPTQ */
        free_result(&x);
    }
    free_result(&want);
    free_layer(&l);
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
        cmocka_unit_test(equal_the_papers),  cmocka_unit_test(uncancelled_foem), cmocka_unit_test(published_kin),
        cmocka_unit_test(limits_are_gptq),      cmocka_unit_test(limits_are_gptaq),
        cmocka_unit_test(identity_is_rtn),   cmocka_unit_test(blocks_do_not_matter), cmocka_unit_test(first_column),
        cmocka_unit_test(nothing_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
