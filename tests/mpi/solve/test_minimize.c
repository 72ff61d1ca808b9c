/* The minimiser on functions whose minimum is known; it never goes up. SPDX-License-Identifier: Apache-2.0 */
#include "solve_cases.h"

enum { MOST = 400 };

typedef struct problem {
    int64_t n;
    double (*value)(const struct problem *p, const double *x, double *slope);
    double seen[MOST]; /* all values */
    int calls;
    double spread; /* ratio of the largest to the smallest curvature */
} problem;

/* sum_i c_i (x_i - i)^2 / 2 + 7 */
static double quadratic(const problem *p, const double *x, double *slope)
{
    double f = 7;
    for (int64_t i = 0; i < p->n; i++) {
        const double c = pow(p->spread, p->n > 1 ? (double)i / (double)(p->n - 1) : 0), e = x[i] - (double)(i % 5);
        f += 0.5 * c * e * e;
        slope[i] = c * e;
    }
    return f;
}

/* log(1 + e^x) - x / 4 in each: minimum at log(1/3) */
static double logistic(const problem *p, const double *x, double *slope)
{
    double f = 0;
    for (int64_t i = 0; i < p->n; i++) {
        f += log1p(exp(x[i])) - x[i] / 4;
        slope[i] = 1 / (1 + exp(-x[i])) - 0.25;
    }
    return f;
}

/* A slope that points the wrong way: nothing can be won. */
static double liar(const problem *p, const double *x, double *slope)
{
    const double f = quadratic(p, x, slope);
    for (int64_t i = 0; i < p->n; i++) slope[i] = -slope[i];
    return f;
}

static double broken(const problem *p, const double *x, double *slope)
{
    (void)x;
    for (int64_t i = 0; i < p->n; i++) slope[i] = NAN;
    return NAN;
}

static double call(void *ctx, const double *x, double *slope)
{
    problem *p = ctx;
    assert_true(p->calls < MOST);
    return p->seen[p->calls++] = p->value(p, x, slope);
}

/* Returns the value reached; x[n] from 0. */
static double solve(problem *p, int evaluations, double *x)
{
    const qep_minimum m = {p->n, call, p, 0.1, 1e-14, evaluations};
    double first, last, slope[MOST];
    p->calls = 0;
    const int made = qep_minimize(&m, x, &first, &last);
    assert_int_equal(made, p->calls);
    assert_true(made >= 1 && made <= evaluations);
    assert_true(first == p->seen[0] || isnan(first));
    assert_true(!(last > first));
    assert_true(isnan(last) || last == p->value(p, x, slope)); /* x is where last was seen */
    return last;
}

static void known_minima(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 2, 9, 100};
    for (int k = 0; k < 4; k++) {
        double x[100] = {0};
        problem q = {.n = sizes[k], .value = quadratic, .spread = 1000};
        assert_le_f(fabs(solve(&q, MOST, x) - 7), 1e-9);
        for (int64_t i = 0; i < q.n; i++) assert_le_f(fabs(x[i] - (double)(i % 5)), 1e-4);
        memset(x, 0, sizeof x);
        problem l = {.n = sizes[k], .value = logistic};
        (void)solve(&l, MOST, x);
        for (int64_t i = 0; i < l.n; i++) assert_le_f(fabs(x[i] - log(1.0 / 3)), 1e-5);
    }
}

/* With equal curvatures the second step is Newton's. */
static void equal_curvatures_take_three_calls(void **state)
{
    (void)state;
    double x[64] = {0};
    problem q = {.n = 64, .value = quadratic, .spread = 1};
    assert_le_f(solve(&q, 3, x) - 7, 1e-20);
}

static void few_calls_and_hopeless_functions(void **state)
{
    (void)state;
    double x[9] = {0};
    problem q = {.n = 9, .value = quadratic, .spread = 1e6};
    double before = INFINITY;
    for (int most = 1; most < 20; most++) { /* more calls never give a worse end */
        memset(x, 0, sizeof x);
        const double f = solve(&q, most, x);
        assert_true(f <= before);
        before = f;
    }
    memset(x, 0, sizeof x);
    problem lie = {.n = 9, .value = liar, .spread = 10}, bad = {.n = 9, .value = broken};
    (void)solve(&lie, MOST, x);
    for (int i = 0; i < 9; i++) assert_true(x[i] == 0);
    assert_true(isnan(solve(&bad, MOST, x)));
    for (int i = 0; i < 9; i++) assert_true(x[i] == 0);
}

static int group(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(known_minima), cmocka_unit_test(equal_curvatures_take_three_calls),
                                       cmocka_unit_test(few_calls_and_hopeless_functions)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return run_solve_tests(argc, argv, group);
}
