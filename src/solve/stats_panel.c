/* Pass 2 of the statistics: one panel of columns of H and C over all sequences and ranks. The
 * local sums of the panel are ordered by the owner of the row, so that they can be sent as they
 * are.
 * SPDX-License-Identifier: Apache-2.0 */
#include "stats_priv.h"
#include <math.h>
#include <omp.h>
#include <string.h>

/* Local sums of rows [row0, d) of one matrix, columns [col0, col0 + width). */
typedef struct panel {
    qep_dmat *m;     /* borrowed: where the result goes */
    int64_t row0, col0, width;
    bool is_c;       /* rows are channels of delta */
    int64_t *sum;    /* borrowed: [d - row0, width], rows ordered by owner */
    int64_t *place;  /* owned, [d]: position of a row in sum */
    int64_t *count, *displ; /* owned, [P]: entries of each owner */
} panel;

static panel panel_create(const qep_stats_run *r, qep_dmat *m, int64_t row0, int64_t col0,
                          int64_t width, int64_t *sum, bool is_c)
{
    const int size = qep_size(r->comm);
    panel p = {m, row0, col0, width, is_c, sum, NULL, NULL, NULL};
    p.place = qep_alloc("stats.scale", r->plan->d + 2 * (int64_t)size, sizeof *p.place);
    p.count = p.place + r->plan->d;
    p.displ = p.count + size;
    int64_t next = 0;
    for (int q = 0; q < size; q++) {
        p.displ[q] = next * width;
        for (int64_t l = 0; l < qep_dmat_n_rows_of(m, q); l++) {
            const int64_t row = qep_dmat_row_of(m, q, l);
            if (row >= row0) p.place[row] = next++;
        }
        p.count[q] = next * width - p.displ[q];
    }
    return p;
}

/* x[t, c] *= 2^-e_c, so that all magnitudes are at most 1; also as bf16 unless NULL. Exact up to
 * the rounding to bf16, except that values more than 2^126 times below their channel's maximum
 * may lose bits. */
static void scale(const qep_stats_run *r, float *x, uint16_t *x_bf16, const double *factor,
                  int64_t T)
{
    const int64_t d = r->plan->d;
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < T; t++) {
        float *row = x + t * d;
        for (int64_t c = 0; c < d; c++) row[c] = (float)((double)row[c] * factor[c]);
        if (x_bf16 != NULL) qep_from_f32(x_bf16 + t * d, QEP_BF16, row, d);
    }
}

/* The product of one sequence and one tile: rows from i0, columns from j0. Its shape depends on
 * d and T only. */
static void add_leaf(const qep_stats_run *r, const panel *p, int64_t i0, int64_t j0, int64_t T)
{
    const int64_t d = r->plan->d, tile = QEP_STATS_TILE;
    const int64_t rows = qep_min_i64(tile, d - i0), cols = qep_min_i64(tile, d - j0);
    float *leaf = r->leaf + omp_get_thread_num() * tile * tile;
    const qep_tap *tap = &r->tap;
    if (r->plan->compute == QEP_COMPUTE_BF16) {
        const uint16_t *a = p->is_c ? tap->delta_bf16 : tap->xq_bf16;
        qep_tile_tn_bf16(leaf, tile, a + i0, d, tap->xq_bf16 + j0, d, rows, cols, T);
    } else {
        const float *a = p->is_c ? tap->delta : tap->xq;
        qep_tile_tn_f32(leaf, tile, a + i0, d, tap->xq + j0, d, rows, cols, T);
    }
    for (int64_t i = 0; i < rows; i++)
        qep_stats_add_fixed(p->sum + p->place[i0 + i] * p->width + (j0 - p->col0), leaf + i * tile,
                            cols, r->unit_exp);
}

/* All tiles of both panels (n_panels 1: H alone) for the sequence in the tap. Of H only tiles on
 * and below the diagonal. */
