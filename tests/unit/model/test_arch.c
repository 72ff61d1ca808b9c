/* config.json -> architecture record: both spellings of RoPE and dtype, defaults, and everything
 * that is refused.
 * SPDX-License-Identifier: Apache-2.0 */
#include "qep_test.h"
#include "qep/model.h"

static const char base_text[] = "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": "
                                "\"llama\", \"hidden_act\": \"silu\","
                                " \"hidden_size\": 64, \"intermediate_size\": 112, "
                                "\"num_hidden_layers\": 3, \"num_attention_heads\": 4,"
                                " \"num_key_value_heads\": 2, \"head_dim\": 16, \"vocab_size\": "
                                "160, \"max_position_embeddings\": 128,"
                                " \"rms_norm_eps\": 1e-05, \"tie_word_embeddings\": false, "
                                "\"attention_bias\": false, \"mlp_bias\": false,"
                                " \"dtype\": \"bfloat16\", \"rope_parameters\": {\"rope_theta\": "
                                "10000.0, \"rope_type\": \"default\"}}";

static qep_json *parse(const char *text)
{
    qep_json *j = NULL;
    assert_ok(qep_json_parse(text, (int64_t)strlen(text), "test", QEP_E_INPUT, &j));
    return j;
}

/* The base configuration without the key `without` and with the members of `edit` put in. */
static qep_json *edited(const char *without, const char *edit)
{
    qep_json *config = parse(base_text), *changes = parse(edit), *value;
    const char *key;
    if (without) qep_json_remove(config, without);
    for (void *it = qep_json_next(changes, NULL, &key, &value); it;
         it = qep_json_next(changes, it, &key, &value))
        qep_json_set(config, key, qep_json_copy(value));
    qep_json_free(&changes);
    return config;
}

static qep_arch arch_of(const char *without, const char *edit)
{
    qep_arch a;
    qep_json *config = edited(without, edit);
    assert_ok(qep_arch_parse(config, "dir/config.json", &a));
    qep_json_free(&config);
    return a;
}

static void test_base(void **state)
{
    (void)state;
    const qep_arch a = arch_of(NULL, "{}");
    assert_string_equal(a.family, "llama");
    assert_int_equal(a.hidden, 64);
    assert_int_equal(a.inter, 112);
    assert_int_equal(a.n_blocks, 3);
    assert_int_equal(a.n_heads, 4);
    assert_int_equal(a.n_kv_heads, 2);
    assert_int_equal(a.head_dim, 16);
    assert_int_equal(a.vocab, 160);
    assert_int_equal(a.max_position, 128);
    assert_true(a.eps == 1e-5);
    assert_false(a.tied || a.norm_plus_one || a.two_ropes || a.linears[0].bias || a.linears[6].bias);
    assert_int_equal(a.dtype, QEP_BF16);
    assert_int_equal(a.rope.type, QEP_ROPE_DEFAULT);
    assert_int_equal(a.rope.dim, 16);
    assert_true(a.rope.theta == 1e4);
}

static void test_linears(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int group;
        int64_t rows, cols;
        bool bias;
    } want[QEP_N_ROLES] = {
        {"self_attn.q_proj", 0, 96, 64, true}, {"self_attn.k_proj", 0, 48, 64, true},
        {"self_attn.v_proj", 0, 48, 64, true}, {"self_attn.o_proj", 1, 64, 96, true},
        {"mlp.gate_proj", 2, 112, 64, false},  {"mlp.up_proj", 2, 112, 64, false},
        {"mlp.down_proj", 3, 64, 112, false},
    };
    static const int first[] = {0, 3, 4, 6}, count[] = {3, 1, 2, 1};
    const qep_arch a = arch_of(NULL, "{\"head_dim\": 24, \"attention_bias\": true}");
    for (int r = 0; r < QEP_N_ROLES; r++) {
        assert_string_equal(a.linears[r].name, want[r].name);
        assert_int_equal(a.linears[r].group, want[r].group);
        assert_int_equal(a.linears[r].rows, want[r].rows);
        assert_int_equal(a.linears[r].cols, want[r].cols);
        assert_int_equal(a.linears[r].bias, want[r].bias);
    }
    for (int g = 0; g < QEP_N_GROUPS; g++) {
        assert_int_equal(a.group_first[g], first[g]);
        assert_int_equal(a.group_count[g], count[g]);
        assert_int_equal(qep_group_cols(&a, g), want[first[g]].cols);
    }
    assert_int_equal(qep_group_act_cols(&a, 0), 96);
    assert_int_equal(qep_group_act_cols(&a, 1), 0);
    assert_int_equal(qep_group_act_cols(&a, 2), 112);
    assert_int_equal(qep_group_act_cols(&a, 3), 0);
    assert_true(arch_of(NULL, "{\"mlp_bias\": true}").linears[QEP_ROLE_DOWN].bias);
}

