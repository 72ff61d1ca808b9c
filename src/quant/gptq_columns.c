/* quant: the column loop of GPTQ inside one block, 64 rows at a time. The panel of a block of
 * 128 columns fits in the first-level cache; every inner loop runs over the QEP_STRIP rows.
 * SPDX-License-Identifier: Apache-2.0 */
#include "gptq_priv.h"

typedef struct column {
    const float *target, *acc, *scale, *zero; /* [QEP_STRIP] */
    float *err;
    uint8_t *code;
    double *loss;
} column;

/* w = W* + acc / R_jj; code, error against the target, loss (w - q)^2 R_jj^2. */
static void quantize_column(column c, float r_jj, float max_code)
{
    float code[QEP_STRIP], miss[QEP_STRIP];
    for (int i = 0; i < QEP_STRIP; i++) {
        float w = c.target[i] + c.acc[i] / r_jj;
        code[i] = qep_code_f32(w, c.scale[i], c.zero[i], max_code);
        float q = c.scale[i] * (code[i] - c.zero[i]);
        c.err[i] = c.target[i] - q;
        miss[i] = w - q;
    }
    for (int i = 0; i < QEP_STRIP; i++) c.code[i] = (uint8_t)(int)code[i];
    for (int i = 0; i < QEP_STRIP; i++) {
        double e = (double)miss[i] * (double)r_jj;
        c.loss[i] += e * e;
    }
}

/* acc_k += err * r_k for n columns to the right; err stays in registers. */
static void spread_error(float *restrict acc, const float *restrict err, const float *restrict r,
                         int64_t n)
{
    float e[QEP_STRIP];
    for (int i = 0; i < QEP_STRIP; i++) e[i] = err[i];
    for (int64_t k = 0; k < n; k++)
        for (int i = 0; i < QEP_STRIP; i++) {
            float *a = &acc[k * QEP_STRIP + i];
            *a = fmaf(e[i], r[k], *a);
        }
}

void qep_gptq_columns(struct qep_gptq *g, int64_t c0, int64_t n, const float *r, int64_t ldr)
{
    float max_code = (float)qep_max_code(g->spec.bits);
    for (int64_t j = 0; j < n; j++) {
        int64_t group = g->group_of[c0 + j];
        const float *row = r + j * ldr;
        column c = {
            .target = g->target_p + j * QEP_STRIP,
            .acc = g->acc_p + j * QEP_STRIP,
            .scale = g->scales + group * QEP_STRIP,
            .zero = g->zeros + group * QEP_STRIP,
            .err = g->err_p + j * QEP_STRIP,
            .code = g->codes + (c0 + j) * QEP_STRIP,
            .loss = g->loss,
        };
        quantize_column(c, row[j], max_code);
        spread_error(g->acc_p + (j + 1) * QEP_STRIP, c.err, row + j + 1, n - j - 1);
    }
}
