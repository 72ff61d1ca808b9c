/* Exact words of the published packers: pack__layout__* of GPTQModel, AutoAWQ's order and compressed-tensors.
 * SPDX-License-Identifier: Apache-2.0 */
#include "export_fixture.h"

static void *whole(const qep_st_set *s, const char *name, int64_t *bytes)
{
    const qep_st_tensor *t = qep_st_find(s, name);
    assert_non_null(t);
    void *data = qep_alloc("test", t->bytes, 1);
    assert_ok(qep_st_read(s, t, 0, t->bytes, data));
    if (bytes) *bytes = t->bytes;
    return data;
}

static void same_words(const qep_st_set *out, const char *module, const char *part, const qep_st_set *golden, const char *name)
{
    char mine[64];
    int64_t a = 0, b = 0;
    snprintf(mine, sizeof mine, "%s.%s", module, part);
    void *x = whole(out, mine, &a), *y = whole(golden, name, &b);
    if (a != b || memcmp(x, y, (size_t)a) != 0) fail_msg("%s differs from the published packer", part);
    qep_free(x);
    qep_free(y);
}

#define MODULE "model.layers.0.self_attn.o_proj"

static void same_parts(const qep_st_set *out, const char *format, const qep_st_set *golden, bool sym, bool storable)
{
    if (strcmp(format, "compressed-tensors") == 0) {
        same_words(out, "lm_head", "weight_packed", golden, "ct.weight_packed");
        same_words(out, "lm_head", "weight_shape", golden, "ct.weight_shape");
        same_words(out, "lm_head", "weight_scale", golden, "scales");
        if (!sym) same_words(out, "lm_head", "weight_zero_point", golden, "ct.weight_zero_point");
        return;
    }
    if (strcmp(format, "awq") == 0) {
        same_words(out, MODULE, "qweight", golden, "awq.qweight");
        same_words(out, MODULE, "qzeros", golden, "awq.qzeros");
        same_words(out, MODULE, "scales", golden, "awq.scales");
        return;
    }
    same_words(out, "lm_head", "qweight", golden, "gptq_v2.qweight");
    same_words(out, "lm_head", "scales", golden, "gptq_v2.scales");
    same_words(out, "lm_head", "g_idx", golden, "g_idx");
    if (strcmp(format, "gptq_v2") == 0)
        same_words(out, "lm_head", "qzeros", golden, "gptq_v2.qzeros");
    else if (storable)
        same_words(out, "lm_head", "qzeros", golden, "gptq_v1.qzeros");
}

/* lm_head of a model made to the golden's size takes its codes. */
static void one_golden(const char *dir, const char *format, int64_t n, int64_t d, int64_t group, int bits, bool sym, bool act)
{
    char name[128], text[32];
    qep_st_set *golden = NULL, *out = NULL;
    snprintf(text, sizeof text, group < 0 ? "gpc" : "g%d", (int)group);
    snprintf(name, sizeof name, "pack__layout__n%d_d%d_%s_b%d_%s%s.safetensors", (int)n, (int)d, text, bits,
             sym ? "sym" : "asym", act ? "_act" : "");
    char *path = qep_path_join(dir, name);
    assert_ok(qep_agree_all(world, qep_st_open_file(path, &golden)));
    tiny_model m = {.hidden = d, .inter = 32, .blocks = 1, .heads = 1, .kv_heads = 1, .vocab = n, .dtype = QEP_F16,
                    .seed = 1, .shards = 1};
    bool v1 = strcmp(format, "gptq") == 0;
    fixture f = open_fixture(&m, true, spec_of(bits, group, sym, act));
    for (int64_t i = 0; i < 7; i++) f.linears[i].quantized = false;
    f.rq.format = format;
    if (strcmp(format, "awq") == 0) { /* which takes no lm_head */
        qep_free(f.linears[7].module);
        f.linears[7].module = qep_strdup("test", MODULE);
    }
    int64_t groups = qep_n_groups(&f.linears[7].spec, d);
    uint8_t *codes = whole(golden, "codes", NULL), *zeros = qep_alloc("test", n * groups, 1);
    uint16_t *half = whole(golden, "scales", NULL);
    int32_t *z = whole(golden, "zeros", NULL), *g_idx = whole(golden, "g_idx", NULL);
    float *scales = qep_alloc("test", n * groups, sizeof *scales);
    for (int64_t k = 0; k < n * groups; k++) zeros[k] = (uint8_t)(v1 && z[k] < 1 ? 1 : z[k]);
    bool storable = true; /* v1 holds no zero point 0 */
    for (int64_t k = 0; k < n * groups; k++) storable = storable && z[k] >= 1;
    qep_to_f32(scales, half, QEP_F16, n * groups);
    qep_export *e = NULL;
    assert_ok(qep_export_plan(&f.rq, &e));
    assert_ok(qep_export_check_dir_all(world, e, false, true));
    assert_ok(qep_export_open_all(world, e, false));
    assert_ok(qep_export_copy_all(world, e));
    qep_status st = QEP_OK;
    for (int64_t row = 0; row < n && st == QEP_OK; row += 32)
        if (row / 32 % qep_size(world) == qep_rank(world))
            st = qep_export_put_rows(e, 7, row, 32, codes + row * d, scales + row * groups, zeros + row * groups, g_idx);
    assert_ok(qep_agree_all(world, st));
    assert_ok(qep_export_publish_all(world, e));
    assert_ok(qep_st_open_dir(f.out, &out));
    same_parts(out, format, golden, sym, storable);
    qep_st_close(&out);
    qep_st_close(&golden);
    qep_export_destroy(&e);
    qep_free(codes);
    qep_free(zeros);
    qep_free(half);
    qep_free(z);
    qep_free(g_idx);
    qep_free(scales);
    qep_free(path);
    close_fixture(&f);
}

static void golden_words(void **state)
{
    (void)state;
    const char *shared = getenv("QEP_SHARED");
    char *dir = qep_path_join(shared ? shared : "../shared", "golden");
    bool there = qep_dir_exists(dir);
    const char *const formats[] = {"gptq", "gptq_v2", "compressed-tensors", "awq"};
    const int bits[] = {2, 3, 4, 8};
    for (int i = 0; there && i < 16; i++) {
        const char *format = formats[i / 4];
        int b = bits[i % 4];
        for (int sym = 0; sym < 2 && (b == 4 || i / 4 < 3); sym++) {
            one_golden(dir, format, 32, 96, -1, b, sym, false);
            one_golden(dir, format, 64, 128, 32, b, sym, false);
        }
        if (i / 4 < 2) one_golden(dir, format, 64, 128, 32, b, false, true);
    }
    qep_free(dir);
    if (!there) {
        print_message("no golden vectors here: skipped\n");
        skip();
    }
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(golden_words)};

QEP_TEST_MAIN_MPI(tests)
