/* Spread, symmetrize, permute, fetch against plain copies. SPDX-License-Identifier: Apache-2.0 */
#include "dmat_cases.h"
#include <omp.h>

static int64_t count_diff(const double *a, const double *b, int64_t n)
{
    int64_t diff = 0;
    for (int64_t i = 0; i < n; i++) diff += !(a[i] == b[i]);
    return diff;
}
static const struct { int64_t n, block; } shapes[] = {
    {1, 1}, {1, 4}, {2, 1}, {5, 2}, {7, 7}, {13, 3}, {16, 4}, {17, 4}, {31, 32}, {64, 16}, {97, 5}, {130, 64}};
enum { N_SHAPES = sizeof shapes / sizeof shapes[0] };

static double lopsided(int64_t n, int64_t i, int64_t j)
{
    (void)n;
    return 1.0 + noise(i, j);
}

static void each_shape(void (*check)(qep_dmat *m))
{
    for (int s = 0; s < 2 * N_SHAPES; s++)
        for (int64_t owners = 1; owners <= qep_size(world); owners++) {
            omp_set_num_threads(1 + s % 2);
            qep_dmat *m = qep_dmat_create_all(world, "test.m", shapes[s / 2].n, shapes[s / 2].block, owners);
            fill(m, lopsided);
            check(m);
            qep_dmat_destroy_all(&m);
            assert_null(m);
        }
    omp_set_num_threads(1);
}

static void check_spread(qep_dmat *m)
{
    const int64_t n = qep_dmat_n(m);
    int64_t total = 0;
    char *seen = qep_alloc("test", n, 1);
    for (int q = 0; q < qep_size(world); q++) {
        const int64_t rows = qep_dmat_n_rows_of(m, q);
        total += rows;
        assert_true(q < qep_dmat_n_owners(m) || rows == 0);
        assert_int_equal(qep_dmat_local_bytes(n, qep_dmat_block(m), qep_dmat_n_owners(m), q), rows * qep_dmat_ld(m) * 8);
        for (int64_t l = 0, last = -1; l < rows; l++) {
            const int64_t i = qep_dmat_row_of(m, q, l);
            assert_true(i > last && i < n && !seen[i]);
            assert_int_equal(qep_dmat_owner(m, i), q);
            seen[i] = 1;
            last = i;
        }
    }
    assert_int_equal(total, n);
    qep_free(seen);
    double *a = gathered(m), *diag = qep_alloc("test", n, sizeof *diag);
    int64_t bad = 0;
    for (int64_t i = 0; i < n * n; i++) bad += !(a[i] == lopsided(n, i / n, i % n));
    qep_dmat_add_diag(m, 2.0);
    qep_dmat_diag_all(m, diag);
    for (int64_t i = 0; i < n; i++) bad += !(diag[i] == a[i * n + i] + 2.0);
    diag[n / 2] = -7.0;
    qep_dmat_set_diag_all(m, diag);
    memset(diag, 0, (size_t)n * sizeof *diag);
    qep_dmat_diag_all(m, diag);
    for (int64_t i = 0; i < n; i++) bad += !(diag[i] == (i == n / 2 ? -7.0 : a[i * n + i] + 2.0));
    qep_free(diag);
    qep_free(a);
    assert_all(world, bad == 0);
}

static void check_symmetrize(qep_dmat *m)
{
    const int64_t n = qep_dmat_n(m);
    qep_dmat_symmetrize_all(m);
    double *a = gathered(m);
    int64_t bad = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) bad += !(a[i * n + j] == (i > j ? lopsided(n, i, j) : lopsided(n, j, i)));
    qep_free(a);
    assert_all(world, bad == 0);
}

static void check_transpose(qep_dmat *m)
{
    const int64_t n = qep_dmat_n(m);
    qep_dmat *t = qep_dmat_create_all(world, "test.t", n, qep_dmat_block(m), qep_dmat_n_owners(m));
    qep_dmat_transpose_all(t, m);
    double *a = gathered(t);
    int64_t bad = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) bad += !(a[i * n + j] == lopsided(n, j, i));
    qep_free(a);
    qep_dmat_destroy_all(&t);
    assert_all(world, bad == 0);
}

