/* Errors of plain rounding and of the target relative to the result, from the statistics.
 *
 * With J(V) = |W X - V Xq|^2 per token, E_V = W - V, and D = Q - V (V: W rounded to nearest on the same kind of grid, or W*):
 *   J(V) - J(Q) = 2 tr(W C D^T) + tr(D H (E_V + E_Q)^T),   E_V + E_Q = 2 W - V - Q
 * (expand J(V) = |W delta + E_V Xq|^2 with C = delta Xq^T, H = Xq Xq^T). J(Q) itself is measured in the forward pass.
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

/* The two steps whose error is compared with the result's. */
typedef enum stage { ROUNDED, CORRECTED, STAGES } stage;

/* d = Q - V of strip i; sum = Q + V. */
static void strip_difference(const qep_set *s, int64_t i, stage of, float *d, float *sum)
{
    int64_t n = QEP_STRIP * s->cols, at = i * QEP_STRIP;
    if (of == ROUNDED) round_strip(s, i, sum);
    else memcpy(sum, qep_set_row(s, s->target, i), (size_t)n * sizeof *sum);
    if (s->values)
        memcpy(d, qep_set_row(s, s->values, i), (size_t)n * sizeof *d);
    else
        dequantize(s, s->codes + at * s->cols, s->scales + at * s->groups, s->zeros + at * s->groups, s->g_idx, d);
    for (int64_t k = 0; k < n; k++) {
        float v = sum[k], q = d[k];
        sum[k] = q + v;
        d[k] = q - v;
    }
}

/* gap[row of the set] = the row's part of J(V) - J(Q), from H and W C. */
static void row_gaps_all(const qep_set *s, const qep_dmat *H, const float *wc, stage of, double *gap)
{
    int64_t n = s->count * QEP_STRIP * s->cols;
    float *d = qep_alloc("layer.figures", n, sizeof *d);
    float *sums = qep_alloc("layer.figures", n, sizeof *sums);
    float *dh = qep_alloc("layer.figures", n, sizeof *dh);
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < s->count; i++) strip_difference(s, i, of, qep_set_row(s, d, i), qep_set_row(s, sums, i));
    if (H == s->job->H) qep_set_clear_dead(s, d); /* Xq is 0 there; H has been given a diagonal for the factor only */
    qep_rows_times_f32_all(H, s->count, d, dh, s->job->stream);
    memset(gap, 0, (size_t)(s->total_strips * QEP_STRIP) * sizeof *gap);
    for (int64_t i = 0; i < s->count; i++)
        for (int64_t r = 0; r < s->strips[i].n; r++) {
            double sum = 0;
            int64_t at = (i * QEP_STRIP + r) * s->cols;
            for (int64_t k = at; k < at + s->cols; k++)
                sum += 2.0 * (double)wc[k] * (double)d[k] + (double)dh[k] * (2.0 * (double)s->w[k] - (double)sums[k]);
            gap[(s->first + i) * QEP_STRIP + r] = sum;
        }
    qep_free(dh);
    qep_free(sums);
    qep_free(d);
    qep_sum_f64_all(s->job->comm, gap, s->total_strips * QEP_STRIP); /* one rank's value plus zeros: exact */
}

/* Sum over the rows of each member, into records[m] at `offset`. */
static void sum_members(const qep_set *s, const double *gap, size_t offset, qep_layer_record *records)
{
    int64_t at = 0;
    for (int m = 0; m < s->n_members; m++) {
        if (!s->in[m]) continue;
        int64_t n = qep_round_up(s->members[m].rows, QEP_STRIP);
        double sum = 0;
        for (int64_t k = at; k < at + n; k++) sum += gap[k];
        at += n;
        memcpy((char *)&records[m] + offset, &sum, sizeof sum);
    }
}

/* Both gaps by one set of sums; the gap lies at `offset` in a record. */
static void gaps_all(const qep_set *s, const qep_dmat *H, const float *wc, size_t offset, qep_layer_record *records)
{
    static const size_t places[STAGES] = {offsetof(struct qep_layer_gap, before), offsetof(struct qep_layer_gap, corrected)};
    double *gap = qep_alloc("layer.figures", s->total_strips * QEP_STRIP, sizeof *gap);
    for (int of = 0; of < STAGES; of++) {
        if (of == CORRECTED && !qep_layer_corrects(&s->lead->cfg)) break;
        row_gaps_all(s, H, wc, (stage)of, gap);
        sum_members(s, gap, offset + places[of], records);
    }
    qep_free(gap);
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
        records[m].gap = records[m].held_gap = (struct qep_layer_gap){(double)NAN, (double)NAN};
        records[m].max_scale = largest_scale(s, m);
        qep_max_f64_all(s->job->comm, &records[m].max_scale, 1);
        records[m].n_cut = scales_cut(s, m);
        qep_sum_i64_all(s->job->comm, &records[m].n_cut, 1);
    }
    if (!s->job->C) return;
    gaps_all(s, s->job->H, s->wc, offsetof(qep_layer_record, gap), records);
    if (!held || !held->C) return;
    memset(s->wc, 0, (size_t)(s->count * QEP_STRIP * s->cols) * sizeof *s->wc);
    qep_rows_times_f32_all(held->C, s->count, s->w, s->wc, s->job->stream);
    gaps_all(s, held->H, s->wc, offsetof(qep_layer_record, held_gap), records);
}
