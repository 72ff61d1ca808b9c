/* Codes and scales of my strips polished on one objective, tr((Q - W*) A (Q - W*)^T) with A = H + mu I: {least squares for the scales;
 * coordinate descent over the codes} a few times, then the scales once more. Rows are
 * independent and A's rows pass by: kept once per node if there is room, streamed through the window if not. SPDX-License-Identifier: Apache-2.0 */
#include "layer_priv.h"

#include <omp.h>
#include <string.h>

#define POLISH "quantize.polish"
enum { NORMAL_BUDGET = 64 << 20 }; /* bytes of normal matrices collected in one pass over A */

typedef struct polish {
    const qep_set *s;
    qep_polish *strips;   /* [s->count] */
    float *grad;          /* [s->count * QEP_STRIP, cols] */
    float *scratch;       /* [threads][QEP_STRIP, cols] */
    double *normal;       /* [batch][QEP_STRIP, groups, groups] */
    int64_t first, batch; /* strips whose normal matrices are collected in this pass */
    int64_t moved;        /* codes, in this sweep */
} polish;

bool qep_layer_polishes(const qep_linear_config *cfg, const qep_qspec *spec)
{
    return qep_method_reads(spec->method, "sweeps") && (cfg->refit > 0 || cfg->sweeps > 0);
}

/* Doubles of a strip's normal matrices. */
static int64_t normal_size(int64_t groups)
{
    return QEP_STRIP * groups * groups;
}

int64_t qep_layer_polish_batch(int64_t groups)
{
    return qep_max_i64(1, NORMAL_BUDGET / (normal_size(groups) * (int64_t)sizeof(double)));
}

int64_t qep_set_polish_bytes(const qep_linear_config *cfg, const qep_qspec *spec, int64_t strips, int64_t cols, int threads)
{
    if (!qep_layer_polishes(cfg, spec)) return 0;
    int64_t groups = qep_n_groups(spec, cols), f = (int64_t)sizeof(float), strip = QEP_STRIP * cols * f;
    int64_t normal = cfg->refit > 0 ? qep_min_i64(strips, qep_layer_polish_batch(groups)) * normal_size(groups) * (int64_t)sizeof(double) : 0;
    return strips * strip + qep_max_i64(strips * strip, normal + threads * strip);
}

/* grad = (Q - W*) A. */
static void form_gradient_all(polish *p)
{
    const qep_set *s = p->s;
    int64_t strip = QEP_STRIP * s->cols;
    float *miss = qep_alloc(POLISH, s->count * strip, sizeof *miss);
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < s->count; i++) qep_polish_miss(&p->strips[i], qep_set_row(s, s->target, i), miss + i * strip);
    qep_clear(p->grad, s->count * strip * (int64_t)sizeof *p->grad);
    qep_rows_times_f32_all(s->job->H, s->count, miss, p->grad, s->job->stream);
    qep_free(miss);
}

static void visit_sweep(void *ctx, int64_t row0, int64_t n, const float *block, int64_t ld)
{
    polish *p = ctx;
    int64_t moved = 0;
#pragma omp parallel for schedule(dynamic) reduction(+ : moved)
    for (int64_t i = 0; i < p->s->count; i++)
        for (int64_t c = 0; c < n; c += QEP_POLISH_COLS)
            moved += qep_polish_sweep(&p->strips[i], row0 + c, qep_min_i64(QEP_POLISH_COLS, n - c), block + c * ld, ld);
    p->moved += moved;
}

static void sweeps_all(polish *p, int64_t most)
{
    for (int64_t k = 0; k < most; k++) {
        p->moved = 0;
        qep_rows_stream_all(p->s->job->H, visit_sweep, p, p->s->job->stream);
        qep_sum_i64_all(p->s->job->comm, &p->moved, 1);
        if (p->moved == 0) return;
    }
}

static void visit_collect(void *ctx, int64_t row0, int64_t n, const float *block, int64_t ld)
{
    polish *p = ctx;
    int64_t size = normal_size(p->s->groups);
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < p->batch; i++)
        for (int64_t c = 0; c < n; c += QEP_POLISH_COLS)
            qep_polish_collect(&p->strips[p->first + i], row0 + c, qep_min_i64(QEP_POLISH_COLS, n - c), block + c * ld, ld,
                               p->scratch + omp_get_thread_num() * QEP_STRIP * p->s->cols, p->normal + i * size);
}

/* Every rank makes as many passes over A as the one with the most strips. */
static void scales_all(polish *p)
{
    const qep_set *s = p->s;
    int64_t batch = qep_layer_polish_batch(s->groups), size = normal_size(s->groups), most = qep_ceil_div(s->total_strips, qep_size(s->job->comm));
    p->normal = qep_alloc(POLISH, qep_min_i64(batch, s->count) * size, sizeof *p->normal);
    p->scratch = qep_alloc(POLISH, omp_get_max_threads() * QEP_STRIP * s->cols, sizeof *p->scratch);
    for (p->first = 0; p->first < most; p->first += batch) {
        p->batch = qep_max_i64(0, qep_min_i64(batch, s->count - p->first));
        memset(p->normal, 0, (size_t)(p->batch * size) * sizeof *p->normal);
        qep_rows_stream_all(s->job->H, visit_collect, p, s->job->stream);
#pragma omp parallel for schedule(dynamic)
        for (int64_t i = 0; i < p->batch; i++) qep_polish_scales(&p->strips[p->first + i], p->normal + i * size);
    }
    qep_free(p->scratch);
    qep_free(p->normal);
    form_gradient_all(p);
}

static void rounds_all(polish *p, const qep_linear_config *cfg)
{
    form_gradient_all(p);
    if (cfg->refit == 0) sweeps_all(p, cfg->sweeps);
    for (int64_t k = 0; k < cfg->refit; k++) {
        scales_all(p);
        sweeps_all(p, cfg->sweeps);
    }
    if (cfg->refit > 0 && cfg->sweeps > 0) scales_all(p);
}

void qep_set_polish_all(qep_set *s)
{
    const qep_linear_config *cfg = &s->lead->cfg;
    if (!qep_layer_polishes(cfg, &s->lead->spec)) return;
    polish p = {.s = s};
    double *diag = qep_alloc("layer.order", s->cols, sizeof *diag), mean = 0;
    qep_dmat_diag_all(s->job->H, diag);
    for (int64_t i = 0; i < s->cols; i++) mean += diag[i] / (double)s->cols;
    qep_dmat_add_diag(s->job->H, s->damping * mean); /* A, for as long as it passes by */
    if (s->job->keep_h) qep_dmat_keep_rows_all(s->job->H, "quantize.h");
    p.grad = qep_alloc(POLISH, s->count * QEP_STRIP * s->cols, sizeof *p.grad);
    p.strips = qep_alloc("layer.order", s->count, sizeof *p.strips);
    for (int64_t i = 0; i < s->count; i++)
        p.strips[i] = (qep_polish){.spec = &s->lead->spec, .cols = s->cols, .groups = s->groups, .g_idx = s->g_idx,
                                   .q = qep_set_result(s, i), .grad = qep_set_row(s, p.grad, i)};
    rounds_all(&p, cfg);
    qep_dmat_set_diag_all(s->job->H, diag); /* the rows stay kept for the figures */
    qep_free(p.strips);
    qep_free(p.grad);
    qep_free(diag);
}
