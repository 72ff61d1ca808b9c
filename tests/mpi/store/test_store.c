/* Datasets and texts through a file: every type, shape and split; generations; what tools see.
 * A condition that one rank may see before another is asserted by all (assert_all), else a failure hangs.
 * SPDX-License-Identifier: Apache-2.0 */
#include "store_files.h"
#include "../../../src/store/store_priv.h"

static const qep_dtype types[] = {QEP_U8, QEP_BF16, QEP_I32, QEP_F32, QEP_F64, QEP_I64, QEP_U64};
static const int64_t shapes[][2] = {{0, 4}, {4, 0}, {0, 0}, {1, 1}, {1, 1009}, {2, 3}, {37, 1}, {101, 7}};
enum { TYPES = sizeof types / sizeof *types, SHAPES = sizeof shapes / sizeof *shapes };

/* Written with one split, read with all others: to the reader it is another number of ranks. */
static void test_round_trips(void **state)
{
    char name[64];
    qep_store *s;

    (void)state;
    assert_ok(qep_store_create_all(world, file_path, &s));
    for (int t = 0; t < TYPES; t++)
        for (int k = 0; k < SHAPES; k++) {
            snprintf(name, sizeof name, "group %d/set %d", t, k);
            assert_ok(put_rows(s, name, t + k, types[t], shapes[k][0], shapes[k][1], (t + k) % SPLITS));
        }
    assert_ok(qep_store_seal_all(&s, 2));
    assert_null(s);
    assert_ok(qep_store_open_all(world, file_path, &s));
    for (int t = 0; t < TYPES; t++)
        for (int k = 0; k < SHAPES; k++) {
            int64_t rows = -1, cols = -1;

            snprintf(name, sizeof name, "group %d/set %d", t, k);
            assert_ok(qep_store_shape_all(s, name, &rows, &cols));
            assert_int_equal(rows, shapes[k][0]);
            assert_int_equal(cols, shapes[k][1]);
            for (int how = 0; how < SPLITS; how++) {
                bool same;

                assert_ok(get_rows(s, name, t + k, types[t], rows, cols, how, &same));
                assert_all(world, same);
            }
        }
    qep_store_close_all(&s);
    assert_null(s);
    qep_store_close_all(&s);

}

static void test_texts(void **state)
{
    enum { LONG = 3000001 };
    char *text = malloc(LONG + 1), *got = NULL;
    static const char *const texts[] = {"", "x", "line\nline \"quoted\" \xc3\xa9\n"};
    char name[16];
    qep_store *s;

    (void)state;
    assert_non_null(text);
    for (int i = 0; i < LONG; i++)
        text[i] = (char)('a' + i % 26);
    text[LONG] = '\0';
    assert_ok(qep_store_create_all(world, file_path, &s));
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "t%d", i);
        assert_ok(qep_store_put_text_all(s, name, "a text", qep_rank(world) == 0 ? texts[i] : "ignored"));
    }
    assert_ok(qep_store_put_text_all(s, "long", "a long text", text));
    assert_ok(qep_store_put_note_all(s, "note", "00ff"));
    assert_fails(qep_store_put_note_all(s, "note", "twice"), QEP_E_IO, "\"note\"");
    s->failed = false;
    assert_ok(qep_store_seal_all(&s, 2));
    assert_ok(qep_store_open_all(world, file_path, &s));
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "t%d", i);
        assert_ok(qep_store_get_text_all(s, name, &got));
        assert_all(world, strcmp(got, texts[i]) == 0);
        qep_free(got);
    }
    assert_ok(qep_store_get_text_all(s, "long", &got));
    assert_all(world, strcmp(got, text) == 0);
    qep_free(got);
    assert_fails(qep_store_get_text_all(s, "absent", &got), QEP_E_CHECKPOINT, "\"absent\"");
    assert_null(got);
    assert_all(world, qep_store_is_text(s->file, "note", "00ff"));
    assert_all(world, !qep_store_is_text(s->file, "note", "00fe"));
    qep_store_close_all(&s);
    free(text);
}

