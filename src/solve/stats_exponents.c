/* Pass 1 of the statistics: the exact largest magnitude of each channel over all sequences of
 * all ranks.
 * SPDX-License-Identifier: Apache-2.0 */
#include "stats_priv.h"
#include <math.h>
#include <omp.h>
#include <string.h>

/* What the products cannot hold: not a number, Inf, or a number that bf16 rounds to Inf. */
static bool is_bad(float v, float limit)
{
    return !(fabsf(v) < limit);
}

static float limit_of(const qep_stats_run *r)
{
    return r->plan->compute == QEP_COMPUTE_BF16 ? 0x1.FFp127F : INFINITY;
}

/* max[n]: larger of max and |x|; whether x has a bad one. */
static bool widen_row(float *restrict max, const float *restrict x, int64_t n, float limit)
{
    unsigned bad = 0; /* no early exit: the loop becomes vector code */
    for (int64_t c = 0; c < n; c++) {
        const float v = fabsf(x[c]);
        bad |= (unsigned)is_bad(v, limit);
        max[c] = v > max[c] ? v : max[c];
    }
    return bad != 0;
}

/* max[channels of the tap] over T tokens, each thread's in its room for a leaf, which holds `piece` channels at a time; false: there is a bad one. */
static bool widen_max(const qep_stats_run *r, const qep_tap *tap, int64_t T, float *max)
{
    const int64_t d = tap->width, piece = (int64_t)QEP_STATS_TILE * QEP_STATS_TILE;
    const float limit = limit_of(r);
    int bad = 0;
    for (int64_t c0 = 0; c0 < d; c0 += piece) {
        const int64_t n = qep_min_i64(piece, d - c0);
#pragma omp parallel reduction(| : bad)
        {
            float *mine = r->leaf + omp_get_thread_num() * piece;
            memset(mine, 0, (size_t)n * sizeof *mine);
#pragma omp for schedule(static)
            for (int64_t t = 0; t < T; t++) bad |= (int)widen_row(mine, tap->x + t * d + c0, n, limit);
#pragma omp critical(qep_stats_maxima)
            for (int64_t c = 0; c < n; c++) max[c0 + c] = fmaxf(max[c0 + c], mine[c]);
        }
    }
    return bad == 0;
}

static const char *const what[QEP_STATS_KINDS] = {"the input of the quantized stream", "the difference of the two streams",
                                                  "the difference of the two residual streams"};

/* Names the first bad input of a sequence. */
static qep_status not_finite(const qep_stats_run *r, int kind, int64_t seq)
{
    const int64_t d = r->tap[kind].width;
    const float *x = r->tap[kind].x;
    int64_t at = 0;
    while (!is_bad(x[at], limit_of(r))) at++;
    return qep_fail(QEP_E_NUMERIC,
                    "statistics: %s is not finite%s (rank %d, its calibration sequence %lld, "
                    "token %lld, channel %lld). The model overflows here: check its weights, or the "
                    "layers quantized before this one",
                    what[kind], r->plan->compute == QEP_COMPUTE_BF16 ? " in bf16" : "", qep_rank(r->comm), (long long)seq, (long long)(at / d),
                    (long long)(at % d));
}

qep_status qep_stats_maxima(qep_stats_run *r, float *max)
{
    const qep_tap_source *src = r->source;
    for (int64_t i = 0; i < src->n_seq; i++) {
        const int64_t T = src->tokens(src->ctx, i);
        QEP_REQUIRE(T >= 0 && T <= src->max_tokens);
        if (T == 0) continue;
        qep_stats_get(r, i);
        float *at = max;
        for (int k = 0; k < QEP_STATS_KINDS; at += r->tap[k].width, k++) {
            if (r->tap[k].width == 0) continue;
            if (!widen_max(r, &r->tap[k], T, at)) return not_finite(r, k, i);
        }
        if (r->sets == src->n_seq) qep_stats_round(r, T);
    }
    r->raw = r->sets == src->n_seq;
    return QEP_OK;
}

void qep_stats_exponents(qep_stats_run *r, const float *max)
{
    for (int k = 0; k < QEP_STATS_KINDS; max += r->tap[k].width, k++)
        for (int64_t c = 0; c < r->tap[k].width; c++) {
            int e = 0;
            (void)frexpf(max[c], &e); /* max = m 2^e, 1/2 <= m < 1; e = 0 for 0 */
            r->tap[k].exp[c] = e;
            r->tap[k].unit[c] = qep_stats_is_scaled(e) ? 1.0 : ldexp(1.0, -e);
        }
}
