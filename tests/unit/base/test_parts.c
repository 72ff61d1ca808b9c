/* Seconds by name: of a phase, of one rank; inside of each other; other threads. SPDX-License-Identifier: Apache-2.0 */
#include "qep/base.h"
#include "qep_test.h"

#include <pthread.h>
#include <string.h>

/* Until a clock tick has passed. */
static void spend(void)
{
    const double from = qep_now_s();
    while (!(qep_now_s() > from + 1e-4)) continue;
}

static void timed(const char *name)
{
    qep_part_begin(name);
    spend();
    qep_part_end();
}

static void *elsewhere(void *unused)
{
    (void)unused;
    timed("elsewhere");
    return NULL;
}

static void by_phase(void **state)
{
    (void)state;
    pthread_t thread;
    timed("nowhere"); /* in no phase */
    assert_null(qep_part_at(0));
    assert_null(qep_parts_of("a"));
    timed("x");
    timed("y");
    assert_string_equal(qep_parts_of("b"), "a");
    timed("x");
    assert_int_equal(pthread_create(&thread, NULL, elsewhere, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_string_equal(qep_parts_of(NULL), "b");
    assert_string_equal(qep_part_at(0)->name, "x");
    assert_string_equal(qep_part_at(2)->of, "b");
    assert_null(qep_part_at(3));
    assert_true(qep_part_seconds("a", "x") > 0 && qep_part_seconds("b", "y") == 0);
    const double one = qep_part_seconds("a", "x");
    (void)qep_parts_of("a");
    timed("x");
    (void)qep_parts_of(NULL);
    assert_true(qep_part_seconds("a", "x") > one);
    assert_true(qep_part_seconds("a", NULL) >= qep_part_seconds("a", "x") + qep_part_seconds("a", "y"));
}

/* What is inside of a part belongs to it. */
static void inside(void **state)
{
    (void)state;
    (void)qep_parts_of("c");
    qep_part_begin("outer");
    timed("inner");
    qep_part_end();
    (void)qep_parts_of(NULL);
    assert_true(qep_part_seconds("c", "outer") > 0);
    assert_true(qep_part_seconds("c", "inner") == 0);
}

static qep_status work(qep_status st)
{
    spend();
    return st;
}

static void of_one_rank(void **state)
{
    (void)state;
    assert_int_equal(QEP_ALONE("publish", work(QEP_OK)), QEP_OK);
    assert_int_equal(QEP_ALONE("publish", work(QEP_E_IO)), QEP_E_IO);
    assert_int_equal(QEP_ALONE("lock", QEP_ALONE("inner", work(QEP_OK))), QEP_OK);
    assert_true(qep_part_seconds(QEP_ONE_RANK, "publish") > 0 && qep_part_seconds(QEP_ONE_RANK, "lock") > 0);
    assert_true(qep_part_seconds(QEP_ONE_RANK, "inner") == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(by_phase), cmocka_unit_test(inside), cmocka_unit_test(of_one_rank)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
