/* Quantizers over a rank's strips: rounding to nearest, the search for the grid, the GPTQ loop with
 * its factor streaming by as src/layer drives it, and the polish of its codes and scales.
 * SPDX-License-Identifier: Apache-2.0 */
#include "bench.h"

#include <math.h>
#include <omp.h>
#include <string.h>
#include <time.h>

typedef struct quantize_case {
    bench_group *g;
    qep_qspec spec;
    uint8_t *codes, *zeros; /* [count * QEP_STRIP, d], [.., groups] */
    float *scales;
    int64_t groups;
    qep_gptq **state; /* [count] */
    int32_t *g_idx;
} quantize_case;

static qep_qstrip strip_result(const quantize_case *c, int64_t i)
{
    return (qep_qstrip){.codes = c->codes + i * QEP_STRIP * c->g->d,
                        .scales = c->scales + i * QEP_STRIP * c->groups,
                        .zeros = c->zeros + i * QEP_STRIP * c->groups};
}

static const float *strip_rows(const quantize_case *c, int64_t i)
{
    return c->g->target + i * QEP_STRIP * c->g->d;
}

static qep_status rtn(bench *b, void *ctx)
{
    (void)b;
    const quantize_case *c = ctx;
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < c->g->count; i++) {
        qep_qstrip out = strip_result(c, i);
        qep_rtn_strip(&c->spec, strip_rows(c, i), NULL, c->g->d, &out);
    }
    return QEP_OK;
}

static void steps_all(const quantize_case *c)
{
    const bench_group *g = c->g;
    const int64_t ldp = qep_round_up(g->d, 16) + 16;
    float *packed = qep_alloc("bench", qep_gptq_packed_bytes(&c->spec, g->d), 1);
    for (int64_t step = 0; step < qep_gptq_n_steps(&c->spec, g->d); step++) {
        int64_t row0, n;
        qep_gptq_step_rows(&c->spec, g->d, step, &row0, &n);
        const int64_t ldr = qep_round_up(g->d - row0, 16) + 16, own = qep_gptq_step_cols(&c->spec, g->d, step);
        qep_window_sync_all(g->stream);
        qep_dmat_fetch_rows_all(g->Lr, row0, n, true, QEP_F32, g->stream, 0, ldr);
        const float *data = qep_window_data(g->stream);
        qep_gptq_block b = {.r = data, .ldr = ldr, .ldp = ldp};
        if (qep_method_moves(c->spec.method, &c->spec.options, false) > 0) {
            qep_dmat_fetch_rows_all(g->S, row0, own, false, QEP_F32, g->stream, n * ldr * (int64_t)sizeof(float), ldp);
            b.p[0] = data + n * ldr + row0;
        }
        qep_gptq_pack(&c->spec, g->d, step, &b, packed, 0, 1);
        b.packed = packed;
        qep_gptq_step(c->state, g->count, step, &b);
    }
    qep_window_sync_all(g->stream);
    qep_free(packed);
}

/* Grids (static groups: found when the state is made), the loop, and the result in original order.
 */
static qep_status gptq(bench *b, void *ctx)
{
    (void)b;
    const quantize_case *c = ctx;
    const bench_group *g = c->g;
    const int64_t bytes = qep_gptq_bytes(&c->spec, g->d);
    char *room = qep_alloc("bench", g->count, (size_t)bytes);
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < g->count; i++)
        c->state[i] = qep_gptq_create(&c->spec, strip_rows(c, i), g->d, g->perm, g->rdiag, NULL, room + i * bytes);
    steps_all(c);
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < g->count; i++) {
        qep_qstrip out = strip_result(c, i);
        qep_gptq_finish(c->state[i], &out, i == 0 ? c->g_idx : NULL, NULL);
    }
    qep_free(room);
    return QEP_OK;
}

static qep_status time_one_all(bench *b, const char *what, double work, bench_floor floor,
                               qep_status (*run)(bench *, void *), quantize_case *c)
{
    char name[64];
    snprintf(name, sizeof name, "%s, %s", what, c->g->name);
    return bench_time_all(b, &(bench_part){name, "f32", work, floor, NULL, run, c});
}

/* --- polish -------------------------------------------------------------------------------- */

/* Sweeps and least squares on H itself (its diagonal is positive: damping would only blur the figure). */
typedef struct polish_case {
    quantize_case *c;
    qep_polish *strips; /* [count] */
    float *grad, *scratch;
    double *normal; /* of one strip at a time */
    int64_t moved;
} polish_case;

