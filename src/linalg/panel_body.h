/* linalg: products and turns of panels for one element type, included by panel_f32.c and panel_f64.c. See linalg.h. Every entry of a product is one
 * chain of fused multiply-adds in rising order of the rows of B, so the bits are the same for any blocking, on any vector unit and without one.
 *
 * The including file defines REAL; NAME(x), the public name of x; and, where there are vectors (QEP_PANEL_X86), for each unit U = 256, 512: VECTOR_U,
 * LOAD_U, STORE_U, SET_U, MUL_U and FMA_U(a, b, c) = a b + c. SPDX-License-Identifier: Apache-2.0 */
#include "linalg_priv.h"

#include <math.h>
#include <omp.h>

enum {
    N = QEP_PANEL_COLS,
    PACKED = 16,                             /* panels at most that are packed side by side, so that B is read in whole lines */
    LINE = 64 / (int)sizeof(REAL),           /* entries of a cache line, and of an AVX-512 vector */
    HALF_LINE = LINE / 2,                    /* of an AVX2 vector */
    HEIGHT_512 = 4 * LINE, HEIGHT_256 = LINE, /* rows of a tile: registers for the accumulators, the vectors of a and a broadcast */
    DEPTH_512 = 1024 / LINE,                 /* rows of B at a time: a tile's columns of a, 16 KiB of floats, 32 of doubles (as measured), stay in the first-level cache */
    CHUNK_512 = LINE,                        /* panels of B: the strip's columns, 24 KiB, and 512 rows of B, 192 KiB, stay in the second-level cache */
    DEPTH_256 = 256, CHUNK_256 = 16          /* the same for tiles of AVX2 */
};

/* Columns [from, to), whole panels, of the part'th share of `cols`. */
static void share(int64_t cols, int part, int parts, int64_t *from, int64_t *to)
{
    const int64_t panels = qep_ceil_div(cols, N);
    *from = panels * part / parts * N;
    *to = panels * (part + 1) / parts * N;
}

/* Row i of B becomes row i of + which of the packed ones. */
static void pack_woven_rows(REAL *packed, const REAL *b, int64_t ldb, int64_t rows, int64_t cols, int64_t which, int64_t of, int part, int parts)
{
    int64_t from, to;
    share(cols, part, parts, &from, &to);
    const int64_t side_by_side = qep_min_i64(PACKED, qep_max_i64(1, qep_ceil_div((to - from) / N, omp_get_max_threads()))) * N;
#pragma omp parallel for schedule(static)
    for (int64_t j0 = from; j0 < to; j0 += side_by_side)
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = j0; j < qep_min_i64(j0 + side_by_side, to); j += N) {
                const int64_t n = qep_min_i64(N, cols - j);
                REAL *row = packed + j * rows * of + (i * of + which) * N;
                for (int64_t l = 0; l < N; l++) row[l] = l < n ? b[i * ldb + j + l] : 0;
            }
}

void NAME(pack)(REAL *packed, const REAL *b, int64_t ldb, int64_t rows, int64_t cols, int part, int parts)
{
    pack_woven_rows(packed, b, ldb, rows, cols, 0, 1, part, parts);
}

void NAME(pack_turned)(REAL *packed, const REAL *b, int64_t ldb, int64_t rows, int64_t cols, int part, int parts)
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

void NAME(from_rows)(REAL *panel, const REAL *rows, int64_t n, int64_t ld, int64_t cols)
{
    for (int64_t c0 = 0; c0 < cols; c0 += LINE) {
        const int64_t end = qep_min_i64(c0 + LINE, cols);
        for (int64_t r = 0; r < n; r++)
            for (int64_t c = c0; c < end; c++) panel[c * QEP_PANEL_ROWS + r] = rows[r * ld + c];
        for (int64_t c = c0; c < end && n < QEP_PANEL_ROWS; c++)
            for (int64_t r = n; r < QEP_PANEL_ROWS; r++) panel[c * QEP_PANEL_ROWS + r] = 0;
    }
}

void NAME(to_rows)(REAL *rows, int64_t n, int64_t ld, const REAL *panel, int64_t cols)
{
    for (int64_t c0 = 0; c0 < cols; c0 += LINE)
        for (int64_t r = 0; r < n; r++)
            for (int64_t c = c0; c < qep_min_i64(c0 + LINE, cols); c++) rows[r * ld + c] = panel[c * QEP_PANEL_ROWS + r];
}

