/* The divergence as a function of the final norm's weight, and its slope.
 *
 * With a token's row n of the quantized stream divided by its root mean square, logits z = W (w * n) and P the original model's probabilities,
 *   d KL(P || softmax z) / dw = n * W^T (softmax(z) - P),
 * where logits are capped with the cap's slope on the difference. Without a cap KL is convex in w: z is linear in it and log sum exp convex.
 * SPDX-License-Identifier: Apache-2.0 */
#include "qep/eval.h"

#include <string.h>

int64_t qep_eval_slope_bytes(const qep_arch *a)
{
    return (int64_t)sizeof(float) * (QEP_EVAL_CHUNK * (2 * a->vocab + 3 * a->hidden) + a->hidden);
}

/* Parts of the scratch. */
typedef struct buffers {
    float *p, *q;                   /* [QEP_EVAL_CHUNK, vocab] */
    float *rows, *weighted, *back; /* [QEP_EVAL_CHUNK, hidden] */
    float *ones;                    /* [hidden] */
} buffers;

static buffers parts_of(const qep_arch *a, float *scratch)
{
    const int64_t wide = QEP_EVAL_CHUNK * a->vocab, narrow = QEP_EVAL_CHUNK * a->hidden;
    buffers b = {.p = scratch, .q = scratch + wide, .rows = scratch + 2 * wide};
    b.weighted = b.rows + narrow;
    b.back = b.weighted + narrow;
    b.ones = b.back + narrow;
    for (int64_t c = 0; c < a->hidden; c++) b.ones[c] = 1.0F;
    return b;
}

/* Rows t0, t0 + step, ... of x over their root mean squares. */
static void unit_rows(const qep_arch *a, const buffers *b, const float *x, int64_t t0, int64_t step, int64_t n)
{
    for (int64_t t = 0; t < n; t++) memcpy(b->rows + t * a->hidden, x + (t0 + t * step) * a->hidden, (size_t)a->hidden * sizeof *x);
    qep_rmsnorm(b->rows, b->rows, b->ones, n, a->hidden, a->eps);
}

static void weigh(const qep_arch *a, const buffers *b, const float *w, int64_t n)
{
    for (int64_t t = 0; t < n; t++)
        for (int64_t c = 0; c < a->hidden; c++) b->weighted[t * a->hidden + c] = w[c] * b->rows[t * a->hidden + c];
}

/* n tokens from t0 on. */
static void add_chunk(const qep_eval_slope_of *s, const buffers *b, int64_t t0, int64_t n, double *kl, double *slope)
{
    const qep_arch *a = s->arch;
    double each[QEP_EVAL_CHUNK];
    unit_rows(a, b, s->x_fp, t0, s->step, n);
    weigh(a, b, qep_head_norm_weight(s->head, QEP_STREAM_FP), n);
    qep_head_logits(s->head, QEP_STREAM_FP, b->weighted, n, b->p, s->work);
    unit_rows(a, b, s->x_q, t0, s->step, n);
    weigh(a, b, s->w, n);
    qep_head_logits(s->head, QEP_STREAM_Q, b->weighted, n, b->q, s->work);
#pragma omp parallel for
    for (int64_t t = 0; t < n; t++) each[t] = qep_kl_slope_row(b->p + t * a->vocab, b->q + t * a->vocab, a->vocab, (float)a->logit_cap);
    for (int64_t t = 0; t < n; t++) *kl += each[t];
    if (!slope) return;
    qep_head_back(s->head, QEP_STREAM_Q, b->q, n, b->p, b->back);
    for (int64_t t = 0; t < n; t++)
        for (int64_t c = 0; c < a->hidden; c++) slope[c] += (double)b->rows[t * a->hidden + c] * (double)b->back[t * a->hidden + c];
}

void qep_eval_slope(const qep_eval_slope_of *s, float *scratch, double *kl, double *slope)
{
    const buffers b = parts_of(s->arch, scratch);
    const int64_t tokens = qep_ceil_div(s->T, s->step);
    *kl = 0;
    for (int64_t c = 0; slope && c < s->arch->hidden; c++) slope[c] = 0;
    for (int64_t t = 0; t < tokens; t += QEP_EVAL_CHUNK) add_chunk(s, &b, t * s->step, qep_min_i64(QEP_EVAL_CHUNK, tokens - t), kl, slope);
}
