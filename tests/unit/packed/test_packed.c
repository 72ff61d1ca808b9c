/* Packed linears against the codes, scales and zeros they were made from: every width, group, version and row range.
 * SPDX-License-Identifier: Apache-2.0 */
#include "qep_test.h"
#include "qep/packed.h"

#include <unistd.h>

typedef struct object {
    int bits, offset; /* stored zero = zero - offset */
    int64_t rows, cols, groups;
    bool symmetric, any_order;
    uint8_t *codes, *zeros;
    float *scales;
    int32_t *g_idx;
} object;

static char dir[256];

static int make_dir(void **state)
{
    const char *tmp = getenv("TMPDIR");
    (void)state;
    snprintf(dir, sizeof dir, "%s/qep_packed_XXXXXX", tmp ? tmp : "/tmp");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    char path[300];
    (void)state;
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    unlink(path);
    return rmdir(dir);
}

static uint64_t word(int64_t what, int64_t k)
{
    const int64_t key[2] = {what, k};
    return qep_hash64(key, sizeof key, 5);
}

static object make_object(int bits, int64_t rows, int64_t cols, int64_t width, bool symmetric, bool any_order, int version)
{
    object o = {.bits = bits, .offset = version == 1, .rows = rows, .cols = cols, .groups = cols / width,
                .symmetric = symmetric, .any_order = any_order};
    o.codes = qep_alloc("test", rows * cols, 1);
    o.zeros = qep_alloc("test", rows * o.groups, 1);
    o.scales = qep_alloc("test", rows * o.groups, sizeof *o.scales);
    o.g_idx = qep_alloc("test", cols, sizeof *o.g_idx);
    for (int64_t k = 0; k < rows * cols; k++) o.codes[k] = (uint8_t)(word(1, k) & ((1u << bits) - 1));
    for (int64_t k = 0; k < rows * o.groups; k++) {
        o.scales[k] = qep_f16_scale((float)(word(2, k) % 1000 + 1) / 4096.0f);
        o.zeros[k] = (uint8_t)(symmetric ? 1u << (bits - 1) : (uint64_t)o.offset + word(3, k) % ((1u << bits) - (unsigned)o.offset));
    }
    for (int64_t k = 0; k < cols; k++) o.g_idx[k] = (int32_t)((any_order ? (k * 7 + 3) % cols : k) / width);
    return o;
}

static void free_object(object *o)
{
    qep_free(o->codes);
    qep_free(o->zeros);
    qep_free(o->scales);
    qep_free(o->g_idx);
}

/* Bit by bit, as the format describes it: field k of a stream whose words lie `stride` apart. */
static void put_field(uint32_t *words, int64_t stride, int64_t k, int bits, unsigned value)
{
    for (int b = 0; b < bits; b++) {
        int64_t at = k * bits + b;
        if (value >> b & 1u) words[at / 32 * stride] |= 1u << (at % 32);
    }
}

static void write_tensors(const object *o, qep_st_writer *w, const qep_st_layout *l)
{
    int64_t n_codes = o->cols * o->bits / 32 * o->rows, n_zeros = o->groups * (o->rows * o->bits / 32);
    uint32_t *codes = qep_alloc("test", n_codes, sizeof *codes), *zeros = qep_alloc("test", n_zeros, sizeof *zeros);
    uint16_t *scales = qep_alloc("test", o->groups * o->rows, sizeof *scales);
    for (int64_t r = 0; r < o->rows; r++) {
        for (int64_t c = 0; c < o->cols; c++) put_field(codes + r, o->rows, c, o->bits, o->codes[r * o->cols + c]);
        for (int64_t g = 0; g < o->groups; g++) {
            put_field(zeros + g * (o->rows * o->bits / 32), 1, r, o->bits, (unsigned)(o->zeros[r * o->groups + g] - o->offset));
            scales[g * o->rows + r] = qep_f32_to_f16(o->scales[r * o->groups + g]);
        }
    }
    assert_ok(qep_st_write(w, qep_st_layout_find(l, "m.a.qweight"), 0, n_codes * 4, codes));
    assert_ok(qep_st_write(w, qep_st_layout_find(l, "m.a.qzeros"), 0, n_zeros * 4, zeros));
    assert_ok(qep_st_write(w, qep_st_layout_find(l, "m.a.scales"), 0, o->groups * o->rows * 2, scales));
    assert_ok(qep_st_write(w, qep_st_layout_find(l, "m.a.g_idx"), 0, o->cols * 4, o->g_idx));
    qep_free(scales);
    qep_free(zeros);
    qep_free(codes);
}