static void test_generations(void **state)
{
    char *prev = qep_strf("test", "%s.prev", file_path), *tmp = qep_strf("test", "%s.tmp", file_path);

    (void)state;
    assert_ok(write_generation(1, 2));
    assert_ok(read_generation(file_path, 1));
    assert_all(world, !(qep_file_exists(prev)));
    assert_ok(write_generation(2, 2));
    assert_ok(read_generation(file_path, 2));
    assert_ok(read_generation(prev, 1));
    assert_ok(write_generation(3, 2));
    assert_ok(read_generation(file_path, 3));
    assert_ok(read_generation(prev, 2));
    assert_ok(write_generation(4, 1));
    assert_ok(read_generation(file_path, 4));
    assert_all(world, !(qep_file_exists(prev)));
    assert_all(world, !(qep_file_exists(tmp)));
    assert_ok(write_generation(5, 2));
    assert_ok(read_generation(prev, 4));
    spill(tmp, "left over", 9);
    assert_ok(qep_store_remove_all(world, file_path));
    assert_all(world, !(qep_file_exists(file_path) || qep_file_exists(prev) || qep_file_exists(tmp)));
    assert_ok(qep_store_remove_all(world, file_path));
    qep_free(prev);
    qep_free(tmp);
}

/* The checksum's definition is fixed: it may not depend on ranks or on the split. */
static uint64_t expected_checksum(int seed, int64_t rows, int64_t row_bytes)
{
    unsigned char row[64];
    uint64_t sum = 0;

    for (int64_t i = 0; i < rows; i++) {
        fill_rows(row, seed, row_bytes, i, 1);
        sum += qep_hash64(row, (size_t)row_bytes, (uint64_t)i);
    }
    return sum;
}

static void check_text_attribute(hid_t set, const char *name, const char *want)
{
    assert_true(qep_store_is_text(set, name, want));
    assert_false(qep_store_is_text(set, name, "something else"));
}

static void check_with_plain_hdf5(const uint16_t bits[4])
{
    float got[4] = {0};
    uint64_t checksum = 0;
    hid_t access = qep_store_serial_access();
    hid_t file = H5Fopen(file_path, H5F_ACC_RDONLY, access), set;

    assert_true(file >= 0);
    set = H5Dopen2(file, "h", H5P_DEFAULT);
    assert_true(H5Dread(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, got) >= 0);
    for (int i = 0; i < 4; i++)
        assert_true(got[i] == qep_bf16_to_f32(bits[i]));
    check_text_attribute(set, "description", "hidden state");
    check_text_attribute(set, "unit", "1");
    H5Dclose(set);
    set = H5Dopen2(file, "x", H5P_DEFAULT);
    assert_true(qep_store_get_u64(set, "checksum", &checksum));
    assert_true(checksum == expected_checksum(9, 17, 24));
    assert_false(qep_store_get_u64(set, "nothing", &checksum));
    assert_false(qep_store_get_u64(set, "unit", &checksum));
    H5Dclose(set);
    H5Fclose(file);
    H5Pclose(access);
}

/* What another program sees: plain datasets with attributes; bf16 reads as float. */
static void test_as_other_programs_see_it(void **state)
{
    static const float values[4] = {1.5f, -2.0f, 0.0078125f, 3e38f};
    uint16_t bits[4];
    int64_t n = qep_rank(world) == 0 ? 2 : 0;
    qep_store *s;

    (void)state;
    for (int i = 0; i < 4; i++)
        bits[i] = qep_f32_to_bf16(values[i]);
    assert_ok(qep_store_create_all(world, file_path, &s));
    assert_ok(qep_store_put_all(s, "h", "hidden state", "1", QEP_BF16, 2, 2, 0, n, bits));
    assert_ok(put_rows(s, "x", 9, QEP_U64, 17, 3, SPLIT_RAGGED));
    assert_ok(qep_store_seal_all(&s, 2));
    check_with_plain_hdf5(bits);
    assert_non_null(strstr(qep_store_library(), "HDF5"));
}

