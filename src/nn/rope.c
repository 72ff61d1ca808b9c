/* Rotary position embedding (Su et al. 2021), "rotate half" pairing of the Llama family.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "nn_priv.h"

static const double two_pi = 6.283185307179586476925287;

/* Angle per position of pair i: theta^(-2 i / dim), changed by linear or llama3 scaling
 * (formats.md 2.7). */
static double inverse_frequency(const qep_rope *r, int64_t i)
{
    double inv = pow(r->theta, -2.0 * (double)i / (double)r->dim);
    if (r->type == QEP_ROPE_LINEAR) return inv / r->factor;
    if (r->type != QEP_ROPE_LLAMA3) return inv;
    double length = (double)r->original_max_position, wave = two_pi / inv;
    if (wave < length / r->high_freq_factor) return inv;
    if (wave > length / r->low_freq_factor) return inv / r->factor;
    double keep = (length / wave - r->low_freq_factor) / (r->high_freq_factor - r->low_freq_factor);
    return (1.0 - keep) * inv / r->factor + keep * inv;
}

void qep_rope_table(const qep_rope *r, int64_t pos0, int64_t T, float *cos_, float *sin_)
{
    QEP_REQUIRE(r->dim % 2 == 0);
    const int64_t half = r->dim / 2;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < half; i++) {
        double inv = inverse_frequency(r, i);
        for (int64_t t = 0; t < T; t++) {
            double angle = (double)(pos0 + t) * inv;
            cos_[t * half + i] = (float)cos(angle);
            sin_[t * half + i] = (float)sin(angle);
        }
    }
}

static void rotate(float *restrict low, float *restrict high, const float *restrict c,
                   const float *restrict s, int64_t half)
{
    for (int64_t i = 0; i < half; i++) {
        float a = low[i], b = high[i];
        low[i] = a * c[i] - b * s[i];
        high[i] = b * c[i] + a * s[i];
    }
}

void qep_rope_apply(float *x, const float *cos_, const float *sin_, int64_t T, int64_t heads,
                    int64_t D, int64_t dim)
{
    QEP_REQUIRE(dim % 2 == 0 && dim <= D);
    const int64_t half = dim / 2;
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < T; t++) {
        for (int64_t h = 0; h < heads; h++) {
            float *head = x + (t * heads + h) * D;
            rotate(head, head + half, cos_ + t * half, sin_ + t * half, half);
        }
    }
}

void qep_rope_apply_ref(float *x, const float *cos_, const float *sin_, int64_t T, int64_t heads,
                        int64_t D, int64_t dim)
{
    const int64_t half = dim / 2;
    for (int64_t t = 0; t < T; t++) {
        for (int64_t h = 0; h < heads; h++) {
            for (int64_t i = 0; i < half; i++) {
                float *a = x + (t * heads + h) * D + i, *b = a + half;
                double c = (double)cos_[t * half + i], s = (double)sin_[t * half + i],
                       a0 = (double)*a;
                *a = (float)(a0 * c - (double)*b * s);
                *b = (float)((double)*b * c + a0 * s);
            }
        }
    }
}
