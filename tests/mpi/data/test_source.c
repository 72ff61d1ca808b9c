/* Token files: good and bad .npy headers, types, HDF5, ids outside the vocabulary, faults.
 * SPDX-License-Identifier: Apache-2.0 */
#include "data_files.h"
#include "qep/store.h"

#define OK_HEAD "{'descr': '<i4', 'fortran_order': False, 'shape': (6,), }"

static qep_status open_file(const char *name, qep_source **s)
{
    char *path = qep_path_join(dir, name);
    qep_status st = qep_source_open(path, s);
    qep_free(path);
    return st;
}

static void good_headers(void **state)
{
    (void)state;
    static const struct {
        int version;
        const char *header;
        int64_t bytes, rows, length;
        bool is_rows;
    } row[] = {
        {1, OK_HEAD, 24, 1, 6, false},
        {2, OK_HEAD "      \n", 24, 1, 6, false},
        {3, OK_HEAD "\n", 24, 1, 6, false},
        {1, "{'descr':'<i4','fortran_order':False,'shape':(6,)}", 24, 1, 6, false},
        {1, " { \"shape\" : ( 2 , 3 ) , \"descr\" : \"<i4\" , 'fortran_order' : False } \n", 24, 2,
         3, true},
        {1, "{'descr': '<i4', 'fortran_order': False, 'shape': (3, 2,), }", 24, 3, 2, true},
        {1, "{'descr': '<i8', 'fortran_order': False, 'shape': (3,), }", 24, 1, 3, false},
        {1, "{'descr': '<u2', 'fortran_order': False, 'shape': (4, 3), }", 24, 4, 3, true},
        {1, "{'descr': '<u4', 'fortran_order': False, 'shape': (1, 6), }", 24, 1, 6, true},
        {1, "{'descr': '<i4', 'fortran_order': False, 'shape': (0,), }", 0, 1, 0, false},
        {1, "{'descr': '<i4', 'fortran_order': False, 'shape': (0, 5), }", 0, 0, 5, true},
    };
    static const unsigned char zeros[64];
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        qep_source *s;
        write_npy("good.npy", row[i].version, row[i].header, zeros, row[i].bytes);
        assert_ok(open_file("good.npy", &s));
        assert_int_equal(qep_source_rows(s), row[i].rows);
        assert_int_equal(qep_source_length(s), row[i].length);
        assert_int_equal(qep_source_is_rows(s), row[i].is_rows);
        qep_source_close(&s);
        assert_null(s);
        qep_barrier_all(world);
    }
}

