/* The keys of a GGUF file: the model's shape and its tokenizer (ggml docs/gguf.md, llama.cpp's gguf-py constants and convert_hf_to_gguf.py).
 * SPDX-License-Identifier: Apache-2.0 */
#include "gguf_priv.h"

#include "qep/tokenizer.h"

#include <math.h>
#include <string.h>

static const qep_json *member(const qep_json *config, const char *key)
{
    const qep_json *j = qep_json_get(config, key);

    return j && qep_json_type(j) != QEP_JSON_NULL ? j : NULL;
}

static double number(const qep_json *o, const char *key, double otherwise)
{
    const qep_json *j = member(o, key);

    return j ? qep_json_real(j) : otherwise;
}

/* transformers 5 has one object; before there were rope_theta and rope_scaling. */
static const qep_json *rope_object(const qep_json *config)
{
    const qep_json *o = member(config, "rope_parameters");
    const qep_json *full = member(o, "full_attention"); /* Gemma-3 has one for each kind of layer */

    return full ? full : o ? o : member(config, "rope_scaling");
}

static const char *rope_type(const qep_json *config)
{
    const qep_json *o = rope_object(config);
    const char *type = qep_json_string(qep_json_get(o, "rope_type"));

    type = type ? type : qep_json_string(qep_json_get(o, "type"));
    return type ? type : "default";
}

static bool is_gemma(const qep_json *config)
{
    const char *type = qep_json_string(qep_json_get(config, "model_type"));

    return type && strncmp(type, "gemma", 5) == 0;
}

static int64_t head_dim(const qep_json *config)
{
    double otherwise = number(config, "hidden_size", 0) / number(config, "num_attention_heads", 1);

    return (int64_t)number(config, "head_dim", is_gemma(config) ? 256 : otherwise);
}

/* Divisors of the frequencies (formats.md 2.7, llama3). */
float *qep_gguf_rope_factors(const qep_json *config, int64_t *n)
{
    const qep_json *o = rope_object(config);
    double theta = number(config, "rope_theta", number(o, "rope_theta", 10000));
    double factor = number(o, "factor", 8), low = number(o, "low_freq_factor", 1);
    double high = number(o, "high_freq_factor", 4);
    double length = number(o, "original_max_position_embeddings", 8192);
    int64_t dim = head_dim(config);
    float *out;

    *n = 0;
    if (strcmp(rope_type(config), "llama3") != 0)
        return NULL;
    *n = dim / 2;
    out = qep_alloc("export.gguf", *n, sizeof *out);
    for (int64_t i = 0; i < *n; i++) {
        double wave = 2 * acos(-1.0) * pow(theta, 2.0 * (double)i / (double)dim);
        double smooth = (length / wave - low) / (high - low);

        out[i] = (float)(wave < length / high  ? 1.0
                         : wave > length / low ? factor
                                               : 1 / ((1 - smooth) / factor + smooth));
    }
    return out;
}

static void arch_u32(qep_gguf_text *t, const qep_gguf_arch *a, const char *key, int64_t v)
{
    char name[96];

    snprintf(name, sizeof name, "%s.%s", qep_gguf_arch_name(a), key);
    qep_gguf_key_u32(t, name, v);
}

static void arch_f32(qep_gguf_text *t, const qep_gguf_arch *a, const char *key, double v)
{
    char name[96];

    snprintf(name, sizeof name, "%s.%s", qep_gguf_arch_name(a), key);
    qep_gguf_key_f32(t, name, v);
}

static qep_status put_rope(const qep_json *config, const qep_gguf_arch *a, qep_gguf_text *t)
{
    const qep_json *o = rope_object(config);
    const char *type = rope_type(config);
    char name[96];
    double part = number(config, "partial_rotary_factor", number(o, "partial_rotary_factor", 1));
    double theta = strcmp(qep_gguf_arch_name(a), "gemma3") == 0 ? 1e6 : 1e4;

    arch_f32(t, a, "rope.freq_base", number(config, "rope_theta", number(o, "rope_theta", theta)));
    arch_u32(t, a, "rope.dimension_count", (int64_t)(part * (double)head_dim(config)));
    if (strcmp(type, "default") == 0 || strcmp(type, "llama3") == 0)
        return QEP_OK;
    if (strcmp(type, "linear") != 0)
        return qep_fail(QEP_E_CONFIG, "output.format = gguf: rope_type \"%s\" is not known there; "
                        "known: default, linear, llama3", type);
    snprintf(name, sizeof name, "%s.rope.scaling.type", qep_gguf_arch_name(a));
    qep_gguf_key_string(t, name, "linear");
    arch_f32(t, a, "rope.scaling.factor", number(o, "factor", 1));
    return QEP_OK;
}

/* --- what single families have more --------------------------------------------------------------- */