static void test_defaults(void **state)
{
    (void)state;
    assert_int_equal(arch_of("head_dim", "{}").head_dim, 16);
    assert_int_equal(arch_of(NULL, "{\"head_dim\": null}").head_dim, 16);
    assert_int_equal(arch_of("num_key_value_heads", "{}").n_kv_heads, 4);
    assert_int_equal(arch_of("max_position_embeddings", "{}").max_position, 2048);
    assert_true(arch_of("rms_norm_eps", "{}").eps == 1e-6);
    assert_false(arch_of("tie_word_embeddings", "{}").tied);
    assert_true(arch_of(NULL, "{\"tie_word_embeddings\": true}").tied);
    assert_true(arch_of("rope_parameters", "{}").rope.theta == 1e4);
    assert_int_equal(arch_of("dtype", "{}").dtype, QEP_DTYPE_COUNT);
    assert_int_equal(arch_of("dtype", "{\"torch_dtype\": \"float16\"}").dtype, QEP_F16);
    assert_int_equal(arch_of(NULL, "{\"dtype\": \"torch.float32\"}").dtype, QEP_F32);
    assert_int_equal(arch_of("model_type", "{}").hidden, 64);
    assert_int_equal(arch_of("architectures", "{}").hidden, 64);
    assert_int_equal(
        arch_of("hidden_act", "{\"quantization_config\": null, \"sliding_window\": null}").hidden,
        64);
    assert_int_equal(
        arch_of(NULL, "{\"sliding_window\": 4096, \"use_sliding_window\": false}").hidden, 64);
    assert_int_equal(arch_of(NULL, "{\"unknown_key\": {\"a\": [1]}, \"pretraining_tp\": 1}").hidden,
                     64);
}

static void test_rope(void **state)
{
    (void)state;
    qep_rope r = arch_of("rope_parameters", "{\"rope_theta\": 5e5, \"rope_scaling\": null}").rope;
    assert_int_equal(r.type, QEP_ROPE_DEFAULT);
    assert_true(r.theta == 5e5);
    r = arch_of("rope_parameters", "{\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}}")
            .rope;
    assert_int_equal(r.type, QEP_ROPE_LINEAR);
    assert_true(r.factor == 2.0 && r.theta == 1e4);
    static const char llama3[] =
        "{\"rope_type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": 1.0, "
        "\"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 32%s}";
    char inner[256], text[512];
    snprintf(inner, sizeof inner, llama3, "");
    snprintf(text, sizeof text, "{\"rope_theta\": 5e5, \"rope_scaling\": %s}", inner);
    const qep_rope old = arch_of("rope_parameters", text).rope;
    snprintf(inner, sizeof inner, llama3, ", \"rope_theta\": 5e5");
    snprintf(text, sizeof text, "{\"rope_theta\": 123.0, \"rope_parameters\": %s}", inner);
    const qep_rope new = arch_of(NULL, text).rope;
    assert_memory_equal(&old, &new, sizeof old);
    assert_int_equal(new.type, QEP_ROPE_LLAMA3);
    assert_true(new.theta == 5e5 && new.factor == 8.0 && new.low_freq_factor == 1.0 &&
                new.high_freq_factor == 4.0);
    assert_int_equal(new.original_max_position, 32);
}