static void form_gradient_all(polish_case *p)
{
    const bench_group *g = p->c->g;
    const int64_t strip = QEP_STRIP * g->d;
    float *miss = qep_alloc("bench", g->count * strip, sizeof *miss);
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < g->count; i++) qep_polish_miss(&p->strips[i], strip_rows(p->c, i), miss + i * strip);
    memset(p->grad, 0, (size_t)(g->count * strip) * sizeof *p->grad);
    qep_rows_times_f32_all(g->H, g->count, miss, p->grad, g->stream);
    qep_free(miss);
}

static qep_status gptq_and_gradient(bench *b, void *ctx)
{
    polish_case *p = ctx;
    QEP_TRY(gptq(b, p->c));
    form_gradient_all(p);
    return QEP_OK;
}

static void visit_sweep(void *ctx, int64_t row0, int64_t n, const float *block, int64_t ld)
{
    polish_case *p = ctx;
    int64_t moved = 0;
#pragma omp parallel for schedule(dynamic) reduction(+ : moved)
    for (int64_t i = 0; i < p->c->g->count; i++)
        for (int64_t c = 0; c < n; c += QEP_POLISH_COLS)
            moved += qep_polish_sweep(&p->strips[i], row0 + c, qep_min_i64(QEP_POLISH_COLS, n - c), block + c * ld, ld);
    p->moved += moved;
}

static qep_status sweep(bench *b, void *ctx)
{
    (void)b;
    polish_case *p = ctx;
    qep_rows_stream_all(p->c->g->H, visit_sweep, p, p->c->g->stream);
    return QEP_OK;
}

static qep_status gradient(bench *b, void *ctx)
{
    (void)b;
    form_gradient_all(ctx);
    return QEP_OK;
}

static void visit_collect(void *ctx, int64_t row0, int64_t n, const float *block, int64_t ld)
{
    polish_case *p = ctx;
    const int64_t cols = p->c->g->d;
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < p->c->g->count; i++)
        for (int64_t c = 0; c < n; c += QEP_POLISH_COLS)
            qep_polish_collect(&p->strips[i], row0 + c, qep_min_i64(QEP_POLISH_COLS, n - c), block + c * ld, ld,
                               p->scratch + omp_get_thread_num() * QEP_STRIP * cols,
                               p->normal + i * QEP_STRIP * p->c->groups * p->c->groups);
}

static qep_status collect(bench *b, void *ctx)
{
    (void)b;
    polish_case *p = ctx;
    qep_rows_stream_all(p->c->g->H, visit_collect, p, p->c->g->stream);
    return QEP_OK;
}

static qep_status time_polish_all(bench *b, quantize_case *c)
{
    const bench_group *g = c->g;
    const double rows = (double)g->rows, d = (double)g->d;
    polish_case p = {.c = c};
    char name[3][64];
    const char *what[3] = {"quantize: polish, sweep", "quantize: polish, gradient", "quantize: polish, normal eqs"};
    for (int i = 0; i < 3; i++) snprintf(name[i], sizeof name[i], "%s, %s", what[i], g->name);
    p.grad = qep_alloc("bench", g->count * QEP_STRIP * g->d, sizeof *p.grad);
    p.scratch = qep_alloc("bench", omp_get_max_threads() * QEP_STRIP * g->d, sizeof *p.scratch);
    p.normal = qep_alloc("bench", g->count * QEP_STRIP * c->groups * c->groups, sizeof *p.normal);
    p.strips = qep_alloc("bench", g->count, sizeof *p.strips);
    for (int64_t i = 0; i < g->count; i++)
        p.strips[i] = (qep_polish){.spec = &c->spec, .cols = g->d, .groups = c->groups, .g_idx = c->g_idx, .q = strip_result(c, i),
                                   .grad = p.grad + i * QEP_STRIP * g->d};
    qep_status st;
    QEP_GO(st, bench_time_all(b, &(bench_part){name[0], "f32", 2 * rows * d * d, BENCH_GEMM_F32, gptq_and_gradient, sweep, &p}));
    QEP_GO(st, bench_time_all(b, &(bench_part){name[1], "f32", 2 * rows * d * d, BENCH_GEMM_F32, NULL, gradient, &p}));
    QEP_GO(st, bench_time_all(b, &(bench_part){name[2], "f32", 2 * rows * d * d, BENCH_GEMM_F32, NULL, collect, &p}));
done:
    qep_free(p.strips);
    qep_free(p.normal);
    qep_free(p.scratch);
    qep_free(p.grad);
    return st;
}