static void add_sequence(const qep_stats_run *r, const panel *p, int64_t n_panels, int64_t T)
{
    const int64_t tile = QEP_STATS_TILE;
    const int64_t n_i = qep_ceil_div(r->plan->d, tile), n_j = qep_ceil_div(p->width, tile);
#pragma omp parallel for collapse(3) schedule(dynamic)
    for (int64_t k = 0; k < n_panels; k++)
        for (int64_t j = 0; j < n_j; j++)
            for (int64_t i = 0; i < n_i; i++) {
                const int64_t i0 = i * tile, j0 = p->col0 + j * tile;
                if (p[k].is_c || i0 >= j0) add_leaf(r, &p[k], i0, j0, T);
            }
}

static void add_my_sequences(qep_stats_run *r, const panel *p, int64_t n_panels)
{
    const qep_tap_source *src = r->source;
    const int64_t d = r->plan->d;
    /* 2^-e of the quantized stream, then of delta */
    double *factor = qep_alloc("stats.scale", 2 * d, sizeof *factor);
    for (int64_t c = 0; c < d; c++) {
        factor[c] = ldexp(1.0, -r->xq_exp[c]);
        factor[d + c] = ldexp(1.0, -r->delta_exp[c]);
    }
    for (int64_t s = 0; s < src->n_seq; s++) {
        const int64_t T = src->tokens(src->ctx, s);
        src->get(src->ctx, s, r->tap.xq, r->tap.delta);
        scale(r, r->tap.xq, r->tap.xq_bf16, factor, T);
        if (r->tap.delta != NULL) scale(r, r->tap.delta, r->tap.delta_bf16, factor + d, T);
        add_sequence(r, p, n_panels, T);
    }
    qep_free(factor);
}

/* Exact sums over ranks to the owners of the rows, who turn them into f64 per token: sum 2^(e_i
 * + e_j - s) / tokens, with two roundings, of the conversion and of the division. */
static void deliver_all(const qep_stats_run *r, const panel *p, int64_t *recv)
{
    const int rank = qep_rank(r->comm);
    qep_sum_to_owners_all(r->comm, p->sum, p->count, p->displ, recv);
    const int32_t *row_exp = p->is_c ? r->delta_exp : r->xq_exp;
    const double tokens = (double)r->plan->total_tokens;
    const int64_t n_rows = qep_dmat_n_rows_of(p->m, rank);
    const int64_t skip = n_rows - p->count[rank] / p->width; /* my rows above row0 */
    double *col_unit = qep_alloc("stats.scale", p->width, sizeof *col_unit);
    for (int64_t j = 0; j < p->width; j++) col_unit[j] = ldexp(1.0, r->xq_exp[p->col0 + j]);
#pragma omp parallel for schedule(static)
    for (int64_t l = skip; l < n_rows; l++) {
        const int64_t *sum = recv + (l - skip) * p->width;
        double *row = qep_dmat_row(p->m, l) + p->col0;
        const double unit = ldexp(1.0, row_exp[qep_dmat_row_of(p->m, rank, l)] - r->unit_exp);
        for (int64_t j = 0; j < p->width; j++)
            row[j] = (double)sum[j] * unit * col_unit[j] / tokens;
    }
    qep_free(col_unit);
}

int64_t qep_stats_acc_count(const qep_stats_plan *p)
{
    return p->d * qep_min_i64(p->panel, p->d) * (p->want_c ? 2 : 1);
}

int64_t qep_stats_recv_count(const qep_stats_plan *p, int64_t rows)
{
    return rows * qep_min_i64(p->panel, p->d);
}

void qep_stats_panel_all(qep_stats_run *r, int64_t col0, int64_t width, int64_t *acc, int64_t *recv,
                         qep_dmat *H, qep_dmat *C)
{
    panel p[2] = {panel_create(r, H, col0, col0, width, acc, false)};
    const int64_t n_panels = C != NULL ? 2 : 1;
    int64_t *behind_h = acc + (r->plan->d - col0) * width;
    if (C != NULL) p[1] = panel_create(r, C, 0, col0, width, behind_h, true);
    memset(acc, 0, (size_t)qep_stats_acc_count(r->plan) * sizeof *acc);
    add_my_sequences(r, p, n_panels);
    for (int64_t k = 0; k < n_panels; k++) {
        deliver_all(r, &p[k], recv);
        qep_free(p[k].place);
    }
}
