/* quant: GPTQ in R-form written down directly, f64, one row after the other: the standard the
 * fast strips are tested against. Grids come from qep_grid_find, so they are f32 like the fast
 * ones. SPDX-License-Identifier: Apache-2.0 */
#include "quant_priv.h"

/* One row. Arrays of cols elements, processing order. */
typedef struct ref_row {
    const double *target;
    double *q;          /* quantized values of the finished columns */
    double *cond;       /* conditional weights */
    float *group_w, *group_weight; /* [cols] what the grid search sees */
} ref_row;

/* Conditional weights of columns c0 .. c1-1 given columns < c0: column by column, the value that
 * makes sum_{i<=j} (W*_i - v_i) R_ij zero. */
static void ref_conditional(ref_row *w, int64_t c0, int64_t c1, int64_t cols, const double *R)
{
    for (int64_t j = c0; j < c1; j++) {
        double sum = 0.0;
        for (int64_t i = 0; i < c0; i++) sum += (w->target[i] - w->q[i]) * R[i * cols + j];
        for (int64_t i = c0; i < j; i++) sum += (w->target[i] - w->cond[i]) * R[i * cols + j];
        w->cond[j] = w->target[j] + sum / R[j * cols + j];
    }
}

/* Grids of the groups that start in columns c0 .. c1-1 of this row. */
static void ref_dynamic_grids(const qep_qspec *s, ref_row *w, int64_t c0, int64_t c1, int64_t cols,
                              const double *R, float *scales, uint8_t *zeros)
{
    int64_t width = s->group_size;
    for (int64_t k = qep_ceil_div(c0, width); k * width < c1; k++) {
        int64_t g0 = k * width, g1 = qep_min_i64(g0 + width, cols);
        ref_conditional(w, c0, g1, cols, R);
        for (int64_t j = g0; j < g1; j++) {
            w->group_w[j - g0] = (float)w->cond[j];
            w->group_weight[j - g0] = (float)(R[j * cols + j] * R[j * cols + j]);
        }
        int zero = 0;
        qep_grid_find(s, w->group_w, w->group_weight, g1 - g0, &scales[k], &zero);
        zeros[k] = (uint8_t)zero;
    }
}

/* Grids taken from the target in original order. at[c] = processing position of original column
 * c. */
static void ref_grids_before(const qep_qspec *s, ref_row *w, int64_t cols, const double *R,
                             const int32_t *at, float *scales, uint8_t *zeros)
{
    int64_t width = qep_group_cols(s, cols);
    for (int64_t k = 0; k * width < cols; k++) {
        int64_t g0 = k * width, n = qep_min_i64(width, cols - g0);
        for (int64_t c = 0; c < n; c++) {
            int64_t j = at[g0 + c];
            w->group_w[c] = (float)w->target[j];
            w->group_weight[c] = (float)(R[j * cols + j] * R[j * cols + j]);
        }
        int zero = 0;
        qep_grid_find(s, w->group_w, w->group_weight, n, &scales[k], &zero);
        zeros[k] = (uint8_t)zero;
    }
}

static double ref_code(double w, double scale, double zero, double max_code)
{
    double c = rint(w / scale) + zero;
    c = c > 0.0 ? c : 0.0;
    return c < max_code ? c : max_code;
}

static void ref_one_row(const qep_qspec *s, ref_row *w, int64_t cols, const double *R,
                        const int32_t *perm, const int32_t *at, uint8_t *codes, float *scales,
                        uint8_t *zeros)
{
    int64_t width = qep_group_cols(s, cols);
    double max_code = qep_max_code(s->bits);
    if (!qep_groups_dynamic(s)) ref_grids_before(s, w, cols, R, at, scales, zeros);
    for (int64_t j = 0; j < cols; j++) {
        const int64_t ahead = s->paper ? s->block_size : width;
        if (j % ahead == 0 && qep_groups_dynamic(s))
            ref_dynamic_grids(s, w, j, qep_min_i64(s->paper ? j + ahead : j + 1, cols), cols, R, scales,
                              zeros);
        double acc = 0.0;
        for (int64_t i = 0; i < j; i++) acc += (w->target[i] - w->q[i]) * R[i * cols + j];
        int64_t k = (s->static_groups ? perm[j] : j) / width;
        double scale = (double)scales[k];
        double code = ref_code(w->target[j] + acc / R[j * cols + j], scale, zeros[k], max_code);
        w->q[j] = scale * (code - zeros[k]);
        codes[perm[j]] = (uint8_t)code;
    }
}

void qep_gptq_ref(const qep_qspec *s, const double *target, int64_t rows, int64_t cols,
                  const int32_t *perm, const double *R, uint8_t *codes, float *scales,
                  uint8_t *zeros, int32_t *g_idx)
{
    int64_t groups = qep_n_groups(s, cols), width = qep_group_cols(s, cols);
    double *work = qep_alloc("quantize.reference", 3 * cols, sizeof(double));
    float *group = qep_alloc("quantize.reference", 2 * cols, sizeof(float));
    int32_t *order = qep_alloc("quantize.reference", 2 * cols, sizeof(int32_t)), *at = order + cols;
    for (int64_t j = 0; j < cols; j++) {
        order[j] = perm ? perm[j] : (int32_t)j;
        at[order[j]] = (int32_t)j;
        if (g_idx) g_idx[order[j]] = (int32_t)((s->static_groups ? order[j] : j) / width);
    }
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t j = 0; j < cols; j++) work[j] = target[r * cols + order[j]];
        ref_row w = {.target = work, .q = work + cols, .cond = work + 2 * cols,
                     .group_w = group, .group_weight = group + cols};
        ref_one_row(s, &w, cols, R, order, at, codes + r * cols, scales + r * groups,
                    zeros + r * groups);
    }
    qep_free(order);
    qep_free(group);
    qep_free(work);
}
