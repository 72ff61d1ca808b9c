/* linalg: panels of double. SPDX-License-Identifier: Apache-2.0 */
#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define QEP_PANEL_X86 1
#define VECTOR_256 __m256d
#define LOAD_256 _mm256_loadu_pd
#define STORE_256 _mm256_storeu_pd
#define SET_256 _mm256_set1_pd
#define MUL_256 _mm256_mul_pd
#define FMA_256 _mm256_fmadd_pd
#define VECTOR_512 __m512d
#define LOAD_512 _mm512_loadu_pd
#define STORE_512 _mm512_storeu_pd
#define SET_512 _mm512_set1_pd
#define MUL_512 _mm512_mul_pd
#define FMA_512 _mm512_fmadd_pd
#endif
#define FMA_PLAIN fma
#define REAL double
#define NAME(x) qep_panel_##x##_f64
#include "panel_body.h"
