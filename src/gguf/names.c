/* llama.cpp's names of tensors and its order of rows, by family (its gguf constants and conversion scripts). SPDX-License-Identifier: Apache-2.0 */
#include "gguf_priv.h"

#include <stdlib.h>
#include <string.h>

static const qep_gguf_pair
    whole[] = {{"model.embed_tokens", "token_embd"}, {"model.norm", "output_norm"}, {"lm_head", "output"}, {NULL, NULL}},
    attention[] = {{"self_attn.q_proj", "attn_q"}, {"self_attn.k_proj", "attn_k"}, {"self_attn.v_proj", "attn_v"},
                   {"self_attn.o_proj", "attn_output"}, {"self_attn.q_norm", "attn_q_norm"},
                   {"self_attn.k_norm", "attn_k_norm"}, {NULL, NULL}},
    attention_stacked[] = {{"self_attn.qkv_proj", "attn_qkv"}, {"self_attn.o_proj", "attn_output"}, {NULL, NULL}},
    norms_before[] = {{"input_layernorm", "attn_norm"}, {"post_attention_layernorm", "ffn_norm"}, {NULL, NULL}},
    norms_after[] = {{"post_attention_layernorm", "post_attention_norm"},
                     {"post_feedforward_layernorm", "post_ffw_norm"}, {NULL, NULL}},
    norms_around[] = {{"input_layernorm", "attn_norm"}, {"post_attention_layernorm", "post_attention_norm"},
                      {"pre_feedforward_layernorm", "ffn_norm"}, {"post_feedforward_layernorm", "post_ffw_norm"},
                      {NULL, NULL}},
    mlp[] = {{"mlp.gate_proj", "ffn_gate"}, {"mlp.up_proj", "ffn_up"}, {"mlp.down_proj", "ffn_down"}, {NULL, NULL}},
    mlp_stacked[] = {{"mlp.gate_up_proj", "ffn_up"}, {"mlp.down_proj", "ffn_down"}, {NULL, NULL}},
    mixture[] = {{"mlp.gate", "ffn_gate_inp"}, {"mlp.experts.gate_proj", "ffn_gate_exps"},
                 {"mlp.experts.up_proj", "ffn_up_exps"}, {"mlp.experts.down_proj", "ffn_down_exps"}, {NULL, NULL}},
    mixture_w[] = {{"block_sparse_moe.gate", "ffn_gate_inp"}, {"block_sparse_moe.experts.w1", "ffn_gate_exps"},
                   {"block_sparse_moe.experts.w3", "ffn_up_exps"}, {"block_sparse_moe.experts.w2", "ffn_down_exps"},
                   {NULL, NULL}};

static const qep_gguf_arch known[] = {
    {"llama", "llama", true, 0, {attention, norms_before, mlp}},
    {"mistral", "llama", true, 0, {attention, norms_before, mlp}},
    {"qwen2", "qwen2", false, 0, {attention, norms_before, mlp}},
    {"qwen3", "qwen3", false, 0, {attention, norms_before, mlp}},
    {"phi3", "phi3", false, 0, {attention_stacked, norms_before, mlp_stacked}},
    {"gemma2", "gemma2", false, 1, {attention, norms_around, mlp}},
    {"gemma3_text", "gemma3", false, 1, {attention, norms_around, mlp}},
    {"olmo2", "olmo2", false, 0, {attention, norms_after, mlp}},
    {"mixtral", "llama", true, 0, {attention, norms_before, mixture_w}},
    {"qwen3_moe", "qwen3moe", false, 0, {attention, norms_before, mixture}},
};
enum { N_KNOWN = sizeof known / sizeof *known };

qep_status qep_gguf_find_arch(const qep_json *config, const qep_gguf_arch **out)
{
    const char *type = qep_json_string(qep_json_get(config, "model_type"));
    char names[256] = "";

    for (int i = 0; i < N_KNOWN; i++) {
        size_t used = strlen(names);

        *out = &known[i];
        if (type && strcmp(type, known[i].model_type) == 0)
            return QEP_OK;
        snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", known[i].model_type);
    }
    return qep_fail(QEP_E_CONFIG, "output.format = gguf: the metadata of model_type \"%s\" are not "
                    "known; known: %s; choose another format", type ? type : "", names);
}

const char *qep_gguf_arch_name(const qep_gguf_arch *a)
{
    return a->name;
}

static const qep_gguf_pair *pair_of(const qep_gguf_pair *table, bool theirs, const char *name, size_t length)
{
    for (; table->ours; table++) {
        const char *own = theirs ? table->theirs : table->ours;

        if (strlen(own) == length && strncmp(own, name, length) == 0)
            return table;
    }
    return NULL;
}

