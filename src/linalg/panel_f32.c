/* linalg: panels of float. SPDX-License-Identifier: Apache-2.0 */
#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define QEP_PANEL_X86 1
#define VECTOR_256 __m256
#define LOAD_256 _mm256_loadu_ps
#define STORE_256 _mm256_storeu_ps
#define SET_256 _mm256_set1_ps
#define MUL_256 _mm256_mul_ps
#define FMA_256 _mm256_fmadd_ps
#define VECTOR_512 __m512
#define LOAD_512 _mm512_loadu_ps
#define STORE_512 _mm512_storeu_ps
#define SET_512 _mm512_set1_ps
#define MUL_512 _mm512_mul_ps
#define FMA_512 _mm512_fmadd_ps
#endif
#define FMA_PLAIN fmaf
#define REAL float
#define NAME(x) qep_panel_##x##_f32
#include "panel_body.h"

void qep_panel_pack_woven_f32(float *packed, const float *b, int64_t ldb, int64_t rows, int64_t cols, int64_t which, int64_t of, int part, int parts)
{
    pack_woven_rows(packed, b, ldb, rows, cols, which, of, part, parts);
}

qep_panel_unit qep_panel_best_unit(void)
{
#ifdef QEP_PANEL_X86
    if (__builtin_cpu_supports("avx512f")) return QEP_PANEL_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return QEP_PANEL_AVX2;
#endif
    return QEP_PANEL_PLAIN;
}
