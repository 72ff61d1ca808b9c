/* Errors of the steps before the result, relative to the result's, from the statistics.
 *
 * With J(V) = |W X - V Xq|^2 per token, C = (X - Xq) Xq^T, H = Xq Xq^T and E_V = W - V:
 *   J(V) = J(W) + 2 tr(W C E_V^T) + tr(E_V H E_V^T)
 * (expand J(V) = |W (X - Xq) + E_V Xq|^2). V: W itself, W rounded to nearest on the same kind of grid, the target W*, the result Q. J(Q) itself is
 * measured in the forward pass. A correction by one matrix for all rows leaves Y = W C (H + lambda I)^-1 and no W C (qep_correct_rows_all); with
 * W C = Y (H + lambda I), 0 in dead channels as C is, and W* = W + alpha Y:
 *   J(V) = J(W) + tr((E_V + Y) H (E_V + Y)^T) - tr(Y H Y^T) + 2 lambda tr(Y E_V^T)
 *   J(W*) = J(W) + (alpha^2 - 2 alpha) tr(Y H Y^T) - 2 lambda alpha tr(Y Y^T)
 * Three quadratic forms either way; a fourth where W* is rounded on (qep_layer_rounds) and is a V like the others.
 * SPDX-License-Identifier: Apache-2.0 */
#include "layer_priv.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

static void dequantize(const qep_set *s, const uint8_t *codes, const float *scales, const uint8_t *zeros,
                       const int32_t *g_idx, float *values)
{
    for (int64_t r = 0; r < QEP_STRIP; r++)
        for (int64_t c = 0; c < s->cols; c++) {
            int64_t g = r * s->groups + g_idx[c];
            values[r * s->cols + c] = qep_grid_value(codes[r * s->cols + c], scales[g], zeros[g]);
        }
}

/* W of strip i rounded to nearest. */
static void round_strip(const qep_set *s, int64_t i, float *values)
{
    qep_qspec plain = s->lead->spec;
    plain.method = &qep_method_rtn;
    plain.clip = QEP_CLIP_NONE;
    uint8_t *codes = qep_alloc("layer.figures", QEP_STRIP * s->cols, 1);
    uint8_t *zeros = qep_alloc("layer.figures", QEP_STRIP * s->groups, 1);
    float *scales = qep_alloc("layer.figures", QEP_STRIP * s->groups, sizeof *scales);
    int32_t *g_idx = qep_alloc("layer.figures", s->cols, sizeof *g_idx);
    int64_t per = plain.group_size < 0 ? s->cols : plain.group_size;
    for (int64_t c = 0; c < s->cols; c++) g_idx[c] = (int32_t)(c / per);
    qep_qstrip out = {codes, scales, zeros};
    qep_rtn_strip(&plain, qep_set_row(s, s->w, i), NULL, s->cols, &out);
    dequantize(s, codes, scales, zeros, g_idx, values);
    qep_free(g_idx);
    qep_free(scales);
    qep_free(zeros);
    qep_free(codes);
}

/* The steps whose error differs from that of W. */
typedef enum stage { RESULT, ROUNDED, CORRECTED, STAGES } stage;

/* e = W - V of strip i. */
static void strip_error(const qep_set *s, int64_t i, stage of, float *e)
{
    const int64_t n = QEP_STRIP * s->cols, at = i * QEP_STRIP;
    const float *w = qep_set_row(s, s->w, i);
    if (of == ROUNDED) round_strip(s, i, e);
    else if (of == CORRECTED) memcpy(e, qep_set_row(s, s->target, i), (size_t)n * sizeof *e);
    else if (s->values) memcpy(e, qep_set_row(s, s->values, i), (size_t)n * sizeof *e);
    else dequantize(s, s->codes + at * s->cols, s->scales + at * s->groups, s->zeros + at * s->groups, s->g_idx, e);
    for (int64_t k = 0; k < n; k++) e[k] = w[k] - e[k];
}

/* The sums that the errors come from; of W C and Y one is NULL. */
typedef struct basis {
    const qep_dmat *H;
    const float *wc;
    float *y;       /* comes back as it was */
    double *y_form; /* owned, with y: Y H Y^T of each of my rows */
} basis;

static basis open_basis_all(const qep_set *s, const qep_dmat *H, const float *wc, float *y)
{
    basis b = {H, wc, y, NULL};
    if (!y) return b;
    b.y_form = qep_alloc("layer.figures", s->count * QEP_STRIP, sizeof *b.y_form);
    qep_rows_forms_all(H, s->count, y, b.y_form, s->job->stream);
    return b;
}

/* factor a b^T of each of my rows is added to sum. */
static void add_dots(const qep_set *s, const float *a, const float *b, double factor, double *sum)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < s->count * QEP_STRIP; i++) {
        double dot = 0;
        for (int64_t k = i * s->cols; k < (i + 1) * s->cols; k++) dot += (double)a[k] * (double)b[k];
        sum[i] += factor * dot;
    }
}

static void add_rows(const qep_set *s, const float *y, float *e)
{
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < s->count * QEP_STRIP * s->cols; k++) e[k] += y[k];
}

