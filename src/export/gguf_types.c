/* Which block type a quantized linear gets, and its rows in it: codes as they are where the type holds them exactly, else Q8_0 of the values (formats.md 6.3).
 * SPDX-License-Identifier: Apache-2.0 */
#include "gguf_priv.h"

#include <math.h>
#include <string.h>

const qep_gguf_block *qep_gguf_type_of(const qep_export_linear *l, bool *exact)
{
    qep_settings s = qep_settings_of(l);

    return qep_gguf_block_for((int)s.bits, s.sym, s.desc_act, qep_settings_width(&s, l->cols), exact);
}

int64_t qep_gguf_row_bytes(const qep_export_linear *l)
{
    bool exact;
    const qep_gguf_block *t = qep_gguf_type_of(l, &exact);

    return l->cols / t->weights * t->bytes;
}

/* Q8_0 of 32 values: scale = max |v| / 127, rounded to F16, at least F16's smallest normal number. values become what a reader gets. */
static void round_block(float *values, uint8_t *codes, float *scale)
{
    float most = 0;

    for (int j = 0; j < 32; j++)
        most = fmaxf(most, fabsf(values[j]));
    *scale = qep_f16_to_f32(qep_f32_to_f16(qep_f16_scale(most / 127.0f)));
    for (int j = 0; j < 32; j++) {
        int v = (int)fmaxf(-127, fminf(127, rintf(values[j] / *scale)));

        codes[j] = (uint8_t)(v + 128);
        values[j] = *scale * (float)v;
    }
}

double qep_gguf_round_row(float *values, int64_t cols, uint8_t *out)
{
    const qep_gguf_block *t = qep_gguf_block_of(QEP_GGUF_Q8_0);
    double worst = 0;

    for (int64_t k = 0; k < cols; k += 32) {
        float was[32], scale;
        uint8_t codes[32];

        memcpy(was, values + k, sizeof was);
        round_block(values + k, codes, &scale);
        for (int j = 0; j < 32; j++)
            worst = fmax(worst, fabs((double)values[k + j] - (double)was[j]));
        if (out)
            qep_gguf_put_block(t, codes, scale, 128, out + k / 32 * t->bytes);
    }
    return worst;
}

void qep_gguf_exact_row(const qep_export_linear *l, const uint8_t *codes, const float *scales,
                        const uint8_t *zeros, uint8_t *out)
{
    bool exact;
    const qep_gguf_block *t = qep_gguf_type_of(l, &exact);
    int64_t width = l->cols / qep_n_groups(&l->spec, l->cols);

    for (int64_t k = 0; k < l->cols; k += t->weights, out += t->bytes)
        qep_gguf_put_block(t, codes + k, scales[k / width], zeros[k / width], out);
}
