/* Driver of the methods that go column by column: the factor, and the method's matrices, stream by in steps of rows; my strips take each
 * step in turn. SPDX-License-Identifier: Apache-2.0 */
#include "layer_priv.h"

typedef struct factor {
    qep_dmat *Lr;                   /* R = J Lr J */
    int n_moves;
    qep_dmat *M[QEP_MAX_MOVES];     /* S or P of the method */
    const int32_t *perm;            /* borrowed, [cols]: processing order */
    float *rdiag;                   /* [cols] */
} factor;

/* An odd number of cache lines: rows of a block do not fall into the same cache sets. */
int64_t qep_layer_row_stride(int64_t cols)
{
    return (qep_ceil_div(cols, 16) | 1) * 16;
}

/* What a step keeps in the window: rows of R, of the method's matrices, and the packed panels that all strips of the node read. Floats. */
typedef struct room {
    int64_t row0, rows, own; /* of R; own rows of the matrices */
    int64_t ldr, ldp;
    int64_t matrices, packed, end; /* where these begin */
} room;

static room room_of(const qep_qspec *q, int64_t cols, int64_t step)
{
    room m = {.own = qep_gptq_step_cols(q, cols, step), .ldp = qep_layer_row_stride(cols)};
    qep_gptq_step_rows(q, cols, step, &m.row0, &m.rows);
    m.ldr = qep_layer_row_stride(cols - m.row0);
    m.matrices = m.rows * m.ldr;
    m.packed = m.matrices + qep_gptq_moves(q) * m.own * m.ldp;
    m.end = m.packed + qep_gptq_packed_bytes(q, cols) / (int64_t)sizeof(float);
    return m;
}

/* The next step into the window. */
static qep_gptq_block fetch_step_all(const qep_set *s, const qep_qspec *q, const factor *f, int64_t step)
{
    qep_window *win = s->job->stream;
    const room m = room_of(q, s->cols, step);
    const int64_t f32 = (int64_t)sizeof(float);
    float *data = qep_window_data(win);
    qep_gptq_block b = {.r = data, .ldr = m.ldr, .ldp = m.ldp, .packed = data + m.packed};
    qep_window_sync_all(win); /* nobody reads the previous step any more */
    qep_dmat_fetch_rows_all(f->Lr, m.row0, m.rows, true, QEP_F32, win, 0, m.ldr);
    for (int k = 0; k < f->n_moves; k++) {
        const int64_t at = m.matrices + k * m.own * m.ldp;
        qep_dmat_fetch_rows_all(f->M[k], m.row0, m.own, false, QEP_F32, win, at * f32, m.ldp);
        b.p[k] = data + at + m.row0;
    }
    qep_gptq_pack(q, s->cols, step, &b, data + m.packed, qep_node_rank(s->job->comm), qep_node_size(s->job->comm));
    qep_window_sync_all(win);
    return b;
}

/* All weights to come are drawn back: R passes by twice, from the step's first row on. */
static void pull_all(const qep_set *s, const factor *f, qep_gptq **g, int64_t c0)
{
    qep_window *win = s->job->stream;
    const int64_t blocks = qep_ceil_div(s->cols - c0, QEP_STREAM_ROWS);
    for (int64_t k = 0; k < 2 * blocks; k++) {
        const bool back = k >= blocks;
        const int64_t row0 = c0 + (back ? 2 * blocks - 1 - k : k) * QEP_STREAM_ROWS, n = qep_min_i64(QEP_STREAM_ROWS, s->cols - row0);
        const int64_t ld = qep_round_up(s->cols - row0, QEP_DMAT_LINE);
        qep_window_sync_all(win); /* nobody reads the previous block any more */
        qep_dmat_fetch_rows_all(f->Lr, row0, n, true, QEP_F64, win, 0, ld);
#pragma omp parallel for schedule(dynamic)
        for (int64_t i = 0; i < s->count; i++) qep_gptq_pull(g[i], back, row0, n, qep_window_data(win), ld);
    }
}

static void run_steps_all(qep_set *s, const qep_qspec *q, const factor *f, qep_gptq **g)
{
    for (int64_t step = 0; step < qep_gptq_n_steps(q, s->cols); step++) {
        if (qep_gptq_pulls(q)) pull_all(s, f, g, step * qep_gptq_step_cols(q, s->cols, 0));
        qep_gptq_block b = fetch_step_all(s, q, f, step);
        qep_gptq_step(g, s->count, step, &b);
    }
    qep_window_sync_all(s->job->stream);
}

/* S, in the published codes P. */
static qep_dmat *form_move_all(const qep_set *s, const qep_qspec *q, const factor *f, const qep_dmat *C)
{
    qep_dmat *M = qep_form_s_all(C, f->perm, f->Lr, "solve.p", s->job->stream);
    if (q->paper) qep_s_to_p_all(M, f->Lr, s->job->stream);
    return M;
}