static void bad_headers(void **state)
{
    (void)state;
    static const struct {
        int version;
        const char *header;
        int64_t bytes;
        const char *say;
    } row[] = {
        {0, OK_HEAD, 24, "version 0"},
        {4, OK_HEAD, 24, "version 4"},
        {1, "", 24, "no dictionary"},
        {1, "{", 24, "not closed"},
        {1, "{}", 24, "missing"},
        {1, "{'descr': '<i4', 'shape': (6,), }", 24, "missing"},
        {1, "{'descr': '<i4', 'fortran_order': False}", 24, "missing"},
        {1, "{'descr': '<i4' 'fortran_order': False, 'shape': (6,), }", 24, "comma"},
        {1, "{'descr': '<i4', 'descr': '<i4', 'fortran_order': False, 'shape': (6,), }", 24,
         "twice"},
        {1, "{'descr': '<i4', 'fortran_order': False, 'shape': (6,), 'x': 1}", 24, "unknown key"},
        {1, OK_HEAD " x", 24, "follows"},
        {1, OK_HEAD "{}", 24, "follows"},
        {1, "{'descr': '>i4', 'fortran_order': False, 'shape': (6,), }", 24, ">i4"},
        {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }", 24, "<f4"},
        {1, "{'descr': '|u1', 'fortran_order': False, 'shape': (6,), }", 24, "uint16"},
        {1, "{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (6,), }", 24, "structured"},
        {1, "{'descr': 4, 'fortran_order': False, 'shape': (6,), }", 24, "descr"},
        {1, "{'descr': '<i4, 'fortran_order': False, 'shape': (6,), }", 24, "items of type <i4, "},
        {1, "{'descr': '<i4", 24, "descr is not a text"},
        {1, "{'descr': '<i\\x34', 'fortran_order': False, 'shape': (6,), }", 24,
         "descr is not a text"},
        {1, "{'descr': '<i4', 'fortran_order': True, 'shape': (6,), }", 24, "ascontiguousarray"},
        {1, "{'descr': '<i4', 'fortran_order': 0, 'shape': (6,), }", 24, "fortran_order"},
        {1, "{'descr': '<i4', 'fortran_order': False, 'shape': 6, }", 24, "tuple"},
        {1, "{'descr': '<i4', 'fortran_order': False, 'shape': (6), }", 24, "tuple"},
        {1, "{'descr': '<i4', 'fortran_order': False, 'shape': (-6,), }", 24, "tuple"},
        {1, "{'descr': '<i4', 'fortran_order': False, 'shape': (6,,), }", 24, "tuple"},
        {1, "{'descr': '<i4', 'fortran_order': False, 'shape': (2 3), }", 24, "tuple"},
        {1, "{'descr': '<i4', 'fortran_order': False, 'shape': (99999999999999999999,), }", 24,
         "tuple"},
        {1, "{'descr': '<i4', 'fortran_order': False, 'shape': (), }", 24, "0 dimensions"},
        {1, "{'descr': '<i4', 'fortran_order': False, 'shape': (1, 2, 3), }", 24, "3 dimensions"},
        {1, "{'descr': '<i4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", 24,
         "impossibly large"},
        {1, "{'descr': '<i4', 'fortran_order': False, 'shape': (2305843009213693952, 1), }", 24,
         "impossibly large"},
        {1, OK_HEAD, 23, "cut off"},
        {1, OK_HEAD, 0, "cut off"},
        {1, OK_HEAD, 25, "one array per file"},
    };
    static const unsigned char zeros[64];
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        qep_source *s = (qep_source *)&s;
        write_npy("bad.npy", row[i].version, row[i].header, zeros, row[i].bytes);
        qep_status st = open_file("bad.npy", &s);
        if (st != QEP_E_INPUT || s) fail_msg("row %d is taken: %s", (int)i, row[i].header);
        if (!strstr(qep_error_text(), row[i].say))
            fail_msg("row %d: \"%s\" lacks \"%s\"", (int)i, qep_error_text(), row[i].say);
        if (!strstr(qep_error_text(), "bad.npy")) fail_msg("row %d does not name the file", (int)i);
        qep_barrier_all(world);
    }
}

static void put_raw(const char *name, const void *data, int64_t bytes)
{
    if (qep_rank(world) == 0) {
        char *path = qep_path_join(dir, name);
        assert_ok(qep_file_write(path, data, bytes));
        qep_free(path);
    }
    qep_barrier_all(world);
}

static void not_npy(void **state)
{
    (void)state;
    qep_source *s;
    put_raw("x.npy", "", 0);
    assert_fails(open_file("x.npy", &s), QEP_E_INPUT, "too early");
    put_raw("y.npy", "\x93NUMPX\1\0\0\0", 10);
    assert_fails(open_file("y.npy", &s), QEP_E_INPUT, "magic");
    put_raw("z.npy", "\x93NUMPY\1\0\xff\xff{", 11);
    assert_fails(open_file("z.npy", &s), QEP_E_INPUT, "too early");
    put_raw("w.npy", "\x93NUMPY\2\0\xff\xff\xff\xff", 12);
    assert_fails(open_file("w.npy", &s), QEP_E_INPUT, "damaged");
    assert_fails(open_file("absent.npy", &s), QEP_E_INPUT, "absent.npy");
    assert_fails(open_file("text.txt", &s), QEP_E_INPUT, ".npy, .h5");
    assert_fails(open_file("npy", &s), QEP_E_INPUT, "numpy.save");
    assert_fails(open_file("absent.h5", &s), QEP_E_INPUT, "absent.h5");
    assert_fails(open_file("absent.h5:/x", &s), QEP_E_INPUT, "absent.h5");
    put_raw("x.h5", "text", 4);
    assert_fails(open_file("x.h5", &s), QEP_E_INPUT, "x.h5");
}

