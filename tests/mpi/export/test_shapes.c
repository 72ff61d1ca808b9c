/* Writing and reading back are inverse: every format, width and grid, rows and columns that are prime, one, or one off a word, a strip or a block; by any number of ranks.
 * SPDX-License-Identifier: Apache-2.0 */
#include "export_fixture.h"
#include "qep/packed.h"

enum { ONE = 3 }; /* the linear that is quantized: o of block 0, whose rows no format puts in another order */

static void same_rows(const qep_packed *p, const qep_packed_linear *l, const result *r, int64_t row0, int64_t n)
{
    uint8_t *codes = qep_alloc("test", n * r->cols, 1), *zeros = qep_alloc("test", n * r->groups, 1);
    float *scales = qep_alloc("test", n * r->groups, sizeof *scales);
    assert_ok(qep_packed_read(p, l, row0, n, codes, scales, zeros));
    for (int64_t k = 0; k < n * r->groups; k++) assert_true(scales[k] == r->scales[row0 * r->groups + k]);
    for (int64_t k = 0; k < n * r->cols; k++) {
        int64_t row = row0 + k / r->cols, c = k % r->cols, g = c / (r->cols / r->groups);
        int code = r->codes[row * r->cols + c], zero = r->zeros[row * r->groups + g];
        if (l->differences) assert_int_equal(codes[k] - zeros[k / r->cols * r->groups + g], code - zero);
        else assert_true(codes[k] == code && zeros[k / r->cols * r->groups + g] == zero);
    }
    qep_free(codes);
    qep_free(zeros);
    qep_free(scales);
}

static void read_back(const fixture *f)
{
    qep_json *config = NULL;
    qep_st_set *files = NULL;
    qep_packed *p = NULL;
    char *path = qep_path_join(f->out, "config.json");
    result r = make_result(&f->linears[ONE], ONE);
    assert_ok(qep_json_load(path, QEP_E_INPUT, &config));
    assert_ok(qep_packed_open_dir(f->out, config, path, &files, &p));
    const qep_packed_linear *l = qep_packed_find(p, f->linears[ONE].module);
    assert_true(l && qep_packed_count(p) == 1 && l->rows == r.rows && l->cols == r.cols && l->groups == r.groups && !l->rounded);
    same_rows(p, l, &r, 0, r.rows);
    same_rows(p, l, &r, r.rows - 1, 1);
    same_rows(p, l, &r, r.rows / 3, r.rows - r.rows / 3);
    if (!l->differences) check_digest(f, f->out);
    qep_packed_close(&p);
    qep_st_close(&files);
    qep_json_free(&config);
    qep_free(path);
    free_result(&r);
    qep_barrier_all(world); /* before the next one is written */
}

static void one(fixture *f, const char *format, int bits, bool sym, int64_t rows, int64_t cols, int64_t group)
{
    qep_export_linear *l = &f->linears[ONE];
    if (group > 0 && cols % group != 0) return;
    l->spec = spec_of(bits, group, sym, false);
    l->spec.zero_min = qep_export_zero_min(format);
    l->rows = rows;
    l->cols = cols;
    f->rq.format = format;
    assert_ok(write_output(f, true, false, rows % 2 == 0));
    read_back(f);
}

static void every(const char *format, const int *bits, int n_bits, const int64_t (*shapes)[3], int n_shapes)
{
    fixture f = open_fixture(&(tiny_model){.hidden = 32, .inter = 32, .blocks = 1, .heads = 1, .kv_heads = 1, .vocab = 16, .dtype = QEP_F32, .seed = 1, .shards = 1},
                             false, spec_of(4, 32, true, false));
    for (int64_t i = 0; i < f.n_linears; i++) f.linears[i].quantized = i == ONE;
    for (int b = 0; b < n_bits; b++)
        for (int s = 0; s < n_shapes; s++)
            for (int sym = 0; sym < 2; sym++) one(&f, format, bits[b], sym, shapes[s][0], shapes[s][1], shapes[s][2]);
    close_fixture(&f);
}

static const int all_bits[] = {2, 3, 4, 8}, four[] = {4};
#define EVERY(format, bits, shapes) every(format, bits, sizeof bits / sizeof *bits, shapes, sizeof shapes / sizeof *shapes)

static void compressed_tensors(void **state)
{
    (void)state;
    static const int64_t shapes[][3] = {{1, 1, -1},   {1, 7, -1},     {7, 1, 1},     {31, 33, 3},   {33, 31, -1},   {37, 41, -1},  {5, 21, 7},
                                        {63, 10, 5},  {65, 22, 11},   {97, 32, 32},  {255, 13, -1}, {257, 61, -1}};
    EVERY("compressed-tensors", all_bits, shapes);
}

static const int64_t in_words[][3] = {{32, 32, -1}, {32, 96, 16}, {96, 32, 32}, {224, 352, 32}, {288, 64, 64}};

static void gptq(void **state)
{
    (void)state;
    EVERY("gptq", all_bits, in_words);
    EVERY("gptq_v2", all_bits, in_words);
}

static void awq(void **state)
{
    (void)state;
    EVERY("awq", four, in_words);
}

static void gguf(void **state)
{
    (void)state;
    static const int64_t shapes[][3] = {{1, 32, -1}, {37, 96, 32}, {31, 224, 32}, {127, 352, -1}, {33, 256, -1}, {65, 768, 256}, {7, 512, 64}};
    static const int exact[] = {2, 3, 4};
    EVERY("gguf", exact, shapes);
    fixture f = open_fixture(&small, false, spec_of(4, 32, true, false));
    for (int64_t i = 0; i < f.n_linears; i++) f.linears[i].quantized = i == ONE;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) one(&f, "gguf", 8, true, shapes[s][0], shapes[s][1], shapes[s][2]);
    close_fixture(&f);
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(compressed_tensors), cmocka_unit_test(gptq), cmocka_unit_test(awq), cmocka_unit_test(gguf)};

QEP_TEST_MAIN_MPI(tests)
