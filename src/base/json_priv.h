/* qep_json is jansson's json_t under another name. SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_JSON_PRIV_H
#define QEP_JSON_PRIV_H

#include <jansson.h>

#include "qep/json.h"

static inline json_t *qep_json_raw(qep_json *j)
{
    return (json_t *)j;
}

static inline const json_t *qep_json_raw_const(const qep_json *j)
{
    return (const json_t *)j;
}

static inline qep_json *qep_json_wrap(json_t *j)
{
    return (qep_json *)j;
}

#endif
