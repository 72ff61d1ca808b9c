/* Regular expressions of a configuration: what Python's re.match says of them, and the hostile ones. SPDX-License-Identifier: Apache-2.0 */
#include "qep_test.h"
#include "../../../src/packed/ct_priv.h"
#include "../../../src/packed/gptq_priv.h"

#define MODULE "model.layers.10.mlp.experts.100.down_proj"
#define IN_DYNAMIC "config.json: quantization_config: dynamic: the regular expression \""

static char file_name[] = "config.json";
static const qep_packed of_file = {.source = file_name};

static bool matches(const char *text, const char *module)
{
    qep_packed_pattern *r = NULL;
    bool yes = false;
    assert_ok(qep_packed_pattern_open(&of_file, "dynamic", text, &r));
    assert_ok(qep_packed_pattern_match(r, module, &yes));
    qep_packed_pattern_close(r);
    return yes;
}

/* The answers are those of Python 3.11. */
static void dialect(void **state)
{
    static const struct {
        const char *text, *module;
        bool yes;
    } cases[] = {
        {"", "lm_head", true},
        {"model\\.layers", MODULE, true}, /* the beginning is enough, */
        {"layers", MODULE, false},        /* but it must be the beginning, */
        {"lm|layers", MODULE, false},     /* of every alternative */
        {".*down_proj$", MODULE, true},
        {".*down$", MODULE, false},
        {".*_proj\\Z", MODULE, true},
        {"model\\.layers\\.\\d+\\.mlp", MODULE, true},
        {"model\\.layers\\.\\D", MODULE, false},
        {"\\w+\\.\\w+\\.1\\d\\b", MODULE, true},
        {".*?\\.(\\d+)\\..*?\\.\\1", MODULE, true},
        {".*?\\.(\\d+)\\..*?\\.\\1$", MODULE, false},
        {"(?P<n>m).*?(?P=n)lp", MODULE, true},
        {".*\\.(?:gate|up)_proj", MODULE, false},
        {"(?!.*experts).*_proj", MODULE, false},
        {"(?=.*experts).*_proj", MODULE, true},
        {".*(?<!up)_proj", MODULE, true},
        {".*+j", MODULE, false},
        {"(?i)MODEL", MODULE, true},
        {"[^.]+\\.[a-z]{6}\\.[0-9]{1,2}\\.", MODULE, true},
        {"[^.]+\\.[a-z]{6}\\.[0-9]{3,}\\.", MODULE, false},
        {"(.*\\.)?layers\\.[]x1]0", MODULE, true},
        {".{6}$", "model\xc3\xa9", true}, /* characters, not bytes */
        {"\\w+$", "model\xc3\xa9", true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (matches(cases[i].text, cases[i].module) != cases[i].yes) fail_msg("\"%s\" and %s", cases[i].text, cases[i].module);
}

static void refused(const char *text, const char *message)
{
    qep_packed_pattern *r = NULL;
    assert_fails(qep_packed_pattern_open(&of_file, "dynamic", text, &r), QEP_E_INPUT, message);
    assert_fails(QEP_E_INPUT, QEP_E_INPUT, IN_DYNAMIC);
    qep_packed_pattern_close(r);
    qep_error_clear();
}

static char *repeated(const char *part, int times)
{
    char *text = qep_alloc("test", (int64_t)strlen(part) * times + 1, 1);
    for (int i = 0; i < times; i++) memcpy(text + strlen(part) * (size_t)i, part, strlen(part));
    return text;
}

static void refused_many(const char *part, int times, const char *message)
{
    char *text = repeated(part, times);
    refused(text, message);
    qep_free(text);
}

static void no_patterns(void **state)
{
    (void)state;
    refused("*a", IN_DYNAMIC "*a\": quantifier does not follow a repeatable item");
    refused("(a", "missing closing parenthesis");
    refused("[b-a]", "range out of order");
    refused("a{,3}", "{,n} cannot be read; supported: {0,n}");
    refused("\\Ca", "using \\C is disabled");
}

static void too_large(void **state)
{
    (void)state;
    const double start = qep_now_s();
    refused(".*q_pro+++++++++++++++++++++++++++++++++++++++++++++++++", "quantifier does not follow a repeatable item");
    refused("(((a{1,1000}){1,1000}){1,1000})", "regular expression is too large");
    refused("(?:(?:abcdefgh){45}){40}", "regular expression is too large"); /* half of what PCRE2 itself allows */
    refused_many("(a?){0,255}", 200, "regular expression is too large");
    refused_many("(", 1000, "parentheses are too deeply nested");
    refused_many("a", 4097, "pattern string is longer than the limit");
    char *longest = repeated("a", 4096);
    assert_true(matches(longest, longest) && !matches(longest, "a"));
    qep_free(longest);
    assert_true(qep_now_s() - start < 10);
}

static void gives_up(const char *text, const char *module, const char *message)
{
    qep_packed_pattern *r = NULL;
    bool yes;
    assert_ok(qep_packed_pattern_open(&of_file, "dynamic", text, &r));
    assert_fails(qep_packed_pattern_match(r, module, &yes), QEP_E_INPUT, message);
    assert_fails(QEP_E_INPUT, QEP_E_INPUT, " gives up on module ");
    assert_fails(QEP_E_INPUT, QEP_E_INPUT, IN_DYNAMIC);
    qep_packed_pattern_close(r);
    qep_error_clear();
}

static void too_much_work(void **state)
{
    (void)state;
    const double start = qep_now_s();
    char *longest = repeated("a", 20000), *groups = repeated("(|a)", 1000);
    gives_up("(.*)*(.*)*(.*)*(.*)*x", MODULE, "match limit exceeded");
    gives_up("(?:a+)+$", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", "match limit exceeded");
    gives_up("(?:a|b)*c", longest, "matching depth limit exceeded");
    gives_up(groups, longest, "heap limit exceeded");
    qep_free(groups);
    qep_free(longest);
    assert_true(qep_now_s() - start < 10);
}

static qep_ct_config *read_ct(const char *ignore, const char *first, const char *second, qep_status want)
{
    static const char weights[] = "\"weights\": {\"num_bits\": %d, \"symmetric\": true, \"strategy\": \"channel\"}";
    char four[80], eight[80];
    snprintf(four, sizeof four, weights, 4);
    snprintf(eight, sizeof eight, weights, 8);
    char *text = qep_strf("test", "{\"format\": \"pack-quantized\", \"ignore\": [%s], \"config_groups\": {\"a\": {\"targets\": [%s], %s}, "
                          "\"b\": {\"targets\": [%s], %s}}}", ignore, first, four, second, eight);
    qep_packed p = of_file;
    qep_json *q = NULL;
    qep_ct_config *c = NULL;
    assert_ok(qep_json_parse(text, (int64_t)strlen(text), "config.json", QEP_E_INPUT, &q));
    p.quantization = q;
    assert_int_equal(qep_ct_config_read(&p, &c), want);
    qep_json_free(&q);
    qep_free(text);
    return c;
}

static int64_t bits_of(const qep_ct_config *c, const char *module)
{
    qep_ct_settings s = {0};
    bool yes;
    assert_ok(qep_ct_settings_of(c, module, &s, &yes));
    assert_true(yes == (s.bits != 0));
    return s.bits;
}

static void compressed_tensors(void **state)
{
    (void)state;
    qep_ct_settings s;
    bool yes;
    qep_ct_config *c = read_ct("\"lm_head\", \"re:.*\\\\.gate$\"", "\"Linear\"", "\"re:.*\\\\.\\\\d+\\\\.down\", \"m.up\"", QEP_OK);
    assert_int_equal(bits_of(c, "m.q_proj"), 4);
    assert_int_equal(bits_of(c, "m.0.down_proj"), 8); /* a name wins over the class */
    assert_int_equal(bits_of(c, "m.up"), 8);
    assert_int_equal(bits_of(c, "m.up_proj"), 4);
    assert_int_equal(bits_of(c, "m.0.down.gate"), 0); /* "ignore" wins over both */
    assert_int_equal(bits_of(c, "lm_head"), 0);
    qep_ct_config_free(c);
    qep_ct_config_free(read_ct("\"re:(\"", "\"Linear\"", "\"m\"", QEP_E_INPUT));
    assert_fails(QEP_E_INPUT, QEP_E_INPUT, "config.json: quantization_config: ignore: the regular expression \"(\": missing closing");
    c = read_ct("", "\"Linear\"", "\"re:(.*)*(.*)*(.*)*(.*)*x\"", QEP_OK);
    assert_fails(qep_ct_settings_of(c, MODULE, &s, &yes), QEP_E_INPUT, "quantization_config: targets: the regular expression \"(.*)*");
    qep_ct_config_free(c);
    qep_error_clear();
}

static void gptq(void **state)
{
    static const char text[] = "{\"bits\": 4, \"group_size\": 128, \"sym\": true, \"desc_act\": false, \"dynamic\": {\"-:.*\\\\.gate$\": {}, "
                               "\"+:.*\\\\.\\\\d+\\\\.(?!up)\": {\"bits\": 8}, \"(.*)*(.*)*(.*)*(.*)*x\": {}}}";
    qep_packed p = of_file;
    qep_json *q = NULL;
    qep_gptq_config *c = NULL;
    qep_gptq_settings s;
    bool yes;
    (void)state;
    assert_ok(qep_json_parse(text, sizeof text - 1, "config.json", QEP_E_INPUT, &q));
    p.quantization = q;
    assert_ok(qep_gptq_config_read(&p, &c));
    assert_ok(qep_gptq_settings_of(c, "m.0.gate", &s, &yes));
    assert_false(yes);
    assert_ok(qep_gptq_settings_of(c, "m.0.down_proj", &s, &yes));
    assert_true(yes && s.bits == 8 && s.group_size == 128);
    assert_fails(qep_gptq_settings_of(c, "model.layers.ten.mlp.experts.100.up_proj", &s, &yes), QEP_E_INPUT, "match limit exceeded");
    qep_gptq_config_free(c);
    qep_json_free(&q);
    qep_error_clear();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(dialect),       cmocka_unit_test(no_patterns),        cmocka_unit_test(too_large),
    cmocka_unit_test(too_much_work), cmocka_unit_test(compressed_tensors), cmocka_unit_test(gptq),
};

QEP_TEST_MAIN(tests)
