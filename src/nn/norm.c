/* RMSNorm, bias and residual additions. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "nn_priv.h"

/* f64 sum of squares in fixed lanes. */
static double sum_of_squares(const float *x, int64_t n)
{
    double lane[QEP_LANES] = {0};
    int64_t i = 0;
    for (; i + QEP_LANES <= n; i += QEP_LANES) {
        for (int64_t j = 0; j < QEP_LANES; j++)
            lane[j] += (double)x[i + j] * (double)x[i + j];
    }
    for (int64_t j = 0; i < n; i++, j++)
        lane[j] += (double)x[i] * (double)x[i];
    double sum = 0;
    for (int64_t j = 0; j < QEP_LANES; j++)
        sum += lane[j];
    return sum;
}

void qep_rmsnorm(float *out, const float *x, const float *w, int64_t T, int64_t C, double eps)
{
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < T; t++) {
        const float *row = x + t * C;
        float *to = out + t * C;
        float inv = (float)(1.0 / sqrt(sum_of_squares(row, C) / (double)C + eps));
        for (int64_t c = 0; c < C; c++)
            to[c] = w[c] * (row[c] * inv);
    }
}

void qep_rmsnorm_ref(float *out, const float *x, const float *w, int64_t T, int64_t C, double eps)
{
    for (int64_t t = 0; t < T; t++) {
        double sum = 0;
        for (int64_t c = 0; c < C; c++)
            sum += (double)x[t * C + c] * (double)x[t * C + c];
        for (int64_t c = 0; c < C; c++)
            out[t * C + c] =
                (float)((double)w[c] * (double)x[t * C + c] / sqrt(sum / (double)C + eps));
    }
}

void qep_add_bias(float *y, const float *bias, int64_t T, int64_t C)
{
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < T; t++) {
        for (int64_t c = 0; c < C; c++)
            y[t * C + c] += bias[c];
    }
}

void qep_add(float *x, const float *y, int64_t n)
{
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < n; i++)
        x[i] += y[i];
}
