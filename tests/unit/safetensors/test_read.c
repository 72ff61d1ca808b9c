/* Good files: order, lookup, shards, ranges, conversion to f32 with its check, identity, misuse.
 * SPDX-License-Identifier: Apache-2.0 */
#include "st_files.h"
#include "st_fork.h"

#define T(dtype, shape, offsets) "\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets

static void test_smallest_file(void **state)
{
    qep_st_set *s;

    (void)state;
    put_st(in_scratch("a.safetensors"), "{}      ", "", 0);
    assert_ok(qep_st_open_file(in_scratch("a.safetensors"), &s));
    assert_int_equal(qep_st_count(s), 0);
    assert_int_equal(qep_st_n_files(s), 1);
    assert_int_equal(qep_st_file_bytes(s, 0), 16);
    assert_null(qep_st_metadata(s, 0));
    assert_null(qep_st_find(s, ""));
    assert_null(qep_st_find(s, "a"));
    qep_st_close(&s);
    assert_null(s);
    qep_st_close(&s);
    assert_int_equal(qep_mem_blocks(), 0);
}

/* Scalars, empty tensors, every rank up to 8, names that need care; file order differs from header order. */
static void test_fields_and_order(void **state)
{
    static const char header[] =
        "{\"z\":{" T("U8", "[1,1,1,1,1,1,1,3]", "[9,12]") "},"
        "\"__metadata__\":{\"format\":\"pt\",\"who\":\"me\"},"
        "\"scalar\":{" T("F32", "[]", "[0,4]") "},"
        "\"empty\":{" T("F32", "[0,7]", "[4,4]") "},"
        "\"a.b/c d\\u00e9\":{" T("F4", "[2,5]", "[4,9]") ",\"more\":1}}";
    static const char *const order[] = {"scalar", "empty", "a.b/c d\xc3\xa9", "z"};
    const qep_st_tensor *t;
    qep_st_set *s;

    (void)state;
    put_st(in_scratch("a.safetensors"), header, zeros, 12);
    assert_ok(qep_st_open_file(in_scratch("a.safetensors"), &s));
    assert_int_equal(qep_st_count(s), 4);
    for (int i = 0; i < 4; i++) {
        assert_string_equal(qep_st_at(s, i)->name, order[i]);
        assert_ptr_equal(qep_st_find(s, order[i]), qep_st_at(s, i));
        assert_int_equal(qep_st_at(s, i)->shard, 0);
    }
    t = qep_st_find(s, "z");
    assert_int_equal(t->dtype, QEP_U8);
    assert_int_equal(t->rank, 8);
    assert_int_equal(t->shape[7], 3);
    assert_int_equal(t->offset, 8 + (int64_t)sizeof header - 1 + 9);
    assert_int_equal(t->bytes, 3);
    assert_int_equal(qep_st_find(s, "scalar")->rank, 0);
    assert_int_equal(qep_st_find(s, "empty")->bytes, 0);
    assert_string_equal(qep_json_string(qep_json_get(qep_st_metadata(s, 0), "who")), "me");
    assert_null(qep_st_find(s, "__metadata__"));
    qep_st_close(&s);
    assert_int_equal(qep_mem_blocks(), 0);
}

/* Every dtype of the format is known, with its size. */
static void test_all_dtypes(void **state)
{
    char header[256];
    qep_st_set *s;

    (void)state;
    for (int d = 0; d < QEP_DTYPE_COUNT; d++) {
        int bytes = qep_dtype_bits((qep_dtype)d); /* 8 elements */

        snprintf(header, sizeof header, "{\"a\":{\"dtype\":\"%s\",\"shape\":[2,4],\"data_offsets\":[0,%d]}}",
                 qep_dtype_name((qep_dtype)d), bytes);
        put_st(in_scratch("a.safetensors"), header, zeros, (size_t)bytes);
        assert_ok(qep_st_open_file(in_scratch("a.safetensors"), &s));
        assert_int_equal(qep_st_at(s, 0)->dtype, d);
        qep_st_close(&s);
    }
}

