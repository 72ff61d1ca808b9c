/* What a linear's settings ask for, and their translation for the quantizer.
 * SPDX-License-Identifier: Apache-2.0 */
#include "qep/layer.h"

#include <string.h>

bool qep_layer_corrects(const qep_linear_config *s)
{
    return qep_method_find(s->method)->drive != QEP_DRIVE_NONE && strcmp(s->correction, "qep") == 0 && (s->alpha != 0 || s->residual > 0);
}

unsigned qep_layer_needs(const qep_linear_config *s)
{
    return qep_method_needs(qep_method_find(s->method), &s->options) | (qep_layer_corrects(s) ? QEP_NEEDS_H | QEP_NEEDS_C : 0u);
}

bool qep_layer_needs_h(const qep_linear_config *s)
{
    return (qep_layer_needs(s) & QEP_NEEDS_H) != 0;
}

bool qep_layer_needs_c(const qep_linear_config *s)
{
    return (qep_layer_needs(s) & QEP_NEEDS_C) != 0;
}

bool qep_layer_same(const qep_linear_config *a, const qep_qspec *x, const qep_linear_config *b, const qep_qspec *y)
{
    bool corrected = qep_layer_corrects(a);
    if (x->method->drive == QEP_DRIVE_ROTATED) return false; /* each has transforms of its own */
    if (!qep_qspec_same(x, y) || a->damping != b->damping || corrected != qep_layer_corrects(b)) return false;
    if (qep_method_reads(x->method, "sweeps") && (a->refit != b->refit || a->sweeps != b->sweeps)) return false;
    return !corrected || (a->alpha == b->alpha && a->correction_damping == b->correction_damping && a->residual == b->residual);
}

bool qep_layer_needs_gamma(const qep_linear_config *s)
{
    return qep_layer_corrects(s) && s->residual > 0;
}

bool qep_layer_fits(const qep_linear_config *s)
{
    return qep_layer_corrects(s) && s->alpha == QEP_ALPHA_AUTO;
}

bool qep_layer_rounds(const qep_qspec *spec, qep_dtype published)
{
    return spec->paper && published == QEP_BF16;
}

qep_qspec qep_layer_spec(const qep_linear_config *s, int zero_min)
{
    static const char *const clips[] = {[QEP_CLIP_NONE] = "none", [QEP_CLIP_MSE] = "mse", [QEP_CLIP_HESSIAN] = "hessian"};
    qep_qspec q = {.method = qep_method_find(s->method),
                   .bits = (int)s->bits,
                   .group_size = s->group_size,
                   .symmetric = s->symmetric,
                   .act_order = s->act_order,
                   .static_groups = s->static_groups,
                   .block_size = s->block_size,
                   .zero_min = s->symmetric ? 0 : zero_min,
                   .clip_steps = s->clip_steps,
                   .free_range = strcmp(s->grid, "free") == 0,
                   .signed_grid = strcmp(s->grid, "signed") == 0,
                   .options = s->options};
    for (int i = 0; i < 3; i++)
        if (strcmp(s->clip, clips[i]) == 0 || (strcmp(s->clip, "auto") == 0 && q.method->clips >> i & 1)) q.clip = (qep_clip)i;
    return q;
}
