/* GGUF: every block decoded by the formulas of ggml's layouts gives the values of the codes, rows of q and k in llama.cpp's order; what no type holds exactly is what the
 * quantized stream is given. SPDX-License-Identifier: Apache-2.0 */
#include "export_fixture.h"
#include "qep/gguf.h"
#include "qep/packed.h"

static const tiny_model model = {.hidden = 256, .inter = 512, .blocks = 1, .heads = 4, .kv_heads = 2, .vocab = 40, .dtype = QEP_BF16,
                                 .bias = true, .seed = 3, .shards = 1};

static float half_at(const uint8_t *p) { return qep_f16_to_f32((uint16_t)(p[0] | p[1] << 8)); }

/* --- one block each, from formats.md 6.2 --------------------------------------------------------- */

static void q4_0(const uint8_t *b, float *y)
{
    for (int j = 0; j < 32; j++) y[j] = half_at(b) * (float)((j < 16 ? b[2 + j] & 15 : b[2 + j - 16] >> 4) - 8);
}

static void q5_0(const uint8_t *b, float *y)
{
    uint32_t high = (uint32_t)b[2] | (uint32_t)b[3] << 8 | (uint32_t)b[4] << 16 | (uint32_t)b[5] << 24;
    for (int j = 0; j < 32; j++) {
        int low = j < 16 ? b[6 + j] & 15 : b[6 + j - 16] >> 4;
        y[j] = half_at(b) * (float)(low + (int)(high >> j & 1) * 16 - 16);
    }
}

static void q8_0(const uint8_t *b, float *y)
{
    for (int j = 0; j < 32; j++) y[j] = half_at(b) * (float)(int8_t)b[2 + j];
}

/* Element i of 256: two bits. */
static int pair_of(const uint8_t *qs, int i) { return qs[i / 128 * 32 + i % 32] >> (2 * (i % 128 / 32)) & 3; }

static void q2_k(const uint8_t *b, float *y)
{
    for (int i = 0; i < 256; i++) {
        int s = b[i / 16];
        y[i] = half_at(b + 80) * (float)(s & 15) * (float)pair_of(b + 16, i) - half_at(b + 82) * (float)(s >> 4);
    }
}

static void q3_k(const uint8_t *b, float *y)
{
    const uint8_t *s = b + 96;
    for (int i = 0; i < 256; i++) {
        int j = i / 16, low = j < 8 ? s[j] & 15 : s[j - 8] >> 4, high = s[8 + j % 4] >> (2 * (j / 4)) & 3;
        int q = pair_of(b + 32, i) - (b[i % 32] >> (i / 32) & 1 ? 0 : 4);
        y[i] = half_at(b + 108) * (float)((low | high << 4) - 32) * (float)q;
    }
}

static void q4_k(const uint8_t *b, float *y)
{
    const uint8_t *s = b + 4;
    for (int i = 0; i < 256; i++) {
        int j = i / 32;
        int sc = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | (s[j - 4] >> 6) << 4, m = j < 4 ? s[j + 4] & 63 : (s[j + 4] >> 4) | (s[j] >> 6) << 4;
        int q = b[16 + i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4) & 15;
        y[i] = half_at(b) * (float)sc * (float)q - half_at(b + 2) * (float)m;
    }
}

typedef struct layout {
    int64_t block, bytes;
    void (*decode)(const uint8_t *b, float *y);
} layout;

static const layout small4 = {32, 18, q4_0}, five = {32, 22, q5_0}, eight = {32, 34, q8_0}, two_k = {256, 84, q2_k}, three_k = {256, 110, q3_k},
                    four_k = {256, 144, q4_k};

