/* quant: where the grids of GPTQ come from. One group per row and static groups: from the
 * target, before the loop. Dynamic groups: when the block in which they start is reached, from
 * the conditional weights given all earlier columns: blocks end where groups begin. The published codes (compat = paper) read
 * them from the updated weight matrix, which lacks the updates of the current block, wherever in it a group starts. In R-form these
 * weights are v = T - D (T: W*, in the published codes moved) with D R[b:e, b:e] = -acc[b:e] (the columns that would make the loss of
 * columns b .. e-1 zero). SPDX-License-Identifier: Apache-2.0 */
#include "gptq_priv.h"

#include <string.h>

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

/* d[n, QEP_STRIP], a panel: -d becomes the D of D R = d. A few columns at a time, then their share in the rest. */
static void solve(float *d, int64_t n, const float *r, int64_t ldr)
{
    for (int64_t from = 0; from < n; from += QEP_GPTQ_NEAR) {
        const int64_t to = qep_min_i64(from + QEP_GPTQ_NEAR, n);
        for (int64_t j = from; j < to; j++) {
            float *own = d + j * QEP_STRIP;
            const float *row = r + j * ldr;
            for (int64_t i = 0; i < QEP_STRIP; i++) own[i] = -(own[i] / row[j]);
            qep_gptq_spread(own + QEP_STRIP, 1.0f, own, row + j + 1, to - j - 1);
        }
        qep_panel_update_f32(d + to * QEP_STRIP, 1.0f, d + from * QEP_STRIP, to - from, r + from * ldr + to, ldr, n - to);
    }
}

/* cond[QEP_STRIP, n] = conditional weights of columns c0 .. c0+n-1. */
static void conditional_weights(struct qep_gptq *g, int64_t c0, int64_t n, const float *r,
                                int64_t ldr)
{
    float *d = g->cond_panel;
    memcpy(d, g->acc + c0 * QEP_STRIP, (size_t)(n * QEP_STRIP) * sizeof *d);
    solve(d, n, r, ldr);
    for (int64_t k = 0; k < n * QEP_STRIP; k++) {
        const int64_t at = c0 * QEP_STRIP + k;
        d[k] = (g->move ? g->target[at] + g->move[at] : g->target[at]) - d[k];
    }
    qep_panel_to_rows_f32(g->cond, QEP_STRIP, g->span, d, n);
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
