/* Reproducible noise, fast enough for weights of gigabytes.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "bench.h"

/* Sum of the four 16-bit parts of a random word: near normal, variance 4 * 65536^2 / 12. */
static float word_noise(uint64_t v, double unit)
{
    const int64_t sum =
        (int64_t)((v & 0xffff) + (v >> 16 & 0xffff) + (v >> 32 & 0xffff) + (v >> 48));
    return (float)((double)(sum - 2 * 0xffff) * unit);
}

void bench_fill(float *x, int64_t n, double scale, uint64_t seed)
{
    enum { SPAN = 1 << 16 };
    const double unit = scale * sqrt(3.0) / 65536.0;
#pragma omp parallel for schedule(static)
    for (int64_t at = 0; at < n; at += SPAN) {
        qep_rng r;
        qep_rng_seed(&r, seed * 1000003u + (uint64_t)(at / SPAN));
        for (int64_t i = at; i < qep_min_i64(at + SPAN, n); i++)
            x[i] = word_noise(qep_rng_u64(&r), unit);
    }
}

float *bench_noise(int64_t n, double scale, uint64_t seed)
{
    float *x = qep_alloc("bench", n, sizeof *x);
    bench_fill(x, n, scale, seed);
    return x;
}