static void types(void **state)
{
    (void)state;
    static const int64_t i8[] = {0, 5, 99};
    static const uint32_t u4[] = {0, 5, 99};
    static const int32_t i4[] = {0, 5, 99};
    static const uint16_t u2[] = {0, 5, 99};
    static const struct {
        const char *descr;
        const void *items;
        int64_t size;
    } row[] = {{"<i8", i8, 8}, {"<u4", u4, 4}, {"<i4", i4, 4}, {"<u2", u2, 2}};
    for (size_t i = 0; i < 4; i++) {
        char header[100];
        snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': False, 'shape': (3,), }",
                 row[i].descr);
        write_npy("t.npy", 1, header, row[i].items, 3 * row[i].size);
        qep_source *s;
        int32_t ids[3] = {-1, -1, -1};
        assert_ok(open_file("t.npy", &s));
        assert_ok(qep_source_read(s, 0, 0, 3, 100, ids));
        assert_int_equal(ids[0], 0);
        assert_int_equal(ids[1], 5);
        assert_int_equal(ids[2], 99);
        assert_ok(qep_source_read(s, 0, 2, 1, 100, ids));
        assert_int_equal(ids[0], 99);
        assert_ok(qep_source_read(s, 0, 3, 0, 100, ids));
        assert_fails(qep_source_read(s, 0, 0, 3, 99, ids), QEP_E_INPUT,
                     "row 0, position 2: token id 99");
        qep_source_close(&s);
        qep_barrier_all(world);
    }
}

static void wild_ids(void **state)
{
    (void)state;
    static const int64_t wide[] = {1, 2, 3, 4, INT64_C(4294967297), 6};
    static const int32_t minus[] = {1, 2, 3, -4};
    static const uint32_t big[] = {1, 4294967295u};
    int32_t ids[6];
    qep_source *s;
    write_npy("wide.npy", 1, "{'descr': '<i8', 'fortran_order': False, 'shape': (2, 3), }", wide,
              48);
    assert_ok(open_file("wide.npy", &s));
    assert_ok(qep_source_read(s, 0, 0, 3, 10, ids));
    assert_fails(qep_source_read(s, 1, 1, 2, 10, ids), QEP_E_INPUT,
                 "row 1, position 1: token id 4294967297");
    qep_source_close(&s);
    write_npy("minus.npy", 1, "{'descr': '<i4', 'fortran_order': False, 'shape': (4,), }", minus,
              16);
    assert_ok(open_file("minus.npy", &s));
    assert_fails(qep_source_read(s, 0, 1, 3, 10, ids), QEP_E_INPUT, "position 3: token id -4");
    qep_source_close(&s);
    write_npy("big.npy", 1, "{'descr': '<u4', 'fortran_order': False, 'shape': (2,), }", big, 8);
    assert_ok(open_file("big.npy", &s));
    assert_fails(qep_source_read(s, 0, 0, 2, INT32_MAX, ids), QEP_E_INPUT, "token id 4294967295");
    qep_source_close(&s);
}

/* More than one transfer: a million and some tokens, read across the borders of the pieces. */
static void long_reads(void **state)
{
    (void)state;
    enum { n = 600007 };
    int32_t *ids = qep_alloc("test", n, sizeof *ids), *got = qep_alloc("test", n, sizeof *got);
    for (int i = 0; i < n; i++) ids[i] = (int32_t)((i * 7919LL) % 50000);
    write_ids("long.npy", 0, n, ids);
    qep_source *s;
    assert_ok(open_file("long.npy", &s));
    assert_ok(qep_source_read(s, 0, 0, n, 50000, got));
    assert_memory_equal(ids, got, n * sizeof *ids);
    assert_ok(qep_source_read(s, 0, 262143, 262146, 50000, got));
    assert_memory_equal(ids + 262143, got, 262146 * sizeof *ids);
    qep_source_close(&s);
    qep_free(ids);
    qep_free(got);
}

