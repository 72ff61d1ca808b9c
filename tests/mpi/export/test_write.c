/* Writing by many ranks: bytes do not depend on who writes what; every value is where a reader expects it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "export_fixture.h"

/* Field k of `bits` bits of a little-endian bit stream whose words are `stride` apart. */
static int field(const uint32_t *words, int64_t stride, int64_t k, int bits)
{
    int v = 0;
    for (int b = 0; b < bits; b++) {
        int64_t at = k * bits + b;
        v |= (int)(words[at / 32 * stride] >> (at % 32) & 1u) << b;
    }
    return v;
}

static void *load(const qep_st_set *s, const char *module, const char *part, qep_dtype dtype, int rank, int64_t d0, int64_t d1)
{
    char name[160];
    snprintf(name, sizeof name, "%s%s", module, part);
    const qep_st_tensor *t = qep_st_find(s, name);
    bool ok = t && t->dtype == dtype && t->rank == rank && t->shape[0] == d0 && (rank == 1 || t->shape[1] == d1);
    if (!ok) fail_msg("%s: missing, or another dtype or shape", name);
    void *data = qep_alloc("test", t->bytes, 1);
    assert_ok(qep_st_read(s, t, 0, t->bytes, data));
    return data;
}

static bool is_format(const fixture *f, const char *name) { return strcmp(f->rq.format, name) == 0; }

/* formats.md 3.1 to 3.3, bit by bit. */
static void check_gptq(const fixture *f, const qep_st_set *s, const qep_export_linear *l, const result *r)
{
    int b = l->spec.bits, minus = is_format(f, "gptq") ? 1 : 0;
    uint32_t *w = load(s, l->module, ".qweight", QEP_I32, 2, r->cols * b / 32, r->rows);
    uint32_t *z = load(s, l->module, ".qzeros", QEP_I32, 2, r->groups, r->rows * b / 32);
    uint16_t *h = load(s, l->module, ".scales", QEP_F16, 2, r->groups, r->rows);
    int32_t *g = load(s, l->module, ".g_idx", QEP_I32, 1, r->cols, 0);
    for (int64_t n = 0; n < r->rows; n++) {
        for (int64_t k = 0; k < r->cols; k++) assert_int_equal(field(w + n, r->rows, k, b), r->codes[n * r->cols + k]);
        for (int64_t k = 0; k < r->groups; k++) {
            assert_int_equal(field(z + k * (r->rows * b / 32), 1, n, b) + minus, r->zeros[n * r->groups + k]);
            assert_true(qep_f16_to_f32(h[k * r->rows + n]) == r->scales[n * r->groups + k]);
        }
    }
    assert_memory_equal(g, r->g_idx, (size_t)r->cols * 4);
    qep_free(w);
    qep_free(z);
    qep_free(h);
    qep_free(g);
}

/* formats.md 4.1: signed values, stored with 2^(bits - 1) added. */
static void check_ct(const qep_st_set *s, const qep_export_linear *l, const result *r)
{
    int b = l->spec.bits;
    int64_t words = (r->cols * b + 31) / 32, *shape = load(s, l->module, ".weight_shape", QEP_I64, 1, 2, 0);
    uint32_t *w = load(s, l->module, ".weight_packed", QEP_I32, 2, r->rows, words);
    uint16_t *h = load(s, l->module, ".weight_scale", QEP_F16, 2, r->rows, r->groups);
    uint32_t *z = l->spec.symmetric ? NULL : load(s, l->module, ".weight_zero_point", QEP_I32, 2, (r->rows * b + 31) / 32, r->groups);
    char name[160];
    snprintf(name, sizeof name, "%s.weight_zero_point", l->module);
    assert_true((qep_st_find(s, name) == NULL) == l->spec.symmetric);
    assert_true(shape[0] == r->rows && shape[1] == r->cols);
    for (int64_t n = 0; n < r->rows; n++) {
        for (int64_t k = 0; k < r->cols; k++) assert_int_equal(field(w + n * words, 1, k, b), r->codes[n * r->cols + k]);
        for (int64_t k = words * 32 - 1; k >= r->cols * b; k--) assert_int_equal(field(w + n * words, 1, k, 1), 0);
        for (int64_t g = 0; g < r->groups; g++) {
            if (z) assert_int_equal(field(z + g, r->groups, n, b), r->zeros[n * r->groups + g]);
            assert_true(qep_f16_to_f32(h[n * r->groups + g]) == r->scales[n * r->groups + g]);
        }
    }
    qep_free(shape);
    qep_free(w);
    qep_free(h);
    qep_free(z);
}