/* Ranges at all positions of a tensor behind another. */
static void test_raw_ranges(void **state)
{
    static const char header[] = "{\"a\":{" T("U8", "[5]", "[0,5]") "},\"b\":{" T("U8", "[7]", "[5,12]") "}}";
    unsigned char data[12], got[8];
    const qep_st_tensor *t;
    qep_st_set *s;

    (void)state;
    for (int i = 0; i < 12; i++)
        data[i] = (unsigned char)(100 + i);
    put_st(in_scratch("a.safetensors"), header, data, 12);
    assert_ok(qep_st_open_file(in_scratch("a.safetensors"), &s));
    t = qep_st_find(s, "b");
    for (int begin = 0; begin <= 7; begin++)
        for (int n = 0; begin + n <= 7; n++) {
            qep_st_expect(s, t, begin, n); /* before and after the file is opened for reading */
            memset(got, 0xee, sizeof got);
            assert_ok(qep_st_read(s, t, begin, n, got));
            assert_memory_equal(got, data + 5 + begin, n);
            assert_int_equal(got[n], 0xee);
        }
    assert_dies(QEP_E_INTERNAL, qep_st_expect(s, t, 0, 8));
    assert_dies(QEP_E_INTERNAL, (void)!qep_st_read(s, t, 0, 8, got));
    assert_dies(QEP_E_INTERNAL, (void)!qep_st_read(s, t, -1, 1, got));
    assert_dies(QEP_E_INTERNAL, (void)!qep_st_read(s, t, 8, 0, got));
    assert_dies(QEP_E_INTERNAL, (void)!qep_st_read(s, t, 1, INT64_MAX, got));
    assert_dies(QEP_E_INTERNAL, (void)qep_st_at(s, 2));
    assert_dies(QEP_E_INTERNAL, (void)qep_st_file(s, 1));
    qep_st_close(&s);
}

/* Each float type, rows in all ranges; the values are exact in all of them. */
static void test_rows_of_every_float_type(void **state)
{
    static const qep_dtype types[] = {QEP_F16, QEP_BF16, QEP_F32, QEP_F64};
    enum { R = 5, C = 3 };
    float x[R * C], got[R * C + 1];
    double raw[R * C];
    char header[256];
    qep_st_set *s;

    (void)state;
    for (int i = 0; i < R * C; i++)
        x[i] = (float)(i - 7) * 0.25f;
    for (int k = 0; k < 4; k++) {
        int64_t bytes = R * C * qep_dtype_size(types[k]);

        qep_from_f32(raw, types[k], x, R * C);
        snprintf(header, sizeof header, "{\"w\":{\"dtype\":\"%s\",\"shape\":[5,3],\"data_offsets\":[0,%d]}}",
                 qep_dtype_name(types[k]), (int)bytes);
        put_st(in_scratch("a.safetensors"), header, raw, (size_t)bytes);
        assert_ok(qep_st_open_file(in_scratch("a.safetensors"), &s));
        for (int row = 0; row <= R; row++)
            for (int n = 0; row + n <= R; n++) {
                got[n * C] = -99;
                assert_ok(qep_st_read_rows_f32(s, qep_st_at(s, 0), row, n, got));
                assert_memory_equal(got, x + row * C, (size_t)(n * C) * sizeof *x);
                assert_true(got[n * C] == -99);
            }
        assert_dies(QEP_E_INTERNAL, (void)!qep_st_read_rows_f32(s, qep_st_at(s, 0), 3, 3, got));
        qep_st_close(&s);
    }
    assert_int_equal(qep_mem_blocks(), 0);
}