/* llama.cpp takes the scale of the scores from the shape, and the pattern of windows from the family. */
static qep_status check_gemma(const qep_json *config, const qep_gguf_arch *a)
{
    int64_t every = strcmp(qep_gguf_arch_name(a), "gemma2") == 0 ? 2 : 6, largest = every == 2 ? 46 : 62;
    int64_t blocks = (int64_t)number(config, "num_hidden_layers", 0);
    double scale = number(config, "query_pre_attn_scalar", 256);
    double want = blocks == largest ? number(config, "hidden_size", 0) / number(config, "num_attention_heads", 1)
                                    : (double)head_dim(config);
    const qep_json *types = member(config, "layer_types");

    if (scale != want)
        return qep_fail(QEP_E_CONFIG, "output.format = gguf: llama.cpp scales the scores of a %s model of %lld "
                        "blocks by 1 / sqrt(%g); config.json has query_pre_attn_scalar = %g; choose another format",
                        qep_gguf_arch_name(a), (long long)blocks, want, scale);
    for (int64_t i = 0; types && i < qep_json_size(types); i++) {
        const char *type = qep_json_string(qep_json_at(types, i));

        if (!type || (strcmp(type, "full_attention") == 0) != ((i + 1) % every == 0))
            return qep_fail(QEP_E_CONFIG, "output.format = gguf: llama.cpp gives block %lld of a %s model another kind "
                            "of attention than layer_types of config.json; choose another format", (long long)i,
                            qep_gguf_arch_name(a));
    }
    return QEP_OK;
}

static qep_status put_gemma(const qep_json *config, const qep_gguf_arch *a, qep_gguf_text *t)
{
    bool second = strcmp(qep_gguf_arch_name(a), "gemma2") == 0;
    const qep_json *local = member(member(config, "rope_parameters"), "sliding_attention");

    QEP_TRY(check_gemma(config, a));
    arch_u32(t, a, "attention.sliding_window", (int64_t)number(config, "sliding_window", 4096));
    qep_gguf_key_bool(t, "tokenizer.ggml.add_space_prefix", false);
    if (!second && member(config, "final_logit_softcapping"))
        return qep_fail(QEP_E_CONFIG, "output.format = gguf: llama.cpp does not cap the logits of a gemma3 model "
                        "with windows, config.json has final_logit_softcapping = %g; choose another format",
                        number(config, "final_logit_softcapping", 0));
    if (!second) {
        arch_f32(t, a, "rope.freq_base_swa",
                 number(config, "rope_local_base_freq", number(local, "rope_theta", 10000)));
        return QEP_OK;
    }
    if (!member(config, "attn_logit_softcapping") || !member(config, "final_logit_softcapping"))
        return qep_fail(QEP_E_CONFIG, "output.format = gguf: llama.cpp wants attn_logit_softcapping and "
                        "final_logit_softcapping of a gemma2 model; choose another format");
    arch_f32(t, a, "attn_logit_softcapping", number(config, "attn_logit_softcapping", 0));
    arch_f32(t, a, "final_logit_softcapping", number(config, "final_logit_softcapping", 0));
    return QEP_OK;
}

/* llama.cpp gives every block experts, and the weights of those that are chosen a sum of one. */
qep_status qep_gguf_check_experts(const qep_json *config, const qep_gguf_arch *a)
{
    const qep_json *plain = member(config, "mlp_only_layers");

    if (strcmp(qep_gguf_arch_name(a), "qwen3moe") != 0)
        return QEP_OK;
    if (!qep_json_bool(member(config, "norm_topk_prob")))
        return qep_fail(QEP_E_CONFIG, "output.format = gguf: llama.cpp normalizes the routing weights of a qwen3moe "
                        "model, config.json says norm_topk_prob = false; choose another format");
    if ((plain && qep_json_size(plain) > 0) || number(config, "decoder_sparse_step", 1) != 1)
        return qep_fail(QEP_E_CONFIG, "output.format = gguf: llama.cpp knows no qwen3moe models with blocks without "
                        "experts; choose another format");
    return QEP_OK;
}

static void put_experts(const qep_json *config, const qep_gguf_arch *a, qep_gguf_text *t)
{
    bool qwen = strcmp(qep_gguf_arch_name(a), "qwen3moe") == 0;

    arch_u32(t, a, "expert_count", qep_gguf_n_experts(config));
    arch_u32(t, a, "expert_used_count", (int64_t)number(config, "num_experts_per_tok", qwen ? 8 : 2));
    if (qwen)
        arch_u32(t, a, "expert_feed_forward_length", (int64_t)number(config, "moe_intermediate_size", 768));
}

