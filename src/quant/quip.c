/* quant: QuIP's rescaling and its grid, one for a whole tensor (arXiv 2307.13304, algorithms 1 to
 * 3). SPDX-License-Identifier: Apache-2.0 */
#include "quant_priv.h"

#define LEAST 1e-8

const qep_method qep_method_quip = {
    .name = "quip",
    .help = "second-order rounding between random orthogonal transforms (Chee et al. 2023)",
    .reads = "bits damping block_size rotation_seed",
    .needs = QEP_NEEDS_H,
    .drive = QEP_DRIVE_ROTATED,
    .bits = QEP_BITS_PACKED,
    .clips = 1u << QEP_CLIP_NONE,
    .asymmetric = true,
    .dense_only = "its codes are those of the rotated weights",
};

void qep_quip_rescale(const double *diag, const double *colsq, int64_t cols, double *D)
{
    double top = 0.0;
    for (int64_t c = 0; c < cols; c++) top = fmax(top, diag[c]);
    if (top == 0.0) top = 1.0;
    for (int64_t c = 0; c < cols; c++)
        D[c] = pow(fmax(diag[c] / top, LEAST) / fmax(colsq[c], LEAST), 0.25);
}

void qep_quip_to_codes(float *w, int64_t n, double s, int bits)
{
    const double top = qep_max_code(bits);
    for (int64_t i = 0; i < n; i++) {
        double c = ((double)w[i] / s + 1.0) / 2.0 * top;
        c = c > 0.0 ? c : 0.0;
        w[i] = (float)(c < top ? c : top);
    }
}

float qep_quip_value(int code, double s, int bits, bool paper)
{
    const float v = (float)(s * (2.0 * code / qep_max_code(bits) - 1.0));
    return paper ? qep_f16_to_f32(qep_f32_to_f16(v)) : v;
}
