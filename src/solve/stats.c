/* Statistics of a linear group: H, C and Gamma in fixed point, so that sums do not depend on their
 * order.
 *
 * Why nothing overflows. Channel i counts in units of 2^e_i, so all magnitudes are at most 1 (bf16
 * rounding may reach 1). The exact product of a sequence of T tokens is at most T; computed in
 * f32 in any order it is at most T (1 + u)^(T+1), u = 2^-24, which for T <= 2^22 is below 1.3 T.
 * In units of 2^-s, s = 62 - ceil(log2 total), the sum of all magnitudes is at most 1.3 * 2^62
 * plus one half per sequence for the rounding to whole units: below 2^63. Every partial sum, in
 * every order, is bounded by the same number. Nor do f32 products and their sums leave its range: channels far from 1 are scaled by 2^-e_i before them,
 * the others behind (qep_stats_is_scaled); but for what lies below 2^-126 the bits are the same.
 * SPDX-License-Identifier: Apache-2.0 */
#include "stats_priv.h"
#include <math.h>
#include <omp.h>

enum { MAX_SEQUENCE = 1 << 22 };

static int ceil_log2(int64_t n)
{
    int e = 0;
    while (((int64_t)1 << e) < n) e++;
    return e;
}

/* Channels of a factor; 0 when it is not wanted. */
static int64_t width_of(const qep_stats_plan *p, qep_stats_kind k)
{
    if (k == QEP_STATS_GAMMA) return p->gamma_rows;
    return k == QEP_STATS_C && !p->want_c ? 0 : p->d;
}

int64_t qep_stats_gamma_rows(const qep_stats_plan *p, int size, int rank, int64_t *row0)
{
    int64_t first = 0, count = 0;
    qep_partition(qep_ceil_div(p->gamma_rows, QEP_SOLVE_STRIP), size, rank, &first, &count);
    *row0 = qep_min_i64(first * QEP_SOLVE_STRIP, p->gamma_rows);
    return qep_min_i64((first + count) * QEP_SOLVE_STRIP, p->gamma_rows) - *row0;
}

int64_t qep_stats_gamma_most(const qep_stats_plan *p, int ranks)
{
    int64_t row0;
    return qep_stats_gamma_rows(p, ranks, 0, &row0);
}

int64_t qep_stats_gamma_bytes(const qep_stats_plan *p, int ranks, int rank)
{
    int64_t row0;
    return qep_round_up(qep_stats_gamma_rows(p, ranks, rank, &row0), QEP_SOLVE_STRIP) * p->d * (int64_t)sizeof(double);
}

int64_t qep_stats_window_bytes(const qep_stats_plan *p)
{
    return qep_stats_room_bytes(qep_stats_n_sums(p));
}

int64_t qep_stats_channels(const qep_stats_plan *p)
{
    int64_t channels = 0;
    for (int k = 0; k < QEP_STATS_KINDS; k++) channels += width_of(p, (qep_stats_kind)k);
    return channels;
}

static int64_t product_type_size(const qep_stats_plan *p)
{
    return qep_dtype_size(p->compute == QEP_COMPUTE_BF16 ? QEP_BF16 : QEP_F32);
}

int64_t qep_stats_sets(const qep_stats_plan *p, int64_t n_seq, int64_t max_tokens, int threads)
{
    const int64_t room = qep_min_i64(threads, QEP_STATS_KEEPERS) * QEP_STATS_KEPT;
    return n_seq * max_tokens * 3 * p->d * product_type_size(p) <= room ? n_seq : qep_min_i64(n_seq, 1);
}

int64_t qep_stats_tap_bytes(const qep_stats_plan *p, int64_t sets, int64_t max_tokens, int threads)
{
    const int64_t leaf = (int64_t)QEP_STATS_TILE * QEP_STATS_TILE * (int64_t)sizeof(float);
    const int64_t values = max_tokens * qep_stats_channels(p), raw = p->compute == QEP_COMPUTE_BF16 ? qep_min_i64(sets, 1) * (int64_t)sizeof(float) : 0;
    return values * (sets * product_type_size(p) + raw) + threads * leaf;
}

void qep_stats_turn_to(qep_stats_run *r, const qep_stats_plan *p, const qep_tap_source *src)
{
    r->plan = p;
    r->source = src;
    r->unit_exp = 62 - ceil_log2(p->total_tokens);
    r->raw = r->scaled = false;
}

qep_stats_run qep_stats_run_create(qep_comm *c, const qep_stats_plan *p, const qep_tap_source *src, int64_t sets)
{
    qep_stats_run r = {.comm = c, .sets = qep_min_i64(sets, src->n_seq)};
    qep_stats_turn_to(&r, p, src);
    for (int k = 0; k < QEP_STATS_KINDS; k++) {
        qep_tap *t = &r.tap[k];
        t->width = width_of(p, (qep_stats_kind)k);
        if (t->width == 0) continue;
        const bool bf16 = p->compute == QEP_COMPUTE_BF16;
        t->all = qep_alloc("stats.tap", (bf16 ? qep_min_i64(r.sets, 1) : r.sets) * src->max_tokens * t->width, sizeof *t->all);
        if (bf16) t->all_bf16 = qep_alloc("stats.tap", r.sets * src->max_tokens * t->width, sizeof *t->all_bf16);
        t->exp = qep_alloc("stats.scale", t->width, sizeof *t->exp);
        t->unit = qep_alloc("stats.scale", t->width, sizeof *t->unit);
    }
    const int64_t tile = (int64_t)QEP_STATS_TILE * QEP_STATS_TILE;
    r.leaf = qep_alloc("stats.tap", omp_get_max_threads() * tile, sizeof *r.leaf);
    return r;
}

