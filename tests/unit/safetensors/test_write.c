/* The planned layout, its files, and pieces written by several writers. SPDX-License-Identifier: Apache-2.0 */
#include "st_files.h"
#include "st_fork.h"

#include <errno.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>

#define PARTIAL ".partial"

static void faults(const char *spec)
{
    if (spec)
        setenv("QEP_FAULT", spec, 1);
    else
        unsetenv("QEP_FAULT");
    qep_fault_init(0);
}

static void add(qep_st_layout *l, const char *name, qep_dtype dtype, int64_t rows, int64_t cols)
{
    int64_t shape[2] = {rows, cols};

    assert_ok(qep_st_layout_add(l, name, dtype, 2, shape));
}

/* One layer of a quantized model, a few odd tensors around it. */
static qep_st_layout *small_layout(int64_t shard_bytes)
{
    qep_st_layout *l = qep_st_layout_create();

    add(l, "embed", QEP_BF16, 7, 3);             /* 42 bytes */
    add(l, "q.qweight", QEP_I32, 2, 5);          /* 40 */
    add(l, "q.codes", QEP_U8, 3, 3);             /* 9 */
    add(l, "q.scales", QEP_F16, 1, 5);           /* 10 */
    add(l, "positions", QEP_I64, 1, 2);          /* 16 */
    assert_ok(qep_st_layout_add(l, "scalar", QEP_F32, 0, NULL)); /* 4 */
    add(l, "empty", QEP_F64, 0, 9);              /* 0 */
    add(l, "flag", QEP_BOOL, 1, 1);              /* 1 */
    assert_ok(qep_st_layout_finish(l, shard_bytes));
    return l;
}

static void write_all(const qep_st_layout *l, int seed)
{
    unsigned char b[64];
    qep_st_writer *w;

    assert_ok(qep_st_writer_open(l, scratch, PARTIAL, &w));
    for (int64_t i = 0; i < qep_st_layout_count(l); i++) {
        const qep_st_tensor *t = qep_st_layout_at(l, i);

        for (int64_t k = 0; k < t->bytes; k++)
            b[k] = (unsigned char)(seed + 16 * i + k);
        assert_ok(qep_st_write(w, t, 0, t->bytes, b));
    }
    assert_ok(qep_st_writer_close(&w));
    assert_null(w);
}

static void publish(const qep_st_layout *l)
{
    char *index = qep_st_layout_index_text(l);
    char from[2048];

    for (int i = 0; i < qep_st_layout_n_files(l); i++) {
        snprintf(from, sizeof from, "%s" PARTIAL, in_scratch(qep_st_layout_file(l, i)));
        assert_int_equal(rename(from, in_scratch(qep_st_layout_file(l, i))), 0);
    }
    if (index)
        put_bytes(in_scratch("model.safetensors.index.json"), index, strlen(index));
    qep_free(index);
}

static void check_read_back(const qep_st_layout *l, int seed)
{
    unsigned char b[64];
    qep_st_set *s;

    assert_ok(qep_st_open_dir(scratch, &s)); /* with all checks of the format */
    assert_int_equal(qep_st_count(s), qep_st_layout_count(l));
    assert_int_equal(qep_st_n_files(s), qep_st_layout_n_files(l));
    for (int64_t i = 0; i < qep_st_layout_count(l); i++) {
        const qep_st_tensor *t = qep_st_layout_at(l, i), *r = qep_st_find(s, t->name);

        assert_non_null(r);
        assert_int_equal(r->dtype, t->dtype);
        assert_int_equal(r->rank, t->rank);
        assert_memory_equal(r->shape, t->shape, sizeof r->shape);
        assert_int_equal(r->offset, t->offset);
        assert_string_equal(qep_path_base(qep_st_file(s, r->shard)), qep_st_layout_file(l, t->shard));
        assert_ok(qep_st_read(s, r, 0, r->bytes, b));
        for (int64_t k = 0; k < r->bytes; k++)
            assert_int_equal(b[k], (unsigned char)(seed + 16 * i + k));
    }
    for (int i = 0; i < qep_st_n_files(s); i++)
        assert_string_equal(qep_json_string(qep_json_get(qep_st_metadata(s, i), "format")), "pt");
    qep_st_close(&s);
}

