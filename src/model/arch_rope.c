/* Rotary embedding of config.json in both spellings (formats.md 2.1, 2.7): transformers 5 writes
 * one object rope_parameters with rope_theta inside; version 4 writes rope_theta beside an object
 * rope_scaling, whose type key is rope_type or, in older files, type.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model_priv.h"

#include <string.h>

static const int64_t max_context = INT64_C(1) << 40;

static const struct {
    const char *name;
    qep_rope_type type;
} types[] = {
    {"default", QEP_ROPE_DEFAULT}, {"linear", QEP_ROPE_LINEAR}, {"llama3", QEP_ROPE_LLAMA3}};

static qep_status parse_type(const qep_keys *k, qep_rope_type *out)
{
    const char *name, *key = qep_key(k, "rope_type") ? "rope_type" : "type";
    QEP_TRY(qep_key_string(k, key, "default", &name));
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (strcmp(types[i].name, name) == 0) {
            *out = types[i].type;
            return QEP_OK;
        }
    }
    return qep_fail(QEP_E_INPUT,
                    "%s: key \"%s%s\" is \"%s\"; supported are default, linear and llama3",
                    k->source, k->prefix, key, name);
}

/* All channels of a head rotate, and all layers rotate alike. */
static qep_status refuse_variants(const qep_keys *top, const qep_keys *k)
{
    const qep_keys *places[] = {top, k};
    for (int i = 0; i < 2; i++) {
        double part;
        QEP_TRY(qep_key_positive(places[i], "partial_rotary_factor", 1.0, &part));
        if (part < 1.0 || part > 1.0)
            return qep_fail(QEP_E_INPUT,
                            "%s: key \"%spartial_rotary_factor\" is %g; only 1 is supported",
                            k->source, places[i]->prefix, part);
    }
    static const char *const per_layer[] = {"full_attention", "sliding_attention"};
    for (int i = 0; i < 2; i++) {
        if (qep_key(k, per_layer[i]))
            return qep_fail(QEP_E_INPUT,
                            "%s: key \"%s%s\": a rotary embedding that differs from layer to layer "
                            "is not supported",
                            k->source, k->prefix, per_layer[i]);
    }
    return QEP_OK;
}

static qep_status parse_llama3(const qep_keys *k, qep_rope *out)
{
    QEP_TRY(qep_key_positive(k, "low_freq_factor", 0.0, &out->low_freq_factor));
    QEP_TRY(qep_key_positive(k, "high_freq_factor", 0.0, &out->high_freq_factor));
    if (out->high_freq_factor <= out->low_freq_factor)
        return qep_fail(
            QEP_E_INPUT,
            "%s: key \"%shigh_freq_factor\" (%g) must be greater than low_freq_factor (%g)",
            k->source, k->prefix, out->high_freq_factor, out->low_freq_factor);
    return qep_key_size(k, "original_max_position_embeddings", max_context, 0,
                        &out->original_max_position);
}

qep_status qep_arch_parse_rope(const qep_keys *top, double theta, int64_t head_dim, qep_rope *out)
{
    *out = (qep_rope){.theta = theta, .dim = head_dim, .factor = 1.0};
    qep_keys k = {.source = top->source, .prefix = "rope_parameters."};
    QEP_TRY(qep_key_object(top, "rope_parameters", &k.object));
    if (!k.object) {
        k.prefix = "rope_scaling.";
        QEP_TRY(qep_key_object(top, "rope_scaling", &k.object));
    }
    QEP_TRY(refuse_variants(top, &k));
    QEP_TRY(qep_key_positive(top, "rope_theta", theta, &out->theta));
    QEP_TRY(qep_key_positive(&k, "rope_theta", out->theta, &out->theta));
    QEP_TRY(parse_type(&k, &out->type));
    if (out->type != QEP_ROPE_DEFAULT) QEP_TRY(qep_key_positive(&k, "factor", 0.0, &out->factor));
    if (out->type == QEP_ROPE_LLAMA3) QEP_TRY(parse_llama3(&k, out));
    return QEP_OK;
}
