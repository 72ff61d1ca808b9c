/* The plan: the configuration text, what is refused, what is said of engines.
 * SPDX-License-Identifier: Apache-2.0 */
#include "export_fixture.h"
#include <inttypes.h>

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
    static const char *const want[] = {"\"quant_method\":\"gptq\"", "\"checkpoint_format\":\"gptq\"", "\"format\":\"gptq\"", "\"bits\":4,",
                                       "\"group_size\":32,", "\"sym\":true,", "\"desc_act\":false,", "\"static_groups\":false",
                                       "\"true_sequential\":true", "\"damp_percent\":0.01", "\"lm_head\":true", "\"pack_dtype\":\"int32\""};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
        if (!strstr(a, want[i])) fail_msg("no %s in quantization_config %s", want[i], a);
    assert_non_null(strstr(a, "\"meta\":{\"quantizer\":[\"qep_mpi:0\"],\"alpha\":0.5}"));
    assert_int_equal(qep_json_size(qep_json_get(q, "dynamic")), 6);
    /* by the name under which vLLM asks for gate and up */
    assert_true(qep_json_bool(qep_json_get(entry(q, "+:^model\\.layers\\.1\\.mlp\\.gate_up_proj$"), "desc_act")));
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

/* compressed-tensors: one group for all, or groups of names; every other matrix is to be ignored. */
static void config_of_compressed_tensors(void **state)
{
    (void)state;
    fixture f = open_fixture(&small, true, spec_of(4, 32, true, false));
    f.rq.format = "compressed-tensors";
    f.linears[14].quantized = f.linears[3].quantized = false;
    for (int kind = 0; kind < 2; kind++) {
        f.linears[6].spec.bits = kind ? 8 : 4;
        f.linears[13].spec.group_size = kind ? -1 : 32;
        if (kind) f.linears[13].spec.symmetric = false;
        assert_ok(write_output(&f, kind, false, false));
        qep_json *config = load_json(f.out, "config.json");
        const qep_json *q = qep_json_get(config, "quantization_config"), *groups = qep_json_get(q, "config_groups");
        same_members(&f, config);
        char *ignore = qep_json_text(qep_json_get(q, "ignore"), false), *all = qep_json_text(q, false);
        assert_string_equal(ignore, "[\"model.layers.0.self_attn.o_proj\",\"lm_head\"]");
        assert_int_equal(qep_json_size(groups), kind ? 3 : 1);
        assert_all(world, !has_file(f.out, "quantize_config.json"));
        if (!kind)
            assert_non_null(strstr(all, "\"targets\":[\"Linear\"],\"weights\":{\"num_bits\":4,\"type\":\"int\",\"symmetric\":true,"
                                        "\"strategy\":\"group\",\"group_size\":32,\"block_structure\":null,\"dynamic\":false,\"actorder\":null,"));
        else
            assert_non_null(strstr(all, "\"targets\":[\"model.layers.1.mlp.down_proj\"],\"weights\":{\"num_bits\":4,\"type\":\"int\",\"symmetric\":false,"
                                        "\"strategy\":\"channel\",\"group_size\":null,"));
        qep_free(ignore);
        qep_free(all);
        qep_json_free(&config);
    }
    close_fixture(&f);
}

static void config_of_awq(void **state)
{
    (void)state;
    fixture f = open_fixture(&small, false, spec_of(4, 32, false, false));
    f.rq.format = "awq";
    f.linears[10].quantized = false;
    assert_ok(write_output(&f, false, false, false));
    qep_json *config = load_json(f.out, "config.json");
    char *text = qep_json_text(qep_json_get(config, "quantization_config"), false);
    assert_string_equal(text, "{\"quant_method\":\"awq\",\"version\":\"gemm\",\"bits\":4,\"group_size\":32,\"zero_point\":true,"
                              "\"modules_to_not_convert\":[\"model.layers.1.self_attn.o_proj\",\"lm_head\"]}");
    qep_free(text);
    qep_json_free(&config);
    for (int64_t i = 7; i < 10; i++) f.linears[i].quantized = false; /* q k v of block 1: also by the name of the whole */
    assert_ok(write_output(&f, true, false, false));
    check_digest(&f, f.out);
    config = load_json(f.out, "config.json");
    const qep_json *names = qep_json_get(qep_json_get(config, "quantization_config"), "modules_to_not_convert");
    assert_int_equal(qep_json_size(names), 6);
    assert_string_equal(qep_json_string(qep_json_at(names, 5)), "model.layers.1.self_attn.qkv_proj");
    qep_json_free(&config);
    close_fixture(&f);
}

/* --- engines -------------------------------------------------------------------------------------------------- */

/* The README's table is that of the code. */
static void readme_table(void **state)
{
    (void)state;
    char *readme = NULL, *text = qep_export_engines_text();
    int64_t bytes = 0, found = 0, rows = 0;
    assert_ok(qep_file_read("README", INT64_MAX, QEP_E_INPUT, &readme, &bytes));
    for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        *end = '\0';
        rows++;
        if (strstr(readme, line)) found++;
        else print_message("README lacks: %s\n", line);
    }
    assert_true(found == rows && rows > 10);
    qep_free(text);
    qep_free(readme);
}

