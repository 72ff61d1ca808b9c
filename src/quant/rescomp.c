/* quant: ResComp (arXiv 2604.07955): GPTAQ that keeps aiming at the output of the original weights. Column i leaves
 *   a1 w_i P_i + (W*_i - w_i) R_i,  R = a2 ((K L) o SU) L^T,  K = C + H = X Xq^T
 * to the later ones. With H + mu I = R' R'^T, L = R'^-T, the part of H is ((H L) o SU) L^T = -SU(U) / U_ii row by row (H L = R' - mu L, and L is
 * lower), so that R = a2 (P - SU(U) / U_ii) needs no matrix of its own:
 *   W_>i <- W_>i - (w_i - q_i + a2 (W*_i - w_i)) U_i,>i / U_ii + (a1 w_i + a2 (W*_i - w_i)) P_i,>i.
 * Mode "org" takes the rounded weight for w_i in what goes on, "allw" the weight before rounding; auto: org at 2 bits, where allw can diverge (the
 * authors' rule). The published code does so beyond the block only; inside it w_i is used in both modes, and beyond it allw is clamped to
 * the range of the block's last grid. That needs R itself: a second matrix. SPDX-License-Identifier: Apache-2.0 */
#include "gptq_priv.h"

#include <string.h>

static bool rounded_goes_on(const qep_column *c)
{
    const char *mode = c->options->rescomp_mode;
    return strcmp(mode, "org") == 0 || (strcmp(mode, "auto") == 0 && c->spec->bits == 2);
}

static float clamped(const qep_column *c, int i)
{
    float lo = -c->last_zero[i] * c->last_scale[i], hi = (c->max_code - c->last_zero[i]) * c->last_scale[i];
    float w = c->w[i] > lo ? c->w[i] : lo;
    return w < hi ? w : hi;
}

static void published(qep_column *c)
{
    const float a1 = (float)c->options->rescomp_alpha1, a2 = (float)c->options->rescomp_alpha2;
    const bool org = rounded_goes_on(c);
    for (int i = 0; i < QEP_STRIP; i++) {
        const float beyond = org ? c->q[i] : clamped(c, i);
        c->err[i] = (c->target[i] + c->move[i]) - c->q[i];
        c->use[0][i] = a1 * c->w[i];
        c->use[1][i] = a2 * (c->target[i] - c->w[i]);
        c->out[0][i] = a1 * beyond;
        c->out[1][i] = a2 * (c->target[i] - beyond);
    }
}

static void rescomp_column(qep_column *c)
{
    const float a1 = (float)c->options->rescomp_alpha1, a2 = (float)c->options->rescomp_alpha2;
    const bool org = rounded_goes_on(c);
    qep_column_weigh(c);
    qep_column_round(c);
    if (c->spec->paper) {
        published(c);
        return;
    }
    for (int i = 0; i < QEP_STRIP; i++) {
        const float v = org ? c->q[i] : c->w[i], r2 = a2 * (c->target[i] - v);
        c->err[i] = (c->target[i] - c->q[i]) + r2;
        c->use[0][i] = a1 * v + r2;
        c->out[0][i] = c->use[0][i];
    }
}

static int rescomp_moves(const qep_method_options *o, bool paper)
{
    (void)o;
    return paper ? 2 : 1;
}

const qep_method qep_method_rescomp = {
    .name = "rescomp",
    .help = "GPTAQ that keeps aiming at the output of the original weights (ResComp, 2026)",
    .reads = "bits group_size symmetric grid clip clip_steps act_order static_groups damping block_size rescomp_alpha1 rescomp_alpha2 rescomp_mode",
    .needs = QEP_NEEDS_H | QEP_NEEDS_C,
    .drive = QEP_DRIVE_FACTOR,
    .bits = QEP_BITS_PACKED,
    .clips = 1u << QEP_CLIP_NONE | 1u << QEP_CLIP_MSE | 1u << QEP_CLIP_HESSIAN,
    .symmetric = true,
    .asymmetric = true,
    .groups = true,
    .damps_again = true,
    .column = rescomp_column,
    .moves = rescomp_moves,
};
