/* Driver of AWQ (arXiv 2306.00978): a scale for each input channel, the same for all members of the set, then a range for each group of
 * weights, both by the error of the outputs; then rounding to nearest.
 *
 * With the target W* and e = Q' - W*, Q' = Qz(W* diag s) diag(1/s), the error per token is (figures.c)
 *   |W X + beta (R - Rq) - Q' Xq|^2 = const + tr(e H e^T) + 2 tr(e G^T),   G = (W* - W) H - W C - beta Gamma
 * (G = 0 without a correction), so H and C are enough: no activations are pushed through for a candidate. Ranges are judged group by group, by
 * e_g H_gg e_g^T, as in the published code. H streams by once for all scales and once for all ranges.
 *
 * The published code (compat = paper) goes by the inputs X of the full-precision stream alone, |W* X - Q' X|^2, so H is that of X and G = 0; and for q, k, v and
 * for gate, up it pushes X through attention or MLP with each candidate, and takes the one that changes the output least. SPDX-License-Identifier: Apache-2.0 */
#include "layer_priv.h"

#include <math.h>
#include <string.h>

#define SEARCH "layer.search"

typedef struct rows_of_h {
    int64_t row0, n, ld;
    const float *data;
} rows_of_h;

/* Calls use(ctx, block) for the rows of H from first to last. Collective. */
static void stream_h_all(qep_set *s, void (*use)(qep_set *s, const rows_of_h *h, void *ctx), void *ctx)
{
    qep_window *win = s->job->stream;
    const int64_t d = s->cols, ld = qep_round_up(d, QEP_DMAT_LINE);
    for (int64_t row0 = 0; row0 < d; row0 += QEP_STREAM_BUNDLE) {
        const int64_t n = qep_min_i64(QEP_STREAM_BUNDLE, d - row0);
        qep_window_sync_all(win); /* nobody reads the previous block any more */
        qep_dmat_fetch_rows_all(s->job->search ? s->job->search : s->job->H, row0, n, false, QEP_F32, win, 0, ld);
        use(s, &(rows_of_h){row0, n, ld, qep_window_data(win)}, ctx);
    }
    qep_window_sync_all(win);
}

/* G of my strips, NULL when it is 0. Without W C by the correction's Y: W C = Y (H + lambda I). */
static float *cross_terms_all(qep_set *s)
{
    const int64_t n = s->count * QEP_STRIP * s->cols;
    if ((!s->wc && !s->y) || s->lead->spec.paper) return NULL;
    float *moved = qep_alloc(SEARCH, n, sizeof *moved), *g = qep_alloc(SEARCH, n, sizeof *g);
    for (int64_t k = 0; k < n; k++) moved[k] = s->target[k] - s->w[k] - (s->y ? s->y[k] : 0.0f);
    qep_rows_times_f32_all(s->job->H, s->count, moved, g, s->job->stream);
    const double *gamma = qep_layer_needs_gamma(&s->lead->cfg) ? s->job->gamma : NULL;
    for (int64_t k = 0; k < n; k++) g[k] -= (s->y ? (float)(s->lambda * (double)s->y[k]) : s->wc[k]) + (gamma ? (float)(s->residual * gamma[k]) : 0.0f);
    qep_free(moved);
    return g;
}

/* --- scales ---------------------------------------------------------------------------------- */

typedef struct scale_search {
    qep_qspec spec;
    float *scales;       /* [RATIOS, cols] */
    const float *cross;  /* G or NULL */
    double *rows;        /* [count, RATIOS, QEP_STRIP]: errors of the rows */
} scale_search;

static double cross_sum(const float *e, const float *g, int64_t n)
{
    double sum = 0.0;
    for (int64_t k = 0; k < n; k++) sum += (double)e[k] * (double)g[k];
    return 2.0 * sum;
}

static void try_scales(qep_set *s, const rows_of_h *h, void *ctx)
{
    const scale_search *t = ctx;
    const int64_t d = s->cols;
#pragma omp parallel
    {
        float *e = qep_alloc(SEARCH, QEP_STRIP * d, sizeof *e);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < s->count; i++)
            for (int k = 0; k < QEP_AWQ_RATIOS; k++) {
                double *sum = t->rows + (i * QEP_AWQ_RATIOS + k) * QEP_STRIP;
                qep_awq_error(&t->spec, qep_set_row(s, s->target, i), d, t->scales + k * d, 1.0f, 0, d, e);
                qep_quadratic_add(e, d, h->data, h->ld, h->row0, h->n, sum, 1);
                for (int64_t r = 0; t->cross && h->row0 == 0 && r < QEP_STRIP; r++)
                    sum[r] += cross_sum(e + r * d, t->cross + (i * QEP_STRIP + r) * d, d);
            }
        qep_free(e);
    }
}

