/* Scales folded into a norm: what the norm then gives, times the scales that come back, is what the original gives.
 * SPDX-License-Identifier: Apache-2.0 */
#include "toy_model.h"

static qep_comm *world;

static void check_fold(qep_dtype dtype, double spread)
{
    char *dir = toy_write_all(world, &(toy_edit){.dtype = dtype});
    qep_model *m = NULL;
    assert_ok(qep_model_open_all(world, dir, &m));
    for (int64_t b = 0; b < TOY_BLOCKS; b++)
        for (int g = 0; g < QEP_N_GROUPS; g += 2) {
            float scale[TOY_HIDDEN], stored[TOY_HIDDEN], back[TOY_HIDDEN], w[TOY_HIDDEN], asked[TOY_HIDDEN];
            uint64_t raw[TOY_HIDDEN];
            const qep_st_tensor *t = NULL;
            for (int c = 0; c < TOY_HIDDEN; c++) asked[c] = scale[c] = (float)exp2(spread * sin(c + b + g));
            assert_ok(qep_model_fold_norm(m, b, g, scale, &t, stored));
            assert_non_null(strstr(t->name, g == 0 ? "input_layernorm" : "post_attention_layernorm"));
            assert_ok(qep_st_read_rows_f32(m->files, t, 0, TOY_HIDDEN, w));
            qep_from_f32(raw, t->dtype, stored, TOY_HIDDEN);
            qep_to_f32(back, raw, t->dtype, TOY_HIDDEN);
            for (int c = 0; c < TOY_HIDDEN; c++) {
                assert_true(stored[c] == back[c]); /* the tensor's type holds it */
                assert_le_f(fabsf(stored[c] * scale[c] - w[c]), 1e-6f * fabsf(w[c]));
                if (fabsf(stored[c]) >= 1e-3f) assert_le_f(fabsf(scale[c] - asked[c]), (dtype == QEP_BF16 ? 0x1p-8f : 0x1p-10f) * asked[c]);
            }
        }
    qep_model_close(&m);
    toy_remove_all(world, dir);
}

static void folds(void **state)
{
    (void)state;
    check_fold(QEP_F32, 4.0);
    check_fold(QEP_BF16, 4.0);
    check_fold(QEP_F16, 2.0);
}

/* What is stored is what the type holds, and w what it multiplies by: also where the norm is 1 + w. */
static void final_norm(void **state)
{
    (void)state;
    static const qep_dtype types[] = {QEP_F32, QEP_BF16, QEP_F16};
    for (int k = 0; k < 6; k++) {
        const qep_dtype dtype = types[k / 2];
        char *dir = toy_write_all(world, &(toy_edit){.dtype = dtype});
        qep_model *m = NULL;
        assert_ok(qep_model_open_all(world, dir, &m));
        m->arch.norm_plus_one = k % 2;
        float w[TOY_HIDDEN], asked[TOY_HIDDEN], stored[TOY_HIDDEN], back[TOY_HIDDEN];
        uint64_t raw[TOY_HIDDEN];
        for (int c = 0; c < TOY_HIDDEN; c++) asked[c] = w[c] = (float)(1.0 + 0.7 * sin(c));
        qep_model_round_final_norm(m, w, stored);
        qep_from_f32(raw, dtype, stored, TOY_HIDDEN);
        qep_to_f32(back, raw, dtype, TOY_HIDDEN);
        for (int c = 0; c < TOY_HIDDEN; c++) {
            assert_true(stored[c] == back[c]);
            assert_true(w[c] == stored[c] + (float)(k % 2));
            assert_le_f(fabsf(w[c] - asked[c]), dtype == QEP_F32 ? 2e-7f : dtype == QEP_BF16 ? 0x1p-8f : 0x1p-11f);
        }
        qep_model_close(&m);
        toy_remove_all(world, dir);
    }
}

int main(int argc, char **argv)
{
    world = qep_par_start(&argc, &argv);
    qep_linalg_start(1);
    if (qep_rank(world) != 0 && !freopen("/dev/null", "w", stdout)) return 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(folds), cmocka_unit_test(final_norm)};
    int64_t failed = cmocka_run_group_tests(tests, NULL, NULL) != 0;
    qep_max_i64_all(world, &failed, 1);
    qep_par_end(&world);
    return failed != 0;
}
