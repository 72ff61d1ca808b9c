/* quant: codes as a little-endian bit stream. Code k has bits [bits * k, bits * (k + 1)) of the
 * stream; word w of the stream holds its bits [32 w, 32 w + 32). For 2, 3, 4 and 8 bits this is
 * the layout of GPTQ files. SPDX-License-Identifier: Apache-2.0 */
#include "quant_priv.h"

int64_t qep_packed_words(int64_t n, int bits)
{
    return qep_ceil_div(n * bits, 32);
}

void qep_pack_bits(uint32_t *words, const uint8_t *codes, int64_t stride, int64_t n, int bits)
{
    uint64_t pending = 0;
    int filled = 0;
    int64_t w = 0;
    for (int64_t k = 0; k < n; k++) {
        pending |= (uint64_t)codes[k * stride] << filled;
        filled += bits;
        if (filled >= 32) {
            words[w++] = (uint32_t)pending;
            pending >>= 32;
            filled -= 32;
        }
    }
    if (filled > 0) words[w] = (uint32_t)pending;
}

void qep_unpack_bits(uint8_t *codes, int64_t stride, const uint32_t *words, int64_t n, int bits)
{
    uint64_t pending = 0, mask = (1u << bits) - 1u;
    int filled = 0;
    int64_t w = 0;
    for (int64_t k = 0; k < n; k++) {
        if (filled < bits) {
            pending |= (uint64_t)words[w++] << filled;
            filled += 32;
        }
        codes[k * stride] = (uint8_t)(pending & mask);
        pending >>= bits;
        filled -= bits;
    }
}
