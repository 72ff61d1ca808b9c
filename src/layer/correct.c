/* The target of the quantizer: the weights, or the corrected weights.
 * SPDX-License-Identifier: Apache-2.0 */
#include "layer_priv.h"

/* What the figures need of C, which the correction may destroy: W C of my rows, or Y (figures.c). The correction leaves it in what is returned; NULL: it is
 * there, as nothing is corrected or, as published, weights without those of dead channels. */
static float *keep_all(qep_set *s)
{
    const bool leaves = qep_layer_corrects(&s->lead->cfg) && !(s->lead->spec.paper && s->n_dead > 0);
    const bool y = leaves && qep_correct_by_matrix(s->total_rows, s->cols, qep_layer_needs_gamma(&s->lead->cfg));
    float **kept = y ? &s->y : &s->wc;
    *kept = qep_alloc("layer.figures", s->count * QEP_STRIP * s->cols, sizeof **kept);
    if (leaves) return *kept;
    qep_rows_times_f32_all(s->job->C, s->count, s->w, s->wc, s->job->stream);
    return NULL;
}

static void round_trip(qep_set *s)
{
    if (!qep_layer_rounds(&s->lead->spec, s->job->published_type)) return;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < s->count; i++) qep_round_bf16(qep_set_row(s, s->target, i), qep_set_row(s, s->target, i), QEP_STRIP * s->cols);
}

qep_status qep_set_correct_all(qep_set *s)
{
    const qep_layer_job *j = s->job;
    const qep_linear_config *cfg = &s->lead->cfg;
    qep_copy(s->target, s->w, s->count * QEP_STRIP * s->cols * (int64_t)sizeof *s->w);
    float *beside = j->C ? keep_all(s) : NULL;
    if (!qep_layer_corrects(cfg)) return QEP_OK;
    s->alpha = cfg->alpha;
    s->residual = cfg->residual;
    s->correction_damping = cfg->correction_damping;
    if (qep_layer_fits(cfg)) QEP_TRY(qep_set_fit_all(s));
    if (s->lead->spec.paper) qep_set_clear_dead(s, s->target);
    qep_ladder ladder = {.damping = s->correction_damping, .repair = j->repair};
    qep_dmat *L = NULL;
    qep_part_begin("factor");
    qep_status st = qep_factor_all(j->H, &ladder, j->stream, &L);
    qep_part_end();
    QEP_TRY(st);
    s->correction_damping = ladder.damping;
    s->lambda = ladder.shift;
    s->attempts = ladder.attempts;
    s->fallback = ladder.attempts > 1;
    double *alpha = qep_alloc("layer.rows", s->count, sizeof *alpha);
    const double *gamma = qep_layer_needs_gamma(cfg) ? j->gamma : NULL;
    for (int64_t i = 0; i < s->count; i++) alpha[i] = s->alpha;
    qep_correct_rows_all(j->C, L, s->total_rows, s->count, alpha, s->target, gamma, s->residual, s->target, beside, j->stream);
    qep_free(alpha);
    qep_dmat_destroy_all(&L);
    round_trip(s);
    return QEP_OK;
}
