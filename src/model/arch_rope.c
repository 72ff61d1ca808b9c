/* Rotary embedding of config.json in both spellings (formats.md 2.1, 2.7): transformers 5 writes
 * one object rope_parameters with rope_theta inside, for Gemma-3 one such object per kind of block;
 * version 4 writes rope_theta beside an object rope_scaling, whose type key is rope_type or, in
 * older files, type.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model_priv.h"

#include <math.h>
#include <string.h>

static const int64_t max_context = INT64_C(1) << 40;
static const double e = 2.718281828459045;

static const struct {
    const char *name;
    qep_rope_type type;
} types[] = {{"default", QEP_ROPE_DEFAULT}, {"linear", QEP_ROPE_LINEAR}, {"llama3", QEP_ROPE_LLAMA3},
             {"dynamic", QEP_ROPE_DYNAMIC}, {"yarn", QEP_ROPE_YARN},     {"longrope", QEP_ROPE_LONGROPE}};

/* Where one embedding's keys stand: those at the top of the file, and those of its object. */
typedef struct rope_keys {
    const qep_keys *top;
    qep_keys own;
    const qep_family *family;
    const qep_arch *arch; /* head_dim, max_position */
} rope_keys;

static qep_status parse_type(const rope_keys *k, qep_rope_type *out)
{
    const char *name, *key = qep_key(&k->own, "rope_type") ? "rope_type" : "type";
    QEP_TRY(qep_key_string(&k->own, key, "default", &name));
    /* old Phi-3 files: "su", later "yarn", for what is longrope now */
    if (k->family->partial_rope && (strcmp(name, "su") == 0 || strcmp(name, "yarn") == 0)) name = "longrope";
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (strcmp(types[i].name, name) == 0) {
            *out = types[i].type;
            return QEP_OK;
        }
    }
    return qep_fail(QEP_E_INPUT,
                    "%s: key \"%s%s\" is \"%s\"; supported are default, linear, dynamic, llama3, yarn and longrope",
                    k->own.source, k->own.prefix, key, name);
}

/* Rotated channels of a head. */
static qep_status parse_dim(const rope_keys *k, int64_t *out)
{
    static const char key[] = "partial_rotary_factor";
    double part;
    QEP_TRY(qep_key_positive(k->top, key, 1.0, &part));
    QEP_TRY(qep_key_positive(&k->own, key, part, &part));
    if (part > 1.0 || (part < 1.0 && !k->family->partial_rope))
        return qep_fail(QEP_E_INPUT, "%s: key \"%s%s\" is %g; for %s models only 1 is supported", k->top->source,
                        qep_key(&k->own, key) ? k->own.prefix : "", key, part, k->family->model_type);
    *out = (int64_t)((double)k->arch->head_dim * part);
    if (*out >= 2 && *out % 2 == 0 && *out <= 2 * QEP_ROPE_MAX_PAIRS) return QEP_OK;
    return qep_fail(QEP_E_INPUT, "%s: %lld channels of a head would rotate; supported are even numbers up to %d", k->top->source,
                    (long long)*out, 2 * QEP_ROPE_MAX_PAIRS);
}

/* The context that scaling starts from: beside the object (which counts when both are there, as in transformers), or inside; fallback 0: required. */
static qep_status parse_original(const rope_keys *k, int64_t fallback, int64_t *out)
{
    static const char key[] = "original_max_position_embeddings";
    const bool beside = qep_key(k->top, key) != NULL;
    return qep_key_size(beside ? k->top : &k->own, key, max_context, fallback, out);
}

static qep_status parse_llama3(const rope_keys *k, qep_rope *out)
{
    QEP_TRY(qep_key_positive(&k->own, "low_freq_factor", 0.0, &out->low_freq_factor));
    QEP_TRY(qep_key_positive(&k->own, "high_freq_factor", 0.0, &out->high_freq_factor));
    if (out->high_freq_factor <= out->low_freq_factor)
        return qep_fail(
            QEP_E_INPUT,
            "%s: key \"%shigh_freq_factor\" (%g) must be greater than low_freq_factor (%g)",
            k->own.source, k->own.prefix, out->high_freq_factor, out->low_freq_factor);
    return parse_original(k, 0, &out->original_max_position);
}

/* 0.1 m ln(factor) + 1 (arXiv 2309.00071, Eq. 22; m from DeepSeek's configurations). */
static double yarn_size(double factor, double m)
{
    return factor <= 1.0 ? 1.0 : 0.1 * m * log(factor) + 1.0;
}

static qep_status parse_yarn(const rope_keys *k, qep_rope *out)
{
    double m = 1.0, m_all = 1.0;
    QEP_TRY(parse_original(k, k->arch->max_position, &out->original_max_position));
    const double ratio = (double)k->arch->max_position / (double)out->original_max_position;
    QEP_TRY(qep_key_positive(&k->own, "factor", ratio, &out->factor));
    QEP_TRY(qep_key_positive(&k->own, "beta_fast", 32.0, &out->beta_fast));
    QEP_TRY(qep_key_positive(&k->own, "beta_slow", 1.0, &out->beta_slow));
    QEP_TRY(qep_key_bool(&k->own, "truncate", true, &out->truncate));
    const bool both = qep_key(&k->own, "mscale") && qep_key(&k->own, "mscale_all_dim");
    if (both) QEP_TRY(qep_key_positive(&k->own, "mscale", 1.0, &m));
    if (both) QEP_TRY(qep_key_positive(&k->own, "mscale_all_dim", 1.0, &m_all));
    const double size = both ? yarn_size(out->factor, m) / yarn_size(out->factor, m_all) : yarn_size(out->factor, 1.0);
    return qep_key_positive(&k->own, "attention_factor", size, &out->attention_factor);
}

