/* config.json of the output: the source's object, member by member, and for gptq the object
 * quantization_config (formats.md 3.6), which quantize_config.json repeats for older loaders.
 * SPDX-License-Identifier: Apache-2.0 */
#include "export_priv.h"

#include <string.h>

/* "+:^model\.layers\.0\.mlp\.down_proj$": matches this module alone. */
static char *module_pattern(const char *sign, const char *module)
{
    size_t cap = 2 * strlen(module) + 8, at = 0;
    char *text = qep_alloc("export.config", (int64_t)cap, 1);

    at = (size_t)snprintf(text, cap, "%s:^", sign);
    for (const char *p = module; *p; p++) {
        if (*p == '.')
            text[at++] = '\\';
        text[at++] = *p;
    }
    text[at] = '$';
    return text;
}

static void add_entry(qep_json *dynamic, const char *sign, const char *module, qep_json *value)
{
    char *key = module_pattern(sign, module);

    qep_json_set(dynamic, key, value);
    qep_free(key);
}

/* What differs from the common settings. */
static qep_json *own_settings(const qep_settings *s, const qep_settings *common, int64_t cols)
{
    qep_json *o = qep_json_new_object();

    if (s->bits != common->bits)
        qep_json_set(o, "bits", qep_json_new_int(s->bits));
    if (qep_settings_width(s, cols) != qep_settings_width(common, cols))
        qep_json_set(o, "group_size", qep_json_new_int(s->group_size));
    if (s->sym != common->sym)
        qep_json_set(o, "sym", qep_json_new_bool(s->sym));
    if (s->desc_act != common->desc_act)
        qep_json_set(o, "desc_act", qep_json_new_bool(s->desc_act));
    return o;
}

/* The first matching pattern holds, so what stays unquantized comes first. */
static qep_json *dynamic_json(const qep_export_request *rq, const qep_settings *common)
{
    qep_json *dynamic = qep_json_new_object();

    for (int64_t i = 0; i < rq->n_linears; i++)
        if (!rq->linears[i].quantized && strcmp(rq->linears[i].module, "lm_head") != 0)
            add_entry(dynamic, "-", rq->linears[i].module, qep_json_new_object());
    for (int64_t i = 0; i < rq->n_linears; i++) {
        const qep_export_linear *l = &rq->linears[i];
        qep_settings s = qep_settings_of(l);

        if (l->quantized && !qep_settings_same(&s, common, l->cols))
            add_entry(dynamic, "+", l->module, own_settings(&s, common, l->cols));
    }
    return dynamic;
}

static bool uses_static_groups(const qep_export_request *rq)
{
    bool used = false;

    for (int64_t i = 0; i < rq->n_linears; i++)
        used = used || (rq->linears[i].quantized && rq->linears[i].spec.static_groups);
    return used;
}

static bool head_quantized(const qep_export_request *rq)
{
    bool head = false;

    for (int64_t i = 0; i < rq->n_linears; i++)
        head = head || (rq->linears[i].quantized && strcmp(rq->linears[i].module, "lm_head") == 0);
    return head;
}

static qep_status add_meta(const qep_export_request *rq, qep_json *q)
{
    qep_json *meta = NULL;

    if (!rq->meta_json)
        return QEP_OK;
    QEP_TRY(qep_json_parse(rq->meta_json, (int64_t)strlen(rq->meta_json), "quantization meta",
                           QEP_E_INTERNAL, &meta));
    qep_json_set(q, "meta", meta);
    return QEP_OK;
}

static qep_status quantization_json(const qep_export_request *rq, qep_json **out)
{
    qep_settings s = qep_settings_common(rq->linears, rq->n_linears);
    qep_json *q = qep_json_new_object(), *dynamic = dynamic_json(rq, &s);
    qep_status st;

    qep_json_set(q, "quant_method", qep_json_new_string("gptq"));
    qep_json_set(q, "checkpoint_format", qep_json_new_string("gptq"));
    qep_json_set(q, "format", qep_json_new_string("gptq"));
    qep_json_set(q, "bits", qep_json_new_int(s.bits));
    qep_json_set(q, "group_size", qep_json_new_int(s.group_size));
    qep_json_set(q, "sym", qep_json_new_bool(s.sym));
    qep_json_set(q, "desc_act", qep_json_new_bool(s.desc_act));
    qep_json_set(q, "static_groups", qep_json_new_bool(uses_static_groups(rq)));
    qep_json_set(q, "true_sequential", qep_json_new_bool(true));
    qep_json_set(q, "damp_percent", qep_json_new_real(rq->damping));
    qep_json_set(q, "lm_head", qep_json_new_bool(head_quantized(rq)));
    qep_json_set(q, "pack_dtype", qep_json_new_string("int32"));
    if (qep_json_size(dynamic) > 0)
        qep_json_set(q, "dynamic", dynamic);
    else
        qep_json_free(&dynamic);
    st = add_meta(rq, q);
    if (st != QEP_OK)
        qep_json_free(&q);
    *out = q;
    return st;
}

qep_status qep_export_make_config(const qep_export_request *rq, qep_export *e)
{
    char *source = qep_path_join(rq->source_dir, QEP_CONFIG_NAME);
    qep_json *root = NULL, *q = NULL;
    qep_status st = QEP_OK;

    QEP_GO(st, qep_json_parse(rq->config_text, (int64_t)strlen(rq->config_text), source,
                              QEP_E_INPUT, &root));
    if (qep_json_type(root) != QEP_JSON_OBJECT) {
        st = qep_fail(QEP_E_INPUT, "%s is not a JSON object", source);
        goto done;
    }
    if (rq->tied_head_quantized)
        qep_json_set(root, "tie_word_embeddings", qep_json_new_bool(false));
    if (e->gptq) {
        QEP_GO(st, quantization_json(rq, &q));
        e->quantize_text = qep_json_text(q, true);
        qep_json_set(root, "quantization_config", q);
    }
    e->config_text = e->gptq || rq->tied_head_quantized
                         ? qep_json_text(root, true)
                         : qep_strdup("export.config", rq->config_text);

done:
    qep_json_free(&root);
    qep_free(source);
    return st;
}
