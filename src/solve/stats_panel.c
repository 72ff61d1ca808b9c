/* Pass 2 of the statistics: one panel of columns of H, C and Gamma over all sequences and ranks.
 * The sums of the panel are ordered by the owner of the row, so that they can be sent as they
 * are: to the owner's node, while the next panel is formed in the other half of the room.
 * SPDX-License-Identifier: Apache-2.0 */
#include "stats_priv.h"
#include <math.h>
#include <omp.h>
#include <string.h>

enum { DIAGONAL_PARTS = 4 };

/* Rows of rank q from row0 on get their places in order. */
static int64_t place_rows(const qep_stats_run *r, qep_panel *p, int q, int64_t next)
{
    if (p->m == NULL) {
        int64_t row0, n = qep_stats_gamma_rows(r->plan, qep_size(r->comm), q, &row0);
        for (int64_t i = 0; i < n; i++) p->place[row0 + i] = next++;
        return next;
    }
    for (int64_t l = 0; l < qep_dmat_n_rows_of(p->m, q); l++) {
        const int64_t row = qep_dmat_row_of(p->m, q, l);
        if (row >= p->row0) p->place[row] = next++;
    }
    return next;
}

/* p: m or gamma, left, row0 and sum are set. */
static void panel_open(const qep_stats_run *r, qep_panel *p, int64_t col0, int64_t width)
{
    const int size = qep_size(r->comm);
    p->rows = p->left->width;
    p->col0 = col0;
    p->width = width;
    p->place = qep_alloc("stats.scale", p->rows + 2 * (int64_t)size, sizeof *p->place);
    p->count = p->place + p->rows;
    p->displ = p->count + size;
    int64_t next = 0;
    for (int q = 0; q < size; q++) {
        p->displ[q] = next * width;
        next = place_rows(r, p, q, next);
        p->count[q] = next * width - p->displ[q];
    }
}

/* leaf = the product of sequence `seq` and one tile: rows from i0, columns from j0. */
static void multiply(const qep_stats_run *r, const qep_panel *p, int64_t seq, float *leaf, int64_t i0, int64_t rows, int64_t j0, int64_t cols)
{
    const int64_t d = r->plan->d, ld = p->left->width, tile = QEP_STATS_TILE, T = r->source->tokens(r->source->ctx, seq);
    const qep_tap *right = &r->tap[QEP_STATS_H];
    const int64_t left_at = qep_stats_kept_at(r, p->left, seq) + i0, right_at = qep_stats_kept_at(r, right, seq) + j0;
    if (r->plan->compute == QEP_COMPUTE_BF16)
        qep_tile_tn_bf16(leaf, tile, p->left->all_bf16 + left_at, ld, right->all_bf16 + right_at, d, rows, cols, T);
    else
        qep_tile_tn_f32(leaf, tile, p->left->all + left_at, ld, right->all + right_at, d, rows, cols, T);
}

/* The product of one sequence and one tile, into the sums. Its shape depends on the sizes and T only. Of a tile on H's diagonal, what is right of it
 * by a whole part is left out. */
static void add_leaf(const qep_stats_run *r, const qep_panel *p, int64_t seq, int64_t i0, int64_t j0)
{
    const int64_t tile = QEP_STATS_TILE, rows = qep_min_i64(tile, p->rows - i0), cols = qep_min_i64(tile, r->plan->d - j0);
    const bool diagonal = p->lower && i0 == j0;
    const int64_t part = diagonal ? tile / DIAGONAL_PARTS : tile;
    const double unit = ldexp(1.0, r->unit_exp);
    float *leaf = r->leaf + omp_get_thread_num() * tile * tile;
    for (int64_t k = 0; k < rows; k += part)
        multiply(r, p, seq, leaf + k * tile, i0 + k, qep_min_i64(part, rows - k), j0, diagonal ? qep_min_i64(k + part, cols) : cols);
    const int64_t first = p->place ? p->place[i0] : i0 - p->row0;
    atomic_int *lock = qep_stats_lock(&r->room, p->sum + first * p->width + (j0 - p->col0));
    for (int64_t i = i0; i < i0 + rows; i++) {
        const int64_t at = p->place ? p->place[i] : i - p->row0, k = i - i0;
        const int64_t n = diagonal ? qep_min_i64((k / part + 1) * part, cols) : cols;
        qep_stats_add_fixed(p->sum + at * p->width + (j0 - p->col0), leaf + k * tile, n, unit * p->left->unit[i], r->tap[QEP_STATS_H].unit + j0);
    }
    qep_stats_unlock(lock);
}

