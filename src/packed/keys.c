/* Members of quantization_config. SPDX-License-Identifier: Apache-2.0 */
#include "packed_priv.h"

qep_status qep_packed_bad_key(const qep_packed *p, const char *key, const char *want)
{
    return qep_fail(QEP_E_INPUT, "%s: quantization_config: \"%s\" is missing or not %s", p->source,
                    key, want);
}

qep_status qep_packed_int(const qep_packed *p, const qep_json *o, const char *key, int64_t *v)
{
    const qep_json *j = qep_json_get(o, key);

    if (!j || qep_json_type(j) != QEP_JSON_INT)
        return qep_packed_bad_key(p, key, "an integer");
    *v = qep_json_int(j);
    return QEP_OK;
}

qep_status qep_packed_bool(const qep_packed *p, const qep_json *o, const char *key, bool *v)
{
    const qep_json *j = qep_json_get(o, key);

    if (!j || qep_json_type(j) != QEP_JSON_BOOL)
        return qep_packed_bad_key(p, key, "true or false");
    *v = qep_json_bool(j);
    return QEP_OK;
}
