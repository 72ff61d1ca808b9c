/* JSON out: building values and their text. SPDX-License-Identifier: Apache-2.0 */
#include "base_priv.h"
#include "json_priv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static qep_json *made(json_t *j)
{
    if (!j) {
        qep_last_words("qep_mpi: rank %d: out of memory while building JSON", qep_message_rank());
        qep_end_job(qep_status_exit_code(QEP_E_RESOURCE));
    }
    return qep_json_wrap(j);
}

qep_json *qep_json_new_object(void)
{
    return made(json_object());
}

qep_json *qep_json_new_array(void)
{
    return made(json_array());
}

qep_json *qep_json_new_int(int64_t v)
{
    return made(json_integer(v));
}

qep_json *qep_json_new_real(double v)
{
    return made(isfinite(v) ? json_real(v) : json_null());
}

qep_json *qep_json_new_bool(bool v)
{
    return made(json_boolean(v));
}

qep_json *qep_json_new_null(void)
{
    return made(json_null());
}

bool qep_json_is_text(const char *s)
{
    json_t *j = json_string(s);
    json_decref(j);
    return j != NULL;
}

/* A path or message that is not UTF-8 is still worth writing: its bytes above ASCII become '?'. */
qep_json *qep_json_new_string(const char *utf8)
{
    json_t *j = json_string(utf8);
    if (j) return qep_json_wrap(j);
    char *ascii = qep_strdup("base.json", utf8);
    for (char *p = ascii; *p; p++) {
        if ((unsigned char)*p >= 0x80) *p = '?';
    }
    j = json_string(ascii);
    qep_free(ascii);
    return made(j);
}

qep_json *qep_json_copy(const qep_json *j)
{
    return made(json_deep_copy(qep_json_raw_const(j)));
}

void qep_json_set(qep_json *object, const char *key, qep_json *value)
{
    if (json_object_set_new(qep_json_raw(object), key, qep_json_raw(value)) != 0) {
        QEP_BUG("JSON member \"%s\" cannot be set: no object, no value or a key not in UTF-8", key);
    }
}

void qep_json_remove(qep_json *object, const char *key)
{
    (void)json_object_del(qep_json_raw(object), key);
}

void qep_json_append(qep_json *array, qep_json *value)
{
    if (json_array_append_new(qep_json_raw(array), qep_json_raw(value)) != 0) {
        QEP_BUG("a JSON value cannot be appended: no array or no value");
    }
}

/* Length of the number token that starts at p; *real: it has a fraction or an exponent. */
static size_t number_length(const char *p, bool *real)
{
    size_t n = strspn(p, "+-.eE0123456789");
    *real = strcspn(p, ".eE") < n;
    return n;
}

/* Writes the shortest of 15, 16 or 17 digits that brings v back; returns the length. Always with a fraction or an exponent,
 * so that it reads back as a real. */
static size_t put_shortest(char *out, size_t cap, double v)
{
    int n = 0;
    for (int digits = 15; digits <= 17; digits++) {
        n = snprintf(out, cap, "%.*g", digits, v);
        if (strtod(out, NULL) == v) break;
    }
    if (!strpbrk(out, ".e")) n += snprintf(out + n, cap - (size_t)n, ".0");
    return (size_t)n;
}

/* Copies JSON text with its reals (written with 17 digits) in shortest form. out has room for twice the text: a
 * number grows by at most one character (1e22 becomes 1e+22). */
static void shorten_reals(char *out, const char *text)
{
    bool in_string = false, real;
    for (const char *p = text; *p;) {
        if (in_string || !(*p == '-' || (*p >= '0' && *p <= '9'))) {
            if (*p == '"') in_string = !in_string;
            if (in_string && *p == '\\') *out++ = *p++;
            *out++ = *p++;
            continue;
        }
        size_t n = number_length(p, &real);
        if (real) {
            char number[40];
            size_t m = put_shortest(number, sizeof number, strtod(p, NULL));
            memcpy(out, number, m);
            out += m;
        } else {
            memcpy(out, p, n);
            out += n;
        }
        p += n;
    }
    *out = '\0';
}

char *qep_json_text(const qep_json *j, bool pretty)
{
    /* 17 significant digits bring every double back exactly */
    size_t flags = JSON_ENCODE_ANY | JSON_REAL_PRECISION(17);
    flags |= pretty ? JSON_INDENT(2) : JSON_COMPACT;
    char *text = json_dumps(qep_json_raw_const(j), flags);
    if (!text) QEP_BUG("a JSON value has no text: it is NULL or contains itself");
    char *copy = qep_alloc("base.json", 2 * (int64_t)strlen(text) + 1, 1);
    shorten_reals(copy, text);
    free(text);
    return copy;
}
