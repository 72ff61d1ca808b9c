/* Random numbers: xoshiro256** 1.0 (Blackman, Vigna 2018), seeded by splitmix64.
 * SPDX-License-Identifier: Apache-2.0 */
#include "qep/tensor.h"

#include <math.h>

static uint64_t rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

static uint64_t splitmix64(uint64_t *state)
{
    *state += UINT64_C(0x9E3779B97F4A7C15);
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

void qep_rng_seed(qep_rng *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++) r->s[i] = splitmix64(&seed);
}

uint64_t qep_rng_u64(qep_rng *r)
{
    uint64_t *s = r->s;
    uint64_t result = rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

/* The upper 53 bits fill a double's mantissa. */
double qep_rng_uniform(qep_rng *r)
{
    return (double)(qep_rng_u64(r) >> 11) * 0x1p-53;
}

/* One number per pair of uniforms: without a kept second one the state is the whole state. */
double qep_rng_normal(qep_rng *r)
{
    const double two_pi = 6.283185307179586;
    double radius = sqrt(-2.0 * log(1.0 - qep_rng_uniform(r))); /* log of (0, 1] */
    return radius * cos(two_pi * qep_rng_uniform(r));
}
