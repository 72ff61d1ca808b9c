/* Private to nn: exp that the compiler vectorizes. SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_NN_PRIV_H
#define QEP_NN_PRIV_H

#include <string.h>

#include "qep/nn.h"

/* Lanes of sums: the loop's order of additions, whatever the width of the vectors. */
#define QEP_LANES 16

/* Vectors for comparisons, which the compiler leaves scalar because of NaN; read at any address. */
#define QEP_VEC 8
typedef float qep_f32_vec __attribute__((vector_size(4 * QEP_VEC), aligned(4), may_alias));
typedef int32_t qep_i32_vec __attribute__((vector_size(4 * QEP_VEC)));
#define QEP_VEC_AT(p) (*(const qep_f32_vec *)(p))
/* a > b ? a : b in each place; a macro: a function would change its ABI with the CPU. */
#define QEP_VEC_MAX(a, b)                                                                          \
    (qep_f32_vec)((((a) > (b)) & (qep_i32_vec)(a)) | (~((a) > (b)) & (qep_i32_vec)(b)))

/* Largest of n >= 1 numbers; with a NaN among them it may be any of them. */
static inline float qep_largest(const float *x, int64_t n)
{
    float top = x[0];
    int64_t i = 0;
    if (n >= 2 * QEP_VEC) {
        qep_f32_vec even = QEP_VEC_AT(x), odd = QEP_VEC_AT(x + QEP_VEC);
        for (i = 2 * QEP_VEC; i + 2 * QEP_VEC <= n; i += 2 * QEP_VEC) {
            even = QEP_VEC_MAX(QEP_VEC_AT(x + i), even);
            odd = QEP_VEC_MAX(QEP_VEC_AT(x + i + QEP_VEC), odd);
        }
        for (int j = 0; j < QEP_VEC; j++) {
            float lane = odd[j] > even[j] ? odd[j] : even[j];
            top = lane > top ? lane : top;
        }
    }
    for (; i < n; i++)
        top = x[i] > top ? x[i] : top;
    return top;
}

/* exp(x) for x <= 0, relative error below 2e-7; 0 below ln 2^-126; NaN stays NaN.
 * exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln 2 / 2: n comes from adding 1.5 * 2^23, which
 * leaves it in the low bits; ln 2 is split so that n * hi is exact. exp(r) = 1 + r + r^2 q(r) with
 * q of degree 4 fitted for the least largest relative error (3.1e-9). */
static inline __attribute__((always_inline)) float qep_exp_neg(float x)
{
    const float lowest = -87.33654F, shift = 12582912.0F;
    float c = x < lowest ? lowest : x;
    float s = __builtin_fmaf(c, 1.44269504F, shift);
    float n = s - shift;
    float r = __builtin_fmaf(n, -0.693359375F, c);
    r = __builtin_fmaf(n, 2.12194440e-4F, r);
    float q = __builtin_fmaf(1.38144556e-3F, r, 8.36878549e-3F);
    q = __builtin_fmaf(q, r, 4.16683964e-2F);
    q = __builtin_fmaf(q, r, 1.66665196e-1F);
    q = __builtin_fmaf(q, r, 4.99999940e-1F);
    float p = __builtin_fmaf(q, r * r, r) + 1.0F;
    uint32_t bits;
    memcpy(&bits, &s, sizeof bits);
    bits = (bits + 127U) << 23; /* the 1.5 * 2^23 leaves at the top */
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return x < lowest ? 0.0F : p * scale;
}

/* tanh, absolute error below 2e-7: (1 - e) / (1 + e) with e = exp(-2 |x|); its odd series up to x^7 near 0, where 1 - e cancels. */
static inline __attribute__((always_inline)) float qep_tanh(float x)
{
    float e = qep_exp_neg(-2.0F * __builtin_fabsf(x)), y = (1.0F - e) / (1.0F + e), s = x * x;
    float p = __builtin_fmaf(s, -5.3968254e-2F, 1.3333334e-1F);
    p = __builtin_fmaf(s, p, -3.3333334e-1F);
    p = __builtin_fmaf(x * s, p, x);
    return __builtin_fabsf(x) < 0.125F ? p : x < 0.0F ? -y : y;
}

/* cap * tanh(x / cap) of n values. */
void qep_cap_row(float *x, int64_t n, float cap);

#endif
