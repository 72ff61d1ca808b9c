/* Which experts a token goes to. Softmax in f64: the choice itself is by the logits. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "nn_priv.h"

static bool is_chosen(const int32_t *expert, int64_t n, int64_t e)
{
    for (int64_t j = 0; j < n; j++)
        if (expert[j] == e) return true;
    return false;
}

/* Largest of the logits that are not chosen yet. */
static int32_t next_expert(const float *logits, int64_t E, const int32_t *expert, int64_t n)
{
    int64_t best = -1;
    for (int64_t e = 0; e < E; e++)
        if ((best < 0 || logits[e] > logits[best]) && !is_chosen(expert, n, e)) best = e;
    return (int32_t)best;
}

static void route_token(int32_t *expert, float *weight, const float *logits, int64_t E, int64_t k, bool renormalize)
{
    double all = 0.0, chosen = 0.0;
    for (int64_t j = 0; j < k; j++) expert[j] = next_expert(logits, E, expert, j);
    const double top = (double)logits[expert[0]];
    for (int64_t e = 0; e < E; e++) all += exp((double)logits[e] - top);
    for (int64_t j = 0; j < k; j++) chosen += exp((double)logits[expert[j]] - top);
    for (int64_t j = 0; j < k; j++) weight[j] = (float)(exp((double)logits[expert[j]] - top) / (renormalize ? chosen : all));
}

void qep_route(int32_t *expert, float *weight, const float *logits, int64_t T, int64_t E, int64_t k, bool renormalize)
{
    QEP_REQUIRE(k >= 1 && k <= E);
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < T; t++) route_token(expert + t * k, weight + t * k, logits + t * E, E, k, renormalize);
}
