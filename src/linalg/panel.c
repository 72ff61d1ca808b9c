/* linalg: panel[cols, 64] <- keep panel + B^T a, the product behind a block of columns. Every entry is one chain of fused
 * multiply-adds in rising order of the rows of B, so the bits are the same for any blocking, on any vector unit and without one.
 * SPDX-License-Identifier: Apache-2.0 */
#include "linalg_priv.h"

#include <math.h>
#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define QEP_PANEL_X86 1
#endif

enum { N = QEP_PANEL_COLS, CHUNK = 32 /* panels of B that stay in the second-level cache */ };

void qep_panel_pack(float *packed, const float *b, int64_t ldb, int64_t rows, int64_t cols, int part, int parts)
{
    const int64_t panels = qep_ceil_div(cols, N), from = panels * part / parts * N, to = panels * (part + 1) / parts * N;
#pragma omp parallel for schedule(static)
    for (int64_t j = from; j < to; j += N) {
        float *panel = packed + j * rows;
        const int64_t n = qep_min_i64(N, cols - j);
        for (int64_t i = 0; i < rows; i++)
            for (int64_t l = 0; l < N; l++) panel[i * N + l] = l < n ? b[i * ldb + j + l] : 0.0f;
    }
}

enum { TURNED = 16 /* columns turned together: a cache line of a row */ };

void qep_panel_from_rows(float *panel, const float *rows, int64_t ld, int64_t cols)
{
    for (int64_t c0 = 0; c0 < cols; c0 += TURNED)
        for (int64_t r = 0; r < QEP_PANEL_ROWS; r++)
            for (int64_t c = c0; c < qep_min_i64(c0 + TURNED, cols); c++) panel[c * QEP_PANEL_ROWS + r] = rows[r * ld + c];
}

void qep_panel_to_rows(float *rows, int64_t ld, const float *panel, int64_t cols)
{
    for (int64_t c0 = 0; c0 < cols; c0 += TURNED)
        for (int64_t r = 0; r < QEP_PANEL_ROWS; r++)
            for (int64_t c = c0; c < qep_min_i64(c0 + TURNED, cols); c++) rows[r * ld + c] = panel[c * QEP_PANEL_ROWS + r];
}

/* `height` rows of the strip, n <= N columns. b: [k, ..], rows sb apart. */
static void tile_plain(float *c, float keep, const float *a, int64_t k, const float *b, int64_t sb, int64_t n, int height)
{
    for (int64_t j = 0; j < n; j++)
        for (int l = 0; l < height; l++) c[j * QEP_PANEL_ROWS + l] *= keep;
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < n; j++) {
            const float f = b[i * sb + j];
            for (int l = 0; l < height; l++)
                c[j * QEP_PANEL_ROWS + l] = fmaf(a[i * QEP_PANEL_ROWS + l], f, c[j * QEP_PANEL_ROWS + l]);
        }
}

#ifdef QEP_PANEL_X86
/* The next panels: B's packed one (its rows follow at once), the strip's columns. */
static inline void fetch_next(const float *p, int64_t ahead)
{
    _mm_prefetch((const char *)((uintptr_t)p + (uintptr_t)ahead * sizeof *p), _MM_HINT_T0);
}

/* 16 rows x 6 columns: 12 accumulators, 2 vectors of a and a broadcast: 15 of 16 registers. */
__attribute__((target("avx2,fma"))) static void tile_avx2(float *c, float keep, const float *a, int64_t k, const float *b, int64_t sb)
{
    __m256 s[N][2];
    const __m256 f = _mm256_set1_ps(keep);
#pragma GCC unroll 6
    for (int j = 0; j < N; j++) {
        fetch_next(c, (N + j) * QEP_PANEL_ROWS);
        s[j][0] = _mm256_mul_ps(f, _mm256_loadu_ps(c + j * QEP_PANEL_ROWS));
        s[j][1] = _mm256_mul_ps(f, _mm256_loadu_ps(c + j * QEP_PANEL_ROWS + 8));
    }
    for (int64_t i = 0; i < k; i++, a += QEP_PANEL_ROWS, b += sb) {
        fetch_next(b, sb * k);
        const __m256 a0 = _mm256_loadu_ps(a), a1 = _mm256_loadu_ps(a + 8);
#pragma GCC unroll 6
        for (int j = 0; j < N; j++) {
            const __m256 e = _mm256_broadcast_ss(b + j);
            s[j][0] = _mm256_fmadd_ps(a0, e, s[j][0]);
            s[j][1] = _mm256_fmadd_ps(a1, e, s[j][1]);
        }
    }
#pragma GCC unroll 6
    for (int j = 0; j < N; j++) {
        _mm256_storeu_ps(c + j * QEP_PANEL_ROWS, s[j][0]);
        _mm256_storeu_ps(c + j * QEP_PANEL_ROWS + 8, s[j][1]);
    }
}

