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

void qep_panel_pack_turned_f64(double *packed, const double *b, int64_t ldb, int64_t rows, int64_t cols, int part, int parts)
{
    int64_t from, to;
    share(cols, part, parts, &from, &to);
#pragma omp parallel for schedule(static)
    for (int64_t j = from; j < to; j += N) {
        const int64_t n = qep_min_i64(N, cols - j);
        for (int64_t i = 0; i < rows; i++)
            for (int64_t l = 0; l < N; l++) packed[j * rows + i * N + l] = l < n ? b[(j + l) * ldb + i] : 0;
    }
}

void qep_panel_add_f64(double *panel, const double *a, int64_t k, const double *b, int64_t rows, int64_t cols)
{
    update(qep_panel_best_unit(), panel, 1.0, a, k, b, 0, rows, cols);
}

void qep_panel_from_some_rows_f64(double *panel, const double *rows, int64_t n, int64_t ld, int64_t cols)
{
    if (n == QEP_PANEL_ROWS) {
        qep_panel_from_rows_f64(panel, rows, ld, cols);
        return;
    }
    for (int64_t c = 0; c < cols; c++)
        for (int64_t r = 0; r < QEP_PANEL_ROWS; r++) panel[c * QEP_PANEL_ROWS + r] = r < n ? rows[r * ld + c] : 0.0;
}
