/* JSON out: building values and their text. SPDX-License-Identifier: Apache-2.0 */
#include "base_priv.h"
#include "json_priv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static qep_json *made(json_t *j)
{
    if (!j) {
        fprintf(stderr, "qep_mpi: rank %d: out of memory while building JSON\n",
                qep_message_rank());
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

char *qep_json_text(const qep_json *j, bool pretty)
{
    /* 17 significant digits bring every double back exactly */
    size_t flags = JSON_ENCODE_ANY | JSON_REAL_PRECISION(17);
    flags |= pretty ? JSON_INDENT(2) : JSON_COMPACT;
    char *text = json_dumps(qep_json_raw_const(j), flags);
    if (!text) QEP_BUG("a JSON value has no text: it is NULL or contains itself");
    char *copy = qep_strdup("base.json", text);
    free(text);
    return copy;
}