/* kind 0: identity, 1: reversal, 2: shuffled, 3: all rows of the first owner first (the most one-sided) */
static void permutation(const qep_dmat *m, int kind, int32_t *perm)
{
    const int64_t n = qep_dmat_n(m);
    for (int64_t i = 0; i < n; i++) perm[i] = (int32_t)(kind == 1 ? n - 1 - i : i);
    if (kind == 2) {
        for (int64_t i = n - 1; i > 0; i--) {
            const int64_t j = (int64_t)((noise(i, 3) + 0.5) * (double)(i + 1));
            const int32_t t = perm[i];
            perm[i] = perm[j];
            perm[j] = t;
        }
    } else if (kind == 3) {
        int64_t k = 0;
        for (int q = 0; q < qep_size(world); q++)
            for (int64_t l = 0; l < qep_dmat_n_rows_of(m, q); l++) perm[k++] = (int32_t)qep_dmat_row_of(m, q, l);
    }
}

static void check_permute(qep_dmat *m)
{
    const int64_t n = qep_dmat_n(m);
    int32_t *perm = qep_alloc("test", n, sizeof *perm);
    qep_dmat *out = qep_dmat_create_all(world, "test.out", n, qep_dmat_block(m), qep_dmat_n_owners(m));
    int64_t bad = 0;
    for (int kind = 0; kind < 4; kind++) {
        permutation(m, kind, perm);
        qep_dmat_permute_all(out, m, perm);
        double *a = gathered(out);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) bad += !(a[i * n + j] == lopsided(n, perm[i], perm[j]));
        qep_free(a);
    }
    qep_dmat_copy(out, m);
    double *a = gathered(out), *b = gathered(m);
    bad += count_diff(a, b, n * n);
    qep_free(a);
    qep_dmat_add(out, m);
    a = gathered(out);
    for (int64_t i = 0; i < n * n; i++) bad += !(a[i] == 2.0 * b[i]);
    qep_free(a);
    qep_free(b);
    qep_dmat_destroy_all(&out);
    qep_free(perm);
    assert_all(world, bad == 0);
}

static int64_t bad_entries(const qep_dmat *m, const void *data, int64_t row0, int64_t rows, bool flip, qep_dtype type,
                           int64_t ld)
{
    const int64_t n = qep_dmat_n(m);
    int64_t bad = 0;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t c = 0; c < ld; c++) {
            double want = 0.0;
            if (!flip && c < n) want = lopsided(n, row0 + i, c);
            if (flip && c < n - row0) want = lopsided(n, n - 1 - (row0 + i), n - 1 - (row0 + c));
            const double got = type == QEP_F64 ? ((const double *)data)[i * ld + c] : (double)((const float *)data)[i * ld + c];
            bad += !(got == (type == QEP_F64 ? want : (double)(float)want));
        }
    return bad;
}

static void check_fetch(qep_dmat *m)
{
    const int64_t n = qep_dmat_n(m), ld = n + 3, offset = 64;
    qep_window *w = qep_window_create_all(world, "test.window", offset + n * ld * 8);
    char *data = qep_window_data(w);
    const struct { int64_t row0, rows; } part[] = {{0, n}, {0, 0}, {n / 2, n - n / 2}, {n / 3, 1}, {n, 0}, {0, n - n / 3}};
    int64_t bad = 0;
    for (int p = 0; p < 6; p++)
        for (int flip = 0; flip < 2; flip++)
            for (int t = 0; t < 2; t++) {
                const qep_dtype type = t ? QEP_F32 : QEP_F64;
                qep_window_sync_all(w);
                if (qep_node_rank(world) == 0) memset(data, 0x7f, (size_t)qep_window_bytes(w));
                qep_window_sync_all(w);
                qep_dmat_fetch_rows_all(m, part[p].row0, part[p].rows, flip, type, w, offset, ld);
                bad += bad_entries(m, data + offset, part[p].row0, part[p].rows, flip, type, ld);
                const int64_t end = offset + part[p].rows * ld * qep_dtype_size(type);
                for (int64_t b = 0; b < qep_window_bytes(w); b++) bad += (b < offset || b >= end) && data[b] != 0x7f;
            }
    qep_window_destroy_all(&w);
    assert_all(world, bad == 0);
}

