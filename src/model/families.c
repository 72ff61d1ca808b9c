/* The families: one row says what a family's files leave unsaid. Everything a family can do at all is a field of the architecture
 * record, so there is one forward pass. README, "Adding a family". Facts: formats.md 2, and the configuration classes of
 * transformers 5.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model_priv.h"

#include <string.h>

/* Names of the norms by place: before and after attention, before and after the mlp. */
static const char *const norms_before[4] = {"input_layernorm", NULL, "post_attention_layernorm", NULL};
static const char *const norms_around[4] = {"input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
                                            "post_feedforward_layernorm"};
static const char *const norms_after[4] = {NULL, "post_attention_layernorm", NULL, "post_feedforward_layernorm"};

const qep_family qep_families[] = {
    {.model_type = "llama", .architecture = "LlamaForCausalLM",
     .eps = 1e-6, .theta = 1e4, .max_position = 2048, .norms = norms_before,
     .attention_bias = true, .mlp_bias = true, .act_key = "hidden_act"},
    {.model_type = "mistral", .architecture = "MistralForCausalLM",
     .eps = 1e-6, .theta = 1e4, .max_position = 131072, .kv_heads = 8, .norms = norms_before,
     .act_key = "hidden_act", .window_rule = QEP_WINDOW_ALL, .window = 4096},
    {.model_type = "qwen2", .architecture = "Qwen2ForCausalLM",
     .eps = 1e-6, .theta = 1e4, .max_position = 32768, .norms = norms_before, .qkv_bias = true,
     .act_key = "hidden_act", .window_rule = QEP_WINDOW_LATE, .window = 4096, .max_window_layers = 28},
    {.model_type = "qwen3", .architecture = "Qwen3ForCausalLM",
     .eps = 1e-6, .theta = 1e4, .max_position = 32768, .head_dim = 128, .norms = norms_before,
     .qk_norm = QEP_QK_NORM_HEAD, .attention_bias = true,
     .act_key = "hidden_act", .window_rule = QEP_WINDOW_LATE, .window = 4096, .max_window_layers = 28},
    {.model_type = "phi3", .architecture = "Phi3ForCausalLM",
     .eps = 1e-5, .theta = 1e4, .max_position = 4096, .norms = norms_before, .fused = true,
     .act_key = "hidden_act", .window_rule = QEP_WINDOW_ALL, .partial_rope = true},
    {.model_type = "gemma2", .architecture = "Gemma2ForCausalLM",
     .eps = 1e-6, .theta = 1e4, .max_position = 8192, .head_dim = 256, .kv_heads = 4, .tied = true, .norms = norms_around,
     .plus_one = true, .scaled_embedding = true, .attention_bias = true,
     .act_key = "hidden_activation", .act = QEP_ACT_GELU_TANH,
     .window_rule = QEP_WINDOW_PATTERN, .window = 4096, .window_pattern = 2,
     .score_cap = 50, .caps_logits = true, .logit_cap = 30, .query_scalar = 256},
    {.model_type = "gemma3_text", .architecture = "Gemma3ForCausalLM",
     .eps = 1e-6, .theta = 1e6, .max_position = 131072, .head_dim = 256, .kv_heads = 4, .tied = true, .norms = norms_around,
     .qk_norm = QEP_QK_NORM_HEAD, .plus_one = true, .scaled_embedding = true, .attention_bias = true,
     .act_key = "hidden_activation", .act = QEP_ACT_GELU_TANH,
     .window_rule = QEP_WINDOW_PATTERN, .window = 4096, .window_pattern = 6,
     .caps_logits = true, .query_scalar = 256, .theta_local = 1e4},
    {.model_type = "olmo2", .architecture = "Olmo2ForCausalLM",
     .eps = 1e-5, .theta = 1e4, .max_position = 2048, .norms = norms_after, .qk_norm = QEP_QK_NORM_ALL, .attention_bias = true,
     .act_key = "hidden_act"},
    {.model_type = "mixtral", .architecture = "MixtralForCausalLM",
     .eps = 1e-5, .theta = 1e6, .max_position = 131072, .kv_heads = 8, .norms = norms_before,
     .act_key = "hidden_act", .window_rule = QEP_WINDOW_ALL,
     .moe = "block_sparse_moe", .expert_parts = {"w1", "w3", "w2"}, .count_key = "num_local_experts", .size_key = "intermediate_size",
     .n_experts = 8, .top_k = 2, .always_renormalize = true},
    {.model_type = "qwen3_moe", .architecture = "Qwen3MoeForCausalLM",
     .eps = 1e-6, .theta = 1e4, .max_position = 32768, .kv_heads = 4, .norms = norms_before, .qk_norm = QEP_QK_NORM_HEAD,
     .attention_bias = true, .act_key = "hidden_act", .window_rule = QEP_WINDOW_IF_USED, .window = 4096,
     .moe = "mlp", .expert_parts = {"gate_proj", "up_proj", "down_proj"}, .count_key = "num_experts", .size_key = "moe_intermediate_size",
     .n_experts = 128, .top_k = 8},
};
const int qep_n_families = sizeof qep_families / sizeof qep_families[0];

/* architectures[0], or NULL. */
static qep_status first_architecture(const qep_keys *k, const char **out)
{
    const qep_json *list = qep_key(k, "architectures");
    *out = NULL;
    if (!list) return QEP_OK;
    if (qep_json_type(list) != QEP_JSON_ARRAY)
        return qep_fail(QEP_E_INPUT, "%s: key \"architectures\" must be a list", k->source);
    if (qep_json_size(list) > 0) *out = qep_json_string(qep_json_at(list, 0));
    return QEP_OK;
}

static qep_status unknown_family(const qep_keys *k, const char *type, const char *architecture)
{
    char list[1024] = "";
    for (int i = 0; i < qep_n_families; i++) {
        const size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s (%s)", i ? ", " : "", qep_families[i].model_type,
                 qep_families[i].architecture);
    }
    return qep_fail(QEP_E_INPUT,
                    "%s: model_type \"%s\" with architectures[0] \"%s\" is not supported; supported are %s",
                    k->source, type, architecture ? architecture : "", list);
}

qep_status qep_family_find(const qep_keys *k, const qep_family **out)
{
    const char *architecture, *type;
    QEP_TRY(first_architecture(k, &architecture));
    QEP_TRY(qep_key_string(k, "model_type", "", &type));
    for (int i = 0; i < qep_n_families; i++) {
        const qep_family *f = &qep_families[i];
        if (*type ? strcmp(type, f->model_type) != 0 : !architecture) continue;
        if (architecture && strcmp(architecture, f->architecture) != 0) continue;
        *out = f;
        return QEP_OK;
    }
    return unknown_family(k, type, architecture);
}