static qep_status put_family(const qep_json *config, const qep_gguf_arch *a, qep_gguf_text *t)
{
    if (is_gemma(config))
        return put_gemma(config, a, t);
    if (qep_gguf_n_experts(config) > 0)
        put_experts(config, a, t);
    if (strcmp(qep_gguf_arch_name(a), "phi3") == 0) {
        arch_u32(t, a, "rope.scaling.original_context_length",
                 (int64_t)number(config, "original_max_position_embeddings",
                                 number(config, "max_position_embeddings", 4096)));
        arch_u32(t, a, "attention.sliding_window", (int64_t)number(config, "sliding_window", 0));
    }
    return QEP_OK;
}

static qep_status put_model(const qep_json *config, const qep_gguf_arch *a, const char *name,
                            qep_gguf_text *t)
{
    double heads = number(config, "num_attention_heads", 0);

    qep_gguf_key_string(t, "general.architecture", qep_gguf_arch_name(a));
    qep_gguf_key_string(t, "general.name", name);
    qep_gguf_key_u32(t, "general.quantization_version", 2);
    qep_gguf_key_u32(t, "general.alignment", 32);
    arch_u32(t, a, "block_count", (int64_t)number(config, "num_hidden_layers", 0));
    arch_u32(t, a, "context_length", (int64_t)number(config, "max_position_embeddings", 2048));
    arch_u32(t, a, "embedding_length", (int64_t)number(config, "hidden_size", 0));
    arch_u32(t, a, "feed_forward_length", (int64_t)number(config, "intermediate_size", 0));
    arch_u32(t, a, "attention.head_count", (int64_t)heads);
    arch_u32(t, a, "attention.head_count_kv", (int64_t)number(config, "num_key_value_heads", heads));
    arch_f32(t, a, "attention.layer_norm_rms_epsilon", number(config, "rms_norm_eps", 1e-6));
    arch_u32(t, a, "attention.key_length", head_dim(config));
    arch_u32(t, a, "attention.value_length", head_dim(config));
    arch_u32(t, a, "vocab_size", (int64_t)number(config, "vocab_size", 0));
    QEP_TRY(put_family(config, a, t));
    return put_rope(config, a, t);
}

/* --- the tokenizer ---------------------------------------------------------------------------- */

enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4, UNUSED = 5, BYTE = 6 };

static int token_type(const qep_tokenizer *k, int32_t id, bool spm)
{
    const char *piece = qep_tokenizer_piece(k, id);

    if (!piece)
        return UNUSED;
    if (qep_tokenizer_is_special(k, id))
        return spm && id == qep_tokenizer_unk(k) ? UNKNOWN : CONTROL;
    if (qep_tokenizer_is_added(k, id))
        return USER_DEFINED;
    return spm && strlen(piece) == 6 && strncmp(piece, "<0x", 3) == 0 ? BYTE : NORMAL;
}

static void put_pieces(const qep_tokenizer *k, int64_t vocab, bool spm, qep_gguf_text *t)
{
    qep_gguf_key_array(t, "tokenizer.ggml.tokens", QEP_GGUF_ARRAY_STRING, vocab);
    for (int64_t i = 0; i < vocab; i++) {
        const char *piece = qep_tokenizer_piece(k, (int32_t)i);
        char pad[32];

        snprintf(pad, sizeof pad, "[PAD%lld]", (long long)i);
        qep_gguf_string(t, piece ? piece : pad);
    }
    qep_gguf_key_array(t, "tokenizer.ggml.token_type", QEP_GGUF_ARRAY_I32, vocab);
    for (int64_t i = 0; i < vocab; i++)
        qep_gguf_u32(t, (uint32_t)token_type(k, (int32_t)i, spm));
}

static void put_merges(const qep_tokenizer *k, qep_gguf_text *t)
{
    int64_t n = qep_tokenizer_n_merges(k);

    qep_gguf_key_array(t, "tokenizer.ggml.merges", QEP_GGUF_ARRAY_STRING, n);
    for (int64_t i = 0; i < n; i++) {
        int32_t left, right;
        char *text;

        qep_tokenizer_merge(k, i, &left, &right);
        text = qep_strf("export.gguf", "%s %s", qep_tokenizer_piece(k, left),
                        qep_tokenizer_piece(k, right));
        qep_gguf_string(t, text);
        qep_free(text);
    }
}

/* llama.cpp merges SentencePiece tokens by score: that of a token is its merge's rank, negative. */
static void put_scores(const qep_tokenizer *k, int64_t vocab, qep_gguf_text *t)
{
    float *score = qep_alloc("export.gguf", vocab, sizeof *score);

    for (int64_t i = qep_tokenizer_n_merges(k) - 1; i >= 0; i--) {
        int32_t left, right, id;
        char *text;

        qep_tokenizer_merge(k, i, &left, &right);
        text = qep_strf("export.gguf", "%s%s", qep_tokenizer_piece(k, left),
                        qep_tokenizer_piece(k, right));
        id = qep_tokenizer_id(k, text);
        if (id >= 0 && id < vocab)
            score[id] = -(float)(i + 1);
        qep_free(text);
    }
    qep_gguf_key_array(t, "tokenizer.ggml.scores", QEP_GGUF_ARRAY_F32, vocab);
    for (int64_t i = 0; i < vocab; i++) {
        uint32_t bits;

        memcpy(&bits, &score[i], sizeof bits);
        qep_gguf_u32(t, bits);
    }
    qep_free(score);
}

