/* The GGUF types of quantized linears (formats.md 6.2, 6.3; ggml's block layouts): blocks of 32 or 256 weights of one row. A code less its zero point is a small integer, so
 * that most results fit a type exactly: 2 and 3 bits always into Q4_0, 4 bits into Q5_0, with scale s as the block's d and no offset.
 * SPDX-License-Identifier: Apache-2.0 */
#include "gguf_priv.h"

#include <math.h>
#include <string.h>

typedef struct type_row {
    qep_gguf_type id;
    const char *name;
    int64_t block, bytes; /* weights and bytes of a block */
} type_row;

static const type_row types[] = {
    {QEP_GGUF_Q4_0, "Q4_0", 32, 18},   {QEP_GGUF_Q5_0, "Q5_0", 32, 22},  {QEP_GGUF_Q8_0, "Q8_0", 32, 34},
    {QEP_GGUF_Q2_K, "Q2_K", 256, 84},  {QEP_GGUF_Q3_K, "Q3_K", 256, 110}, {QEP_GGUF_Q4_K, "Q4_K", 256, 144},
};

static const type_row *row_of(qep_gguf_type id)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].id == id)
            return &types[i];
    QEP_REQUIRE(!"a type of the table");
    return NULL;
}

const char *qep_gguf_type_name(qep_gguf_type id)
{
    return row_of(id)->name;
}

int64_t qep_gguf_row_bytes(qep_gguf_type id, int64_t cols)
{
    return cols / row_of(id)->block * row_of(id)->bytes;
}

/* The smallest type that holds the codes exactly; Q8_0 of their values where none does. */
qep_gguf_type qep_gguf_type_of(const qep_export_linear *l, bool *exact)
{
    qep_settings s = qep_settings_of(l);
    int64_t width = qep_settings_width(&s, l->cols);
    bool blocks = !s.desc_act && width % 32 == 0, large = blocks && width % 256 == 0;

    *exact = blocks && !(s.bits == 8 && !s.sym);
    if (!*exact || s.bits == 8)
        return QEP_GGUF_Q8_0;
    if (s.bits == 2)
        return large ? QEP_GGUF_Q2_K : QEP_GGUF_Q4_0;
    if (s.bits == 3)
        return large && s.sym ? QEP_GGUF_Q3_K : QEP_GGUF_Q4_0;
    return s.sym ? QEP_GGUF_Q4_0 : large ? QEP_GGUF_Q4_K : QEP_GGUF_Q5_0;
}

static void put_half(uint8_t *out, uint16_t h)
{
    out[0] = (uint8_t)(h & 0xff);
    out[1] = (uint8_t)(h >> 8);
}

/* 32 integers v (code - zero) plus `offset`, the low four bits; the fifth of each goes to high. */
static void put_nibbles(uint8_t *qs, uint32_t *high, const int *v, int offset)
{
    *high = 0;
    for (int j = 0; j < 16; j++) {
        unsigned a = (unsigned)(v[j] + offset), b = (unsigned)(v[j + 16] + offset);

        qs[j] = (uint8_t)((a & 15) | (b & 15) << 4);
        *high |= (a >> 4 & 1) << j | (b >> 4 & 1) << (j + 16);
    }
}

static void put_small(qep_gguf_type id, const int *v, uint16_t d, uint8_t *out)
{
    uint32_t high;

    put_half(out, d);
    if (id == QEP_GGUF_Q8_0) {
        for (int j = 0; j < 32; j++)
            out[2 + j] = (uint8_t)(int8_t)v[j];
    } else if (id == QEP_GGUF_Q4_0) {
        put_nibbles(out + 2, &high, v, 8);
    } else {
        put_nibbles(out + 6, &high, v, 16);
        for (int i = 0; i < 4; i++)
            out[2 + i] = (uint8_t)(high >> (8 * i) & 0xff);
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

static void put_q2_k(const uint8_t *q, uint16_t d, int zero, uint8_t *out)
{
    memset(out, 1 | zero << 4, 16);
    put_pairs(out + 16, q);
    put_half(out + 80, d);
    put_half(out + 82, d);
}

/* Every 6-bit scale is 33, which stands for 1. */
static void put_q3_k(const uint8_t *q, uint16_t d, uint8_t *out)
{
    memset(out, 0, 32);
    for (int i = 0; i < 256; i++)
        if (q[i] >= 4)
            out[i % 32] |= (uint8_t)(1 << (i / 32));
    put_pairs(out + 32, q);
    memset(out + 96, 0x11, 8);
    memset(out + 104, 0xAA, 4);
    put_half(out + 108, d);
}

/* Every scale is 1, every minimum the zero point. */
static void put_q4_k(const uint8_t *q, uint16_t d, int zero, uint8_t *out)
{
    put_half(out, d);
    put_half(out + 2, d);
    memset(out + 4, 1, 4);
    memset(out + 8, zero, 4);
    memset(out + 12, 1 | zero << 4, 4);
    for (int part = 0; part < 4; part++)
        for (int l = 0; l < 32; l++)
            out[16 + 32 * part + l] =
                (uint8_t)(q[64 * part + l] | q[64 * part + 32 + l] << 4);
}

static void put_exact(qep_gguf_type id, const uint8_t *codes, int64_t n, float scale, int zero,
                      uint8_t *out)
{
    uint16_t d = qep_f32_to_f16(scale);
    int v[32];

    if (id == QEP_GGUF_Q2_K)
        put_q2_k(codes, d, zero, out);
    else if (id == QEP_GGUF_Q3_K)
        put_q3_k(codes, d, out);
    else if (id == QEP_GGUF_Q4_K)
        put_q4_k(codes, d, zero, out);
    else {
        for (int64_t j = 0; j < n; j++)
            v[j] = codes[j] - zero;
        put_small(id, v, d, out);
    }
}

/* Q8_0 of 32 values: d = max |v| / 127, rounded to F16. Returns what a reader gets in back. */
static void round_block(const float *values, uint16_t *d, int *q, float *back)
{
    float most = 0, scale;

    for (int j = 0; j < 32; j++)
        most = fmaxf(most, fabsf(values[j]));
    *d = most > 0 ? qep_f32_to_f16(qep_f16_scale(most / 127.0f)) : 0;
    scale = qep_f16_to_f32(*d);
    for (int j = 0; j < 32; j++) {
        q[j] = most > 0 ? (int)fmaxf(-127, fminf(127, rintf(values[j] / scale))) : 0;
        back[j] = scale * (float)q[j];
    }
}

double qep_gguf_round_row(float *values, int64_t cols, uint8_t *out)
{
    double worst = 0;

    for (int64_t k = 0; k < cols; k += 32) {
        uint16_t d;
        int q[32];
        float back[32];

        round_block(values + k, &d, q, back);
        for (int j = 0; j < 32; j++)
            worst = fmax(worst, fabs((double)back[j] - (double)values[k + j]));
        memcpy(values + k, back, sizeof back);
        if (out)
            put_small(QEP_GGUF_Q8_0, q, d, out + k / 32 * 34);
    }
    return worst;
}

void qep_gguf_exact_row(qep_gguf_type id, const qep_export_linear *l, const uint8_t *codes,
                        const float *scales, const uint8_t *zeros, uint8_t *out)
{
    const type_row *t = row_of(id);
    int64_t width = l->cols / qep_n_groups(&l->spec, l->cols);

    for (int64_t k = 0; k < l->cols; k += t->block)
        put_exact(id, codes + k, t->block, scales[k / width], zeros[k / width],
                  out + k / t->block * t->bytes);
}