/* A tensor larger than the conversion buffer, with a length that is no multiple of it. */
static void test_rows_through_several_chunks(void **state)
{
    enum { R = 1031, C = 4099 };
    uint16_t *raw = qep_alloc("test", R * C, 2);
    float *got = qep_alloc("test", R * C, 4);
    char header[128];
    int64_t wrong = 0;
    qep_st_set *s;

    (void)state;
    for (int64_t i = 0; i < R * C; i++)
        raw[i] = qep_f32_to_bf16((float)(i % 251) - 100);
    snprintf(header, sizeof header, "{\"w\":{\"dtype\":\"BF16\",\"shape\":[%d,%d],\"data_offsets\":[0,%d]}}", R, C,
             2 * R * C);
    put_st(in_scratch("a.safetensors"), header, raw, 2 * R * C);
    assert_ok(qep_st_open_file(in_scratch("a.safetensors"), &s));
    assert_ok(qep_st_read_rows_f32(s, qep_st_at(s, 0), 1, R - 1, got));
    for (int64_t i = C; i < R * C; i++)
        wrong += got[i - C] != (float)(i % 251) - 100;
    assert_int_equal(wrong, 0);
    raw[1000 * (int64_t)C + 4098] = 0x7f80;
    put_st(in_scratch("a.safetensors"), header, raw, 2 * R * C);
    assert_fails(qep_st_read_rows_f32(s, qep_st_at(s, 0), 7, R - 7, got), QEP_E_INPUT,
                 "\"w\": infinity at row 1000, column 4098");
    qep_st_close(&s);
    qep_free(raw);
    qep_free(got);
}

static void test_not_finite(void **state)
{
    static const struct {
        const char *dtype;
        uint64_t bits;
        int size;
        const char *text;
    } cases[] = {
        {"F32", 0x7fc00000, 4, "NaN"},     {"F32", 0xff800000, 4, "infinity"},
        {"BF16", 0x7fc0, 2, "NaN"},        {"BF16", 0xff80, 2, "infinity"},
        {"F16", 0x7e00, 2, "NaN"},         {"F16", 0x7c00, 2, "infinity"},
        {"F64", UINT64_C(0x7ff8000000000000), 8, "NaN"},
        {"F64", UINT64_C(0x7fefffffffffffff), 8, "infinity"}, /* finite, but not as f32 */
    };
    unsigned char data[12 * 8];
    char header[128], want[64];
    float got[12];
    qep_st_set *s;

    (void)state;
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
        for (int at = 0; at < 12; at++) {
            memset(data, 0, sizeof data);
            memcpy(data + at * cases[k].size, &cases[k].bits, (size_t)cases[k].size);
            snprintf(header, sizeof header, "{\"w\":{\"dtype\":\"%s\",\"shape\":[3,2,2],\"data_offsets\":[0,%d]}}",
                     cases[k].dtype, 12 * cases[k].size);
            put_st(in_scratch("a.safetensors"), header, data, (size_t)(12 * cases[k].size));
            assert_ok(qep_st_open_file(in_scratch("a.safetensors"), &s));
            snprintf(want, sizeof want, "\"w\": %s at row %d, column %d", cases[k].text, at / 4, at % 4);
            assert_fails(qep_st_read_rows_f32(s, qep_st_at(s, 0), at / 4, 3 - at / 4, got), QEP_E_INPUT, want);
            if (at < 4)
                assert_ok(qep_st_read_rows_f32(s, qep_st_at(s, 0), 1, 2, got));
            qep_st_close(&s);
        }
    assert_int_equal(qep_mem_blocks(), 0);
}

static void test_rows_of_odd_tensors(void **state)
{
    static const char header[] = "{\"scalar\":{" T("F32", "[]", "[0,4]") "},\"vector\":{" T("F32", "[3]", "[4,16]")
                                 "},\"none\":{" T("F32", "[0,4]", "[16,16]") "},\"flat\":{"
                                 T("F32", "[4,0]", "[16,16]") "},\"codes\":{" T("F8_E4M3", "[2]", "[16,18]") "}}";
    float data[5] = {1, 2, 3, 4, 0}, got[4] = {0};
    qep_st_set *s;

    (void)state;
    put_st(in_scratch("a.safetensors"), header, data, 18);
    assert_ok(qep_st_open_file(in_scratch("a.safetensors"), &s));
    assert_ok(qep_st_read_rows_f32(s, qep_st_find(s, "scalar"), 0, 1, got));
    assert_true(got[0] == 1);
    assert_ok(qep_st_read_rows_f32(s, qep_st_find(s, "vector"), 1, 2, got));
    assert_true(got[0] == 3 && got[1] == 4);
    assert_ok(qep_st_read_rows_f32(s, qep_st_find(s, "none"), 0, 0, got));
    assert_ok(qep_st_read_rows_f32(s, qep_st_find(s, "flat"), 0, 4, got));
    assert_fails(qep_st_read_rows_f32(s, qep_st_find(s, "codes"), 0, 1, got), QEP_E_INPUT, "F8_E4M3");
    assert_non_null(strstr(qep_error_text(), "\"codes\""));
    qep_st_close(&s);
}