/* `height` rows of the strip, n <= N columns. a: columns sa apart; b: [k, ..], rows sb apart. */
static void tile_plain(REAL *c, REAL keep, const REAL *a, int64_t sa, int64_t k, const REAL *b, int64_t sb, int64_t n, int height)
{
    for (int64_t j = 0; j < n; j++)
        for (int l = 0; l < height; l++) c[j * QEP_PANEL_ROWS + l] = keep == 0 ? 0 : keep * c[j * QEP_PANEL_ROWS + l];
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < n; j++) {
            const REAL f = b[i * sb + j];
            for (int l = 0; l < height; l++)
                c[j * QEP_PANEL_ROWS + l] = FMA_PLAIN(a[i * sa + l], f, c[j * QEP_PANEL_ROWS + l]);
        }
}

#ifdef QEP_PANEL_X86
/* The next panels: of B, and the strip's columns. */
static inline void fetch_next(const REAL *p, int64_t ahead)
{
    _mm_prefetch((const char *)((uintptr_t)p + (uintptr_t)ahead * sizeof *p), _MM_HINT_T0);
}

/* HEIGHT_256 rows x 6 columns: 12 accumulators, 2 vectors of a and a broadcast: 15 of 16 registers. */
__attribute__((target("avx2,fma"))) static void tile_avx2(REAL *c, REAL keep, const REAL *a, int64_t sa, int64_t k, const REAL *b, int64_t sb, int64_t next_b)
{
    VECTOR_256 s[N][2];
    const VECTOR_256 f = SET_256(keep);
#pragma GCC unroll 6
    for (int j = 0; j < N; j++) {
        fetch_next(c, (N + j) * QEP_PANEL_ROWS);
        s[j][0] = keep == 0 ? f : MUL_256(f, LOAD_256(c + j * QEP_PANEL_ROWS));
        s[j][1] = keep == 0 ? f : MUL_256(f, LOAD_256(c + j * QEP_PANEL_ROWS + HALF_LINE));
    }
    for (int64_t i = 0; i < k; i++, a += sa, b += sb) {
        fetch_next(b, next_b);
        const VECTOR_256 a0 = LOAD_256(a), a1 = LOAD_256(a + HALF_LINE);
#pragma GCC unroll 6
        for (int j = 0; j < N; j++) {
            const VECTOR_256 e = SET_256(b[j]);
            s[j][0] = FMA_256(a0, e, s[j][0]);
            s[j][1] = FMA_256(a1, e, s[j][1]);
        }
    }
#pragma GCC unroll 6
    for (int j = 0; j < N; j++) {
        STORE_256(c + j * QEP_PANEL_ROWS, s[j][0]);
        STORE_256(c + j * QEP_PANEL_ROWS + HALF_LINE, s[j][1]);
    }
}

/* HEIGHT_512 rows x 6 columns: 24 accumulators. */
__attribute__((target("avx512f"))) static void tile_avx512(REAL *c, REAL keep, const REAL *a, int64_t k, const REAL *b, int64_t sb, int64_t next_b)
{
    VECTOR_512 s[N][4];
    const VECTOR_512 f = SET_512(keep);
#pragma GCC unroll 6
    for (int j = 0; j < N; j++)
#pragma GCC unroll 4
        for (int l = 0; l < 4; l++) {
            fetch_next(c, (N + j) * QEP_PANEL_ROWS + LINE * l);
            s[j][l] = keep == 0 ? f : MUL_512(f, LOAD_512(c + j * QEP_PANEL_ROWS + LINE * l));
        }
    for (int64_t i = 0; i < k; i++, a += QEP_PANEL_ROWS, b += sb) {
        VECTOR_512 x[4];
        fetch_next(b, next_b);
#pragma GCC unroll 4
        for (int l = 0; l < 4; l++) x[l] = LOAD_512(a + LINE * l);
#pragma GCC unroll 6
        for (int j = 0; j < N; j++) {
            const VECTOR_512 e = SET_512(b[j]);
#pragma GCC unroll 4
            for (int l = 0; l < 4; l++) s[j][l] = FMA_512(x[l], e, s[j][l]);
        }
    }
#pragma GCC unroll 6
    for (int j = 0; j < N; j++)
#pragma GCC unroll 4
        for (int l = 0; l < 4; l++) STORE_512(c + j * QEP_PANEL_ROWS + LINE * l, s[j][l]);
}
#endif

/* a's columns for tiles of HEIGHT_256 rows: a tile's rows are one cache line of eight in each column, and lines so far apart come slowly from memory and share
 * few places in the first-level cache. So they are put together, in one pass. */
static void copy_narrow(REAL *copy, const REAL *a, int64_t k)
{
    for (int64_t i = 0; i < k; i++)
        for (int row = 0; row < QEP_PANEL_ROWS; row += HEIGHT_256)
            for (int l = 0; l < HEIGHT_256; l++) copy[row * DEPTH_256 + i * HEIGHT_256 + l] = a[i * QEP_PANEL_ROWS + row + l];
}