/* All tiles of all panels for sequences [begin, end). Each rank of a node begins somewhere else, so that they do not wait for each other's locks. */
static void add_sequences(const qep_stats_run *r, const qep_panel *p, int64_t n_panels, int64_t begin, int64_t end)
{
    const int64_t tile = QEP_STATS_TILE;
    int64_t most = 0, widest = 0;
    for (int64_t k = 0; k < n_panels; k++) {
        most = qep_max_i64(most, p[k].rows);
        widest = qep_max_i64(widest, p[k].width);
    }
    const int64_t n_i = qep_ceil_div(most, tile), n_j = qep_ceil_div(widest, tile), n = n_panels * n_i * n_j;
    const int64_t first = n * qep_node_rank(r->comm) / qep_node_size(r->comm);
#pragma omp parallel for schedule(dynamic)
    for (int64_t t = begin * n; t < end * n; t++) {
        const int64_t at = (first + t) % n, k = at / (n_i * n_j), i0 = at % n_i * tile, j = at / n_i % n_j * tile;
        const bool inside = i0 < p[k].rows && j < p[k].width;
        if (inside && (!p[k].lower || i0 >= p[k].col0 + j) && r->source->tokens(r->source->ctx, t / n) > 0) add_leaf(r, &p[k], t / n, i0, p[k].col0 + j);
        if (r->under_way && omp_get_thread_num() == 0) qep_sum_poll(r->under_way);
    }
}

/* What the products read of sequence s. */
static void prepare(qep_stats_run *r, int64_t s)
{
    const int64_t T = r->source->tokens(r->source->ctx, s);
    if (T == 0) return;
    if (r->raw) {
        qep_stats_turn_to_sequence(r, s);
    } else {
        qep_stats_get(r, s);
        qep_stats_round(r, T);
    }
    qep_stats_scale(r, T);
}

/* The sequences that are kept are all there before the first product, and no thread waits at the end of each. */
void qep_stats_add(qep_stats_run *r, const qep_panel *p, int64_t n_panels)
{
    const int64_t n = r->source->n_seq, step = r->sets == n ? qep_max_i64(n, 1) : 1;
    for (int64_t begin = 0; begin < n; begin += step) {
        qep_part_begin("inputs");
        for (int64_t s = begin; s < begin + step && !r->scaled; s++) prepare(r, s);
        qep_part_end();
        qep_part_begin("products");
        add_sequences(r, p, n_panels, begin, begin + step);
        qep_part_end();
    }
    r->scaled = r->sets == n;
    r->raw = false;
}

