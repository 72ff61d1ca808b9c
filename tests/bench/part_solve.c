/* Statistics of a linear group, factors, correction of its rows.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "../../src/run/run_priv.h" /* how many columns of the statistics a run takes at once */
#include "bench.h"

enum { SOLVER_BLOCK = 64 }; /* default of solver.block */
static const double damping = 0.01;

/* --- the group --------------------------------------------------- */

typedef struct tap {
    const bench *b;
    const bench_group *g;
} tap;

static int64_t tap_tokens(void *ctx, int64_t i)
{
    (void)i;
    return ((const tap *)ctx)->b->opt.tokens;
}

/* As a run fills it from kept activations. */
static void tap_get(void *ctx, int64_t i, float *xq, float *delta)
{
    const tap *t = ctx;
    const int64_t n = t->b->opt.tokens * t->g->d, at = i * n;
    memcpy(xq, t->g->q + at, (size_t)n * sizeof *xq);
    if (!delta) return;
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < n; k++) delta[k] = t->g->fp[at + k] - t->g->q[at + k];
}

static qep_stats_plan stats_plan(const bench *b, int64_t d, qep_compute compute, bool want_c)
{
    return (qep_stats_plan){.d = d,
                            .compute = compute,
                            .total_tokens = b->total_tokens,
                            .want_c = want_c,
                            .panel = qep_run_panel(&(qep_run){.comm = b->comm, .ranks = qep_size(b->comm)}, d, want_c, true),
                            .block = SOLVER_BLOCK,
                            .n_owners = qep_dmat_owners_rule(d, SOLVER_BLOCK, qep_size(b->comm), 0)};
}

static qep_status statistics_all(bench *b, const bench_group *g, qep_compute compute, bool want_c,
                                 qep_dmat **H, qep_dmat **C)
{
    qep_stats out;
    tap t = {b, g};
    const qep_tap_source source = {.ctx = &t, .n_seq = b->n_seq, .max_tokens = b->opt.tokens, .tokens = tap_tokens, .get = tap_get};
    const qep_stats_plan plan = stats_plan(b, g->d, compute, want_c);
    qep_status st = qep_stats_all(b->comm, &plan, &source, g->stream, &out);
    *H = out.H;
    if (C) *C = out.C;
    return st;
}
static qep_qspec quantizer_of(const bench *b, int64_t d)
{
    return (qep_qspec){.method = &qep_method_gptq,
                       .bits = (int)b->opt.bits,
                       .group_size = bench_group_size(&b->opt, d),
                       .act_order = true,
                       .static_groups = true,
                       .clip = QEP_CLIP_MSE,
                       .block_size = 128,
                       .zero_min = 1};
}

/* Members are stacked, as a run deals them to the ranks. */
static void count_strips(const bench *b, int role_group, bench_group *g)
{
    const qep_arch *a = &b->model->arch;
    int64_t first;
    for (int i = 0; i < a->group_count[role_group]; i++) {
        const int64_t rows = a->linears[a->group_first[role_group] + i].rows;
        g->rows += rows;
        g->total_strips += qep_ceil_div(rows, QEP_STRIP);
    }
    qep_partition(g->total_strips, qep_size(b->comm), qep_rank(b->comm), &first, &g->count);
}

static qep_status find_order_all(bench_group *g)
{
    double *diag = qep_alloc("bench", g->d, sizeof *diag);
    qep_ladder ladder = {.damping = damping, .repair = true};
    qep_dmat_diag_all(g->H, diag);
    qep_processing_order(diag, g->d, true, g->perm);
    qep_free(diag);
    QEP_TRY(qep_factor_r_all(g->H, g->perm, &ladder, g->stream, &g->Lr, g->rdiag));
    g->S = qep_form_s_all(g->C, g->perm, g->Lr, "bench", g->stream);
    return QEP_OK;
}

