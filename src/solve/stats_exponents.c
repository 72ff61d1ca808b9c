/* Pass 1 of the statistics: the exact largest magnitude of each channel over all sequences of
 * all ranks.
 * SPDX-License-Identifier: Apache-2.0 */
#include "stats_priv.h"
#include <math.h>

enum { CHANNELS = 256 }; /* of one task */

/* max[c] = larger of max[c] and |x[t, c]|; all finite. */
static void widen_max(float *max, const float *x, int64_t T, int64_t d)
{
#pragma omp parallel for schedule(static)
    for (int64_t c0 = 0; c0 < d; c0 += CHANNELS) {
        const int64_t c1 = qep_min_i64(c0 + CHANNELS, d);
        for (int64_t t = 0; t < T; t++)
            for (int64_t c = c0; c < c1; c++) {
                const float v = fabsf(x[t * d + c]);
                max[c] = v > max[c] ? v : max[c];
            }
    }
}

static qep_status check_finite(const qep_stats_run *r, const char *what, const float *x,
                               int64_t seq, int64_t T)
{
    const int64_t d = r->plan->d, at = qep_find_nonfinite_f32(x, T * d);
    if (at < 0) return QEP_OK;
    return qep_fail(QEP_E_NUMERIC,
                    "statistics: %s is not finite (rank %d, its calibration sequence %lld, "
                    "token %lld, channel %lld). The model overflows here: check its weights, or the "
                    "layers quantized before this one",
                    what, qep_rank(r->comm), (long long)seq, (long long)(at / d),
                    (long long)(at % d));
}

/* Over my sequences; stops at the first bad one. */
static qep_status my_maxima(qep_stats_run *r, float *xq_max, float *delta_max)
{
    const qep_tap_source *src = r->source;
    const int64_t d = r->plan->d;
    for (int64_t i = 0; i < src->n_seq; i++) {
        const int64_t T = src->tokens(src->ctx, i);
        QEP_REQUIRE(T >= 0 && T <= src->max_tokens);
        src->get(src->ctx, i, r->tap.xq, r->tap.delta);
        QEP_TRY(check_finite(r, "the input of the quantized stream", r->tap.xq, i, T));
        widen_max(xq_max, r->tap.xq, T, d);
        if (r->tap.delta == NULL) continue;
        QEP_TRY(check_finite(r, "the difference of the two streams", r->tap.delta, i, T));
        widen_max(delta_max, r->tap.delta, T, d);
    }
    return QEP_OK;
}

qep_status qep_stats_exponents_all(qep_stats_run *r)
{
    const int64_t d = r->plan->d;
    float *max = qep_alloc("stats.scale", 2 * d, sizeof *max); /* quantized stream, then delta */
    qep_status st = qep_agree_all(r->comm, my_maxima(r, max, max + d));
    if (st == QEP_OK) {
        qep_max_f32_all(r->comm, max, 2 * d);
        for (int64_t c = 0; c < 2 * d; c++) {
            int e = 0;
            (void)frexpf(max[c], &e); /* max = m 2^e, 1/2 <= m < 1; e = 0 for 0 */
            (c < d ? r->xq_exp : r->delta_exp)[c % d] = e;
        }
    }
    qep_free(max);
    return st;
}
