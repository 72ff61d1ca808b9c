/* The plan: exact words of published packers, the configuration text, what is refused.
 * SPDX-License-Identifier: Apache-2.0 */
#include "export_fixture.h"

/* --- golden: pack__layout__* of GPTQModel ----------------------------------------------------------- */

static void *whole(const qep_st_set *s, const char *name, int64_t *bytes)
{
    const qep_st_tensor *t = qep_st_find(s, name);
    assert_non_null(t);
    void *data = qep_alloc("test", t->bytes, 1);
    assert_ok(qep_st_read(s, t, 0, t->bytes, data));
    if (bytes) *bytes = t->bytes;
    return data;
}

static void same_words(const qep_st_set *out, const char *part, const qep_st_set *golden, const char *name)
{
    char mine[64];
    int64_t a = 0, b = 0;
    snprintf(mine, sizeof mine, "lm_head.%s", part);
    void *x = whole(out, mine, &a), *y = whole(golden, name, &b);
    if (a != b || memcmp(x, y, (size_t)a) != 0) fail_msg("%s differs from the published packer", part);
    qep_free(x);
    qep_free(y);
}

/* lm_head of a model made to the golden's size takes its codes. */
static void one_golden(const char *dir, int64_t n, int64_t d, int64_t group, int bits, bool sym, bool act)
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
    fixture f = open_fixture(&m, true, spec_of(bits, group, sym, act));
    for (int64_t i = 0; i < 7; i++) f.linears[i].quantized = false;
    int64_t groups = qep_n_groups(&f.linears[7].spec, d);
    uint8_t *codes = whole(golden, "codes", NULL), *zeros = qep_alloc("test", n * groups, 1);
    uint16_t *half = whole(golden, "scales", NULL);
    int32_t *z = whole(golden, "zeros", NULL), *g_idx = whole(golden, "g_idx", NULL);
    float *scales = qep_alloc("test", n * groups, sizeof *scales);
    for (int64_t k = 0; k < n * groups; k++) zeros[k] = (uint8_t)(z[k] < 1 ? 1 : z[k]);
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
    same_words(out, "qweight", golden, "gptq_v2.qweight");
    same_words(out, "scales", golden, "gptq_v2.scales");
    same_words(out, "g_idx", golden, "g_idx");
    if (storable) same_words(out, "qzeros", golden, "gptq_v1.qzeros");
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
    if (there)
        for (int k = 0; k < 4; k++) {
            const int bits[] = {2, 3, 4, 8};
            for (int sym = 0; sym < 2; sym++) {
                one_golden(dir, 32, 96, -1, bits[k], sym, false);
                one_golden(dir, 64, 128, 32, bits[k], sym, false);
            }
            one_golden(dir, 64, 128, 32, bits[k], false, true);
        }
    qep_free(dir);
    if (!there) {
        print_message("no golden vectors here: skipped\n");
        skip();
    }
}

/* --- the configuration -------------------------------------------------------------------------------- */

static const qep_json *entry(const qep_json *q, const char *key)
{
    const qep_json *e = qep_json_get(qep_json_get(q, "dynamic"), key);
    if (!e) fail_msg("dynamic lacks %s", key);
    return e;
}

static qep_json *load_json(const char *dir, const char *name)
{
    qep_json *j = NULL;
    char *path = qep_path_join(dir, name);
    assert_ok(qep_json_load(path, QEP_E_INPUT, &j));
    qep_free(path);
    return j;
}

/* Members of the source in their order, then quantization_config. */
static void same_members(const fixture *f, const qep_json *config)
{
    qep_json *source = load_json(f->source, "config.json");
    const char *a, *b;
    qep_json *x, *y;
    void *ia = NULL, *ib = NULL;
    while ((ia = qep_json_next(source, ia, &a, &x)) != NULL) {
        ib = qep_json_next(config, ib, &b, &y);
        char *s = qep_json_text(x, false), *t = qep_json_text(y, false);
        assert_string_equal(a, b);
        assert_string_equal(s, t);
        qep_free(s);
        qep_free(t);
    }
    ib = qep_json_next(config, ib, &b, &y);
    assert_string_equal(b, "quantization_config");
    assert_null(qep_json_next(config, ib, &b, &y));
    qep_json_free(&source);
}