#define A "model-00001-of-00002.safetensors"
#define B "model-00002-of-00002.safetensors"

/* Shards in the order of their names whatever the index says; copies that the index does not mention are ignored. */
static void test_shards(void **state)
{
    static const char index[] = "{\"metadata\":{\"total_size\":5},\"weight_map\":{\"b\":\"" B "\",\"a\":\"" A "\"}}";
    unsigned char got[3];
    uint64_t id;
    qep_st_set *s;

    (void)state;
    put_st(in_scratch(A), "{\"b\":{" T("U8", "[1]", "[0,1]") "},\"a\":{" T("U8", "[2]", "[1,3]") "}}", "xaa", 3);
    put_st(in_scratch(B), "{\"b\":{" T("U8", "[3]", "[0,3]") "},\"extra\":{" T("U8", "[1]", "[3,4]") "}}", "bbby", 4);
    put_bytes(in_scratch("model.safetensors.index.json"), index, sizeof index - 1);
    assert_ok(qep_st_open_dir(scratch, &s));
    assert_int_equal(qep_st_n_files(s), 2);
    assert_int_equal(qep_st_count(s), 2);
    assert_string_equal(qep_path_base(qep_st_file(s, 0)), A);
    assert_string_equal(qep_path_base(qep_st_file(s, 1)), B);
    assert_string_equal(qep_st_at(s, 0)->name, "a");
    assert_int_equal(qep_st_find(s, "b")->shard, 1);
    assert_null(qep_st_find(s, "extra"));
    assert_ok(qep_st_read(s, qep_st_find(s, "b"), 0, 3, got));
    assert_memory_equal(got, "bbb", 3);
    assert_ok(qep_st_read(s, qep_st_find(s, "a"), 0, 2, got));
    assert_memory_equal(got, "aa", 2);
    id = qep_st_identity(s);
    qep_st_close(&s);
    assert_ok(qep_st_open_dir(scratch, &s));
    assert_true(qep_st_identity(s) == id);
    qep_st_close(&s);
    put_st(in_scratch(A), "{\"b\":{" T("U8", "[1]", "[0,1]") "},\"a\":{" T("I8", "[2]", "[1,3]") "}}", "xaa", 3);
    assert_ok(qep_st_open_dir(scratch, &s));
    assert_true(qep_st_identity(s) != id);
    qep_st_close(&s);
    put_st(in_scratch("model.safetensors"), "{\"one\":{" T("U8", "[1]", "[0,1]") "}}", "1", 1);
    assert_ok(qep_st_open_dir(scratch, &s)); /* comes before the index, as in transformers */
    assert_int_equal(qep_st_count(s), 1);
    assert_non_null(qep_st_find(s, "one"));
    qep_st_close(&s);
    assert_int_equal(qep_mem_blocks(), 0);
}

/* A file that shrinks or vanishes between open and read is an I/O error, not wrong data. */
static void test_file_changes_after_open(void **state)
{
    static const char header[] = "{\"a\":{" T("U8", "[8]", "[0,8]") "}}";
    unsigned char got[8];
    qep_st_set *s;

    (void)state;
    put_st(in_scratch("a.safetensors"), header, zeros, 8);
    assert_ok(qep_st_open_file(in_scratch("a.safetensors"), &s));
    put_st(in_scratch("a.safetensors"), header, zeros, 4);
    assert_fails(qep_st_read(s, qep_st_at(s, 0), 0, 8, got), QEP_E_IO, "changed its size");
    assert_int_equal(unlink(in_scratch("a.safetensors")), 0);
    qep_st_expect(s, qep_st_at(s, 0), 0, 8); /* a hint that cannot be given is no error */
    assert_fails(qep_st_read(s, qep_st_at(s, 0), 0, 8, got), QEP_E_IO, "cannot open");
    qep_st_close(&s);
    put_st(in_scratch("a.safetensors"), header, zeros, 8);
    assert_ok(qep_st_open_file(in_scratch("a.safetensors"), &s));
    assert_ok(qep_st_read(s, qep_st_at(s, 0), 0, 8, got));
    put_st(in_scratch("a.safetensors"), header, zeros, 4); /* the descriptor stays */
    assert_fails(qep_st_read(s, qep_st_at(s, 0), 0, 8, got), QEP_E_IO, "tensor \"a\"");
    assert_non_null(strstr(qep_error_text(), "end of file"));
    qep_st_close(&s);
}

