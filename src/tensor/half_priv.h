/* Bits of f32 and the rounding to bf16, inlined into scalar and array conversions.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_HALF_PRIV_H
#define QEP_HALF_PRIV_H

#include <string.h>

#include "qep/tensor.h"

static inline uint32_t qep_bits_of_f32(float v)
{
    uint32_t b;
    memcpy(&b, &v, sizeof b);
    return b;
}

static inline float qep_f32_of_bits(uint32_t b)
{
    float v;
    memcpy(&v, &b, sizeof v);
    return v;
}

/* bf16 is the upper half of f32: add half a step less one, plus one for odd results, and cut.
 * A NaN keeps its upper payload and is made quiet, lest the cut turn it into Inf. */
static inline uint16_t qep_bf16_round(uint32_t bits)
{
    uint32_t upper = bits >> 16;
    uint32_t rounded = (bits + 0x7FFFu + (upper & 1u)) >> 16;
    return (uint16_t)((bits & 0x7FFFFFFFu) > 0x7F800000u ? upper | 0x40u : rounded);
}

#endif