static void test_layout(void **state)
{
    qep_st_layout *l = small_layout(1000);
    int64_t end = 0;

    (void)state;
    assert_int_equal(qep_st_layout_n_files(l), 1);
    assert_string_equal(qep_st_layout_file(l, 0), "model.safetensors");
    assert_null(qep_st_layout_index_text(l));
    assert_int_equal(qep_st_layout_total_size(l), 42 + 40 + 9 + 10 + 16 + 4 + 1);
    assert_int_equal(qep_st_layout_count(l), 8);
    assert_string_equal(qep_st_layout_at(l, 0)->name, "embed");
    assert_string_equal(qep_st_layout_at(l, 7)->name, "flag");
    assert_null(qep_st_layout_find(l, "nope"));
    for (int64_t i = 0; i < 8; i++) {
        const qep_st_tensor *t = qep_st_layout_at(l, i);

        assert_ptr_equal(qep_st_layout_find(l, t->name), t);
        assert_int_equal(t->offset % qep_dtype_size(t->dtype), 0);
        end = qep_max_i64(end, t->offset + t->bytes);
        for (int64_t j = 0; j < 8; j++) { /* larger elements first */
            const qep_st_tensor *u = qep_st_layout_at(l, j);

            if (qep_dtype_bits(u->dtype) > qep_dtype_bits(t->dtype))
                assert_true(u->offset <= t->offset);
        }
    }
    assert_int_equal(end, qep_st_layout_file_bytes(l, 0));
    assert_int_equal((qep_st_layout_file_bytes(l, 0) - qep_st_layout_total_size(l)) % 8, 0);
    qep_st_layout_destroy(&l);
    assert_null(l);
    qep_st_layout_destroy(&l);
    assert_int_equal(qep_mem_blocks(), 0);
}

/* Whatever the names' lengths: the data begins at a multiple of 8, the header is padded with spaces. */
static void test_header_padding(void **state)
{
    char name[32] = "", bytes[512];

    (void)state;
    for (int k = 0; k < 17; k++) {
        qep_st_layout *l = qep_st_layout_create();
        uint64_t h;
        FILE *f;

        memset(name, 'n', (size_t)k);
        add(l, name, QEP_F32, 1, 1);
        assert_ok(qep_st_layout_finish(l, 1));
        assert_int_equal(qep_st_layout_at(l, 0)->offset % 8, 0);
        assert_ok(qep_st_layout_create_files(l, scratch, ""));
        f = fopen(in_scratch("model.safetensors"), "rb");
        assert_non_null(f);
        assert_int_equal(fread(bytes, 1, sizeof bytes, f), qep_st_layout_file_bytes(l, 0));
        fclose(f);
        memcpy(&h, bytes, 8);
        assert_int_equal(h % 8, 0);
        assert_int_equal((int64_t)h + 8, qep_st_layout_at(l, 0)->offset);
        for (uint64_t i = 8 + h; i-- > 8 && bytes[i] != '}';)
            assert_int_equal(bytes[i], ' ');
        qep_st_layout_destroy(&l);
    }
}

/* Limits around the sizes of neighbours: 42, 40, 9, 10, 16, 4, 0, 1 bytes in the model's order. */
static void test_shards(void **state)
{
    static const struct {
        int64_t limit;
        int n;
        int shard[8];
    } cases[] = {
        {122, 1, {0, 0, 0, 0, 0, 0, 0, 0}}, {121, 2, {0, 0, 0, 0, 0, 0, 0, 1}},
        {82, 2, {0, 0, 1, 1, 1, 1, 1, 1}},  {81, 2, {0, 1, 1, 1, 1, 1, 1, 1}},
        {42, 3, {0, 1, 2, 2, 2, 2, 2, 2}},  {39, 4, {0, 1, 2, 2, 2, 2, 2, 3}},
        {1, 7, {0, 1, 2, 3, 4, 5, 5, 6}},
    };

    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        qep_st_layout *l = small_layout(cases[c].limit);
        char want[64];

        assert_int_equal(qep_st_layout_n_files(l), cases[c].n);
        for (int64_t i = 0; i < 8; i++)
            assert_int_equal(qep_st_layout_at(l, i)->shard, cases[c].shard[i]);
        for (int i = 0; i < cases[c].n && cases[c].n > 1; i++) {
            snprintf(want, sizeof want, "model-%05d-of-%05d.safetensors", i + 1, cases[c].n);
            assert_string_equal(qep_st_layout_file(l, i), want);
        }
        assert_ok(qep_st_layout_create_files(l, scratch, PARTIAL));
        assert_true(qep_st_layout_files_match(l, scratch, PARTIAL));
        write_all(l, (int)c);
        publish(l);
        check_read_back(l, (int)c);
        qep_st_layout_destroy(&l);
        remove_scratch(state);
        make_scratch(state);
    }
    assert_int_equal(qep_mem_blocks(), 0);
}