/* formats.md 5: output 8 c + j is nibble place[j] of word c, the inverse of 0 2 4 6 1 3 5 7. */
static void check_awq(const qep_st_set *s, const qep_export_linear *l, const result *r)
{
    static const int place[8] = {0, 4, 1, 5, 2, 6, 3, 7};
    uint32_t *w = load(s, l->module, ".qweight", QEP_I32, 2, r->cols, r->rows / 8);
    uint32_t *z = load(s, l->module, ".qzeros", QEP_I32, 2, r->groups, r->rows / 8);
    uint16_t *h = load(s, l->module, ".scales", QEP_F16, 2, r->groups, r->rows);
    for (int64_t n = 0; n < r->rows; n++) {
        int shift = 4 * place[n % 8];
        for (int64_t k = 0; k < r->cols; k++)
            assert_int_equal(w[k * (r->rows / 8) + n / 8] >> shift & 15, r->codes[n * r->cols + k]);
        for (int64_t g = 0; g < r->groups; g++) {
            assert_int_equal(z[g * (r->rows / 8) + n / 8] >> shift & 15, r->zeros[n * r->groups + g]);
            assert_true(qep_f16_to_f32(h[g * r->rows + n]) == r->scales[n * r->groups + g]);
        }
    }
    qep_free(w);
    qep_free(z);
    qep_free(h);
}

static void check_packed(const fixture *f, const qep_st_set *s, const qep_export_linear *l, int64_t i)
{
    result r = make_result(l, i);
    if (is_format(f, "compressed-tensors"))
        check_ct(s, l, &r);
    else if (is_format(f, "awq"))
        check_awq(s, l, &r);
    else
        check_gptq(f, s, l, &r);
    free_result(&r);
}

static bool is_linear_bias(const fixture *f, const qep_st_tensor *t)
{
    for (int64_t i = 0; i < f->n_linears; i++)
        if (f->linears[i].quantized && f->linears[i].bias == t) return true;
    return false;
}

static bool is_linear_weight(const fixture *f, const qep_st_tensor *t)
{
    for (int64_t i = 0; i < f->n_linears; i++) {
        size_t n = strlen(f->linears[i].module);
        if (f->linears[i].quantized && strncmp(t->name, f->linears[i].module, n) == 0 && strcmp(t->name + n, ".weight") == 0)
            return true;
    }
    return false;
}

/* What is not quantized has the bytes of the source; packed linears have an F16 bias. */
static void check_copies(const fixture *f, const qep_st_set *s)
{
    for (int64_t i = 0; i < qep_st_count(f->files); i++) {
        const qep_st_tensor *a = qep_st_at(f->files, i), *b = qep_st_find(s, a->name);
        bool packed = !is_format(f, "dense");
        if (is_linear_weight(f, a)) {
            assert_true(packed ? b == NULL : b != NULL);
            continue;
        }
        assert_non_null(b);
        int64_t n = a->bytes / qep_dtype_size(a->dtype);
        char *x = qep_alloc("test", a->bytes, 1), *y = qep_alloc("test", b->bytes, 1);
        assert_ok(qep_st_read(f->files, a, 0, a->bytes, x));
        assert_ok(qep_st_read(s, b, 0, b->bytes, y));
        if (packed && !is_format(f, "compressed-tensors") && is_linear_bias(f, a)) {
            float *v = qep_alloc("test", n, sizeof *v);
            qep_to_f32(v, x, a->dtype, n);
            assert_true(b->dtype == QEP_F16 && b->bytes == 2 * n);
            for (int64_t k = 0; k < n; k++) assert_int_equal(((uint16_t *)(void *)y)[k], qep_f32_to_f16(v[k]));
            qep_free(v);
        } else {
            assert_true(a->dtype == b->dtype && a->bytes == b->bytes && memcmp(x, y, (size_t)a->bytes) == 0);
        }
        qep_free(x);
        qep_free(y);
    }
}

