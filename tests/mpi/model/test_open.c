/* Opening and scanning a model: what is found, and what is refused with which message, on all ranks
 * alike.
 * SPDX-License-Identifier: Apache-2.0 */
#include "toy_model.h"

static qep_comm *world;

static qep_model *open_toy(const toy_edit *e, char **dir)
{
    qep_model *m = NULL;
    *dir = toy_write_all(world, e);
    assert_ok(qep_model_open_all(world, *dir, &m));
    return m;
}

static void test_found(void **state)
{
    (void)state;
    char *dir, name[128];
    const int64_t before = qep_mem_now();
    qep_model *m = open_toy(&(toy_edit){.bias = true}, &dir);
    assert_string_equal(m->path, dir);
    assert_string_equal(m->config_text, toy_config(true));
    assert_string_equal(m->embed->name, "model.embed_tokens.weight");
    assert_string_equal(m->lm_head->name, "lm_head.weight");
    assert_false(m->arch.tied);
    assert_int_equal(m->arch.dtype, QEP_F32); /* not in config.json: that of the embedding */
    assert_string_equal(qep_model_linear_name(m, 1, QEP_ROLE_DOWN, name, sizeof name),
                        "model.layers.1.mlp.down_proj");
    const qep_st_tensor *t = qep_model_linear_tensor(m, 1, QEP_ROLE_DOWN, "weight");
    assert_non_null(t);
    assert_int_equal(t->shape[1], TOY_INTER);
    assert_non_null(qep_model_linear_tensor(m, 0, QEP_ROLE_Q, "bias"));
    assert_null(qep_model_linear_tensor(m, TOY_BLOCKS, QEP_ROLE_Q, "weight"));
    assert_ok(qep_model_scan_all(world, m));
    const uint64_t identity = m->identity[0] ^ m->identity[1];
    qep_model_close(&m);
    assert_null(m);
    assert_ok(qep_model_open_all(world, dir, &m));
    assert_true(identity == (m->identity[0] ^ m->identity[1]));
    qep_model_close(&m);
    qep_model_close(&m);
    toy_remove_all(world, dir);
    assert_int_equal(qep_mem_now(), before);
}

static void test_tied(void **state)
{
    (void)state;
    char *dir;
    qep_model *m = open_toy(&(toy_edit){.skip = "lm_head.weight"}, &dir);
    assert_true(m->arch.tied);
    assert_ptr_equal(m->lm_head, m->embed);
    qep_model_close(&m);
    toy_remove_all(world, dir);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        toy_edit edit;
        qep_status status;
        const char *messages[3];
    } rows[] = {
        {{.config = ""}, QEP_E_INPUT, {"config.json", "[model] path"}},
        {{.config = "{\"model_type\": \"llama\""}, QEP_E_INPUT, {"config.json"}},
        {{.config = "{\"model_type\": \"opt\"}"}, QEP_E_INPUT, {"config.json", "\"opt\""}},
        {{.no_weights = true}, QEP_E_INPUT, {"safetensors"}},
        {{.skip = "model.norm.weight"}, QEP_E_INPUT, {"\"model.norm.weight\"", "complete"}},
        {{.skip = "model.layers.1.self_attn.v_proj.weight"},
         QEP_E_INPUT,
         {"\"model.layers.1.self_attn.v_proj.weight\""}},
        {{.skip = "model.layers.0.mlp.up_proj.bias", .bias = true},
         QEP_E_INPUT,
         {"\"model.layers.0.mlp.up_proj.bias\""}},
        {{.reshape = "model.layers.1.mlp.down_proj.weight"},
         QEP_E_INPUT,
         {"model.safetensors: tensor \"model.layers.1.mlp.down_proj.weight\"", "[3, 5]",
          "[24, 37]"}},
        {{.reshape = "model.embed_tokens.weight"}, QEP_E_INPUT, {"[3, 5]", "[41, 24]"}},
        {{.retype = "model.layers.0.mlp.gate_proj.weight"},
         QEP_E_INPUT,
         {"model.safetensors: tensor \"model.layers.0.mlp.gate_proj.weight\"", "I32"}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *dir = toy_write_all(world, &rows[i].edit);
        qep_model *m = NULL;
        const qep_status st = qep_model_open_all(world, dir, &m);
        assert_null(m);
        assert_non_null(strstr(qep_error_text(), dir));
        for (int k = 0; k < 3 && rows[i].messages[k]; k++)
            assert_fails(st, rows[i].status, rows[i].messages[k]);
        toy_remove_all(world, dir);
    }
    qep_model *m = NULL;
    assert_fails(qep_model_open_all(world, "/nowhere/at/all", &m), QEP_E_INPUT, "/nowhere/at/all");
}

