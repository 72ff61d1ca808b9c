/* config.json of the output: the source's object, member by member, and for packed formats the object
 * quantization_config, which quantize_config.json repeats for older loaders of gptq.
 * SPDX-License-Identifier: Apache-2.0 */
#include "export_priv.h"

#include <string.h>

bool qep_head_quantized(const qep_export_request *rq)
{
    bool head = false;

    for (int64_t i = 0; i < rq->n_linears; i++)
        head = head || (rq->linears[i].quantized && strcmp(rq->linears[i].module, "lm_head") == 0);
    return head;
}

/* Module of a weight matrix of the source that is no embedding; NULL: none. qep_free. */
static char *matrix_module(const qep_st_tensor *t)
{
    size_t n = strlen(t->name), tail = strlen(".weight");
    char *module;

    if (t->rank != 2 || !qep_ends_with(t->name, ".weight") || strstr(t->name, "embed"))
        return NULL;
    module = qep_strdup("export.name", t->name);
    module[n - tail] = '\0';
    return module;
}

static bool is_quantized(const qep_export_request *rq, const char *module)
{
    for (int64_t i = 0; i < rq->n_linears; i++)
        if (strcmp(rq->linears[i].module, module) == 0)
            return rq->linears[i].quantized;
    return false;
}

qep_json *qep_unquantized_modules(const qep_export_request *rq)
{
    qep_json *names = qep_json_new_array();

    for (int64_t k = 0; k < qep_st_count(rq->files); k++) {
        char *module = matrix_module(qep_st_at(rq->files, k));

        if (module && strcmp(module, "lm_head") != 0 && !is_quantized(rq, module))
            qep_json_append(names, qep_json_new_string(module));
        qep_free(module);
    }
    if (!qep_head_quantized(rq)) /* a tied one has no tensor of its own */
        qep_json_append(names, qep_json_new_string("lm_head"));
    return names;
}

static qep_status add_meta(const qep_export_request *rq, const qep_export *e, qep_json *q)
{
    qep_json *meta = NULL;

    if (!rq->meta_json || !e->format->has_meta)
        return QEP_OK;
    QEP_TRY(qep_json_parse(rq->meta_json, (int64_t)strlen(rq->meta_json), "quantization meta",
                           QEP_E_INTERNAL, &meta));
    qep_json_set(q, "meta", meta);
    return QEP_OK;
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
    if (e->head_untied)
        qep_json_set(root, "tie_word_embeddings", qep_json_new_bool(false));
    if (e->format->config) {
        q = e->format->config(rq);
        qep_json_set(root, "quantization_config", q);
        QEP_GO(st, add_meta(rq, e, q));
        if (e->format->config_alone)
            e->quantize_text = qep_json_text(q, true);
    }
    e->config_text = e->format->config || e->head_untied
                         ? qep_json_text(root, true)
                         : qep_strdup("export.config", rq->config_text);

done:
    qep_json_free(&root);
    qep_free(source);
    return st;
}
