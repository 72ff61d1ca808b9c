/* JSON in and out. SPDX-License-Identifier: Apache-2.0 */
#include <unistd.h>
#include "qep/json.h"
#include "qep_die.h"

static qep_json *parse(const char *text)
{
    qep_json *j;
    assert_ok(qep_json_parse(text, (int64_t)strlen(text), "test", QEP_E_INPUT, &j));
    return j;
}

static void every_kind(void **state)
{
    (void)state;
    qep_json *j = parse("{\"n\": null, \"t\": true, \"f\": false, \"i\": -9223372036854775808, \"r\": 2.5e3, "
                        "\"s\": \"\\u00e9/x\", \"a\": [1, [2]], \"o\": {\"k\": 0}}");
    assert_int_equal(qep_json_type(j), QEP_JSON_OBJECT);
    assert_int_equal(qep_json_size(j), 8);
    assert_int_equal(qep_json_type(qep_json_get(j, "n")), QEP_JSON_NULL);
    assert_int_equal(qep_json_type(qep_json_get(j, "t")), QEP_JSON_BOOL);
    assert_true(qep_json_bool(qep_json_get(j, "t")));
    assert_false(qep_json_bool(qep_json_get(j, "f")));
    assert_false(qep_json_bool(qep_json_get(j, "i")));
    assert_int_equal(qep_json_type(qep_json_get(j, "i")), QEP_JSON_INT);
    assert_true(qep_json_int(qep_json_get(j, "i")) == INT64_MIN);
    assert_int_equal(qep_json_type(qep_json_get(j, "r")), QEP_JSON_REAL);
    assert_true(qep_json_real(qep_json_get(j, "r")) == 2500.0);
    assert_int_equal(qep_json_int(qep_json_get(j, "r")), 2500);
    assert_true(qep_json_is_number(qep_json_get(j, "r")) && qep_json_is_number(qep_json_get(j, "i")));
    assert_false(qep_json_is_number(qep_json_get(j, "s")) || qep_json_is_number(NULL));
    assert_string_equal(qep_json_string(qep_json_get(j, "s")), "\xC3\xA9/x");
    assert_null(qep_json_string(qep_json_get(j, "i")));
    const qep_json *a = qep_json_get(j, "a");
    assert_int_equal(qep_json_type(a), QEP_JSON_ARRAY);
    assert_int_equal(qep_json_size(a), 2);
    assert_int_equal(qep_json_int(qep_json_at(a, 0)), 1);
    assert_int_equal(qep_json_int(qep_json_at(qep_json_at(a, 1), 0)), 2);
    assert_null(qep_json_at(a, 2));
    assert_null(qep_json_at(a, -1));
    assert_null(qep_json_get(a, "k"));
    assert_null(qep_json_get(j, "absent"));
    assert_int_equal(qep_json_size(qep_json_get(j, "s")), 0);
    assert_int_equal(qep_json_int(qep_json_get(qep_json_get(j, "o"), "k")), 0);
    qep_json_free(&j);
    assert_null(j);
    qep_json_free(&j);
}

static void integers_of_reals_are_clamped(void **state)
{
    (void)state;
    qep_json *j = parse("[1e300, -1e300, -2.9, 2.9]");
    assert_true(qep_json_int(qep_json_at(j, 0)) == INT64_MAX);
    assert_true(qep_json_int(qep_json_at(j, 1)) == INT64_MIN);
    assert_int_equal(qep_json_int(qep_json_at(j, 2)), -2);
    assert_int_equal(qep_json_int(qep_json_at(j, 3)), 2);
    qep_json_free(&j);
}