qep_status bench_group_open_all(bench *b, int role_group, bench_group *g)
{
    const int64_t d = qep_group_cols(&b->model->arch, role_group), n = b->n_seq * b->opt.tokens * d;
    const uint64_t mine = 100 * (uint64_t)qep_rank(b->comm);
    *g = (bench_group){
        .name = role_group == 2 ? "gate_up" : "down", .d = d, .spec = quantizer_of(b, d)};
    count_strips(b, role_group, g);
    const int64_t rows = g->count * QEP_STRIP;
    g->fp = bench_noise(n, 1.0, 10 + mine);
    g->q = bench_noise(n, 0.1, 11 + mine);
    for (int64_t i = 0; i < n; i++) g->q[i] += g->fp[i];
    g->w = bench_noise(rows * d, 0.02, 12 + mine);
    g->target = bench_noise(rows * d, 0.02, 13 + mine);
    g->perm = qep_alloc("bench", d, sizeof *g->perm);
    g->rdiag = qep_alloc("bench", d, sizeof *g->rdiag);
    qep_qspec widest = g->spec;
    widest.method = &qep_method_gptaq;
    const qep_stats_plan h_alone = stats_plan(b, d, QEP_COMPUTE_F32, false), with_c = stats_plan(b, d, QEP_COMPUTE_F32, true);
    const int64_t sums = qep_max_i64(qep_stats_window_bytes(&h_alone), qep_stats_window_bytes(&with_c));
    g->stream = qep_window_create_all(b->comm, "bench.stream", qep_max_i64(sums, qep_layer_stream_bytes(&widest, d)));
    QEP_TRY(
        statistics_all(b, g, b->opt.bf16 ? QEP_COMPUTE_BF16 : QEP_COMPUTE_F32, true, &g->H, &g->C));
    return find_order_all(g);
}

void bench_group_close_all(bench_group *g)
{
    qep_dmat_destroy_all(&g->H);
    qep_dmat_destroy_all(&g->C);
    qep_dmat_destroy_all(&g->Lr);
    qep_dmat_destroy_all(&g->S);
    if (g->stream) qep_window_destroy_all(&g->stream);
    qep_free(g->fp);
    qep_free(g->q);
    qep_free(g->w);
    qep_free(g->target);
    qep_free(g->perm);
    qep_free(g->rdiag);
}

/* --- the parts --------------------------------------------------- */

typedef struct solve_case {
    bench_group *g;
    qep_compute compute;
    qep_dmat *H, *C, *L; /* results and copies of a repetition */
    float *rdiag, *out;
    double *alpha;
} solve_case;

static void drop_all(solve_case *c)
{
    qep_dmat_destroy_all(&c->H);
    qep_dmat_destroy_all(&c->C);
    qep_dmat_destroy_all(&c->L);
}

static qep_status drop_results(bench *b, void *ctx)
{
    (void)b;
    drop_all(ctx);
    return QEP_OK;
}

static qep_status only_h(bench *b, void *ctx)
{
    solve_case *c = ctx;
    return statistics_all(b, c->g, c->compute, false, &c->H, NULL);
}

static qep_status h_and_c(bench *b, void *ctx)
{
    solve_case *c = ctx;
    return statistics_all(b, c->g, c->compute, true, &c->H, &c->C);
}

static qep_status factor(bench *b, void *ctx)
{
    (void)b;
    solve_case *c = ctx;
    qep_ladder ladder = {.damping = damping, .repair = true};
    return qep_factor_all(c->g->H, &ladder, c->g->stream, &c->L);
}

/* The library's: p?potrf, as run.reproducible = no has it. */
static qep_status factor_by_library(bench *b, void *ctx)
{
    const bool before = qep_linalg_is_reproducible();
    qep_linalg_set_reproducible(false);
    const qep_status st = factor(b, ctx);
    qep_linalg_set_reproducible(before);
    return st;
}

static qep_status factor_r(bench *b, void *ctx)
{
    (void)b;
    solve_case *c = ctx;
    qep_ladder ladder = {.damping = damping, .repair = true};
    return qep_factor_r_all(c->g->H, c->g->perm, &ladder, c->g->stream, &c->L, c->rdiag);
}

static qep_status form_s(bench *b, void *ctx)
{
    (void)b;
    solve_case *c = ctx;
    c->L = qep_form_s_all(c->g->C, c->g->perm, c->g->Lr, "bench", c->g->stream);
    return QEP_OK;
}

/* The correction may overwrite C. */
static qep_status copy_c(bench *b, void *ctx)
{
    solve_case *c = ctx;
    const qep_dmat *C = c->g->C;
    if (!c->C)
        c->C = qep_dmat_create_all(b->comm, "bench", qep_dmat_n(C), qep_dmat_block(C),
                                   qep_dmat_n_owners(C));
    qep_dmat_copy(c->C, C);
    return QEP_OK;
}

