/* Rows times a matrix, rows solved: against plain loops, and the same bits for every distribution of strips, owners
 * and threads, alone or in company. SPDX-License-Identifier: Apache-2.0 */
#include "solve_cases.h"

enum { N_STRIPS = 5, STRIP = QEP_SOLVE_STRIP };

static double *rows_of(int64_t d, int64_t strip) /* [64, d], f32 values */
{
    double *a = qep_alloc("test", STRIP * d, sizeof *a);
    for (int64_t i = 0; i < STRIP * d; i++) a[i] = (double)(float)noise(strip * STRIP + i / d, i % d + 31);
    return a;
}

typedef enum operation { TIMES_F64, TIMES_F32, SOLVE, FORMS } operation;

/* a H a^T of each row in y's first column, zeros behind; a comes back untouched. */
static void forms(const qep_dmat *m, int64_t n, float *a, double *y, qep_window *w)
{
    const int64_t d = qep_dmat_n(m);
    double *form = qep_alloc("test", n * STRIP, sizeof *form);
    float *before = qep_alloc("test", n * STRIP * d, sizeof *before);
    if (n > 0) memcpy(before, a, (size_t)(n * STRIP * d) * sizeof *a);
    for (int64_t i = 0; i < n * STRIP; i++) form[i] = NAN;
    qep_rows_forms_all(m, n, a, form, w);
    assert_memory_equal(before, a, (size_t)(n * STRIP * d) * sizeof *a);
    for (int64_t i = 0; i < n * STRIP; i++)
        for (int64_t j = 0; j < d; j++) y[i * d + j] = j == 0 ? form[i] : 0.0;
    qep_free(before), qep_free(form);
}

/* One operation on my strips (numbers in `strip`); results [n, 64, d] as f64. */
static double *apply(operation op, const qep_dmat *m, int64_t n, const int64_t *strip, qep_window *w)
{
    const int64_t d = qep_dmat_n(m), size = STRIP * d;
    double *x = qep_alloc("test", n * size, sizeof *x), *y = qep_alloc("test", n * size, sizeof *y);
    float *x32 = qep_alloc("test", n * size, sizeof *x32), *y32 = qep_alloc("test", n * size, sizeof *y32);
    for (int64_t i = 0; i < n; i++) {
        double *rows = rows_of(d, strip[i]);
        memcpy(x + i * size, rows, (size_t)size * sizeof *x);
        qep_free(rows);
    }
    for (int64_t i = 0; i < n * size; i++) {
        x32[i] = (float)x[i];
        y[i] = op == SOLVE ? x[i] : 1.0; /* += is visible */
        y32[i] = 1.0F;
    }
    if (op == TIMES_F64) qep_rows_times_f64_all(m, n, x32, y, w);
    if (op == TIMES_F32) qep_rows_times_f32_all(m, n, x32, y32, w);
    if (op == SOLVE) qep_rows_solve_all(m, n, y, w);
    if (op == FORMS) forms(m, n, x32, y, w);
    for (int64_t i = 0; op == TIMES_F32 && i < n * size; i++) y[i] = (double)y32[i];
    qep_free(x), qep_free(x32), qep_free(y32);
    return y;
}

static uint64_t strip_hash(const double *y, int64_t d, int64_t strip)
{
    return qep_hash64(y, (size_t)(STRIP * d) * sizeof *y, (uint64_t)strip);
}

/* Sum of the hashes of all strips, dealt to ranks by `kind`: 0 all on rank 0, 1 in turn, 2 all on the last rank. */
static uint64_t spread_hash(operation op, const qep_dmat *m, int kind, qep_window *w)
{
    int64_t strip[N_STRIPS], n = 0;
    for (int64_t s = 0; s < N_STRIPS; s++) {
        const int64_t owner[3] = {0, s % qep_size(world), qep_size(world) - 1};
        if (owner[kind] == qep_rank(world)) strip[n++] = s;
    }
    double *y = apply(op, m, n, strip, w);
    uint64_t sum = 0;
    for (int64_t i = 0; i < n; i++) sum += strip_hash(y + i * STRIP * qep_dmat_n(m), qep_dmat_n(m), strip[i]);
    qep_free(y);
    qep_sum_u64_all(world, &sum, 1);
    return sum;
}

/* Every strip in a call of its own. */
static uint64_t alone_hash(operation op, const qep_dmat *m, qep_window *w)
{
    uint64_t sum = 0;
    for (int64_t s = 0; s < N_STRIPS; s++) {
        const bool mine = s % qep_size(world) == qep_rank(world);
        double *y = apply(op, m, mine, &s, w);
        if (mine) sum += strip_hash(y, qep_dmat_n(m), s);
        qep_free(y);
    }
    qep_sum_u64_all(world, &sum, 1);
    return sum;
}

static const int64_t sizes[] = {1, 7, 64, 127, 128, 129, 300, 520, 1100}; /* the last: three bundles, for the bits only */
enum { N_SIZES = sizeof sizes / sizeof sizes[0], N_VALUES = N_SIZES - 1 };

static qep_dmat *operand(operation op, int64_t d, int64_t block, int64_t owners, qep_window *w)
{
    qep_dmat *m = make(d, block, owners, op == SOLVE || op == FORMS ? definite : unsymmetric);
    int64_t minor = 0;
    if (op == SOLVE) qep_dmat_cholesky_all(m, w, &minor);
    assert_int_equal(minor, 0);
    return m;
}

