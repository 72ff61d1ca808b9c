/* quant: the column loop inside one block, 64 rows at a time. Columns spread their error to a few neighbours one by one, which stay
 * in the first-level cache, and to the rest of the block together. SPDX-License-Identifier: Apache-2.0 */
#include "gptq_priv.h"

QEP_FOR_EACH_CPU
void qep_column_goal(const qep_column *c, float *goal)
{
    for (int i = 0; i < QEP_STRIP; i++) goal[i] = c->move ? c->target[i] + c->move[i] : c->target[i];
}

QEP_FOR_EACH_CPU
void qep_column_weigh(qep_column *c)
{
    qep_column_goal(c, c->w);
    for (int i = 0; i < QEP_STRIP; i++) c->w[i] += c->acc[i] / c->r_jj;
}

QEP_FOR_EACH_CPU
void qep_column_round(qep_column *c)
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
QEP_FOR_EACH_CPU
void qep_gptq_spread(float *restrict panel, float fade, const float *restrict a, const float *restrict row, int64_t n)
{
    float e[QEP_STRIP];
    for (int i = 0; i < QEP_STRIP; i++) e[i] = a[i];
    for (int64_t k = 0; k < n; k++)
        for (int i = 0; i < QEP_STRIP; i++) {
            float *x = &panel[k * QEP_STRIP + i];
            *x = fmaf(e[i], row[k], fade * *x);
        }
}

/* Columns [from, to) of the step are done: what they leave is faded up to column to - 1. */
static void fade_columns(struct qep_gptq *g, int64_t from, int64_t to)
{
    const int64_t row = (int64_t)g->joint * QEP_STRIP;
    float f = 1.0f;
    for (int64_t k = to - 1; k >= from; k--, f *= g->fade)
        for (int64_t i = k * row; i < (k + 1) * row; i++) g->err[i] *= f;
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
        .err = g->err + (done + j) * g->joint * QEP_STRIP,
        .code = g->codes + at,
        .loss = g->loss,
    };
    for (int m = 0; m < g->n_moves; m++) {
        c.use[m] = g->move ? g->use[m] + (done + j) * QEP_STRIP : c.err + (m + 1) * QEP_STRIP;
        c.out[m] = g->move ? g->out[m] + (done + j) * QEP_STRIP : c.use[m];
    }
    return c;
}

/* --- the rest of the block ------------------------------------------------------------------- */

/* Floats by which columns [from, to) of a block of n reach those behind them: of products with so many rows for a column, together. */
static int64_t near_size(int64_t n, int64_t from, int64_t to, int rows)
{
    return qep_panel_packed((to - from) * rows, n - to);
}

/* Those of the products before the k'th: joint rows, then one for each. */
static int64_t near_before(int64_t n, int64_t from, int64_t to, int joint, int k)
{
    return k == 0 ? 0 : near_size(n, from, to, joint + k - 1);
}

int64_t qep_gptq_near_size(const qep_qspec *s, int64_t n)
{
    int64_t size = 0;
    for (int64_t from = 0; from < n; from += QEP_GPTQ_NEAR) size += near_size(n, from, qep_min_i64(from + QEP_GPTQ_NEAR, n), 1 + qep_gptq_moves(s));
    return size;
}

void qep_gptq_pack_near(const qep_qspec *s, int64_t n, int m, const float *b, int64_t ld, float *packed, int part, int parts)
{
    const int joint = qep_gptq_joint(s), k = qep_gptq_product_of(s, m);
    for (int64_t from = 0; from + QEP_GPTQ_NEAR < n; from += QEP_GPTQ_NEAR) {
        const int64_t to = from + QEP_GPTQ_NEAR;
        qep_gptq_pack_matrix(s, m, packed + near_before(n, from, to, joint, k), b + from * ld + to, ld, to - from, n - to, part, parts);
        packed += near_size(n, from, to, 1 + qep_gptq_moves(s));
    }
}

/* Columns [from, to) of the block, all done, go to its columns [to, n). */
static void spread_far(struct qep_gptq *g, int64_t c0, int64_t n, int64_t done, int64_t from, int64_t to, const float *packed)
{
    const int64_t at = (c0 + to) * QEP_STRIP, k = to - from, a = (done + from) * QEP_STRIP;
    if (g->fade != 1.0f) fade_columns(g, done + from, done + to);
    qep_panel_update_f32(g->acc + at, qep_gptq_power(g->fade, k), g->err + a * g->joint, k * g->joint, packed, 0, n - to);
    for (int m = 0; g->move && m < g->n_moves; m++)
        qep_panel_update_f32(g->move + at, 1.0f, g->use[m] + a, k, packed + near_before(n, from, to, g->joint, m + 1), 0, n - to);
}

/* Column j to those up to `to`. */
static void spread_near(struct qep_gptq *g, int64_t c0, int64_t j, int64_t to, const qep_column *c, const qep_gptq_block *b)
{
    const int64_t at = (c0 + j + 1) * QEP_STRIP;
    qep_gptq_spread(g->acc + at, g->fade, c->err, b->r + j * b->ldr + j + 1, to - j - 1);
    for (int m = 0; m < g->n_moves; m++)
        qep_gptq_spread((g->move ? g->move : g->acc) + at, 1.0f, c->use[m], b->p[m] + j * b->ldp + j + 1, to - j - 1);
}

void qep_gptq_columns(struct qep_gptq *g, int64_t c0, int64_t n, int64_t done, const qep_gptq_block *b)
{
    float scratch[2 * QEP_STRIP];
    const float *packed = b->packed;
    for (int64_t from = 0; from < n; from += QEP_GPTQ_NEAR) {
        const int64_t to = qep_min_i64(from + QEP_GPTQ_NEAR, n);
        for (int64_t j = from; j < to; j++) {
            qep_column c = qep_gptq_column(g, c0, n, done, j, scratch);
            c.r_jj = b->r[j * (b->ldr + 1)];
            g->rule(&c);
            spread_near(g, c0, j, to, &c, b);
        }
        spread_far(g, c0, n, done, from, to, packed);
        packed += near_size(n, from, to, 1 + g->n_moves);
    }
    if (g->fade == 1.0f) return;
    for (int64_t from = 0; from < n; from += QEP_GPTQ_NEAR) { /* each QEP_GPTQ_NEAR is faded up to its own end: on to the block's */
        const int64_t to = qep_min_i64(from + QEP_GPTQ_NEAR, n), row = (int64_t)g->joint * QEP_STRIP;
        const float f = qep_gptq_power(g->fade, n - to);
        for (int64_t k = (done + from) * row; k < (done + to) * row; k++) g->err[k] *= f;
    }
}
