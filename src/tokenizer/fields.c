/* Members of tokenizer.json with messages that name file and place. SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "tokenizer_priv.h"

/* Longer paths are cut off at the end. */
static void append(qep_tok_place *p, const char *text)
{
    const size_t used = strlen(p->path), n = strlen(text), room = sizeof p->path - 1 - used;
    memcpy(p->path + used, text, n < room ? n : room);
}

qep_tok_place qep_tok_member(const qep_tok_place *at, const char *key)
{
    qep_tok_place p = *at;
    if (*p.path) append(&p, ".");
    append(&p, key);
    return p;
}

qep_tok_place qep_tok_item(const qep_tok_place *at, int64_t i)
{
    qep_tok_place p = *at;
    char text[32];
    snprintf(text, sizeof text, "[%" PRId64 "]", i);
    append(&p, text);
    return p;
}

qep_status qep_tok_bad_at(const char *file, int line, const qep_tok_place *at, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return qep_fail_at(file, line, QEP_E_INPUT, "%s: %s%s%s", at->source, at->path, *at->path ? ": " : "", text);
}

static const char *kind_name(qep_json_kind k)
{
    static const char *const names[] = {"null", "a boolean", "an integer", "a real number", "a string", "an array", "an object"};
    return names[k];
}

/* The member, NULL when absent or null. */
static qep_status member(const qep_json *o, const qep_tok_place *at, const char *key, bool required, qep_json_kind kind,
                         const qep_json **out)
{
    const qep_tok_place here = qep_tok_member(at, key);
    const qep_json *v = qep_json_get(o, key);
    *out = NULL;
    if (!v || qep_json_type(v) == QEP_JSON_NULL) {
        return required ? qep_tok_bad(&here, "missing; expected %s", kind_name(kind)) : QEP_OK;
    }
    if (qep_json_type(v) != kind) {
        return qep_tok_bad(&here, "expected %s, found %s", kind_name(kind), kind_name(qep_json_type(v)));
    }
    *out = v;
    return QEP_OK;
}

qep_status qep_tok_get_object(const qep_json *o, const qep_tok_place *at, const char *key, bool required, const qep_json **out)
{
    return member(o, at, key, required, QEP_JSON_OBJECT, out);
}

qep_status qep_tok_get_array(const qep_json *o, const qep_tok_place *at, const char *key, bool required, const qep_json **out)
{
    return member(o, at, key, required, QEP_JSON_ARRAY, out);
}

qep_status qep_tok_get_string(const qep_json *o, const qep_tok_place *at, const char *key, bool required, const char **out)
{
    const qep_json *v;
    QEP_TRY(member(o, at, key, required, QEP_JSON_STRING, &v));
    if (v) *out = qep_json_string(v);
    return QEP_OK;
}

qep_status qep_tok_get_bool(const qep_json *o, const qep_tok_place *at, const char *key, bool required, bool *out)
{
    const qep_json *v;
    QEP_TRY(member(o, at, key, required, QEP_JSON_BOOL, &v));
    if (v) *out = qep_json_bool(v);
    return QEP_OK;
}

qep_status qep_tok_get_id(const qep_json *j, const qep_tok_place *at, int32_t *id)
{
    if (!j) return qep_tok_bad(at, "missing; expected a token id");
    if (qep_json_type(j) != QEP_JSON_INT) return qep_tok_bad(at, "expected a token id, found %s", kind_name(qep_json_type(j)));
    const int64_t v = qep_json_int(j);
    if (v < 0 || v > QEP_TOK_MAX_ID) {
        return qep_tok_bad(at, "token id %" PRId64 " lies outside [0, %d]", v, (int)QEP_TOK_MAX_ID);
    }
    *id = (int32_t)v;
    return QEP_OK;
}

qep_status qep_tok_get_type(const qep_json *o, const qep_tok_place *at, int depth, const char **type)
{
    if (depth > 8) return qep_tok_bad(at, "sequences within sequences, too deep");
    if (qep_json_type(o) != QEP_JSON_OBJECT) return qep_tok_bad(at, "expected an object, found %s", kind_name(qep_json_type(o)));
    return qep_tok_get_string(o, at, "type", true, type);
}
