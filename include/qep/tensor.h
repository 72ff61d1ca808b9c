/* tensor: element types, conversions, random numbers, steps on all threads. Local, no I/O.
 * Shape letters used everywhere: T tokens of a sequence, C channels in (columns of a weight), O channels out (rows),
 * H heads, D head size, G groups along C. Matrices are row-major unless said otherwise; activations are [T, C].
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_TENSOR_H
#define QEP_TENSOR_H

#include "qep/base.h"

/* name as in safetensors, bits per element */
#define QEP_DTYPE_LIST(X)                                                               \
    X(BOOL, 8) X(U8, 8) X(I8, 8) X(F8_E5M2, 8) X(F8_E4M3, 8) X(F8_E8M0, 8)              \
    X(F8_E4M3FNUZ, 8) X(F8_E5M2FNUZ, 8) X(F4, 4) X(F6_E2M3, 6) X(F6_E3M2, 6)            \
    X(I16, 16) X(U16, 16) X(F16, 16) X(BF16, 16) X(I32, 32) X(U32, 32) X(F32, 32)       \
    X(C64, 64) X(F64, 64) X(I64, 64) X(U64, 64)
typedef enum qep_dtype {
#define QEP_X(n, b) QEP_##n,
    QEP_DTYPE_LIST(QEP_X)
#undef QEP_X
    QEP_DTYPE_COUNT
} qep_dtype;

int qep_dtype_bits(qep_dtype t);
int64_t qep_dtype_size(qep_dtype t); /* bytes; 0 for types below a byte */
const char *qep_dtype_name(qep_dtype t);
bool qep_dtype_from_name(const char *name, qep_dtype *out);
bool qep_dtype_is_float(qep_dtype t); /* F16 BF16 F32 F64: convertible to float */

/* Scalar conversions: round to nearest even, NaN stays NaN, overflow of f16 gives Inf (callers check). */
float qep_bf16_to_f32(uint16_t v);
float qep_f16_to_f32(uint16_t v);
uint16_t qep_f32_to_bf16(float v);
uint16_t qep_f32_to_f16(float v);
/* A positive scale as f16 can hold it: rounded; never 0, subnormal or Inf (clamped to [2^-14, 65504]). NaN stays NaN. */
float qep_f16_scale(float v);

/* n elements; type must be a float type. */
void qep_to_f32(float *dst, const void *src, qep_dtype type, int64_t n);
void qep_from_f32(void *dst, qep_dtype type, const float *src, int64_t n);
/* dst[i] = src[i] rounded to bf16; dst may be src. */
void qep_round_bf16(float *dst, const float *src, int64_t n);
/* Index of the first element that is not finite, -1 when all are. */
int64_t qep_find_nonfinite_f32(const float *x, int64_t n);

/* Independent steps on the threads of this process: step(ctx, i, thread) for i = 0 .. n - 1 in any order, thread < qep_each_threads(n, most). The outcome is
 * that of the lowest step that fails, whatever the number of threads; steps behind it may be left out, and that step may be done twice. */
int qep_each_threads(int64_t n, int64_t most); /* 1 .. most; 1 inside of a parallel region */
typedef qep_status (*qep_each_step)(void *ctx, int64_t i, int thread);
QEP_MUST_CHECK qep_status qep_each(int64_t n, int64_t most, qep_each_step step, void *ctx);

/* Random numbers: xoshiro256** seeded by splitmix64. Same on every machine. */
typedef struct qep_rng { uint64_t s[4]; } qep_rng;
void qep_rng_seed(qep_rng *r, uint64_t seed);
uint64_t qep_rng_u64(qep_rng *r);
double qep_rng_uniform(qep_rng *r);          /* [0, 1) */
double qep_rng_normal(qep_rng *r);           /* Box-Muller */

#endif
