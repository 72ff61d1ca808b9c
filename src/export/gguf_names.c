/* llama.cpp's names of tensors and its order of rows (its convert_hf_to_gguf.py and gguf constants). SPDX-License-Identifier: Apache-2.0 */
#include "gguf_priv.h"

#include <stdlib.h>
#include <string.h>

typedef struct pair {
    const char *ours, *theirs;
} pair;

static const pair whole[] = {
    {"model.embed_tokens", "token_embd"}, {"model.norm", "output_norm"}, {"lm_head", "output"}};

static const pair in_block[] = {
    {"input_layernorm", "attn_norm"},    {"post_attention_layernorm", "ffn_norm"},
    {"self_attn.q_proj", "attn_q"},      {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},      {"self_attn.o_proj", "attn_output"},
    {"self_attn.q_norm", "attn_q_norm"}, {"self_attn.k_norm", "attn_k_norm"},
    {"mlp.gate_proj", "ffn_gate"},       {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"}};

static const char *find(const pair *table, size_t n, const char *name, size_t length)
{
    for (size_t i = 0; i < n; i++)
        if (strlen(table[i].ours) == length && strncmp(table[i].ours, name, length) == 0)
            return table[i].theirs;
    return NULL;
}

char *qep_gguf_name(const char *name)
{
    static const char blocks[] = "model.layers.";
    const char *tail = strrchr(name, '.'), *theirs;
    char *end;
    long block;

    if (!tail)
        return NULL;
    if (strncmp(name, blocks, sizeof blocks - 1) != 0) {
        theirs = find(whole, sizeof whole / sizeof *whole, name, (size_t)(tail - name));
        return theirs ? qep_strf("export.name", "%s%s", theirs, tail) : NULL;
    }
    block = strtol(name + sizeof blocks - 1, &end, 10);
    if (*end != '.' || end > tail)
        return NULL;
    theirs = find(in_block, sizeof in_block / sizeof *in_block, end + 1, (size_t)(tail - end - 1));
    return theirs ? qep_strf("export.name", "blk.%ld.%s%s", block, theirs, tail) : NULL;
}

qep_status qep_gguf_find_arch(const qep_json *config, qep_gguf_arch *out)
{
    static const struct {
        const char *model_type;
        qep_gguf_arch arch;
    } known[] = {{"llama", {"llama", true}},
                 {"mistral", {"llama", true}},
                 {"qwen2", {"qwen2", false}},
                 {"qwen3", {"qwen3", false}}};
    const char *type = qep_json_string(qep_json_get(config, "model_type"));

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (type && strcmp(type, known[i].model_type) == 0) {
            *out = known[i].arch;
            return QEP_OK;
        }
    return qep_fail(QEP_E_CONFIG, "output.format = gguf: the metadata of model_type \"%s\" are not "
                    "known; known: llama, mistral, qwen2, qwen3; choose another format",
                    type ? type : "");
}

int64_t qep_gguf_row_place(int64_t r, int64_t rows, int64_t heads)
{
    int64_t width = rows / heads, half = width / 2, i = r % width;

    return r - i + (i < half ? 2 * i : 2 * (i - half) + 1);
}
