/* Measured ceilings: independent chains of fused multiply-adds that never touch memory.
 * Each round is CHAINS instructions deep enough to hide the latency of 4 cycles on two ports.
 * SPDX-License-Identifier: Apache-2.0 */
#include <omp.h>

#include "linalg_priv.h"

#define CHAINS 12
#define ROUNDS 20000

/* Runs ROUNDS rounds and returns a number that depends on all of them, so that nothing is optimised
 * away. */
typedef double (*peak_kernel)(void);

#if defined(__x86_64__)

#include <immintrin.h>

/* One kernel: `vec` registers, CHAINS accumulators, acc = fma(acc, x, y) with |x| < 1 so that
 * values stay finite. */
#define PEAK_KERNEL(name, isa, vec, fma, set1, scalar, store, lanes)                               \
    __attribute__((target(isa), noinline)) static double name(void)                                \
    {                                                                                              \
        vec acc[CHAINS], x = set1((scalar)0.999), y = set1((scalar)0.001);                         \
        for (int i = 0; i < CHAINS; i++)                                                           \
            acc[i] = set1((scalar)(i + 1));                                                        \
        for (int r = 0; r < ROUNDS; r++) {                                                         \
            _Pragma("GCC unroll 12") for (int i = 0; i < CHAINS; i++) acc[i] = fma(acc[i], x, y);  \
        }                                                                                          \
        double sum = 0;                                                                            \
        for (int i = 0; i < CHAINS; i++) {                                                         \
            scalar out[lanes];                                                                     \
            store(out, acc[i]);                                                                    \
            sum += (double)out[0];                                                                 \
        }                                                                                          \
        return sum;                                                                                \
    }

PEAK_KERNEL(f32_avx512, "avx512f", __m512, _mm512_fmadd_ps, _mm512_set1_ps, float, _mm512_storeu_ps,
            16)
PEAK_KERNEL(f64_avx512, "avx512f", __m512d, _mm512_fmadd_pd, _mm512_set1_pd, double,
            _mm512_storeu_pd, 8)
PEAK_KERNEL(f32_avx2, "avx2,fma", __m256, _mm256_fmadd_ps, _mm256_set1_ps, float, _mm256_storeu_ps,
            8)
PEAK_KERNEL(f64_avx2, "avx2,fma", __m256d, _mm256_fmadd_pd, _mm256_set1_pd, double,
            _mm256_storeu_pd, 4)

/* 32 products of bf16 per instruction, added in pairs to 16 f32 sums; bits 0x3c00 are 2^-7. */
__attribute__((target("avx512f,avx512bf16"), noinline)) static double bf16_avx512(void)
{
    __m512 acc[CHAINS];
    const __m512bh x = (__m512bh)_mm512_set1_epi16(0x3c00);
    for (int i = 0; i < CHAINS; i++)
        acc[i] = _mm512_setzero_ps();
    for (int r = 0; r < ROUNDS; r++) {
        _Pragma("GCC unroll 12") for (int i = 0; i < CHAINS; i++) acc[i] =
            _mm512_dpbf16_ps(acc[i], x, x);
    }
    double sum = 0;
    for (int i = 0; i < CHAINS; i++)
        sum += (double)_mm512_cvtss_f32(acc[i]);
    return sum;
}

static peak_kernel f32_kernel(double *flop)
{
    bool wide = qep_cpu_simd() == QEP_SIMD_AVX512;
    *flop = wide ? 32 : 16;
    return wide ? f32_avx512 : qep_cpu_simd() == QEP_SIMD_AVX2 ? f32_avx2 : NULL;
}

static peak_kernel f64_kernel(double *flop)
{
    bool wide = qep_cpu_simd() == QEP_SIMD_AVX512;
    *flop = wide ? 16 : 8;
    return wide ? f64_avx512 : qep_cpu_simd() == QEP_SIMD_AVX2 ? f64_avx2 : NULL;
}

static peak_kernel bf16_kernel(double *flop)
{
    *flop = 64;
    return qep_cpu_has_bf16() ? bf16_avx512 : NULL;
}

#else

static peak_kernel f32_kernel(double *flop)
{
    *flop = 0;
    return NULL;
}

static peak_kernel f64_kernel(double *flop)
{
    *flop = 0;
    return NULL;
}

static peak_kernel bf16_kernel(double *flop)
{
    *flop = 0;
    return NULL;
}

#endif

/* GFLOP/s of all threads together: each runs whole rounds until the time is over. flop: per
 * instruction. */
static double measure(peak_kernel kernel, double flop, double seconds)
{
    if (kernel == NULL) return 0;
    double total = 0, guard = kernel(); /* the first rounds bring the clock up */
#pragma omp parallel num_threads(qep_linalg_threads()) reduction(+ : total, guard)
    {
        double start = qep_now_s(), now = start, calls = 0;
        while (now - start < seconds || calls == 0) {
            guard += kernel();
            calls += 1;
            now = qep_now_s();
        }
        total += calls * flop * CHAINS * ROUNDS / (now - start);
    }
    return guard > 0 ? total * 1e-9 : 0;
}

double qep_peak_f32_gflops(double seconds)
{
    double flop;
    peak_kernel kernel = f32_kernel(&flop);
    return measure(kernel, flop, seconds);
}

double qep_peak_f64_gflops(double seconds)
{
    double flop;
    peak_kernel kernel = f64_kernel(&flop);
    return measure(kernel, flop, seconds);
}

double qep_peak_bf16_gflops(double seconds)
{
    double flop;
    peak_kernel kernel = bf16_kernel(&flop);
    return measure(kernel, flop, seconds);
}
