/* quant: coordinate descent over the codes of a strip. SPDX-License-Identifier: Apache-2.0 */
#include "quant_priv.h"

#include "qep/linalg.h"

#include <string.h>

/* Where fewer of a step's codes moved (in calibrated runs 2 % do in the first sweep, 0.1 % in the last), their rows of A are added one by
 * one; else all at once as a product. Either way has the same bits wherever the strip is worked on. */
enum { FEW = QEP_STRIP * QEP_POLISH_COLS / 8, TILE = 512 /* columns of 64 rows of A that stay in the second-level cache */ };

/* The columns of a step, as panels [columns, QEP_STRIP]: the SIMD lane is the row. */
typedef struct step {
    float grad[QEP_POLISH_COLS * QEP_STRIP];
    float move[QEP_POLISH_COLS * QEP_STRIP]; /* change of q */
} step;

/* The new codes of one column; move: change of q. Returns how many moved. */
static int64_t move_column(const qep_polish *p, int64_t j, float a_jj, const float *grad, float *move)
{
    float code[QEP_STRIP], scale[QEP_STRIP], top = (float)qep_max_code(p->spec->bits);
    int64_t moved = 0;
    for (int i = 0; i < QEP_STRIP; i++) {
        code[i] = (float)p->q.codes[i * p->cols + j];
        scale[i] = p->q.scales[i * p->groups + p->g_idx[j]];
    }
    for (int i = 0; i < QEP_STRIP; i++) {
        float c = rintf(code[i] - grad[i] / (a_jj * scale[i]));
        c = c > 0.0f ? c : 0.0f;
        c = c < top ? c : top;
        move[i] = scale[i] * (c - code[i]);
        moved += c != code[i];
        code[i] = c;
    }
    for (int i = 0; i < QEP_STRIP && moved > 0; i++) p->q.codes[i * p->cols + j] = (uint8_t)(int)code[i];
    return moved;
}

/* grad_k += move * a_k for the n columns to the right. */
static void spread_move(float *restrict grad, const float *restrict move, const float *restrict a, int64_t n)
{
    for (int64_t k = 0; k < n; k++)
        for (int i = 0; i < QEP_STRIP; i++) grad[k * QEP_STRIP + i] = fmaf(move[i], a[k], grad[k * QEP_STRIP + i]);
}

/* One row's changes times A's rows, n of its columns. grad and a begin at the same column. */
static void add_row(float *restrict grad, const step *s, int row, int64_t rows, const float *restrict a, int64_t lda, int64_t n)
{
    for (int64_t k = 0; k < rows; k++) {
        const float m = s->move[k * QEP_STRIP + row];
        if (m == 0.0f) continue;
        for (int64_t c = 0; c < n; c++) grad[c] = fmaf(m, a[k * lda + c], grad[c]);
    }
}

static void add_few(const qep_polish *p, const step *s, int64_t n, const float *a, int64_t lda)
{
    for (int64_t c = 0; c < p->cols; c += TILE)
        for (int i = 0; i < QEP_STRIP; i++) add_row(p->grad + i * p->cols + c, s, i, n, a + c, lda, qep_min_i64(TILE, p->cols - c));
}

static void add_many(const qep_polish *p, const step *s, int64_t n, const float *a, int64_t lda)
{
    float move[QEP_STRIP * QEP_POLISH_COLS];
    for (int64_t k = 0; k < n; k++)
        for (int i = 0; i < QEP_STRIP; i++) move[i * QEP_POLISH_COLS + k] = s->move[k * QEP_STRIP + i];
    qep_gemm_f32(false, QEP_STRIP, p->cols, n, 1.0f, move, QEP_POLISH_COLS, a, lda, 1.0f, p->grad, p->cols);
}

int64_t qep_polish_sweep(const qep_polish *p, int64_t c0, int64_t n, const float *a, int64_t lda)
{
    QEP_REQUIRE(n <= QEP_POLISH_COLS);
    step s;
    int64_t moved = 0;
    for (int64_t k = 0; k < n; k++)
        for (int i = 0; i < QEP_STRIP; i++) s.grad[k * QEP_STRIP + i] = p->grad[i * p->cols + c0 + k];
    for (int64_t j = 0; j < n; j++) {
        const float *row = a + j * lda + c0;
        int64_t here = move_column(p, c0 + j, row[j], s.grad + j * QEP_STRIP, s.move + j * QEP_STRIP);
        if (here > 0) spread_move(s.grad + (j + 1) * QEP_STRIP, s.move + j * QEP_STRIP, row + j + 1, n - j - 1);
        moved += here;
    }
    if (moved == 0) return 0;
    if (moved < FEW)
        add_few(p, &s, n, a, lda);
    else
        add_many(p, &s, n, a, lda);
    return moved;
}
