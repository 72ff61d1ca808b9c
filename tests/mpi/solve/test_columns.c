/* Sums of columns against direct f64 sums; the same bits for every split of the rows. SPDX-License-Identifier: Apache-2.0 */
#include "solve_cases.h"

enum { N_SEQ = 6, TOKENS = 20, N_ROWS = 37 };

typedef struct samples {
    int64_t d, n_mine, mine[N_SEQ];
} samples;

/* Channel d / 2 is dead, others between 2^-60 and 2^60 large. */
static float value(int64_t d, int64_t row, int64_t c)
{
    return d > 2 && c == d / 2 ? 0.0F : (float)(exp2(60.0 * sin((double)c)) * noise(row, c));
}

static int64_t tap_tokens(void *ctx, int64_t i)
{
    return 1 + ((samples *)ctx)->mine[i] * 3 % TOKENS;
}

static void tap_get(void *ctx, int64_t i, float *xq, float *delta)
{
    const samples *s = ctx;
    assert_null(delta);
    for (int64_t t = 0; t < tap_tokens(ctx, i); t++)
        for (int64_t c = 0; c < s->d; c++) xq[t * s->d + c] = value(s->d, s->mine[i] * 100 + t, c);
}

/* kind 0: all on rank 0, 1: all on the last rank backwards, 2: dealt in turn */
static void split(samples *s, int kind)
{
    s->n_mine = 0;
    for (int64_t k = 0; k < N_SEQ; k++) {
        const int64_t g = kind == 1 ? N_SEQ - 1 - k : k, size = qep_size(world), rank = qep_rank(world);
        const bool mine[3] = {rank == 0, rank == size - 1, g % size == rank};
        if (mine[kind]) s->mine[s->n_mine++] = g;
    }
}

/* Mean |x| over all tokens, one after the other. */
static void direct_means(int64_t d, double *mean)
{
    samples all = {.d = d, .n_mine = N_SEQ, .mine = {0, 1, 2, 3, 4, 5}};
    float x[TOKENS * 300];
    int64_t total = 0;
    for (int64_t i = 0; i < N_SEQ; i++) {
        tap_get(&all, i, x, NULL);
        total += tap_tokens(&all, i);
        for (int64_t k = 0; k < tap_tokens(&all, i) * d; k++) mean[k % d] += fabs((double)x[k]);
    }
    for (int64_t c = 0; c < d; c++) mean[c] /= (double)total;
}

static int64_t count_far(const double *got, const double *want, int64_t d, double tol)
{
    int64_t bad = 0;
    for (int64_t c = 0; c < d; c++) bad += !(fabs(got[c] - want[c]) <= tol * want[c]);
    return bad;
}

static void check_means(int64_t d)
{
    double *want = qep_alloc("test", 2 * d, sizeof *want), *got = want + d;
    double *first = qep_alloc("test", d, sizeof *first);
    direct_means(d, want);
    int64_t differ = 0, far = 0;
    for (int kind = 0; kind < 3; kind++) {
        samples s = {.d = d};
        split(&s, kind);
        const qep_tap_source src = {&s, s.n_mine, TOKENS, tap_tokens, tap_get, NULL};
        qep_abs_means_all(world, &src, 1, d, got);
        if (kind == 0) memcpy(first, got, (size_t)d * sizeof *got);
        differ += memcmp(first, got, (size_t)d * sizeof *got) != 0;
        far += count_far(got, want, d, 1e-13);
    }
    samples one = {.d = d}, two = {.d = d};
    split(&one, 0);
    split(&two, 1);
    const qep_tap_source both[2] = {{&one, one.n_mine, TOKENS, tap_tokens, tap_get, NULL}, {&two, two.n_mine, TOKENS, tap_tokens, tap_get, NULL}};
    double *pair = qep_alloc("test", 2 * d, sizeof *pair);
    qep_abs_means_all(world, both, 2, d, pair);
    differ += memcmp(first, pair, (size_t)d * sizeof *pair) != 0 || memcmp(first, pair + d, (size_t)d * sizeof *pair) != 0;
    qep_free(pair);
    const qep_tap_source none = {NULL, 0, TOKENS, tap_tokens, tap_get, NULL};
    qep_abs_means_all(world, &none, 1, d, got);
    for (int64_t c = 0; c < d; c++) far += got[c] != 0.0; /* an expert that no token was sent to */
    qep_free(first);
    qep_free(want);
    assert_all(world, differ == 0);
    assert_all(world, far == 0);
}

