/* Losses of one row of logits. exp in f32 of differences from the largest logit, sums in f64.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "nn_priv.h"

/* Logits worked on at a time, so that exp and the f64 sums are two simple loops in L1. */
#define PART 1024

/* Index of the first entry equal to top, the row's largest; 0 when there is none (NaN). */
static int64_t first_equal(const float *x, int64_t V, float top)
{
    int64_t i = 0;
    for (; i + QEP_VEC <= V; i += QEP_VEC) {
        qep_i32_vec hit = QEP_VEC_AT(x + i) == top;
        int64_t any[QEP_VEC / 2];
        memcpy(any, &hit, sizeof any);
        if ((any[0] | any[1] | any[2] | any[3]) != 0) break;
    }
    for (; i < V; i++) {
        if (x[i] == top) return i;
    }
    return 0;
}

/* e[i] = exp(x[i] - top), top >= every x[i] */
QEP_FOR_EACH_CPU
static void exp_part(float *restrict e, const float *restrict x, int64_t n, float top)
{
    for (int64_t i = 0; i < n; i++)
        e[i] = qep_exp_neg(x[i] - top);
}

/* sum_i e[i] */
static double sum_part(const float *restrict e, int64_t n)
{
    double lane[QEP_LANES] = {0}, sum = 0;
    int64_t i = 0;
    for (; i + QEP_LANES <= n; i += QEP_LANES) {
        for (int64_t j = 0; j < QEP_LANES; j++)
            lane[j] += (double)e[i + j];
    }
    for (int64_t j = 0; i < n; i++, j++)
        lane[j] += (double)e[i];
    for (int64_t j = 0; j < QEP_LANES; j++)
        sum += lane[j];
    return sum;
}

/* sum_i e[i] * (p[i] - q[i]) */
static double difference_part(const float *restrict e, const float *restrict p,
                              const float *restrict q, int64_t n)
{
    double lane[QEP_LANES] = {0}, sum = 0;
    int64_t i = 0;
    for (; i + QEP_LANES <= n; i += QEP_LANES) {
        for (int64_t j = 0; j < QEP_LANES; j++)
            lane[j] += (double)e[i + j] * ((double)p[i + j] - (double)q[i + j]);
    }
    for (int64_t j = 0; i < n; i++, j++)
        lane[j] += (double)e[i] * ((double)p[i] - (double)q[i]);
    for (int64_t j = 0; j < QEP_LANES; j++)
        sum += lane[j];
    return sum;
}

/* sum_i exp(p[i] - top) and, given q, *difference = sum_i exp(p[i] - top) * (p[i] - q[i]) */
static double sum_exp(const float *p, const float *q, int64_t V, float top, double *difference)
{
    float e[PART];
    double sum = 0;
    if (q != NULL) *difference = 0;
    for (int64_t i = 0; i < V; i += PART) {
        int64_t n = qep_min_i64(PART, V - i);
        exp_part(e, p + i, n, top);
        sum += sum_part(e, n);
        if (q != NULL) *difference += difference_part(e, p + i, q + i, n);
    }
    return sum;
}

double qep_nll_row(const float *logits, int64_t V, int64_t target)
{
    QEP_REQUIRE(V > 0 && target >= 0 && target < V);
    float top = qep_largest(logits, V);
    return log(sum_exp(logits, NULL, V, top, NULL)) + ((double)top - (double)logits[target]);
}

/* Of a pair of rows: largest logits and sums of exp(x - top). */
typedef struct pair {
    float top_p, top_q;
    double sum_p, sum_q;
} pair;

/* sum_i P_i (log P_i - log Q_i) = sum_i P_i (p_i - q_i) - (logsumexp p - logsumexp q) */
static double divergence(const float *p, const float *q, int64_t V, pair *of)
{
    double difference;
    QEP_REQUIRE(V > 0);
    of->top_p = qep_largest(p, V);
    of->top_q = qep_largest(q, V);
    of->sum_p = sum_exp(p, q, V, of->top_p, &difference);
    of->sum_q = sum_exp(q, NULL, V, of->top_q, NULL);
    return difference / of->sum_p - ((double)of->top_p - (double)of->top_q) - (log(of->sum_p) - log(of->sum_q));
}

double qep_kl_row(const float *p, const float *q, int64_t V, bool *same_top)
{
    pair of;
    double kl = divergence(p, q, V, &of);
    *same_top = first_equal(p, V, of.top_p) == first_equal(q, V, of.top_q);
    return kl;
}

/* q[i] <- (softmax(q)[i] - softmax(p)[i]) times the cap's slope */
QEP_FOR_EACH_CPU
static void slopes(const float *restrict p, float *restrict q, int64_t n, const pair *of, float inverse_cap)
{
    const float top_p = of->top_p, top_q = of->top_q, scale_p = (float)(1.0 / of->sum_p), scale_q = (float)(1.0 / of->sum_q);
    for (int64_t i = 0; i < n; i++) {
        float share = q[i] * inverse_cap;
        float difference = qep_exp_neg(q[i] - top_q) * scale_q - qep_exp_neg(p[i] - top_p) * scale_p;
        q[i] = difference * (1.0F - share * share);
    }
}

double qep_kl_slope_row(const float *p, float *q, int64_t V, float cap)
{
    pair of;
    double kl = divergence(p, q, V, &of);
    slopes(p, q, V, &of, cap > 0.0F ? 1.0F / cap : 0.0F);
    return kl;
}

/* log sum exp x */
static double log_sum(const float *x, int64_t V)
{
    double top = (double)x[0], sum = 0;
    for (int64_t i = 1; i < V; i++) top = fmax(top, (double)x[i]);
    for (int64_t i = 0; i < V; i++) sum += exp((double)x[i] - top);
    return top + log(sum);
}

double qep_kl_slope_row_ref(const float *p, float *q, int64_t V, float cap)
{
    const double log_p = log_sum(p, V), log_q = log_sum(q, V);
    double kl = 0;
    for (int64_t i = 0; i < V; i++) {
        const double lp = (double)p[i] - log_p, lq = (double)q[i] - log_q, share = cap > 0.0F ? (double)q[i] / (double)cap : 0.0;
        kl += exp(lp) * (lp - lq);
        q[i] = (float)((exp(lq) - exp(lp)) * (1.0 - share * share));
    }
    return kl;
}