static qep_status parse_divisors(const rope_keys *k, const char *key, int64_t pairs, float *out)
{
    const qep_json *list = qep_key(&k->own, key);
    const bool fits = list && qep_json_type(list) == QEP_JSON_ARRAY && qep_json_size(list) == pairs;
    for (int64_t i = 0; fits && i < pairs; i++) {
        const qep_json *v = qep_json_at(list, i);
        out[i] = qep_json_is_number(v) ? (float)qep_json_real(v) : 0.0F;
        if (!(out[i] > 0.0F) || isinf(out[i]))
            return qep_fail(QEP_E_INPUT, "%s: key \"%s%s\": every entry must be a number greater than 0", k->own.source, k->own.prefix, key);
    }
    if (fits) return QEP_OK;
    return qep_fail(QEP_E_INPUT, "%s: key \"%s%s\" must be a list of %lld numbers, one for each pair of rotated channels", k->own.source,
                    k->own.prefix, key, (long long)pairs);
}

static qep_status parse_longrope(const rope_keys *k, qep_rope *out)
{
    double size = 1.0;
    QEP_TRY(parse_original(k, k->arch->max_position, &out->original_max_position));
    const double original = (double)out->original_max_position;
    QEP_TRY(qep_key_positive(&k->own, "factor", (double)k->arch->max_position / original, &out->factor));
    if (out->factor > 1.0) size = sqrt(1.0 + log(out->factor) / log(fmax(original, e)));
    QEP_TRY(qep_key_positive(&k->own, "attention_factor", size, &out->attention_factor));
    QEP_TRY(parse_divisors(k, "short_factor", out->dim / 2, out->divisor[0]));
    return parse_divisors(k, "long_factor", out->dim / 2, out->divisor[1]);
}

static qep_status parse_dynamic(const rope_keys *k, qep_rope *out)
{
    out->original_max_position = k->arch->max_position;
    if (out->dim > 2) return qep_key_positive(&k->own, "factor", 0.0, &out->factor);
    return qep_fail(QEP_E_INPUT, "%s: key \"%srope_type\": dynamic needs more than 2 rotated channels", k->own.source, k->own.prefix);
}

/* theta: what holds when the object does not name one. */
static qep_status parse_one(const rope_keys *k, double theta, qep_rope *out)
{
    *out = (qep_rope){.theta = theta, .factor = 1.0};
    QEP_TRY(parse_dim(k, &out->dim));
    QEP_TRY(qep_key_positive(&k->own, "rope_theta", theta, &out->theta));
    QEP_TRY(parse_type(k, &out->type));
    switch (out->type) {
    case QEP_ROPE_DEFAULT: return QEP_OK;
    case QEP_ROPE_DYNAMIC: return parse_dynamic(k, out);
    case QEP_ROPE_YARN: return parse_yarn(k, out);
    case QEP_ROPE_LONGROPE: return parse_longrope(k, out);
    default: QEP_TRY(qep_key_positive(&k->own, "factor", 0.0, &out->factor));
    }
    return out->type == QEP_ROPE_LLAMA3 ? parse_llama3(k, out) : QEP_OK;
}

/* Objects by kind of block, where the family has two embeddings; inner is left as it is when there are none. */
static qep_status by_kind(const rope_keys *k, const char *kind, const char *prefix, rope_keys *inner)
{
    const qep_json *object;
    QEP_TRY(qep_key_object(&k->own, kind, &object));
    if (!object) return QEP_OK;
    if (k->family->theta_local <= 0.0)
        return qep_fail(QEP_E_INPUT,
                        "%s: key \"%s%s\": a rotary embedding that differs from layer to layer is not supported for %s models",
                        k->own.source, k->own.prefix, kind, k->family->model_type);
    inner->own.object = object;
    inner->own.prefix = prefix;
    return QEP_OK;
}

qep_status qep_arch_parse_rope(const qep_keys *top, const qep_family *f, qep_arch *a)
{
    double theta, theta_local;
    rope_keys k = {.top = top, .family = f, .arch = a};
    k.own = (qep_keys){.source = top->source, .prefix = "rope_parameters."};
    QEP_TRY(qep_key_object(top, "rope_parameters", &k.own.object));
    if (!k.own.object) {
        k.own.prefix = "rope_scaling.";
        QEP_TRY(qep_key_object(top, "rope_scaling", &k.own.object));
    }
    rope_keys full = k, sliding = k;
    sliding.own.object = NULL; /* the old spelling scales full blocks only */
    QEP_TRY(by_kind(&k, "full_attention", "rope_parameters.full_attention.", &full));
    QEP_TRY(by_kind(&k, "sliding_attention", "rope_parameters.sliding_attention.", &sliding));
    QEP_TRY(qep_key_positive(top, "rope_theta", f->theta, &theta));
    QEP_TRY(parse_one(&full, theta, &a->rope));
    a->two_ropes = f->theta_local > 0.0;
    if (!a->two_ropes) return QEP_OK;
    QEP_TRY(qep_key_positive(top, "rope_local_base_freq", f->theta_local, &theta_local));
    return parse_one(&sliding, theta_local, &a->rope_local);
}