static void faults(const char *spec)
{
    if (spec)
        setenv("QEP_FAULT", spec, 1);
    else
        unsetenv("QEP_FAULT");
    qep_fault_init(0);
}

static void test_faults(void **state)
{
    unsigned char got[8];
    float f[2];
    qep_st_set *s;

    (void)state;
    put_st(in_scratch("a.safetensors"), "{\"a\":{" T("F32", "[2]", "[0,8]") "}}", zeros, 8);
    faults("safetensors.open:1");
    assert_fails(qep_st_open_file(in_scratch("a.safetensors"), &s), QEP_E_IO, "a.safetensors");
    assert_null(s);
    faults("safetensors.read:2");
    assert_fails(qep_st_open_file(in_scratch("a.safetensors"), &s), QEP_E_IO, "a.safetensors");
    faults("safetensors.read:3");
    assert_ok(qep_st_open_file(in_scratch("a.safetensors"), &s));
    assert_fails(qep_st_read_rows_f32(s, qep_st_at(s, 0), 0, 2, f), QEP_E_IO, "\"a\"");
    assert_ok(qep_st_read(s, qep_st_at(s, 0), 0, 8, got));
    faults(NULL);
    qep_st_close(&s);
    assert_int_equal(qep_mem_blocks(), 0);
}

/* Many threads meet at the first read of a file. */
static void test_threads(void **state)
{
    unsigned char data[64];
    int wrong = 0;
    qep_st_set *s;

    (void)state;
    for (int i = 0; i < 64; i++)
        data[i] = (unsigned char)i;
    put_st(in_scratch("a.safetensors"), "{\"a\":{" T("U8", "[64]", "[0,64]") "}}", data, 64);
    for (int round = 0; round < 50; round++) {
        assert_ok(qep_st_open_file(in_scratch("a.safetensors"), &s));
#pragma omp parallel for num_threads(8) schedule(static, 1) reduction(+ : wrong)
        for (int i = 0; i < 64; i++) {
            unsigned char b = 255;

            wrong += qep_st_read(s, qep_st_at(s, 0), i, 1, &b) != QEP_OK || b != i;
        }
        qep_st_close(&s);
    }
    assert_int_equal(wrong, 0);
}

/* 200,000 tensors: opened and looked up in well under a second each. */
static void test_many_tensors(void **state)
{
    enum { N = 200000 };
    size_t cap = (size_t)N * 96, at = 1;
    char *header = malloc(cap), name[64];
    double t0;
    qep_st_set *s;

    (void)state;
    assert_non_null(header);
    header[0] = '{';
    for (int i = 0; i < N; i++)
        at += (size_t)snprintf(header + at, cap - at,
                               "%s\"model.layers.%d.experts.w\":{" T("U8", "[0]", "[0,0]") "}", i ? "," : "", i);
    snprintf(header + at, cap - at, "}");
    put_st(in_scratch("a.safetensors"), header, "", 0);
    free(header);
    t0 = qep_now_s();
    assert_ok(qep_st_open_file(in_scratch("a.safetensors"), &s));
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "model.layers.%d.experts.w", i);
        if (!qep_st_find(s, name) || strcmp(qep_st_find(s, name)->name, name) != 0)
            fail_msg("%s is not found", name);
    }
    assert_null(qep_st_find(s, "model.layers.200000.experts.w"));
    assert_le_f(qep_now_s() - t0, 10.0);
    qep_st_close(&s);
    assert_int_equal(qep_mem_blocks(), 0);
}

