/* f16 and bf16 scalars in integer arithmetic: round to nearest even, NaNs quieted with the top of
 * their payload, exactly like the conversion instructions of the CPU.
 * SPDX-License-Identifier: Apache-2.0 */
#include "half_priv.h"

#include <math.h>

float qep_bf16_to_f32(uint16_t v)
{
    return qep_f32_of_bits((uint32_t)v << 16);
}

uint16_t qep_f32_to_bf16(float v)
{
    return qep_bf16_round(qep_bits_of_f32(v));
}

/* f16: sign 1, exponent 5 (bias 15), mantissa 10. */
float qep_f16_to_f32(uint16_t v)
{
    uint32_t sign = (uint32_t)(v & 0x8000u) << 16;
    uint32_t exponent = (v >> 10) & 0x1Fu;
    uint32_t mantissa = v & 0x3FFu;
    if (exponent == 0x1F) {
        uint32_t quiet = mantissa ? 0x400000u : 0u;
        return qep_f32_of_bits(sign | 0x7F800000u | quiet | mantissa << 13);
    }
    if (exponent == 0) { /* zero or subnormal: mantissa units of 2^-24, exact in f32 */
        float magnitude = (float)mantissa * 0x1p-24f;
        return qep_f32_of_bits(sign | qep_bits_of_f32(magnitude));
    }
    return qep_f32_of_bits(sign | (exponent + 112u) << 23 | mantissa << 13);
}

/* v / 2^shift, ties to even; 1 <= shift <= 31. */
static uint32_t shift_round_even(uint32_t v, uint32_t shift)
{
    uint32_t odd = (v >> shift) & 1u;
    return (v + (UINT32_C(1) << (shift - 1)) - 1u + odd) >> shift;
}

uint16_t qep_f32_to_f16(float v)
{
    uint32_t bits = qep_bits_of_f32(v);
    uint32_t sign = (bits >> 16) & 0x8000u;
    uint32_t magnitude = bits & 0x7FFFFFFFu;
    uint32_t half;
    if (magnitude > 0x7F800000u) {
        half = 0x7E00u | ((magnitude >> 13) & 0x3FFu);
    } else if (magnitude >= 0x477FF000u) { /* 65520 = 65504 + half a step and above: Inf */
        half = 0x7C00u;
    } else if (magnitude >= 0x38800000u) { /* 2^-14: normal; a carry raises the exponent */
        half = shift_round_even(magnitude - (112u << 23), 13);
    } else if (magnitude > 0x33000000u) { /* above 2^-25: subnormal, in units of 2^-24 */
        uint32_t mantissa = (magnitude & 0x7FFFFFu) | 0x800000u;
        half = shift_round_even(mantissa, 126u - (magnitude >> 23));
    } else {
        half = 0;
    }
    return (uint16_t)(sign | half);
}

float qep_f16_scale(float v)
{
    if (isnan(v)) return v;
    if (!(v > 0x1p-14f)) return 0x1p-14f;
    if (v > 65504.0f) return 65504.0f;
    return qep_f16_to_f32(qep_f32_to_f16(v));
}
