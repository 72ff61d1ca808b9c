/* What a linear's settings ask for, and their translation for the quantizer.
 * SPDX-License-Identifier: Apache-2.0 */
#include "qep/layer.h"

#include <string.h>

static bool corrected(const qep_linear_config *s)
{
    return strcmp(s->method, "none") != 0 && strcmp(s->correction, "qep") == 0 && s->alpha > 0;
}

bool qep_layer_needs_h(const qep_linear_config *s)
{
    return strcmp(s->method, "gptq") == 0 || corrected(s);
}

bool qep_layer_needs_c(const qep_linear_config *s)
{
    return corrected(s);
}

qep_qspec qep_layer_spec(const qep_linear_config *s, int zero_min)
{
    static const char *const methods[] = {"none", "rtn", "gptq"};
    static const char *const clips[] = {"none", "mse", "hessian"};
    qep_qspec q = {.bits = (int)s->bits,
                   .group_size = s->group_size,
                   .symmetric = s->symmetric,
                   .act_order = s->act_order,
                   .static_groups = s->static_groups,
                   .block_size = s->block_size,
                   .zero_min = s->symmetric ? 0 : zero_min};
    for (int i = 0; i < 3; i++) {
        if (strcmp(s->method, methods[i]) == 0) q.method = (qep_method)i;
        if (strcmp(s->clip, clips[i]) == 0) q.clip = (qep_clip)i;
    }
    return q;
}