/* The damage is found wherever it is, with the same words for any number of ranks. */
static void test_scan(void **state)
{
    (void)state;
    static const struct {
        const char *tensor;
        int64_t at;
        const char *where;
    } rows[] = {
        {"model.embed_tokens.weight", 0, "row 0, column 0"},
        {"lm_head.weight", TOY_VOCAB * TOY_HIDDEN - 1, "row 40, column 23"},
        {"model.layers.1.mlp.down_proj.weight", 2 * TOY_INTER + 3, "row 2, column 3"},
        {"model.norm.weight", 23, "row 23"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *dir;
        qep_model *m = open_toy(
            &(toy_edit){.damage = rows[i].tensor, .at = rows[i].at, .dtype = QEP_BF16}, &dir);
        const qep_status st = qep_model_scan_all(world, m);
        assert_fails(st, QEP_E_INPUT, rows[i].tensor);
        assert_fails(st, QEP_E_INPUT, rows[i].where);
        qep_model_close(&m);
        toy_remove_all(world, dir);
    }
}

/* A tensor of several chunks (4 MiB each), which ranks divide: damage in the first and last row of
 * chunks. */
static void test_scan_chunks(void **state)
{
    (void)state;
    enum {
        ROW_BYTES = TOY_HIDDEN * 4,
        CHUNK_ROWS = (4 << 20) / ROW_BYTES,
        ROWS = 5 * CHUNK_ROWS / 2
    };
    static const int64_t rows[] = {CHUNK_ROWS - 1, CHUNK_ROWS, 2 * CHUNK_ROWS, ROWS - 1};
    char config[512], where[64];
    snprintf(config, sizeof config,
             "{\"model_type\": \"llama\", \"hidden_size\": 24, \"intermediate_size\": 37, "
             "\"num_hidden_layers\": 2, \"num_attention_heads\": 3, \"num_key_value_heads\": 1, "
             "\"head_dim\": 10, \"vocab_size\": %d}",
             (int)ROWS);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *dir;
        qep_model *m = open_toy(&(toy_edit){.damage = "model.embed_tokens.weight",
                                            .at = rows[i] * TOY_HIDDEN + 5,
                                            .config = config,
                                            .vocab = ROWS,
                                            .skip = "lm_head.weight"},
                                &dir);
        snprintf(where, sizeof where, "row %d, column 5", (int)rows[i]);
        assert_fails(qep_model_scan_all(world, m), QEP_E_INPUT, where);
        qep_model_close(&m);
        toy_remove_all(world, dir);
    }
}

static void test_embed(void **state)
{
    (void)state;
    char *dir;
    qep_model *m = open_toy(&(toy_edit){.dtype = QEP_F16}, &dir);
    const int32_t ids[] = {TOY_VOCAB - 1, 0, 7, 7}, high[] = {3, TOY_VOCAB}, low[] = {-1};
    float x[4 * TOY_HIDDEN], all[TOY_VOCAB * TOY_HIDDEN];
    assert_ok(qep_st_read_rows_f32(m->files, m->embed, 0, TOY_VOCAB, all));
    assert_ok(qep_model_embed(m, ids, 4, x));
    for (int t = 0; t < 4; t++)
        assert_memory_equal(x + t * TOY_HIDDEN, all + ids[t] * TOY_HIDDEN, TOY_HIDDEN * sizeof *x);
    assert_ok(qep_model_embed(m, ids, 0, x));
    assert_fails(qep_model_embed(m, high, 2, x), QEP_E_INPUT, "token 1 of a sequence is 41");
    assert_fails(qep_model_embed(m, low, 1, x), QEP_E_INPUT, "is -1");
    qep_model_close(&m);
    toy_remove_all(world, dir);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_found),       cmocka_unit_test(test_tied),
    cmocka_unit_test(test_refused),     cmocka_unit_test(test_scan),
    cmocka_unit_test(test_scan_chunks), cmocka_unit_test(test_embed),
};
QEP_TEST_MAIN_MPI(tests)