static void check_directory(const fixture *f)
{
    qep_st_set *s = NULL;
    assert_ok(qep_st_open_dir(f->out, &s));
    assert_true(qep_st_n_files(s) > 1);
    for (int64_t i = 0; i < f->n_linears; i++)
        if (f->linears[i].quantized) check_packed(f, s, &f->linears[i], i);
    check_copies(f, s);
    qep_st_close(&s);
}

static void one_setting(const char *format, int bits, int64_t group, bool sym, bool act)
{
    int64_t blocks = qep_mem_blocks();
    fixture f = open_fixture(&small, strcmp(format, "awq") != 0, spec_of(bits, group, sym, act));
    f.rq.format = format;
    for (int64_t i = 0; i < f.n_linears; i++) f.linears[i].spec.zero_min = qep_export_zero_min(format);
    assert_ok(write_output(&f, false, false, false));
    check_digest(&f, f.out);
    check_directory(&f);
    /* the same by one rank alone: the same bytes */
    char *out = f.out;
    f.out = qep_path_join(f.dir, "alone");
    f.rq.output_dir = f.out;
    assert_ok(write_output(&f, false, false, true));
    qep_export *e = NULL;
    assert_ok(qep_export_plan(&f.rq, &e));
    for (int i = 0; i < qep_st_layout_n_files(qep_export_layout(e)); i++) {
        const char *name = qep_st_layout_file(qep_export_layout(e), i);
        assert_all(world, file_hash(out, name) == file_hash(f.out, name));
    }
    const char *const names[] = {"config.json", "model.safetensors.index.json", "quantize_config.json"};
    for (size_t i = 0; i < (strncmp(format, "gptq", 4) == 0 ? 3 : 2); i++) assert_all(world, file_hash(out, names[i]) == file_hash(f.out, names[i]));
    double bpw = qep_export_bits_per_weight(e);
    bool no_zeros = sym && strcmp(format, "compressed-tensors") == 0;
    if (group == 32) assert_le_f(fabs(bpw - (bits + ((no_zeros ? 0 : bits) + 16.0) / 32)), 1e-12);
    qep_export_destroy(&e);
    qep_free(out);
    close_fixture(&f);
    assert_all(world, qep_mem_blocks() == blocks);
}

static void two_bits(void **state) { (void)state; one_setting("gptq", 2, -1, false, false); }
static void three_bits(void **state) { (void)state; one_setting("gptq", 3, 32, false, true); }
static void four_bits(void **state) { (void)state; one_setting("gptq", 4, 32, true, false); }
static void eight_bits(void **state) { (void)state; one_setting("gptq", 8, 16, false, true); }

static void gptq_v2(void **state)
{
    (void)state;
    one_setting("gptq_v2", 2, 32, false, true);
    one_setting("gptq_v2", 3, -1, false, false);
    one_setting("gptq_v2", 4, 16, false, false);
}

static void compressed_tensors(void **state)
{
    (void)state;
    one_setting("compressed-tensors", 2, 32, true, false);
    one_setting("compressed-tensors", 3, 16, false, false);
    one_setting("compressed-tensors", 4, -1, false, false);
    one_setting("compressed-tensors", 8, -1, true, false);
}

static void awq(void **state)
{
    (void)state;
    one_setting("awq", 4, 32, false, false);
    one_setting("awq", 4, -1, true, false);
}

