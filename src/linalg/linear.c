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

/* y[T, N] = x[T, K] times w, or added to y: w is [N, K] and transposed, or [K, N]. x, w: float, or bf16. */
typedef struct product {
    bool bf16, transposed, accumulate;
    float *y;
    const void *x, *w;
    int64_t ldy, ldx, T, K, N;
    qep_tiles tiles;
    int64_t first; /* of its tiles in the list of all */
} product;

static void multiply_f32(const product *p, int64_t t0, int64_t T, int64_t n0, int64_t N)
{
    const float *x = p->x, *w = p->w;
    qep_gemm_f32(p->transposed, T, N, p->K, 1.0F, x + t0 * p->ldx, p->ldx, p->transposed ? w + n0 * p->K : w + n0, p->transposed ? p->K : p->N,
                 p->accumulate ? 1.0F : 0.0F, p->y + t0 * p->ldy + n0, p->ldy);
}

static void multiply_bf16(const product *p, int64_t t0, int64_t T, int64_t n0, int64_t N)
{
    const uint16_t *x = p->x, *w = p->w;
    const qep_bf16_view a = {.data = x + t0 * p->ldx, .row = p->ldx, .col = 1};
    const qep_bf16_view b = p->transposed ? (qep_bf16_view){.data = w + n0 * p->K, .row = 1, .col = p->K}
                                          : (qep_bf16_view){.data = w + n0, .row = p->N, .col = 1};
    qep_product_bf16(p->y + t0 * p->ldy + n0, p->ldy, a, b, T, N, p->K);
}

static void multiply_tile(const product *p, int64_t i)
{
    const int64_t t0 = i % p->tiles.n_rows * p->tiles.rows, n0 = i / p->tiles.n_rows * p->tiles.cols;
    const int64_t T = qep_min_i64(p->tiles.rows, p->T - t0), N = qep_min_i64(p->tiles.cols, p->N - n0);
    if (p->bf16) multiply_bf16(p, t0, T, n0, N);
    else multiply_f32(p, t0, T, n0, N);
}

/* The number of tiles. */
static int64_t lay_tiles(product *p, int64_t first)
{
    p->first = first;
    p->tiles = (qep_tiles){0};
    if (p->T == 0 || p->N == 0) return 0;
    if (p->K == 0) {
        if (!p->accumulate) set_zero(p->y, p->ldy, p->T, p->N);
        return 0;
    }
    p->tiles = qep_tiles_of(p->T, p->N);
    return p->tiles.n_rows * p->tiles.n_cols;
}

static void multiply(product *p, int n)
{
    int64_t tiles = 0;
    for (int k = 0; k < n; k++) tiles += lay_tiles(&p[k], tiles);
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t i = 0; i < tiles; i++) {
        int k = n - 1;
        while (i < p[k].first) k--;
        multiply_tile(&p[k], i - p[k].first);
    }
}

void qep_linear_f32(float *y, int64_t ldy, const float *x, int64_t ldx, const float *w, int64_t T,
                    int64_t C, int64_t O, bool accumulate)
{
    multiply(&(product){.transposed = true, .accumulate = accumulate, .y = y, .x = x, .w = w, .ldy = ldy, .ldx = ldx, .T = T, .K = C, .N = O}, 1);
}

void qep_linear_bf16(float *y, int64_t ldy, const uint16_t *x, int64_t ldx, const uint16_t *w,
                     int64_t T, int64_t C, int64_t O)
{
    multiply(&(product){.bf16 = true, .transposed = true, .y = y, .x = x, .w = w, .ldy = ldy, .ldx = ldx, .T = T, .K = C, .N = O}, 1);
}

void qep_linears(const qep_linear *list, int n)
{
    product p[QEP_MAX_LINEARS];
    QEP_REQUIRE(n <= QEP_MAX_LINEARS);
    for (int k = 0; k < n; k++) {
        const qep_linear *l = &list[k];
        p[k] = (product){.bf16 = l->bf16, .transposed = true, .y = l->y, .x = l->x, .w = l->w, .ldy = l->O, .ldx = l->C, .T = l->T, .K = l->C, .N = l->O};
    }
    multiply(p, n);
}

void qep_linear_back_f32(float *g, const float *r, const float *w, int64_t T, int64_t C, int64_t O)
{
    multiply(&(product){.y = g, .x = r, .w = w, .ldy = C, .ldx = O, .T = T, .K = O, .N = C}, 1);
}

void qep_linear_back_bf16(float *g, const uint16_t *r, const uint16_t *w, int64_t T, int64_t C, int64_t O)
{
    multiply(&(product){.bf16 = true, .y = g, .x = r, .w = w, .ldy = C, .ldx = O, .T = T, .K = O, .N = C}, 1);
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
