/* Typed access to the keys of config.json. Transformers writes null for "not set", so null counts
 * as absent.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model_priv.h"

#include <inttypes.h>
#include <math.h>

const qep_json *qep_key(const qep_keys *k, const char *key)
{
    const qep_json *j = k->object ? qep_json_get(k->object, key) : NULL;
    return j && qep_json_type(j) != QEP_JSON_NULL ? j : NULL;
}

static qep_status missing(const qep_keys *k, const char *key)
{
    return qep_fail(QEP_E_INPUT,
                    "%s: key \"%s%s\" is missing; without it the model's shape is not known",
                    k->source, k->prefix, key);
}

static qep_status wrong_type(const qep_keys *k, const char *key, const char *wanted)
{
    return qep_fail(QEP_E_INPUT, "%s: key \"%s%s\" must be %s", k->source, k->prefix, key, wanted);
}

static qep_status whole_number(const qep_keys *k, const char *key, int64_t min, int64_t max,
                               int64_t *out)
{
    const qep_json *j = qep_key(k, key);
    if (qep_json_type(j) != QEP_JSON_INT) return wrong_type(k, key, "a whole number");
    *out = qep_json_int(j);
    if (*out >= min && *out <= max) return QEP_OK;
    return qep_fail(QEP_E_INPUT,
                    "%s: key \"%s%s\" is %" PRId64 "; it must lie in %" PRId64 "..%" PRId64,
                    k->source, k->prefix, key, *out, min, max);
}

qep_status qep_key_size(const qep_keys *k, const char *key, int64_t max, int64_t fallback,
                        int64_t *out)
{
    *out = fallback;
    if (!qep_key(k, key)) return fallback > 0 ? QEP_OK : missing(k, key);
    return whole_number(k, key, 1, max, out);
}

qep_status qep_key_count(const qep_keys *k, const char *key, int64_t max, int64_t fallback,
                         int64_t *out)
{
    *out = fallback;
    return qep_key(k, key) ? whole_number(k, key, 0, max, out) : QEP_OK;
}

qep_status qep_key_positive(const qep_keys *k, const char *key, double fallback, double *out)
{
    const qep_json *j = qep_key(k, key);
    *out = fallback;
    if (!j) return fallback > 0.0 ? QEP_OK : missing(k, key);
    if (!qep_json_is_number(j)) return wrong_type(k, key, "a number");
    *out = qep_json_real(j);
    if (*out > 0.0 && isfinite(*out)) return QEP_OK;
    return qep_fail(QEP_E_INPUT, "%s: key \"%s%s\" is %g; it must be greater than 0", k->source,
                    k->prefix, key, *out);
}

qep_status qep_key_bool(const qep_keys *k, const char *key, bool fallback, bool *out)
{
    const qep_json *j = qep_key(k, key);
    *out = fallback;
    if (!j) return QEP_OK;
    if (qep_json_type(j) != QEP_JSON_BOOL) return wrong_type(k, key, "true or false");
    *out = qep_json_bool(j);
    return QEP_OK;
}

qep_status qep_key_string(const qep_keys *k, const char *key, const char *fallback,
                          const char **out)
{
    const qep_json *j = qep_key(k, key);
    *out = fallback;
    if (!j) return fallback ? QEP_OK : missing(k, key);
    if (qep_json_type(j) != QEP_JSON_STRING) return wrong_type(k, key, "a string");
    *out = qep_json_string(j);
    return QEP_OK;
}

qep_status qep_key_object(const qep_keys *k, const char *key, const qep_json **out)
{
    *out = qep_key(k, key);
    if (*out && qep_json_type(*out) != QEP_JSON_OBJECT) return wrong_type(k, key, "an object");
    return QEP_OK;
}
