/* Steps on all threads: each once, the lowest failure wins. SPDX-License-Identifier: Apache-2.0 */
#include "qep/tensor.h"
#include "qep_test.h"

#include <omp.h>
#include <stdatomic.h>

enum { N = 200 };

typedef struct steps {
    atomic_int done[N];
    int64_t bad[3];   /* these fail */
    bool only_once;   /* ... the first time */
    int threads;
} steps;

static qep_status step(void *ctx, int64_t i, int thread)
{
    steps *s = ctx;
    assert_true(thread >= 0 && thread < s->threads);
    const int before = atomic_fetch_add(&s->done[i], 1);
    for (int k = 0; k < 3; k++)
        if (s->bad[k] == i && !(s->only_once && before > 0)) return qep_fail(QEP_E_IO, "step %d", (int)i);
    return QEP_OK;
}

static void every_step_once(void **state)
{
    (void)state;
    for (int t = 1; t <= 4; t++) {
        omp_set_num_threads(t);
        steps s = {.bad = {-1, -1, -1}, .threads = t};
        assert_int_equal(qep_each(N, N, step, &s), QEP_OK);
        for (int i = 0; i < N; i++) assert_int_equal(s.done[i], 1);
        assert_int_equal(qep_each_threads(N, 3), t < 3 ? t : 3);
        assert_int_equal(qep_each_threads(1, N), 1);
        assert_int_equal(qep_each_threads(0, N), 1);
        assert_int_equal(qep_each(0, N, step, &s), QEP_OK);
        assert_int_equal(qep_each(-5, N, step, &s), QEP_OK);
    }
}

static void the_lowest_failure(void **state)
{
    (void)state;
    for (int t = 1; t <= 4; t++) {
        omp_set_num_threads(t);
        for (int round = 0; round < 20; round++) {
            steps s = {.bad = {N - 1, 17, 18}, .threads = t};
            assert_int_equal(qep_each(N, N, step, &s), QEP_E_IO);
            assert_string_equal(qep_error_text(), "step 17");
            for (int i = 0; i < 17; i++) assert_int_equal(s.done[i], 1);
        }
    }
}

/* A failure that does not come again is one all the same. */
static void once(void **state)
{
    (void)state;
    omp_set_num_threads(3);
    steps s = {.bad = {50, -1, -1}, .only_once = true, .threads = 3};
    assert_int_equal(qep_each(N, N, step, &s), QEP_E_IO);
    assert_string_equal(qep_error_text(), "step 50");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_step_once), cmocka_unit_test(the_lowest_failure), cmocka_unit_test(once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