/* Number of the ratio with the smallest sum over all rows, added strip by strip in the order of the set: the same on any number of ranks. */
static int best_ratio_all(const qep_set *s, const scale_search *t)
{
    double *strip = qep_alloc(SEARCH, QEP_AWQ_RATIOS * s->total_strips, sizeof *strip), least = INFINITY;
    int best = 0;
    for (int64_t i = 0; i < s->count; i++)
        for (int k = 0; k < QEP_AWQ_RATIOS; k++)
            for (int64_t r = 0; r < s->strips[i].n; r++)
                strip[k * s->total_strips + s->first + i] += t->rows[(i * QEP_AWQ_RATIOS + k) * QEP_STRIP + r];
    qep_sum_f64_all(s->job->comm, strip, QEP_AWQ_RATIOS * s->total_strips); /* one rank's value plus zeros: exact */
    for (int k = 0; k < QEP_AWQ_RATIOS; k++) {
        double sum = 0.0;
        for (int64_t i = 0; i < s->total_strips; i++) sum += strip[k * s->total_strips + i];
        if (sum < least) least = sum, best = k;
    }
    qep_free(strip);
    return best;
}

static void round_to_powers(const qep_layer_fold *f, float *scale, int64_t d)
{
    for (int64_t c = 0; c < d; c++) {
        const int e = (int)rint(log2((double)scale[c]));
        scale[c] = ldexpf(1.0f, e > f->most[c] ? f->most[c] : e < f->least[c] ? f->least[c] : e);
    }
}

/* Target of my strips with the weights of a candidate (NULL: as it is), into the quantized stream's weights. */
static void put_candidate_all(qep_set *s, const qep_qspec *spec, const float *scale)
{
    const qep_layer_sink *sink = &s->job->sink;
    const int64_t d = s->cols;
#pragma omp parallel
    {
        float *v = qep_alloc(SEARCH, QEP_STRIP * d, sizeof *v);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < s->count; i++) {
            const float *target = qep_set_row(s, s->target, i);
            if (scale) qep_awq_error(spec, target, d, scale, 1.0f, 0, d, v);
            for (int64_t k = 0; k < QEP_STRIP * d; k++) v[k] = scale ? v[k] + target[k] : target[k];
            sink->put(sink->ctx, s->strips[i].member, s->strips[i].row0, s->strips[i].n, v);
        }
        qep_free(v);
    }
    qep_set_share_all(s);
}

/* Number of the ratio that changes the module's output least. */
static int judged_ratio_all(qep_set *s, const scale_search *t)
{
    const qep_layer_fold *f = s->job->fold;
    double error = 0.0, least = INFINITY;
    int best = 0;
    put_candidate_all(s, &t->spec, NULL);
    f->judge_all(f->ctx, -1, &error);
    for (int k = 0; k < QEP_AWQ_RATIOS; k++) {
        put_candidate_all(s, &t->spec, t->scales + k * s->cols);
        f->judge_all(f->ctx, k, &error);
        if (error < least) least = error, best = k;
    }
    return best;
}

/* scale[cols], and s->scale_ratio. */
static void find_scales_all(qep_set *s, float *scale)
{
    const int64_t d = s->cols;
    scale_search t = {.spec = s->lead->spec};
    float *cross = cross_terms_all(s);
    t.cross = cross;
    t.scales = qep_alloc(SEARCH, QEP_AWQ_RATIOS * d, sizeof *t.scales);
    t.rows = qep_alloc(SEARCH, s->count * QEP_AWQ_RATIOS * QEP_STRIP, sizeof *t.rows);
    for (int k = 0; k < QEP_AWQ_RATIOS; k++) {
        qep_awq_scales(s->job->means, d, k, t.scales + k * d);
        if (s->job->fold->most) round_to_powers(s->job->fold, t.scales + k * d, d);
    }
    const bool judged = s->job->fold->judge_all != NULL;
    if (!judged) stream_h_all(s, try_scales, &t);
    const int best = judged ? judged_ratio_all(s, &t) : best_ratio_all(s, &t);
    memcpy(scale, t.scales + best * d, (size_t)d * sizeof *scale);
    s->scale_ratio = best / (double)QEP_AWQ_RATIOS;
    qep_free(t.rows);
    qep_free(t.scales);
    qep_free(cross);
}

/* --- ranges ----------------------------------------------------------------------------------- */

typedef struct range_search {
    qep_qspec spec;
    const float *scale;
    double *errors; /* [count, CLIPS, QEP_STRIP, groups] */
} range_search;

