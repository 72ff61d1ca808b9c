/* A scratch directory that all ranks share, splits of rows, and test data. SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_FILES_H
#define STORE_FILES_H

#include "qep_test.h"
#include "qep/store.h"

#include <dirent.h>
#include <hdf5.h>
#include <unistd.h>

static qep_comm *world;
static char scratch[256], file_path[300]; /* made for each test */

static inline int make_scratch(void **state)
{
    const char *tmp = getenv("TMPDIR");

    (void)state;
    if (qep_rank(world) == 0) {
        snprintf(scratch, sizeof scratch, "%s/qep_store_XXXXXX", tmp ? tmp : "/tmp");
        if (!mkdtemp(scratch))
            return -1;
    }
    qep_bcast_all(world, 0, scratch, (int64_t)sizeof scratch);
    snprintf(file_path, sizeof file_path, "%s/ckpt.h5", scratch);
    return 0;
}

static inline int remove_scratch(void **state)
{
    char path[1024];
    DIR *d;

    (void)state;
    qep_barrier_all(world);
    if (qep_rank(world) != 0)
        return 0;
    d = opendir(scratch);
    for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
        snprintf(path, sizeof path, "%s/%s", scratch, e->d_name);
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            (void)remove(path);
    }
    if (d)
        closedir(d);
    return rmdir(scratch);
}

#define SCRATCH_TEST(f) cmocka_unit_test_setup_teardown(f, make_scratch, remove_scratch)

/* scratch/name; the buffers rotate. */
static inline const char *in_scratch(const char *name)
{
    static char path[4][1024];
    static int turn;

    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", scratch, name);
    return path[turn];
}

/* Ways to share out rows. */
enum { SPLIT_EVEN, SPLIT_FIRST, SPLIT_LAST, SPLIT_BACKWARDS, SPLIT_RAGGED, SPLITS };

static inline void split_rows(int how, int64_t rows, int64_t *row0, int64_t *n)
{
    int64_t p = qep_size(world), r = qep_rank(world);
    int64_t all = p * (p + 1) / 2;

    switch (how) {
    case SPLIT_EVEN: qep_partition(rows, p, r, row0, n); break;
    case SPLIT_FIRST: *row0 = r == 0 ? 0 : rows; *n = r == 0 ? rows : 0; break;
    case SPLIT_LAST: *row0 = 0; *n = r == p - 1 ? rows : 0; break;
    case SPLIT_BACKWARDS: qep_partition(rows, p, p - 1 - r, row0, n); break;
    default: /* rank r has r + 1 shares */
        *row0 = rows * (r * (r + 1) / 2) / all;
        *n = rows * ((r + 1) * (r + 2) / 2) / all - *row0;
    }
}

/* Byte k of row i of the data numbered seed. */
static inline unsigned char data_byte(int seed, int64_t row, int64_t k)
{
    return (unsigned char)(seed * 37 + row * 11 + k * 3 + (row * k) % 7);
}

static inline void fill_rows(unsigned char *data, int seed, int64_t row_bytes, int64_t row0, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < row_bytes; k++)
            data[i * row_bytes + k] = data_byte(seed, row0 + i, k);
}

static inline bool rows_are(const unsigned char *data, int seed, int64_t row_bytes, int64_t row0, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < row_bytes; k++)
            if (data[i * row_bytes + k] != data_byte(seed, row0 + i, k))
                return false;
    return true;
}

static inline qep_status put_rows(qep_store *s, const char *name, int seed, qep_dtype dtype, int64_t rows,
                                  int64_t cols, int how)
{
    int64_t row0, n, row_bytes = cols * qep_dtype_size(dtype);
    unsigned char *data;
    qep_status st;

    split_rows(how, rows, &row0, &n);
    data = qep_alloc("test", n * row_bytes, 1);
    fill_rows(data, seed, row_bytes, row0, n);
    st = qep_store_put_all(s, name, "rows of a test", "1", dtype, rows, cols, row0, n, data);
    qep_free(data);
    return st;
}

/* *same: my rows hold the data numbered seed (only when QEP_OK). */
static inline qep_status get_rows(qep_store *s, const char *name, int seed, qep_dtype dtype, int64_t rows,
                                  int64_t cols, int how, bool *same)
{
    int64_t row0, n, row_bytes = cols * qep_dtype_size(dtype);
    unsigned char *data;
    qep_status st;

    split_rows(how, rows, &row0, &n);
    data = qep_alloc("test", n * row_bytes, 1);
    st = qep_store_get_all(s, name, dtype, rows, cols, row0, n, data);
    *same = st == QEP_OK && rows_are(data, seed, row_bytes, row0, n);
    qep_free(data);
    return st;
}

/* One sealed file with data numbered seed and a text. */
static inline qep_status write_generation(int seed, int keep)
{
    qep_store *s;
    qep_status st;

    QEP_TRY(qep_store_create_all(world, file_path, &s));
    st = put_rows(s, "x", seed, QEP_F32, 23, 5, SPLIT_EVEN);
    if (st == QEP_OK)
        st = qep_store_put_text_all(s, "note", "what this is", "a generation");
    if (st == QEP_OK)
        return qep_store_seal_all(&s, keep);
    qep_store_close_all(&s);
    return st;
}

/* OK and equal to the data numbered seed? Otherwise the status, or QEP_E_NUMERIC for wrong data without an error. */
static inline qep_status read_generation(const char *path, int seed)
{
    bool same = false;
    char *note = NULL;
    qep_store *s;
    qep_status st;

    QEP_TRY(qep_store_open_all(world, path, &s));
    st = get_rows(s, "x", seed, QEP_F32, 23, 5, SPLIT_RAGGED, &same);
    if (st == QEP_OK && qep_any_all(world, !same))
        st = QEP_E_NUMERIC;
    if (st == QEP_OK)
        st = qep_store_get_text_all(s, "note", &note);
    if (st == QEP_OK && strcmp(note, "a generation") != 0)
        st = QEP_E_NUMERIC;
    qep_free(note);
    qep_store_close_all(&s);
    return st;
}

static inline void faults(const char *spec)
{
    if (spec)
        setenv("QEP_FAULT", spec, 1);
    else
        unsetenv("QEP_FAULT");
    qep_fault_init(qep_rank(world));
}

/* Whole small file on every rank; malloc'ed. */
static inline char *slurp(const char *path, size_t *bytes)
{
    FILE *f = fopen(path, "rb");
    char *b = malloc(1 << 20);

    assert_non_null(f);
    assert_non_null(b);
    *bytes = fread(b, 1, 1 << 20, f);
    fclose(f);
    return b;
}

/* Root writes, all wait. */
static inline void spill(const char *path, const char *data, size_t bytes)
{
    qep_barrier_all(world);
    if (qep_rank(world) == 0) {
        FILE *f = fopen(path, "wb");

        assert_non_null(f);
        assert_int_equal(fwrite(data, 1, bytes, f), bytes);
        fclose(f);
    }
    qep_barrier_all(world);
}

#endif
