/* Cholesky factor of rows that are spread over ranks, by bundles of columns, left to right. At a bundle [j0, j0 + w):
 *   1. its rows of L, columns [0, j0), which are final, go to all nodes and are packed there as panels, by all ranks of a node together;
 *   2. every rank takes them off its own rows below, up to the diagonal: x_J <- a_J - L_i< L_J<^T, strips of 64 rows at a time;
 *   3. the diagonal block of what is left goes to all nodes; every rank factors it (45 million flops);
 *   4. every rank solves its rows below against it.
 * An entry is one chain of fused multiply-adds over the columns before it, in rising order, then a division: its bits depend on nothing but the matrix.
 * Half of the matrix goes to every node, in two steps per bundle. SPDX-License-Identifier: Apache-2.0 */
#include "dmat_priv.h"
#include "qep/linalg.h"
#include <string.h>

enum {
    R = QEP_PANEL_ROWS,
    W = QEP_DMAT_BUNDLE,
    CHUNK = 32 * QEP_PANEL_COLS /* columns of an update that are one task */
};

/* Where things are in a node's window, in doubles. */
typedef struct layout {
    int64_t rows, packed, corner, end;
} layout;

static layout layout_of(int64_t n)
{
    const int64_t left = n > W ? (qep_ceil_div(n, W) - 1) * W : 0; /* columns left of the last bundle */
    layout l = {.packed = W * left};
    l.corner = l.packed + qep_panel_packed(left, W);
    l.end = l.corner + qep_min_i64(W, n) * qep_min_i64(W, n);
    return l;
}

typedef struct bundle {
    int64_t b, j0, w;
} bundle;

typedef struct factoring {
    qep_dmat *m;
    qep_window *window;
    layout at;
    double *z;       /* owned: strips of my rows as panels [n, 64], finished columns as -L */
    double *corner;  /* owned: [w, w], then its transpose as panels */
    int64_t strips;
} factoring;

static int64_t corner_size(int64_t n)
{
    const int64_t w = qep_min_i64(W, n);
    return w * w + qep_panel_packed(w, w);
}

static int64_t strips_of(qep_spread s, int64_t rank)
{
    return qep_ceil_div(qep_spread_rows(s, rank), R);
}

int64_t qep_dmat_factor_bytes(int64_t n, int64_t block, int64_t n_owners, int64_t rank)
{
    const qep_spread s = {.n = n, .block = block, .n_owners = n_owners};
    const int64_t size = (int64_t)sizeof(double), own = strips_of(s, rank) * R * n + corner_size(n);
    if (!qep_linalg_is_reproducible()) return qep_scalapack_bytes(s, rank);
    return own * size + qep_panel_cholesky_bytes(qep_min_i64(W, n));
}

int64_t qep_dmat_factor_window_bytes(int64_t n)
{
    return layout_of(n).end * (int64_t)sizeof(double);
}

static double *window(const factoring *f, int64_t at)
{
    return (double *)qep_window_data(f->window) + at;
}

static double *columns(const factoring *f, int64_t strip, int64_t j)
{
    return f->z + (strip * f->m->spread.n + j) * R;
}

static int64_t first_strip(const factoring *f, int64_t row)
{
    return qep_spread_rows_below(f->m->spread, qep_rank(f->m->comm), row) / R;
}

/* 1. All columns before the bundle, in sets of W. */
static void fetch_rows_all(const factoring *f, bundle J)
{
    const qep_comm *c = f->m->comm;
    qep_dmat_fetch_part_all(f->m, J.j0, J.w, 0, J.j0, f->window, f->at.rows, J.j0);
    for (int64_t k = 0; k < J.b; k++)
        qep_panel_pack_turned_f64(window(f, f->at.packed) + k * qep_panel_packed(W, J.w), window(f, f->at.rows) + k * W, J.j0, W, J.w, qep_node_rank(c),
                                  qep_node_size(c));
    qep_window_sync_all(f->window);
}

/* The strip's columns of the bundle as they are in the matrix, columns [c0, c0 + n). */
static void read_columns(const factoring *f, int64_t strip, int64_t c0, int64_t n)
{
    const int64_t rows = qep_min_i64(R, f->m->n_rows - strip * R);
    qep_panel_from_rows_f64(columns(f, strip, c0), f->m->data + strip * R * f->m->ld + c0, rows, f->m->ld, n);
}

/* Columns of the bundle from c on that the strip's rows have: those behind the last row's diagonal belong to the upper triangle. Whole panels. */
static int64_t columns_below(const factoring *f, int64_t strip, bundle J, int64_t c)
{
    const int64_t last = qep_spread_row(f->m->spread, qep_rank(f->m->comm), qep_min_i64((strip + 1) * R, f->m->n_rows) - 1);
    return qep_round_up(qep_max_i64(0, last + 1 - J.j0 - c), QEP_PANEL_COLS);
}

