/* Element types. SPDX-License-Identifier: Apache-2.0 */
#include "qep/tensor.h"
#include "qep_die.h"

static void names_and_sizes(void **state)
{
    (void)state;
    const struct { const char *name; qep_dtype type; int bits; int64_t size; } want[] = {
        {"BOOL", QEP_BOOL, 8, 1}, {"U8", QEP_U8, 8, 1}, {"I8", QEP_I8, 8, 1}, {"F8_E5M2", QEP_F8_E5M2, 8, 1},
        {"F8_E4M3", QEP_F8_E4M3, 8, 1}, {"F4", QEP_F4, 4, 0}, {"F6_E2M3", QEP_F6_E2M3, 6, 0},
        {"F6_E3M2", QEP_F6_E3M2, 6, 0}, {"I16", QEP_I16, 16, 2}, {"U16", QEP_U16, 16, 2}, {"F16", QEP_F16, 16, 2},
        {"BF16", QEP_BF16, 16, 2}, {"I32", QEP_I32, 32, 4}, {"U32", QEP_U32, 32, 4}, {"F32", QEP_F32, 32, 4},
        {"C64", QEP_C64, 64, 8}, {"F64", QEP_F64, 64, 8}, {"I64", QEP_I64, 64, 8}, {"U64", QEP_U64, 64, 8},
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        qep_dtype t = QEP_DTYPE_COUNT;
        assert_true(qep_dtype_from_name(want[i].name, &t));
        assert_int_equal(t, want[i].type);
        assert_string_equal(qep_dtype_name(t), want[i].name);
        assert_int_equal(qep_dtype_bits(t), want[i].bits);
        assert_int_equal(qep_dtype_size(t), want[i].size);
        bool is_float = t == QEP_F16 || t == QEP_BF16 || t == QEP_F32 || t == QEP_F64;
        assert_int_equal(qep_dtype_is_float(t), is_float);
    }
}

static void every_type_has_its_own_name(void **state)
{
    (void)state;
    for (int i = 0; i < QEP_DTYPE_COUNT; i++) {
        qep_dtype t;
        assert_true(qep_dtype_from_name(qep_dtype_name((qep_dtype)i), &t));
        assert_int_equal(t, i);
    }
}

static void unknown_names(void **state)
{
    (void)state;
    const char *wrong[] = {"", "f32", "F128", "F3", "F322", " F32"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        qep_dtype t = QEP_I8;
        assert_false(qep_dtype_from_name(wrong[i], &t));
        assert_int_equal(t, QEP_I8);
    }
}

static void name_of(void *arg)
{
    (void)qep_dtype_name((qep_dtype)*(int *)arg);
}

static void outside_the_list_is_a_bug(void **state)
{
    (void)state;
    int wrong[] = {QEP_DTYPE_COUNT, -1, 1000};
    for (int i = 0; i < 3; i++) assert_dies(name_of, &wrong[i], 70, "is no element type");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_sizes),
        cmocka_unit_test(every_type_has_its_own_name),
        cmocka_unit_test(unknown_names),
        cmocka_unit_test(outside_the_list_is_a_bug),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
