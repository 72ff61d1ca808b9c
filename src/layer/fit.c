/* alpha = auto: strength and damping of a group's correction from the held-out sequences.
 *
 * With G(lambda) = (W C + beta Gamma) (H + lambda I)^-1 from the calibration sequences, V = W + a G, and the held-out sums Hv, Cv, Gammav:
 *   |W X + beta (R - Rq) - V Xq|^2 over the held-out tokens = const - 2 a tr(B G^T) + a^2 tr(G Hv G^T),   B = W Cv + beta Gammav,
 * least at a = tr(B G^T) / tr(G Hv G^T), lower there by tr(B G^T)^2 / tr(G Hv G^T). The criterion aims at the residual stream as the correction
 * itself does: without Gammav it would reject whatever beta gains. a scales both terms, so alpha = a and the residual's share is a beta.
 * SPDX-License-Identifier: Apache-2.0 */
#include "layer_priv.h"

#include <string.h>

#define FIT "layer.fit"
static const double lambdas[] = {0.001, 0.01, 0.1, 1.0};

typedef struct fit {
    float *b, *g;      /* [s->count * QEP_STRIP, cols] */
    double *sides, *y; /* the same shape: W C + beta Gamma, and that solved */
    double *sums;      /* [2][rows of the set]: tr(B G^T), tr(G Hv G^T) by row */
} fit;

/* B of my rows, and what they are solved from. */
static void form_sides_all(const qep_set *s, fit *f)
{
    const qep_stats *held = s->job->held;
    qep_rows_times_f32_all(held->C, s->count, s->w, f->b, s->job->stream);
    int64_t n = held->gamma ? s->count * QEP_STRIP * s->cols : 0;
    for (int64_t k = 0; k < n; k++) f->b[k] = (float)((double)f->b[k] + s->lead->cfg.residual * held->gamma[k]);
    qep_correction_sides_all(s->job->C, s->count, s->w, qep_layer_needs_gamma(&s->lead->cfg) ? s->job->gamma : NULL, s->lead->cfg.residual, f->sides,
                             s->job->stream);
}

/* tr(B G^T) and tr(G Hv G^T) at one lambda, in a fixed order of rows. */
static qep_status traces_all(qep_set *s, fit *f, double *lambda, double *num, double *den)
{
    const qep_layer_job *j = s->job;
    int64_t n = s->count * QEP_STRIP * s->cols, rows = s->total_strips * QEP_STRIP;
    qep_ladder ladder = {.damping = *lambda, .repair = j->repair};
    qep_dmat *L = NULL;
    QEP_TRY(qep_factor_all(j->H, &ladder, j->stream, &L));
    *lambda = ladder.damping;
    qep_copy(f->y, f->sides, n * (int64_t)sizeof *f->y);
    qep_rows_solve_all(L, s->count, f->y, j->stream);
    qep_dmat_destroy_all(&L);
    for (int64_t k = 0; k < n; k++) f->g[k] = (float)f->y[k];
    memset(f->sums, 0, (size_t)(2 * rows) * sizeof *f->sums);
    qep_rows_forms_all(j->held->H, s->count, f->g, f->sums + rows + s->first * QEP_STRIP, j->stream);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < s->count * QEP_STRIP; i++)
        for (int64_t k = i * s->cols; k < (i + 1) * s->cols; k++) f->sums[s->first * QEP_STRIP + i] += (double)f->b[k] * (double)f->g[k];
    qep_sum_f64_all(j->comm, f->sums, 2 * rows); /* one rank's value plus zeros: exact */
    *num = *den = 0;
    for (int64_t i = 0; i < rows; i++) *num += f->sums[i], *den += f->sums[rows + i];
    return QEP_OK;
}

qep_status qep_set_fit_all(qep_set *s)
{
    int64_t n = s->count * QEP_STRIP * s->cols;
    QEP_REQUIRE(s->job->held->H && s->job->held->C);
    fit f = {.b = qep_alloc(FIT, n, sizeof *f.b), .g = qep_alloc(FIT, n, sizeof *f.g),
             .sides = qep_alloc(FIT, n, sizeof *f.sides), .y = qep_alloc(FIT, n, sizeof *f.y),
             .sums = qep_alloc(FIT, 2 * s->total_strips * QEP_STRIP, sizeof *f.sums)};
    double best = 0;
    qep_status st = QEP_OK;
    form_sides_all(s, &f);
    s->alpha = s->residual = 0; /* what stays when no correction serves the held-out sequences */
    for (int k = 0; k < (int)(sizeof lambdas / sizeof *lambdas) && st == QEP_OK; k++) {
        double lambda = lambdas[k], num, den;
        st = traces_all(s, &f, &lambda, &num, &den);
        if (st != QEP_OK || !(num > 0 && den > 0)) continue;
        double a = num < den ? num / den : 1.0, gain = a * (2 * num - a * den);
        if (!(gain > best)) continue;
        best = gain;
        s->alpha = a;
        s->residual = a * s->lead->cfg.residual;
        s->correction_damping = lambda;
    }
    qep_free(f.sums);
    qep_free(f.y);
    qep_free(f.sides);
    qep_free(f.g);
    qep_free(f.b);
    return st;
}
