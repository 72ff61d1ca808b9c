/* f32 products into fixed-point sums. SPDX-License-Identifier: Apache-2.0 */
#include "stats_priv.h"
#include <string.h>

/* Adding 1.5 * 2^52 to a double of magnitude up to 2^51 rounds it to a whole number, which then
 * stands in the low bits: rounding and conversion by plain additions, which every vector unit
 * has (AVX2 cannot convert to int64). */
static const double magic = 0x1.8p52;

static uint64_t bits_of(double v)
{
    uint64_t b;
    memcpy(&b, &v, sizeof b);
    return b;
}

void qep_stats_add_fixed(int64_t *restrict sum, const float *restrict leaf, int64_t n, double unit, const double *restrict units)
{
    const uint64_t zero = bits_of(magic);
    for (int64_t i = 0; i < n; i++) {
        /* v has 24 significant bits; it is cut into high * 2^32 + low, |low| <= 2^31, both exact */
        const double v = (double)leaf[i] * (unit * units[i]);
        const double high = v * 0x1p-32 + magic;
        const double low = v - (high - magic) * 0x1p32;
        const uint64_t whole = ((bits_of(high) - zero) << 32) + (bits_of(low + magic) - zero);
        sum[i] = (int64_t)((uint64_t)sum[i] + whole);
    }
}
