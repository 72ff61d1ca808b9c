/* The Mersenne Twister as Python's random module uses it (Matsumoto and Nishimura 1998), so that
 * windows that others drew with random.seed and random.randint can be drawn again.
 * SPDX-License-Identifier: Apache-2.0 */
#include "qep/data.h"

enum { words = 624, shift_words = 397 };

static void init(qep_mt19937 *r, uint32_t seed)
{
    r->s[0] = seed;
    for (uint32_t i = 1; i < words; i++)
        r->s[i] = 1812433253u * (r->s[i - 1] ^ (r->s[i - 1] >> 30)) + i;
    r->at = words;
}

/* init_by_array with the seed's 32-bit words, low word first, as random.seed(int) does. */
void qep_mt_seed(qep_mt19937 *r, uint64_t seed)
{
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t n = key[1] ? 2 : 1;
    uint32_t i = 1, j = 0;
    init(r, 19650218u);
    for (int k = 0; k < words; k++) {
        r->s[i] = (r->s[i] ^ ((r->s[i - 1] ^ (r->s[i - 1] >> 30)) * 1664525u)) + key[j] + j;
        if (++i == words) {
            r->s[0] = r->s[words - 1];
            i = 1;
        }
        if (++j == n) j = 0;
    }
    for (int k = 0; k < words - 1; k++) {
        r->s[i] = (r->s[i] ^ ((r->s[i - 1] ^ (r->s[i - 1] >> 30)) * 1566083941u)) - i;
        if (++i == words) {
            r->s[0] = r->s[words - 1];
            i = 1;
        }
    }
    r->s[0] = 0x80000000u;
}

static void refill(qep_mt19937 *r)
{
    for (int i = 0; i < words; i++) {
        uint32_t y = (r->s[i] & 0x80000000u) | (r->s[(i + 1) % words] & 0x7FFFFFFFu);
        r->s[i] = r->s[(i + shift_words) % words] ^ (y >> 1) ^ ((y & 1u) ? 0x9908B0DFu : 0u);
    }
    r->at = 0;
}

static uint32_t next32(qep_mt19937 *r)
{
    if (r->at == words) refill(r);
    uint32_t y = r->s[r->at++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9D2C5680u;
    y ^= (y << 15) & 0xEFC60000u;
    return y ^ (y >> 18);
}

/* random.getrandbits(k), 1 <= k <= 64: low word first, the last one cut at its top. */
static uint64_t bits(qep_mt19937 *r, int k)
{
    if (k <= 32) return next32(r) >> (32 - k);
    uint64_t low = next32(r);
    return low | (uint64_t)(next32(r) >> (64 - k)) << 32;
}

int64_t qep_mt_randint(qep_mt19937 *r, int64_t a, int64_t b)
{
    QEP_REQUIRE(a <= b);
    uint64_t width = (uint64_t)b - (uint64_t)a + 1;
    QEP_REQUIRE(width != 0);
    int k = 0;
    for (uint64_t w = width; w; w >>= 1) k++;
    uint64_t v;
    do {
        v = bits(r, k);
    } while (v >= width);
    return a + (int64_t)v;
}
