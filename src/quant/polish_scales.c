/* quant: least squares for the scales of a strip whose codes are fixed. SPDX-License-Identifier: Apache-2.0 */
#include "quant_priv.h"

#include "qep/linalg.h"

#include <string.h>

#define SMALLEST 0.2 /* of the old scale */
#define LARGEST 5.0

/* Code less zero. */
static inline float step_of(const qep_polish *p, int64_t row, int64_t j)
{
    return (float)p->q.codes[row * p->cols + j] - (float)p->q.zeros[row * p->groups + p->g_idx[j]];
}

void qep_polish_miss(const qep_polish *p, const float *target, float *miss)
{
    for (int64_t i = 0; i < QEP_STRIP; i++)
        for (int64_t j = 0; j < p->cols; j++) {
            float q = p->q.scales[i * p->groups + p->g_idx[j]] * step_of(p, i, j);
            miss[i * p->cols + j] = q - target[i * p->cols + j];
        }
}

void qep_polish_objective(const qep_polish *p, const float *target, double *objective)
{
    for (int64_t i = 0; i < QEP_STRIP; i++) {
        double sum = 0.0;
        for (int64_t j = 0; j < p->cols; j++) {
            double q = (double)p->q.scales[i * p->groups + p->g_idx[j]] * (double)step_of(p, i, j);
            sum += (double)p->grad[i * p->cols + j] * (q - (double)target[i * p->cols + j]);
        }
        objective[i] = sum;
    }
}

/* Groups are neighbours: group h has columns [h width, (h + 1) width). */
static bool in_order(const qep_polish *p)
{
    const int64_t width = qep_group_cols(p->spec, p->cols);
    for (int64_t j = 0; j < p->cols; j++)
        if (p->g_idx[j] != j / width) return false;
    return true;
}

/* part k^T over n columns of one group. */
static double times_steps(const float *part, const uint8_t *codes, double zero, int64_t n)
{
    double sum = 0.0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < n; j++) sum += (double)part[j] * ((double)codes[j] - zero);
    return sum;
}

/* normal[h][g] += part_g k_h^T for h >= g, the lower triangle. */
static void add_in_order(const qep_polish *p, int64_t row, int64_t g, const float *part, double *normal)
{
    const int64_t width = qep_group_cols(p->spec, p->cols);
    for (int64_t h = g; h < p->groups; h++) {
        const int64_t j = h * width, n = qep_min_i64(width, p->cols - j);
        normal[h * p->groups + g] += times_steps(part + j, p->q.codes + row * p->cols + j, (double)p->q.zeros[row * p->groups + h], n);
    }
}

static void add_anywhere(const qep_polish *p, int64_t row, int64_t g, const float *part, double *normal)
{
    for (int64_t j = 0; j < p->cols; j++) {
        int64_t h = p->g_idx[j];
        if (h >= g) normal[h * p->groups + g] += (double)part[j] * (double)step_of(p, row, j);
    }
}

/* Columns c0 .. c0+n-1, all of group g: their part of the rows k_g A. In order the columns from group g on do. */
static void collect_run(const qep_polish *p, int64_t c0, int64_t n, bool ordered, const float *a, int64_t lda, float *scratch, double *normal)
{
    float steps[QEP_STRIP * QEP_POLISH_COLS];
    int64_t g = p->g_idx[c0], col0 = ordered ? g * qep_group_cols(p->spec, p->cols) : 0;
    for (int64_t i = 0; i < QEP_STRIP; i++)
        for (int64_t k = 0; k < n; k++) steps[i * QEP_POLISH_COLS + k] = step_of(p, i, c0 + k);
    qep_gemm_f32(false, QEP_STRIP, p->cols - col0, n, 1.0f, steps, QEP_POLISH_COLS, a + col0, lda, 0.0f, scratch + col0, p->cols);
    for (int64_t i = 0; i < QEP_STRIP; i++)
        (ordered ? add_in_order : add_anywhere)(p, i, g, scratch + i * p->cols, normal + i * p->groups * p->groups);
}

void qep_polish_collect(const qep_polish *p, int64_t c0, int64_t n, const float *a, int64_t lda, float *scratch, double *normal)
{
    QEP_REQUIRE(n <= QEP_POLISH_COLS);
    const bool ordered = in_order(p);
    for (int64_t k = 0; k < n;) {
        int64_t end = k + 1;
        while (end < n && p->g_idx[c0 + end] == p->g_idx[c0 + k]) end++;
        collect_run(p, c0 + k, end - k, ordered, a + k * lda, lda, scratch, normal);
        k = end;
    }
}

/* 2 v D^T + D M D^T, the change of J. m: M's lower triangle. */
static double change_of(const double *m, const double *v, const double *by, int64_t groups)
{
    double sum = 0.0;
    for (int64_t g = 0; g < groups; g++) {
        sum += by[g] * (2.0 * v[g] + m[g * groups + g] * by[g]);
        for (int64_t h = 0; h < g; h++) sum += 2.0 * by[g] * by[h] * m[g * groups + h];
    }
    return sum;
}

/* by = -M^-1 v; false when M is not positive definite. A group of zeros only has no say: its row of M is that of 1. */
static bool solve(double *factor, const double *v, int64_t groups, double *by)
{
    for (int64_t g = 0; g < groups; g++)
        if (factor[g * groups + g] == 0.0) factor[g * groups + g] = 1.0;
    for (int64_t g = 0; g < groups; g++) by[g] = -v[g];
    if (qep_cholesky_f64(groups, factor, groups) != 0) return false;
    qep_trsm_right_f64(true, true, 1, groups, factor, groups, by, groups);
    qep_trsm_right_f64(true, false, 1, groups, factor, groups, by, groups);
    return true;
}

/* v, by: [groups] scratch; factor: [groups, groups]. */
static bool refit_row(const qep_polish *p, int64_t row, const double *m, double *factor, double *v, double *by)
{
    int64_t n = p->groups;
    float *scale = p->q.scales + row * n;
    memset(v, 0, (size_t)n * sizeof *v);
    for (int64_t j = 0; j < p->cols; j++)
        v[p->g_idx[j]] += (double)p->grad[row * p->cols + j] * (double)step_of(p, row, j);
    memcpy(factor, m, (size_t)(n * n) * sizeof *factor);
    if (!solve(factor, v, n, by)) return false;
    for (int64_t g = 0; g < n; g++) {
        double old = (double)scale[g], want = old + by[g];
        if (!(want >= SMALLEST * old && want <= LARGEST * old)) want = old;
        by[g] = (double)qep_stored_scale(p->spec, (float)want) - old;
    }
    if (!(change_of(m, v, by, n) < 0.0)) return false;
    for (int64_t g = 0; g < n; g++) scale[g] = (float)((double)scale[g] + by[g]);
    return true;
}

int64_t qep_polish_scales(const qep_polish *p, const double *normal)
{
    int64_t n = p->groups, changed = 0;
    double *work = qep_alloc("quantize.polish", n * n + 2 * n, sizeof *work);
    for (int64_t i = 0; i < QEP_STRIP; i++)
        changed += refit_row(p, i, normal + i * n * n, work, work + n * n, work + n * n + n);
    qep_free(work);
    return changed;
}
