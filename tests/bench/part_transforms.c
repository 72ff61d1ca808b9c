/* What AWQ's searches and QuIP's transforms cost over a rank's strips, with H streaming by as src/layer/drive_scaled.c has it; and in the units that
 * matter: forwards of the same linears over a calibration set, the GPTQ loop on the same rows.
 * SPDX-License-Identifier: Apache-2.0 */
#include "bench.h"

#include <omp.h>
#include <string.h>

enum { H_ROWS = 512, POINTS = 10 };
static const double calibration_tokens = 128.0 * 2048.0;

typedef struct transform_case {
    bench_group *g;
    qep_qspec spec;
    float *scale;         /* [d] */
    double *sums;         /* [count, POINTS, QEP_STRIP, groups] */
    float *y;             /* [tokens, count * QEP_STRIP] */
    qep_rotation *U, *V;
} transform_case;

static void try_points(const transform_case *c, int64_t i, bool ranges, int64_t row0, int64_t n, const float *h, int64_t ld)
{
    const int64_t d = c->g->d, width = ranges && c->spec.group_size > 0 ? c->spec.group_size : d, groups = d / width;
    float *e = qep_alloc("bench", QEP_STRIP * width, sizeof *e);
    for (int k = 0; k < POINTS; k++)
        for (int64_t group = row0 / width; group * width < row0 + n; group++) {
            const int64_t c0 = group * width, from = qep_max_i64(c0, row0), to = qep_min_i64(c0 + width, row0 + n);
            qep_awq_error(&c->spec, c->g->target + i * QEP_STRIP * d, d, c->scale, ranges ? qep_awq_shrink(k) : 1.0f, c0, width, e);
            qep_quadratic_add(e, width, h + (from - row0) * ld + c0, ld, from - c0, to - from,
                              c->sums + (i * POINTS + k) * QEP_STRIP * groups + group, groups);
        }
    qep_free(e);
}

static qep_status search(const transform_case *c, bool ranges)
{
    const bench_group *g = c->g;
    const int64_t ld = qep_round_up(g->d, 8);
    for (int64_t row0 = 0; row0 < g->d; row0 += H_ROWS) {
        const int64_t n = qep_min_i64(H_ROWS, g->d - row0);
        qep_window_sync_all(g->stream);
        qep_dmat_fetch_rows_all(g->H, row0, n, false, QEP_F32, g->stream, 0, ld);
        const float *h = qep_window_data(g->stream);
#pragma omp parallel for schedule(dynamic)
        for (int64_t i = 0; i < g->count; i++) try_points(c, i, ranges, row0, n, h, ld);
    }
    qep_window_sync_all(g->stream);
    return QEP_OK;
}

static qep_status scales(bench *b, void *ctx)
{
    (void)b;
    return search(ctx, false);
}

static qep_status ranges(bench *b, void *ctx)
{
    (void)b;
    return search(ctx, true);
}

/* My rows' products with all tokens of one sequence. */
static qep_status forward(bench *b, void *ctx)
{
    const transform_case *c = ctx;
    const int64_t rows = c->g->count * QEP_STRIP;
    qep_linear_f32(c->y, rows, c->g->q, c->g->d, c->g->w, b->opt.tokens, c->g->d, rows, false);
    return QEP_OK;
}

/* n columns of TILE values through R and back. */
static void there_and_back(const qep_rotation *r, int64_t size, int64_t tiles)
{
#pragma omp parallel
    {
        double *x = qep_alloc("bench", 2 * size * QEP_STRIP, sizeof *x);
        for (int64_t k = 0; k < size * QEP_STRIP; k++) x[k] = (double)(k % 17) - 8.0;
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < tiles; i++)
            for (int way = 0; way < 2; way++) qep_rotation_apply(r, way == 1, x, x + size * QEP_STRIP);
        qep_free(x);
    }
}

/* W on both sides, there and back; H on both sides. Of H and of W's columns: this rank's share. */
static qep_status transforms(bench *b, void *ctx)
{
    const transform_case *c = ctx;
    const int64_t d = c->g->d, ranks = qep_size(b->comm);
    there_and_back(c->V, d, c->g->count);
    there_and_back(c->U, c->g->rows, qep_ceil_div(qep_ceil_div(d, QEP_STRIP), ranks));
    there_and_back(c->V, d, qep_ceil_div(qep_ceil_div(d, QEP_STRIP), ranks));
    return QEP_OK;
}

static double seconds_of_all(bench *b, qep_status (*run)(bench *, void *), void *ctx)
{
    qep_barrier_all(b->comm);
    const double t0 = qep_now_s();
    qep_status st = run(b, ctx);
    QEP_REQUIRE(st == QEP_OK);
    double seconds = qep_now_s() - t0;
    qep_max_f64_all(b->comm, &seconds, 1);
    return seconds;
}

static void compare_all(bench *b, transform_case *c)
{
    const double once = seconds_of_all(b, forward, c) * calibration_tokens / (double)b->opt.tokens;
    const double ten = seconds_of_all(b, scales, c), narrow = seconds_of_all(b, ranges, c);
    if (b->root)
        printf("  awq, %s: 10 scales %.3f s, 10 ranges %.3f s; one forward of these linears over %.0f tokens in f32: %.3f s; ratios %.3f, %.3f\n",
               c->g->name, ten, narrow, calibration_tokens, once, ten / once, narrow / once);
}

static double side_sum(int64_t n)
{
    return (double)(qep_rotation_largest(n) + n / qep_rotation_largest(n));
}

qep_status bench_transforms_all(bench *b, bench_group *g)
{
    if (!bench_wants_section(b, "transforms")) return QEP_OK;
    transform_case c = {.g = g, .spec = g->spec};
    const double rows = (double)g->rows, d = (double)g->d;
    const int64_t n = g->count * QEP_STRIP, width = g->spec.group_size > 0 ? g->spec.group_size : g->d;
    char name[64];
    c.spec.clip = QEP_CLIP_NONE;
    c.scale = qep_alloc("bench", g->d, sizeof *c.scale);
    for (int64_t k = 0; k < g->d; k++) c.scale[k] = 1.0f + 0.1f * (float)(k % 7);
    c.sums = qep_alloc("bench", n * POINTS * (g->d / width), sizeof *c.sums);
    c.y = qep_alloc("bench", b->opt.tokens * n, sizeof *c.y);
    c.U = qep_rotation_create(g->rows, 1);
    c.V = qep_rotation_create(g->d, 2);
    qep_status st;
    snprintf(name, sizeof name, "transforms: awq, 10 scales, %s", g->name);
    QEP_GO(st, bench_time_all(b, &(bench_part){name, "f32", POINTS * 2 * rows * d * d, BENCH_GEMM_F32, NULL, scales, &c}));
    snprintf(name, sizeof name, "transforms: awq, 10 ranges, %s", g->name);
    QEP_GO(st, bench_time_all(b, &(bench_part){name, "f32", POINTS * 2 * rows * d * (double)width, BENCH_GEMM_F32, NULL, ranges, &c}));
    snprintf(name, sizeof name, "transforms: quip, W and H, %s", g->name);
    QEP_GO(st, bench_time_all(b, &(bench_part){name, "f64", 4 * rows * d * (side_sum(g->rows) + side_sum(g->d)) + 4 * d * d * side_sum(g->d),
                                               BENCH_GEMM_F64, NULL, transforms, &c}));
    compare_all(b, &c);
done:
    qep_rotation_destroy(&c.U);
    qep_rotation_destroy(&c.V);
    qep_free(c.y);
    qep_free(c.sums);
    qep_free(c.scale);
    return st;
}
