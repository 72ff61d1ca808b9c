/* JSON in: parsing and access. SPDX-License-Identifier: Apache-2.0 */
#include "json_priv.h"

#include <math.h>
#include <string.h>

/* Windows editors put this in front of UTF-8 text; no JSON parser wants it. */
static const char byte_order_mark[] = "\xEF\xBB\xBF";

static qep_status parse(const char *text, int64_t bytes, const char *source, qep_status st, size_t flags,
                        qep_json **out)
{
    *out = NULL;
    QEP_REQUIRE(bytes >= 0);
    size_t n = (size_t)bytes;
    if (n >= 3 && memcmp(text, byte_order_mark, 3) == 0) {
        text += 3;
        n -= 3;
    }
    json_error_t err;
    json_t *j = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | flags, &err);
    if (!j) {
        return qep_fail(st, "%s: line %d, column %d: %s", source, err.line, err.column, err.text);
    }
    *out = qep_json_wrap(j);
    return QEP_OK;
}

qep_status qep_json_parse(const char *text, int64_t bytes, const char *source, qep_status st,
                          qep_json **out)
{
    return parse(text, bytes, source, st, 0, out);
}

qep_status qep_json_parse_reals(const char *text, int64_t bytes, const char *source, qep_status st,
                                qep_json **out)
{
    return parse(text, bytes, source, st, JSON_DECODE_INT_AS_REAL, out);
}

qep_status qep_json_load(const char *path, qep_status st, qep_json **out)
{
    *out = NULL;
    char *text;
    int64_t bytes;
    QEP_TRY(qep_file_read(path, INT64_MAX, st, &text, &bytes));
    st = qep_json_parse(text, bytes, path, st, out);
    qep_free(text);
    return st;
}

void qep_json_free(qep_json **j)
{
    json_decref(qep_json_raw(*j));
    *j = NULL;
}

qep_json_kind qep_json_type(const qep_json *j)
{
    if (j == NULL) return QEP_JSON_NULL;
    switch (json_typeof(qep_json_raw_const(j))) {
    case JSON_TRUE:
    case JSON_FALSE: return QEP_JSON_BOOL;
    case JSON_INTEGER: return QEP_JSON_INT;
    case JSON_REAL: return QEP_JSON_REAL;
    case JSON_STRING: return QEP_JSON_STRING;
    case JSON_ARRAY: return QEP_JSON_ARRAY;
    case JSON_OBJECT: return QEP_JSON_OBJECT;
    default: return QEP_JSON_NULL;
    }
}

bool qep_json_is_number(const qep_json *j)
{
    return json_is_number(qep_json_raw_const(j));
}

int64_t qep_json_int(const qep_json *j)
{
    const json_t *r = qep_json_raw_const(j);
    if (!json_is_real(r)) return json_integer_value(r);
    double v = json_real_value(r);
    if (v >= 0x1p63) return INT64_MAX;
    if (v < -0x1p63) return INT64_MIN;
    return (int64_t)v;
}

double qep_json_real(const qep_json *j)
{
    return json_number_value(qep_json_raw_const(j));
}

bool qep_json_bool(const qep_json *j)
{
    return json_is_true(qep_json_raw_const(j));
}

const char *qep_json_string(const qep_json *j)
{
    return json_string_value(qep_json_raw_const(j));
}

int64_t qep_json_size(const qep_json *j)
{
    const json_t *r = qep_json_raw_const(j);
    return (int64_t)(json_is_array(r) ? json_array_size(r) : json_object_size(r));
}

qep_json *qep_json_at(const qep_json *array, int64_t i)
{
    return i < 0 ? NULL : qep_json_wrap(json_array_get(qep_json_raw_const(array), (size_t)i));
}

qep_json *qep_json_get(const qep_json *object, const char *key)
{
    return qep_json_wrap(json_object_get(qep_json_raw_const(object), key));
}

void *qep_json_next(const qep_json *object, void *it, const char **key, qep_json **value)
{
    /* jansson's iterators want a mutable object though they do not change it */
    json_t *o = (json_t *)(uintptr_t)object;
    void *next = it ? json_object_iter_next(o, it) : json_object_iter(o);
    if (!next) return NULL;
    *key = json_object_iter_key(next);
    *value = qep_json_wrap(json_object_iter_value(next));
    return next;
}