/* Arithmetic of one trial of a grid on one weight (src/quant/grid.c): distance 7, power 2.4 24,
 * sum 1. A trial that has already lost ends early, so the rate may pass what the units can do. */
static const double trial_flop = 32, trials = 80;

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Of all ranks' processors: what other programs take from them does not count. */
static double seconds_of_all(bench *b, quantize_case *c, const qep_method *method)
{
    c->spec.method = method;
    const double t0 = cpu_seconds();
    qep_status st = gptq(b, c);
    QEP_REQUIRE(st == QEP_OK);
    double seconds = cpu_seconds() - t0;
    qep_sum_f64_all(b->comm, &seconds, 1);
    return seconds;
}

/* How many times GPTQ's seconds the method takes: the shortest of runs of one and the other in turn. */
static void compare_all(bench *b, quantize_case *c, const qep_method *method)
{
    double least[2] = {INFINITY, INFINITY};
    for (int64_t i = 0; i < 2 * b->opt.samples; i++) {
        const double s = seconds_of_all(b, c, i % 2 ? method : &qep_method_gptq);
        least[i % 2] = s < least[i % 2] ? s : least[i % 2];
    }
    if (b->root) printf("%-40s %.2f x gptq\n", "", least[1] / least[0]);
}

/* The others of the family: the same work, counted like GPTQ's so that the rates compare. GPTAQ and ResComp multiply two matrices where GPTQ has
 * one, so that twice its time is their floor. */
static qep_status time_kin_all(bench *b, quantize_case *c)
{
    static const struct {
        const char *what;
        const qep_method *method;
    } kin[] = {{"quantize: gptaq, clip none", &qep_method_gptaq},
               {"quantize: rescomp, clip none", &qep_method_rescomp},
               {"quantize: foem, clip none", &qep_method_foem}};
    const double rows = (double)c->g->rows, d = (double)c->g->d;
    for (size_t i = 0; i < sizeof kin / sizeof kin[0]; i++) {
        c->spec.method = kin[i].method;
        QEP_TRY(time_one_all(b, kin[i].what, rows * d * d, BENCH_FMA_F32, gptq, c));
        if (b->last_s > 0) compare_all(b, c, kin[i].method);
    }
    c->spec.method = &qep_method_gptq;
    return QEP_OK;
}

static qep_status time_parts_all(bench *b, quantize_case *c)
{
    const double rows = (double)c->g->rows, d = (double)c->g->d;
    c->spec.options = (qep_method_options){.gptaq_alpha = 0.25, .rescomp_alpha1 = 0.25, .rescomp_alpha2 = 0.25, .rescomp_mode = "allw",
                                           .foem_beta = 0.1, .foem_variant = "paper"};
    c->spec.clip = QEP_CLIP_NONE;
    QEP_TRY(time_one_all(b, "quantize: rtn", 5 * rows * d, BENCH_MEMORY, rtn, c));
    QEP_TRY(time_one_all(b, "quantize: gptq, clip none", rows * d * d, BENCH_FMA_F32, gptq, c));
    QEP_TRY(time_kin_all(b, c));
    c->spec.clip = QEP_CLIP_MSE;
    QEP_TRY(time_one_all(b, "quantize: gptq, clip mse", rows * d * d, BENCH_FMA_F32, gptq, c));
    return time_one_all(b, "quantize: grid search, mse", trials * trial_flop * rows * d,
                        BENCH_FMA_F32, rtn, c);
}

qep_status bench_quantize_all(bench *b, bench_group *g)
{
    quantize_case c = {.g = g, .spec = g->spec, .groups = qep_n_groups(&g->spec, g->d)};
    const int64_t rows = g->count * QEP_STRIP;
    c.codes = qep_alloc("bench", rows * g->d, 1);
    c.zeros = qep_alloc("bench", rows * c.groups, 1);
    c.scales = qep_alloc("bench", rows * c.groups, sizeof *c.scales);
    c.state = qep_alloc("bench", g->count, sizeof *c.state);
    c.g_idx = qep_alloc("bench", g->d, sizeof *c.g_idx);
    qep_status st;
    QEP_GO(st, time_parts_all(b, &c));
    QEP_GO(st, time_polish_all(b, &c));
done:
    qep_free(c.codes);
    qep_free(c.zeros);
    qep_free(c.scales);
    qep_free(c.state);
    qep_free(c.g_idx);
    return st;
}