void qep_stats_run_destroy(qep_stats_run *r)
{
    for (int k = 0; k < QEP_STATS_KINDS; k++) {
        qep_free(r->tap[k].all);
        qep_free(r->tap[k].all_bf16);
        qep_free(r->tap[k].exp);
        qep_free(r->tap[k].unit);
    }
    qep_free(r->leaf);
}

int64_t qep_stats_kept_at(const qep_stats_run *r, const qep_tap *t, int64_t i)
{
    return r->sets == r->source->n_seq ? i * r->source->max_tokens * t->width : 0;
}

void qep_stats_turn_to_sequence(qep_stats_run *r, int64_t i)
{
    for (int k = 0; k < QEP_STATS_KINDS; k++) {
        qep_tap *t = &r->tap[k];
        const int64_t at = qep_stats_kept_at(r, t, i);
        t->x = t->all && !t->all_bf16 ? t->all + at : t->all;
        t->bf16 = t->all_bf16 ? t->all_bf16 + at : NULL;
    }
}

void qep_stats_get(qep_stats_run *r, int64_t i)
{
    const qep_tap_source *src = r->source;
    qep_stats_turn_to_sequence(r, i);
    src->get(src->ctx, i, r->tap[QEP_STATS_H].x, r->tap[QEP_STATS_C].x);
    if (r->tap[QEP_STATS_GAMMA].x) src->residual(src->ctx, i, r->tap[QEP_STATS_GAMMA].x);
}

void qep_stats_round(const qep_stats_run *r, int64_t T)
{
    for (int k = 0; k < QEP_STATS_KINDS; k++) {
        const qep_tap *tap = &r->tap[k];
        if (!tap->bf16) continue;
#pragma omp parallel for schedule(static)
        for (int64_t t = 0; t < T; t++) qep_from_f32(tap->bf16 + t * tap->width, QEP_BF16, tap->x + t * tap->width, tap->width);
    }
}

/* Channel c of T tokens times a power of two: exact, but that what is then below 2^-126 may lose bits. */
static void scale_channel(const qep_tap *tap, int64_t c, int64_t T)
{
    const double factor = ldexp(1.0, -tap->exp[c]);
    for (int64_t k = c; k < T * tap->width; k += tap->width) {
        if (tap->bf16) tap->bf16[k] = qep_f32_to_bf16((float)((double)qep_bf16_to_f32(tap->bf16[k]) * factor));
        else tap->x[k] = (float)((double)tap->x[k] * factor);
    }
}

void qep_stats_scale(const qep_stats_run *r, int64_t T)
{
    for (int k = 0; k < QEP_STATS_KINDS; k++)
        for (int64_t c = 0; c < r->tap[k].width; c++)
            if (qep_stats_is_scaled(r->tap[k].exp[c])) scale_channel(&r->tap[k], c, T);
}

static void check_plan_all(qep_comm *c, const qep_stats_plan *p, const qep_tap_source *src)
{
    QEP_REQUIRE(p->d >= 1 && p->total_tokens >= 1);
    QEP_REQUIRE(p->panel >= QEP_STATS_TILE && p->panel % QEP_STATS_TILE == 0);
    QEP_REQUIRE(src->max_tokens <= MAX_SEQUENCE);
    int64_t tokens = 0;
    for (int64_t i = 0; i < src->n_seq; i++) tokens += src->tokens(src->ctx, i);
    qep_sum_i64_all(c, &tokens, 1);
    QEP_REQUIRE(tokens == p->total_tokens);
}

static qep_status exponents_all(qep_stats_run *r)
{
    const int64_t n = qep_stats_channels(r->plan);
    float *max = qep_alloc("stats.scale", n, sizeof *max);
    qep_part_begin("inputs");
    qep_status st = qep_agree_all(r->comm, qep_stats_maxima(r, max));
    qep_part_end();
    if (st == QEP_OK) {
        qep_max_f32_all(r->comm, max, n);
        qep_stats_exponents(r, max);
    }
    qep_free(max);
    return st;
}

void qep_stats_free_all(qep_stats *s)
{
    qep_dmat_destroy_all(&s->H);
    qep_dmat_destroy_all(&s->C);
    qep_free(s->gamma);
    *s = (qep_stats){NULL, NULL, NULL};
}

qep_status qep_stats_all(qep_comm *c, const qep_stats_plan *p, const qep_tap_source *src, qep_window *w, qep_stats *out)
{
    *out = (qep_stats){NULL, NULL, NULL};
    QEP_REQUIRE(p->gamma_rows == 0 || src->residual);
    check_plan_all(c, p, src);
    qep_stats_run r = qep_stats_run_create(c, p, src, qep_stats_sets(p, src->n_seq, src->max_tokens, omp_get_max_threads()));
    qep_status st;
    QEP_GO(st, exponents_all(&r));
    out->H = qep_dmat_create_all(c, p->held ? "held.h" : "solve.h", p->d, p->block, p->n_owners);
    if (p->want_c) out->C = qep_dmat_create_all(c, p->held ? "held.c" : "solve.c", p->d, p->block, p->n_owners);
    if (p->gamma_rows > 0) out->gamma = qep_alloc(p->held ? "held.gamma" : "stats.gamma", qep_stats_gamma_bytes(p, qep_size(c), qep_rank(c)), 1);
    r.room = qep_stats_room_open_all(c, w, qep_stats_n_sums(p));
    qep_stats_panels_all(&r, out);
    qep_part_begin("sums");
    qep_dmat_symmetrize_all(out->H);
    qep_part_end();
done:
    qep_stats_run_destroy(&r);
    return st;
}
