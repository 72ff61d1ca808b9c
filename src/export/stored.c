/* What the config.json of a finished output says. SPDX-License-Identifier: Apache-2.0 */
#include "export_priv.h"

#include <regex.h>
#include <string.h>

static qep_status bad_key(const qep_stored_config *c, const char *key, const char *want)
{
    return qep_fail(QEP_E_INPUT, "%s: quantization_config: \"%s\" is missing or not %s", c->path,
                    key, want);
}

static qep_status read_int(const qep_stored_config *c, const qep_json *o, const char *key,
                           int64_t *v)
{
    const qep_json *j = qep_json_get(o, key);

    if (!j || qep_json_type(j) != QEP_JSON_INT)
        return bad_key(c, key, "an integer");
    *v = qep_json_int(j);
    return QEP_OK;
}

static qep_status read_bool(const qep_stored_config *c, const qep_json *o, const char *key, bool *v)
{
    const qep_json *j = qep_json_get(o, key);

    if (!j || qep_json_type(j) != QEP_JSON_BOOL)
        return bad_key(c, key, "true or false");
    *v = qep_json_bool(j);
    return QEP_OK;
}

static bool text_is(const qep_json *o, const char *key, const char *want)
{
    const char *text = qep_json_string(qep_json_get(o, key));

    return text && strcmp(text, want) == 0;
}

static qep_status check_settings(const qep_stored_config *c, const char *where,
                                 const qep_settings *s)
{
    if (s->bits != 2 && s->bits != 3 && s->bits != 4 && s->bits != 8)
        return qep_fail(QEP_E_INPUT, "%s: %s: bits = %lld is not 2, 3, 4 or 8", c->path, where,
                        (long long)s->bits);
    if (s->group_size != -1 && s->group_size < 1)
        return qep_fail(QEP_E_INPUT, "%s: %s: group_size = %lld is neither -1 nor positive",
                        c->path, where, (long long)s->group_size);
    return QEP_OK;
}

static qep_status parse_quantization(qep_stored_config *c)
{
    const qep_json *q = c->quantization;

    if (!text_is(q, "quant_method", "gptq") || !text_is(q, "checkpoint_format", "gptq"))
        return qep_fail(QEP_E_INPUT, "%s: quantization_config: quant_method and checkpoint_format "
                        "must both be \"gptq\"", c->path);
    QEP_TRY(read_int(c, q, "bits", &c->base.bits));
    QEP_TRY(read_int(c, q, "group_size", &c->base.group_size));
    QEP_TRY(read_bool(c, q, "sym", &c->base.sym));
    QEP_TRY(read_bool(c, q, "desc_act", &c->base.desc_act));
    QEP_TRY(read_bool(c, q, "lm_head", &c->lm_head));
    QEP_TRY(check_settings(c, "quantization_config", &c->base));
    c->dynamic = qep_json_get(q, "dynamic");
    if (c->dynamic && qep_json_type(c->dynamic) != QEP_JSON_OBJECT)
        return bad_key(c, "dynamic", "an object");
    return QEP_OK;
}

qep_status qep_stored_parse(const char *path, const char *text, int64_t bytes,
                            qep_stored_config *out)
{
    const qep_json *blocks;

    *out = (qep_stored_config){.path = qep_strdup("export.check", path)};
    QEP_TRY(qep_json_parse(text, bytes, path, QEP_E_INPUT, &out->root));
    blocks = qep_json_get(out->root, "num_hidden_layers");
    out->n_blocks = blocks ? qep_json_int(blocks) : 0;
    if (!blocks || qep_json_type(blocks) != QEP_JSON_INT || out->n_blocks < 0)
        return qep_fail(QEP_E_INPUT, "%s: \"num_hidden_layers\" is missing or not a number", path);
    out->tied = qep_json_bool(qep_json_get(out->root, "tie_word_embeddings"));
    out->quantization = qep_json_get(out->root, "quantization_config");
    return out->quantization ? parse_quantization(out) : QEP_OK;
}

void qep_stored_free(qep_stored_config *c)
{
    qep_json_free(&c->root);
    qep_free(c->path);
    *c = (qep_stored_config){0};
}

/* Python's re.match: the pattern holds from the first character on. */
static qep_status matches(const qep_stored_config *c, const char *pattern, const char *module,
                          bool *yes)
{
    regex_t re;
    regmatch_t at[1];

    if (regcomp(&re, pattern, REG_EXTENDED) != 0)
        return qep_fail(QEP_E_INPUT, "%s: quantization_config: dynamic: \"%s\" is not a regular "
                        "expression", c->path, pattern);
    *yes = regexec(&re, module, 1, at, 0) == 0 && at[0].rm_so == 0;
    regfree(&re);
    return QEP_OK;
}

static qep_status apply(const qep_stored_config *c, const char *key, const qep_json *o,
                        qep_settings *s)
{
    if (qep_json_get(o, "bits"))
        QEP_TRY(read_int(c, o, "bits", &s->bits));
    if (qep_json_get(o, "group_size"))
        QEP_TRY(read_int(c, o, "group_size", &s->group_size));
    if (qep_json_get(o, "sym"))
        QEP_TRY(read_bool(c, o, "sym", &s->sym));
    if (qep_json_get(o, "desc_act"))
        QEP_TRY(read_bool(c, o, "desc_act", &s->desc_act));
    return check_settings(c, key, s);
}

qep_status qep_stored_settings(const qep_stored_config *c, const char *module, qep_settings *s,
                               bool *quantized)
{
    const char *key;
    qep_json *value;

    *s = c->base;
    *quantized = strcmp(module, "lm_head") != 0 || c->lm_head;
    if (!c->dynamic)
        return QEP_OK;
    for (void *it = NULL; (it = qep_json_next(c->dynamic, it, &key, &value)) != NULL;) {
        bool without = strncmp(key, "-:", 2) == 0, yes = false;
        const char *pattern = without || strncmp(key, "+:", 2) == 0 ? key + 2 : key;

        QEP_TRY(matches(c, pattern, module, &yes));
        if (!yes)
            continue;
        if (without)
            *quantized = false;
        return without ? QEP_OK : apply(c, key, value, s);
    }
    return QEP_OK;
}