/* The matrices of GPTAQ and its kin: from C; ResComp's published code has one from C + H (undamped), too. */
static void form_moves_all(const qep_set *s, const qep_qspec *q, factor *f)
{
    const qep_layer_job *j = s->job;
    f->n_moves = qep_gptq_moves(q);
    if (f->n_moves > 0) f->M[0] = form_move_all(s, q, f, j->C);
    if (f->n_moves < 2) return;
    qep_dmat *K = qep_dmat_create_all(j->comm, "solve.p", s->cols, qep_dmat_block(j->C), qep_dmat_n_owners(j->C));
    qep_dmat_copy(K, j->C);
    qep_dmat_add(K, j->H);
    f->M[1] = form_move_all(s, q, f, K);
    qep_dmat_destroy_all(&K);
}

static qep_status prepare_all(qep_set *s, const qep_qspec *q, const qep_dmat *H, factor *f)
{
    qep_ladder ladder = {.damping = s->lead->cfg.damping, .repair = s->job->repair};
    f->rdiag = qep_alloc("layer.order", s->cols, sizeof *f->rdiag);
    QEP_TRY(qep_factor_r_all(H, f->perm, &ladder, s->job->stream, &f->Lr, f->rdiag));
    s->damping = ladder.damping;
    if (ladder.attempts > s->attempts) s->attempts = ladder.attempts;
    s->fallback = s->fallback || ladder.attempts > 1;
    form_moves_all(s, q, f);
    return QEP_OK;
}

static void release_all(factor *f)
{
    qep_dmat_destroy_all(&f->Lr);
    for (int m = 0; m < QEP_MAX_MOVES; m++) qep_dmat_destroy_all(&f->M[m]);
    qep_free(f->rdiag);
}

qep_status qep_factor_loop_all(qep_set *s, const qep_qspec *q, float *rows, const qep_dmat *H, const int32_t *perm, const uint8_t *dead)
{
    factor f = {.perm = perm};
    qep_part_begin("factor");
    qep_status st = prepare_all(s, q, H, &f);
    qep_part_end();
    if (st != QEP_OK) {
        release_all(&f);
        return st;
    }
    qep_part_begin("loop");
    const int64_t bytes = qep_gptq_bytes(q, s->cols);
    char *states = qep_alloc("quantize.strips", s->count, (size_t)bytes);
    qep_gptq **g = qep_alloc("layer.order", s->count, sizeof *g);
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < s->count; i++) g[i] = qep_gptq_create(q, qep_set_row(s, rows, i), s->cols, perm, f.rdiag, dead, states + i * bytes);
    run_steps_all(s, q, &f, g);
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < s->count; i++) {
        qep_qstrip out = qep_set_result(s, i);
        qep_gptq_finish(g[i], &out, i == 0 ? s->g_idx : NULL, NULL);
    }
    qep_free(g);
    qep_free(states);
    qep_part_end();
    release_all(&f);
    return QEP_OK;
}

qep_status qep_drive_factor_all(qep_set *s)
{
    qep_qspec q = s->lead->spec;
    double *diag = qep_alloc("layer.order", s->cols, sizeof *diag);
    int32_t *perm = qep_alloc("layer.order", s->cols, sizeof *perm);
    const bool late = q.paper && (q.group_size < 0 || qep_gptq_pulls(&q)); /* the published codes clear them behind the grids of whole rows */
    if (qep_gptq_pulls(&q)) q.options.foem_beta /= s->job->published_h; /* its dimension is H's */
    qep_dmat_diag_all(s->job->H, diag);
    qep_processing_order(diag, s->cols, q.act_order, perm);
    /* a channel without signal: no code matters, 0 keeps the grid narrow */
    if (!late) qep_set_clear_dead(s, s->target);
    qep_status st = qep_factor_loop_all(s, &q, s->target, s->job->H, perm, late ? s->dead : NULL);
    if (late) qep_set_clear_dead(s, s->target);
    qep_free(perm);
    qep_free(diag);
    return st;
}

int64_t qep_drive_factor_window(const qep_qspec *spec, int64_t cols)
{
    int64_t floats = 0;
    for (int64_t step = 0; step < qep_gptq_n_steps(spec, cols); step++) floats = qep_max_i64(floats, room_of(spec, cols, step).end);
    return floats * (int64_t)sizeof(float);
}

void qep_drive_factor_plan(const qep_qspec *spec, const qep_layer_shape *shape, qep_layer_bytes *b)
{
    int moves = qep_gptq_moves(spec);
    b->strips = shape->strips * qep_gptq_bytes(spec, shape->cols);
    b->matrices = moves > 1 ? 3 : moves; /* with C + H while the second is formed */
}
