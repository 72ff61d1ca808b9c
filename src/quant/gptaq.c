/* quant: GPTAQ (Li et al., arXiv 2504.02692): asymmetric calibration. Column i leaves alpha w_i delta_i to the later ones:
 *   P_i,>i = C_i,>i (H_>i)^-1 (Theorem 4.2: P = ((C L) o SU) L^T), W_>i <- W_>i - e_i U_i,>i + alpha w_i P_i,>i.
 * In R-form w_j = W*_j + M_j + A_j / R_jj with M = (alpha w) P and A_j = sum_i<j (W*_i + M_i - q_i) R_ij. What M adds, M_j R_jj + sum_i<j M_i R_ij, is
 * (M R)_j = (alpha w P R)_j, and P R = (C L) o SU = S: the target stays where it is, one sum holds both, and P need not be formed:
 *   w_j = W*_j + sum_i<j ((W*_i - q_i) R_ij + alpha w_i S_ij) / R_jj.
 * The paper has no alpha; its code has 0.25. Beyond the block that code multiplies P by the rounded weights, since they have taken the
 * place of w by then: M is no row times P, and with compat = paper P and M are there. SPDX-License-Identifier: Apache-2.0 */
#include "gptq_priv.h"

static void gptaq_column(qep_column *c)
{
    const float alpha = (float)c->options->gptaq_alpha;
    float goal[QEP_STRIP];
    qep_column_goal(c, goal);
    qep_column_weigh(c);
    qep_column_round(c);
    for (int i = 0; i < QEP_STRIP; i++) {
        c->err[i] = goal[i] - c->q[i];
        c->use[0][i] = alpha * c->w[i];
        c->out[0][i] = alpha * (c->spec->paper ? c->q[i] : c->w[i]);
    }
}

static int gptaq_moves(const qep_method_options *o, bool paper)
{
    (void)o;
    (void)paper;
    return 1;
}

const qep_method qep_method_gptaq = {
    .name = "gptaq",
    .help = "GPTQ that corrects for the error of the layers before (Li et al. 2025)",
    .reads = "bits group_size symmetric grid clip clip_steps act_order static_groups damping block_size gptaq_alpha",
    .needs = QEP_NEEDS_H | QEP_NEEDS_C,
    .drive = QEP_DRIVE_FACTOR,
    .bits = QEP_BITS_PACKED,
    .clips = 1u << QEP_CLIP_NONE | 1u << QEP_CLIP_MSE | 1u << QEP_CLIP_HESSIAN,
    .symmetric = true,
    .asymmetric = true,
    .groups = true,
    .damps_again = true,
    .column = gptaq_column,
    .moves = gptaq_moves,
};
