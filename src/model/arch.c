/* config.json -> architecture record. One row per family says what its files leave unsaid;
 * everything a family can do at all is a field of the record, so there is one forward pass. Facts:
 * formats.md 2.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model_priv.h"

#include <inttypes.h>
#include <string.h>

typedef struct family {
    const char *model_type, *architecture; /* config.json: model_type, architectures[0] */
    double eps, theta;                     /* defaults of the family's configuration class */
    int64_t max_position;
} family;

static const family families[] = {
    {"llama", "LlamaForCausalLM", 1e-6, 1e4, 2048},
};
enum { N_FAMILIES = sizeof families / sizeof families[0] };

/* Limits that keep every product of two sizes, in bytes, far from overflow; larger numbers are
 * typing errors. */
static const int64_t max_width = INT64_C(1) << 24, max_heads = INT64_C(1) << 16,
                     max_blocks = INT64_C(1) << 16;
static const int64_t max_context = INT64_C(1) << 40, max_vocab = INT32_MAX;

static const struct {
    const char *name;
    int group;
} roles[QEP_N_ROLES] = {
    [QEP_ROLE_Q] = {"self_attn.q_proj", 0}, [QEP_ROLE_K] = {"self_attn.k_proj", 0},
    [QEP_ROLE_V] = {"self_attn.v_proj", 0}, [QEP_ROLE_O] = {"self_attn.o_proj", 1},
    [QEP_ROLE_GATE] = {"mlp.gate_proj", 2}, [QEP_ROLE_UP] = {"mlp.up_proj", 2},
    [QEP_ROLE_DOWN] = {"mlp.down_proj", 3},
};

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

static qep_status find_family(const qep_keys *k, const family **out)
{
    const char *architecture, *type;
    QEP_TRY(first_architecture(k, &architecture));
    QEP_TRY(qep_key_string(k, "model_type", "", &type));
    for (int i = 0; i < N_FAMILIES; i++) {
        const family *f = &families[i];
        if (*type ? strcmp(type, f->model_type) != 0 : !architecture) continue;
        if (architecture && strcmp(architecture, f->architecture) != 0) continue;
        *out = f;
        return QEP_OK;
    }
    return qep_fail(
        QEP_E_INPUT,
        "%s: model_type \"%s\" with architectures[0] \"%s\" is not supported; supported "
        "is model_type llama with LlamaForCausalLM",
        k->source, type, architecture ? architecture : "");
}

static qep_status refuse_layer_types(const qep_keys *k)
{
    const qep_json *list = qep_key(k, "layer_types");
    for (int64_t i = 0; list && i < qep_json_size(list); i++) {
        const char *type = qep_json_string(qep_json_at(list, i));
        if (!type || strcmp(type, "full_attention") != 0)
            return qep_fail(QEP_E_INPUT,
                            "%s: key \"layer_types\", entry %" PRId64
                            ": \"%s\"; only full_attention is "
                            "supported",
                            k->source, i, type ? type : "?");
    }
    return QEP_OK;
}

/* What would be computed wrongly if it were overlooked. */
static qep_status refuse_features(const qep_keys *k)
{
    const char *text;
    if (qep_key(k, "text_config"))
        return qep_fail(QEP_E_INPUT,
                        "%s: key \"text_config\": this is a multimodal model; only text models are "
                        "supported",
                        k->source);
    QEP_TRY(qep_key_string(k, "hidden_act", "silu", &text));
    if (strcmp(text, "silu") != 0)
        return qep_fail(QEP_E_INPUT, "%s: key \"hidden_act\" is \"%s\"; only silu is supported",
                        k->source, text);
    bool window;
    QEP_TRY(qep_key_bool(k, "use_sliding_window", true, &window));
    if (window && qep_key(k, "sliding_window"))
        return qep_fail(
            QEP_E_INPUT,
            "%s: key \"sliding_window\": attention within a window is not supported; only "
            "null is",
            k->source);
    return refuse_layer_types(k);
}

static qep_status parse_dtype(const qep_keys *k, qep_dtype *out)
{
    static const struct {
        const char *name;
        qep_dtype type;
    } names[] = {
        {"bfloat16", QEP_BF16}, {"float16", QEP_F16}, {"float32", QEP_F32}, {"float64", QEP_F64}};
    const char *text, *key = qep_key(k, "dtype") ? "dtype" : "torch_dtype";
    *out = QEP_DTYPE_COUNT;
    QEP_TRY(qep_key_string(k, key, "", &text));
    if (!*text) return QEP_OK;
    const char *name = strncmp(text, "torch.", 6) == 0 ? text + 6 : text;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(name, names[i].name) == 0) *out = names[i].type;
    }
    if (*out != QEP_DTYPE_COUNT) return QEP_OK;
    return qep_fail(
        QEP_E_INPUT,
        "%s: key \"%s\" is \"%s\"; supported are bfloat16, float16, float32 and float64", k->source,
        key, text);
}

