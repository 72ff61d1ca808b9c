/* SwiGLU (Shazeer 2020): silu(gate) * up. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "nn_priv.h"

/* Elements a thread takes at a time: 3 x 64 KiB. */
#define CHUNK 16384

/* silu(g) = g / (1 + exp(-g)) = g * (g < 0 ? e : 1) / (1 + e) with e = exp(-|g|) <= 1: nothing
 * overflows, and small results on the negative side keep their relative precision. No restrict: out
 * may be gate. */
QEP_FOR_EACH_CPU
static void swiglu_chunk(float *out, const float *gate, const float *up, int64_t n)
{
#pragma GCC ivdep
    for (int64_t i = 0; i < n; i++) {
        float g = gate[i];
        float e = qep_exp_neg(-__builtin_fabsf(g));
        out[i] = g * (g < 0.0F ? e : 1.0F) / (1.0F + e) * up[i];
    }
}

void qep_swiglu(float *out, const float *gate, const float *up, int64_t n)
{
    const int64_t chunks = qep_ceil_div(n, CHUNK);
#pragma omp parallel for schedule(static)
    for (int64_t c = 0; c < chunks; c++) {
        int64_t i = c * CHUNK;
        swiglu_chunk(out + i, gate + i, up + i, qep_min_i64(CHUNK, n - i));
    }
}

void qep_swiglu_ref(float *out, const float *gate, const float *up, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        double g = (double)gate[i];
        out[i] = (float)(g / (1.0 + exp(-g)) * (double)up[i]);
    }
}
