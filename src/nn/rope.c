/* Rotary position embedding (Su et al. 2021), "rotate half" pairing of the Llama family.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "nn_priv.h"

static const double two_pi = 6.283185307179586476925287;

/* Between one pair's frequency and its quotient by factor: keep 1 is the former. */
static double blend(const qep_rope *r, double inv, double keep)
{
    return (1.0 - keep) * inv / r->factor + keep * inv;
}

/* By wavelength: those that fit often into the original context stay (formats.md 2.7). */
static double llama3_frequency(const qep_rope *r, double inv)
{
    const double length = (double)r->original_max_position, wave = two_pi / inv;
    if (wave < length / r->high_freq_factor) return inv;
    if (wave > length / r->low_freq_factor) return inv / r->factor;
    return blend(r, inv, (length / wave - r->low_freq_factor) / (r->high_freq_factor - r->low_freq_factor));
}

/* Number of the pair that turns `rotations` times within the original context. */
static double yarn_pair(const qep_rope *r, double rotations)
{
    return (double)r->dim * log((double)r->original_max_position / (rotations * two_pi)) / (2.0 * log(r->theta));
}

/* YaRN (arXiv 2309.00071, section 3.2), the bounds as in transformers. */
static double yarn_frequency(const qep_rope *r, int64_t i, double inv)
{
    double low = yarn_pair(r, r->beta_fast), high = yarn_pair(r, r->beta_slow);
    if (r->truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0.0);
    high = fmin(high, (double)r->dim - 1.0);
    if (!(high > low || high < low)) high += 0.001;
    return blend(r, inv, 1.0 - fmin(fmax(((double)i - low) / (high - low), 0.0), 1.0));
}

int64_t qep_rope_length_class(const qep_rope *r, int64_t T)
{
    if (T <= r->original_max_position) return 0;
    return r->type == QEP_ROPE_DYNAMIC ? T : r->type == QEP_ROPE_LONGROPE;
}

/* Angle per position of pair i in a sequence of the class: theta^(-2 i / dim), changed by the scaling. */
static double inverse_frequency(const qep_rope *r, int64_t i, int64_t length_class)
{
    double theta = r->theta;
    if (r->type == QEP_ROPE_DYNAMIC && length_class > 0) {
        const double ratio = (double)length_class / (double)r->original_max_position, dim = (double)r->dim;
        theta *= pow(r->factor * ratio - (r->factor - 1.0), dim / (dim - 2.0));
    }
    const double inv = pow(theta, -2.0 * (double)i / (double)r->dim);
    switch (r->type) {
    case QEP_ROPE_LINEAR: return inv / r->factor;
    case QEP_ROPE_LLAMA3: return llama3_frequency(r, inv);
    case QEP_ROPE_YARN: return yarn_frequency(r, i, inv);
    case QEP_ROPE_LONGROPE: return inv / (double)r->divisor[length_class][i];
    default: return inv;
    }
}

void qep_rope_table(const qep_rope *r, int64_t pos0, int64_t T, int64_t length, float *cos_, float *sin_)
{
    QEP_REQUIRE(r->dim % 2 == 0 && r->dim <= 2 * QEP_ROPE_MAX_PAIRS);
    const int64_t half = r->dim / 2, class = qep_rope_length_class(r, length);
    const bool scaled = r->type == QEP_ROPE_YARN || r->type == QEP_ROPE_LONGROPE;
    const double size = scaled ? r->attention_factor : 1.0;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < half; i++) {
        double inv = inverse_frequency(r, i, class);
        for (int64_t t = 0; t < T; t++) {
            double angle = (double)(pos0 + t) * inv;
            cos_[t * half + i] = (float)(size * cos(angle));
            sin_[t * half + i] = (float)(size * sin(angle));
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
