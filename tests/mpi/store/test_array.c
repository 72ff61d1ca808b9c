/* Token arrays of other programs: every integer type, one or two dimensions, all ranges, refusals.
 * Each rank reads for itself. SPDX-License-Identifier: Apache-2.0 */
#include "store_files.h"

static char mine[320]; /* each rank its own file */

static int prepare(void **state)
{
    int rc = make_scratch(state);

    snprintf(mine, sizeof mine, "%s.%d", file_path, qep_rank(world));
    return rc;
}

#define ARRAY_TEST(f) cmocka_unit_test_setup_teardown(f, prepare, remove_scratch)

/* Writes n values as `type`; chunked and compressed when chunk > 0. */
static void put_array(hid_t type, int rank, const hsize_t *shape, const int64_t *x, hsize_t chunk)
{
    hid_t file = H5Fcreate(mine, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    hid_t space = H5Screate_simple(rank, shape, NULL), how = H5Pcreate(H5P_DATASET_CREATE), set;
    hsize_t chunks[3] = {chunk, chunk, chunk};

    if (chunk > 0) {
        assert_true(H5Pset_chunk(how, rank, chunks) >= 0);
        assert_true(H5Pset_deflate(how, 4) >= 0);
    }
    set = H5Dcreate2(file, "tokens", type, space, H5P_DEFAULT, how, H5P_DEFAULT);
    assert_true(set >= 0);
    assert_true(H5Dwrite(set, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, x) >= 0);
    H5Dclose(set);
    H5Pclose(how);
    H5Sclose(space);
    H5Fclose(file);
}

static void check_all_ranges(const int64_t *x, int64_t n, int want_rank, int64_t rows, int64_t cols)
{
    int64_t shape[2], got[64];
    int rank;
    qep_h5_array *a;

    assert_ok(qep_h5_open(mine, "tokens", &a, &rank, shape));
    assert_int_equal(rank, want_rank);
    assert_int_equal(shape[0], rows);
    assert_int_equal(shape[1], cols);
    for (int64_t first = 0; first <= n; first++)
        for (int64_t len = 0; first + len <= n; len++) {
            got[len] = -77;
            assert_ok(qep_h5_read_i64(a, first, len, got));
            assert_memory_equal(got, x + first, (size_t)len * sizeof *x);
            assert_int_equal(got[len], -77);
        }
    qep_h5_close(&a);
    assert_null(a);
    qep_h5_close(&a);
}

static void test_types_and_ranges(void **state)
{
    const hid_t types[] = {H5T_STD_U8LE,  H5T_STD_I16LE, H5T_STD_U16BE, H5T_STD_I32LE,
                           H5T_STD_U32LE, H5T_STD_I64BE, H5T_STD_U64LE};
    int64_t x[21];

    (void)state;
    for (int i = 0; i < 21; i++)
        x[i] = (i * 37 + 5) % 128;
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        put_array(types[t], 1, (hsize_t[]){21}, x, t % 2 ? 4 : 0);
        check_all_ranges(x, 21, 1, 21, 1);
        put_array(types[t], 2, (hsize_t[]){3, 7}, x, t % 2 ? 0 : 2);
        check_all_ranges(x, 21, 2, 3, 7);
    }
    put_array(types[0], 2, (hsize_t[]){21, 1}, x, 0);
    check_all_ranges(x, 21, 2, 21, 1);
    put_array(types[0], 2, (hsize_t[]){1, 21}, x, 0);
    check_all_ranges(x, 21, 2, 1, 21);
    put_array(types[0], 1, (hsize_t[]){0}, x, 0);
    check_all_ranges(x, 0, 1, 0, 1);
    put_array(types[0], 2, (hsize_t[]){4, 0}, x, 0);
    check_all_ranges(x, 0, 2, 4, 0);
}

static void test_large_values(void **state)
{
    int64_t x[3] = {-5, INT64_C(1) << 40, INT64_MIN};

    (void)state;
    put_array(H5T_STD_I64LE, 1, (hsize_t[]){3}, x, 0);
    check_all_ranges(x, 3, 1, 3, 1);
}

static void test_refusals(void **state)
{
    int64_t x[8] = {0}, shape[2];
    int rank;
    qep_h5_array *a;

    (void)state;
    assert_fails(qep_h5_open(mine, "tokens", &a, &rank, shape), QEP_E_INPUT, "No such file");
    assert_null(a);
    put_array(H5T_STD_I32LE, 1, (hsize_t[]){8}, x, 0);
    assert_fails(qep_h5_open(mine, "other", &a, &rank, shape), QEP_E_INPUT, "no dataset \"other\"");
    put_array(H5T_STD_I32LE, 3, (hsize_t[]){2, 2, 2}, x, 0);
    assert_fails(qep_h5_open(mine, "tokens", &a, &rank, shape), QEP_E_INPUT, "3 dimensions");
    put_array(H5T_STD_I32LE, 0, NULL, x, 0);
    assert_fails(qep_h5_open(mine, "tokens", &a, &rank, shape), QEP_E_INPUT, "0 dimensions");
    put_array(H5T_IEEE_F32LE, 1, (hsize_t[]){8}, x, 0);
    assert_fails(qep_h5_open(mine, "tokens", &a, &rank, shape), QEP_E_INPUT, "integers");
    assert_int_equal(truncate(mine, 100), 0);
    assert_fails(qep_h5_open(mine, "tokens", &a, &rank, shape), QEP_E_INPUT, "truncated");
    assert_int_equal(truncate(mine, 0), 0);
    assert_fails(qep_h5_open(mine, "tokens", &a, &rank, shape), QEP_E_INPUT, "not HDF5");
    assert_null(a);
}

static void test_faults(void **state)
{
    int64_t x[8] = {0}, shape[2];
    char spec[32];
    int rank;
    qep_h5_array *a;

    (void)state;
    put_array(H5T_STD_I32LE, 1, (hsize_t[]){8}, x, 0);
    assert_ok(qep_h5_open(mine, "tokens", &a, &rank, shape));
    snprintf(spec, sizeof spec, "store.read:1@%d", qep_rank(world));
    faults(spec);
    assert_fails(qep_h5_read_i64(a, 0, 8, x), QEP_E_IO, "\"tokens\"");
    assert_ok(qep_h5_read_i64(a, 0, 8, x));
    faults(NULL);
    qep_h5_close(&a);
}

static const struct CMUnitTest tests[] = {
    ARRAY_TEST(test_types_and_ranges),
    ARRAY_TEST(test_large_values),
    ARRAY_TEST(test_refusals),
    ARRAY_TEST(test_faults),
};

QEP_TEST_MAIN_MPI(tests)
