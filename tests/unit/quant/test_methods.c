/* The table of methods: names, keys, who reads what. SPDX-License-Identifier: Apache-2.0 */
#include "qep_test.h"
#include "qep/quant.h"

static void names(void **state)
{
    (void)state;
    int n = 0;
    for (const qep_method *m; (m = qep_method_at(n)) != NULL; n++) {
        assert_ptr_equal(qep_method_find(m->name), m);
        assert_true(strlen(m->help) > 0 && m->help[strlen(m->help) - 1] != '.');
        assert_true(m->symmetric || m->asymmetric);
        assert_true(m->bits & (1u << 4));
        assert_true(m->clips & (1u << QEP_CLIP_NONE));
        assert_true(m->drive < QEP_N_DRIVES);
        /* a factor is made of H */
        assert_true(m->drive != QEP_DRIVE_FACTOR || m->needs & QEP_NEEDS_H);
    }
    assert_true(n >= 3);
    assert_null(qep_method_find("gptq2"));
    assert_null(qep_method_find(""));
}

static void keys(void **state)
{
    (void)state;
    assert_true(qep_method_reads(&qep_method_rtn, "bits"));
    assert_true(qep_method_reads(&qep_method_rtn, "clip"));
    assert_false(qep_method_reads(&qep_method_rtn, "act_order"));
    assert_false(qep_method_reads(&qep_method_gptq, "order"));
    assert_false(qep_method_reads(&qep_method_gptq, "act"));
    assert_true(qep_method_reads(&qep_method_gptq, "block_size"));
    assert_false(qep_method_reads(&qep_method_none, "bits"));
}

static void same_settings(void **state)
{
    (void)state;
    const qep_qspec a = {.method = &qep_method_gptq, .bits = 4, .group_size = 32, .block_size = 128};
    enum { N = 18 };
    qep_qspec b[N];
    for (int i = 0; i < N; i++) b[i] = a;
    b[0].method = &qep_method_rtn;
    b[1].bits = 3;
    b[2].group_size = -1;
    b[3].symmetric = true;
    b[4].act_order = true;
    b[5].static_groups = true;
    b[6].clip = QEP_CLIP_MSE;
    b[7].block_size = 64;
    b[8].zero_min = 1;
    b[9].options.gptaq_alpha = 1;
    b[10].options.rescomp_alpha1 = 1;
    b[11].options.rescomp_alpha2 = 1;
    b[12].options.rescomp_mode = "org";
    b[13].options.foem_alpha = 1;
    b[14].options.foem_beta = 1;
    b[15].options.foem_variant = "next";
    b[16].options.rotation_seed = 1;
    b[17].clip_steps = 50;
    assert_true(qep_qspec_same(&a, &a));
    for (int i = 0; i < N; i++) assert_false(qep_qspec_same(&a, &b[i]));
    assert_false(qep_groups_follow_order(&a));
    assert_true(qep_groups_follow_order(&b[4]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(names), cmocka_unit_test(keys), cmocka_unit_test(same_settings)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