static void test_rope_scalings(void **state)
{
    (void)state;
    qep_rope r = arch_of(NULL, "{\"rope_parameters\": {\"rope_type\": \"dynamic\", \"factor\": 2.0}}").rope;
    assert_int_equal(r.type, QEP_ROPE_DYNAMIC);
    assert_int_equal(r.original_max_position, 128);
    assert_true(r.factor == 2.0);
    r = arch_of(NULL, "{\"rope_parameters\": {\"rope_type\": \"yarn\", \"original_max_position_embeddings\": 32}}").rope;
    assert_int_equal(r.type, QEP_ROPE_YARN);
    assert_true(r.factor == 4.0 && r.beta_fast == 32.0 && r.beta_slow == 1.0 && r.truncate);
    assert_le_f(fabs(r.attention_factor - 1.138629436111989), 1e-12);
    r = arch_of(NULL, "{\"rope_parameters\": {\"rope_type\": \"yarn\", \"factor\": 4.0, \"mscale\": 0.7, \"mscale_all_dim\": 0.5, "
                      "\"truncate\": false, \"original_max_position_embeddings\": 512}}").rope;
    assert_le_f(fabs(r.attention_factor - 1.0259286501478284), 1e-12);
    assert_false(r.truncate);
    r = arch_of(NULL, "{\"original_max_position_embeddings\": 32, \"rope_parameters\": {\"rope_type\": \"longrope\", \"original_max_position_embeddings\": 64, "
                      "\"short_factor\": [1, 1, 1, 1, 1, 1, 1, 1.5], \"long_factor\": [2, 2, 2, 2, 2, 2, 2, 2.5]}}").rope;
    assert_int_equal(r.type, QEP_ROPE_LONGROPE);
    assert_int_equal(r.original_max_position, 32);
    assert_true(r.divisor[0][7] == 1.5F && r.divisor[1][7] == 2.5F);
    assert_le_f(fabs(r.attention_factor - 1.1832159566199232), 1e-12);
}

/* What each family's row adds to the base configuration. */
static void test_family_rows(void **state)
{
    (void)state;
    const char *const none[] = {"input_layernorm", NULL, "post_attention_layernorm", NULL};
    qep_arch a = arch_of(NULL, "{\"model_type\": \"mistral\", \"architectures\": null}");
    assert_int_equal(a.window, 4096);
    assert_true(qep_arch_slides(&a, 0) && qep_arch_slides(&a, 2));
    for (int n = 0; n < 4; n++) assert_true((a.norms[n].name == NULL) == (none[n] == NULL));
    a = arch_of(NULL, "{\"model_type\": \"mistral\", \"architectures\": null, \"sliding_window\": null}");
    assert_true(a.window == 0 && !qep_arch_slides(&a, 0));
    a = arch_of(NULL, "{\"model_type\": \"qwen2\", \"architectures\": null, \"sliding_window\": 16}");
    assert_true(a.linears[0].bias && a.linears[2].bias && !a.linears[3].bias && !a.linears[4].bias && a.window == 0);
    a = arch_of(NULL, "{\"model_type\": \"qwen2\", \"architectures\": null, \"sliding_window\": 16, \"use_sliding_window\": true, "
                      "\"max_window_layers\": 2}");
    assert_true(a.window == 16 && !qep_arch_slides(&a, 1) && qep_arch_slides(&a, 2));
    a = arch_of("head_dim", "{\"model_type\": \"qwen3\", \"architectures\": null}");
    assert_true(a.head_dim == 128 && a.norms[QEP_NORM_Q].size == 128 && a.norms[QEP_NORM_K].size == 128);
    assert_true(qep_group_adds(&a, 0, 1) && qep_group_adds(&a, 0, 3) && !qep_group_adds(&a, 0, 0) && !qep_group_adds(&a, 0, 2));
    a = arch_of(NULL, "{\"model_type\": \"phi3\", \"architectures\": null, \"partial_rotary_factor\": 0.75}");
    assert_true(a.n_linears == 4 && a.rope.dim == 12);
    assert_string_equal(a.linears[0].name, "self_attn.qkv_proj");
    assert_string_equal(a.linears[2].name, "mlp.gate_up_proj");
    assert_true(a.linears[0].rows == 128 && a.parts[QEP_ROLE_V].linear == 0 && a.parts[QEP_ROLE_V].row0 == 96 && a.parts[QEP_ROLE_V].rows == 32);
    assert_true(a.linears[2].rows == 224 && a.parts[QEP_ROLE_UP].linear == 2 && a.parts[QEP_ROLE_UP].row0 == 112);
    assert_true(a.group_first[3] == 3 && a.group_count[0] == 1 && a.parts[QEP_ROLE_DOWN].linear == 3);
    a = arch_of("tie_word_embeddings", "{\"model_type\": \"gemma2\", \"architectures\": null, \"hidden_act\": null, \"final_logit_softcapping\": null}");
    assert_true(a.tied && a.norm_plus_one && a.embed_scale == 8.0 && a.act == QEP_ACT_GELU_TANH);
    assert_true(a.score_cap == 50.0 && a.logit_cap == 0.0 && a.score_scale == 1.0 / 16.0);
    assert_true(qep_arch_slides(&a, 0) && !qep_arch_slides(&a, 1) && qep_arch_slides(&a, 2) && !a.two_ropes);
    assert_false(qep_group_adds(&a, 0, 1) || qep_group_adds(&a, 0, 3));
    a = arch_of("rope_parameters", "{\"model_type\": \"gemma3_text\", \"architectures\": null, \"num_hidden_layers\": 7, "
                "\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 8.0}}");
    assert_true(a.two_ropes && a.rope.theta == 1e6 && a.rope.type == QEP_ROPE_LINEAR && a.rope_local.theta == 1e4 &&
                a.rope_local.type == QEP_ROPE_DEFAULT);
    assert_true(qep_arch_slides(&a, 4) && !qep_arch_slides(&a, 5) && qep_arch_slides(&a, 6) && a.logit_cap == 0.0);
    a = arch_of(NULL, "{\"model_type\": \"gemma3_text\", \"architectures\": null, \"final_logit_softcapping\": 30, \"attn_logit_softcapping\": 50}");
    assert_true(a.logit_cap == 30.0 && a.score_cap == 0.0);
    a = arch_of(NULL, "{\"model_type\": \"gemma3_text\", \"architectures\": null, \"final_logit_softcapping\": null}");
    assert_true(a.logit_cap == 0.0);
    assert_true(arch_of(NULL, "{\"model_type\": \"gemma2\", \"architectures\": null}").logit_cap == 30.0);
    assert_true(arch_of(NULL, "{\"final_logit_softcapping\": null}").logit_cap == 0.0);
    a = arch_of(NULL, "{\"model_type\": \"gemma3_text\", \"architectures\": null, \"rope_parameters\": {\"full_attention\": "
                "{\"rope_theta\": 5e5}, \"sliding_attention\": {\"rope_theta\": 2e4}}, \"layer_types\": [\"full_attention\", "
                "\"sliding_attention\", \"full_attention\"]}");
    assert_true(a.rope.theta == 5e5 && a.rope_local.theta == 2e4 && !qep_arch_slides(&a, 0) && qep_arch_slides(&a, 1));
}

