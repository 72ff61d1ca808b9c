/* quant: rounding to nearest, group by group. SPDX-License-Identifier: Apache-2.0 */
#include "quant_priv.h"

const qep_method qep_method_rtn = {
    .name = "rtn",
    .help = "round to nearest",
    .reads = "bits group_size symmetric grid clip clip_steps",
    .drive = QEP_DRIVE_ROWS,
    .bits = QEP_BITS_PACKED,
    .clips = 1u << QEP_CLIP_NONE | 1u << QEP_CLIP_MSE,
    .symmetric = true,
    .asymmetric = true,
    .groups = true,
};

/* Codes of one row's group. */
static void code_group(uint8_t *codes, const float *w, int64_t n, int bits, float scale, int zero)
{
    float max_code = (float)qep_max_code(bits);
    for (int64_t k = 0; k < n; k++)
        codes[k] = (uint8_t)(int)qep_code_f32(w[k], scale, (float)zero, max_code);
}

void qep_rtn_strip(const qep_qspec *s, const float *w, const float *weight, int64_t cols,
                   qep_qstrip *out)
{
    int64_t groups = qep_n_groups(s, cols), width = qep_group_cols(s, cols);
    for (int64_t r = 0; r < QEP_STRIP; r++) {
        for (int64_t g = 0; g < groups; g++) {
            int64_t k0 = g * width, n = qep_min_i64(width, cols - k0);
            float *scale = &out->scales[r * groups + g];
            int zero = 0;
            qep_grid_find(s, w + r * cols + k0, weight ? weight + k0 : NULL, n, scale, &zero);
            out->zeros[r * groups + g] = (uint8_t)zero;
            code_group(out->codes + r * cols + k0, w + r * cols + k0, n, s->bits, *scale, zero);
        }
    }
}
