/* quant: where the grids of GPTQ come from. One group per row and static groups: from the
 * target, before the loop. Dynamic groups: when the block in which they start is reached, from
 * the conditional weights given all earlier columns: blocks end where groups begin. The published codes (compat = paper) read
 * them from the updated weight matrix, which lacks the updates of the current block, wherever in it a group starts. In R-form these
 * weights are v = W* - D with D R[b:e, b:e] = -acc[b:e] (the columns that would make the loss of
 * columns b .. e-1 zero). SPDX-License-Identifier: Apache-2.0 */
#include "gptq_priv.h"

static void set_grid(struct qep_gptq *g, int64_t group, int64_t row, const float *w,
                     const float *weight, int64_t n)
{
    float scale = 0.0f;
    int zero = 0;
    qep_grid_find(&g->spec, w, weight, n, &scale, &zero);
    g->scales[group * QEP_STRIP + row] = scale;
    g->zeros[group * QEP_STRIP + row] = (float)zero;
}

void qep_gptq_grids_before(struct qep_gptq *g, const float *target)
{
    if (qep_groups_dynamic(&g->spec)) return;
    int64_t width = qep_group_cols(&g->spec, g->cols);
    for (int64_t j = 0; j < g->cols; j++) g->weight[g->perm[j]] = g->rdiag[j] * g->rdiag[j];
    for (int64_t r = 0; r < QEP_STRIP; r++)
        for (int64_t k = 0; k < g->groups; k++) {
            int64_t c0 = k * width, n = qep_min_i64(width, g->cols - c0);
            set_grid(g, k, r, target + r * g->cols + c0, g->weight + c0, n);
        }
}

/* cond[QEP_STRIP, n] = conditional weights of columns c0 .. c0+n-1. */
static void conditional_weights(struct qep_gptq *g, int64_t c0, int64_t n, const float *r,
                                int64_t ldr)
{
    for (int64_t k = 0; k < n; k++)
        for (int64_t i = 0; i < QEP_STRIP; i++) g->cond[i * g->span + k] = -g->acc[(c0 + k) * QEP_STRIP + i];
    qep_trsm_right_f32(false, false, QEP_STRIP, n, r, ldr, g->cond, g->span);
    for (int64_t k = 0; k < n; k++)
        for (int64_t i = 0; i < QEP_STRIP; i++) {
            int64_t at = (c0 + k) * QEP_STRIP + i;
            float t = g->move ? g->target[at] + g->move[at] : g->target[at];
            g->cond[i * g->span + k] = t - g->cond[i * g->span + k];
        }
}

void qep_gptq_grids_of_block(struct qep_gptq *g, int64_t c0, int64_t n, int64_t rows,
                             const float *r, int64_t ldr)
{
    if (!qep_groups_dynamic(&g->spec)) return;
    int64_t width = g->spec.group_size;
    int64_t first = qep_ceil_div(c0, width);
    if (first * width >= c0 + n) return;
    conditional_weights(g, c0, rows, r, ldr);
    for (int64_t k = 0; k < rows; k++) g->weight[k] = g->rdiag[c0 + k] * g->rdiag[c0 + k];
    for (int64_t i = 0; i < QEP_STRIP; i++)
        for (int64_t k = first; k * width < c0 + n; k++) {
            int64_t at = k * width - c0, len = qep_min_i64(width, g->cols - k * width);
            set_grid(g, k, i, g->cond + i * g->span + at, g->weight + at, len);
        }
}
