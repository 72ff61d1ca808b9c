/* quant: the column loop inside one block, 64 rows at a time. Columns spread their error to a few neighbours one by one, which stay
 * in the first-level cache, and to the rest of the block together. SPDX-License-Identifier: Apache-2.0 */
#include "gptq_priv.h"

QEP_FOR_EACH_CPU void qep_column_goal(const qep_column *c, float *goal)
{
    for (int i = 0; i < QEP_STRIP; i++) goal[i] = c->move ? c->target[i] + c->move[i] : c->target[i];
}

QEP_FOR_EACH_CPU void qep_column_weigh(qep_column *c)
{
    qep_column_goal(c, c->w);
    for (int i = 0; i < QEP_STRIP; i++) c->w[i] += c->acc[i] / c->r_jj;
}

QEP_FOR_EACH_CPU void qep_column_round(qep_column *c)
{
    float code[QEP_STRIP], miss[QEP_STRIP];
    for (int i = 0; i < QEP_STRIP; i++) {
        code[i] = qep_code_f32(c->w[i], c->scale[i], c->zero[i], c->max_code);
        c->q[i] = c->scale[i] * (code[i] - c->zero[i]);
        miss[i] = c->w[i] - c->q[i];
    }
    for (int i = 0; i < QEP_STRIP; i++) c->code[i] = (uint8_t)(int)code[i];
    for (int i = 0; i < QEP_STRIP; i++) {
        double e = (double)miss[i] * (double)c->r_jj;
        c->loss[i] += e * e;
    }
}

/* a stays in registers. */
QEP_FOR_EACH_CPU void qep_gptq_spread(float *restrict panel, float fade, const float *restrict a, const float *restrict row, int64_t n)
{
    float e[QEP_STRIP];
    for (int i = 0; i < QEP_STRIP; i++) e[i] = a[i];
    for (int64_t k = 0; k < n; k++)
        for (int i = 0; i < QEP_STRIP; i++) {
            float *x = &panel[k * QEP_STRIP + i];
            *x = fmaf(e[i], row[k], fade * *x);
        }
}

/* Columns [from, to) of the block are done: their a's are faded up to column to - 1. */
static void fade_rows(float *a, float fade, int64_t from, int64_t to)
{
    float f = 1.0f;
    for (int64_t k = to - 1; k >= from; k--, f *= fade)
        for (int i = 0; i < QEP_STRIP; i++) a[k * QEP_STRIP + i] *= f;
}

float qep_gptq_power(float f, int64_t n)
{
    return f == 1.0f ? 1.0f : (float)pow((double)f, (double)n);
}

qep_column qep_gptq_column(struct qep_gptq *g, int64_t c0, int64_t n, int64_t done, int64_t j, float *scratch)
{
    int64_t group = g->group_of[c0 + j] * QEP_STRIP, last = g->group_of[c0 + n - 1] * QEP_STRIP, at = (c0 + j) * QEP_STRIP;
    qep_column c = {
        .spec = &g->spec,
        .options = &g->spec.options,
        .max_code = (float)qep_max_code(g->spec.bits),
        .first = j == 0,
        .target = g->target + at,
        .acc = g->acc + at,
        .scale = g->scales + group,
        .zero = g->zeros + group,
        .last_scale = g->scales + last,
        .last_zero = g->zeros + last,
        .move = g->move ? g->move + at : NULL,
        .w = scratch,
        .q = scratch + QEP_STRIP,
        .err = g->err + (done + j) * QEP_STRIP,
        .code = g->codes + at,
        .loss = g->loss,
    };
    for (int m = 0; m < g->n_moves; m++) {
        c.use[m] = g->use[m] + (done + j) * QEP_STRIP;
        c.out[m] = g->out[m] + (done + j) * QEP_STRIP;
    }
    return c;
}

/* Columns [from, to) of the block go to its columns [to, n). */
static void spread_far(struct qep_gptq *g, int64_t c0, int64_t n, int64_t done, int64_t from, int64_t to, const qep_gptq_block *b)
{
    int64_t at = (c0 + to) * QEP_STRIP, k = to - from, a = (done + from) * QEP_STRIP;
    float keep = qep_gptq_power(g->fade, k);
    if (g->fade != 1.0f) fade_rows(g->err, g->fade, done + from, done + to);
    qep_panel_update_f32(g->acc + at, keep, g->err + a, k, b->r + from * b->ldr + to, b->ldr, n - to);
    for (int m = 0; m < g->n_moves; m++) {
        if (g->fade != 1.0f) fade_rows(g->use[m], g->fade, done + from, done + to);
        qep_panel_update_f32(g->to + at, 1.0f, g->use[m] + a, k, b->p[m] + from * b->ldp + to, b->ldp, n - to);
    }
}

void qep_gptq_columns(struct qep_gptq *g, int64_t c0, int64_t n, int64_t done, const qep_gptq_block *b)
{
    float scratch[2 * QEP_STRIP];
    for (int64_t from = 0; from < n; from += QEP_GPTQ_NEAR) {
        int64_t to = qep_min_i64(from + QEP_GPTQ_NEAR, n);
        for (int64_t j = from; j < to; j++) {
            const float *row = b->r + j * b->ldr;
            qep_column c = qep_gptq_column(g, c0, n, done, j, scratch);
            float *right = g->acc + (c0 + j + 1) * QEP_STRIP;
            c.r_jj = row[j];
            g->rule(&c);
            qep_gptq_spread(right, g->fade, c.err, row + j + 1, to - j - 1);
            for (int m = 0; m < g->n_moves; m++)
                qep_gptq_spread(g->to + (c0 + j + 1) * QEP_STRIP, 1.0f, c.use[m], b->p[m] + j * b->ldp + j + 1, to - j - 1);
        }
        spread_far(g, c0, n, done, from, to, b);
    }
    if (g->fade == 1.0f) return;
    for (int64_t from = 0; from < n; from += QEP_GPTQ_NEAR) { /* each QEP_GPTQ_NEAR is faded up to its own end: on to the block's */
        int64_t to = qep_min_i64(from + QEP_GPTQ_NEAR, n);
        float f = qep_gptq_power(g->fade, n - to);
        for (int64_t k = (done + from) * QEP_STRIP; k < (done + to) * QEP_STRIP; k++) g->err[k] *= f;
    }
    for (int m = 0; m < g->n_moves; m++) fade_rows(g->out[m], g->fade, done, done + n);
}