static void test_olmo2(void **state)
{
    (void)state;
    const qep_arch a = arch_of("rms_norm_eps", "{\"model_type\": \"olmo2\", \"architectures\": null}");
    assert_true(!a.norms[QEP_NORM_ATTN_IN].name && a.norms[QEP_NORM_ATTN_OUT].name && a.eps == 1e-5);
    assert_true(a.norms[QEP_NORM_Q].size == 64 && a.norms[QEP_NORM_K].size == 32 && !qep_group_adds(&a, 0, 3));
}

static void test_experts(void **state)
{
    (void)state;
    qep_arch a = arch_of(NULL, "{\"model_type\": \"mixtral\", \"architectures\": null, \"num_local_experts\": 5}");
    assert_true(a.n_experts == 5 && a.top_k == 2 && a.expert_inter == 112 && a.renormalize && a.n_sparse == 3 && a.window == 0);
    assert_true(qep_arch_n_linears(&a, 0) == 4 + 15 && qep_arch_linears_before(&a, 2) == 38);
    qep_linear_shape l = qep_arch_linear(&a, 1, qep_arch_expert_linear(&a, 4, 2));
    assert_true(l.group == 3 && l.rows == 64 && l.cols == 112 && !l.name);
    assert_string_equal(qep_arch_linear(&a, 1, 3).name, "self_attn.o_proj");
    a = arch_of(NULL, "{\"model_type\": \"qwen3_moe\", \"architectures\": null, \"num_experts\": 6, \"num_experts_per_tok\": 3, "
                      "\"moe_intermediate_size\": 48, \"mlp_only_layers\": [2], \"decoder_sparse_step\": 1}");
    assert_true(a.n_experts == 6 && a.top_k == 3 && a.expert_inter == 48 && !a.renormalize && a.n_sparse == 2);
    assert_true(qep_arch_sparse(&a, 1) && !qep_arch_sparse(&a, 2) && qep_arch_n_linears(&a, 2) == 7);
    assert_true(qep_group_adds(&a, 1, 1) && !qep_group_adds(&a, 1, 3) && qep_group_adds(&a, 2, 3));
    assert_true(qep_arch_linears_before(&a, 3) == 22 + 22 + 7);
    a = arch_of(NULL, "{\"model_type\": \"qwen3_moe\", \"architectures\": null, \"num_local_experts\": 6, \"num_experts_per_tok\": 3, "
                      "\"moe_intermediate_size\": 48, \"decoder_sparse_step\": 2}");
    assert_true(a.n_experts == 6 && !qep_arch_sparse(&a, 0) && qep_arch_sparse(&a, 1) && a.n_sparse == 1);
}

