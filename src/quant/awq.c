/* quant: activation-aware scaling and clipping (AWQ, Lin et al., arXiv 2306.00978): what one
 * candidate does to a strip, and its error by the second moments of the inputs.
 * SPDX-License-Identifier: Apache-2.0 */
#include "quant_priv.h"

#include "qep/linalg.h"

#include <string.h>

#define LEAST_SCALE 1e-4

const qep_method qep_method_awq = {
    .name = "awq",
    .help = "scale the input channels by their mean magnitude, narrow the ranges, round to nearest (Lin et al. 2023)",
    .reads = "bits group_size symmetric grid clip",
    .needs = QEP_NEEDS_H,
    .drive = QEP_DRIVE_SCALED,
    .bits = QEP_BITS_PACKED,
    .clips = 1u << QEP_CLIP_NONE | 1u << QEP_CLIP_MSE | 1u << QEP_CLIP_HESSIAN, /* one search, by the error of the outputs */
    .symmetric = true,
    .asymmetric = true,
    .groups = true,
};

enum { TILE = 512 }; /* columns of one product: fixes its shape */

void qep_awq_scales(const double *x_mean, int64_t cols, int ratio, float *scale)
{
    double lo = INFINITY, hi = 0.0;
    for (int64_t c = 0; c < cols; c++) {
        double v = fmax(pow(x_mean[c], ratio / (double)QEP_AWQ_RATIOS), LEAST_SCALE);
        lo = fmin(lo, v);
        hi = fmax(hi, v);
        scale[c] = (float)v;
    }
    double middle = sqrt(lo * hi);
    for (int64_t c = 0; c < cols; c++) scale[c] = (float)((double)scale[c] / middle);
}

/* --- one row's group --------------------------------------------------------------------- */

/* v = w diag(scale); returns max |v|. */
static float scaled_group(float *v, const float *w, const float *scale, int64_t n)
{
    float top = 0.0f;
    for (int64_t k = 0; k < n; k++) {
        v[k] = w[k] * scale[k];
        top = fabsf(v[k]) > top ? fabsf(v[k]) : top;
    }
    return top;
}

static void clamp_group(float *v, float limit, int64_t n)
{
    for (int64_t k = 0; k < n; k++) v[k] = v[k] > limit ? limit : v[k] < -limit ? -limit : v[k];
}

/* The same rounding as of the final result. */
static qep_qspec plain_spec(const qep_qspec *s)
{
    qep_qspec plain = *s;
    plain.clip = QEP_CLIP_NONE;
    return plain;
}

float qep_awq_shrink(int candidate)
{
    return 1.0f - (float)candidate / 20.0f;
}

void qep_awq_error(const qep_qspec *s, const float *w, int64_t cols, const float *scale,
                   float shrink, int64_t c0, int64_t n, float *e)
{
    const qep_qspec plain = plain_spec(s);
    const int64_t width = qep_group_cols(s, cols);
    const float max_code = (float)qep_max_code(s->bits);
    for (int64_t r = 0; r < QEP_STRIP; r++)
        for (int64_t k0 = c0; k0 < c0 + n; k0 += width) {
            const int64_t m = qep_min_i64(width, cols - k0);
            const float *from = w + r * cols + k0, *by = scale + k0;
            float *v = e + r * n + (k0 - c0), step = 0.0f;
            int zero = 0;
            float top = scaled_group(v, from, by, m);
            if (shrink < 1.0f) clamp_group(v, shrink * top, m);
            qep_grid_find(&plain, v, NULL, m, &step, &zero);
            for (int64_t k = 0; k < m; k++) {
                float code = qep_code_f32(v[k], step, (float)zero, max_code);
                v[k] = step * (code - (float)zero) / by[k] - from[k];
            }
        }
}

void qep_awq_strip(const qep_qspec *s, const float *w, int64_t cols, const float *scale,
                   const float *limit, qep_qstrip *out)
{
    const qep_qspec plain = plain_spec(s);
    const int64_t groups = qep_n_groups(s, cols), width = qep_group_cols(s, cols);
    const float max_code = (float)qep_max_code(s->bits);
    float *v = qep_alloc("quantize.awq", width, sizeof *v);
    for (int64_t r = 0; r < QEP_STRIP; r++)
        for (int64_t g = 0; g < groups; g++) {
            const int64_t k0 = g * width, n = qep_min_i64(width, cols - k0), at = r * groups + g;
            int zero = 0;
            (void)scaled_group(v, w + r * cols + k0, scale + k0, n);
            if (limit) clamp_group(v, limit[at], n);
            qep_grid_find(&plain, v, NULL, n, &out->scales[at], &zero);
            out->zeros[at] = (uint8_t)zero;
            for (int64_t k = 0; k < n; k++)
                out->codes[r * cols + k0 + k] = (uint8_t)(int)qep_code_f32(
                    v[k], out->scales[at], (float)zero, max_code);
        }
    qep_free(v);
}

void qep_awq_limits(const qep_qspec *s, const float *w, int64_t cols, const float *scale,
                    const double *errors, float *limit)
{
    const int64_t groups = qep_n_groups(s, cols), width = qep_group_cols(s, cols);
    float *v = qep_alloc("quantize.awq", width, sizeof *v);
    for (int64_t r = 0; r < QEP_STRIP; r++)
        for (int64_t g = 0; g < groups; g++) {
            const int64_t k0 = g * width, at = r * groups + g;
            const float top = scaled_group(v, w + r * cols + k0, scale + k0,
                                           qep_min_i64(width, cols - k0));
            int best = 0;
            for (int i = 1; i < QEP_AWQ_CLIPS; i++)
                if (errors[i * QEP_STRIP * groups + at] < errors[best * QEP_STRIP * groups + at])
                    best = i;
            limit[at] = qep_awq_shrink(best) * top;
        }
    qep_free(v);
}

/* --- e H e^T ------------------------------------------------------------------------------- */

static double dot(const float *a, const float *b, int64_t n)
{
    double lane[8] = {0};
    int64_t k = 0;
    for (; k + 8 <= n; k += 8)
        for (int l = 0; l < 8; l++) lane[l] += (double)a[k + l] * (double)b[k + l];
    for (; k < n; k++) lane[0] += (double)a[k] * (double)b[k];
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

void qep_quadratic_add(const float *e, int64_t n, const float *h, int64_t ldh, int64_t row0,
                       int64_t rows, double *sum, int64_t stride)
{
    float y[QEP_STRIP * TILE];
    for (int64_t j = 0; j < n; j += TILE) {
        const int64_t m = qep_min_i64(TILE, n - j);
        qep_gemm_f32(false, QEP_STRIP, m, rows, 1.0f, e + row0, n, h + j, ldh, 0.0f, y, TILE);
        for (int64_t r = 0; r < QEP_STRIP; r++)
            sum[r * stride] += dot(y + r * TILE, e + r * n + j, m);
    }
}