static void members_come_in_file_order(void **state)
{
    (void)state;
    char text[8192];
    size_t n = 0;
    for (int i = 0; i < 300; i++) {
        n += (size_t)snprintf(text + n, sizeof text - n, "%c\"key%d\": %d", i ? ',' : '{', i * 7919 % 1009, i);
    }
    snprintf(text + n, sizeof text - n, "}");
    qep_json *j = parse(text);
    const char *key;
    qep_json *value;
    int seen = 0;
    for (void *it = NULL; (it = qep_json_next(j, it, &key, &value));) {
        char want[32];
        snprintf(want, sizeof want, "key%d", seen * 7919 % 1009);
        assert_string_equal(key, want);
        assert_int_equal(qep_json_int(value), seen++);
    }
    assert_int_equal(seen, 300);
    qep_json_free(&j);
    j = parse("{}");
    assert_null(qep_json_next(j, NULL, &key, &value));
    qep_json_free(&j);
    j = parse("[1]");
    assert_null(qep_json_next(j, NULL, &key, &value));
    qep_json_free(&j);
}

static void wrong_text_is_told_with_its_place(void **state)
{
    (void)state;
    const struct { const char *text; int64_t bytes; const char *message; } wrong[] = {
        {"{\n  \"a\": 1,\n  \"b\": }\n", 0, "cfg.json: line 3, column"},
        {"{\"a\": 1, \"a\": 2}", 0, "duplicate object key"},
        {"{\"a\": 9223372036854775808}", 0, "too big integer"},
        {"{\"a\": -9223372036854775809}", 0, "too big negative integer"},
        {"[1e999]", 0, "real number overflow"},
        {"[1] x", 0, "end of file expected"},
        {"{\"a\": 1", 0, "line 1"},
        {"", 0, "line 1"},
        {"[NaN]", 0, "line 1"},
        {"[\"\xFF\"]", 0, "unable to decode byte 0xff"},
        {"[\"\\u0000\"]", 0, "\\u0000"},
        {"[1]\0[2]", 7, "line 1"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        qep_json *j;
        int64_t n = wrong[i].bytes ? wrong[i].bytes : (int64_t)strlen(wrong[i].text);
        assert_fails(qep_json_parse(wrong[i].text, n, "cfg.json", QEP_E_CHECKPOINT, &j), QEP_E_CHECKPOINT,
                     wrong[i].message);
        assert_null(j);
    }
}

static void deep_text_is_refused_not_fatal(void **state)
{
    (void)state;
    int64_t n = 1000000;
    char *text = qep_alloc("test.json", n, 1);
    memset(text, '[', (size_t)n);
    qep_json *j;
    assert_fails(qep_json_parse(text, n, "deep", QEP_E_INPUT, &j), QEP_E_INPUT, "depth");
    qep_free(text);
}

static void marks_and_spaces_around_are_fine(void **state)
{
    (void)state;
    qep_json *j = parse("\xEF\xBB\xBF [1]   \n");
    assert_int_equal(qep_json_size(j), 1);
    qep_json_free(&j);
    j = parse("7");
    assert_int_equal(qep_json_int(j), 7);
    qep_json_free(&j);
}

static void built_values_have_text(void **state)
{
    (void)state;
    qep_json *o = qep_json_new_object();
    qep_json_set(o, "z", qep_json_new_int(INT64_MAX));
    qep_json_set(o, "gone", qep_json_new_int(0));
    qep_json_set(o, "a", qep_json_new_real(0.5));
    qep_json *list = qep_json_new_array();
    qep_json_set(o, "list", list);
    qep_json_append(list, qep_json_new_bool(true));
    qep_json_append(list, qep_json_new_bool(false));
    qep_json_append(list, qep_json_new_null());
    qep_json_append(list, qep_json_new_real(NAN));
    qep_json_append(list, qep_json_new_real(-INFINITY));
    qep_json_append(list, qep_json_new_string("q\"/\xC3\xA9\n"));
    qep_json_append(list, qep_json_new_string("bad\xFF!"));
    qep_json_remove(o, "gone");
    qep_json_remove(o, "absent");
    qep_json_set(o, "z", qep_json_new_string("again")); /* keeps its place */
    qep_json *copy = qep_json_copy(o);
    qep_json_set(o, "list", qep_json_new_null());
    char *text = qep_json_text(copy, false);
    assert_string_equal(text, "{\"z\":\"again\",\"a\":0.5,\"list\":[true,false,null,null,null,"
                              "\"q\\\"/\xC3\xA9\\n\",\"bad?!\"]}");
    qep_free(text);
    text = qep_json_text(o, true);
    assert_string_equal(text, "{\n  \"z\": \"again\",\n  \"a\": 0.5,\n  \"list\": null\n}");
    qep_free(text);
    qep_json_free(&o);
    qep_json_free(&copy);
    qep_json *i = qep_json_new_int(-3);
    text = qep_json_text(i, false);
    assert_string_equal(text, "-3");
    qep_free(text);
    qep_json_free(&i);
    assert_int_equal(qep_mem_blocks(), 0);
}

static void reals_are_written_short(void **state)
{
    (void)state;
    static const char text[] = "{\"a\":1e-05,\"b\":0.1,\"c\":10000.0,\"d\":[1,-2,0.30000000000000004],\"s\":\"1.50 \\\"2.500\\\" 3\"}";
    qep_json *j = NULL;
    assert_ok(qep_json_parse(text, (int64_t)strlen(text), "t", QEP_E_INPUT, &j));
    char *out = qep_json_text(j, false);
    assert_string_equal(out, text);
    qep_free(out);
    qep_json_free(&j);
}

static void reals_come_back_exactly(void **state)
{
    (void)state;
    const double values[] = {0.1, 1.0 / 3.0, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 1e22, -0.0, 3.0};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        qep_json *j = qep_json_new_real(values[i]);
        char *text = qep_json_text(j, false);
        qep_json_free(&j);
        j = parse(text);
        double back = qep_json_real(j);
        assert_int_equal(qep_json_type(j), QEP_JSON_REAL);
        assert_memory_equal(&back, &values[i], sizeof back);
        qep_json_free(&j);
        qep_free(text);
    }
}