/* The file shrinks after it was opened. */
static void shrunk(void **state)
{
    (void)state;
    static const int32_t ids[] = {1, 2, 3, 4, 5, 6};
    write_ids("shrink.npy", 0, 6, ids);
    qep_source *s;
    int32_t got[6];
    assert_ok(open_file("shrink.npy", &s));
    qep_barrier_all(world);
    char *path = qep_path_join(dir, "shrink.npy");
    if (qep_rank(world) == 0) assert_int_equal(truncate(path, 80), 0);
    qep_free(path);
    qep_barrier_all(world);
    assert_fails(qep_source_read(s, 0, 0, 6, 10, got), QEP_E_INPUT, "ends too early");
    qep_source_close(&s);
}

static void hdf5(void **state)
{
    (void)state;
    static const int32_t ids[] = {1, 2, 3, 4, 5, 60};
    char *path = qep_path_join(dir, "t.h5");
    qep_store *store;
    bool mine = qep_rank(world) == 0;
    assert_ok(qep_store_create_all(world, path, &store));
    assert_ok(
        qep_store_put_all(store, "tokens", "token ids", "1", QEP_I32, 2, 3, 0, mine ? 2 : 0, ids));
    assert_ok(qep_store_put_all(store, "other", "token ids", "1", QEP_I64, 1, 1, 0, mine ? 1 : 0,
                                (const int64_t[]){7}));
    assert_ok(qep_store_seal_all(&store, 1));
    qep_free(path);
    qep_source *s;
    int32_t got[3];
    assert_ok(open_file("t.h5", &s));
    assert_int_equal(qep_source_rows(s), 2);
    assert_int_equal(qep_source_length(s), 3);
    assert_true(qep_source_is_rows(s));
    assert_ok(qep_source_read(s, 1, 0, 2, 60, got));
    assert_int_equal(got[0], 4);
    assert_int_equal(got[1], 5);
    assert_fails(qep_source_read(s, 1, 1, 2, 60, got), QEP_E_INPUT,
                 "row 1, position 2: token id 60");
    qep_source_close(&s);
    assert_ok(open_file("t.h5:other", &s));
    assert_ok(qep_source_read(s, 0, 0, 1, 60, got));
    assert_int_equal(got[0], 7);
    qep_source_close(&s);
    assert_ok(open_file("t.h5:/tokens", &s));
    qep_source_close(&s);
    assert_fails(open_file("t.h5:absent", &s), QEP_E_INPUT, "absent");
}

static void faults(void **state)
{
    (void)state;
    static const int32_t ids[] = {1};
    write_ids("f.npy", 0, 1, ids);
    qep_source *s;
    int32_t got;
    char text[64];
    snprintf(text, sizeof text, "data.open:1@%d,data.read:1@%d", qep_rank(world), qep_rank(world));
    setenv("QEP_FAULT", text, 1);
    qep_fault_init(qep_rank(world));
    assert_fails(open_file("f.npy", &s), QEP_E_IO, "f.npy");
    assert_null(s);
    assert_ok(open_file("f.npy", &s));
    assert_fails(qep_source_read(s, 0, 0, 1, 10, &got), QEP_E_IO, "f.npy");
    assert_ok(qep_source_read(s, 0, 0, 1, 10, &got));
    qep_source_close(&s);
    unsetenv("QEP_FAULT");
    qep_fault_init(qep_rank(world));
}

static void nothing_left(void **state)
{
    (void)state;
    qep_mem_entry e[64];
    int n = qep_mem_table(e, 64);
    for (int i = 0; i < n && i < 64; i++) {
        if (strncmp(e[i].name, "data.", 5) == 0 && e[i].now)
            fail_msg("%s: %lld bytes", e[i].name, (long long)e[i].now);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(good_headers), cmocka_unit_test(bad_headers), cmocka_unit_test(not_npy),
    cmocka_unit_test(types),        cmocka_unit_test(wild_ids),    cmocka_unit_test(long_reads),
    cmocka_unit_test(shrunk),       cmocka_unit_test(hdf5),        cmocka_unit_test(faults),
    cmocka_unit_test(nothing_left),
};

int main(int argc, char **argv)
{
    world = qep_par_start(&argc, &argv);
    if (qep_rank(world) != 0 && !freopen("/dev/null", "w", stdout)) return 1;
    int64_t f = cmocka_run_group_tests(tests, make_dir, remove_dir) != 0;
    qep_max_i64_all(world, &f, 1);
    qep_par_end(&world);
    return f != 0;
}
