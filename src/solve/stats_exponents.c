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

static const char *const what[QEP_STATS_KINDS] = {"the input of the quantized stream", "the difference of the two streams",
                                                  "the difference of the two residual streams"};

static qep_status check_finite(const qep_stats_run *r, int kind, int64_t seq, int64_t T)
{
    const int64_t d = r->tap[kind].width, at = qep_find_nonfinite_f32(r->tap[kind].x, T * d);
    if (at < 0) return QEP_OK;
    return qep_fail(QEP_E_NUMERIC,
                    "statistics: %s is not finite (rank %d, its calibration sequence %lld, "
                    "token %lld, channel %lld). The model overflows here: check its weights, or the "
                    "layers quantized before this one",
                    what[kind], qep_rank(r->comm), (long long)seq, (long long)(at / d),
                    (long long)(at % d));
}

int64_t qep_stats_channels(const qep_stats_run *r)
{
    int64_t n = 0;
    for (int k = 0; k < QEP_STATS_KINDS; k++) n += r->tap[k].width;
    return n;
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
            QEP_TRY(check_finite(r, k, i, T));
            widen_max(at, r->tap[k].x, T, r->tap[k].width);
        }
    }
    r->raw = r->sets == src->n_seq && r->plan->compute == QEP_COMPUTE_F32;
    return QEP_OK;
}

void qep_stats_exponents(qep_stats_run *r, const float *max)
{
    for (int k = 0; k < QEP_STATS_KINDS; max += r->tap[k].width, k++)
        for (int64_t c = 0; c < r->tap[k].width; c++) {
            int e = 0;
            (void)frexpf(max[c], &e); /* max = m 2^e, 1/2 <= m < 1; e = 0 for 0 */
            r->tap[k].exp[c] = e;
        }
}
