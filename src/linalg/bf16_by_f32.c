/* bf16 products on CPUs without AVX-512: blocks of both operands are converted to f32 and
 * multiplied by BLAS. The blocks are fixed, so the bits do not depend on threads here either.
 * SPDX-License-Identifier: Apache-2.0 */
#include <cblas.h>
#include <string.h>

#include "linalg_priv.h"

/* dst[rows, cols] from src with rows `stride` apart; bf16 is the upper half of an f32. */
static void widen(float *restrict dst, const uint16_t *restrict src, int64_t stride, int64_t rows,
                  int64_t cols)
{
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < cols; j++) {
            uint32_t bits = (uint32_t)src[i * stride + j] << 16;
            memcpy(&dst[i * cols + j], &bits, sizeof bits);
        }
    }
}

/* Block [rows, cols] at (i, j) of v into dst, stored as v is. Returns true when it is stored
 * transposed. */
static bool load_block(float *dst, qep_bf16_view v, int64_t i, int64_t j, int64_t rows,
                       int64_t cols)
{
    const uint16_t *src = v.data + i * v.row + j * v.col;
    if (v.col == 1) {
        widen(dst, src, v.row, rows, cols);
        return false;
    }
    widen(dst, src, v.col, cols, rows);
    return true;
}

void qep_product_bf16_by_f32(float *c, int64_t ldc, qep_bf16_view a, qep_bf16_view b, int64_t m,
                             int64_t n, int64_t k, float *work)
{
    const int64_t edge = QEP_BF16_BLOCK;
    float *wa = work, *wb = work + edge * edge;
    QEP_REQUIRE((a.row == 1 || a.col == 1) && (b.row == 1 || b.col == 1));
    for (int64_t j = 0; j < n; j += edge) {
        int64_t nj = qep_min_i64(edge, n - j);
        for (int64_t l = 0; l < k; l += edge) {
            int64_t kl = qep_min_i64(edge, k - l);
            bool tb = load_block(wb, b, l, j, kl, nj);
            for (int64_t i = 0; i < m; i += edge) {
                int64_t mi = qep_min_i64(edge, m - i);
                bool ta = load_block(wa, a, i, l, mi, kl);
                cblas_sgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans,
                            tb ? CblasTrans : CblasNoTrans, qep_int(mi), qep_int(nj), qep_int(kl),
                            1.0F, wa, qep_int(ta ? mi : kl), wb, qep_int(tb ? kl : nj),
                            l == 0 ? 0.0F : 1.0F, c + i * ldc + j, qep_int(ldc));
            }
        }
    }
}
