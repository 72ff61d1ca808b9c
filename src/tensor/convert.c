/* Conversions of arrays to and from f32. Sources and destinations may lie at any byte (tensors in
 * files do), so elements are moved by memcpy; the compiler turns that into vector loads.
 * SPDX-License-Identifier: Apache-2.0 */
#include "half_priv.h"

#ifdef __F16C__
#include <immintrin.h>
#endif

static void bf16_to_f32(float *dst, const char *src, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, src + 2 * i, sizeof h);
        dst[i] = qep_f32_of_bits((uint32_t)h << 16);
    }
}

static void bf16_from_f32(char *dst, const float *src, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        uint16_t h = qep_bf16_round(qep_bits_of_f32(src[i]));
        memcpy(dst + 2 * i, &h, sizeof h);
    }
}

static void f16_to_f32(float *dst, const char *src, int64_t n)
{
    int64_t i = 0;
#ifdef __F16C__
    for (; i + 8 <= n; i += 8) {
        __m128i h;
        memcpy(&h, src + 2 * i, sizeof h);
        _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(h));
    }
#endif
    for (; i < n; i++) {
        uint16_t h;
        memcpy(&h, src + 2 * i, sizeof h);
        dst[i] = qep_f16_to_f32(h);
    }
}

static void f16_from_f32(char *dst, const float *src, int64_t n)
{
    int64_t i = 0;
#ifdef __F16C__
    for (; i + 8 <= n; i += 8) {
        __m128i h = _mm256_cvtps_ph(_mm256_loadu_ps(src + i),
                                    _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        memcpy(dst + 2 * i, &h, sizeof h);
    }
#endif
    for (; i < n; i++) {
        uint16_t h = qep_f32_to_f16(src[i]);
        memcpy(dst + 2 * i, &h, sizeof h);
    }
}

static void f64_to_f32(float *dst, const char *src, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        double v;
        memcpy(&v, src + 8 * i, sizeof v);
        dst[i] = (float)v;
    }
}

static void f64_from_f32(char *dst, const float *src, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        double v = (double)src[i];
        memcpy(dst + 8 * i, &v, sizeof v);
    }
}

void qep_to_f32(float *dst, const void *src, qep_dtype type, int64_t n)
{
    if (n == 0) return;
    switch (type) {
    case QEP_BF16: bf16_to_f32(dst, src, n); return;
    case QEP_F16: f16_to_f32(dst, src, n); return;
    case QEP_F32: memmove(dst, src, (size_t)n * sizeof *dst); return;
    case QEP_F64: f64_to_f32(dst, src, n); return;
    default: QEP_BUG("%s cannot be converted to f32", qep_dtype_name(type));
    }
}

void qep_from_f32(void *dst, qep_dtype type, const float *src, int64_t n)
{
    if (n == 0) return;
    switch (type) {
    case QEP_BF16: bf16_from_f32(dst, src, n); return;
    case QEP_F16: f16_from_f32(dst, src, n); return;
    case QEP_F32: memmove(dst, src, (size_t)n * sizeof *src); return;
    case QEP_F64: f64_from_f32(dst, src, n); return;
    default: QEP_BUG("f32 cannot be converted to %s", qep_dtype_name(type));
    }
}

void qep_round_bf16(float *dst, const float *src, int64_t n)
{
    for (int64_t i = 0; i < n; i++) dst[i] = qep_f32_of_bits((uint32_t)qep_bf16_round(qep_bits_of_f32(src[i])) << 16);
}

/* All exponent bits set. */
static inline bool not_finite(float v)
{
    return (qep_bits_of_f32(v) & 0x7F800000u) == 0x7F800000u;
}

int64_t qep_find_nonfinite_f32(const float *x, int64_t n)
{
    const int64_t block = 1024;
    for (int64_t b = 0; b < n; b += block) {
        int64_t end = qep_min_i64(b + block, n);
        unsigned bad = 0; /* no early exit inside a block: the loop becomes vector code */
        for (int64_t i = b; i < end; i++) bad |= (unsigned)not_finite(x[i]);
        for (int64_t i = b; bad && i < end; i++) {
            if (not_finite(x[i])) return i;
        }
    }
    return -1;
}