/* By rows [i0, i0 + k) of B, whose panels have `all`, k <= DEPTH_256. */
static void update_narrow(qep_panel_unit unit, REAL *panel, REAL keep, const REAL *a, int64_t i0, int64_t k, const REAL *b, int64_t ldb, int64_t all,
                          int64_t cols)
{
    const bool copies = cols > 2 * N;
    const int64_t sb = ldb > 0 ? ldb : N, sa = copies ? HEIGHT_256 : QEP_PANEL_ROWS;
    REAL copy[DEPTH_256 * QEP_PANEL_ROWS];
    if (copies) copy_narrow(copy, a + i0 * QEP_PANEL_ROWS, k);
    for (int64_t j0 = 0; j0 < cols; j0 += (int64_t)CHUNK_256 * N)
        for (int row = 0; row < QEP_PANEL_ROWS; row += HEIGHT_256)
            for (int64_t j = j0; j < qep_min_i64(j0 + (int64_t)CHUNK_256 * N, cols); j += N) {
                REAL *c = panel + j * QEP_PANEL_ROWS + row;
                const REAL *lines = copies ? copy + row * DEPTH_256 : a + i0 * QEP_PANEL_ROWS + row, *from = (ldb > 0 ? b + j : b + j * all) + i0 * sb;
#ifdef QEP_PANEL_X86
                if (cols - j >= N && unit == QEP_PANEL_AVX2) {
                    tile_avx2(c, keep, lines, sa, k, from, sb, ldb > 0 ? N : all * N);
                    continue;
                }
#endif
                tile_plain(c, keep, lines, sa, k, from, sb, qep_min_i64(N, cols - j), HEIGHT_256);
            }
    (void)unit;
}

#ifdef QEP_PANEL_X86
/* Columns [j0, end) by rows [i0, i0 + k) of B. */
static void update_chunk(REAL *panel, REAL keep, const REAL *a, int64_t i0, int64_t k, const REAL *b, int64_t ldb, int64_t all, int64_t j0, int64_t end)
{
    const int64_t sb = ldb > 0 ? ldb : N;
    for (int row = 0; row < QEP_PANEL_ROWS; row += HEIGHT_512)
        for (int64_t j = j0; j < end; j += N) {
            const REAL *lines = a + i0 * QEP_PANEL_ROWS + row, *from = (ldb > 0 ? b + j : b + j * all) + i0 * sb;
            if (end - j >= N) tile_avx512(panel + j * QEP_PANEL_ROWS + row, keep, lines, k, from, sb, ldb > 0 ? N : all * N);
            else tile_plain(panel + j * QEP_PANEL_ROWS + row, keep, lines, QEP_PANEL_ROWS, k, from, sb, end - j, HEIGHT_512);
        }
}

/* A chunk of columns stays in the second-level cache until all rows of B are done. */
static void update_wide(REAL *panel, REAL keep, const REAL *a, int64_t k, const REAL *b, int64_t ldb, int64_t all, int64_t cols)
{
    for (int64_t j = 0; j < cols; j += (int64_t)CHUNK_512 * N)
        for (int64_t i = 0; i == 0 || i < k; i += DEPTH_512)
            update_chunk(panel, i == 0 ? keep : 1, a, i, qep_min_i64(DEPTH_512, k - i), b, ldb, all, j, qep_min_i64(j + (int64_t)CHUNK_512 * N, cols));
}
#endif

/* all: rows of B's panels when it is packed. */
static void update(qep_panel_unit unit, REAL *panel, REAL keep, const REAL *a, int64_t k, const REAL *b, int64_t ldb, int64_t all, int64_t cols)
{
#ifdef QEP_PANEL_X86
    if (unit == QEP_PANEL_AVX512) {
        update_wide(panel, keep, a, k, b, ldb, all, cols);
        return;
    }
#endif
    for (int64_t i = 0; i == 0 || i < k; i += DEPTH_256)
        update_narrow(unit, panel, i == 0 ? keep : 1, a, i, qep_min_i64(DEPTH_256, k - i), b, ldb, all, cols);
}

void NAME(update_by)(qep_panel_unit unit, REAL *panel, REAL keep, const REAL *a, int64_t k, const REAL *b, int64_t ldb, int64_t cols)
{
    update(unit, panel, keep, a, k, b, ldb, k, cols);
}

void NAME(update)(REAL *panel, REAL keep, const REAL *a, int64_t k, const REAL *b, int64_t ldb, int64_t cols)
{
    update(qep_panel_best_unit(), panel, keep, a, k, b, ldb, k, cols);
}

void NAME(add)(REAL *panel, const REAL *a, int64_t k, const REAL *b, int64_t rows, int64_t cols)
{
    update(qep_panel_best_unit(), panel, 1, a, k, b, 0, rows, cols);
}