static const char *pre_name(qep_tokenizer_family f)
{
    return f == QEP_TOKENIZER_GPT2     ? "gpt-2"
           : f == QEP_TOKENIZER_LLAMA3 ? "llama-bpe"
           : f == QEP_TOKENIZER_QWEN2  ? "qwen2"
                                       : "default";
}

static void put_tokenizer(const qep_tokenizer *k, int64_t vocab, qep_gguf_text *t)
{
    qep_tokenizer_family f = qep_tokenizer_get_family(k);
    bool spm = f == QEP_TOKENIZER_SPM;
    int32_t bos = qep_tokenizer_bos(k), eos = qep_tokenizer_eos(k), unk = qep_tokenizer_unk(k);

    qep_gguf_key_string(t, "tokenizer.ggml.model", spm ? "llama" : "gpt2");
    qep_gguf_key_string(t, "tokenizer.ggml.pre", pre_name(f));
    put_pieces(k, vocab, spm, t);
    if (spm)
        put_scores(k, vocab, t);
    else
        put_merges(k, t);
    if (bos >= 0)
        qep_gguf_key_u32(t, "tokenizer.ggml.bos_token_id", bos);
    if (eos >= 0)
        qep_gguf_key_u32(t, "tokenizer.ggml.eos_token_id", eos);
    if (unk >= 0)
        qep_gguf_key_u32(t, "tokenizer.ggml.unknown_token_id", unk);
    qep_gguf_key_bool(t, "tokenizer.ggml.add_bos_token", qep_tokenizer_adds_bos(k));
    qep_gguf_key_bool(t, "tokenizer.ggml.add_eos_token", qep_tokenizer_adds_eos(k));
}

/* The template of tokenizer_config.json or of chat_template.jinja, when there is one. */
static void put_chat_template(const char *dir, qep_gguf_text *t)
{
    char *path = qep_path_join(dir, "tokenizer_config.json"), *text = NULL;
    char *alone = qep_path_join(dir, "chat_template.jinja");
    qep_json *o = NULL;
    int64_t bytes = 0;

    if (qep_file_exists(alone) &&
        qep_file_read(alone, INT64_C(1) << 24, QEP_E_INPUT, &text, &bytes) == QEP_OK &&
        (int64_t)strlen(text) == bytes) {
        qep_gguf_key_string(t, "tokenizer.chat_template", text);
    } else if (qep_file_exists(path) && qep_json_load(path, QEP_E_INPUT, &o) == QEP_OK) {
        const char *template = qep_json_string(qep_json_get(o, "chat_template"));

        if (template)
            qep_gguf_key_string(t, "tokenizer.chat_template", template);
    }
    qep_error_clear(); /* a file that cannot be read is met when it is copied */
    qep_json_free(&o);
    qep_free(text);
    qep_free(alone);
    qep_free(path);
}

/* What was quantized how: our own readers need it to tell codes from differences. */
static void put_settings(const qep_export_request *rq, qep_gguf_text *t)
{
    qep_json *o = qep_json_new_object();
    char *text;

    qep_json_set(o, "quant_method", qep_json_new_string("gguf"));
    qep_settings_put(rq, o);
    text = qep_json_text(o, false);
    qep_gguf_key_string(t, QEP_GGUF_SETTINGS_KEY, text);
    qep_free(text);
    qep_json_free(&o);
}

qep_status qep_gguf_metadata(const qep_export_request *rq, const qep_json *config,
                             const qep_gguf_arch *a, qep_gguf_text *t)
{
    char *path = qep_path_join(rq->source_dir, "tokenizer.json");
    qep_tokenizer *k = NULL;
    qep_status st = put_model(config, a, qep_path_base(rq->source_dir), t);

    if (st == QEP_OK)
        put_settings(rq, t);
    if (st == QEP_OK && qep_file_exists(path)) {
        st = qep_tokenizer_open(rq->source_dir, &k);
        if (st == QEP_OK)
            put_tokenizer(k, (int64_t)number(config, "vocab_size", (double)qep_tokenizer_size(k)), t);
    } else if (st == QEP_OK) {
        qep_gguf_key_string(t, "tokenizer.ggml.model", "no_vocab");
    }
    if (st == QEP_OK)
        put_chat_template(rq->source_dir, t);
    qep_tokenizer_close(&k);
    qep_free(path);
    return st;
}
