/* Statistics of many groups of the same width, each whole on one rank. They go in rounds, as many groups at a time as the room holds: the
 * node's sums of a round stand side by side, ordered by the rank that wants them, and cross the nodes in one exchange. The products and the sums
 * are those of qep_stats_all, so the bits are, too.
 * SPDX-License-Identifier: Apache-2.0 */
#include "stats_priv.h"

typedef struct many {
    qep_stats_run run;
    const qep_stats_part *parts; /* borrowed: of this round */
    int64_t n, entries;          /* parts; sums of one */
    float *max;                  /* owned: [n, channels] */
    int64_t *at;                 /* owned, [n]: where a part's sums begin */
    int64_t *count, *displ;      /* owned, [P]: sums of each rank's parts */
} many;

int64_t qep_stats_many_sums(const qep_stats_plan *p)
{
    int64_t n = 0;
    for (int64_t col0 = 0; col0 < p->d; col0 += QEP_STATS_TILE)
        n += qep_min_i64(QEP_STATS_TILE, p->d - col0) * (p->d - col0 + (p->want_c ? p->d : 0));
    return n;
}

int64_t qep_stats_many_at_once(const qep_stats_plan *p, int64_t room)
{
    return qep_max_i64(1, room / (qep_stats_many_sums(p) * (int64_t)sizeof(int64_t)));
}

int64_t qep_stats_many_bytes(const qep_stats_plan *p, int64_t n)
{
    return qep_stats_room_bytes(n * qep_stats_many_sums(p));
}

static void check_parts_all(qep_comm *c, const qep_stats_part *parts, int64_t n)
{
    int64_t *tokens = qep_alloc("stats.scale", n, sizeof *tokens);
    for (int64_t k = 0; k < n; k++) {
        const qep_stats_plan *p = &parts[k].plan;
        const qep_tap_source *src = &parts[k].source;
        QEP_REQUIRE(p->d >= 1 && p->d == parts->plan.d && p->want_c == parts->plan.want_c && p->gamma_rows == 0 && !p->held);
        QEP_REQUIRE(src->max_tokens == parts->source.max_tokens && src->n_seq == parts->source.n_seq);
        for (int64_t i = 0; i < src->n_seq; i++) tokens[k] += src->tokens(src->ctx, i);
    }
    qep_sum_i64_all(c, tokens, n);
    for (int64_t k = 0; k < n; k++) QEP_REQUIRE(tokens[k] == parts[k].plan.total_tokens && tokens[k] >= 1);
    qep_free(tokens);
}

static void turn_to(many *r, int64_t k)
{
    qep_stats_turn_to(&r->run, &r->parts[k].plan, &r->parts[k].source);
}

static qep_status exponents_all(many *r)
{
    const int64_t channels = qep_stats_channels(r->run.plan);
    qep_status st = QEP_OK;
    for (int64_t k = 0; k < r->n && st == QEP_OK; k++) {
        turn_to(r, k);
        st = qep_stats_maxima(&r->run, r->max + k * channels);
    }
    st = qep_agree_all(r->run.comm, st);
    if (st == QEP_OK) qep_max_f32_all(r->run.comm, r->max, r->n * channels);
    return st;
}

/* The parts in the order of their ranks. */
static void place_parts(many *r)
{
    int64_t next = 0;
    for (int q = 0; q < qep_size(r->run.comm); q++) {
        r->displ[q] = next;
        for (int64_t k = 0; k < r->n; k++) {
            if (r->parts[k].owner != q) continue;
            r->at[k] = next;
            next += r->entries;
        }
        r->count[q] = next - r->displ[q];
    }
}

/* Part k with its exponents, cut into panels of one tile's width: of H from the diagonal on, then of C. sum: where its sums are; out: its
 * matrices, or NULL. Returns how many; qep_free *panels. */