static void check_kept(qep_dmat *m)
{
    const int64_t n = qep_dmat_n(m), ld = qep_dmat_ld(m);
    assert_null(qep_dmat_kept_rows(m));
    qep_dmat_keep_rows_all(m, "test.kept");
    int64_t bad = bad_entries(m, qep_dmat_kept_rows(m), 0, n, false, QEP_F32, ld);
    double *diag = qep_alloc("test", n, sizeof *diag), *moved = qep_alloc("test", n, sizeof *moved);
    qep_dmat_diag_all(m, diag);
    for (int64_t i = 0; i < n; i++) moved[i] = diag[i] + 1.0;
    qep_dmat_set_diag_all(m, moved);
    for (int64_t i = 0; i < n; i++) bad += !(qep_dmat_kept_rows(m)[i * ld + i] == (float)moved[i]);
    qep_dmat_set_diag_all(m, diag);
    bad += bad_entries(m, qep_dmat_kept_rows(m), 0, n, false, QEP_F32, ld);
    qep_free(moved);
    qep_free(diag);
    assert_int_equal(qep_dmat_kept_bytes(n), n * ld * 4);
    qep_dmat_drop_rows_all(m);
    bad += qep_dmat_kept_rows(m) != NULL;
    qep_dmat_drop_rows_all(m); /* none is fine */
    if (n % 2 == 0) qep_dmat_keep_rows_all(m, "test.kept"); /* what is still there goes with the matrix */
    assert_all(world, bad == 0);
}

static void test_kept(void **state) { (void)state; each_shape(check_kept); }
static void test_spread(void **state) { (void)state; each_shape(check_spread); }
static void test_symmetrize(void **state) { (void)state; each_shape(check_symmetrize); }
static void test_transpose(void **state) { (void)state; each_shape(check_transpose); }
static void test_permute(void **state) { (void)state; each_shape(check_permute); }
static void test_fetch(void **state) { (void)state; each_shape(check_fetch); }

static void test_empty(void **state)
{
    (void)state;
    qep_dmat *m = qep_dmat_create_all(world, "test.m", 0, 4, 1);
    int64_t minor = 7;
    qep_dmat_symmetrize_all(m);
    qep_dmat_cholesky_all(m, NULL, &minor);
    assert_int_equal(minor, 0);
    qep_dmat_destroy_all(&m);
    qep_dmat_destroy_all(&m); /* NULL is fine */
}

static void test_rule(void **state)
{
    (void)state;
    assert_int_equal(qep_dmat_owners_rule(4096, 64, 16, 0), 16);
    assert_int_equal(qep_dmat_owners_rule(65, 64, 16, 0), 2);
    assert_int_equal(qep_dmat_owners_rule(64, 64, 16, 0), 1);
    assert_int_equal(qep_dmat_owners_rule(4096, 64, 16, 5), 5);
    assert_int_equal(qep_dmat_owners_rule(0, 64, 16, 5), 1);
    assert_non_null(strstr(qep_dmat_library(), "ScaLAPACK"));
}

static void test_memory(void **state)
{
    (void)state;
    assert_int_equal(qep_mem_blocks(), *(int64_t *)*state);
}

int main(int argc, char **argv)
{
    world = qep_par_start(&argc, &argv);
    qep_linalg_start(1);
    if (qep_rank(world) != 0 && !freopen("/dev/null", "w", stdout)) return 1;
    int64_t blocks = qep_mem_blocks();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spread), cmocka_unit_test(test_symmetrize), cmocka_unit_test(test_permute),
        cmocka_unit_test(test_transpose), cmocka_unit_test(test_kept),
        cmocka_unit_test(test_fetch),  cmocka_unit_test(test_empty),      cmocka_unit_test(test_rule),
        cmocka_unit_test_prestate(test_memory, &blocks)};
    int64_t failed = cmocka_run_group_tests(tests, NULL, NULL) != 0;
    qep_max_i64_all(world, &failed, 1);
    qep_par_end(&world);
    return failed != 0;
}
