/* Error of plain rounding relative to the result, from the statistics.
 *
 * With J(V) = |W X - V Xq|^2 per token, E = W - V, and D = Q - Q0 (Q0: W rounded to nearest on the same kind of grid):
 *   J(Q0) - J(Q) = 2 tr(W C D^T) + tr(D H (E0 + E)^T),   E0 + E = 2 W - Q0 - Q
 * (expand J(V) = |W delta + E Xq|^2 with C = delta Xq^T, H = Xq Xq^T). J(Q) itself is measured in the forward pass.
 * SPDX-License-Identifier: Apache-2.0 */
#include "layer_priv.h"

#include <math.h>

static void dequantize(const qep_set *s, const uint8_t *codes, const float *scales, const uint8_t *zeros,
                       const int32_t *g_idx, float *values)
{
    for (int64_t r = 0; r < QEP_STRIP; r++)
        for (int64_t c = 0; c < s->cols; c++) {
            int64_t g = r * s->groups + g_idx[c];
            values[r * s->cols + c] = qep_grid_value(codes[r * s->cols + c], scales[g], zeros[g]);
        }
}

/* d = Q - Q0 of strip i; q_sum = Q + Q0. */
static void strip_difference(const qep_set *s, int64_t i, float *d, float *q_sum)
{
    qep_qspec plain = s->lead->spec;
    plain.method = &qep_method_rtn;
    plain.clip = QEP_CLIP_NONE;
    int64_t n = QEP_STRIP * s->cols;
    uint8_t *codes = qep_alloc("layer.figures", n, 1);
    uint8_t *zeros = qep_alloc("layer.figures", QEP_STRIP * s->groups, 1);
    float *scales = qep_alloc("layer.figures", QEP_STRIP * s->groups, sizeof *scales);
    int32_t *g_idx = qep_alloc("layer.figures", s->cols, sizeof *g_idx);
    int64_t per = plain.group_size < 0 ? s->cols : plain.group_size;
    for (int64_t c = 0; c < s->cols; c++) g_idx[c] = (int32_t)(c / per);
    qep_qstrip out = {codes, scales, zeros};
    qep_rtn_strip(&plain, qep_set_row(s, s->w, i), NULL, s->cols, &out);
    dequantize(s, codes, scales, zeros, g_idx, q_sum);
    int64_t at = i * QEP_STRIP;
    dequantize(s, s->codes + at * s->cols, s->scales + at * s->groups, s->zeros + at * s->groups, s->g_idx, d);
    for (int64_t k = 0; k < n; k++) {
        float q0 = q_sum[k], q = d[k];
        q_sum[k] = q + q0;
        d[k] = q - q0;
    }
    qep_set_clear_dead(s, d); /* Xq is 0 there; H has been given a diagonal for the factor only */
    qep_free(g_idx);
    qep_free(scales);
    qep_free(zeros);
    qep_free(codes);
}

/* gain[row of the set]: the row's part of J(Q0) - J(Q). */
static void row_gains_all(const qep_set *s, double *gain)
{
    int64_t n = s->count * QEP_STRIP * s->cols;
    float *d = qep_alloc("layer.figures", n, sizeof *d);
    float *q_sum = qep_alloc("layer.figures", n, sizeof *q_sum);
    float *dh = qep_alloc("layer.figures", n, sizeof *dh);
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < s->count; i++) strip_difference(s, i, qep_set_row(s, d, i), qep_set_row(s, q_sum, i));
    qep_rows_times_f32_all(s->job->H, s->count, d, dh, s->job->stream);
    for (int64_t i = 0; i < s->count; i++)
        for (int64_t r = 0; r < s->strips[i].n; r++) {
            double sum = 0;
            int64_t at = (i * QEP_STRIP + r) * s->cols;
            for (int64_t k = at; k < at + s->cols; k++)
                sum += 2.0 * (double)s->wc[k] * (double)d[k] + (double)dh[k] * (2.0 * (double)s->w[k] - (double)q_sum[k]);
            gain[(s->first + i) * QEP_STRIP + r] = sum;
        }
    qep_free(dh);
    qep_free(q_sum);
    qep_free(d);
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

void qep_set_figures_all(qep_set *s, qep_layer_record *records)
{
    int64_t rows = s->total_strips * QEP_STRIP;
    double *gain = qep_alloc("layer.figures", rows, sizeof *gain);
    if (s->wc) {
        row_gains_all(s, gain);
        qep_sum_f64_all(s->job->comm, gain, rows); /* one rank's value plus zeros: exact */
    }
    int64_t at = 0;
    for (int m = 0; m < s->n_members; m++) {
        if (!s->in[m]) continue;
        int64_t n = qep_round_up(s->members[m].rows, QEP_STRIP);
        double sum = 0;
        for (int64_t k = at; k < at + n; k++) sum += gain[k];
        at += n;
        records[m].before_minus_after = s->wc ? sum : (double)NAN;
        records[m].max_scale = largest_scale(s, m);
        qep_max_f64_all(s->job->comm, &records[m].max_scale, 1);
    }
    qep_free(gain);
}