/* A row as a reader of the README has it. */
typedef struct readme_row {
    char format[32], bits[16], grid[8], groups[24], act[16];
    int rows, cols;
} readme_row;

/* The words of a line that stand under a word of the header, up to the next. */
static void column(const char *header, const char *line, const char *from, const char *to, char *out, int64_t cap)
{
    int64_t a = strstr(header, from) - header, b = strstr(header, to) - header;
    assert_true(a < b && b - a < cap);
    memcpy(out, line + a, (size_t)(b - a));
    for (out[b - a] = '\0', b -= a; b > 0 && out[b - 1] == ' '; b--) out[b - 1] = '\0';
}

static int readme_rows(readme_row *out, int most)
{
    char *readme = NULL, text[24];
    int64_t bytes = 0;
    int n = 0;
    assert_ok(qep_file_read("README", INT64_MAX, QEP_E_INPUT, &readme, &bytes));
    char *header = strstr(readme, "\n    format              bits");
    assert_non_null(header);
    for (char *line = strchr(header + 1, '\n'); line && strncmp(line, "\n    ", 5) == 0; line = strchr(line + 1, '\n')) {
        readme_row *r = &out[n++];
        assert_true(n <= most);
        column(header, line, "format", "bits", r->format, sizeof r->format);
        column(header, line, "bits", "grid", r->bits, sizeof r->bits);
        column(header, line, "grid", "group_size", r->grid, sizeof r->grid);
        column(header, line, "group_size", "act_order", r->groups, sizeof r->groups);
        column(header, line, "act_order", "rows", r->act, sizeof r->act);
        column(header, line, "rows", "experts", text, sizeof text);
        assert_int_equal(sscanf(text, "%d, %d", &r->rows, &r->cols), 2);
    }
    qep_free(readme);
    return n;
}

static bool row_takes(const readme_row *r, const qep_export_linear *l)
{
    const qep_qspec *s = &l->spec;
    int64_t width = s->group_size == -1 ? l->cols : s->group_size, from = 0, to = 0;
    bool dynamic = s->act_order && !s->static_groups && width < l->cols;
    bool power = (width & (width - 1)) == 0, any = strcmp(r->groups, "any") == 0;
    int act_cols = strcmp(r->act, "yes") == 0;
    if (act_cols == 0 && strcmp(r->act, "static") != 0) assert_int_equal(sscanf(r->act, "cols %d", &act_cols), 1);
    if (!any) assert_int_equal(sscanf(r->groups, "-1 %" SCNd64 " .. %" SCNd64, &from, &to), 2);
    return strchr(r->bits, '0' + s->bits) && (strcmp(r->grid, "both") == 0 || strcmp(r->grid, s->symmetric ? "sym" : "asym") == 0) &&
           (any || width == l->cols || (power && width >= from && width <= to)) && (!dynamic || (act_cols > 0 && l->cols % act_cols == 0)) &&
           l->rows % r->rows == 0 && l->cols % r->cols == 0;
}

/* Refused exactly where no row of the format takes it, and then with the formats of the rows that do. */
static void same_as_readme(const fixture *f, const readme_row *rows, int n, int64_t *counts)
{
    const qep_export_linear *l = &f->linears[3];
    qep_export *e = NULL;
    qep_status st = qep_export_plan(&f->rq, &e);
    const char *instead = st == QEP_OK ? NULL : strstr(qep_error_text(), "it can be stored as");
    bool want = false;
    for (int i = 0; i < n; i++) {
        bool takes = row_takes(&rows[i], l);
        char *name = qep_strf("test", " %s (", rows[i].format);
        want = want || (takes && strcmp(rows[i].format, f->rq.format) == 0);
        if (instead && takes && !strstr(instead, name)) fail_msg("%s is not offered: %s", rows[i].format, qep_error_text());
        qep_free(name);
    }
    if ((st == QEP_OK) != want)
        fail_msg("%s, %d bits, %s, group_size %d, act_order %d (static %d), [%d, %d]: the table says %s, the program: %s", f->rq.format, l->spec.bits,
                 l->spec.symmetric ? "sym" : "asym", (int)l->spec.group_size, l->spec.act_order, l->spec.static_groups, (int)l->rows, (int)l->cols,
                 want ? "yes" : "no", st == QEP_OK ? "yes" : qep_error_text());
    assert_true(st == QEP_OK || st == QEP_E_CONFIG);
    counts[st == QEP_OK ? 0 : instead ? 1 : 2]++;
    qep_export_destroy(&e);
    if (st != QEP_OK) qep_error_clear();
}