static void test_index_text(void **state)
{
    qep_st_layout *l = small_layout(82);
    char *text = qep_st_layout_index_text(l);
    qep_json *j;

    (void)state;
    assert_ok(qep_json_parse(text, (int64_t)strlen(text), "index", QEP_E_INPUT, &j));
    assert_int_equal(qep_json_int(qep_json_get(qep_json_get(j, "metadata"), "total_size")), 122);
    assert_int_equal(qep_json_size(qep_json_get(j, "weight_map")), 8);
    assert_string_equal(qep_json_string(qep_json_get(qep_json_get(j, "weight_map"), "q.qweight")),
                        "model-00001-of-00002.safetensors");
    assert_string_equal(qep_json_string(qep_json_get(qep_json_get(j, "weight_map"), "flag")),
                        "model-00002-of-00002.safetensors");
    qep_json_free(&j);
    qep_free(text);
    qep_st_layout_destroy(&l);
    assert_int_equal(qep_mem_blocks(), 0);
}

static void test_layout_refusals(void **state)
{
    static const int64_t bad[][2] = {{-1, 1}, {INT64_MAX, 2}, {INT64_MAX / 16, 3}};
    int64_t one = 1, three = 3, eighth = INT64_MAX / 64; /* of all bytes, as F64 */
    char name[2] = "a";
    qep_st_layout *l = qep_st_layout_create();

    (void)state;
    add(l, "a", QEP_F32, 1, 1);
    assert_fails(qep_st_layout_add(l, "a", QEP_F32, 1, &one), QEP_E_INTERNAL, "\"a\"");
    assert_fails(qep_st_layout_add(l, "__metadata__", QEP_F32, 1, &one), QEP_E_INTERNAL, "__metadata__");
    assert_fails(qep_st_layout_add(l, "f4", QEP_F4, 1, &three), QEP_E_INTERNAL, "whole bytes");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_fails(qep_st_layout_add(l, "b", QEP_F64, 2, bad[i]), QEP_E_INTERNAL, "\"b\"");
    assert_int_equal(qep_st_layout_count(l), 1);
    assert_int_equal(qep_st_layout_total_size(l), 4);
    assert_fails(qep_st_layout_finish(l, 0), QEP_E_CONFIG, "shard_size");
    assert_fails(qep_st_layout_finish(l, -5), QEP_E_CONFIG, "shard_size");
    assert_ok(qep_st_layout_finish(l, 1));
    assert_dies(QEP_E_INTERNAL, (void)!qep_st_layout_finish(l, 1));
    assert_dies(QEP_E_INTERNAL, (void)!qep_st_layout_add(l, "late", QEP_F32, 1, &one));
    qep_st_layout_destroy(&l);
    l = qep_st_layout_create(); /* the sum of all tensors must fit too */
    for (; name[0] < 'i'; name[0]++)
        assert_ok(qep_st_layout_add(l, name, QEP_F64, 1, &eighth));
    assert_fails(qep_st_layout_add(l, name, QEP_F64, 1, &eighth), QEP_E_INTERNAL, "overflows");
    qep_st_layout_destroy(&l);
}

static void test_no_tensors(void **state)
{
    qep_st_layout *l = qep_st_layout_create();
    qep_st_set *s;

    (void)state;
    assert_ok(qep_st_layout_finish(l, 100));
    assert_int_equal(qep_st_layout_n_files(l), 1);
    assert_ok(qep_st_layout_create_files(l, scratch, ""));
    assert_ok(qep_st_open_dir(scratch, &s));
    assert_int_equal(qep_st_count(s), 0);
    qep_st_close(&s);
    qep_st_layout_destroy(&l);
}