/* What is put into (or taken out of) the base configuration, and a part of the message. */
static const struct {
    const char *without, *edit, *message;
} bad[] = {
    {NULL, "{\"model_type\": \"gemma2\"}", "model_type \"gemma2\""},
    {NULL, "{\"model_type\": \"opt\", \"architectures\": null}", "llama (LlamaForCausalLM), mistral (MistralForCausalLM), qwen2"},
    {NULL, "{\"model_type\": \"llama4\", \"architectures\": null}", "\"llama4\""},
    {NULL, "{\"architectures\": [\"LlamaForSequenceClassification\"]}",
     "LlamaForSequenceClassification"},
    {NULL, "{\"architectures\": \"LlamaForCausalLM\"}", "\"architectures\" must be a list"},
    {"model_type", "{\"architectures\": []}", "not supported"},
    {NULL, "{\"model_type\": 3}", "\"model_type\" must be a string"},
    {NULL, "{\"text_config\": {}}", "multimodal"},
    {NULL, "{\"model_type\": \"gemma3\", \"architectures\": [\"Gemma3ForConditionalGeneration\"], \"text_config\": {\"model_type\": \"gemma3_text\"}}",
     "multimodal"},
    {NULL, "{\"final_logit_softcapping\": 30.0}", "\"final_logit_softcapping\": a llama model has no cap"},
    {NULL, "{\"model_type\": \"qwen3\", \"architectures\": null, \"final_logit_softcapping\": 30.0}", "a qwen3 model has no cap"},
    {NULL, "{\"model_type\": \"gemma3_text\", \"architectures\": null, \"final_logit_softcapping\": 0}", "greater than 0"},
    {NULL, "{\"model_type\": \"mixtral\", \"architectures\": null, \"num_experts_per_tok\": 9}", "must lie in 1..8"},
    {NULL, "{\"model_type\": \"qwen3_moe\", \"architectures\": null}", "\"moe_intermediate_size\" is missing"},
    {NULL, "{\"model_type\": \"qwen3_moe\", \"architectures\": null, \"moe_intermediate_size\": 8, \"mlp_only_layers\": [3]}", "entry 0"},
    {NULL, "{\"hidden_act\": \"gelu\"}", "supported are silu and gelu_pytorch_tanh"},
    {NULL, "{\"sliding_window\": 4096}", "sliding_window"},
    {NULL, "{\"layer_types\": [\"full_attention\", \"sliding_attention\", \"full_attention\"]}", "entry 1"},
    {NULL, "{\"layer_types\": [3, 3, 3]}", "entry 0"},
    {NULL, "{\"layer_types\": [\"full_attention\"]}", "num_hidden_layers (3)"},
    {NULL, "{\"use_bidirectional_attention\": true}", "only causal"},
    {NULL, "{\"num_hidden_layers\": 4097}", "must lie in"},
    {NULL, "{\"dtype\": \"float8_e4m3fn\"}", "float8_e4m3fn"},
    {"dtype", "{\"torch_dtype\": 16}", "\"torch_dtype\" must be a string"},
    {"hidden_size", "{}", "\"hidden_size\" is missing"},
    {"intermediate_size", "{}", "\"intermediate_size\" is missing"},
    {"num_hidden_layers", "{}", "\"num_hidden_layers\" is missing"},
    {"num_attention_heads", "{}", "\"num_attention_heads\" is missing"},
    {"vocab_size", "{}", "\"vocab_size\" is missing"},
    {NULL, "{\"hidden_size\": 0}", "\"hidden_size\" is 0"},
    {NULL, "{\"hidden_size\": -64}", "\"hidden_size\" is -64"},
    {NULL, "{\"hidden_size\": 64.0}", "whole number"},
    {NULL, "{\"hidden_size\": \"64\"}", "whole number"},
    {NULL, "{\"hidden_size\": 9000000000000}", "must lie in"},
    {NULL, "{\"num_key_value_heads\": 3}", "multiple of num_key_value_heads"},
    {NULL, "{\"num_key_value_heads\": 8}", "multiple of num_key_value_heads"},
    {"head_dim", "{\"hidden_size\": 66}", "without \"head_dim\""},
    {NULL, "{\"head_dim\": 15}", "must be even"},
    {NULL, "{\"rms_norm_eps\": 0}", "greater than 0"},
    {NULL, "{\"rms_norm_eps\": \"1e-5\"}", "must be a number"},
    {NULL, "{\"tie_word_embeddings\": 1}", "true or false"},
    {NULL, "{\"attention_bias\": \"no\"}", "true or false"},
    {NULL, "{\"partial_rotary_factor\": 0.5}", "partial_rotary_factor"},
    {NULL, "{\"rope_parameters\": {\"partial_rotary_factor\": 0.5}}",
     "rope_parameters.partial_rotary_factor"},
    {NULL, "{\"rope_parameters\": 7}", "\"rope_parameters\" must be an object"},
    {NULL, "{\"rope_parameters\": {\"rope_type\": \"mrope\", \"factor\": 4.0}}", "\"mrope\""},
    {NULL, "{\"rope_parameters\": {\"rope_type\": \"longrope\"}}", "rope_parameters.short_factor"},
    {NULL, "{\"rope_parameters\": {\"rope_type\": \"longrope\", \"short_factor\": [1, 1, 1, 1, 1, 1, 1, 0], \"long_factor\": [1]}}",
     "greater than 0"},
    {NULL, "{\"head_dim\": 514}", "514 channels"},
    {NULL, "{\"rope_parameters\": {\"rope_type\": \"linear\"}}",
     "rope_parameters.factor\" is missing"},
    {NULL, "{\"rope_parameters\": {\"rope_type\": \"linear\", \"factor\": 0}}", "greater than 0"},
    {NULL, "{\"rope_parameters\": {\"rope_theta\": -1}}", "rope_parameters.rope_theta"},
    {NULL, "{\"rope_parameters\": {\"full_attention\": {\"rope_theta\": 1e4}}}", "layer to layer"},
    {"rope_parameters", "{\"rope_scaling\": {\"type\": \"ntk\", \"factor\": 2.0}}",
     "rope_scaling.type"},
    {NULL,
     "{\"rope_parameters\": {\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 4, "
     "\"high_freq_factor\": 4, \"original_max_position_embeddings\": 32}}",
     "greater than low_freq_factor"},
    {NULL,
     "{\"rope_parameters\": {\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 1, "
     "\"high_freq_factor\": 4}}",
     "original_max_position_embeddings\" is missing"},
};

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        qep_arch a;
        qep_json *config = edited(bad[i].without, bad[i].edit);
        const qep_status st = qep_arch_parse(config, "dir/config.json", &a);
        const char *text = qep_error_text();
        if (st != QEP_E_INPUT || !strstr(text, bad[i].message) || !strstr(text, "dir/config.json"))
            fail_msg("without %s, with %s: status %d, message \"%s\" lacks \"%s\" or the file",
                     bad[i].without ? bad[i].without : "nothing", bad[i].edit, (int)st, text,
                     bad[i].message);
        qep_json_free(&config);
    }
    qep_arch a;
    qep_json *list = parse("[1]");
    assert_fails(qep_arch_parse(list, "dir/config.json", &a), QEP_E_INPUT, "must be a JSON object");
    qep_json_free(&list);
}