static void check_same_bits(operation op)
{
    for (int k = 0; k < N_SIZES; k++) {
        qep_window *w = qep_window_create_all(world, "test.window", qep_stream_bytes(sizes[k]));
        qep_dmat *m = operand(op, sizes[k], 32, 1, w);
        const uint64_t want = spread_hash(op, m, 0, w);
        const uint64_t alone = alone_hash(op, m, w);
        qep_dmat_destroy_all(&m);
        assert_all(world, alone == want);
        m = operand(op, sizes[k], 32, qep_size(world), w);
        for (int kind = 0; kind < 3; kind++)
            for (int threads = 1; threads <= 2; threads++) {
                qep_linalg_start(threads);
                const uint64_t got = spread_hash(op, m, kind, w);
                assert_all(world, got == want);
            }
        qep_linalg_start(1);
        qep_dmat_keep_rows_all(m, "test.kept");
        const uint64_t kept = spread_hash(op, m, 1, w);
        assert_all(world, kept == want);
        qep_dmat_destroy_all(&m);
        qep_window_destroy_all(&w);
    }
}

/* Relative error of one strip per rank. */
static void check_value(operation op, double tol)
{
    for (int k = 0; k < N_VALUES; k++) {
        const int64_t d = sizes[k], strip = qep_rank(world);
        qep_window *w = qep_window_create_all(world, "test.window", qep_stream_bytes(d));
        qep_dmat *m = operand(op, d, 16, qep_size(world), w);
        double *y = apply(op, m, 1, &strip, w), *rows = rows_of(d, strip);
        double *got = qep_alloc("test", STRIP * d, sizeof *got), *want = qep_alloc("test", STRIP * d, sizeof *want);
        for (int64_t i = 0; i < STRIP; i++)
            for (int64_t j = 0; j < d; j++) {
                double sum = op == SOLVE ? 0.0 : 1.0;
                for (int64_t l = 0; l < d; l++)
                    sum += op == SOLVE ? y[i * d + l] * definite(d, l, j) : rows[i * d + l] * unsymmetric(d, l, j);
                got[i * d + j] = op == SOLVE ? sum : y[i * d + j];
                want[i * d + j] = op == SOLVE ? rows[i * d + j] : sum;
            }
        const double err = relative(got, want, STRIP * d);
        qep_free(got), qep_free(want), qep_free(y), qep_free(rows);
        qep_dmat_destroy_all(&m);
        qep_window_destroy_all(&w);
        assert_all(world, err <= tol);
    }
}

static void check_forms(double tol)
{
    for (int k = 0; k < N_VALUES; k++) {
        const int64_t d = sizes[k], strip = qep_rank(world);
        qep_window *w = qep_window_create_all(world, "test.window", qep_stream_bytes(d));
        qep_dmat *m = operand(FORMS, d, 16, qep_size(world), w);
        double *y = apply(FORMS, m, 1, &strip, w), *rows = rows_of(d, strip), got[STRIP], want[STRIP];
        for (int64_t i = 0; i < STRIP; i++) {
            want[i] = 0.0;
            got[i] = y[i * d];
            for (int64_t j = 0; j < d; j++)
                for (int64_t l = 0; l < d; l++) want[i] += rows[i * d + j] * definite(d, j, l) * rows[i * d + l];
        }
        const double err = relative(got, want, STRIP);
        qep_free(y), qep_free(rows);
        qep_dmat_destroy_all(&m);
        qep_window_destroy_all(&w);
        assert_all(world, err <= tol);
    }
}

static void test_times_f64(void **state) { (void)state; check_value(TIMES_F64, 1e-14); check_same_bits(TIMES_F64); }
static void test_times_f32(void **state) { (void)state; check_value(TIMES_F32, 1e-6); check_same_bits(TIMES_F32); }
static void test_forms(void **state) { (void)state; check_forms(1e-6); check_same_bits(FORMS); }
static void test_solve(void **state) { (void)state; check_value(SOLVE, 1e-13); check_same_bits(SOLVE); }

/* M (L L^T)^-1 A = M, same bits for every number of owners. */
static void test_dmat_solve(void **state)
{
    (void)state;
    for (int k = 0; k < N_VALUES; k++) {
        const int64_t d = sizes[k];
        qep_window *w = qep_window_create_all(world, "test.window", qep_stream_bytes(d));
        uint64_t first = 0;
        double err = 0.0;
        for (int64_t owners = 1; owners <= qep_size(world); owners++) {
            qep_dmat *L = operand(SOLVE, d, 32, owners, w), *M = make(d, 32, owners, unsymmetric);
            qep_dmat_solve_all(M, L, w);
            const uint64_t bits = digest(M);
            if (owners == 1) first = bits;
            double sum = 0.0, norm = 0.0;
            for (int64_t l = 0; l < qep_dmat_n_rows_of(M, qep_rank(world)); l++)
                for (int64_t j = 0; j < d; j++) {
                    const double want = unsymmetric(d, qep_dmat_row_of(M, qep_rank(world), l), j);
                    double back = 0.0;
                    for (int64_t i = 0; i < d; i++) back += qep_dmat_row(M, l)[i] * definite(d, i, j);
                    sum += (back - want) * (back - want);
                    norm += want * want;
                }
            err = worse(err, norm > 0.0 ? sqrt(sum / norm) : 0.0);
            qep_dmat_destroy_all(&L);
            qep_dmat_destroy_all(&M);
            assert_all(world, bits == first);
        }
        qep_window_destroy_all(&w);
        assert_all(world, err <= 1e-13);
    }
}

static int group(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_times_f64), cmocka_unit_test(test_times_f32), cmocka_unit_test(test_forms),
                                       cmocka_unit_test(test_solve), cmocka_unit_test(test_dmat_solve)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return run_solve_tests(argc, argv, group);
}
