/* Rows solved against L L^T while row blocks of L stream by, first to last and back, by panels: a strip of 64 rows is turned to [d, 64], a row's bits do not
 * depend on the rows beside it. Both passes leave their solution with the opposite sign; two passes give the sign back. SPDX-License-Identifier: Apache-2.0 */
#include "rows_priv.h"
#include "qep/linalg.h"
#include <omp.h>
#include <string.h>

enum { R = QEP_SOLVE_STRIP };

typedef struct strips {
    double *x; /* borrowed: [n_rows, ld]; whole strips are turned in place */
    int64_t ld, n_rows, d;
    double *tail;        /* owned: [d, 64], the rows behind the last whole strip, and zeros */
    const double *alpha; /* borrowed, may be NULL */
} strips;

static int64_t n_strips(const strips *s)
{
    return qep_ceil_div(s->n_rows, R);
}

static double *strip(const strips *s, int64_t i)
{
    return (i + 1) * R <= s->n_rows ? s->x + i * R * s->ld : s->tail;
}

static bool idle(const strips *s, int64_t i)
{
    return s->alpha != NULL && s->alpha[i] == 0.0;
}

/* One strip to [d, 64], or back. copy: [64, ld]. */
static void turn_strip(const strips *s, int64_t i, bool back, double *copy)
{
    double *rows = s->x + i * R * s->ld, *panel = strip(s, i);
    const int64_t n = qep_min_i64(R, s->n_rows - i * R);
    if (back) {
        qep_panel_to_rows_f64(copy, n, s->ld, panel, s->d);
        for (int64_t r = 0; r < n; r++) memcpy(rows + r * s->ld, copy + r * s->ld, (size_t)s->d * sizeof *rows);
    } else {
        memcpy(copy, rows, (size_t)(n * s->ld) * sizeof *rows);
        qep_panel_from_rows_f64(panel, copy, n, s->ld, s->d);
    }
}

static void turn(const strips *s, bool back)
{
    double *copies = qep_alloc("solve.turned", qep_min_i64(omp_get_max_threads(), n_strips(s)) * R * s->ld, sizeof *copies);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n_strips(s); i++) turn_strip(s, i, back, copies + omp_get_thread_num() * R * s->ld);
    qep_free(copies);
}

/* x <- -x L^-T, bundle b of columns: x_J <- -(x_J + x_<J L_J<^T) L_JJ^-T. packed: that bundle, turned; l: L_JJ. */
static void forward(const strips *s, int64_t b, const double *packed, const double *l, int64_t ldl)
{
    const int64_t j0 = b * QEP_STREAM_BUNDLE, cols = qep_stream_bundle_rows(s->d, b), all = qep_panel_packed(QEP_STREAM_BUNDLE, cols);
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < n_strips(s); i++) {
        if (idle(s, i)) continue;
        double *x = strip(s, i), *own = x + j0 * R;
        for (int64_t k = 0; k < b; k++) qep_panel_update_f64(own, 1.0, x + k * QEP_STREAM_BUNDLE * R, QEP_STREAM_BUNDLE, packed + k * all, 0, cols);
        qep_panel_forward_f64(own, cols, packed + b * all, l, ldl);
    }
}

/* x <- -x L^-1, last bundle first: x_J <- -x_J L_JJ^-1, then x_<J += x_J L_J<. packed: L_J<, diagonal: L_JJ as panels, l: as it is. */
static void backward(const strips *s, int64_t b, const double *packed, const double *diagonal, const double *l, int64_t ldl)
{
    const int64_t j0 = b * QEP_STREAM_BUNDLE, cols = qep_stream_bundle_rows(s->d, b);
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < n_strips(s); i++) {
        if (idle(s, i)) continue;
        double *x = strip(s, i), *own = x + j0 * R;
        qep_panel_backward_f64(own, cols, diagonal, l, ldl);
        qep_panel_update_f64(x, 1.0, own, cols, packed, 0, j0);
    }
}

void qep_rows_solve_strips_all(const qep_dmat *L, int64_t n_rows, const double *alpha, double *x, int64_t ldx, qep_window *w)
{
    const int64_t d = qep_dmat_n(L), bundles = qep_stream_bundles(d);
    const strips rows = {x, ldx, n_rows, d, qep_alloc("solve.turned", n_rows % R > 0 ? d * R : 0, sizeof *x), alpha};
    qep_stream s = qep_stream_open(L, w, QEP_F64);
    turn(&rows, false);
    for (int64_t b = 0; b < bundles; b++) {
        const double *packed = qep_stream_panels_turned_all(&s, b);
        forward(&rows, b, packed, qep_stream_corner_all(&s, b), s.ld);
    }
    for (int64_t b = bundles - 1; b >= 0; b--) {
        const double *diagonal, *packed = qep_stream_panels_left_all(&s, b, &diagonal);
        backward(&rows, b, packed, diagonal, qep_stream_corner_all(&s, b), s.ld);
    }
    turn(&rows, true);
    qep_free(rows.tail);
    qep_stream_close_all(&s);
}

void qep_rows_solve_all(const qep_dmat *L, int64_t count, double *x, qep_window *w)
{
    qep_rows_solve_strips_all(L, count * R, NULL, x, qep_dmat_n(L), w);
}

void qep_dmat_solve_all(qep_dmat *M, const qep_dmat *L, qep_window *w)
{
    const int64_t n_rows = qep_dmat_n_rows_of(M, qep_rank(qep_dmat_comm(M)));
    QEP_REQUIRE(qep_dmat_n(M) == qep_dmat_n(L));
    qep_rows_solve_strips_all(L, n_rows, NULL, qep_dmat_row(M, 0), qep_dmat_ld(M), w);
}

int64_t qep_rows_turned_bytes(int64_t d, int64_t count, int threads, bool f64)
{
    return qep_min_i64(threads, count) * R * qep_round_up(d, QEP_DMAT_LINE) * (int64_t)(f64 ? sizeof(double) : sizeof(float));
}
