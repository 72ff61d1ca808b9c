/* quant, private: the one rounding, and the grids of whole rows, shared by the row kernels.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_QUANT_PRIV_H
#define QEP_QUANT_PRIV_H

#include "qep/quant.h"

#include <math.h>

/* Widths of codes that all formats can pack, for qep_method.bits. */
#define QEP_BITS_PACKED (1u << 2 | 1u << 3 | 1u << 4 | 1u << 8)

/* Largest code; 255 at most. */
static inline int qep_max_code(int bits)
{
    return (1 << bits) - 1;
}

/* clamp(rint(w / scale) + zero, 0, max_code) as an exact integer in f32. rintf rounds half to
 * even in the default rounding mode. The comparisons send NaN to 0, so that the conversion to an
 * integer is always defined. */
static inline float qep_code_f32(float w, float scale, float zero, float max_code)
{
    float c = rintf(w / scale) + zero;
    c = c > 0.0f ? c : 0.0f;
    return c < max_code ? c : max_code;
}

/* Width of one group in columns: the group size, or all columns. */
static inline int64_t qep_group_cols(const qep_qspec *s, int64_t cols)
{
    return s->group_size > 0 ? s->group_size : cols;
}

/* True when a group takes its grid inside the GPTQ loop, from columns that earlier blocks have
 * changed. */
static inline bool qep_groups_dynamic(const qep_qspec *s)
{
    return s->group_size > 0 && !s->static_groups;
}

/* A scale as the result holds it: rounded to f16 unless the published codes are followed. */
static inline float qep_stored_scale(const qep_qspec *s, float v)
{
    return s->exact_scales ? v : qep_f16_scale(v);
}

#endif
