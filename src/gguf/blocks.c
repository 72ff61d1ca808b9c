/* The block types of quantized linears (formats.md 6.2, 6.3; ggml's block layouts). A code less its zero point is a small integer, so that most results fit a type
 * exactly: 2 and 3 bits always into Q4_0, 4 bits into Q5_0, with scale s as the block's d and no offset.
 * SPDX-License-Identifier: Apache-2.0 */
#include "qep/gguf.h"

#include <string.h>

enum { OWN_ZERO = -1 };

static const qep_gguf_block blocks[] = {
    {QEP_GGUF_Q4_0, "Q4_0", 32, 18, 4, 8},           {QEP_GGUF_Q5_0, "Q5_0", 32, 22, 5, 16},
    {QEP_GGUF_Q8_0, "Q8_0", 32, 34, 8, 128},         {QEP_GGUF_Q2_K, "Q2_K", 256, 84, 2, OWN_ZERO},
    {QEP_GGUF_Q3_K, "Q3_K", 256, 110, 3, 4},         {QEP_GGUF_Q4_K, "Q4_K", 256, 144, 4, OWN_ZERO},
};

const qep_gguf_block *qep_gguf_block_of(int64_t id)
{
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        if ((int64_t)blocks[i].id == id)
            return &blocks[i];
    return NULL;
}

static qep_gguf_type type_for(int bits, bool symmetric, bool large)
{
    if (bits == 8)
        return QEP_GGUF_Q8_0;
    if (bits == 2)
        return large ? QEP_GGUF_Q2_K : QEP_GGUF_Q4_0;
    if (bits == 3)
        return large && symmetric ? QEP_GGUF_Q3_K : QEP_GGUF_Q4_0;
    return symmetric ? QEP_GGUF_Q4_0 : large ? QEP_GGUF_Q4_K : QEP_GGUF_Q5_0;
}

const qep_gguf_block *qep_gguf_block_for(int bits, bool symmetric, bool any_order, int64_t width,
                                         bool *exact)
{
    bool fits = !any_order && width % 32 == 0;

    *exact = fits && !(bits == 8 && !symmetric);
    return qep_gguf_block_of(*exact ? type_for(bits, symmetric, width % 256 == 0) : QEP_GGUF_Q8_0);
}

/* --- 16 and 32 bits, little-endian ---------------------------------------------------------------- */

static void put_half(uint8_t *out, uint16_t h)
{
    out[0] = (uint8_t)(h & 0xff);
    out[1] = (uint8_t)(h >> 8);
}

static uint16_t get_half(const uint8_t *in)
{
    return (uint16_t)(in[0] | in[1] << 8);
}

static void put_word(uint8_t *out, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(v >> (8 * i) & 0xff);
}

static uint32_t get_word(const uint8_t *in)
{
    return (uint32_t)in[0] | (uint32_t)in[1] << 8 | (uint32_t)in[2] << 16 | (uint32_t)in[3] << 24;
}

/* --- fields of codes -------------------------------------------------------------------------------- */

/* The low four bits of 32 codes; the fifth of each goes to the result. */
static uint32_t put_nibbles(uint8_t *qs, const uint8_t *q)
{
    uint32_t high = 0;

    for (int j = 0; j < 16; j++) {
        qs[j] = (uint8_t)((q[j] & 15) | (q[j + 16] & 15) << 4);
        high |= (uint32_t)(q[j] >> 4 & 1) << j | (uint32_t)(q[j + 16] >> 4 & 1) << (j + 16);
    }
    return high;
}

static void get_nibbles(const uint8_t *qs, uint32_t high, uint8_t *q)
{
    for (int j = 0; j < 32; j++) {
        int low = j < 16 ? qs[j] & 15 : qs[j - 16] >> 4;

        q[j] = (uint8_t)(low | (int)(high >> j & 1) << 4);
    }
}

/* Two bits of 256 codes: byte l of each half holds elements l, l + 32, l + 64, l + 96. */
static void put_pairs(uint8_t *qs, const uint8_t *q)
{
    for (int half = 0; half < 2; half++)
        for (int l = 0; l < 32; l++) {
            const uint8_t *at = q + 128 * half + l;

            qs[32 * half + l] = (uint8_t)((at[0] & 3) | (at[32] & 3) << 2 | (at[64] & 3) << 4 |
                                          (at[96] & 3) << 6);
        }
}

static void get_pairs(const uint8_t *qs, uint8_t *q)
{
    for (int i = 0; i < 256; i++)
        q[i] = (uint8_t)(qs[i / 128 * 32 + i % 32] >> (2 * (i % 128 / 32)) & 3);
}

/* The third bit of 256 codes: bit i / 32 of byte i % 32. */
static void put_thirds(uint8_t *mask, const uint8_t *q)
{
    memset(mask, 0, 32);
    for (int i = 0; i < 256; i++)
        mask[i % 32] |= (uint8_t)((q[i] >> 2 & 1) << (i / 32));
}

static void get_thirds(const uint8_t *mask, uint8_t *q)
{
    for (int i = 0; i < 256; i++)
        q[i] |= (uint8_t)((mask[i % 32] >> (i / 32) & 1) << 2);
}