static void test_bundled_model(void **state)
{
    const char *shared = getenv("QEP_SHARED");
    char dir[1024];
    int64_t end = 0, floats = 0;
    float *row;
    qep_st_set *s;

    (void)state;
    snprintf(dir, sizeof dir, "%s/models/quickstart", shared ? shared : "../shared");
    if (!qep_dir_exists(dir)) {
        print_message("no %s: skipped\n", dir);
        skip();
    }
    assert_ok(qep_st_open_dir(dir, &s));
    assert_true(qep_st_count(s) > 10);
    for (int64_t i = 0; i < qep_st_count(s); i++) {
        const qep_st_tensor *t = qep_st_at(s, i);
        int64_t rows = t->rank ? t->shape[0] : 1;

        end = t->offset + t->bytes;
        if (!qep_dtype_is_float(t->dtype))
            continue;
        row = qep_alloc("test", t->bytes, 1 + sizeof *row);
        assert_ok(qep_st_read_rows_f32(s, t, 0, rows, row));
        qep_free(row);
        floats++;
    }
    assert_true(floats > 10);
    assert_int_equal(end, qep_st_file_bytes(s, 0));
    assert_non_null(qep_st_find(s, "model.embed_tokens.weight"));
    qep_st_close(&s);
}

/* A [2, 4, 3] tensor between two others as four matrices [2, 3]. */
static void test_split(void **state)
{
    static const char header[] = "{\"a\":{" T("F32", "[1]", "[0,4]") "},\"stack\":{" T("F32", "[2,4,3]", "[4,100]") "},\"z\":{"
                                 T("F32", "[2]", "[100,108]") "}}";
    char first[] = "e.0.gate", second[] = "e.0.up", third[] = "e.1.gate", fourth[] = "e.1.up", twice[] = "z";
    char *names[] = {first, second, third, fourth};
    float data[27], got[6];
    qep_st_set *s;

    (void)state;
    for (int i = 0; i < 27; i++)
        data[i] = (float)i;
    put_st(in_scratch("a.safetensors"), header, data, sizeof data);
    assert_ok(qep_st_open_file(in_scratch("a.safetensors"), &s));
    qep_st_cut cut = {qep_st_find(s, "stack"), 4, names};
    assert_ok(qep_st_split(s, &cut, 0));
    assert_int_equal(qep_st_count(s), 3);
    assert_ok(qep_st_split(s, &cut, 1));
    assert_int_equal(qep_st_count(s), 6);
    assert_null(qep_st_find(s, "stack"));
    assert_string_equal(qep_st_at(s, 0)->name, "a");
    assert_string_equal(qep_st_at(s, 5)->name, "z");
    for (int k = 0; k < 4; k++) {
        const qep_st_tensor *t = qep_st_find(s, names[k]);
        assert_true(t == qep_st_at(s, 1 + k) && t->rank == 2 && t->shape[0] == 2 && t->shape[1] == 3);
        assert_ok(qep_st_read_rows_f32(s, t, 0, 2, got));
        for (int i = 0; i < 6; i++)
            assert_true(got[i] == (float)(1 + 6 * k + i));
    }
    qep_st_close(&s);

    names[3] = twice;
    assert_ok(qep_st_open_file(in_scratch("a.safetensors"), &s));
    cut.tensor = qep_st_find(s, "stack");
    assert_fails(qep_st_split(s, &cut, 1), QEP_E_INPUT, "\"z\" is there twice");
    qep_st_close(&s);
}

static const struct CMUnitTest tests[] = {
    SCRATCH_TEST(test_split),
    SCRATCH_TEST(test_smallest_file),
    SCRATCH_TEST(test_fields_and_order),
    SCRATCH_TEST(test_all_dtypes),
    SCRATCH_TEST(test_raw_ranges),
    SCRATCH_TEST(test_rows_of_every_float_type),
    SCRATCH_TEST(test_rows_through_several_chunks),
    SCRATCH_TEST(test_not_finite),
    SCRATCH_TEST(test_rows_of_odd_tensors),
    SCRATCH_TEST(test_shards),
    SCRATCH_TEST(test_file_changes_after_open),
    SCRATCH_TEST(test_faults),
    SCRATCH_TEST(test_threads),
    SCRATCH_TEST(test_many_tensors),
    cmocka_unit_test(test_bundled_model),
};

QEP_TEST_MAIN(tests)
