/* Status codes, error record, bugs. SPDX-License-Identifier: Apache-2.0 */
#include "qep_die.h"

static void status_codes_are_those_of_the_interface(void **state)
{
    (void)state;
    const struct { qep_status st; int code; } want[] = {
        {QEP_OK, 0}, {QEP_E_CONFIG, 1}, {QEP_E_INPUT, 2}, {QEP_E_RESOURCE, 3}, {QEP_E_NUMERIC, 4},
        {QEP_E_IO, 5}, {QEP_E_CHECKPOINT, 6}, {QEP_E_INTERNAL, 70}, {QEP_E_STOPPED, 75},
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        assert_int_equal(qep_status_exit_code(want[i].st), want[i].code);
        assert_true(strlen(qep_status_text(want[i].st)) > 1);
    }
    assert_int_equal(qep_status_exit_code((qep_status)1000), 70);
}

static void fail_records_message_and_place(void **state)
{
    (void)state;
    qep_error_clear();
    assert_string_equal(qep_error_text(), "");
    assert_string_equal(qep_error_where(), "");
    assert_int_equal(qep_fail(QEP_E_INPUT, "tensor %s has %d rows", "q_proj", 7), QEP_E_INPUT);
    assert_string_equal(qep_error_text(), "tensor q_proj has 7 rows");
    assert_non_null(strstr(qep_error_where(), "test_error.c:"));
    qep_fail(QEP_E_IO, "second");
    assert_string_equal(qep_error_text(), "second");
}

static void context_goes_in_front(void **state)
{
    (void)state;
    qep_fail(QEP_E_INPUT, "wrong shape");
    char where[256];
    snprintf(where, sizeof where, "%s", qep_error_where());
    assert_int_equal(qep_context(QEP_E_INPUT, "block %d", 12), QEP_E_INPUT);
    assert_int_equal(qep_context(QEP_E_INPUT, "model %s", "m"), QEP_E_INPUT);
    assert_string_equal(qep_error_text(), "model m: block 12: wrong shape");
    assert_string_equal(qep_error_where(), where);
    assert_int_equal(qep_context(QEP_OK, "not an error"), QEP_OK);
    assert_string_equal(qep_error_text(), "model m: block 12: wrong shape");
}

static void arguments_may_be_the_record_itself(void **state)
{
    (void)state;
    qep_fail(QEP_E_IO, "inner");
    qep_fail(QEP_E_INPUT, "outer (%s)", qep_error_text());
    assert_string_equal(qep_error_text(), "outer (inner)");
    qep_context(QEP_E_INPUT, "<%s>", qep_error_text());
    assert_string_equal(qep_error_text(), "<outer (inner)>: outer (inner)");
    qep_error_set(QEP_E_INPUT, qep_error_text() + 1, qep_error_where());
    assert_string_equal(qep_error_text(), "outer (inner)>: outer (inner)");
}

static void set_takes_text_and_place(void **state)
{
    (void)state;
    qep_error_set(QEP_E_IO, "100% from rank 3", "src/x.c:9");
    assert_string_equal(qep_error_text(), "100% from rank 3");
    assert_string_equal(qep_error_where(), "src/x.c:9");
    qep_error_set(QEP_OK, "ignored", "ignored");
    assert_string_equal(qep_error_text(), "");
}

static void messages_are_printable_and_cut_cleanly(void **state)
{
    (void)state;
    qep_fail(QEP_E_INPUT, "a\033[31mb\nc\x7f" "\xC3\xA9");
    assert_string_equal(qep_error_text(), "a?[31mb\nc?\xC3\xA9");
    static char big[40001];
    for (size_t i = 0; i + 1 < sizeof big; i += 2) memcpy(big + i, "\xC3\xA9", 2);
    for (int shift = 0; shift < 2; shift++) {
        qep_fail(QEP_E_INPUT, "%s%s", shift ? "x" : "", big);
        const char *t = qep_error_text();
        size_t n = strlen(t);
        assert_true(n > 10000 && n < sizeof big);
        assert_string_equal(t + n - 3, "...");
        assert_int_equal((unsigned char)t[n - 4], 0xA9); /* a whole character before the mark */
    }
    qep_context(QEP_E_INPUT, "%s", big);
    assert_true(strlen(qep_error_text()) < sizeof big);
    qep_error_clear();
}

static qep_status try_twice(qep_status first, int *steps)
{
    QEP_TRY(first);
    ++*steps;
    return QEP_OK;
}

static qep_status go_twice(qep_status first, int *steps)
{
    qep_status st = QEP_OK;
    QEP_GO(st, first);
    ++*steps;
done:
    ++*steps;
    return st;
}

static void macros_leave_early(void **state)
{
    (void)state;
    int steps = 0;
    assert_int_equal(try_twice(QEP_E_IO, &steps), QEP_E_IO);
    assert_int_equal(steps, 0);
    assert_int_equal(try_twice(QEP_OK, &steps), QEP_OK);
    assert_int_equal(steps, 1);
    assert_int_equal(go_twice(QEP_E_IO, &steps), QEP_E_IO);
    assert_int_equal(steps, 2);
    assert_int_equal(go_twice(QEP_OK, &steps), QEP_OK);
    assert_int_equal(steps, 4);
}

static void leave_with_42(int code)
{
    fprintf(stderr, "hook got %d\n", code);
    _exit(42);
}

static void break_invariant(void *arg)
{
    if (arg) qep_set_abort_hook(leave_with_42, 5);
    int three = 3;
    QEP_REQUIRE(three == 3);
    QEP_REQUIRE(three == 4);
}

static void bug_ends_the_job(void **state)
{
    (void)state;
    assert_dies(break_invariant, NULL, 70, "violated: three == 4");
    assert_dies(break_invariant, NULL, 70, "test_error.c:");
    int yes = 1;
    assert_dies(break_invariant, &yes, 42, "rank 5");
    assert_dies(break_invariant, &yes, 42, "hook got 70");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_codes_are_those_of_the_interface),
        cmocka_unit_test(fail_records_message_and_place),
        cmocka_unit_test(context_goes_in_front),
        cmocka_unit_test(arguments_may_be_the_record_itself),
        cmocka_unit_test(set_takes_text_and_place),
        cmocka_unit_test(messages_are_printable_and_cut_cleanly),
        cmocka_unit_test(macros_leave_early),
        cmocka_unit_test(bug_ends_the_job),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
