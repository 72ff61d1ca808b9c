/* Sums over rows and ranks for each column, in fixed point: exact, so the same bits for any split of the rows.
 * SPDX-License-Identifier: Apache-2.0 */
#include "qep/solve.h"
#include <math.h>

enum {
    SUM_BITS = 61, /* sums in units stay below 2^SUM_BITS */
    CHANNELS = 256 /* of one task */
};

/* unit[c]: units per 1, a power of two with bound[c] * unit[c] < 2^SUM_BITS; 0 for a column without values. */
static void units_of(const double *bound, int64_t d, double *unit)
{
    for (int64_t c = 0; c < d; c++) {
        int e = 0;
        (void)frexp(bound[c], &e); /* bound < 2^e */
        unit[c] = bound[c] > 0.0 ? ldexp(1.0, SUM_BITS - e) : 0.0;
    }
}

/* sum[c] += |x| or x^2 of column c, each rounded to whole units. */
static void add_rows(int64_t *sum, const float *x, int64_t rows, int64_t d, const double *unit, bool squares)
{
#pragma omp parallel for schedule(static)
    for (int64_t c0 = 0; c0 < d; c0 += CHANNELS)
        for (int64_t r = 0; r < rows; r++)
            for (int64_t c = c0; c < qep_min_i64(c0 + CHANNELS, d); c++) {
                const double v = fabs((double)x[r * d + c]);
                sum[c] += llrint((squares ? v * v : v) * unit[c]);
            }
}

static void deliver_all(qep_comm *c, int64_t *sum, int64_t d, const double *unit, double *out)
{
    qep_sum_i64_all(c, sum, d);
    for (int64_t k = 0; k < d; k++) out[k] = unit[k] > 0.0 ? (double)sum[k] / unit[k] : 0.0;
}

/* bound[c] = larger of bound[c] and |x| of the column. */
static void widen(double *bound, const float *x, int64_t rows, int64_t d)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < d; c++) bound[c] = fmax(bound[c], fabs((double)x[r * d + c]));
}

/* Adds up a source's columns with the units of its bounds, or, without units, finds its bounds and tokens. */
static void pass(const qep_tap_source *src, int64_t d, float *x, double *bound, int64_t *tokens, const double *unit, int64_t *sum)
{
    for (int64_t i = 0; i < src->n_seq; i++) {
        const int64_t T = src->tokens(src->ctx, i);
        if (T == 0) continue;
        src->get(src->ctx, i, x, NULL);
        if (unit) add_rows(sum, x, T, d, unit, false);
        else widen(bound, x, T, d), *tokens += T;
    }
}

void qep_abs_means_all(qep_comm *c, const qep_tap_source *src, int64_t n, int64_t d, double *mean)
{
    double *bound = qep_alloc("stats.scale", 2 * n * d, sizeof *bound), *unit = bound + n * d;
    int64_t *sum = qep_alloc("stats.scale", n * d + n, sizeof *sum), *tokens = sum + n * d, longest = 0;
    for (int64_t k = 0; k < n; k++) longest = qep_max_i64(longest, src[k].n_seq > 0 ? src[k].max_tokens : 0);
    float *x = qep_alloc("stats.tap", longest * d, sizeof *x);
    for (int64_t k = 0; k < n; k++) pass(&src[k], d, x, bound + k * d, &tokens[k], NULL, NULL);
    qep_sum_i64_all(c, tokens, n);
    qep_max_f64_all(c, bound, n * d);
    for (int64_t k = 0; k < n * d; k++) bound[k] *= (double)tokens[k / d];
    units_of(bound, n * d, unit);
    for (int64_t k = 0; k < n; k++) pass(&src[k], d, x, NULL, NULL, unit + k * d, sum + k * d);
    deliver_all(c, sum, n * d, unit, mean);
    for (int64_t k = 0; k < n * d; k++)
        if (tokens[k / d] > 0) mean[k] /= (double)tokens[k / d];
    qep_free(x);
    qep_free(sum);
    qep_free(bound);
}

void qep_column_squares_all(qep_comm *c, int64_t n_rows, int64_t total_rows, int64_t d, const float *x, double *out)
{
    double *bound = qep_alloc("stats.scale", 2 * d, sizeof *bound), *unit = bound + d;
    int64_t *sum = qep_alloc("stats.scale", d, sizeof *sum);
    widen(bound, x, n_rows, d);
    qep_max_f64_all(c, bound, d);
    for (int64_t k = 0; k < d; k++) bound[k] *= bound[k] * (double)total_rows;
    units_of(bound, d, unit);
    add_rows(sum, x, n_rows, d, unit, true);
    deliver_all(c, sum, d, unit, out);
    qep_free(sum);
    qep_free(bound);
}

void qep_column_sums_all(qep_comm *c, int64_t n_rows, int64_t total_rows, int64_t d, const double *x, double *out)
{
    double *bound = qep_alloc("stats.scale", 2 * d, sizeof *bound), *unit = bound + d;
    int64_t *sum = qep_alloc("stats.scale", d, sizeof *sum);
    for (int64_t k = 0; k < n_rows * d; k++)
        if (!isnan(bound[k % d]) && !(fabs(x[k]) <= bound[k % d])) bound[k % d] = fabs(x[k]); /* NaN stays */
    qep_max_f64_all(c, bound, d);
    for (int64_t k = 0; k < d; k++) bound[k] = isfinite(bound[k]) ? bound[k] * (double)total_rows : (double)NAN;
    units_of(bound, d, unit);
    for (int64_t k = 0; k < n_rows * d; k++)
        if (unit[k % d] > 0.0) sum[k % d] += llrint(x[k] * unit[k % d]);
    deliver_all(c, sum, d, unit, out);
    for (int64_t k = 0; k < d; k++)
        if (isnan(bound[k])) out[k] = (double)NAN;
    qep_free(sum);
    qep_free(bound);
}
