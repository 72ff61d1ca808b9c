/* Driver of the methods that go column by column: the factor streams by in blocks of rows, my strips take each block in turn.
 * SPDX-License-Identifier: Apache-2.0 */
#include "layer_priv.h"

static void run_steps_all(qep_set *s, const qep_dmat *Lr, qep_gptq **g)
{
    const qep_qspec *q = &s->lead->spec;
    qep_window *win = s->job->stream;
    for (int64_t step = 0; step < qep_gptq_n_steps(q, s->cols); step++) {
        int64_t row0, n;
        qep_gptq_step_rows(q, s->cols, step, &row0, &n);
        int64_t ld = qep_round_up(s->cols - row0, QEP_GPTQ_PAD);
        qep_window_sync_all(win); /* nobody reads the previous block any more */
        qep_dmat_fetch_rows_all(Lr, row0, n, true, QEP_F32, win, 0, ld);
        const float *r = qep_window_data(win);
#pragma omp parallel for schedule(dynamic)
        for (int64_t i = 0; i < s->count; i++) qep_gptq_step(g[i], step, r, ld);
    }
    qep_window_sync_all(win);
}

qep_status qep_drive_factor_all(qep_set *s)
{
    const qep_qspec *q = &s->lead->spec;
    qep_status st = QEP_OK;
    qep_dmat *Lr = NULL;
    double *diag = qep_alloc("layer.order", s->cols, sizeof *diag);
    int32_t *perm = qep_alloc("layer.order", s->cols, sizeof *perm);
    float *rdiag = qep_alloc("layer.order", s->cols, sizeof *rdiag);
    qep_gptq **g = qep_alloc("layer.order", s->count, sizeof *g);
    qep_ladder ladder = {.damping = s->lead->cfg.damping, .repair = s->job->repair};
    qep_dmat_diag_all(s->job->H, diag);
    qep_processing_order(diag, s->cols, q->act_order, perm);
    QEP_GO(st, qep_factor_r_all(s->job->H, perm, &ladder, &Lr, rdiag));
    s->damping = ladder.damping;
    if (ladder.attempts > s->attempts) s->attempts = ladder.attempts;
    s->fallback = s->fallback || ladder.attempts > 1;
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < s->count; i++) {
        float *target = qep_set_row(s, s->target, i);
        qep_set_clear_dead(s, target); /* a channel without signal: no code matters, 0 keeps the grid narrow */
        g[i] = qep_gptq_create(q, target, s->cols, perm, rdiag);
    }
    run_steps_all(s, Lr, g);
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < s->count; i++) {
        qep_qstrip out = qep_set_result(s, i);
        qep_gptq_finish(g[i], &out, i == 0 ? s->g_idx : NULL, NULL);
        qep_gptq_destroy(&g[i]);
    }
done:
    qep_dmat_destroy_all(&Lr);
    qep_free(g);
    qep_free(rdiag);
    qep_free(perm);
    qep_free(diag);
    return st;
}

int64_t qep_drive_factor_window(const qep_qspec *spec, int64_t cols)
{
    int64_t bytes = 0;
    for (int64_t step = 0; step < qep_gptq_n_steps(spec, cols); step++) {
        int64_t row0, n;
        qep_gptq_step_rows(spec, cols, step, &row0, &n);
        bytes = qep_max_i64(bytes, n * qep_round_up(cols - row0, QEP_GPTQ_PAD) * (int64_t)sizeof(float));
    }
    return bytes;
}

int64_t qep_drive_factor_scratch(const qep_qspec *spec, int64_t strips, int64_t cols)
{
    return strips * qep_gptq_bytes(spec, cols);
}
