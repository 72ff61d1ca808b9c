/* Gated activations (Shazeer 2020): act(gate) * up; and the soft cap of scores and logits. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "nn_priv.h"

/* Elements a thread takes at a time: 3 x 64 KiB. */
#define CHUNK 16384

/* silu(g) = g / (1 + exp(-g)) = g * (g < 0 ? e : 1) / (1 + e) with e = exp(-|g|) <= 1: nothing
 * overflows, and small results on the negative side keep their relative precision. No restrict: out
 * may be gate. */
QEP_FOR_EACH_CPU
static void silu_chunk(float *out, const float *gate, const float *up, int64_t n)
{
#pragma GCC ivdep
    for (int64_t i = 0; i < n; i++) {
        float g = gate[i];
        float e = qep_exp_neg(-__builtin_fabsf(g));
        out[i] = g * (g < 0.0F ? e : 1.0F) / (1.0F + e) * up[i];
    }
}

/* 0.5 g (1 + tanh u) = g / (1 + exp(-2 u)): the same with 2 u in the exponent. */
QEP_FOR_EACH_CPU
static void gelu_chunk(float *out, const float *gate, const float *up, int64_t n)
{
    const float a = 1.5957691216F, b = 0.0713548163F; /* 2 sqrt(2 / pi), and 0.044715 times that */
#pragma GCC ivdep
    for (int64_t i = 0; i < n; i++) {
        float g = gate[i];
        float z = g * __builtin_fmaf(g * g, b, a);
        float e = qep_exp_neg(-__builtin_fabsf(z));
        out[i] = g * (g < 0.0F ? e : 1.0F) / (1.0F + e) * up[i];
    }
}

void qep_glu(qep_act act, float *out, const float *gate, const float *up, int64_t n)
{
    const int64_t chunks = qep_ceil_div(n, CHUNK);
#pragma omp parallel for schedule(static)
    for (int64_t c = 0; c < chunks; c++) {
        const int64_t i = c * CHUNK, part = qep_min_i64(CHUNK, n - i);
        if (act == QEP_ACT_SILU)
            silu_chunk(out + i, gate + i, up + i, part);
        else
            gelu_chunk(out + i, gate + i, up + i, part);
    }
}

void qep_glu_ref(qep_act act, float *out, const float *gate, const float *up, int64_t n)
{
    const double pi = 3.14159265358979323846;
    for (int64_t i = 0; i < n; i++) {
        double g = (double)gate[i], u = sqrt(2.0 / pi) * (g + 0.044715 * g * g * g);
        double a = act == QEP_ACT_SILU ? g / (1.0 + exp(-g)) : g / (1.0 + exp(-2.0 * u));
        out[i] = (float)(a * (double)up[i]);
    }
}

QEP_FOR_EACH_CPU
void qep_cap_row(float *x, int64_t n, float cap)
{
    const float inverse = 1.0F / cap;
    for (int64_t i = 0; i < n; i++) x[i] = cap * qep_tanh(x[i] * inverse);
}

void qep_softcap(float *x, int64_t n, float cap)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i += CHUNK) qep_cap_row(x + i, qep_min_i64(CHUNK, n - i), cap);
}

void qep_softcap_ref(float *x, int64_t n, float cap)
{
    for (int64_t i = 0; i < n; i++) x[i] = (float)((double)cap * tanh((double)x[i] / (double)cap));
}
