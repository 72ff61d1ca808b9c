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

uint64_t qep_hash64(const void *data, size_t bytes, uint64_t seed)
{
    const unsigned char *p = data;
    uint64_t h = finish(seed + k1);
    size_t left = bytes;
    for (; left >= 8; p += 8, left -= 8) h = absorb(h, load_le(p, 8));
    if (left > 0) h = absorb(h, load_le(p, left));
    return finish(absorb(h, (uint64_t)bytes));
}

/* A chain waits for its own products: two of them side by side keep the processor busy. */
void qep_hash64_pair(const void *data, size_t bytes, const uint64_t seed[2], uint64_t out[2])
{
    const unsigned char *p = data;
    uint64_t a = finish(seed[0] + k1), b = finish(seed[1] + k1);
    size_t left = bytes;
    for (; left >= 8; p += 8, left -= 8) {
        const uint64_t w = load_le(p, 8);
        a = absorb(a, w);
        b = absorb(b, w);
    }
    if (left > 0) {
        a = absorb(a, load_le(p, left));
        b = absorb(b, load_le(p, left));
    }
    out[0] = finish(absorb(a, (uint64_t)bytes));
    out[1] = finish(absorb(b, (uint64_t)bytes));
}
