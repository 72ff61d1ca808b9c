/* Settings per module: globs, overrides, exclusion. SPDX-License-Identifier: Apache-2.0 */
#include "qep_test.h"
#include "qep/config.h"

#define HEAD "[model]\npath = /m\n[output]\npath = /o\n[calibration]\ndata = /c.npy\n"

static void globs(void **state)
{
    (void)state;
    static const struct {
        const char *glob, *name;
        bool yes;
    } row[] = {
        {"", "", true},
        {"", "a", false},
        {"*", "", true},
        {"*", "abc", true},
        {"?", "", false},
        {"?", "a", true},
        {"?", "ab", false},
        {"a*c", "abc", true},
        {"a*c", "ac", true},
        {"a*c", "abcd", false},
        {"*.q_proj", "m.0.q_proj", true},
        {"*a*b", "aab", true},
        {"*a*b*c", "xaybzc", true},
        {"*a*b*c", "xaybz", false},
        {"a**b", "ab", true},
        {"*aab", "aaab", true},
        {"a?c", "abc", true},
        {"[ab]", "a", false},
        {"[ab]", "[ab]", true},
        {"a.c", "abc", false},
        {"*?", "", false},
        {"*?", "a", true},
        {"*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        if (qep_glob(row[i].glob, row[i].name) != row[i].yes)
            fail_msg("glob %s and name %s", row[i].glob, row[i].name);
    }
}

static void ranges(void **state)
{
    (void)state;
    static const char list[] = "0-2, 7, 10-10";
    for (int64_t i = 0; i < 13; i++) {
        assert_true(qep_ranges_hold("all", i));
        assert_int_equal(qep_ranges_hold(list, i), i <= 2 || i == 7 || i == 10);
    }
    assert_int_equal(qep_ranges_last(list), 10);
    assert_int_equal(qep_ranges_last("4"), 4);
    assert_int_equal(qep_ranges_last("all"), -1);
    qep_config *c = NULL;
    assert_ok(qep_config_parse(HEAD "[quantization]\nblocks = 0-2 ,  7,10-10\n", "run.ini", NULL, 0, &c));
    assert_string_equal(c->blocks, list);
    qep_config_destroy(&c);
}

static void overrides_in_order(void **state)
{
    (void)state;
    qep_config *c;
    assert_ok(qep_config_parse(
        HEAD "[correction]\nalpha = 0.5\n"
             "[override a]\nmatch = model.layers.0.*\nbits = 8\ngroup_size = -1\nsymmetric = "
             "yes\nalpha = auto\n"
             "[override b]\nmatch = *.q_proj\nbits = 2\nmethod = rtn\ncorrection = "
             "none\ncorrection_damping = 3\n"
             "damping = 0.5\nact_order = no\nclip = none\nblock_size = 3\nstatic_groups = no\nrefit = 0\nsweeps = 7\nresidual = 0.125\n",
        "run.ini", NULL, 0, &c));
    qep_linear_config l;
    qep_config_linear(c, "model.layers.1.self_attn.k_proj", &l);
    assert_memory_equal(&l, &c->linear, sizeof l);
    qep_config_linear(c, "model.layers.0.self_attn.k_proj", &l);
    assert_int_equal(l.bits, 8);
    assert_int_equal(l.group_size, -1);
    assert_true(l.symmetric);
    assert_le_f(fabs(l.alpha - QEP_ALPHA_AUTO), 0);
    assert_string_equal(l.method, "gptq");
    assert_string_equal(l.correction, "qep");
    qep_config_linear(c, "model.layers.0.self_attn.q_proj", &l);
    assert_int_equal(l.bits, 2);
    assert_int_equal(l.group_size, -1);
    assert_string_equal(l.method, "rtn");
    assert_string_equal(l.correction, "none");
    assert_string_equal(l.clip, "none");
    assert_le_f(fabs(l.correction_damping - 3.0), 0);
    assert_le_f(fabs(l.damping - 0.5), 0);
    assert_false(l.act_order);
    assert_false(l.static_groups);
    assert_int_equal(l.block_size, 3);
    assert_int_equal(l.refit, 0);
    assert_int_equal(l.sweeps, 7);
    assert_le_f(fabs(l.residual - 0.125), 0);
    qep_config_linear(c, "model.layers.7.self_attn.q_proj", &l);
    assert_int_equal(l.bits, 2);
    assert_int_equal(l.group_size, 128);
    assert_false(l.symmetric);
    assert_le_f(fabs(l.alpha - 0.5), 0);
    qep_config_destroy(&c);
    assert_int_equal(qep_mem_blocks(), 0);
}

static void exclusion(void **state)
{
    (void)state;
    static const struct {
        const char *list, *name;
        bool out;
    } row[] = {
        {"down_proj", "model.layers.3.mlp.down_proj", true},
        {"down_proj", "model.layers.3.mlp.gate_proj", false},
        {"proj", "model.layers.3.mlp.down_proj", false},
        {"mlp.*", "model.layers.3.mlp.up_proj", true},
        {"mlp.*", "model.layers.3.self_attn.o_proj", false},
        {"o_proj, mlp.down_proj", "model.layers.3.mlp.down_proj", true},
        {"x, o_proj", "model.layers.3.self_attn.o_proj", true},
        {"*", "lm_head", true},
        {"lm_head", "lm_head", true},
        {"model.layers.3.mlp.down_proj", "model.layers.3.mlp.down_proj", true},
        {"?_proj", "model.layers.0.self_attn.q_proj", true},
        {"", "lm_head", false},
        {"layers.3.*", "model.layers.3.mlp.up_proj", true},
        {"layers.3.*", "model.layers.13.mlp.up_proj", false},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char *set = qep_strf("test", "correction.exclude=%s", row[i].list);
        const char *sets[] = {set};
        qep_config *c;
        assert_ok(qep_config_parse(HEAD, "run.ini", sets, 1, &c));
        qep_linear_config l;
        qep_config_linear(c, row[i].name, &l);
        if ((strcmp(l.correction, "none") == 0) != row[i].out)
            fail_msg("exclude = %s and %s", row[i].list, row[i].name);
        qep_config_destroy(&c);
        qep_free(set);
    }
}

static void exclusion_per_module(void **state)
{
    (void)state;
    qep_config *c;
    assert_ok(qep_config_parse(
        HEAD "[correction]\nexclude = down_proj\n[override a]\nmatch = *.0.*\nexclude =\n",
        "run.ini", NULL, 0, &c));
    qep_linear_config l;
    qep_config_linear(c, "m.0.down_proj", &l);
    assert_string_equal(l.correction, "qep");
    qep_config_linear(c, "m.1.down_proj", &l);
    assert_string_equal(l.correction, "none");
    qep_config_destroy(&c);
}

static void checks_with_the_names(void **state)
{
    (void)state;
    const char *const names[] = {"m.0.q_proj", "m.0.down_proj"};
    qep_config *c;
    assert_ok(qep_config_parse(
        HEAD "[override a]\nmatch = *.q_proj\nbits = 8\n[override b]\nmatch = *.qproj\nbits = 8\n",
        "run.ini", NULL, 0, &c));
    assert_fails(qep_config_check_modules(c, names, 2), QEP_E_CONFIG,
                 "run.ini:10: override b.match: *.qproj matches no linear");
    qep_config_destroy(&c);
    assert_ok(qep_config_parse(HEAD "[override a]\nmatch = *.q_proj\nmethod = rtn\n[override "
                                    "b]\nmatch = m.0.*\nclip = hessian\n",
                               "run.ini", NULL, 0, &c));
    assert_fails(qep_config_check_modules(c, names, 2), QEP_E_CONFIG, "m.0.q_proj");
    qep_config_destroy(&c);
    assert_ok(qep_config_parse(HEAD "[override a]\nmatch = *.q_proj\nmethod = rtn\n[override "
                                    "b]\nmatch = *.down_proj\nclip = hessian\n",
                               "run.ini", NULL, 0, &c));
    assert_ok(qep_config_check_modules(c, names, 2));
    qep_config_destroy(&c);
    assert_ok(qep_config_parse(HEAD "[correction]\nexclude = down_proj, lm_head, downproj\n", "run.ini", NULL, 0, &c));
    assert_fails(qep_config_check_modules(c, names, 2), QEP_E_CONFIG, "correction.exclude: \"downproj\"");
    qep_config_destroy(&c);
    assert_int_equal(qep_mem_blocks(), 0);
}

/* What qep_config_unread says of this [quantization]; the same of its dump. */
static void check_unread(const char *settings, const char *want)
{
    char text[600];
    qep_config *c = NULL;
    snprintf(text, sizeof text, HEAD "[quantization]\n%s", settings);
    assert_ok(qep_config_parse(text, "run.ini", NULL, 0, &c));
    for (int again = 0; again < 2; again++) {
        char *line = qep_config_unread(c), *dump = qep_config_dump(c);
        if (want) assert_non_null(line);
        if (want) assert_string_equal(line, want);
        else if (line) fail_msg("%s: %s", settings, line);
        qep_config_destroy(&c);
        assert_ok(qep_config_parse(dump, "dump.ini", NULL, 0, &c));
        qep_free(line);
        qep_free(dump);
    }
    qep_config_destroy(&c);
}

static void unread_keys(void **state)
{
    (void)state;
    char text[80];
    for (int i = 0; qep_method_at(i); i++) {
        const bool moves = (qep_method_at(i)->needs & QEP_NEEDS_C) != 0;
        snprintf(text, sizeof text, "method = %s\n%s%s", qep_method_at(i)->name, qep_method_at(i)->groups ? "" : "group_size = -1\n", moves ? "[correction]\nmethod = none\n" : "");
        check_unread(text, NULL);
    }
    check_unread("method = rtn\nsweeps = 9\nfoem_beta = 0.3\nclip = mse\n",
                 "[quantization] sweeps = 9, foem_beta = 0.3: not read by method = rtn; nothing is changed by it");
    check_unread("sweeps = 9\nact_order = no\nlm_head = yes\nfinal_norm = no\n", NULL);
    check_unread("method = awq\nclip_steps = 7\n", "[quantization] clip_steps = 7: not read by method = awq; nothing is changed by it");
    check_unread("method = none\nsweeps = 9\n", NULL);
    /* an override's method counts */
    check_unread("foem_beta = 0.3\nrescomp_mode = org\n[override a]\nmatch = *.q_proj\nmethod = foem\n[correction]\nmethod = none\n",
                 "[quantization] rescomp_mode = org: not read by method = gptq, foem; nothing is changed by it");
    check_unread("[correction]\nmethod = none\nalpha = 0.5\nexclude = down_proj\n",
                 "[correction] alpha = 0.5, exclude = down_proj: not read with method = none; nothing is changed by it");
    check_unread("method = rtn\nsweeps = 9\n[correction]\nmethod = none\ndamping = 1\n",
                 "[quantization] sweeps = 9: not read by method = rtn; nothing is changed by it\n[correction] damping = 1: not read with method = none; "
                 "nothing is changed by it");
    check_unread("[override a]\nmatch = *.q_proj\ncorrection = qep\n[correction]\nmethod = none\nalpha = 0.5\n", NULL);
    assert_int_equal(qep_mem_blocks(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(globs), cmocka_unit_test(ranges), cmocka_unit_test(overrides_in_order), cmocka_unit_test(exclusion),
        cmocka_unit_test(exclusion_per_module), cmocka_unit_test(checks_with_the_names), cmocka_unit_test(unread_keys)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