static qep_status correct(bench *b, void *ctx)
{
    (void)b;
    solve_case *c = ctx;
    qep_correct_rows_all(c->C, c->L, c->g->rows, c->g->count, c->alpha, c->g->w, NULL, 0.0, c->out, NULL, c->g->stream);
    return QEP_OK;
}

static qep_status times(bench *b, void *ctx)
{
    (void)b;
    solve_case *c = ctx;
    qep_rows_times_f32_all(c->g->C, c->g->count, c->g->w, c->out, c->g->stream);
    return QEP_OK;
}

/* "statistics H, gate_up" */
static qep_status time_one_all(bench *b, const char *what, const char *type, double work,
                               bench_floor floor, qep_status (*prepare)(bench *, void *),
                               qep_status (*run)(bench *, void *), solve_case *c)
{
    char name[64];
    snprintf(name, sizeof name, "%s, %s", what, c->g->name);
    return bench_time_all(b, &(bench_part){name, type, work, floor, prepare, run, c});
}

/* H is symmetric: half of T d^2 products; C needs all. */
static qep_status time_statistics_all(bench *b, solve_case *c)
{
    const double square = (double)b->total_tokens * (double)c->g->d * (double)c->g->d;
    const bool asked[2] = {b->opt.f32, b->opt.bf16};
    static const char *const types[2] = {"f32", "bf16"};
    for (int k = 0; k < 2; k++) {
        if (!asked[k]) continue;
        const bench_floor floor = k == 0 ? BENCH_GEMM_F32 : BENCH_GEMM_BF16;
        c->compute = k == 0 ? QEP_COMPUTE_F32 : QEP_COMPUTE_BF16;
        QEP_TRY(time_one_all(b, "statistics: H", types[k], square, floor, drop_results, only_h, c));
        QEP_TRY(time_one_all(b, "statistics: H and C", types[k], 3 * square, floor, drop_results,
                             h_and_c, c));
    }
    return QEP_OK;
}

static qep_status time_factors_all(bench *b, solve_case *c)
{
    const double d = (double)c->g->d, work = d * d * d / 3;
    QEP_TRY(time_one_all(b, "factor: H", "f64", work, BENCH_GEMM_F64, drop_results, factor, c));
    QEP_TRY(time_one_all(b, "factor: H by ScaLAPACK", "f64", work, BENCH_GEMM_F64, drop_results, factor_by_library, c));
    QEP_TRY(time_one_all(b, "factor: H in order, reversed", "f64", work, BENCH_GEMM_F64, drop_results, factor_r, c));
    return time_one_all(b, "factor: S of GPTAQ", "f64", work, BENCH_GEMM_F64, drop_results, form_s, c);
}

/* M = C (H + lambda I)^-1 once, or a solve for the rows, whichever is less. */
static qep_status time_correction_all(bench *b, solve_case *c)
{
    const double d = (double)c->g->d, rows = (double)c->g->rows;
    const double work = rows > d ? 2 * d * d * d + 2 * rows * d * d : 4 * rows * d * d;
    drop_all(c);
    QEP_TRY(factor(b, c));
    QEP_TRY(time_one_all(b, "correction: rows", "f64", work, BENCH_GEMM_F64, copy_c, correct, c));
    return time_one_all(b, "figures: W C, held out", "f32", 2 * rows * d * d, BENCH_GEMM_F32, NULL, times, c);
}

qep_status bench_solve_all(bench *b, bench_group *g)
{
    solve_case c = {.g = g};
    qep_status st;
    c.rdiag = qep_alloc("bench", g->d, sizeof *c.rdiag);
    c.alpha = qep_alloc("bench", g->count, sizeof *c.alpha);
    c.out = qep_alloc("bench", g->count * QEP_STRIP * g->d, sizeof *c.out);
    for (int64_t i = 0; i < g->count; i++) c.alpha[i] = 1.0;
    QEP_GO(st, time_statistics_all(b, &c));
    QEP_GO(st, time_factors_all(b, &c));
    QEP_GO(st, time_correction_all(b, &c));
done:
    drop_all(&c);
    qep_free(c.rdiag);
    qep_free(c.alpha);
    qep_free(c.out);
    return st;
}