static void test_sizes(void **state)
{
    (void)state;
    const qep_arch a = arch_of(NULL, "{\"attention_bias\": true}");
    int64_t fp, q;
    qep_block_bytes(&a, QEP_COMPUTE_F32, &fp, &q);
    const int64_t weights = 64 * 64 + 2 * 32 * 64 + 64 * 64 + 3 * 112 * 64;
    assert_int_equal(q, 4 * weights);
    assert_int_equal(fp, 4 * (weights + 2 * 64 + 64 + 32 + 32 + 64));
    qep_block_bytes(&a, QEP_COMPUTE_BF16, &fp, &q);
    assert_int_equal(q, 2 * weights);
    const int64_t before = qep_mem_now();
    qep_work *w = qep_work_create(&a, QEP_COMPUTE_BF16, 100);
    assert_true(qep_mem_now() - before >= qep_work_bytes(&a, QEP_COMPUTE_BF16, 100));
    qep_work_destroy(&w);
    assert_null(w);
    assert_int_equal(qep_mem_now(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_base),     cmocka_unit_test(test_linears),
        cmocka_unit_test(test_defaults), cmocka_unit_test(test_rope),
        cmocka_unit_test(test_refused),  cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_rope_scalings), cmocka_unit_test(test_family_rows),
        cmocka_unit_test(test_olmo2), cmocka_unit_test(test_experts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
