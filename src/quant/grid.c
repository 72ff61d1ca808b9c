/* quant: scale and zero point of a group of weights, and the search for the best clipping range.
 * Grids G-asym and G-sym of the GPTQ papers' codes (Frantar et al., arXiv 2210.17323); the
 * search is their "mse" option. SPDX-License-Identifier: Apache-2.0 */
#include "quant_priv.h"

#include <string.h>

enum {
    STEPS = 100,      /* mse: candidates p = 1 - i/100, i < 80, unless clip_steps says otherwise */
    N_WEIGHTED = 16,  /* hessian: p = 1 - i/25, each with three zero points */
    LANES = 16,       /* partial sums of an error: independent of the machine's vector length */
    CHECK_EVERY = 32  /* weights between two looks whether a candidate has already lost */
};

int64_t qep_n_groups(const qep_qspec *s, int64_t cols)
{
    if (s->group_size <= 0 || cols <= 0) return 1;
    return qep_ceil_div(cols, s->group_size);
}

int qep_grid_code(int bits, float w, float scale, int zero)
{
    return (int)qep_code_f32(w, scale, (float)zero, (float)qep_max_code(bits));
}

/* --- the grid of one range ---------------------------------------------------------------- */

/* Range of the weights; 0 is always inside (unless free_range), and hi > lo. */
typedef struct range {
    float lo, hi;
} range;

#define LEAST_RANGE 1e-5f

static range own_range(const float *w, int64_t n)
{
    range r = {w[0], w[0]};
    for (int64_t k = 1; k < n; k++) {
        r.lo = w[k] < r.lo ? w[k] : r.lo;
        r.hi = w[k] > r.hi ? w[k] : r.hi;
    }
    if (r.hi - r.lo < LEAST_RANGE) r.hi = r.lo + LEAST_RANGE;
    return r;
}

static range find_range(const qep_qspec *s, const float *w, int64_t n)
{
    if (s->free_range) return own_range(w, n);
    range r = {0.0f, 0.0f};
    for (int64_t k = 0; k < n; k++) {
        r.lo = w[k] < r.lo ? w[k] : r.lo;
        r.hi = w[k] > r.hi ? w[k] : r.hi;
    }
    if (r.lo >= 0.0f && r.hi <= 0.0f) return (range){-1.0f, 1.0f};
    if (!s->symmetric || (s->paper && !s->signed_grid && r.lo >= 0.0f)) return r; /* published G-sym: half the range, clipped */
    float a = -r.lo > r.hi ? -r.lo : r.hi;
    return (range){-a, a};
}

static void grid_of_range(const qep_qspec *s, range r, float *scale, float *zero)
{
    int max_code = qep_max_code(s->bits);
    *scale = qep_stored_scale(s, (r.hi - r.lo) / (float)max_code);
    if (s->symmetric) {
        *zero = (float)(1 << (s->bits - 1));
        if (s->signed_grid) *scale = qep_stored_scale(s, r.hi / (*zero - 1.0f));
        return;
    }
    float z = rintf(-r.lo / *scale);
    if (z < 0.0f) z = 0.0f; /* free_range without 0 inside */
    if (z < (float)s->zero_min) {
        /* The format has no such zero point: the smallest it has, and a scale that still reaches
         * hi. lo is within half a step of 0 (zero_min = 1), so it stays inside. */
        z = (float)s->zero_min;
        *scale = qep_stored_scale(s, r.hi / (float)(max_code - s->zero_min));
    }
    *zero = z < (float)max_code ? z : (float)max_code;
}

/* --- error of a candidate ------------------------------------------------------------------- */

/* a^2.4 for a >= 0, relative error below 4e-7; vectorizes, unlike powf. a = 2^e m with m in [1,
 * 2): m^2.4 by a polynomial of degree 6 in m - 3/2 (minimax, 2.2e-8), and 2^(12 e / 5) = 2^k
 * 2^(f / 5) with 12 e = 5 k + f, f in 0..4, by the polynomial through the five points. Results
 * below 2^-126 (a < 1.6e-16) are 0; a < 2^53. */
static inline float pow_2_4(float a)
{
    int32_t u;
    memcpy(&u, &a, sizeof u);
    /* kept positive for the division: 400 whole powers */
    int32_t e12 = 12 * ((u >> 23) - 127) + 5 * 400;
    int32_t k = (e12 * 52429) >> 18;                /* e12 / 5, exact below 81920 */
    float f = (float)(e12 - 5 * k);
    k -= 400;
    int32_t m_bits = (u & 0x7fffff) | 0x3f800000;
    int32_t k_bits = k < -126 ? 0 : (k + 127) << 23;
    float m, two_k;
    memcpy(&m, &m_bits, sizeof m);
    memcpy(&two_k, &k_bits, sizeof two_k);
    m -= 1.5f;
    float p = fmaf(m, -0.001257559866644442f, 0.0039083450101315975f);
    p = fmaf(p, m, -0.017513932660222054f);
    p = fmaf(p, m, 0.17560899257659912f);
    p = fmaf(p, m, 1.9758087396621704f);
    p = fmaf(p, m, 4.233884811401367f);
    p = fmaf(p, m, 2.6461777687072754f);
    float q = fmaf(f, 2.0371049686218612e-05f, 0.00042575690895318985f);
    q = fmaf(q, f, 0.009635732509195805f);
    q = fmaf(q, f, 0.13861648738384247f);
    q = fmaf(q, f, 1.0f);
    return p * q * two_k;
}