static bool has_range(const qep_set *s, int64_t i)
{
    return s->lead->spec.clip != QEP_CLIP_NONE && !s->members[s->strips[i].member].keep_range;
}

/* Groups that the rows of H belong to, each with its own columns. */
static void try_ranges(qep_set *s, const rows_of_h *h, void *ctx)
{
    const range_search *t = ctx;
    const int64_t d = s->cols, width = t->spec.group_size > 0 ? t->spec.group_size : d;
    const int64_t end = h->row0 + h->n;
#pragma omp parallel
    {
        float *e = qep_alloc(SEARCH, QEP_STRIP * width, sizeof *e);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < s->count; i++)
            for (int64_t g = h->row0 / width; has_range(s, i) && g * width < end; g++)
                for (int k = 0; k < QEP_AWQ_CLIPS; k++) {
                    const int64_t c0 = g * width, from = qep_max_i64(c0, h->row0), to = qep_min_i64(c0 + width, end);
                    double *sum = t->errors + (i * QEP_AWQ_CLIPS + k) * QEP_STRIP * s->groups + g;
                    qep_awq_error(&t->spec, qep_set_row(s, s->target, i), d, t->scale, qep_awq_shrink(k), c0, width, e);
                    qep_quadratic_add(e, width, h->data + (from - h->row0) * h->ld + c0, h->ld, from - c0, to - from, sum, s->groups);
                }
        qep_free(e);
    }
}

/* Codes of strip i, and the values they stand for. */
static void finish_strip(qep_set *s, const range_search *t, int64_t i)
{
    float *target = qep_set_row(s, s->target, i), *values = qep_set_row(s, s->values, i), *limit = NULL;
    qep_qstrip out = qep_set_result(s, i);
    if (has_range(s, i)) {
        limit = qep_alloc(SEARCH, QEP_STRIP * s->groups, sizeof *limit);
        qep_awq_limits(&t->spec, target, s->cols, t->scale, t->errors + i * QEP_AWQ_CLIPS * QEP_STRIP * s->groups, limit);
    }
    qep_awq_strip(&t->spec, target, s->cols, t->scale, limit, &out);
    qep_free(limit);
    for (int64_t k = 0; k < QEP_STRIP * s->cols; k++) {
        const int64_t r = k / s->cols, c = k % s->cols, g = r * s->groups + s->g_idx[c];
        values[k] = qep_grid_value(out.codes[k], out.scales[g], out.zeros[g]) / t->scale[c];
    }
}

qep_status qep_drive_scaled_all(qep_set *s)
{
    const int64_t d = s->cols, width = s->lead->spec.group_size > 0 ? s->lead->spec.group_size : d;
    float *scale = qep_alloc(SEARCH, d, sizeof *scale);
    range_search t = {.spec = s->lead->spec, .scale = scale};
    for (int64_t c = 0; c < d; c++) {
        s->g_idx[c] = (int32_t)(c / width);
        scale[c] = 1.0f;
    }
    qep_set_clear_dead(s, s->target);
    qep_status st = QEP_OK;
    if (s->job->fold) {
        find_scales_all(s, scale);
        if (s->job->fold->apply_all) QEP_GO(st, s->job->fold->apply_all(s->job->fold->ctx, scale));
    }
    if (t.spec.clip != QEP_CLIP_NONE) {
        t.errors = qep_alloc(SEARCH, s->count * QEP_AWQ_CLIPS * QEP_STRIP * s->groups, sizeof *t.errors);
        stream_h_all(s, try_ranges, &t);
    }
    s->values = qep_alloc("layer.rows", s->count * QEP_STRIP * d, sizeof *s->values);
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < s->count; i++) finish_strip(s, &t, i);
done:
    qep_free(t.errors);
    qep_free(scale);
    return st;
}

void qep_drive_scaled_plan(const qep_qspec *spec, const qep_layer_shape *shape, qep_layer_bytes *b)
{
    const int64_t d = shape->cols, rows = shape->strips * QEP_STRIP, groups = qep_n_groups(spec, d), f = (int64_t)sizeof(float);
    const int64_t cross = shape->with_c ? rows * d * f : 0, width = spec->group_size > 0 ? spec->group_size : d;
    const int64_t scales = (1 + QEP_AWQ_RATIOS) * d * f + rows * QEP_AWQ_RATIOS * (int64_t)sizeof(double) +
                           cross + shape->threads * QEP_STRIP * d * f;
    const int64_t ranges = rows * groups * QEP_AWQ_CLIPS * (int64_t)sizeof(double) + shape->threads * QEP_STRIP * width * f;
    b->rows += rows * d * f;
    b->search = qep_max_i64(qep_max_i64(2 * cross, scales), spec->clip != QEP_CLIP_NONE ? ranges : 0);
}
