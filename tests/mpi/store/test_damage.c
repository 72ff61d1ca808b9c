/* Interrupted writers, damaged files, wrong expectations, injected faults: an error on every rank, never
 * wrong data, and the published file stays. SPDX-License-Identifier: Apache-2.0 */
#include "store_files.h"
#include "../../../src/store/store_priv.h"

static char tmp_path[320], prev_path[320];

static int prepare(void **state)
{
    int rc = make_scratch(state);

    snprintf(tmp_path, sizeof tmp_path, "%s.tmp", file_path);
    snprintf(prev_path, sizeof prev_path, "%s.prev", file_path);
    return rc;
}

#define DAMAGE_TEST(f) cmocka_unit_test_setup_teardown(f, prepare, remove_scratch)

/* What a killed writer leaves at its stages: a .tmp that holds part or all of the data. */
static void test_killed_writer(void **state)
{
    qep_store *s;
    char *left;
    size_t bytes;

    (void)state;
    assert_ok(write_generation(1, 2));
    for (int stage = 0; stage < 3; stage++) {
        assert_ok(qep_store_create_all(world, file_path, &s));
        if (stage >= 1)
            assert_ok(put_rows(s, "x", 2, QEP_F32, 23, 5, SPLIT_EVEN));
        if (stage >= 2)
            assert_true(H5Fflush(s->file, H5F_SCOPE_GLOBAL) >= 0);
        qep_barrier_all(world);
        left = slurp(tmp_path, &bytes);
        qep_store_close_all(&s);
        assert_null(s);
        assert_all(world, !qep_file_exists(tmp_path));
        spill(tmp_path, left, bytes);
        free(left);
        assert_ok(read_generation(file_path, 1)); /* does not look at the left-over */
        assert_all(world, read_generation(tmp_path, 2) != QEP_OK);
        if (stage == 2)
            assert_fails(read_generation(tmp_path, 2), QEP_E_CHECKPOINT, "incomplete");
    }
    assert_ok(write_generation(3, 2)); /* over the left-over */
    assert_ok(read_generation(file_path, 3));
    assert_ok(read_generation(prev_path, 1));
    assert_all(world, !qep_file_exists(tmp_path));
}

/* A kill between keeping the old file and the rename, on file systems without links: only .prev is there. */
static void test_only_previous(void **state)
{
    (void)state;
    assert_ok(write_generation(1, 2));
    if (qep_rank(world) == 0)
        assert_int_equal(rename(file_path, prev_path), 0);
    qep_barrier_all(world);
    assert_fails(read_generation(file_path, 1), QEP_E_IO, "ckpt.h5");
    assert_ok(read_generation(prev_path, 1));
    assert_ok(write_generation(2, 2));
    assert_ok(read_generation(prev_path, 1));
}

static void test_truncated(void **state)
{
    size_t bytes;
    char *good;

    (void)state;
    assert_ok(write_generation(1, 2));
    good = slurp(file_path, &bytes);
    for (size_t k = 0; k < bytes; k += bytes / 23 + 1) {
        spill(file_path, good, k);
        assert_fails(read_generation(file_path, 1), QEP_E_IO, "ckpt.h5");
    }
    spill(file_path, good, bytes - 1);
    assert_fails(read_generation(file_path, 1), QEP_E_IO, "ckpt.h5");
    spill(file_path, good, bytes);
    assert_ok(read_generation(file_path, 1));
    free(good);
}

/* One wrong bit anywhere: an error, or - in unused space - the right data. In the data: always found. */
static void test_flipped_bits(void **state)
{
    size_t bytes, first = 0;
    int found = 0, harmless = 0;
    unsigned char row[20];
    char *good;

    (void)state;
    assert_ok(write_generation(1, 2));
    good = slurp(file_path, &bytes);
    fill_rows(row, 1, 20, 0, 1);
    while (first + 20 <= bytes && memcmp(good + first, row, 20) != 0)
        first++;
    assert_true(first + 23 * 20 <= bytes); /* where the data of "x" is */
    for (size_t k = 0; k < bytes; k += k >= first && k < first + 460 ? 11 : bytes / 160 + 1) {
        qep_status st;

        good[k] = (char)(good[k] ^ (1 << k % 8));
        spill(file_path, good, bytes);
        st = read_generation(file_path, 1);
        good[k] = (char)(good[k] ^ (1 << k % 8));
        if (st != QEP_OK && st != QEP_E_IO && st != QEP_E_CHECKPOINT)
            fail_msg("byte %zu: status %d: %s", k, (int)st, qep_error_text());
        if (k >= first && k < first + 460) {
            assert_int_equal(st, QEP_E_CHECKPOINT);
            assert_non_null(strstr(qep_error_text(), "\"x\": wrong checksum"));
        }
        found += st != QEP_OK;
        harmless += st == QEP_OK;
    }
    print_message("# %d flips found, %d in unused space, file of %zu bytes\n", found, harmless, bytes);
    assert_true(found > 42);
    free(good);
}