/* Rows and columns that fill no whole word; rows that fill no whole strip of 32. */
static void compressed_tensors_odd_shapes(void **state)
{
    (void)state;
    tiny_model m = {.hidden = 30, .inter = 37, .blocks = 1, .heads = 3, .kv_heads = 3, .vocab = 71, .dtype = QEP_F32,
                    .seed = 2, .shards = 1};
    for (int bits = 2; bits <= 8; bits = bits == 4 ? 8 : bits + 1) {
        fixture f = open_fixture(&m, true, spec_of(bits, -1, false, false));
        f.rq.format = "compressed-tensors";
        assert_ok(write_output(&f, false, false, false));
        qep_st_set *s = NULL;
        assert_ok(qep_st_open_dir(f.out, &s));
        for (int64_t i = 0; i < f.n_linears; i++) check_packed(&f, s, &f.linears[i], i);
        qep_st_close(&s);
        check_digest(&f, f.out);
        close_fixture(&f);
    }
}

/* The stored weight is the value that the quantized stream gets, rounded to the model's dtype. */
static void dense_values(void **state)
{
    (void)state;
    fixture f = open_fixture(&small, false, spec_of(4, 32, false, false));
    f.rq.format = "dense";
    f.linears[3].quantized = false;
    for (int64_t i = 0; i < f.n_linears; i++) f.linears[i].spec.zero_min = 0;
    assert_ok(write_output(&f, false, false, false));
    assert_all(world, file_hash(f.out, "config.json") == file_hash(f.source, "config.json"));
    assert_all(world, !has_file(f.out, "quantize_config.json"));
    qep_export *e = NULL;
    qep_st_set *s = NULL;
    assert_ok(qep_export_plan(&f.rq, &e));
    assert_ok(qep_st_open_dir(f.out, &s));
    check_copies(&f, s);
    for (int64_t i = 0; i < f.n_linears; i++) {
        if (!f.linears[i].quantized) continue;
        result r = make_result(&f.linears[i], i);
        int64_t n = r.rows * r.cols;
        float *v = qep_alloc("test", n, sizeof *v), *y = qep_alloc("test", n, sizeof *y);
        const qep_st_tensor *t = qep_st_find(s, f.linears[i].weight->name);
        assert_true(t && t->dtype == QEP_BF16 && t->shape[0] == r.rows && t->shape[1] == r.cols);
        qep_export_values(e, i, r.rows, r.codes, r.scales, r.zeros, r.g_idx, v);
        assert_ok(qep_st_read_rows_f32(s, t, 0, r.rows, y));
        for (int64_t k = 0; k < n; k++) {
            int64_t g = k / r.cols * r.groups + r.g_idx[k % r.cols];
            float exact = r.scales[g] * (float)(r.codes[k] - r.zeros[g]);
            assert_true(v[k] == y[k] && y[k] == qep_bf16_to_f32(qep_f32_to_bf16(exact)));
        }
        qep_free(v);
        qep_free(y);
        free_result(&r);
    }
    qep_st_close(&s);
    qep_export_destroy(&e);
    uint64_t d[2];
    int64_t n = -1;
    assert_ok(qep_export_check_all(world, f.out, d, &n));
    assert_all(world, d[0] == 0 && d[1] == 0 && n == 0);
    close_fixture(&f);
}

/* A dense weight may have any number of rows and columns. */
static void dense_odd_shapes(void **state)
{
    (void)state;
    tiny_model m = {.hidden = 30, .inter = 37, .blocks = 1, .heads = 3, .kv_heads = 3, .vocab = 11, .dtype = QEP_F32,
                    .seed = 2, .shards = 1};
    fixture f = open_fixture(&m, true, spec_of(3, -1, false, false));
    f.rq.format = "dense";
    assert_ok(write_output(&f, false, false, false));
    uint64_t d[2];
    int64_t n = -1;
    assert_ok(qep_export_check_all(world, f.out, d, &n));
    qep_st_set *s = NULL;
    assert_ok(qep_st_open_dir(f.out, &s));
    result r = make_result(&f.linears[6], 6);
    float *y = load(s, f.linears[6].module, ".weight", QEP_F32, 2, 30, 37);
    for (int64_t k = 0; k < 30 * 37; k++)
        assert_true(y[k] == r.scales[k / 37] * (float)(r.codes[k] - r.zeros[k / 37]));
    qep_free(y);
    free_result(&r);
    qep_st_close(&s);
    close_fixture(&f);
}