/* Transfers in pieces of any size: several rows, one row, part of a row, less than an element. */
static void test_pieces(void **state)
{
    enum { ROWS = 11, COLS = 13 };
    static const int64_t piece_bytes[] = {1, 4, 5, 51, 52, 53, 104, 200, 1 << 20};
    int32_t x[ROWS * COLS], got[ROWS * COLS];
    char mine[320]; /* each rank its own file */

    (void)state;
    snprintf(mine, sizeof mine, "%s.%d", file_path, qep_rank(world));
    for (int i = 0; i < ROWS * COLS; i++)
        x[i] = i * i - 7;
    for (size_t p = 0; p < sizeof piece_bytes / sizeof *piece_bytes; p++) {
        hsize_t extent[2] = {ROWS + 2, COLS};
        hid_t access = qep_store_serial_access(), type = qep_store_type(QEP_I32);
        hid_t file = H5Fcreate(mine, H5F_ACC_TRUNC, H5P_DEFAULT, access);
        hid_t space = H5Screate_simple(2, extent, NULL);
        hid_t set = H5Dcreate2(file, "x", type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);

        assert_true(set >= 0);
        assert_true(qep_store_write_slab(set, type, COLS, 1, ROWS, piece_bytes[p], x));
        memset(got, 0xee, sizeof got);
        assert_true(qep_store_read_slab(set, type, COLS, 1, ROWS, 1 << 20, got));
        assert_memory_equal(got, x, sizeof x);
        memset(got, 0xee, sizeof got);
        assert_true(qep_store_read_slab(set, type, COLS, 3, 5, piece_bytes[p], got));
        assert_memory_equal(got, x + 2 * COLS, 5 * COLS * sizeof *x);
        assert_int_equal(got[5 * COLS], (int32_t)0xeeeeeeee);
        assert_true(qep_store_read_slab(set, type, COLS, 0, 1, piece_bytes[p], got));
        for (int i = 0; i < COLS; i++)
            assert_int_equal(got[i], 0);
        assert_false(qep_store_read_slab(set, type, COLS, 5, ROWS, piece_bytes[p], got)); /* beyond */
        H5Dclose(set);
        H5Sclose(space);
        H5Tclose(type);
        H5Fclose(file);
        H5Pclose(access);
    }
}

static void test_coverage(void **state)
{
    qep_store_sums all, part;

    (void)state;
    for (int64_t rows = 0; rows < 9; rows++)
        for (int64_t cut = 0; cut <= rows; cut++) {
            const unsigned char data[16] = {3, 1, 4, 1, 5};

            all = qep_store_row_sums(data, 2, 0, cut);
            part = qep_store_row_sums(data + 2 * cut, 2, cut, rows - cut);
            for (int i = 0; i < 3; i++)
                all.v[i] += part.v[i];
            assert_true(qep_store_covers(&all, rows));
            part = qep_store_row_sums(data, 2, 0, rows);
            assert_true(part.v[0] == all.v[0]);
            if (rows >= 2) { /* the last row instead of the first */
                part = qep_store_row_sums(data, 2, 1, rows - 1);
                all = qep_store_row_sums(data, 2, rows - 1, 1);
                for (int i = 0; i < 3; i++)
                    all.v[i] += part.v[i];
                assert_false(qep_store_covers(&all, rows));
            }
            assert_false(qep_store_covers(&part, rows + 1));
        }
}

/* Equal contents give equal files, whatever the split and the time of day. */
static void test_same_bytes(void **state)
{
    char *first = NULL, *again;
    size_t n = 0, m;
    qep_store *s;

    (void)state;
    for (int how = 0; how < SPLITS; how++) {
        assert_ok(qep_store_create_all(world, file_path, &s));
        assert_ok(put_rows(s, "x", 4, QEP_F64, 29, 3, how));
        assert_ok(qep_store_put_text_all(s, "note", "a text", "the same"));
        assert_ok(qep_store_seal_all(&s, 1));
        again = slurp(file_path, &m);
        if (how == 0) {
            first = again;
            n = m;
            sleep(1); /* HDF5's time stamps count seconds */
            continue;
        }
        assert_all(world, m == n && memcmp(first, again, n) == 0);
        free(again);
    }
    free(first);
}

static const struct CMUnitTest tests[] = {
    SCRATCH_TEST(test_round_trips),
    SCRATCH_TEST(test_texts),
    SCRATCH_TEST(test_generations),
    SCRATCH_TEST(test_as_other_programs_see_it),
    SCRATCH_TEST(test_same_bytes),
    SCRATCH_TEST(test_pieces),
    SCRATCH_TEST(test_coverage),
};

QEP_TEST_MAIN_MPI(tests)
