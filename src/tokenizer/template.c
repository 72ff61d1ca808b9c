/* Post-processors: what stands in front of and behind a single text. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "tokenizer_priv.h"

void qep_tok_ids_append(qep_tok_ids *list, int32_t id)
{
    list->id = qep_realloc(list->id, "tokenizer.template", list->n + 1, sizeof *list->id);
    list->id[list->n++] = id;
}

/* The ids of a special token of the template, appended. */
static qep_status special_ids(const qep_json *processor, const qep_tok_place *at, const char *name, int64_t size, qep_tok_ids *to)
{
    const qep_json *all, *one, *ids;
    QEP_TRY(qep_tok_get_object(processor, at, "special_tokens", true, &all));
    qep_tok_place here = qep_tok_member(at, "special_tokens");
    QEP_TRY(qep_tok_get_object(all, &here, name, true, &one));
    here = qep_tok_member(&here, name);
    QEP_TRY(qep_tok_get_array(one, &here, "ids", true, &ids));
    here = qep_tok_member(&here, "ids");
    for (int64_t i = 0; i < qep_json_size(ids); i++) {
        const qep_tok_place item = qep_tok_item(&here, i);
        int32_t id;
        QEP_TRY(qep_tok_get_id(qep_json_at(ids, i), &item, &id));
        if (id >= size) return qep_tok_bad(&item, "id %d is no token; ids end at %d", (int)id, (int)size - 1);
        qep_tok_ids_append(to, id);
    }
    return QEP_OK;
}

static qep_status read_template(qep_tokenizer *t, const qep_json *o, const qep_tok_place *at)
{
    const qep_json *single;
    bool seen = false;
    QEP_TRY(qep_tok_get_array(o, at, "single", true, &single));
    const qep_tok_place here = qep_tok_member(at, "single");
    for (int64_t i = 0; i < qep_json_size(single); i++) {
        const qep_tok_place item = qep_tok_item(&here, i);
        const qep_json *piece = qep_json_at(single, i), *part;
        const bool is_text = qep_json_get(piece, "Sequence") != NULL;
        const char *id;
        QEP_TRY(qep_tok_get_object(piece, &item, is_text ? "Sequence" : "SpecialToken", true, &part));
        const qep_tok_place part_at = qep_tok_member(&item, is_text ? "Sequence" : "SpecialToken");
        QEP_TRY(qep_tok_get_string(part, &part_at, "id", true, &id));
        if (!is_text) {
            QEP_TRY(special_ids(o, at, id, t->size, seen ? &t->back : &t->front));
            continue;
        }
        if (seen || strcmp(id, "A") != 0) return qep_tok_bad(&part_at, "a template for a single text names the text \"A\", once");
        seen = true;
    }
    return seen ? QEP_OK : qep_tok_bad(&here, "the template leaves the text out");
}

static qep_status read_processor(qep_tokenizer *t, const qep_json *o, const qep_tok_place *at, int depth)
{
    const char *type;
    QEP_TRY(qep_tok_get_type(o, at, depth, &type));
    if (strcmp(type, "ByteLevel") == 0) return QEP_OK; /* touches offsets only */
    if (strcmp(type, "TemplateProcessing") == 0) {
        if (t->front.n + t->back.n > 0) return qep_tok_bad(at, "a second template");
        return read_template(t, o, at);
    }
    if (strcmp(type, "Sequence") != 0) return qep_tok_bad(at, "the post-processor %.100s is not supported", type);
    const qep_json *list;
    QEP_TRY(qep_tok_get_array(o, at, "processors", true, &list));
    const qep_tok_place here = qep_tok_member(at, "processors");
    for (int64_t i = 0; i < qep_json_size(list); i++) {
        const qep_tok_place item = qep_tok_item(&here, i);
        QEP_TRY(read_processor(t, qep_json_at(list, i), &item, depth + 1));
    }
    return QEP_OK;
}

qep_status qep_tok_template_open(qep_tokenizer *t, const qep_json *root, const qep_tok_place *at)
{
    const qep_json *o;
    QEP_TRY(qep_tok_get_object(root, at, "post_processor", false, &o));
    const qep_tok_place here = qep_tok_member(at, "post_processor");
    if (o) QEP_TRY(read_processor(t, o, &here, 0));
    return QEP_OK;
}

/* --- tokenizer_config.json -------------------------------------------------------------------------------- */

/* "bos_token": a string or an object with "content". A token that is not there counts as none. */
static qep_status named_token(const qep_tokenizer *t, const qep_json *config, const qep_tok_place *at, const char *key, int32_t *id)
{
    const qep_json *v = qep_json_get(config, key);
    const char *name = v ? qep_json_string(v) : NULL;
    if (v && qep_json_type(v) == QEP_JSON_OBJECT) {
        const qep_tok_place here = qep_tok_member(at, key);
        QEP_TRY(qep_tok_get_string(v, &here, "content", true, &name));
    } else if (v && !name && qep_json_type(v) != QEP_JSON_NULL) {
        const qep_tok_place here = qep_tok_member(at, key);
        return qep_tok_bad(&here, "expected a token");
    }
    *id = name ? qep_tokenizer_id(t, name) : -1;
    return QEP_OK;
}

qep_status qep_tok_config_read(qep_tokenizer *t, const qep_json *config, const qep_tok_place *at)
{
    if (qep_json_type(config) != QEP_JSON_OBJECT) return qep_tok_bad(at, "expected an object");
    QEP_TRY(named_token(t, config, at, "bos_token", &t->bos));
    return named_token(t, config, at, "eos_token", &t->eos);
}