static void test_create_twice_and_match(void **state)
{
    qep_st_layout *l = small_layout(82), *other = small_layout(81);
    char path[2048], byte;
    FILE *f;

    (void)state;
    assert_false(qep_st_layout_files_match(l, scratch, PARTIAL));
    assert_ok(qep_st_layout_create_files(l, scratch, PARTIAL));
    assert_true(qep_st_layout_files_match(l, scratch, PARTIAL));
    assert_false(qep_st_layout_files_match(l, scratch, ""));
    assert_false(qep_st_layout_files_match(other, scratch, PARTIAL));
    write_all(l, 3);
    assert_true(qep_st_layout_files_match(l, scratch, PARTIAL)); /* data does not matter */
    assert_ok(qep_st_layout_create_files(l, scratch, PARTIAL)); /* starts over */
    assert_true(qep_st_layout_files_match(l, scratch, PARTIAL));
    snprintf(path, sizeof path, "%s" PARTIAL, in_scratch(qep_st_layout_file(l, 1)));
    f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, -1, SEEK_END), 0);
    assert_int_equal(fread(&byte, 1, 1, f), 1);
    assert_int_equal(byte, 0);
    assert_int_equal(fseek(f, 20, SEEK_SET), 0);
    assert_int_equal(fputc('#', f), '#'); /* in the header */
    fclose(f);
    assert_false(qep_st_layout_files_match(l, scratch, PARTIAL));
    assert_ok(qep_st_layout_create_files(l, scratch, PARTIAL));
    assert_int_equal(truncate(path, qep_st_layout_file_bytes(l, 1) - 1), 0);
    assert_false(qep_st_layout_files_match(l, scratch, PARTIAL));
    assert_int_equal(unlink(path), 0);
    assert_false(qep_st_layout_files_match(l, scratch, PARTIAL));
    qep_st_layout_destroy(&l);
    qep_st_layout_destroy(&other);
}

/* Two writers, alternating pieces of each tensor in opposite order, then columns of a matrix. */
static void test_disjoint_slices(void **state)
{
    enum { ROWS = 11, COLS = 13, PIECES = 5 };
    int32_t x[ROWS * COLS], slice[ROWS * COLS], got[ROWS * COLS];
    qep_st_layout *l = qep_st_layout_create();
    qep_st_writer *w[2];
    const qep_st_tensor *t, *u;
    qep_st_set *s;

    (void)state;
    for (int i = 0; i < ROWS * COLS; i++)
        x[i] = 1000 + i;
    add(l, "rows", QEP_I32, ROWS, COLS);
    add(l, "columns", QEP_I32, ROWS, COLS);
    assert_ok(qep_st_layout_finish(l, 1 << 20));
    assert_ok(qep_st_layout_create_files(l, scratch, ""));
    for (int k = 0; k < 2; k++)
        assert_ok(qep_st_writer_open(l, scratch, "", &w[k]));
    t = qep_st_layout_find(l, "rows");
    u = qep_st_layout_find(l, "columns");
    for (int p = PIECES - 1; p >= 0; p--) {
        int r0 = ROWS * p / PIECES, r1 = ROWS * (p + 1) / PIECES;
        int c0 = COLS * p / PIECES, c1 = COLS * (p + 1) / PIECES, n = 0;

        assert_ok(qep_st_write(w[p % 2], t, 4 * r0 * COLS, 4 * (r1 - r0) * COLS, x + r0 * COLS));
        for (int r = 0; r < ROWS; r++)
            for (int c = c0; c < c1; c++)
                slice[n++] = x[r * COLS + c];
        assert_ok(qep_st_write_columns(w[1 - p % 2], u, ROWS, 4 * COLS, 4 * c0, 4 * (c1 - c0), slice));
    }
    assert_ok(qep_st_write_columns(w[0], u, ROWS, 4 * COLS, 8, 0, NULL));
    assert_ok(qep_st_write_columns(w[0], u, 0, 4 * COLS, 0, 4, NULL));
    assert_ok(qep_st_writer_sync(w[0]));
    assert_ok(qep_st_writer_sync(w[0]));
    for (int k = 0; k < 2; k++)
        assert_ok(qep_st_writer_close(&w[k]));
    assert_ok(qep_st_open_dir(scratch, &s));
    for (int64_t i = 0; i < 2; i++) {
        assert_ok(qep_st_read(s, qep_st_at(s, i), 0, (int64_t)sizeof got, got));
        assert_memory_equal(got, x, sizeof x);
    }
    qep_st_close(&s);
    qep_st_layout_destroy(&l);
    assert_int_equal(qep_mem_blocks(), 0);
}

