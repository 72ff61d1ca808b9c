/* y = x w^T, and g = r w back, over fixed tiles of tokens x outputs, one library call per tile, tiles shared out over
 * the threads. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "linalg_priv.h"

#define TILE_MAX 512
#define TILE_MIN 128
/* Fewer tiles than this and the edges are halved. */
#define TILES_WANTED 8
/* Edges of full tiles are multiples of this: whole register blocks of the libraries. */
#define TILE_UNIT 16

/* Even parts: 2049 rows give five of 416 or less, not four of 512 and one of 1. */
static int64_t even_edge(int64_t size, int64_t edge)
{
    return qep_round_up(qep_ceil_div(size, qep_ceil_div(size, edge)), TILE_UNIT);
}

qep_tiles qep_tiles_of(int64_t T, int64_t O)
{
    int64_t rows = TILE_MAX, cols = TILE_MAX;
    while (qep_ceil_div(T, rows) * qep_ceil_div(O, cols) < TILES_WANTED &&
           (rows > TILE_MIN || cols > TILE_MIN)) {
        if (cols > rows || rows == TILE_MIN) {
            cols /= 2;
        } else {
            rows /= 2;
        }
    }
    qep_tiles t = {.rows = even_edge(T, rows), .cols = even_edge(O, cols)};
    t.n_rows = qep_ceil_div(T, t.rows);
    t.n_cols = qep_ceil_div(O, t.cols);
    return t;
}

static void set_zero(float *y, int64_t ldy, int64_t T, int64_t O)
{
    for (int64_t t = 0; t < T; t++)
        memset(y + t * ldy, 0, (size_t)O * sizeof *y);
}

/* y[T, N] = x[T, K] times w, or added to y: w is [N, K] and transposed, or [K, N]. */
static void product_f32(float *y, int64_t ldy, const float *x, int64_t ldx, const float *w, bool transposed, int64_t T, int64_t K,
                        int64_t N, bool accumulate)
{
    if (T == 0 || N == 0) return;
    if (K == 0) {
        if (!accumulate) set_zero(y, ldy, T, N);
        return;
    }
    const qep_tiles g = qep_tiles_of(T, N);
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t i = 0; i < g.n_rows * g.n_cols; i++) {
        int64_t t0 = i % g.n_rows * g.rows, n0 = i / g.n_rows * g.cols;
        qep_gemm_f32(transposed, qep_min_i64(g.rows, T - t0), qep_min_i64(g.cols, N - n0), K, 1.0F, x + t0 * ldx, ldx,
                     transposed ? w + n0 * K : w + n0, transposed ? K : N, accumulate ? 1.0F : 0.0F, y + t0 * ldy + n0, ldy);
    }
}

static void product_bf16(float *y, int64_t ldy, const uint16_t *x, int64_t ldx, const uint16_t *w, bool transposed, int64_t T, int64_t K,
                         int64_t N)
{
    if (T == 0 || N == 0) return;
    if (K == 0) {
        set_zero(y, ldy, T, N);
        return;
    }
    const qep_tiles g = qep_tiles_of(T, N);
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t i = 0; i < g.n_rows * g.n_cols; i++) {
        int64_t t0 = i % g.n_rows * g.rows, n0 = i / g.n_rows * g.cols;
        qep_bf16_view a = {.data = x + t0 * ldx, .row = ldx, .col = 1};
        qep_bf16_view b = transposed ? (qep_bf16_view){.data = w + n0 * K, .row = 1, .col = K}
                                     : (qep_bf16_view){.data = w + n0, .row = N, .col = 1};
        qep_product_bf16(y + t0 * ldy + n0, ldy, a, b, qep_min_i64(g.rows, T - t0), qep_min_i64(g.cols, N - n0), K);
    }
}

void qep_linear_f32(float *y, int64_t ldy, const float *x, int64_t ldx, const float *w, int64_t T,
                    int64_t C, int64_t O, bool accumulate)
{
    product_f32(y, ldy, x, ldx, w, true, T, C, O, accumulate);
}

void qep_linear_bf16(float *y, int64_t ldy, const uint16_t *x, int64_t ldx, const uint16_t *w,
                     int64_t T, int64_t C, int64_t O)
{
    product_bf16(y, ldy, x, ldx, w, true, T, C, O);
}

void qep_linear_back_f32(float *g, const float *r, const float *w, int64_t T, int64_t C, int64_t O)
{
    product_f32(g, C, r, O, w, false, T, O, C, false);
}

void qep_linear_back_bf16(float *g, const uint16_t *r, const uint16_t *w, int64_t T, int64_t C, int64_t O)
{
    product_bf16(g, C, r, O, w, false, T, O, C);
}

void qep_tile_tn_bf16(float *c, int64_t ldc, const uint16_t *a, int64_t lda, const uint16_t *b,
                      int64_t ldb, int64_t m, int64_t n, int64_t k)
{
    if (m == 0 || n == 0) return;
    if (k == 0) {
        set_zero(c, ldc, m, n);
        return;
    }
    qep_product_bf16(c, ldc, (qep_bf16_view){.data = a, .row = 1, .col = lda},
                     (qep_bf16_view){.data = b, .row = ldb, .col = 1}, m, n, k);
}