/* 2. */
static void update(const factoring *f, bundle J)
{
    const int64_t set = qep_panel_packed(W, J.w);
    const double *packed = window(f, f->at.packed);
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (int64_t i = first_strip(f, J.j0); i < f->strips; i++)
        for (int64_t c = 0; c < J.w; c += CHUNK) {
            const int64_t n = qep_min_i64(CHUNK, J.w - c);
            const int64_t below = qep_min_i64(n, columns_below(f, i, J, c));
            read_columns(f, i, J.j0 + c, n);
            for (int64_t k = 0; below > 0 && k < J.b; k++)
                qep_panel_update_f64(columns(f, i, J.j0 + c), 1.0, columns(f, i, k * W), W, packed + k * set + c * W, 0, below);
        }
}

/* Row l of mine, columns of the bundle, from its panel: plain, or as a finished part of L. */
static void write_row(const factoring *f, int64_t l, bundle J, double sign)
{
    const double *x = columns(f, l / R, J.j0) + l % R;
    double *row = f->m->data + l * f->m->ld + J.j0;
    for (int64_t c = 0; c < J.w; c++) row[c] = sign * x[c * R];
}

/* 3. What is right of the block's diagonal is not looked at. false: not positive definite, *minor is set, on all ranks alike. */
static bool factor_corner_all(const factoring *f, bundle J, int64_t *minor)
{
    const int64_t begin = qep_spread_rows_below(f->m->spread, qep_rank(f->m->comm), J.j0),
                  end = qep_spread_rows_below(f->m->spread, qep_rank(f->m->comm), J.j0 + J.w);
#pragma omp parallel for schedule(static)
    for (int64_t l = begin; l < end; l++) write_row(f, l, J, 1.0);
    qep_dmat_fetch_part_all(f->m, J.j0, J.w, J.j0, J.w, f->window, f->at.corner, J.w);
    qep_copy(f->corner, window(f, f->at.corner), J.w * J.w * (int64_t)sizeof *f->corner);
    const int64_t bad = qep_panel_cholesky_f64(f->corner, J.w, J.w);
    if (bad > 0) *minor = J.j0 + bad;
    return bad == 0;
}

/* A row of the bundle: what has been factored, and 0 behind it. */
static void take_from_corner(const factoring *f, int64_t l, int64_t row, bundle J)
{
    const double *from = f->corner + (row - J.j0) * J.w;
    double *x = columns(f, l / R, J.j0) + l % R, *to = f->m->data + l * f->m->ld + J.j0;
    memcpy(to, from, (size_t)J.w * sizeof *to);
    memset(to + J.w, 0, (size_t)(f->m->spread.n - J.j0 - J.w) * sizeof *to);
    for (int64_t c = 0; c < J.w; c++) x[c * R] = -from[c];
}

/* Whole strips of rows below the bundle. */
static void write_strip(const factoring *f, int64_t strip, bundle J)
{
    qep_panel_to_rows_negated_f64(f->m->data + strip * R * f->m->ld + J.j0, R, f->m->ld, columns(f, strip, J.j0), J.w);
}

/* 4. Lanes of rows above the bundle are left as they come. */
static void solve(const factoring *f, bundle J)
{
    const int rank = qep_rank(f->m->comm);
    const int64_t below = qep_spread_rows_below(f->m->spread, rank, J.j0 + J.w);
    double *packed = f->corner + J.w * J.w;
    qep_panel_pack_turned_f64(packed, f->corner, J.w, J.w, J.w, 0, 1);
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = first_strip(f, J.j0); i < f->strips; i++) {
        const int64_t end = qep_min_i64((i + 1) * R, f->m->n_rows);
        if (end > below) qep_panel_forward_f64(columns(f, i, J.j0), J.w, packed, f->corner, J.w);
        if (i * R >= below && end - i * R == R) {
            write_strip(f, i, J);
            continue;
        }
        for (int64_t l = i * R; l < end; l++) {
            const int64_t row = qep_spread_row(f->m->spread, rank, l);
            if (row >= J.j0 + J.w) write_row(f, l, J, -1.0);
            else if (row >= J.j0) take_from_corner(f, l, row, J);
        }
    }
}

void qep_dmat_cholesky_all(qep_dmat *m, qep_window *w, int64_t *minor)
{
    const int64_t n = m->spread.n;
    *minor = 0;
    if (n == 0) return;
    if (!qep_linalg_is_reproducible()) {
        qep_scalapack_cholesky_all(m, minor);
        return;
    }
    QEP_REQUIRE(qep_window_bytes(w) >= qep_dmat_factor_window_bytes(n));
    factoring f = {.m = m, .window = w, .at = layout_of(n), .strips = strips_of(m->spread, qep_rank(m->comm))};
    f.z = qep_alloc("dmat.factor", f.strips * R * n, sizeof *f.z);
    f.corner = qep_alloc("dmat.factor", corner_size(n), sizeof *f.corner);
    for (bundle J = {0}; J.j0 < n; J.b++, J.j0 += W) {
        J.w = qep_min_i64(W, n - J.j0);
        if (J.b > 0) fetch_rows_all(&f, J);
        update(&f, J);
        if (!factor_corner_all(&f, J, minor)) break;
        solve(&f, J);
    }
    qep_free(f.corner);
    qep_free(f.z);
    qep_window_sync_all(w);
}