static qep_status parse_heads(const qep_keys *k, qep_arch *a)
{
    QEP_TRY(qep_key_size(k, "num_attention_heads", max_heads, 0, &a->n_heads));
    QEP_TRY(qep_key_size(k, "num_key_value_heads", max_heads, a->n_heads, &a->n_kv_heads));
    if (a->n_heads % a->n_kv_heads != 0)
        return qep_fail(QEP_E_INPUT,
                        "%s: num_attention_heads (%" PRId64
                        ") must be a multiple of num_key_value_heads "
                        "(%" PRId64 ")",
                        k->source, a->n_heads, a->n_kv_heads);
    if (!qep_key(k, "head_dim") && a->hidden % a->n_heads != 0)
        return qep_fail(QEP_E_INPUT,
                        "%s: without \"head_dim\", hidden_size (%" PRId64 ") must be a multiple of "
                        "num_attention_heads (%" PRId64 ")",
                        k->source, a->hidden, a->n_heads);
    QEP_TRY(qep_key_size(k, "head_dim", max_heads, qep_max_i64(a->hidden / a->n_heads, 1),
                         &a->head_dim));
    if (a->head_dim % 2 != 0)
        return qep_fail(QEP_E_INPUT,
                        "%s: the head size (%" PRId64 ") must be even for a rotary embedding",
                        k->source, a->head_dim);
    return QEP_OK;
}

static qep_status parse_shape(const qep_keys *k, const family *f, qep_arch *a)
{
    QEP_TRY(qep_key_size(k, "hidden_size", max_width, 0, &a->hidden));
    QEP_TRY(qep_key_size(k, "intermediate_size", max_width, 0, &a->inter));
    QEP_TRY(qep_key_size(k, "num_hidden_layers", max_blocks, 0, &a->n_blocks));
    QEP_TRY(qep_key_size(k, "vocab_size", max_vocab, 0, &a->vocab));
    QEP_TRY(
        qep_key_size(k, "max_position_embeddings", max_context, f->max_position, &a->max_position));
    QEP_TRY(parse_heads(k, a));
    QEP_TRY(qep_key_positive(k, "rms_norm_eps", f->eps, &a->eps));
    QEP_TRY(qep_key_bool(k, "tie_word_embeddings", false, &a->tied));
    QEP_TRY(qep_key_bool(k, "attention_bias", false, &a->attention_bias));
    return qep_key_bool(k, "mlp_bias", false, &a->mlp_bias);
}

static void set_linears(qep_arch *a)
{
    const int64_t wide = a->n_heads * a->head_dim, kv = a->n_kv_heads * a->head_dim;
    const int64_t rows[QEP_N_ROLES] = {wide, kv, kv, a->hidden, a->inter, a->inter, a->hidden};
    for (int g = 0; g < QEP_N_GROUPS; g++) a->group_count[g] = 0;
    for (int r = 0; r < QEP_N_ROLES; r++) {
        const int g = roles[r].group;
        a->linears[r] = (qep_linear_shape){.name = roles[r].name,
                                           .group = g,
                                           .rows = rows[r],
                                           .cols = qep_group_cols(a, g),
                                           .bias = g < 2 ? a->attention_bias : a->mlp_bias};
        if (a->group_count[g]++ == 0) a->group_first[g] = r;
    }
}

qep_status qep_arch_parse(const qep_json *config, const char *source, qep_arch *out)
{
    *out = (qep_arch){.family = NULL};
    if (qep_json_type(config) != QEP_JSON_OBJECT)
        return qep_fail(QEP_E_INPUT, "%s: a model's configuration must be a JSON object", source);
    const qep_keys k = {.object = config, .source = source, .prefix = ""};
    const family *f;
    QEP_TRY(find_family(&k, &f));
    QEP_TRY(refuse_features(&k));
    QEP_TRY(parse_dtype(&k, &out->dtype));
    QEP_TRY(parse_shape(&k, f, out));
    QEP_TRY(qep_arch_parse_rope(&k, f->theta, out->head_dim, &out->rope));
    out->family = f->model_type;
    set_linears(out);
    return QEP_OK;
}

int64_t qep_group_cols(const qep_arch *a, int g)
{
    QEP_REQUIRE(g >= 0 && g < QEP_N_GROUPS);
    return g == 1 ? a->n_heads * a->head_dim : g == 3 ? a->inter : a->hidden;
}

int64_t qep_group_act_cols(const qep_arch *a, int g)
{
    QEP_REQUIRE(g >= 0 && g < QEP_N_GROUPS);
    return g == 0 || g == 2 ? qep_group_cols(a, g + 1) : 0;
}
