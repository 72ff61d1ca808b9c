/* Losses of one row of logits. exp in f32 of differences from the largest logit, sums in f64.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "nn_priv.h"

/* Index of the first largest entry. V >= 1. */
static int64_t first_largest(const float *x, int64_t V)
{
    int64_t best = 0;
    for (int64_t i = 1; i < V; i++) {
        if (x[i] > x[best]) best = i;
    }
    return best;
}

static double sum_lanes(const double *lane)
{
    double sum = 0;
    for (int64_t j = 0; j < QEP_LANES; j++)
        sum += lane[j];
    return sum;
}

/* sum_i exp(x[i] - top), top >= every x[i] */
QEP_FOR_EACH_CPU
static double sum_exp(const float *x, int64_t n, float top)
{
    double lane[QEP_LANES] = {0};
    int64_t i = 0;
    for (; i + QEP_LANES <= n; i += QEP_LANES) {
        for (int64_t j = 0; j < QEP_LANES; j++)
            lane[j] += (double)qep_exp_neg(x[i + j] - top);
    }
    for (int64_t j = 0; i < n; i++, j++)
        lane[j] += (double)qep_exp_neg(x[i] - top);
    return sum_lanes(lane);
}

/* sum_i exp(p[i] - top) * (p[i] - q[i]) */
QEP_FOR_EACH_CPU
static double sum_exp_difference(const float *p, const float *q, int64_t n, float top)
{
    double lane[QEP_LANES] = {0};
    int64_t i = 0;
    for (; i + QEP_LANES <= n; i += QEP_LANES) {
        for (int64_t j = 0; j < QEP_LANES; j++)
            lane[j] += (double)qep_exp_neg(p[i + j] - top) * ((double)p[i + j] - (double)q[i + j]);
    }
    for (int64_t j = 0; i < n; i++, j++)
        lane[j] += (double)qep_exp_neg(p[i] - top) * ((double)p[i] - (double)q[i]);
    return sum_lanes(lane);
}

double qep_nll_row(const float *logits, int64_t V, int64_t target)
{
    QEP_REQUIRE(V > 0 && target >= 0 && target < V);
    float top = logits[first_largest(logits, V)];
    return log(sum_exp(logits, V, top)) + ((double)top - (double)logits[target]);
}

double qep_kl_row(const float *p, const float *q, int64_t V, bool *same_top)
{
    QEP_REQUIRE(V > 0);
    int64_t best_p = first_largest(p, V), best_q = first_largest(q, V);
    float top_p = p[best_p], top_q = q[best_q];
    double sum_p = sum_exp(p, V, top_p), sum_q = sum_exp(q, V, top_q);
    *same_top = best_p == best_q;
    /* sum_i P_i (log P_i - log Q_i) = sum_i P_i (p_i - q_i) - (logsumexp p - logsumexp q) */
    double mean = sum_exp_difference(p, q, V, top_p) / sum_p;
    return mean - ((double)top_p - (double)top_q) - (log(sum_p) - log(sum_q));
}