static int64_t open_panels(many *r, int64_t k, int64_t *sum, const qep_stats *out, qep_panel **panels)
{
    const int64_t d = r->parts[k].plan.d, tile = QEP_STATS_TILE;
    turn_to(r, k);
    qep_stats_exponents(&r->run, r->max + k * qep_stats_channels(r->run.plan));
    qep_panel *p = *panels = qep_alloc("stats.scale", 2 * qep_ceil_div(d, tile), sizeof *p);
    for (int kind = QEP_STATS_H; kind <= (r->parts[k].plan.want_c ? QEP_STATS_C : QEP_STATS_H); kind++)
        for (int64_t col0 = 0; col0 < d; col0 += tile, p++) {
            const bool lower = kind == QEP_STATS_H;
            *p = (qep_panel){.m = !out ? NULL : lower ? out->H : out->C, .left = &r->run.tap[kind], .lower = lower, .rows = d,
                             .row0 = lower ? col0 : 0, .col0 = col0, .width = qep_min_i64(tile, d - col0), .sum = sum};
            sum += (d - p->row0) * p->width;
        }
    return p - *panels;
}

/* The matrices of my part k from its sums. */
static void deliver(many *r, int64_t k, int64_t *sums)
{
    const qep_stats_part *part = &r->parts[k];
    qep_comm *alone = qep_comm_alone(r->run.comm);
    qep_panel *panels;
    part->out->H = qep_dmat_create_all(alone, "solve.h", part->plan.d, part->plan.block, 1);
    if (part->plan.want_c) part->out->C = qep_dmat_create_all(alone, "solve.c", part->plan.d, part->plan.block, 1);
    const int64_t n = open_panels(r, k, sums, part->out, &panels);
    for (int64_t i = 0; i < n; i++) qep_stats_deliver(&r->run, &panels[i], panels[i].sum, (panels[i].rows - panels[i].row0) * panels[i].width);
    qep_dmat_symmetrize_all(part->out->H);
    qep_free(panels);
}

static void sums_all(many *r, qep_window *w)
{
    qep_stats_run *run = &r->run;
    place_parts(r);
    run->room = qep_stats_room_open_all(run->comm, w, r->n * r->entries);
    for (int64_t k = 0; k < r->n; k++) {
        qep_panel *panels;
        const int64_t n = open_panels(r, k, run->room.sums + r->at[k], NULL, &panels);
        qep_stats_add(run, panels, n);
        qep_free(panels);
    }
    qep_part_begin("sums");
    qep_window_sync_all(w);
    const qep_node_sum sum = {run->room.sums, r->count, r->displ};
    qep_sum *under_way = qep_sum_begin(run->comm, &sum, 1);
    qep_sum_end(&under_way);
    for (int64_t k = 0; k < r->n; k++)
        if (r->parts[k].owner == qep_rank(run->comm)) deliver(r, k, run->room.sums + r->at[k]);
    qep_part_end();
}

static qep_status round_all(qep_comm *c, const qep_stats_part *parts, int64_t n, qep_window *w)
{
    check_parts_all(c, parts, n);
    many r = {.parts = parts, .n = n, .entries = qep_stats_many_sums(&parts->plan), .run = qep_stats_run_create(c, &parts->plan, &parts->source, 1)};
    r.max = qep_alloc("stats.scale", n * qep_stats_channels(&parts->plan), sizeof *r.max);
    r.at = qep_alloc("stats.scale", n + 2 * (int64_t)qep_size(c), sizeof *r.at);
    r.count = r.at + n;
    r.displ = r.count + qep_size(c);
    qep_status st = exponents_all(&r);
    if (st == QEP_OK) sums_all(&r, w);
    qep_free(r.at);
    qep_free(r.max);
    qep_stats_run_destroy(&r.run);
    return st;
}

qep_status qep_stats_many_all(qep_comm *c, const qep_stats_part *parts, int64_t n, int64_t room, qep_window *w)
{
    qep_status st = QEP_OK;
    for (int64_t k = 0; k < n; k++) *parts[k].out = (qep_stats){NULL, NULL, NULL};
    for (int64_t k = 0; k < n && st == QEP_OK;) {
        const int64_t count = qep_min_i64(n - k, qep_stats_many_at_once(&parts[k].plan, room));
        st = round_all(c, parts + k, count, w);
        k += count;
    }
    return st;
}