/* One file with the packed linear "m.a" and the plain one "m.b". */
static qep_st_set *write_file(const object *o)
{
    qep_st_layout *l = qep_st_layout_create();
    qep_st_writer *w = NULL;
    qep_st_set *files = NULL;
    float plain[4] = {1, 2, 3, 4};
    assert_ok(qep_st_layout_add(l, "m.a.qweight", QEP_I32, 2, (int64_t[]){o->cols * o->bits / 32, o->rows}));
    assert_ok(qep_st_layout_add(l, "m.a.qzeros", QEP_I32, 2, (int64_t[]){o->groups, o->rows * o->bits / 32}));
    assert_ok(qep_st_layout_add(l, "m.a.scales", QEP_F16, 2, (int64_t[]){o->groups, o->rows}));
    assert_ok(qep_st_layout_add(l, "m.a.g_idx", QEP_I32, 1, (int64_t[]){o->cols}));
    assert_ok(qep_st_layout_add(l, "m.b.weight", QEP_F32, 2, (int64_t[]){2, 2}));
    assert_ok(qep_st_layout_finish(l, INT64_C(1) << 30));
    assert_ok(qep_st_layout_create_files(l, dir, ""));
    assert_ok(qep_st_writer_open(l, dir, "", &w));
    write_tensors(o, w, l);
    assert_ok(qep_st_write(w, qep_st_layout_find(l, "m.b.weight"), 0, sizeof plain, plain));
    assert_ok(qep_st_writer_close(&w));
    qep_st_layout_destroy(&l);
    assert_ok(qep_st_open_dir(dir, &files));
    return files;
}

static char *config_of(const object *o, int64_t width, const char *more)
{
    return qep_strf("test", "{\"quantization_config\": {\"quant_method\": \"gptq\", \"checkpoint_format\": \"%s\", \"bits\": %d, "
                    "\"group_size\": %lld, \"sym\": %s, \"desc_act\": %s, \"dynamic\": {\"-:^m\\\\.b$\": {}}%s}}",
                    o->offset ? "gptq" : "gptq_v2", o->bits, (long long)width, o->symmetric ? "true" : "false",
                    o->any_order ? "true" : "false", more);
}

static qep_status open_text(const char *text, const qep_st_set *files, qep_packed **out)
{
    qep_json *config = NULL;
    assert_ok(qep_json_parse(text, (int64_t)strlen(text), "config.json", QEP_E_INPUT, &config));
    qep_status st = qep_packed_open(config, "config.json", files, out);
    qep_json_free(&config);
    return st;
}

static bool expected(const qep_packed *p, const char *module)
{
    bool yes;
    assert_ok(qep_packed_expects(p, module, &yes));
    return yes;
}

static void check_rows(const object *o, const qep_packed *p, const qep_packed_linear *l, int64_t row0, int64_t n)
{
    uint8_t *codes = qep_alloc("test", n * o->cols, 1), *zeros = qep_alloc("test", n * o->groups, 1);
    float *scales = qep_alloc("test", n * o->groups, sizeof *scales), *values = qep_alloc("test", n * o->cols, sizeof *values);
    assert_ok(qep_packed_read(p, l, row0, n, codes, scales, zeros));
    assert_ok(qep_packed_values(p, l, row0, n, values));
    assert_memory_equal(codes, o->codes + row0 * o->cols, (size_t)(n * o->cols));
    assert_memory_equal(zeros, o->zeros + row0 * o->groups, (size_t)(n * o->groups));
    assert_memory_equal(scales, o->scales + row0 * o->groups, (size_t)(n * o->groups) * sizeof *scales);
    for (int64_t r = 0; r < n; r++)
        for (int64_t c = 0; c < o->cols; c++) {
            int64_t g = (row0 + r) * o->groups + o->g_idx[c];
            float want = o->scales[g] * ((float)o->codes[(row0 + r) * o->cols + c] - (float)o->zeros[g]);
            assert_true(values[r * o->cols + c] == want);
        }
    qep_free(values);
    qep_free(scales);
    qep_free(zeros);
    qep_free(codes);
}