static void config_with_dynamic(void **state)
{
    (void)state;
    fixture f = open_fixture(&small, true, spec_of(4, 32, true, false));
    f.linears[3].quantized = false;  /* o of block 0 */
    f.linears[6].spec.bits = 8;      /* down of block 0 */
    f.linears[10].spec.group_size = -1;
    f.linears[11].spec = f.linears[12].spec = spec_of(4, 32, false, true); /* gate, up of block 1 */
    assert_ok(write_output(&f, false, false, false));
    check_digest(&f, f.out);
    qep_json *config = load_json(f.out, "config.json"), *alone = load_json(f.out, "quantize_config.json");
    const qep_json *q = qep_json_get(config, "quantization_config");
    same_members(&f, config);
    char *a = qep_json_text(q, false), *b = qep_json_text(alone, false);
    assert_string_equal(a, b);
    const char *want =
        "{\"quant_method\":\"gptq\",\"checkpoint_format\":\"gptq\",\"format\":\"gptq\",\"bits\":4,\"group_size\":32,"
        "\"sym\":true,\"desc_act\":false,\"static_groups\":false,\"true_sequential\":true,\"damp_percent\":0.01,"
        "\"lm_head\":true,\"pack_dtype\":\"int32\",\"dynamic\":{";
    if (strncmp(a, want, strlen(want)) != 0) fail_msg("quantization_config is %s", a);
    assert_non_null(strstr(a, "\"meta\":{\"quantizer\":[\"qep_mpi:0\"],\"alpha\":0.5}"));
    assert_int_equal(qep_json_size(qep_json_get(q, "dynamic")), 5);
    assert_int_equal(qep_json_size(entry(q, "-:^model\\.layers\\.0\\.self_attn\\.o_proj$")), 0);
    assert_int_equal(qep_json_int(qep_json_get(entry(q, "+:^model\\.layers\\.0\\.mlp\\.down_proj$"), "bits")), 8);
    assert_int_equal(qep_json_size(entry(q, "+:^model\\.layers\\.0\\.mlp\\.down_proj$")), 1);
    assert_int_equal(qep_json_int(qep_json_get(entry(q, "+:^model\\.layers\\.1\\.self_attn\\.o_proj$"), "group_size")), -1);
    const qep_json *up = entry(q, "+:^model\\.layers\\.1\\.mlp\\.up_proj$");
    assert_true(qep_json_bool(qep_json_get(up, "desc_act")) && qep_json_size(up) == 2);
    qep_free(a);
    qep_free(b);
    qep_json_free(&config);
    qep_json_free(&alone);
    close_fixture(&f);
}

/* group_size = columns and -1 are the same thing: no "dynamic" for it. */
static void whole_row_groups(void **state)
{
    (void)state;
    fixture f = open_fixture(&small, false, spec_of(4, 96, true, true));
    for (int64_t b = 0; b < 2; b++) f.linears[7 * b + 6].spec.group_size = -1; /* down: 160 columns */
    for (int64_t i = 0; i < 14; i += 2) f.linears[i].spec.group_size = f.linears[i].cols == 96 ? -1 : f.linears[i].spec.group_size;
    assert_ok(write_output(&f, false, false, false));
    check_digest(&f, f.out);
    qep_json *config = load_json(f.out, "config.json");
    const qep_json *q = qep_json_get(config, "quantization_config");
    assert_int_equal(qep_json_int(qep_json_get(q, "group_size")), -1);
    assert_null(qep_json_get(q, "dynamic"));
    assert_false(qep_json_bool(qep_json_get(q, "desc_act")));
    qep_json_free(&config);
    close_fixture(&f);
}

static void act_order_kinds(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++) { /* none, static, dynamic */
        fixture f = open_fixture(&small, false, spec_of(4, 32, true, kind > 0));
        for (int64_t i = 0; i < f.n_linears; i++) f.linears[i].spec.static_groups = kind == 1;
        assert_ok(write_output(&f, false, false, false));
        check_digest(&f, f.out);
        qep_json *q = load_json(f.out, "quantize_config.json");
        assert_true(qep_json_bool(qep_json_get(q, "desc_act")) == (kind == 2));
        assert_true(qep_json_bool(qep_json_get(q, "static_groups")) == (kind == 1));
        qep_json_free(&q);
        close_fixture(&f);
    }
}

/* --- refusals ----------------------------------------------------------------------------------------------- */

static void refuse(const fixture *f, const char *text)
{
    qep_export *e = NULL;
    assert_fails(qep_export_plan(&f->rq, &e), QEP_E_CONFIG, text);
    assert_null(e);
}