static void test_not_ours(void **state)
{
    hid_t file;

    (void)state;
    assert_fails(read_generation(file_path, 1), QEP_E_IO, "No such file");
    assert_fails(read_generation(scratch, 1), QEP_E_IO, "cannot open");
    spill(file_path, "", 0);
    assert_fails(read_generation(file_path, 1), QEP_E_IO, "not HDF5");
    spill(file_path, "this is a text, and a rather short one", 38);
    assert_fails(read_generation(file_path, 1), QEP_E_IO, "not HDF5");
    for (int marks = 0; marks < 4; marks++) {
        static const char *const texts[] = {"not a checkpoint", "not a checkpoint", "format version 7",
                                            "incomplete"};

        if (qep_rank(world) == 0) {
            file = H5Fcreate(file_path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
            if (marks == 1)
                assert_true(qep_store_set_text(file, "format", "Qep_mpi checkpoint"));
            if (marks >= 2)
                assert_true(qep_store_set_text(file, "format", QEP_STORE_FORMAT));
            if (marks >= 2)
                assert_true(qep_store_set_u64(file, "version", marks == 2 ? 7 : QEP_STORE_VERSION));
            H5Fclose(file);
        }
        qep_barrier_all(world);
        assert_fails(read_generation(file_path, 1), QEP_E_CHECKPOINT, texts[marks]);
        qep_barrier_all(world);
    }
}

static void test_wrong_expectations(void **state)
{
    int64_t rows, cols;
    bool same;
    qep_store *s;

    (void)state;
    assert_ok(write_generation(1, 2));
    assert_ok(qep_store_open_all(world, file_path, &s));
    assert_fails(qep_store_shape_all(s, "y", &rows, &cols), QEP_E_CHECKPOINT, "no dataset \"y\"");
    assert_fails(get_rows(s, "y", 1, QEP_F32, 23, 5, 0, &same), QEP_E_CHECKPOINT, "no dataset \"y\"");
    assert_fails(get_rows(s, "x", 1, QEP_I32, 23, 5, 0, &same), QEP_E_CHECKPOINT, "element type");
    assert_fails(get_rows(s, "x", 1, QEP_BF16, 23, 5, 0, &same), QEP_E_CHECKPOINT, "element type");
    assert_fails(get_rows(s, "x", 1, QEP_F32, 22, 5, 0, &same), QEP_E_CHECKPOINT, "[23, 5]");
    assert_fails(get_rows(s, "x", 1, QEP_F32, 5, 23, 0, &same), QEP_E_CHECKPOINT, "needs [5, 23]");
    assert_ok(get_rows(s, "x", 1, QEP_F32, 23, 5, 0, &same)); /* the file is still usable */
    assert_all(world, same);
    qep_store_close_all(&s);
}

static void test_cannot_create(void **state)
{
    char path[600];
    qep_store *s;

    (void)state;
    snprintf(path, sizeof path, "%s/nowhere/ckpt.h5", scratch);
    assert_fails(qep_store_create_all(world, path, &s), QEP_E_IO, "nowhere");
    assert_null(s);
    assert_ok(qep_store_create_all(world, file_path, &s));
    assert_ok(put_rows(s, "x", 1, QEP_U8, 3, 3, 0));
    assert_fails(put_rows(s, "x", 1, QEP_U8, 3, 3, 0), QEP_E_IO, "\"x\""); /* twice */
    assert_fails(put_rows(s, "y", 1, QEP_U8, 3, 3, 0), QEP_E_IO, "earlier write failed");
    assert_fails(qep_store_seal_all(&s, 2), QEP_E_IO, "earlier write failed");
    assert_null(s);
    assert_all(world, !qep_file_exists(file_path) && !qep_file_exists(tmp_path));
}

/* A fault on any rank at any step of writing: all ranks hear of it, the old file stays, no .tmp is left. */
static void test_faults_while_writing(void **state)
{
    static const struct {
        const char *site;
        int calls;    /* of the site on root during one generation */
        bool on_all;  /* called by the other ranks too */
    } sites[] = {{"store.create", 1, false}, {"store.room", 4, false}, {"store.write", 2, true}, {"store.seal", 1, true}};
    char spec[64];

    (void)state;
    assert_ok(write_generation(1, 2));
    for (size_t i = 0; i < sizeof sites / sizeof *sites; i++)
        for (int rank = 0; rank < (sites[i].on_all ? qep_size(world) : 1); rank++)
            for (int call = 1; call <= sites[i].calls; call++) {
                snprintf(spec, sizeof spec, "%s:%d@%d", sites[i].site, call, rank);
                faults(spec);
                assert_fails(write_generation(2, 2), QEP_E_IO, "injected fault");
                faults(NULL);
                assert_all(world, !qep_file_exists(tmp_path));
                assert_ok(read_generation(file_path, 1));
            }
    faults("store.seal:2@0"); /* after the old file was kept, before the rename */
    assert_fails(write_generation(2, 2), QEP_E_IO, "injected fault");
    faults(NULL);
    assert_all(world, !qep_file_exists(tmp_path));
    assert_ok(read_generation(file_path, 1));
    assert_ok(read_generation(prev_path, 1));
    assert_ok(write_generation(2, 2));
    assert_ok(read_generation(file_path, 2));
    assert_ok(read_generation(prev_path, 1));
}

static void test_faults_while_reading(void **state)
{
    char spec[64];

    (void)state;
    assert_ok(write_generation(1, 2));
    faults("store.open:1@0");
    assert_fails(read_generation(file_path, 1), QEP_E_IO, "injected fault");
    for (int rank = 0; rank < qep_size(world); rank++)
        for (int call = 1; call <= 2; call++) {
            snprintf(spec, sizeof spec, "store.read:%d@%d", call, rank);
            faults(spec);
            assert_fails(read_generation(file_path, 1), QEP_E_IO, call == 1 ? "\"x\"" : "\"note\"");
        }
    faults(NULL);
    assert_ok(read_generation(file_path, 1));
}

static const struct CMUnitTest tests[] = {
    DAMAGE_TEST(test_killed_writer),
    DAMAGE_TEST(test_only_previous),
    DAMAGE_TEST(test_truncated),
    DAMAGE_TEST(test_flipped_bits),
    DAMAGE_TEST(test_not_ours),
    DAMAGE_TEST(test_wrong_expectations),
    DAMAGE_TEST(test_cannot_create),
    DAMAGE_TEST(test_faults_while_writing),
    DAMAGE_TEST(test_faults_while_reading),
};

QEP_TEST_MAIN_MPI(tests)