static void test_means(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 3, 17, 256, 300};
    for (int k = 0; k < 5; k++) check_means(sizes[k]);
}

static void check_squares(int64_t d)
{
    double *want = qep_alloc("test", 2 * d, sizeof *want), *got = want + d;
    double *first = qep_alloc("test", d, sizeof *first);
    float *x = qep_alloc("test", N_ROWS * d, sizeof *x);
    for (int64_t r = 0; r < N_ROWS; r++)
        for (int64_t c = 0; c < d; c++) want[c] += (double)value(d, r, c) * (double)value(d, r, c);
    int64_t differ = 0, far = 0;
    for (int kind = 0; kind < 3; kind++) {
        int64_t n = 0;
        for (int64_t r = 0; r < N_ROWS; r++) {
            const int64_t size = qep_size(world), rank = qep_rank(world);
            const bool mine[3] = {rank == 0, rank == size - 1, r % size == rank};
            for (int64_t c = 0; mine[kind] && c < d; c++) x[n * d + c] = value(d, r, c);
            n += mine[kind];
        }
        qep_column_squares_all(world, n, N_ROWS, d, x, got);
        if (kind == 0) memcpy(first, got, (size_t)d * sizeof *got);
        differ += memcmp(first, got, (size_t)d * sizeof *got) != 0;
        far += count_far(got, want, d, 1e-13);
    }
    qep_free(x);
    qep_free(first);
    qep_free(want);
    assert_all(world, differ == 0);
    assert_all(world, far == 0);
}

static void test_squares(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 3, 17, 257};
    for (int k = 0; k < 4; k++) check_squares(sizes[k]);
}

static void check_sums(int64_t d)
{
    double *want = qep_alloc("test", 4 * d, sizeof *want), *got = want + d, *first = got + d, *size_of = first + d;
    double *x = qep_alloc("test", N_ROWS * d, sizeof *x);
    const int64_t size = qep_size(world), rank = qep_rank(world);
    for (int64_t r = 0; r < N_ROWS; r++)
        for (int64_t c = 0; c < d; c++) {
            want[c] += (double)value(d, r, c);
            size_of[c] += fabs((double)value(d, r, c));
        }
    int64_t differ = 0, far = 0, n = 0;
    for (int kind = 0; kind < 3; kind++) {
        n = 0;
        for (int64_t r = 0; r < N_ROWS; r++) {
            const bool mine[3] = {rank == 0, rank == size - 1, r % size == rank};
            for (int64_t c = 0; mine[kind] && c < d; c++) x[n * d + c] = (double)value(d, r, c);
            n += mine[kind];
        }
        qep_column_sums_all(world, n, N_ROWS, d, x, got);
        if (kind == 0) memcpy(first, got, (size_t)d * sizeof *got);
        differ += memcmp(first, got, (size_t)d * sizeof *got) != 0;
        for (int64_t c = 0; c < d; c++) far += !(fabs(got[c] - want[c]) <= 1e-13 * size_of[c]);
    }
    if (rank == size - 1 && n > 0) x[d - 1] = NAN; /* on one rank: known to all */
    qep_column_sums_all(world, n, N_ROWS, d, x, got);
    const bool knows = isnan(got[d - 1]) && (d == 1 || !isnan(got[0]));
    qep_free(x);
    qep_free(want);
    assert_all(world, differ == 0);
    assert_all(world, far == 0);
    assert_all(world, knows);
}

static void test_sums(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 3, 17, 257};
    for (int k = 0; k < 4; k++) check_sums(sizes[k]);
}

static int group(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_means), cmocka_unit_test(test_squares), cmocka_unit_test(test_sums)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return run_solve_tests(argc, argv, group);
}