static void refusals(void **state)
{
    (void)state;
    enum { Q = 0, K = 1, V = 2, O = 3, UP = 5, DOWN = 6 };
    const qep_qspec good = spec_of(4, 32, true, false);
    fixture f = open_fixture(&small, true, good);
    qep_export_linear *l = f.linears;
    f.rq.format = "awq";
    refuse(&f, "output.format = awq");
    f.rq.format = "gptq";
    l[O].spec.bits = 5;
    refuse(&f, "model.layers.0.self_attn.o_proj: bits = 5");
    l[O].spec = good;
    l[DOWN].spec.group_size = 64;
    refuse(&f, "model.layers.0.mlp.down_proj: group_size 64 does not divide its 160 columns (the weight is [96, 160]); "
               "choose a group_size that does, for example 32");
    f.rq.format = "dense";
    refuse(&f, "group_size 64");
    f.rq.format = "gptq";
    l[DOWN].spec.group_size = 0;
    refuse(&f, "group_size 0");
    l[DOWN].spec = good;
    l[K].spec.bits = 8;
    refuse(&f, "model.layers.0.self_attn.q_proj and model.layers.0.self_attn.k_proj have different bits");
    l[K].spec = good;
    l[V].spec.group_size = -1;
    refuse(&f, "self_attn.v_proj have different group_size");
    l[V].spec = good;
    l[UP].spec.symmetric = false;
    refuse(&f, "mlp.gate_proj and model.layers.0.mlp.up_proj have different symmetric");
    l[UP].spec = good;
    l[UP].spec.act_order = true;
    refuse(&f, "different act_order");
    l[UP].spec = good;
    l[V].quantized = false;
    refuse(&f, "model.layers.0.self_attn.q_proj is quantized, model.layers.0.self_attn.v_proj is not");
    l[Q].quantized = l[K].quantized = false;
    qep_export *e = NULL;
    assert_ok(qep_export_plan(&f.rq, &e)); /* the whole set left out is fine */
    qep_export_destroy(&e);
    f.rq.shard_bytes = 0;
    refuse(&f, "shard_size");
    f.rq.shard_bytes = 1000;
    for (int64_t i = 0; i < f.n_linears; i++) l[i].quantized = false;
    refuse(&f, "nothing to write");
    close_fixture(&f);
}

static void refused_shapes(void **state)
{
    (void)state;
    const tiny_model rows = {.hidden = 32, .inter = 48, .blocks = 1, .heads = 1, .kv_heads = 1, .vocab = 16,
                             .dtype = QEP_F32, .seed = 1, .shards = 1};
    fixture f = open_fixture(&rows, false, spec_of(4, 16, true, false));
    refuse(&f, "model.layers.0.mlp.gate_proj: its weight is [48, 32], but the gptq format packs rows in words of 32");
    f.linears[4].quantized = f.linears[5].quantized = false;
    refuse(&f, "model.layers.0.mlp.down_proj: its weight is [32, 48], but the gptq format packs columns");
    f.rq.format = "dense";
    qep_export *e = NULL;
    assert_ok(qep_export_plan(&f.rq, &e));
    qep_export_destroy(&e);
    close_fixture(&f);
}

/* Results that the file cannot hold are errors, never written. */
static void refused_values(void **state)
{
    (void)state;
    fixture f = open_fixture(&small, false, spec_of(4, 32, false, false));
    qep_export *e = NULL;
    assert_ok(qep_export_plan(&f.rq, &e));
    assert_ok(qep_export_check_dir_all(world, e, false, true));
    assert_ok(qep_export_open_all(world, e, false));
    result r = make_result(&f.linears[0], 0);
    uint8_t zero = r.zeros[70];
    float scale = r.scales[70];
    r.zeros[70] = 0;
    assert_fails(qep_export_put_rows(e, 0, 0, 32, r.codes, r.scales, r.zeros, r.g_idx), QEP_E_INTERNAL,
                 "q_proj: row 23: zero point 0 cannot be stored");
    r.zeros[70] = 16;
    assert_fails(qep_export_put_rows(e, 0, 0, 32, r.codes, r.scales, r.zeros, r.g_idx), QEP_E_INTERNAL, "zero point 16");
    r.zeros[70] = zero;
    const float bad[] = {0.0f, -1.0f, 1e6f, NAN, INFINITY, 1e-12f};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        r.scales[70] = bad[i];
        assert_fails(qep_export_put_rows(e, 0, 0, 32, r.codes, r.scales, r.zeros, r.g_idx), QEP_E_NUMERIC,
                     "row 23, group 1: scale");
    }
    r.scales[70] = scale;
    r.g_idx[40] = 2; /* act_order was not announced */
    assert_fails(qep_export_put_rows(e, 0, 0, 32, r.codes, r.scales, r.zeros, r.g_idx), QEP_E_INTERNAL, "column 40");
    free_result(&r);
    assert_ok(qep_export_discard_all(world, e));
    qep_export_destroy(&e);
    close_fixture(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(golden_words),    cmocka_unit_test(config_with_dynamic), cmocka_unit_test(whole_row_groups),
    cmocka_unit_test(act_order_kinds), cmocka_unit_test(refusals),            cmocka_unit_test(refused_shapes),
    cmocka_unit_test(refused_values),
};

QEP_TEST_MAIN_MPI(tests)