void qep_stats_deliver(const qep_stats_run *r, const qep_panel *p, int64_t *sums, int64_t n)
{
    const double tokens = (double)r->plan->total_tokens;
    const int owner = p->m ? qep_rank(qep_dmat_comm(p->m)) : 0;
    int64_t gamma0 = 0, n_rows = p->m ? qep_dmat_n_rows_of(p->m, owner)
                                      : qep_stats_gamma_rows(r->plan, qep_size(r->comm), qep_rank(r->comm), &gamma0);
    const int64_t skip = n_rows - n / p->width; /* my rows above row0 */
    double *col_unit = qep_alloc("stats.scale", p->width, sizeof *col_unit);
    for (int64_t j = 0; j < p->width; j++) col_unit[j] = ldexp(1.0, r->tap[QEP_STATS_H].exp[p->col0 + j]);
#pragma omp parallel for schedule(static)
    for (int64_t l = skip; l < n_rows; l++) {
        int64_t *sum = sums + (l - skip) * p->width;
        const int64_t global = p->m ? qep_dmat_row_of(p->m, owner, l) : gamma0 + l;
        const double unit = ldexp(1.0, p->left->exp[global] - r->unit_exp);
        double *row = (p->m ? qep_dmat_row(p->m, l) : p->gamma + l * r->plan->d) + p->col0;
        for (int64_t j = 0; j < p->width; j++)
            row[j] = (double)sum[j] * unit * col_unit[j] / tokens;
        memset(sum, 0, (size_t)p->width * sizeof *sum);
    }
    qep_free(col_unit);
}

/* Of one panel. */
static int64_t panel_sums(const qep_stats_plan *p)
{
    return (p->d * (p->want_c ? 2 : 1) + p->gamma_rows) * qep_min_i64(p->panel, p->d);
}

int64_t qep_stats_n_sums(const qep_stats_plan *p)
{
    return (p->panel < p->d ? 2 : 1) * panel_sums(p);
}

/* The panels of all matrices at the same columns. */
typedef struct panels {
    int n;
    qep_panel panel[QEP_STATS_KINDS];
    qep_node_sum sum[QEP_STATS_KINDS];
} panels;

static void add_panel(const qep_stats_run *r, panels *s, qep_panel p, int64_t col0, int64_t width)
{
    panel_open(r, &p, col0, width);
    s->panel[s->n] = p;
    s->sum[s->n++] = (qep_node_sum){p.sum, p.count, p.displ};
}

static void open_panels(const qep_stats_run *r, int64_t col0, int64_t width, int64_t *sum, const qep_stats *out, panels *s)
{
    const int64_t d = r->plan->d;
    s->n = 0;
    add_panel(r, s, (qep_panel){.m = out->H, .left = &r->tap[QEP_STATS_H], .lower = true, .row0 = col0, .sum = sum}, col0, width);
    sum += (d - col0) * width;
    if (out->C) {
        add_panel(r, s, (qep_panel){.m = out->C, .left = &r->tap[QEP_STATS_C], .sum = sum}, col0, width);
        sum += d * width;
    }
    if (r->plan->gamma_rows > 0) add_panel(r, s, (qep_panel){.gamma = out->gamma, .left = &r->tap[QEP_STATS_GAMMA], .sum = sum}, col0, width);
}

/* My rows of the panels under way, which then leave zeros in their half of the room. */
static void close_panels(qep_stats_run *r, panels *s)
{
    const int rank = qep_rank(r->comm);
    if (!r->under_way) return;
    qep_sum_end(&r->under_way);
    for (int k = 0; k < s->n; k++) {
        const qep_panel *p = &s->panel[k];
        qep_stats_deliver(r, p, p->sum + p->displ[rank], p->count[rank]);
        qep_free(p->place);
    }
}

/* A rank that passes the node's barrier behind panel k has closed panel k - 1, and so have all: its half is free. */
void qep_stats_panels_all(qep_stats_run *r, const qep_stats *out)
{
    const qep_stats_plan *plan = r->plan;
    panels now, before = {.n = 0};
    int turn = 0;
    for (int64_t col0 = 0; col0 < plan->d; col0 += plan->panel, turn = 1 - turn) {
        open_panels(r, col0, qep_min_i64(plan->panel, plan->d - col0), r->room.sums + turn * panel_sums(plan), out, &now);
        qep_stats_add(r, now.panel, now.n);
        qep_part_begin("sums");
        close_panels(r, &before);
        qep_window_sync_all(r->room.window);
        before = now;
        r->under_way = qep_sum_begin(r->comm, before.sum, before.n);
        qep_part_end();
    }
    qep_part_begin("sums");
    close_panels(r, &before);
    qep_part_end();
}