/* Four bits of 256 codes: for each 64 of them 32 bytes, the first 32 in the low nibbles. */
static void put_fours(uint8_t *qs, const uint8_t *q)
{
    for (int i = 0; i < 128; i++) {
        const uint8_t *at = q + i / 32 * 64 + i % 32;

        qs[i] = (uint8_t)(at[0] | at[32] << 4);
    }
}

static void get_fours(const uint8_t *qs, uint8_t *q)
{
    for (int i = 0; i < 128; i++) {
        q[i / 32 * 64 + i % 32] = qs[i] & 15;
        q[i / 32 * 64 + i % 32 + 32] = qs[i] >> 4;
    }
}

/* --- scale bytes of the large blocks: every scale stands for 1, every minimum is the zero point ---- */

enum { SCALES = 16 }; /* most of a block */

static int scale_bytes(qep_gguf_type id, int zero, uint8_t *s)
{
    if (id == QEP_GGUF_Q2_K) {
        memset(s, 1 | zero << 4, 16);
        return 16;
    }
    if (id == QEP_GGUF_Q3_K) { /* 6 bits: 33 */
        memset(s, 0x11, 8);
        memset(s + 8, 0xAA, 4);
        return 12;
    }
    memset(s, 1, 4); /* Q4_K, 6 bits each */
    memset(s + 4, zero, 4);
    memset(s + 8, 1 | zero << 4, 4);
    return 12;
}

static int zero_of(qep_gguf_type id, const uint8_t *s)
{
    return id == QEP_GGUF_Q2_K ? s[0] >> 4 : id == QEP_GGUF_Q4_K ? s[4] & 15 : 4;
}

/* --- blocks ----------------------------------------------------------------------------------------- */

/* Codes as the type has them: with its own zero point. */
static void shift_codes(const qep_gguf_block *t, const uint8_t *codes, int zero, uint8_t *q)
{
    int add = t->zero == OWN_ZERO ? 0 : t->zero - zero;

    for (int64_t j = 0; j < t->weights; j++) {
        int v = codes[j] + add;

        QEP_REQUIRE(v >= 0 && v >> t->bits == 0);
        q[j] = (uint8_t)v;
    }
}

void qep_gguf_put_block(const qep_gguf_block *t, const uint8_t *codes, float scale, int zero,
                        uint8_t *out)
{
    uint16_t d = qep_f32_to_f16(scale);
    uint8_t q[256];

    shift_codes(t, codes, zero, q);
    switch (t->id) {
    case QEP_GGUF_Q2_K:
        (void)scale_bytes(t->id, zero, out);
        put_pairs(out + 16, q);
        put_half(out + 80, d);
        put_half(out + 82, d);
        return;
    case QEP_GGUF_Q3_K:
        put_thirds(out, q);
        put_pairs(out + 32, q);
        (void)scale_bytes(t->id, zero, out + 96);
        put_half(out + 108, d);
        return;
    case QEP_GGUF_Q4_K:
        put_half(out, d);
        put_half(out + 2, d);
        (void)scale_bytes(t->id, zero, out + 4);
        put_fours(out + 16, q);
        return;
    case QEP_GGUF_Q8_0:
        put_half(out, d);
        for (int j = 0; j < 32; j++)
            out[2 + j] = q[j] ^ 0x80; /* signed */
        return;
    case QEP_GGUF_Q5_0:
        put_half(out, d);
        put_word(out + 2, put_nibbles(out + 6, q));
        return;
    default:
        put_half(out, d);
        (void)put_nibbles(out + 2, q);
    }
}

/* Where the scale bytes and the scale of a large block are. */
static bool get_large(const qep_gguf_block *t, const uint8_t *s, const uint8_t *d, const uint8_t *minimum,
                      uint16_t *half, int *zero)
{
    uint8_t want[SCALES];

    *zero = zero_of(t->id, s);
    *half = get_half(d);
    return memcmp(s, want, (size_t)scale_bytes(t->id, *zero, want)) == 0 &&
           (!minimum || get_half(minimum) == *half);
}

bool qep_gguf_get_block(const qep_gguf_block *t, const uint8_t *in, uint8_t *codes, float *scale,
                        int *zero)
{
    uint16_t d = get_half(in);
    bool ours = true;

    *zero = t->zero;
    if (t->id == QEP_GGUF_Q2_K) {
        ours = get_large(t, in, in + 80, in + 82, &d, zero);
        get_pairs(in + 16, codes);
    } else if (t->id == QEP_GGUF_Q3_K) {
        ours = get_large(t, in + 96, in + 108, NULL, &d, zero);
        get_pairs(in + 32, codes);
        get_thirds(in, codes);
    } else if (t->id == QEP_GGUF_Q4_K) {
        ours = get_large(t, in + 4, in, in + 2, &d, zero);
        get_fours(in + 16, codes);
    } else if (t->id == QEP_GGUF_Q8_0) {
        for (int j = 0; j < 32; j++)
            codes[j] = in[2 + j] ^ 0x80;
    } else if (t->id == QEP_GGUF_Q5_0) {
        get_nibbles(in + 6, get_word(in + 2), codes);
    } else {
        get_nibbles(in + 2, 0, codes);
    }
    *scale = qep_f16_to_f32(d);
    return ours;
}
