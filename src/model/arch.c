/* config.json -> architecture record, with the family's row of defaults. Facts: formats.md 2.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model_priv.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Limits that keep every product of two sizes, in bytes, far from overflow; larger numbers are
 * typing errors. */
static const int64_t max_width = INT64_C(1) << 24, max_heads = INT64_C(1) << 16;
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
/* By group: the one matrix that holds all its roles, where a family stores them stacked. */
static const char *const stacked[QEP_N_GROUPS] = {"self_attn.qkv_proj", NULL, "mlp.gate_up_proj", NULL};

/* Before the family is looked up: such files have a model_type of their own (gemma3 for gemma3_text). */
static qep_status refuse_multimodal(const qep_keys *k)
{
    if (qep_key(k, "text_config"))
        return qep_fail(QEP_E_INPUT,
                        "%s: key \"text_config\": this is a multimodal model; only text models are "
                        "supported",
                        k->source);
    return QEP_OK;
}

static qep_status parse_act(const qep_keys *k, const qep_family *f, qep_act *out)
{
    static const struct {
        const char *name;
        qep_act act;
    } names[] = {{"silu", QEP_ACT_SILU}, {"swish", QEP_ACT_SILU}, {"gelu_pytorch_tanh", QEP_ACT_GELU_TANH}};
    const char *text;
    *out = f->act;
    QEP_TRY(qep_key_string(k, f->act_key, "", &text));
    if (!*text) return QEP_OK;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(text, names[i].name) != 0) continue;
        *out = names[i].act;
        return QEP_OK;
    }
    return qep_fail(QEP_E_INPUT, "%s: key \"%s\" is \"%s\"; supported are silu and gelu_pytorch_tanh", k->source, f->act_key, text);
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

/* Without num_key_value_heads: the family's number where it divides the heads (classes with a fixed default), else one for each head. */
static int64_t default_kv_heads(const qep_family *f, int64_t heads)
{
    return f->kv_heads > 0 && heads % f->kv_heads == 0 ? f->kv_heads : heads;
}

static qep_status parse_heads(const qep_keys *k, const qep_family *f, qep_arch *a)
{
    QEP_TRY(qep_key_size(k, "num_attention_heads", max_heads, 0, &a->n_heads));
    QEP_TRY(qep_key_size(k, "num_key_value_heads", max_heads, default_kv_heads(f, a->n_heads), &a->n_kv_heads));
    if (a->n_heads % a->n_kv_heads != 0)
        return qep_fail(QEP_E_INPUT,
                        "%s: num_attention_heads (%" PRId64
                        ") must be a multiple of num_key_value_heads "
                        "(%" PRId64 ")",
                        k->source, a->n_heads, a->n_kv_heads);
    const bool divided = f->head_dim == 0 && !qep_key(k, "head_dim");
    if (divided && a->hidden % a->n_heads != 0)
        return qep_fail(QEP_E_INPUT,
                        "%s: without \"head_dim\", hidden_size (%" PRId64 ") must be a multiple of "
                        "num_attention_heads (%" PRId64 ")",
                        k->source, a->hidden, a->n_heads);
    const int64_t usual = f->head_dim > 0 ? f->head_dim : qep_max_i64(a->hidden / a->n_heads, 1);
    QEP_TRY(qep_key_size(k, "head_dim", max_heads, usual, &a->head_dim));
    if (a->head_dim % 2 != 0)
        return qep_fail(QEP_E_INPUT,
                        "%s: the head size (%" PRId64 ") must be even for a rotary embedding",
                        k->source, a->head_dim);
    return QEP_OK;
}

static qep_status parse_shape(const qep_keys *k, const qep_family *f, qep_arch *a)
{
    QEP_TRY(qep_key_size(k, "hidden_size", max_width, 0, &a->hidden));
    QEP_TRY(qep_key_size(k, "intermediate_size", max_width, 0, &a->inter));
    QEP_TRY(qep_key_size(k, "num_hidden_layers", QEP_MAX_BLOCKS, 0, &a->n_blocks));
    QEP_TRY(qep_key_size(k, "vocab_size", max_vocab, 0, &a->vocab));
    QEP_TRY(
        qep_key_size(k, "max_position_embeddings", max_context, f->max_position, &a->max_position));
    QEP_TRY(parse_heads(k, f, a));
    QEP_TRY(qep_key_positive(k, "rms_norm_eps", f->eps, &a->eps));
    a->norm_plus_one = f->plus_one;
    a->embed_scale = f->scaled_embedding ? sqrt((double)a->hidden) : 1.0;
    return qep_key_bool(k, "tie_word_embeddings", f->tied, &a->tied);
}

/* A cap that the family can have: the key, null for none; the default when it is absent. */
static qep_status parse_cap(const qep_keys *k, const char *key, double usual, double *out)
{
    *out = qep_json_get(k->object, key) ? 0.0 : usual;
    return qep_key(k, key) ? qep_key_positive(k, key, usual, out) : QEP_OK;
}