/* A grid on trial. per_step = 1 / scale: the trial multiplies where the coding divides. The two
 * can differ only at a tie between two codes, and there both codes are equally far from the
 * weight. lowest, highest: codes less zero. */
typedef struct candidate {
    float scale, zero;
    float per_step, lowest, highest;
} candidate;

static candidate new_candidate(const qep_qspec *s, range r)
{
    candidate c = {0};
    grid_of_range(s, r, &c.scale, &c.zero);
    c.per_step = 1.0f / c.scale;
    c.lowest = -c.zero;
    c.highest = (float)qep_max_code(s->bits) - c.zero;
    return c;
}

/* |q - w| */
static inline float distance(candidate c, float w)
{
    float q = rintf(w * c.per_step);
    q = q > c.lowest ? q : c.lowest;
    q = q < c.highest ? q : c.highest;
    return fabsf(fmaf(c.scale, q, -w));
}

static inline float sum_lanes(const float *lane)
{
    float t[8];
    for (int l = 0; l < 8; l++) t[l] = lane[l] + lane[l + 8];
    return ((t[0] + t[4]) + (t[2] + t[6])) + ((t[1] + t[5]) + (t[3] + t[7]));
}

/* sum |q - w|^2.4, or any value >= limit as soon as the partial sum reaches limit: terms are not
 * negative, so rounded sums never fall and the comparison with limit comes out as for the whole
 * sum. */
static float error_power(candidate c, const float *w, int64_t n, float limit)
{
    float lane[LANES] = {0};
    int64_t k = 0;
    for (; k + LANES <= n; k += LANES) {
        if (k % CHECK_EVERY == 0 && k > 0 && sum_lanes(lane) >= limit) return limit;
        for (int l = 0; l < LANES; l++) lane[l] += pow_2_4(distance(c, w[k + l]));
    }
    for (int l = 0; k + l < n; l++) lane[l] += pow_2_4(distance(c, w[k + l]));
    return sum_lanes(lane);
}

/* sum weight (q - w)^2; the same early end. */
static float error_weighted(candidate c, const float *w, const float *weight, int64_t n,
                            float limit)
{
    float lane[LANES] = {0};
    int64_t k = 0;
    for (; k + LANES <= n; k += LANES) {
        if (k % CHECK_EVERY == 0 && k > 0 && sum_lanes(lane) >= limit) return limit;
        for (int l = 0; l < LANES; l++) {
            float d = distance(c, w[k + l]);
            lane[l] += weight[k + l] * d * d;
        }
    }
    for (int l = 0; k + l < n; l++) {
        float d = distance(c, w[k + l]);
        lane[l] += weight[k + l] * d * d;
    }
    return sum_lanes(lane);
}

/* The same grid with its zero point moved by `by`; false when there is no such zero point. */
static bool move_zero(const qep_qspec *s, candidate *c, float by)
{
    c->zero += by;
    c->lowest -= by;
    c->highest -= by;
    return by == 0.0f || (!s->symmetric && c->zero >= (float)s->zero_min && c->highest >= 0.0f);
}

static candidate best_weighted(const qep_qspec *s, range r, const float *w, const float *weight, int64_t n)
{
    static const float moves[] = {0.0f, -1.0f, 1.0f};
    candidate best = new_candidate(s, r);
    float best_error = INFINITY;
    for (int i = 0; i < N_WEIGHTED; i++)
        for (int m = 0; m < 3; m++) {
            float p = (float)(1.0 - i / 25.0);
            candidate c = new_candidate(s, (range){p * r.lo, p * r.hi});
            if (!move_zero(s, &c, moves[m])) continue;
            float error = error_weighted(c, w, weight, n, best_error);
            if (!(error < best_error)) continue;
            best_error = error;
            best = c;
        }
    return best;
}

static candidate best_power(const qep_qspec *s, range r, const float *w, int64_t n)
{
    candidate best = new_candidate(s, r);
    float best_error = INFINITY;
    const int64_t steps = s->clip_steps > 0 ? s->clip_steps : STEPS;
    for (int64_t i = 0; i < 4 * steps / 5; i++) {
        float p = (float)(1.0 - (double)i / (double)steps);
        candidate c = new_candidate(s, (range){p * r.lo, p * r.hi});
        float error = error_power(c, w, n, best_error);
        if (!(error < best_error)) continue;
        best_error = error;
        best = c;
    }
    return best;
}

void qep_grid_find(const qep_qspec *s, const float *w, const float *weight, int64_t n, float *scale,
                   int *zero)
{
    if (s->unit_grid) {
        *scale = 1.0f;
        *zero = 0;
        return;
    }
    range r = find_range(s, w, n);
    candidate best = s->clip == QEP_CLIP_NONE                      ? new_candidate(s, r)
                     : s->clip == QEP_CLIP_HESSIAN && weight != NULL ? best_weighted(s, r, w, weight, n)
                                                                   : best_power(s, r, w, n);
    *scale = best.scale;
    *zero = (int)best.zero;
}

void qep_grid_values(int64_t n, int64_t cols, int64_t groups, const uint8_t *codes,
                     const float *scales, const uint8_t *zeros, const int32_t *g_idx, float *values)
{
    for (int64_t r = 0; r < n; r++) {
        for (int64_t c = 0; c < cols; c++) {
            const int64_t g = r * groups + g_idx[c];
            values[r * cols + c] = qep_grid_value(codes[r * cols + c], scales[g], zeros[g]);
        }
    }
}
