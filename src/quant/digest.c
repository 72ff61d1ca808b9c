/* quant: the digest of a result. SPDX-License-Identifier: Apache-2.0 */
#include "quant_priv.h"

enum { CHUNK = 256 };

/* The bytes hashed are little-endian values, so the digest is the same on every machine that
 * qep_hash64 is. */
static uint64_t hash_scales(const float *scales, int64_t groups, uint64_t h)
{
    uint16_t half[CHUNK];
    for (int64_t g = 0; g < groups; g += CHUNK) {
        int64_t n = qep_min_i64(CHUNK, groups - g);
        for (int64_t i = 0; i < n; i++) half[i] = qep_f32_to_f16(scales[g + i]);
        h = qep_hash64(half, (size_t)n * sizeof half[0], h);
    }
    return h;
}

void qep_digest_row(uint64_t sum[2], int64_t linear, int64_t row, const uint8_t *codes,
                    const float *scales, const uint8_t *zeros, const int32_t *g_idx, int64_t cols,
                    int64_t groups)
{
    for (int i = 0; i < 2; i++) {
        int64_t key[3] = {i, linear, row};
        uint64_t h = qep_hash64(key, sizeof key, 0);
        h = qep_hash64(codes, (size_t)cols, h);
        h = hash_scales(scales, groups, h);
        h = qep_hash64(zeros, (size_t)groups, h);
        if (g_idx) h = qep_hash64(g_idx, (size_t)cols * sizeof g_idx[0], h);
        sum[i] += h;
    }
}