static void files(void **state)
{
    (void)state;
    char path[] = "/tmp/qep_test_json_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_ok(qep_file_write(path, "{\"a\": [1, 2, 3]}", 16));
    qep_json *j;
    assert_ok(qep_json_load(path, QEP_E_INPUT, &j));
    assert_int_equal(qep_json_size(qep_json_get(j, "a")), 3);
    qep_json_free(&j);
    assert_ok(qep_file_write(path, "{\"a\": [1, 2,\n, 3]}", 18));
    assert_fails(qep_json_load(path, QEP_E_INPUT, &j), QEP_E_INPUT, ": line 2, column 1");
    assert_non_null(strstr(qep_error_text(), path));
    assert_ok(qep_file_remove(path));
    assert_fails(qep_json_load(path, QEP_E_CONFIG, &j), QEP_E_CONFIG, "No such file");
    assert_null(j);
    assert_int_equal(qep_mem_blocks(), 0);
}

static void set_in_array(void *arg)
{
    (void)arg;
    qep_json_set(qep_json_new_array(), "k", qep_json_new_int(1));
}

static void append_to_object(void *arg)
{
    (void)arg;
    qep_json_append(qep_json_new_object(), qep_json_new_int(1));
}

static void misuse_is_a_bug(void **state)
{
    (void)state;
    assert_dies(set_in_array, NULL, 70, "JSON member \"k\"");
    assert_dies(append_to_object, NULL, 70, "appended");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(reals_are_written_short),
        cmocka_unit_test(every_kind),
        cmocka_unit_test(integers_of_reals_are_clamped),
        cmocka_unit_test(members_come_in_file_order),
        cmocka_unit_test(wrong_text_is_told_with_its_place),
        cmocka_unit_test(deep_text_is_refused_not_fatal),
        cmocka_unit_test(marks_and_spaces_around_are_fine),
        cmocka_unit_test(built_values_have_text),
        cmocka_unit_test(reals_come_back_exactly),
        cmocka_unit_test(files),
        cmocka_unit_test(misuse_is_a_bug),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
