/* Statistics of a linear group: H and C in fixed point, so that sums do not depend on their
 * order.
 *
 * Why nothing overflows. Channels are scaled by 2^-e_i, so all magnitudes are at most 1 (bf16
 * rounding may reach 1). The exact product of a sequence of T tokens is at most T; computed in
 * f32 in any order it is at most T (1 + u)^(T+1), u = 2^-24, which for T <= 2^22 is below 1.3 T.
 * In units of 2^-s, s = 62 - ceil(log2 total), the sum of all magnitudes is at most 1.3 * 2^62
 * plus one half per sequence for the rounding to whole units: below 2^63. Every partial sum, in
 * every order, is bounded by the same number.
 * SPDX-License-Identifier: Apache-2.0 */
#include "stats_priv.h"
#include <omp.h>

enum { MAX_SEQUENCE = 1 << 22 };

static int ceil_log2(int64_t n)
{
    int e = 0;
    while (((int64_t)1 << e) < n) e++;
    return e;
}

static int64_t streams(const qep_stats_plan *p)
{
    return p->want_c ? 2 : 1;
}

int64_t qep_stats_panel_bytes(const qep_stats_plan *p)
{
    /* rank 0 owns the most rows */
    const int64_t row_bytes = qep_round_up(p->d, 8) * (int64_t)sizeof(double);
    const int64_t rows = qep_dmat_local_bytes(p->d, p->block, p->n_owners, 0) / row_bytes;
    return (qep_stats_acc_count(p) + qep_stats_recv_count(p, rows)) * (int64_t)sizeof(int64_t);
}

int64_t qep_stats_tap_bytes(const qep_stats_plan *p, int64_t max_tokens, int threads)
{
    const int64_t entry = p->compute == QEP_COMPUTE_BF16 ? 6 : 4;
    const int64_t leaf = (int64_t)QEP_STATS_TILE * QEP_STATS_TILE * 4;
    return max_tokens * p->d * streams(p) * entry + threads * leaf;
}

static qep_stats_run run_create(qep_comm *c, const qep_stats_plan *p, const qep_tap_source *src)
{
    qep_stats_run r = {.comm = c, .plan = p, .source = src};
    r.unit_exp = 62 - ceil_log2(p->total_tokens);
    const int64_t n = src->n_seq > 0 ? src->max_tokens * p->d : 0;
    const bool bf16 = p->compute == QEP_COMPUTE_BF16;
    r.tap.xq = qep_alloc("stats.tap", n, sizeof *r.tap.xq);
    if (p->want_c) r.tap.delta = qep_alloc("stats.tap", n, sizeof *r.tap.delta);
    if (bf16) r.tap.xq_bf16 = qep_alloc("stats.tap", n, sizeof *r.tap.xq_bf16);
    if (bf16 && p->want_c) r.tap.delta_bf16 = qep_alloc("stats.tap", n, sizeof *r.tap.delta_bf16);
    const int64_t tile = (int64_t)QEP_STATS_TILE * QEP_STATS_TILE;
    r.leaf = qep_alloc("stats.tap", omp_get_max_threads() * tile, sizeof *r.leaf);
    r.xq_exp = qep_alloc("stats.scale", 2 * p->d, sizeof *r.xq_exp);
    r.delta_exp = r.xq_exp + p->d;
    return r;
}

static void run_destroy(qep_stats_run *r)
{
    qep_free(r->tap.xq);
    qep_free(r->tap.delta);
    qep_free(r->tap.xq_bf16);
    qep_free(r->tap.delta_bf16);
    qep_free(r->leaf);
    qep_free(r->xq_exp);
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

static void sum_panels_all(qep_stats_run *r, qep_dmat *H, qep_dmat *C)
{
    const qep_stats_plan *p = r->plan;
    const int64_t rows = qep_dmat_n_rows_of(H, qep_rank(r->comm));
    int64_t *acc = qep_alloc("stats.panel", qep_stats_acc_count(p), sizeof *acc);
    int64_t *recv = qep_alloc("stats.panel", qep_stats_recv_count(p, rows), sizeof *recv);
    for (int64_t col0 = 0; col0 < p->d; col0 += p->panel)
        qep_stats_panel_all(r, col0, qep_min_i64(p->panel, p->d - col0), acc, recv, H, C);
    qep_free(recv);
    qep_free(acc);
}

qep_status qep_stats_all(qep_comm *c, const qep_stats_plan *p, const qep_tap_source *src,
                         qep_dmat **H, qep_dmat **C)
{
    *H = NULL;
    if (C != NULL) *C = NULL;
    QEP_REQUIRE(C != NULL || !p->want_c);
    check_plan_all(c, p, src);
    qep_stats_run r = run_create(c, p, src);
    qep_status st;
    QEP_GO(st, qep_stats_exponents_all(&r));
    *H = qep_dmat_create_all(c, "solve.h", p->d, p->block, p->n_owners);
    if (p->want_c) *C = qep_dmat_create_all(c, "solve.c", p->d, p->block, p->n_owners);
    sum_panels_all(&r, *H, p->want_c ? *C : NULL);
    qep_dmat_symmetrize_all(*H);
done:
    run_destroy(&r);
    return st;
}