static char *their_name(const char *module)
{
    static const char *const theirs[7] = {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"};
    for (int i = 0; i < 7; i++)
        if (strstr(module, roles[i])) return qep_strf("test", "blk.0.%s.weight", theirs[i]);
    fail_msg("%s", module);
    return NULL;
}

/* Row of the file where row r of the linear is: pairs (i, i + half) of a head lie side by side. */
static int64_t place(const char *module, int64_t r)
{
    int64_t width = 64, i = r % width;
    if (!strstr(module, "q_proj") && !strstr(module, "k_proj")) return r;
    return r - i + (i % 32) * 2 + i / 32;
}

static void check_linear(const fixture *f, const qep_export *e, int64_t i, const layout *t, const uint8_t *file)
{
    const qep_export_linear *l = &f->linears[i];
    char *name = their_name(l->module);
    const qep_st_tensor *at = qep_st_layout_find(qep_export_layout(e), name);
    assert_non_null(at);
    int64_t row_bytes = l->cols / t->block * t->bytes;
    if (at->bytes != l->rows * row_bytes) fail_msg("%s has %d bytes, want %d", name, (int)at->bytes, (int)(l->rows * row_bytes));
    result r = make_result(l, i);
    float *want = qep_alloc("test", r.rows * r.cols, sizeof *want), y[256];
    qep_export_values(e, i, r.rows, r.codes, r.scales, r.zeros, r.g_idx, want);
    double worst = 0, most = 0;
    for (int64_t n = 0; n < r.rows; n++)
        for (int64_t k = 0; k < r.cols; k += t->block) {
            t->decode(file + at->offset + place(l->module, n) * row_bytes + k / t->block * t->bytes, y);
            for (int64_t j = 0; j < t->block; j++) {
                int64_t g = n * r.groups + r.g_idx[k + j];
                double exact = (double)r.scales[g] * (r.codes[n * r.cols + k + j] - r.zeros[g]);
                assert_true(y[j] == want[n * r.cols + k + j]);
                worst = fmax(worst, fabs((double)y[j] - exact));
                most = fmax(most, fabs(exact));
            }
        }
    bool held = l->spec.bits == 8 ? l->spec.symmetric : !l->spec.act_order && (l->spec.group_size == -1 || l->spec.group_size % 32 == 0);
    if (held) assert_true(worst == 0);
    else assert_true(worst > 0 && worst <= most / 127 * 0.51);
    qep_free(want);
    qep_free(name);
    free_result(&r);
}

/* Read back through packed: the values to the bit, and the digest where codes and zeros can be told. */
static void read_back(const fixture *f, const qep_export *e, bool codes_are_there)
{
    qep_json *config = NULL;
    qep_st_set *files = NULL;
    qep_packed *p = NULL;
    uint64_t want[2], got[2];
    int64_t n = 0;
    assert_ok(qep_json_parse(f->rq.config_text, (int64_t)strlen(f->rq.config_text), "config", QEP_E_INPUT, &config));
    assert_ok(qep_packed_open_dir(f->out, config, "config.json", &files, &p));
    assert_true(strcmp(qep_packed_format(p), "gguf") == 0 && qep_packed_count(p) == f->n_linears);
    for (int64_t i = 0; i < f->n_linears; i++) {
        const qep_packed_linear *l = qep_packed_find(p, f->linears[i].module);
        result r = make_result(&f->linears[i], i);
        float *a = qep_alloc("test", r.rows * r.cols, sizeof *a), *b = qep_alloc("test", r.rows * r.cols, sizeof *b);
        assert_true(l && l->rows == r.rows && l->cols == r.cols && l->differences == !codes_are_there);
        qep_export_values(e, i, r.rows, r.codes, r.scales, r.zeros, r.g_idx, a);
        assert_ok(qep_packed_values(p, l, 0, r.rows, b));
        assert_memory_equal(a, b, (size_t)(r.rows * r.cols) * sizeof *a);
        assert_ok(qep_packed_values(p, l, 1, 40, b)); /* any rows */
        assert_memory_equal(a + r.cols, b, (size_t)(40 * r.cols) * sizeof *a);
        qep_free(a);
        qep_free(b);
        free_result(&r);
    }
    qep_packed_close(&p);
    qep_st_close(&files);
    qep_json_free(&config);
    digest_of(f, want);
    assert_ok(qep_export_check_all(world, f->out, got, &n));
    assert_true(n == f->n_linears);
    if (codes_are_there) assert_true(got[0] == want[0] && got[1] == want[1]);
    else assert_true(got[0] == 0 && got[1] == 0);
}

/* What is found without checksums: a bit of any byte of a quantized tensor, by the blocks' own rules or by the digest. */
static void flip_each_byte(const fixture *f, const char *path, const char *file, int64_t bytes, const qep_st_tensor *t)
{
    uint64_t want[2], got[2];
    int64_t n;
    char *other = qep_alloc("test", bytes, 1), *sums = qep_path_join(f->out, "qep_mpi.json"), *away = qep_path_join(f->out, "away");
    digest_of(f, want);
    root_ok(rename(sums, away) == 0 ? QEP_OK : QEP_E_IO);
    for (int64_t at = 0; at < 144; at += 5) { /* of the first blocks */
        memcpy(other, file, (size_t)bytes);
        other[t->offset + at] ^= (char)(1 << at % 8);
        qep_barrier_all(world);
        root_ok(qep_file_write(path, other, bytes));
        qep_status st = qep_export_check_all(world, f->out, got, &n);
        if (st == QEP_OK && got[0] == want[0] && got[1] == want[1]) fail_msg("byte %d of %s is not missed", (int)at, t->name);
        assert_all(world, st == QEP_OK || st == QEP_E_INPUT);
    }
    qep_barrier_all(world);
    root_ok(qep_file_write(path, file, bytes));
    root_ok(rename(away, sums) == 0 ? QEP_OK : QEP_E_IO);
    qep_free(away);
    qep_free(sums);
    qep_free(other);
}

static void one(int bits, int64_t group, bool sym, bool act, const layout *t)
{
    int64_t blocks = qep_mem_blocks(), bytes = 0, n = -1;
    uint64_t d[2];
    fixture f = open_fixture(&model, false, spec_of(bits, group, sym, act));
    f.rq.format = "gguf";
    for (int64_t i = 0; i < f.n_linears; i++) f.linears[i].spec.zero_min = 0;
    assert_ok(write_output(&f, false, false, false));
    qep_export *e = NULL;
    char *path = qep_path_join(f.out, "model.gguf"), *file = NULL;
    assert_ok(qep_export_plan(&f.rq, &e));
    assert_ok(qep_file_read(path, INT64_MAX, QEP_E_INPUT, &file, &bytes));
    assert_memory_equal(file, "GGUF\3\0\0\0", 8);
    for (int64_t i = 0; i < f.n_linears; i++) check_linear(&f, e, i, t, (const uint8_t *)file);
    /* norms are F32, the embedding keeps its type, the bias of q is in the order of its rows */
    const qep_st_tensor *norm = qep_st_layout_find(qep_export_layout(e), "blk.0.attn_norm.weight");
    const qep_st_tensor *bias = qep_st_layout_find(qep_export_layout(e), "blk.0.attn_q.bias"), *src = f.linears[0].bias;
    assert_true(norm && norm->dtype == QEP_F32 && bias && bias->dtype == QEP_F32 && src);
    float v[256];
    assert_ok(qep_st_read_rows_f32(f.files, src, 0, 256, v));
    for (int64_t r = 0; r < 256; r++) {
        float x;
        memcpy(&x, file + bias->offset + place(f.linears[0].module, r) * 4, 4);
        assert_true(x == v[r]);
    }
    bool codes_are_there = !act && group != 16 && (bits == 8 ? sym : sym || t == &two_k || t == &four_k);
    read_back(&f, e, codes_are_there);
    if (codes_are_there) flip_each_byte(&f, path, file, bytes, qep_st_layout_find(qep_export_layout(e), "blk.0.ffn_up.weight"));
    /* a flipped byte of the file's last tensor, and of the header */
    const int64_t at[] = {bytes - 40, bias->offset + 3, 24};
    for (int k = 0; k < 3; k++) {
        char *other = qep_alloc("test", bytes, 1);
        memcpy(other, file, (size_t)bytes);
        other[at[k]] ^= 1;
        root_ok(qep_file_write(path, other, bytes));
        qep_status st = qep_export_check_all(world, f.out, d, &n);
        assert_all(world, st == QEP_E_INPUT);
        qep_free(other);
        qep_barrier_all(world);
    }
    qep_export_destroy(&e);
    qep_free(file);
    qep_free(path);
    close_fixture(&f);
    assert_all(world, qep_mem_blocks() == blocks);
}

static void exact_types(void **state)
{
    (void)state;
    one(4, 32, true, false, &small4);
    one(3, 64, false, false, &small4);
    one(2, 32, false, false, &small4);
    one(4, 128, false, false, &five);
    one(8, -1, true, false, &eight);
    one(2, -1, false, false, &two_k);
    one(3, 256, true, false, &three_k);
    one(4, 256, false, false, &four_k);
}

static void rounded_types(void **state)
{
    (void)state;
    one(8, 32, false, false, &eight);
    one(4, 16, false, false, &eight);
    one(3, 32, true, true, &eight);
}

/* Two experts of a Mixtral layer: one tensor for each part, expert by expert, rows as they are; read back one by one. */
static void experts(void **state)
{
    (void)state;
    static const char *const parts[] = {"w1", "w3", "w2"}, *const theirs[] = {"ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"};
    enum { ATTENTION = 4, LINEARS = 10 };
    tiny_model m = model;
    m.family = "mixtral";
    m.experts = 2;
    m.bias = false;
    fixture f = open_fixture(&m, false, spec_of(4, 32, true, false));
    for (int64_t i = 0; i < f.n_linears; i++) qep_free(f.linears[i].module);
    f.rq.linears = f.linears = qep_realloc(f.linears, "test", LINEARS, sizeof *f.linears);
    f.rq.n_linears = f.n_linears = LINEARS;
    for (int64_t i = 0; i < LINEARS; i++) {
        char module[128];
        if (i < ATTENTION) snprintf(module, sizeof module, "model.layers.0.%s", roles[i]);
        else snprintf(module, sizeof module, "model.layers.0.block_sparse_moe.experts.%d.%s", (int)(i - ATTENTION) / 3, parts[(i - ATTENTION) % 3]);
        f.linears[i] = (qep_export_linear){.spec = spec_of(i >= ATTENTION && (i - ATTENTION) % 3 == 2 ? 8 : 4, 32, true, false)};
        set_linear(&f, i, module);
    }
    f.rq.format = "gguf";
    assert_ok(write_output(&f, false, false, false));
    qep_export *e = NULL;
    char *path = qep_path_join(f.out, "model.gguf"), *file = NULL;
    int64_t bytes = 0;
    assert_ok(qep_export_plan(&f.rq, &e));
    double weights = 0, bits = 0;
    for (int64_t i = 0; i < f.n_linears; i++) {
        weights += (double)(f.linears[i].rows * f.linears[i].cols);
        bits += (double)(f.linears[i].rows * f.linears[i].cols) * (f.linears[i].spec.bits == 8 ? 8.5 : 4.5);
    }
    assert_le_f(fabs(qep_export_bits_per_weight(e) - bits / weights), 1e-12);
    assert_ok(qep_file_read(path, INT64_MAX, QEP_E_INPUT, &file, &bytes));
    for (int k = 0; k < 3; k++) {
        char *name = qep_strf("test", "blk.0.%s.weight", theirs[k]);
        const qep_st_tensor *at = qep_st_layout_find(qep_export_layout(e), name);
        const qep_export_linear *first = &f.linears[ATTENTION + k];
        int64_t row_bytes = first->cols / 32 * (k == 2 ? 34 : 18);
        float y[32];
        assert_true(at && at->rank == 3 && at->shape[0] == 2 && at->shape[1] == first->rows && at->shape[2] == row_bytes);
        for (int x = 0; x < 2; x++) {
            int64_t i = ATTENTION + 3 * x + k;
            result r = make_result(&f.linears[i], i);
            for (int64_t n = 0; n < r.rows; n += 37) {
                const uint8_t *row = (const uint8_t *)file + at->offset + (x * r.rows + n) * row_bytes;
                (k == 2 ? q8_0 : q4_0)(row, y);
                for (int j = 0; j < 32; j++) assert_true(y[j] == r.scales[n * r.groups] * (float)(r.codes[n * r.cols + j] - r.zeros[n * r.groups]));
            }
            free_result(&r);
        }
        qep_free(name);
    }
    qep_json *c = NULL;
    qep_st_set *files = NULL;
    qep_packed *p = NULL;
    assert_ok(qep_json_parse(f.config, (int64_t)strlen(f.config), "config", QEP_E_INPUT, &c));
    assert_ok(qep_packed_open_dir(f.out, c, "config.json", &files, &p));
    assert_int_equal(qep_packed_count(p), LINEARS);
    for (int64_t i = 0; i < f.n_linears; i++) {
        const qep_packed_linear *l = qep_packed_find(p, f.linears[i].module);
        result r = make_result(&f.linears[i], i);
        uint8_t *codes = qep_alloc("test", r.rows * r.cols, 1), *zeros = qep_alloc("test", r.rows * r.groups, 1);
        float *scales = qep_alloc("test", r.rows * r.groups, sizeof *scales);
        assert_true(l && l->rows == r.rows && l->cols == r.cols && !l->differences);
        assert_ok(qep_packed_read(p, l, 0, r.rows, codes, scales, zeros));
        assert_memory_equal(codes, r.codes, (size_t)(r.rows * r.cols));
        assert_memory_equal(scales, r.scales, (size_t)(r.rows * r.groups) * sizeof *scales);
        qep_free(codes);
        qep_free(zeros);
        qep_free(scales);
        free_result(&r);
    }
    qep_packed_close(&p);
    qep_st_close(&files);
    qep_json_free(&c);
    qep_export_destroy(&e);
    qep_free(file);
    qep_free(path);
    check_digest(&f, f.out);
    close_fixture(&f);
}

static void unknown_family(void **state)
{
    (void)state;
    fixture f = open_fixture(&model, false, spec_of(4, 32, true, false));
    char *config = qep_strf("test", "{\"model_type\": \"mamba\", \"num_hidden_layers\": 1}");
    f.rq.format = "gguf";
    f.rq.config_text = config;
    qep_export *e = NULL;
    assert_fails(qep_export_plan(&f.rq, &e), QEP_E_CONFIG, "model_type \"mamba\" are not known; known: llama");
    qep_free(config);
    close_fixture(&f);
}

/* What llama.cpp would compute in another way is refused before the work. */
static void other_than_llama_cpp(void **state)
{
    (void)state;
    static const struct {
        const char *more, *why, *type;
    } cases[] = {{"\"query_pre_attn_scalar\": 24", "by 1 / sqrt(64); config.json has query_pre_attn_scalar = 24", "gemma2"},
                 {"\"query_pre_attn_scalar\": 64, \"layer_types\": [\"full_attention\"]", "gives block 0 of a gemma2 model another kind of attention", "gemma2"},
                 {"\"query_pre_attn_scalar\": 64", "wants attn_logit_softcapping", "gemma2"},
                 {"\"query_pre_attn_scalar\": 64, \"final_logit_softcapping\": 30.0", "does not cap the logits of a gemma3 model with windows, config.json has final_logit_softcapping = 30",
                  "gemma3_text"}};
    for (int k = 0; k < 4; k++) {
        fixture f = open_fixture(&model, false, spec_of(4, 32, true, false));
        char *config = qep_strf("test", "{\"model_type\": \"%s\", \"num_hidden_layers\": 1, \"head_dim\": 64, %s}", cases[k].type, cases[k].more);
        f.rq.format = "gguf";
        f.rq.config_text = config;
        qep_export *e = NULL;
        assert_fails(qep_export_plan(&f.rq, &e), QEP_E_CONFIG, cases[k].why);
        qep_free(config);
        close_fixture(&f);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(other_than_llama_cpp),
    cmocka_unit_test(exact_types),
    cmocka_unit_test(rounded_types),
    cmocka_unit_test(experts),
    cmocka_unit_test(unknown_family),
};

QEP_TEST_MAIN_MPI(tests)