static void test_whole_width_columns(void **state)
{
    unsigned char x[12], got[12];
    qep_st_layout *l = qep_st_layout_create();
    qep_st_writer *w;
    qep_st_set *s;

    (void)state;
    for (int i = 0; i < 12; i++)
        x[i] = (unsigned char)(i + 1);
    add(l, "a", QEP_U8, 3, 4);
    add(l, "b", QEP_U8, 3, 4);
    assert_ok(qep_st_layout_finish(l, 100));
    assert_ok(qep_st_layout_create_files(l, scratch, ""));
    assert_ok(qep_st_writer_open(l, scratch, "", &w));
    assert_ok(qep_st_write_columns(w, qep_st_layout_at(l, 0), 3, 4, 0, 4, x));
    assert_ok(qep_st_write_columns(w, qep_st_layout_at(l, 1), 2, 4, 0, 4, x)); /* fewer rows */
    assert_ok(qep_st_writer_close(&w));
    assert_ok(qep_st_open_dir(scratch, &s));
    assert_ok(qep_st_read(s, qep_st_find(s, "a"), 0, 12, got));
    assert_memory_equal(got, x, 12);
    assert_ok(qep_st_read(s, qep_st_find(s, "b"), 0, 12, got));
    assert_memory_equal(got, x, 8);
    assert_memory_equal(got + 8, zeros, 4);
    qep_st_close(&s);
    qep_st_layout_destroy(&l);
}

/* A write outside its tensor would destroy a neighbour: it ends the job. */
static void test_misuse(void **state)
{
    qep_st_layout *l = small_layout(82), *open = qep_st_layout_create();
    const qep_st_tensor *t = qep_st_layout_find(l, "q.qweight");
    qep_st_writer *w;

    (void)state;
    assert_ok(qep_st_layout_create_files(l, scratch, ""));
    assert_ok(qep_st_writer_open(l, scratch, "", &w));
    assert_dies(QEP_E_INTERNAL, (void)!qep_st_write(w, t, 0, 41, zeros));
    assert_dies(QEP_E_INTERNAL, (void)!qep_st_write(w, t, -1, 4, zeros));
    assert_dies(QEP_E_INTERNAL, (void)!qep_st_write(w, t, 40, 1, zeros));
    assert_dies(QEP_E_INTERNAL, (void)!qep_st_write(w, t, 1, INT64_MAX, zeros));
    assert_dies(QEP_E_INTERNAL, (void)!qep_st_write_columns(w, t, 2, 20, 16, 8, zeros));
    assert_dies(QEP_E_INTERNAL, (void)!qep_st_write_columns(w, t, 3, 20, 0, 4, zeros));
    assert_dies(QEP_E_INTERNAL, (void)!qep_st_write_columns(w, t, 2, 20, -4, 4, zeros));
    assert_dies(QEP_E_INTERNAL, (void)!qep_st_layout_create_files(open, scratch, ""));
    assert_ok(qep_st_write(w, t, 40, 0, NULL));
    assert_ok(qep_st_writer_close(&w));
    assert_ok(qep_st_writer_close(&w));
    qep_st_layout_destroy(&l);
    qep_st_layout_destroy(&open);
}

static void test_open_errors(void **state)
{
    qep_st_layout *l = small_layout(82);
    qep_st_writer *w;

    (void)state;
    assert_fails(qep_st_writer_open(l, scratch, PARTIAL, &w), QEP_E_IO, "model-00001");
    assert_null(w);
    assert_fails(qep_st_layout_create_files(l, in_scratch("nowhere"), PARTIAL), QEP_E_IO, "nowhere");
    assert_ok(qep_st_layout_create_files(l, scratch, PARTIAL));
    assert_int_equal(truncate(in_scratch("model-00002-of-00002.safetensors.partial"), 9), 0);
    assert_fails(qep_st_writer_open(l, scratch, PARTIAL, &w), QEP_E_IO, "has 9 bytes");
    assert_null(w);
    qep_st_layout_destroy(&l);
    assert_int_equal(qep_mem_blocks(), 0);
}

