/* quant: FOEM (arXiv 2507.11017): GPTQ whose later weights are drawn back to where they came from. In the paper (where H cancels)
 *   e_i = (w_i - q_i - b (w_i - W*_i)) / U_ii,   W_>i <- W_>i - e_i U_i,>i - b (W_>i - W*_>i).
 * With f = 1 - b, w_j - W*_j = -sum_{i<j} f^(j-1-i) e_i U_ij; put into R-form this is GPTQ with a fading memory,
 *   w_j = W*_j + sum_{i<j} (W*_i - Q_i) f^(j-1-i) R_ij / R_jj
 * (f^(j-i) R_ij is the inverse of f^(j-i) U_ij; what b adds to e_i is what the diagonal lacks). variant = next draws back the next column only,
 * as GPTQModel does; its code leaves out the first column of a block. With foem_alpha > 0 the term of GPTAQ joins in.
 * The code of the authors (variant = paper, compat = paper) is another method: foem_published.c.
 * SPDX-License-Identifier: Apache-2.0 */
#include "gptq_priv.h"

#include <string.h>

static bool next_only(const qep_method_options *o)
{
    return strcmp(o->foem_variant, "next") == 0;
}

static bool foem_pulls(const qep_method_options *o, bool paper)
{
    return paper && !next_only(o) && o->foem_beta > 0;
}

static double foem_fading(const qep_method_options *o, bool paper)
{
    return paper || next_only(o) ? 1.0 : 1.0 - o->foem_beta;
}

/* The column is drawn back before it is rounded; the way it goes is a move of its goal. */
static void draw_back(qep_column *c, float beta, float *goal)
{
    for (int i = 0; i < QEP_STRIP; i++) {
        const float by = -beta * (c->w[i] - c->target[i]);
        c->w[i] += by;
        goal[i] += by;
    }
}

static void foem_column(qep_column *c)
{
    const qep_method_options *o = c->options;
    const float alpha = (float)o->foem_alpha, beta = (float)o->foem_beta;
    const bool next = next_only(o);
    float goal[QEP_STRIP];
    qep_column_goal(c, goal);
    qep_column_weigh(c);
    if (next && !(c->spec->paper && c->first)) draw_back(c, beta, goal);
    qep_column_round(c);
    for (int i = 0; i < QEP_STRIP; i++) {
        const float back = next ? beta * (c->w[i] - c->target[i]) : 0.0f;
        c->err[i] = goal[i] - c->q[i] - back;
        if (!c->use[0]) continue;
        c->use[0][i] = alpha * c->w[i];
        c->out[0][i] = c->spec->paper ? alpha * (c->q[i] + back) : c->use[0][i];
    }
}

static int foem_moves(const qep_method_options *o, bool paper)
{
    (void)paper;
    return o->foem_alpha > 0 ? 1 : 0;
}

const qep_method qep_method_foem = {
    .name = "foem",
    .help = "GPTQ whose later weights are drawn back to the original ones (FOEM, 2025)",
    .reads = "bits group_size symmetric grid clip clip_steps act_order static_groups damping block_size foem_variant foem_beta foem_alpha",
    .needs = QEP_NEEDS_H,
    .drive = QEP_DRIVE_FACTOR,
    .bits = QEP_BITS_PACKED,
    .clips = 1u << QEP_CLIP_NONE | 1u << QEP_CLIP_MSE | 1u << QEP_CLIP_HESSIAN,
    .symmetric = true,
    .asymmetric = true,
    .groups = true,
    .column = foem_column,
    .fading = foem_fading,
    .moves = foem_moves,
    .moves_key = "foem_alpha",
    .pulls = foem_pulls,
    .block = qep_foem_block,
};
