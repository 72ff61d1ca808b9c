/* Scores from given log-likelihoods, and the texts' ends. SPDX-License-Identifier: Apache-2.0 */
#include "qep_test.h"
#include "../../../src/tasks/tasks_priv.h"

static void scores(void **state)
{
    (void)state;
    /* three examples with 2, 3 and 2 choices */
    int64_t at[] = {0, 2, 5, 7}, gold[] = {1, 2, 0};
    qep_task_choice c[7] = {{.chars = 4}, {.chars = 8}, {.chars = 2}, {.chars = 2}, {.chars = 10}, {.chars = 3}, {.chars = 3}};
    qep_task t = {.n_examples = 3, .n_choices = 7, .choice_at = at, .gold = gold, .choices = c};
    const qep_task_answer a[7] = {{-4, false}, {-5, false}, {-3, false}, {-9, true}, {-3, false}, {-2, false}, {-2, true}};
    const qep_task_answer b[7] = {{-5, false}, {-4, false}, {-3, false}, {-9, true}, {-3, false}, {-2, false}, {-2, true}};
    qep_task_score s;
    int64_t chosen[3];
    qep_task_score_of(&t, a, &s, chosen);
    /* by sum: 0 (wrong), 0 of the equal ones (wrong), 0 of the equal ones (right); per character: 1, 2, 0: all right */
    assert_true(chosen[0] == 0 && chosen[1] == 0 && chosen[2] == 0);
    assert_le_f(fabs(s.acc - 1.0 / 3), 1e-15);
    /* sample standard deviation of 0, 0, 1 over sqrt(3) */
    assert_le_f(fabs(s.acc_stderr - sqrt((2 * (1.0 / 9) + 4.0 / 9) / 2) / sqrt(3.0)), 1e-15);
    assert_true(s.acc_norm == 1.0 && s.acc_norm_stderr == 0.0 && isnan(s.perplexity));
    assert_le_f(fabs(qep_task_agreement(&t, a, b) - 2.0 / 3), 1e-15);
    t.n_examples = 1;
    qep_task_score_of(&t, b, &s, NULL);
    assert_true(s.acc == 1.0 && isnan(s.acc_stderr));
}

static void words(void **state)
{
    (void)state;
    int64_t at[] = {0, 1, 2, 3}, gold[] = {0, 0, 0};
    qep_task_choice c[3] = {{.chars = 4}, {.chars = 8}, {.chars = 2}};
    const qep_task t = {.word = true, .n_examples = 3, .n_choices = 3, .choice_at = at, .gold = gold, .choices = c};
    const qep_task_answer a[3] = {{-1, true}, {-2, false}, {-6, true}}, b[3] = {{-1, true}, {-2, true}, {-6, false}};
    qep_task_score s;
    qep_task_score_of(&t, a, &s, NULL);
    assert_le_f(fabs(s.acc - 2.0 / 3), 1e-15);
    assert_le_f(fabs(s.perplexity - exp(3.0)), 1e-12);
    assert_true(isnan(s.acc_norm));
    assert_le_f(fabs(qep_task_agreement(&t, a, b) - 1.0 / 3), 1e-15);
}

static void text_ends(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t space, characters;
    } row[] = {{"", 0, 0}, {"a", 0, 1}, {"a ", 1, 2}, {" a", 0, 2}, {" \t\n\r\v\f\x1f", 7, 7}, {"a\xc2\xa0", 2, 2},
               {"a\xe2\x80\x83 \xe3\x80\x80", 7, 4}, {"\xc3\xa9", 0, 1}, {"a\xe2\x80\x8b", 0, 2} /* U+200B is no white space to Python */};
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        assert_int_equal(qep_trailing_space(row[i].text, (int64_t)strlen(row[i].text)), row[i].space);
        assert_int_equal(qep_characters(row[i].text), row[i].characters);
    }
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(scores), cmocka_unit_test(words), cmocka_unit_test(text_ends)};

QEP_TEST_MAIN(tests)