/* sum[my rows], zeros: J(V) - J(W) by a quadratic form of E_V, or of E_V + Y. */
static void add_error_all(const qep_set *s, const basis *b, stage of, double *sum)
{
    const int64_t rows = s->count * QEP_STRIP;
    float *e = qep_alloc("layer.figures", rows * s->cols, sizeof *e);
    double *form = qep_alloc("layer.figures", rows, sizeof *form);
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < s->count; i++) strip_error(s, i, of, qep_set_row(s, e, i));
    if (b->H == s->job->H) qep_set_clear_dead(s, e); /* Xq is 0 there; H has been given a diagonal for the factor only */
    add_dots(s, b->y ? b->y : b->wc, e, b->y ? 2.0 * s->lambda : 2.0, sum);
    if (b->y) add_rows(s, b->y, e);
    qep_rows_forms_all(b->H, s->count, e, form, s->job->stream);
    for (int64_t i = 0; i < rows; i++) sum[i] += form[i] - (b->y ? b->y_form[i] : 0.0);
    qep_free(form);
    qep_free(e);
}

/* excess[row of the set] = the row's part of J(V) - J(W). */
static void row_excess_all(const qep_set *s, const basis *b, stage of, double *excess)
{
    const int64_t rows = s->count * QEP_STRIP;
    const double a = s->alpha;
    double *sum = excess + s->first * QEP_STRIP;
    memset(excess, 0, (size_t)(s->total_strips * QEP_STRIP) * sizeof *excess);
    if (of == CORRECTED && b->y && !qep_layer_rounds(&s->lead->spec, s->job->published_type)) {
        add_dots(s, b->y, b->y, -2.0 * s->lambda * a, sum);
        for (int64_t i = 0; i < rows; i++) sum[i] += (a * a - 2.0 * a) * b->y_form[i];
    } else {
        add_error_all(s, b, of, sum);
    }
    for (int64_t i = 0; i < rows; i++)
        if (i % QEP_STRIP >= s->strips[i / QEP_STRIP].n) sum[i] = 0; /* padding */
    qep_sum_f64_all(s->job->comm, excess, s->total_strips * QEP_STRIP); /* one rank's value plus zeros: exact */
}

/* J(V) - J(W) of each member, [members]: sums over its rows. */
static void sum_members(const qep_set *s, const double *excess, double *sum)
{
    int64_t at = 0;
    for (int m = 0; m < s->n_members; m++) {
        if (!s->in[m]) continue;
        const int64_t n = qep_round_up(s->members[m].rows, QEP_STRIP);
        sum[m] = 0;
        for (int64_t k = at; k < at + n; k++) sum[m] += excess[k];
        at += n;
    }
}

/* The gaps of all members, at `offset` in their records. */
static void gaps_all(const qep_set *s, const qep_dmat *H, const float *wc, float *y, size_t offset, qep_layer_record *records)
{
    basis b = open_basis_all(s, H, wc, y);
    double *excess = qep_alloc("layer.figures", s->total_strips * QEP_STRIP, sizeof *excess);
    double *sums = qep_alloc("layer.figures", (int64_t)STAGES * s->n_members, sizeof *sums);
    const bool corrects = qep_layer_corrects(&s->lead->cfg);
    for (int of = 0; of < (corrects ? STAGES : CORRECTED); of++) {
        row_excess_all(s, &b, (stage)of, excess);
        sum_members(s, excess, sums + of * s->n_members);
    }
    for (int m = 0; m < s->n_members; m++) {
        if (!s->in[m]) continue;
        const double result = sums[m];
        const struct qep_layer_gap gap = {.uncorrected = -result, .before = sums[ROUNDED * s->n_members + m] - result,
                                          .corrected = corrects ? sums[CORRECTED * s->n_members + m] - result : (double)NAN};
        memcpy((char *)&records[m] + offset, &gap, sizeof gap);
    }
    qep_free(sums);
    qep_free(excess);
    qep_free(b.y_form);
}

static double largest_scale(const qep_set *s, int member)
{
    double top = 0;
    for (int64_t i = 0; i < s->count; i++)
        if (s->strips[i].member == member)
            for (int64_t k = 0; k < s->strips[i].n * s->groups; k++)
                top = fmax(top, (double)s->scales[i * QEP_STRIP * s->groups + k]);
    return top;
}

/* Scales of f16 that stand on its limits. A rotated linear has one range for all of it, in f32. */
static int64_t scales_cut(const qep_set *s, int member)
{
    const qep_qspec *q = &s->lead->spec;
    int64_t n = 0;
    if (q->exact_scales || q->method->drive == QEP_DRIVE_ROTATED) return 0;
    for (int64_t i = 0; i < s->count; i++)
        if (s->strips[i].member == member)
            for (int64_t k = 0; k < s->strips[i].n * s->groups; k++) {
                const float v = s->scales[i * QEP_STRIP * s->groups + k];
                n += v == qep_f16_scale(0.0F) || v == qep_f16_scale(INFINITY);
            }
    return n;
}

void qep_set_figures_all(qep_set *s, qep_layer_record *records)
{
    const qep_stats *held = s->job->held;
    for (int m = 0; m < s->n_members; m++) {
        if (!s->in[m]) continue;
        records[m].gap = records[m].held_gap = (struct qep_layer_gap){(double)NAN, (double)NAN, (double)NAN};
        records[m].max_scale = largest_scale(s, m);
        qep_max_f64_all(s->job->comm, &records[m].max_scale, 1);
        records[m].n_cut = scales_cut(s, m);
        qep_sum_i64_all(s->job->comm, &records[m].n_cut, 1);
    }
    if (!s->job->C) return;
    gaps_all(s, s->job->H, s->wc, s->y, offsetof(qep_layer_record, gap), records);
    if (!held || !held->C) return;
    float *wc = s->y ? s->y : s->wc; /* not needed any more */
    qep_clear(wc, s->count * QEP_STRIP * s->cols * (int64_t)sizeof *wc);
    qep_rows_times_f32_all(held->C, s->count, s->w, wc, s->job->stream);
    gaps_all(s, held->H, wc, NULL, offsetof(qep_layer_record, held_gap), records);
}