static void round_trip(int bits, int64_t rows, int64_t cols, int64_t width, bool symmetric, bool any_order, int version)
{
    object o = make_object(bits, rows, cols, width, symmetric, any_order, version);
    qep_st_set *files = write_file(&o);
    char *text = config_of(&o, width == cols ? -1 : width, "");
    qep_packed *p = NULL;
    assert_ok(open_text(text, files, &p));
    assert_string_equal(qep_packed_format(p), version == 1 ? "gptq" : "gptq_v2");
    assert_int_equal(qep_packed_count(p), 1);
    const qep_packed_linear *l = qep_packed_find(p, "m.a");
    assert_ptr_equal(l, qep_packed_at(p, 0));
    assert_null(qep_packed_find(p, "m.b"));
    assert_true(expected(p, "m.a") && !expected(p, "m.b") && !expected(p, "lm_head"));
    assert_true(l->rows == rows && l->cols == cols && l->groups == cols / width && l->bits == bits);
    int32_t *g_idx = qep_alloc("test", cols, sizeof *g_idx);
    assert_ok(qep_packed_groups(p, l, g_idx));
    assert_memory_equal(g_idx, o.g_idx, (size_t)cols * sizeof *g_idx);
    check_rows(&o, p, l, 0, rows);
    check_rows(&o, p, l, rows - 1, 1);
    check_rows(&o, p, l, 31, qep_min_i64(34, rows - 31));
    check_rows(&o, p, l, rows, 0);
    qep_free(g_idx);
    qep_packed_close(&p);
    assert_null(p);
    qep_free(text);
    qep_st_close(&files);
    free_object(&o);
}

static void every_layout(void **state)
{
    static const int widths[] = {2, 3, 4, 8};
    (void)state;
    for (size_t b = 0; b < 4; b++)
        for (int version = 1; version <= 2; version++) {
            round_trip(widths[b], 64, 96, 32, false, false, version);
            round_trip(widths[b], 32, 64, 64, true, false, version);
            round_trip(widths[b], 96, 128, 16, false, true, version);
        }
    round_trip(4, 608, 64, 32, false, true, 1); /* more rows than are dequantized at once */
}

static void refused(const char *text, const qep_st_set *files, const char *message)
{
    qep_packed *p = NULL;
    assert_fails(open_text(text, files, &p), QEP_E_INPUT, message);
    assert_null(p);
    qep_error_clear();
}

static void bad_configurations(void **state)
{
    (void)state;
    object o = make_object(4, 64, 96, 32, true, false, 1);
    qep_st_set *files = write_file(&o);
    qep_packed *p = NULL;
    assert_ok(open_text("{\"quantization_config\": null}", files, &p));
    assert_null(p);
    assert_true(qep_packed_count(p) == 0 && !qep_packed_find(p, "m.a") && !expected(p, "m.a"));
    char *text = config_of(&o, 32, ", \"lm_head\": 1");
    refused(text, files, "config.json: quantization_config: \"lm_head\" is missing or not true or false");
    refused("{\"quantization_config\": {\"quant_method\": \"bitsandbytes\"}}", files,
            "config.json: quantization_config: quant_method \"bitsandbytes\" cannot be read; supported: gptq");
    refused("{\"quantization_config\": {}}", files, "quant_method \"\" cannot be read");
    refused("{\"quantization_config\": {\"quant_method\": \"gptq\", \"checkpoint_format\": \"marlin\"}}", files,
            "checkpoint_format \"marlin\" cannot be read; supported: gptq, gptq_v2");
    refused("{\"quantization_config\": {\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 32, \"sym\": true, \"desc_act\": "
            "false, \"dynamic\": {\"+:m\\\\.a\": {\"bits\": 8}}}}", files, "module m.a: shapes or dtypes of its tensors do not fit a [64, 96]");
    refused("{\"quantization_config\": {\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 32, \"sym\": true, \"desc_act\": "
            "false, \"dynamic\": {\"-:m\": {}}}}", files, "config.json says that m.a is not quantized, but there is a m.a.qweight");
    refused("{\"quantization_config\": {\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 32, \"sym\": true, \"desc_act\": "
            "false, \"dynamic\": {\"-:m\\\\.(\": {}}}}", files, "config.json: quantization_config: dynamic: the regular expression \"m\\.(\": missing");
    qep_free(text);
    qep_st_close(&files);
    free_object(&o);
}

/* A v2 file that calls itself v1 is found out where the zeros are known. */
static void wrong_version(void **state)
{
    (void)state;
    object o = make_object(4, 64, 96, 32, true, false, 2);
    qep_st_set *files = write_file(&o);
    qep_packed *p = NULL;
    uint8_t codes[96], zeros[3];
    float scales[3];
    o.offset = 1;
    char *text = config_of(&o, 32, "");
    assert_ok(open_text(text, files, &p));
    assert_fails(qep_packed_read(p, qep_packed_at(p, 0), 5, 1, codes, scales, zeros), QEP_E_INPUT,
                 "module m.a: config.json says sym = true, but a zero point is not in the middle");
    qep_error_clear();
    qep_packed_close(&p);
    qep_free(text);
    qep_st_close(&files);
    free_object(&o);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(every_layout, make_dir, remove_dir),
    cmocka_unit_test_setup_teardown(bad_configurations, make_dir, remove_dir),
    cmocka_unit_test_setup_teardown(wrong_version, make_dir, remove_dir),
};

QEP_TEST_MAIN(tests)