/* attn_logit_softcapping of other families is left aside, as Gemma-3's is by transformers 5. */
static qep_status parse_caps(const qep_keys *k, const qep_family *f, qep_arch *a)
{
    if (f->score_cap > 0.0) QEP_TRY(parse_cap(k, "attn_logit_softcapping", f->score_cap, &a->score_cap));
    if (f->caps_logits) return parse_cap(k, "final_logit_softcapping", f->logit_cap, &a->logit_cap);
    if (!qep_key(k, "final_logit_softcapping")) return QEP_OK;
    return qep_fail(QEP_E_INPUT, "%s: key \"final_logit_softcapping\": a %s model has no cap on its logits; take the key out or make it null",
                    k->source, f->model_type);
}

static qep_status parse_scores(const qep_keys *k, const qep_family *f, qep_arch *a)
{
    double scalar = (double)a->head_dim;
    if (f->query_scalar > 0.0) QEP_TRY(qep_key_positive(k, "query_pre_attn_scalar", f->query_scalar, &scalar));
    a->score_scale = 1.0 / sqrt(scalar);
    return parse_caps(k, f, a);
}

static void set_norms(const qep_family *f, qep_arch *a)
{
    for (int n = 0; n < QEP_NORM_Q; n++) a->norms[n] = (qep_norm_shape){f->norms[n], a->hidden};
    if (f->qk_norm == QEP_QK_NORM_NONE) return;
    const bool all = f->qk_norm == QEP_QK_NORM_ALL;
    a->norms[QEP_NORM_Q] = (qep_norm_shape){"self_attn.q_norm", all ? a->n_heads * a->head_dim : a->head_dim};
    a->norms[QEP_NORM_K] = (qep_norm_shape){"self_attn.k_norm", all ? a->n_kv_heads * a->head_dim : a->head_dim};
}

/* One linear per role, or one for all roles of a group. */
static void set_linears(const qep_family *f, bool attention_bias, bool mlp_bias, qep_arch *a)
{
    const int64_t wide = a->n_heads * a->head_dim, kv = a->n_kv_heads * a->head_dim;
    const int64_t rows[QEP_N_ROLES] = {wide, kv, kv, a->hidden, a->inter, a->inter, a->hidden};
    for (int r = 0; r < QEP_N_ROLES; r++) {
        const int g = roles[r].group;
        const bool bias = g >= 2 ? mlp_bias : attention_bias || (g == 0 && f->qkv_bias);
        const bool join = f->fused && stacked[g] && a->group_count[g] > 0;
        if (!join) {
            if (a->group_count[g]++ == 0) a->group_first[g] = a->n_linears;
            a->linears[a->n_linears++] = (qep_linear_shape){.name = f->fused && stacked[g] ? stacked[g] : roles[r].name,
                                                            .group = g,
                                                            .cols = qep_group_cols(a, g),
                                                            .bias = bias};
        }
        qep_linear_shape *l = &a->linears[a->n_linears - 1];
        a->parts[r] = (qep_role_rows){a->n_linears - 1, l->rows, rows[r]};
        l->rows += rows[r];
    }
}

static qep_status parse_linears(const qep_keys *k, const qep_family *f, qep_arch *a)
{
    bool attention_bias = false, mlp_bias = false;
    if (f->attention_bias) QEP_TRY(qep_key_bool(k, "attention_bias", false, &attention_bias));
    if (f->mlp_bias) QEP_TRY(qep_key_bool(k, "mlp_bias", false, &mlp_bias));
    set_linears(f, attention_bias, mlp_bias, a);
    return QEP_OK;
}

qep_status qep_arch_parse(const qep_json *config, const char *source, qep_arch *out)
{
    *out = (qep_arch){.family = NULL};
    if (qep_json_type(config) != QEP_JSON_OBJECT)
        return qep_fail(QEP_E_INPUT, "%s: a model's configuration must be a JSON object", source);
    const qep_keys k = {.object = config, .source = source, .prefix = ""};
    const qep_family *f;
    QEP_TRY(refuse_multimodal(&k));
    QEP_TRY(qep_family_find(&k, &f));
    QEP_TRY(parse_act(&k, f, &out->act));
    QEP_TRY(parse_dtype(&k, &out->dtype));
    QEP_TRY(parse_shape(&k, f, out));
    QEP_TRY(parse_scores(&k, f, out));
    QEP_TRY(qep_arch_parse_experts(&k, f, out));
    QEP_TRY(qep_arch_parse_window(&k, f, out));
    QEP_TRY(qep_arch_parse_rope(&k, f, out));
    QEP_TRY(parse_linears(&k, f, out));
    set_norms(f, out);
    out->family = f->model_type;
    return QEP_OK;
}

bool qep_group_adds(const qep_arch *a, int64_t block, int g)
{
    if (g == 1) return !a->norms[QEP_NORM_ATTN_OUT].name;
    return g == 3 && !a->norms[QEP_NORM_MLP_OUT].name && !qep_arch_sparse(a, block);
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
