/* 64-bit hash for digests and fingerprints; not for security.
 * SPDX-License-Identifier: Apache-2.0 */
#include "qep/base.h"

/* Odd constants with well spread bits (from the digits of the golden ratio and of sqrt 3). */
static const uint64_t k1 = UINT64_C(0x9E3779B97F4A7C15);
static const uint64_t k2 = UINT64_C(0xBB67AE8584CAA73B);

static uint64_t rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

/* Little-endian word of n <= 8 bytes, whatever the machine. */
static uint64_t load_le(const unsigned char *p, size_t n)
{
    uint64_t w = 0;
    for (size_t i = 0; i < n; i++) w |= (uint64_t)p[i] << (8 * i);
    return w;
}

static uint64_t absorb(uint64_t h, uint64_t w)
{
    w *= k1;
    w ^= w >> 32;
    return rotl(h ^ w, 29) * k2 + k1;
}

/* Finalizer of splitmix64 (Steele, Lea, Flood 2014): every input bit reaches every output bit. */
static uint64_t finish(uint64_t h)
{
    h = (h ^ (h >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    h = (h ^ (h >> 27)) * UINT64_C(0x94D049BB133111EB);
    return h ^ (h >> 31);
}

/* out[k]: the hash by seed[k]; n <= 2. A chain waits for its own products: two of them side by side keep the processor busy. */
static inline void hash(const void *data, size_t bytes, int n, const uint64_t *seed, uint64_t *out)
{
    const unsigned char *p = data;
    uint64_t h[2] = {0};
    size_t left = bytes;
    for (int k = 0; k < n; k++) h[k] = finish(seed[k] + k1);
    for (; left >= 8; p += 8, left -= 8) {
        const uint64_t w = load_le(p, 8);
        for (int k = 0; k < n; k++) h[k] = absorb(h[k], w);
    }
    for (int k = 0; k < n; k++) {
        if (left > 0) h[k] = absorb(h[k], load_le(p, left));
        out[k] = finish(absorb(h[k], (uint64_t)bytes));
    }
}

uint64_t qep_hash64(const void *data, size_t bytes, uint64_t seed)
{
    uint64_t out;
    hash(data, bytes, 1, &seed, &out);
    return out;
}

void qep_hash64_pair(const void *data, size_t bytes, const uint64_t seed[2], uint64_t out[2])
{
    hash(data, bytes, 2, seed, out);
}