static int files_in_scratch(void)
{
    DIR *d = opendir(scratch);
    int n = 0;

    assert_non_null(d);
    for (struct dirent *e = readdir(d); e; e = readdir(d))
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static void test_faults(void **state)
{
    qep_st_layout *l = small_layout(42);
    const qep_st_tensor *t = qep_st_layout_at(l, 0);
    qep_st_writer *w;

    (void)state;
    faults("safetensors.create:3"); /* the disk fills up at the third file: nothing stays */
    assert_fails(qep_st_layout_create_files(l, scratch, PARTIAL), QEP_E_RESOURCE, "model-00003-of-00003");
    assert_int_equal(files_in_scratch(), 0);
    faults("safetensors.sync:2");
    assert_fails(qep_st_layout_create_files(l, scratch, PARTIAL), QEP_E_IO, "model-00002-of-00003");
    assert_int_equal(files_in_scratch(), 0);
    faults(NULL);
    assert_ok(qep_st_layout_create_files(l, scratch, PARTIAL));
    assert_ok(qep_st_writer_open(l, scratch, PARTIAL, &w));
    faults("safetensors.open:1");
    assert_fails(qep_st_write(w, t, 0, 42, zeros), QEP_E_IO, "model-00001-of-00003");
    faults("safetensors.write:1");
    assert_fails(qep_st_write(w, t, 0, 42, zeros), QEP_E_IO, "\"embed\"");
    faults("safetensors.write:2");
    assert_fails(qep_st_write_columns(w, t, 7, 6, 2, 2, zeros), QEP_E_IO, "\"embed\"");
    faults("safetensors.sync:1");
    assert_fails(qep_st_writer_sync(w), QEP_E_IO, "fsync");
    assert_ok(qep_st_writer_sync(w)); /* still dirty: tried again */
    assert_ok(qep_st_write(w, t, 0, 42, zeros));
    faults("safetensors.sync:1");
    assert_fails(qep_st_writer_close(&w), QEP_E_IO, "fsync");
    assert_null(w);
    faults(NULL);
    qep_st_layout_destroy(&l);
    assert_int_equal(qep_mem_blocks(), 0);
}

/* A limit of the process on file sizes stands in for a full disk everywhere. */
static void test_file_size_limit(void **state)
{
    struct rlimit old, small;
    qep_st_layout *l = qep_st_layout_create();
    qep_status st;

    (void)state;
    add(l, "a", QEP_F32, 10, 10);
    add(l, "b", QEP_F32, 1000, 100);
    assert_ok(qep_st_layout_finish(l, 1000));
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 65536;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    st = qep_st_layout_create_files(l, scratch, PARTIAL);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(st, QEP_E_RESOURCE);
    assert_non_null(strstr(qep_error_text(), "no space for"));
    assert_int_equal(files_in_scratch(), 0);
    assert_ok(qep_st_layout_create_files(l, scratch, PARTIAL));
    qep_st_layout_destroy(&l);
}

static void test_full_disk(void **state)
{
    qep_st_layout *l = qep_st_layout_create();
    qep_status st;
    int made;

    (void)state;
    if (mount("tmpfs", scratch, "tmpfs", 0, "size=256k") != 0) {
        print_message("cannot mount a tmpfs (%s): skipped\n", strerror(errno));
        qep_st_layout_destroy(&l);
        skip();
    }
    add(l, "a", QEP_U8, 100, 1024);
    add(l, "b", QEP_U8, 300, 1024);
    st = qep_st_layout_finish(l, 1 << 17);
    if (st == QEP_OK)
        st = qep_st_layout_create_files(l, scratch, PARTIAL);
    made = files_in_scratch();
    assert_int_equal(umount(scratch), 0);
    assert_int_equal(st, QEP_E_RESOURCE);
    assert_int_equal(made, 0);
    qep_st_layout_destroy(&l);
}

static const struct CMUnitTest tests[] = {
    SCRATCH_TEST(test_layout),
    SCRATCH_TEST(test_header_padding),
    SCRATCH_TEST(test_shards),
    SCRATCH_TEST(test_index_text),
    SCRATCH_TEST(test_layout_refusals),
    SCRATCH_TEST(test_no_tensors),
    SCRATCH_TEST(test_create_twice_and_match),
    SCRATCH_TEST(test_disjoint_slices),
    SCRATCH_TEST(test_whole_width_columns),
    SCRATCH_TEST(test_misuse),
    SCRATCH_TEST(test_open_errors),
    SCRATCH_TEST(test_faults),
    SCRATCH_TEST(test_file_size_limit),
    SCRATCH_TEST(test_full_disk),
};

QEP_TEST_MAIN(tests)