/* In a block of the family. */
static const qep_gguf_pair *in_block(const qep_gguf_arch *a, bool theirs, const char *name, size_t length)
{
    const qep_gguf_pair *p = NULL;

    for (int i = 0; i < QEP_GGUF_TABLES && a->tables[i] && !p; i++)
        p = pair_of(a->tables[i], theirs, name, length);
    return p;
}

/* Splits "PREFIX<block>.<name>.<tail>". */
static bool split(const char *name, const char *prefix, long *block, const char **inside, const char **tail)
{
    char *end;

    *tail = strrchr(name, '.');
    if (!*tail || strncmp(name, prefix, strlen(prefix)) != 0)
        return false;
    *block = strtol(name + strlen(prefix), &end, 10);
    *inside = end + 1;
    return end > name + strlen(prefix) && *end == '.' && end < *tail;
}

static int64_t count(const qep_json *config, const char *key, int64_t otherwise)
{
    const qep_json *j = qep_json_get(config, key);

    return j && qep_json_type(j) == QEP_JSON_INT ? qep_json_int(j) : otherwise;
}

int64_t qep_gguf_n_experts(const qep_json *config)
{
    const char *type = qep_json_string(qep_json_get(config, "model_type"));
    int64_t otherwise = type && strcmp(type, "mixtral") == 0     ? 8
                        : type && strcmp(type, "qwen3_moe") == 0 ? 128
                                                                 : 0;

    return count(config, "num_local_experts", count(config, "num_experts", otherwise));
}

static void find_place(const qep_gguf_arch *a, const qep_json *config, const qep_gguf_pair *p, qep_gguf_place *place)
{
    int64_t heads = count(config, "num_attention_heads", 0);

    place->is_expert = strstr(p->ours, ".experts.") != NULL;

    if (a->permutes && strcmp(p->theirs, "attn_q") == 0)
        place->heads = heads;
    if (a->permutes && strcmp(p->theirs, "attn_k") == 0)
        place->heads = count(config, "num_key_value_heads", heads);
    if (strstr(p->theirs, "norm"))
        place->more = a->norms_more;
}

/* "mlp.experts.5.up_proj" -> "mlp.experts.up_proj" and 5. */
static char *without_expert(const char *inside, size_t length, int64_t *expert)
{
    static const char before[] = ".experts.";
    char *text = qep_strf("gguf.name", "%.*s", (int)length, inside), *at = strstr(text, before), *end;

    *expert = 0;
    if (!at)
        return text;
    at += sizeof before - 1;
    *expert = strtol(at, &end, 10);
    if (end > at && *end == '.')
        memmove(at, end + 1, strlen(end));
    return text;
}

char *qep_gguf_name(const qep_gguf_arch *a, const qep_json *config, const char *name, qep_gguf_place *place)
{
    const char *inside, *tail;
    const qep_gguf_pair *p;
    int64_t expert = 0;
    long block;
    bool in = split(name, "model.layers.", &block, &inside, &tail);
    char *own;

    *place = (qep_gguf_place){0};
    if (!tail)
        return NULL;
    own = in ? without_expert(inside, (size_t)(tail - inside), &expert) : NULL;
    p = in ? in_block(a, false, own, strlen(own)) : pair_of(whole, false, name, (size_t)(tail - name));
    qep_free(own);
    if (!p)
        return NULL;
    find_place(a, config, p, place);
    place->expert = expert;
    return in ? qep_strf("gguf.name", "blk.%ld.%s%s", block, p->theirs, tail)
              : qep_strf("gguf.name", "%s%s", p->theirs, tail);
}

/* "mlp.experts.up_proj" in a block -> "model.layers.3.mlp.experts.5.up_proj.weight" */
static char *expert_name(long block, const char *ours, int64_t expert, const char *tail)
{
    const char *part = strrchr(ours, '.');

    return qep_strf("gguf.name", "model.layers.%ld.%.*s.%lld%s%s", block, (int)(part - ours), ours,
                    (long long)expert, part, tail);
}

char *qep_gguf_our_name(const qep_gguf_arch *a, const qep_json *config, const char *name, int64_t expert,
                        qep_gguf_place *place)
{
    const char *inside, *tail;
    const qep_gguf_pair *p;
    long block;
    bool in = split(name, "blk.", &block, &inside, &tail);

    *place = (qep_gguf_place){0};
    if (!tail)
        return NULL;
    p = in ? in_block(a, true, inside, (size_t)(tail - inside))
           : pair_of(whole, true, name, (size_t)(tail - name));
    if (!p)
        return NULL;
    find_place(a, config, p, place);
    place->expert = expert;
    if (place->is_expert)
        return expert_name(block, p->ours, expert, tail);
    return in ? qep_strf("gguf.name", "model.layers.%ld.%s%s", block, p->ours, tail)
              : qep_strf("gguf.name", "%s%s", p->ours, tail);
}