static void readme_table_decides(void **state)
{
    (void)state;
    static const char *const formats[] = {"gptq", "gptq_v2", "compressed-tensors", "awq", "gguf"};
    static const int bits[] = {2, 3, 4, 8}, groups[] = {-1, 8, 16, 32, 48, 128, 256, 2048}, shapes[][2] = {{1, 32}, {32, 96}, {32, 6144}, {64, 96}, {64, 6144}, {61, 37}};
    readme_row rows[32];
    int n = readme_rows(rows, 32);
    int64_t counts[3] = {0};
    fixture f = open_fixture(&small, false, spec_of(4, 32, true, false));
    for (int64_t i = 0; i < f.n_linears; i++) f.linears[i].quantized = i == 3;
    for (int k = 0; k < 5 * 4 * 2 * 3 * 8 * 6; k++) {
        int kind = k / 8 % 3, *at = (int[]){k % 8, k / 24 % 2, k / 48 % 4, k / 192 % 6, k / 1152};
        qep_qspec *s = &f.linears[3].spec;
        *s = spec_of(bits[at[2]], groups[at[0]], at[1], kind > 0);
        s->static_groups = kind == 1;
        f.linears[3].rows = shapes[at[3]][0];
        f.linears[3].cols = shapes[at[3]][1];
        f.rq.format = formats[at[4]];
        if (s->group_size == -1 || f.linears[3].cols % s->group_size == 0) same_as_readme(&f, rows, n, counts);
    }
    assert_true(n > 10 && counts[0] > 500 && counts[1] > 300 && counts[2] > 100);
    close_fixture(&f);
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
    f.rq.format = "exl2";
    refuse(&f, "output.format = exl2: there is no such format; choose one of gptq, gptq_v2, compressed-tensors, awq");
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

/* Experts of a layer are one tensor in a serving engine: equal settings, whatever the part; what differs from other layers is said of the whole too. */
static void experts_of_a_layer(void **state)
{
    (void)state;
    static const char *const parts[] = {"gate_proj", "up_proj", "down_proj"};
    fixture f = open_fixture(&small, false, spec_of(4, 32, true, false));
    for (int64_t i = 7; i < 13; i++) { /* two experts in place of the linears of block 1 */
        qep_free(f.linears[i].module);
        f.linears[i].module = qep_strf("test", "model.layers.1.mlp.experts.%d.%s", (int)((i - 7) / 3), parts[(i - 7) % 3]);
        f.linears[i].spec.bits = 8;
    }
    f.n_linears = 13;
    qep_json *config = NULL;
    f.linears[12].spec.bits = 4;
    refuse(&f, "model.layers.1.mlp.experts.0.gate_proj and model.layers.1.mlp.experts.1.down_proj have different bits");
    f.linears[12].spec.bits = 8;
    f.linears[9].quantized = false;
    refuse(&f, "experts.0.gate_proj is quantized, model.layers.1.mlp.experts.0.down_proj is not");
    f.linears[9].quantized = true;
    assert_ok(write_output(&f, false, false, false));
    config = load_json(f.out, "config.json");
    const qep_json *q = qep_json_get(config, "quantization_config");
    assert_int_equal(qep_json_int(qep_json_get(entry(q, "+:^model\\.layers\\.1\\.mlp\\.experts$"), "bits")), 8);
    qep_json_free(&config);
    f.n_linears = 14;
    close_fixture(&f);
}

/* What one format alone cannot hold, with a way out. */
static void refused_by_format(void **state)
{
    (void)state;
    fixture f = open_fixture(&small, true, spec_of(4, 32, true, true));
    qep_export_linear *l = f.linears;
    f.rq.format = "compressed-tensors";
    refuse(&f, "self_attn.q_proj: act_order with groups formed in processing order");
    f.rq.format = "awq";
    refuse(&f, "which has no g_idx; set static_groups = yes");
    for (int64_t i = 0; i < f.n_linears; i++) l[i].spec.static_groups = true;
    refuse(&f, "quantization.lm_head = yes");
    l[14].quantized = false;
    qep_export *e = NULL;
    assert_ok(qep_export_plan(&f.rq, &e));
    qep_export_destroy(&e);
    l[3].spec.bits = 8;
    refuse(&f, "o_proj: bits = 8, but the awq format holds 4 bits only; it can be stored as gptq (transformers + GPTQModel, GPTQModel.load), gptq_v2 (transformers + GPTQModel, GPTQModel.load), "
               "compressed-tensors (transformers), gguf (llama.cpp)");
    l[3].spec.bits = 4;
    l[3].spec.group_size = 16;
    refuse(&f, "o_proj: group_size 16 differs from the 32 of most modules");
    l[3].spec.group_size = -1;
    refuse(&f, "o_proj: group_size -1 differs");
    f.rq.format = "compressed-tensors";
    assert_ok(qep_export_plan(&f.rq, &e));
    qep_export_destroy(&e);
    l[3].spec.group_size = 32;
    l[1].spec.bits = 8;
    refuse(&f, "different bits");
    close_fixture(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(config_with_dynamic), cmocka_unit_test(whole_row_groups),
    cmocka_unit_test(act_order_kinds), cmocka_unit_test(refusals),            cmocka_unit_test(refused_shapes),
    cmocka_unit_test(refused_values),  cmocka_unit_test(refused_by_format),   cmocka_unit_test(config_of_compressed_tensors),
    cmocka_unit_test(config_of_awq),   cmocka_unit_test(readme_table),       cmocka_unit_test(experts_of_a_layer),
    cmocka_unit_test(readme_table_decides),
};

QEP_TEST_MAIN_MPI(tests)