/* 64 rows x 6 columns: 24 accumulators. */
__attribute__((target("avx512f"))) static void tile_avx512(float *c, float keep, const float *a, int64_t k, const float *b, int64_t sb)
{
    __m512 s[N][4];
    const __m512 f = _mm512_set1_ps(keep);
#pragma GCC unroll 6
    for (int j = 0; j < N; j++)
#pragma GCC unroll 4
        for (int l = 0; l < 4; l++) {
            fetch_next(c, (N + j) * QEP_PANEL_ROWS + 16 * l);
            s[j][l] = _mm512_mul_ps(f, _mm512_loadu_ps(c + j * QEP_PANEL_ROWS + 16 * l));
        }
    for (int64_t i = 0; i < k; i++, a += QEP_PANEL_ROWS, b += sb) {
        __m512 x[4];
        fetch_next(b, sb * k);
#pragma GCC unroll 4
        for (int l = 0; l < 4; l++) x[l] = _mm512_loadu_ps(a + 16 * l);
#pragma GCC unroll 6
        for (int j = 0; j < N; j++) {
            const __m512 e = _mm512_set1_ps(b[j]);
#pragma GCC unroll 4
            for (int l = 0; l < 4; l++) s[j][l] = _mm512_fmadd_ps(x[l], e, s[j][l]);
        }
    }
#pragma GCC unroll 6
    for (int j = 0; j < N; j++)
#pragma GCC unroll 4
        for (int l = 0; l < 4; l++) _mm512_storeu_ps(c + j * QEP_PANEL_ROWS + 16 * l, s[j][l]);
}
#endif

qep_panel_unit qep_panel_best_unit(void)
{
#ifdef QEP_PANEL_X86
    if (__builtin_cpu_supports("avx512f")) return QEP_PANEL_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return QEP_PANEL_AVX2;
#endif
    return QEP_PANEL_PLAIN;
}

static void tile(qep_panel_unit unit, float *c, float keep, const float *a, int64_t k, const float *b, int64_t sb, int64_t n, int height)
{
#ifdef QEP_PANEL_X86
    if (n == N && unit == QEP_PANEL_AVX512) {
        tile_avx512(c, keep, a, k, b, sb);
        return;
    }
    if (n == N && unit == QEP_PANEL_AVX2) {
        tile_avx2(c, keep, a, k, b, sb);
        return;
    }
#endif
    (void)unit;
    tile_plain(c, keep, a, k, b, sb, n, height);
}

void qep_panel_update_by(qep_panel_unit unit, float *panel, float keep, const float *a, int64_t k, const float *b, int64_t ldb, int64_t cols)
{
    const int height = unit == QEP_PANEL_AVX512 ? QEP_PANEL_ROWS : 16;
    const int64_t sb = ldb > 0 ? ldb : N;
    for (int64_t j0 = 0; j0 < cols; j0 += (int64_t)CHUNK * N)
        for (int row = 0; row < QEP_PANEL_ROWS; row += height)
            for (int64_t j = j0; j < qep_min_i64(j0 + (int64_t)CHUNK * N, cols); j += N)
                tile(unit, panel + j * QEP_PANEL_ROWS + row, keep, a + row, k, ldb > 0 ? b + j : b + j * k, sb, qep_min_i64(N, cols - j), height);
}

void qep_panel_update(float *panel, float keep, const float *a, int64_t k, const float *b, int64_t ldb, int64_t cols)
{
    qep_panel_update_by(qep_panel_best_unit(), panel, keep, a, k, b, ldb, cols);
}
