/* The divergence's slope in the final norm's weight against differences of the divergence itself, with and without a cap, for all tokens and for some; and
 * against the figures of a sequence. SPDX-License-Identifier: Apache-2.0 */
#include "../model/toy_model.h"
#include "qep/eval.h"

static qep_comm *world;

enum { T = 70 }; /* more than a block of tokens */

typedef struct fixture {
    qep_model *model;
    qep_head *head;
    qep_work *work;
    float *scratch, *x_fp, *x_q, *w;
} fixture;

static fixture open_fixture(const char *dir, double cap)
{
    fixture f = {NULL};
    assert_ok(qep_model_open_all(world, dir, &f.model));
    f.model->arch.logit_cap = cap;
    assert_ok(qep_head_load_all(world, f.model, QEP_COMPUTE_F32, false, &f.head));
    const int64_t n = T * TOY_HIDDEN;
    f.work = qep_work_create(&f.model->arch, QEP_COMPUTE_F32, T);
    f.scratch = qep_alloc("test", qep_eval_slope_bytes(&f.model->arch), 1);
    f.x_fp = qep_alloc("test", n, sizeof *f.x_fp);
    f.x_q = qep_alloc("test", n, sizeof *f.x_q);
    f.w = qep_alloc("test", TOY_HIDDEN, sizeof *f.w);
    qep_rng r;
    qep_rng_seed(&r, 5);
    for (int64_t i = 0; i < n; i++) {
        f.x_fp[i] = 2.0F * (float)qep_rng_normal(&r);
        f.x_q[i] = f.x_fp[i] + 0.5F * (float)qep_rng_normal(&r);
    }
    for (int c = 0; c < TOY_HIDDEN; c++) f.w[c] = 3.0F * qep_head_norm_weight(f.head, QEP_STREAM_FP)[c] + 1.0F;
    return f;
}

static void close_fixture(fixture *f)
{
    void *owned[] = {f->scratch, f->x_fp, f->x_q, f->w};
    for (int i = 0; i < 4; i++) qep_free(owned[i]);
    qep_work_destroy(&f->work);
    qep_head_destroy_all(&f->head);
    qep_model_close(&f->model);
}

static double divergence(const fixture *f, int64_t step, double *slope)
{
    double kl;
    const qep_eval_slope_of s = {f->head, &f->model->arch, f->work, f->w, f->x_fp, f->x_q, T, step};
    qep_eval_slope(&s, f->scratch, &kl, slope);
    return kl;
}

static void check_slope(const char *dir, double cap, int64_t step)
{
    fixture f = open_fixture(dir, cap);
    double slope[TOY_HIDDEN], largest = 0;
    const double kl = divergence(&f, step, slope);
    assert_true(kl > 1e-3);
    assert_true(kl == divergence(&f, step, NULL));
    for (int c = 0; c < TOY_HIDDEN; c++) largest = fmax(largest, fabs(slope[c]));
    assert_true(largest > 1e-3);
    for (int c = 0; c < TOY_HIDDEN; c++) {
        const float at = f.w[c], up = at + 0.01F, down = at - 0.01F;
        f.w[c] = up;
        const double above = divergence(&f, step, NULL);
        f.w[c] = down;
        const double below = divergence(&f, step, NULL);
        f.w[c] = at;
        assert_le_f(fabs((above - below) / ((double)up - (double)down) - slope[c]), 2e-3 * largest);
    }
    close_fixture(&f);
}

/* With the norm put into the head, the figures of the sequence are the same divergence: of the tokens but the last. */
static void check_figures(const char *dir)
{
    fixture f = open_fixture(dir, 0);
    int32_t ids[T] = {0};
    qep_eval_figures all;
    float *logits = qep_alloc("test", qep_eval_bytes(&f.model->arch, true), 1);
    qep_head_set_norm_all(f.head, f.w);
    qep_eval_sequence(f.head, &f.model->arch, ids, 1, T, f.x_fp, f.x_q, f.work, logits, &all);
    double kl;
    const qep_eval_slope_of s = {f.head, &f.model->arch, f.work, f.w, f.x_fp, f.x_q, T - 1, 1};
    qep_eval_slope(&s, f.scratch, &kl, NULL);
    assert_le_f(fabs(all.kl - kl), 1e-5 * kl);
    assert_memory_equal(qep_head_norm_weight(f.head, QEP_STREAM_Q), f.w, sizeof(float) * TOY_HIDDEN);
    assert_true(memcmp(qep_head_norm_weight(f.head, QEP_STREAM_FP), f.w, sizeof(float) * TOY_HIDDEN) != 0);
    qep_free(logits);
    close_fixture(&f);
}

static void slopes(void **state)
{
    (void)state;
    char *dir = toy_write_all(world, &(toy_edit){0});
    check_slope(dir, 0, 1);
    check_slope(dir, 0, 3);
    check_slope(dir, 2, 1);
    check_figures(dir);
    toy_remove_all(world, dir);
}

int main(int argc, char **argv)
{
    world = qep_par_start(&argc, &argv);
    qep_linalg_start(1);
    if (qep_rank(world) != 0 && !freopen("/dev/null", "w", stdout)) return 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(slopes)};
    int64_t failed = cmocka_run_group_tests(tests, NULL, NULL) != 0;
    qep_max_i64_all(world, &failed, 1);
    qep_par_end(&world);
    return failed != 0;
}
