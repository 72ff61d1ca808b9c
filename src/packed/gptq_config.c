/* quantization_config of the gptq format: settings of all modules, and rules ("dynamic") for some. SPDX-License-Identifier: Apache-2.0 */
#include "gptq_priv.h"

#include <string.h>

struct qep_gptq_rule {
    qep_packed_pattern *pattern; /* owned */
    bool without; /* "-:": not quantized */
    qep_gptq_settings own;
};

static qep_status check(const qep_packed *p, const char *where, const qep_gptq_settings *s)
{
    if (s->bits != 2 && s->bits != 3 && s->bits != 4 && s->bits != 8)
        return qep_fail(QEP_E_INPUT, "%s: %s: bits = %lld is not 2, 3, 4 or 8", p->source, where,
                        (long long)s->bits);
    if (s->group_size != -1 && s->group_size < 1)
        return qep_fail(QEP_E_INPUT, "%s: %s: group_size = %lld is neither -1 nor positive",
                        p->source, where, (long long)s->group_size);
    return QEP_OK;
}

static qep_status read_version(const qep_packed *p, qep_gptq_config *c)
{
    const qep_json *key = qep_json_get(p->quantization, "checkpoint_format");
    const char *text = key ? qep_json_string(key) : "gptq"; /* early programs leave it out */

    c->zero_offset = text && strcmp(text, "gptq") == 0;
    if (c->zero_offset || (text && strcmp(text, "gptq_v2") == 0))
        return QEP_OK;
    return qep_fail(QEP_E_INPUT, "%s: quantization_config: checkpoint_format \"%s\" cannot be "
                    "read; supported: gptq, gptq_v2", p->source, text ? text : "");
}

static qep_status read_base(const qep_packed *p, qep_gptq_config *c)
{
    const qep_json *q = p->quantization;

    QEP_TRY(qep_packed_int(p, q, "bits", &c->base.bits));
    QEP_TRY(qep_packed_int(p, q, "group_size", &c->base.group_size));
    QEP_TRY(qep_packed_bool(p, q, "sym", &c->base.sym));
    QEP_TRY(qep_packed_bool(p, q, "desc_act", &c->base.desc_act));
    if (qep_json_get(q, "lm_head")) /* early programs leave it out */
        QEP_TRY(qep_packed_bool(p, q, "lm_head", &c->lm_head));
    return check(p, "quantization_config", &c->base);
}

static qep_status read_rule(const qep_packed *p, const char *key, const qep_json *o,
                            qep_gptq_rule *r)
{
    if (qep_json_get(o, "bits"))
        QEP_TRY(qep_packed_int(p, o, "bits", &r->own.bits));
    if (qep_json_get(o, "group_size"))
        QEP_TRY(qep_packed_int(p, o, "group_size", &r->own.group_size));
    if (qep_json_get(o, "sym"))
        QEP_TRY(qep_packed_bool(p, o, "sym", &r->own.sym));
    if (qep_json_get(o, "desc_act"))
        QEP_TRY(qep_packed_bool(p, o, "desc_act", &r->own.desc_act));
    return check(p, key, &r->own);
}

static qep_status read_rules(const qep_packed *p, qep_gptq_config *c)
{
    const qep_json *dynamic = qep_json_get(p->quantization, "dynamic");
    const char *key;
    qep_json *value;

    if (!dynamic || qep_json_type(dynamic) == QEP_JSON_NULL)
        return QEP_OK;
    if (qep_json_type(dynamic) != QEP_JSON_OBJECT)
        return qep_packed_bad_key(p, "dynamic", "an object");
    c->rules = qep_alloc("packed.rules", qep_json_size(dynamic), sizeof *c->rules);
    for (void *it = NULL; (it = qep_json_next(dynamic, it, &key, &value)) != NULL;) {
        qep_gptq_rule *r = &c->rules[c->n_rules];

        r->without = strncmp(key, "-:", 2) == 0;
        r->own = c->base;
        key += r->without || strncmp(key, "+:", 2) == 0 ? 2 : 0;
        c->n_rules++;
        QEP_TRY(qep_packed_pattern_open(p, "dynamic", key, &r->pattern));
        if (!r->without)
            QEP_TRY(read_rule(p, key, value, r));
    }
    return QEP_OK;
}

qep_status qep_gptq_config_read(const qep_packed *p, qep_gptq_config **out)
{
    *out = qep_alloc("packed.rules", 1, sizeof **out);
    QEP_TRY(read_version(p, *out));
    QEP_TRY(read_base(p, *out));
    return read_rules(p, *out);
}

void qep_gptq_config_free(qep_gptq_config *c)
{
    for (int64_t i = 0; c && i < c->n_rules; i++)
        qep_packed_pattern_close(c->rules[i].pattern);
    if (c)
        qep_free(c->rules);
    qep_free(c);
}

qep_status qep_gptq_settings_of(const qep_gptq_config *c, const char *module, qep_gptq_settings *s,
                                bool *yes)
{
    *s = c->base;
    *yes = strcmp(module, "lm_head") != 0 || c->lm_head;
    for (int64_t i = 0; i < c->n_rules; i++) {
        const qep_gptq_rule *r = &c->rules[i];
        bool matches;

        QEP_TRY(qep_packed_pattern_match(r->pattern, module, &matches));
        if (!matches)
            continue;
        *s = r->own;
        *yes = !r->without;
        break;
    }
    return QEP_OK;
}