static void tied_head(void **state)
{
    (void)state;
    tiny_model m = small;
    m.tied = true;
    for (int dense = 0; dense < 2; dense++) {
        fixture f = open_fixture(&m, true, spec_of(4, 32, true, false));
        if (dense) f.rq.format = "dense";
        assert_ok(write_output(&f, false, false, false));
        if (!dense) check_digest(&f, f.out);
        qep_st_set *s = NULL;
        qep_json *config = NULL;
        char *path = qep_path_join(f.out, "config.json");
        assert_ok(qep_st_open_dir(f.out, &s));
        assert_ok(qep_json_load(path, QEP_E_INPUT, &config));
        const qep_json *q = qep_json_get(config, "quantization_config");
        assert_non_null(qep_json_get(config, "tie_word_embeddings"));
        assert_false(qep_json_bool(qep_json_get(config, "tie_word_embeddings")));
        assert_true((q != NULL) == !dense && qep_json_bool(qep_json_get(q, "lm_head")) == !dense);
        assert_non_null(qep_st_find(s, "model.embed_tokens.weight"));
        assert_non_null(qep_st_find(s, dense ? "lm_head.weight" : "lm_head.qweight"));
        check_copies(&f, s);
        qep_free(path);
        qep_json_free(&config);
        qep_st_close(&s);
        close_fixture(&f);
    }
}

static void side_files(void **state)
{
    (void)state;
    fixture f = open_fixture(&small, false, spec_of(4, 32, true, false));
    const char *const kept[] = {"tokenizer.json", "chat_template.jinja", "README.md", "modeling_x.py", "merges.txt"};
    const char *const dropped[] = {"pytorch_model.bin", "consolidated.safetensors", "x.safetensors.old", "a.pth", "b.pt", "c.gguf",
                                   ".hidden", "left.partial", "quantize_config.json", "qep_mpi.log", "pytorch_model.bin.index.json"};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) put_text(f.source, kept[i], kept[i]);
    for (size_t i = 0; i < sizeof dropped / sizeof *dropped; i++) put_text(f.source, dropped[i], "no");
    char *sub = qep_path_join(f.source, "original"), *empty = qep_path_join(f.source, "tokenizer.json");
    root_ok(qep_dir_make(sub));
    if (is_root()) assert_int_equal(chmod(empty, 0600), 0);
    put_text(f.source, "empty.txt", "");
    assert_ok(write_output(&f, false, false, false));
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        assert_all(world, file_hash(f.out, kept[i]) == file_hash(f.source, kept[i]));
    assert_all(world, file_hash(f.out, "empty.txt") == file_hash(f.source, "empty.txt"));
    char *path = qep_path_join(f.out, "tokenizer.json");
    struct stat sb;
    assert_all(world, stat(path, &sb) == 0 && (sb.st_mode & 0777) == 0644);
    for (size_t i = 0; i < sizeof dropped / sizeof *dropped; i++)
        assert_all(world, has_file(f.out, dropped[i]) == (strcmp(dropped[i], "quantize_config.json") == 0));
    assert_all(world, file_hash(f.out, "quantize_config.json") != file_hash(f.source, "quantize_config.json"));
    assert_all(world, !has_file(f.out, "config.json.partial"));
    qep_free(path);
    qep_free(sub);
    qep_free(empty);
    close_fixture(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(two_bits),     cmocka_unit_test(three_bits),       cmocka_unit_test(four_bits), cmocka_unit_test(eight_bits),
    cmocka_unit_test(gptq_v2),      cmocka_unit_test(compressed_tensors), cmocka_unit_test(awq),
    cmocka_unit_test(compressed_tensors_odd_shapes),
    cmocka_unit_test(dense_values), cmocka_unit_test(dense_odd_shapes), cmocka_unit_test(tied_head), cmocka_unit_test(side_files),
};

QEP_TEST_MAIN_MPI(tests)
