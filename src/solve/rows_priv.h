/* solve, private: rows of a matrix streaming by, in blocks, through the two halves of a window, and as packed panels behind them.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_ROWS_PRIV_H
#define QEP_ROWS_PRIV_H

#include "qep/solve.h"

typedef struct qep_stream {
    const qep_dmat *m; /* borrowed */
    qep_window *w;     /* borrowed */
    qep_dtype type;
    int64_t ld;        /* of a block in the window */
    int64_t turn;      /* half that was filled last: 0 or 1 */
    int64_t bundle;    /* what it holds; -1: nothing yet */
    const float *kept; /* all rows, there already (qep_dmat_keep_rows_all); NULL: not, or not in this type */
    bool flip;         /* the matrix read backwards, each row from its diagonal on (qep_dmat_fetch_rows_all) */
} qep_stream;

qep_stream qep_stream_open(const qep_dmat *m, qep_window *w, qep_dtype type);
/* Block b, rows [128 b, min(128 (b+1), d)), in my node's window. Valid until the next but one
 * call at least. Collective. */
const void *qep_stream_block_all(qep_stream *s, int64_t b);
/* Rows [512 b, min(512 (b+1), d)) as packed panels (linalg.h): one copy per node, which all ranks of the node pack together. Valid until the next but one
 * call at least in f32, until the next one in f64. Collective. Of all columns: */
const float *qep_stream_panels_f32_all(qep_stream *s, int64_t b);
const double *qep_stream_panels_f64_all(qep_stream *s, int64_t b);
/* Of the columns left of the diagonal block, and of that one. */
const double *qep_stream_panels_left_all(qep_stream *s, int64_t b, const double **diagonal);
/* Of their transpose: for every bundle k <= b of columns, as the rows of a product, panels of this bundle's rows, one set behind the other in
 * qep_panel_packed(512, rows). */
const double *qep_stream_panels_turned_all(qep_stream *s, int64_t b);
/* The diagonal block of that bundle as it is, ld s->ld. */
const double *qep_stream_corner_all(qep_stream *s, int64_t b);
/* After this the window may be used for something else. Collective. */
void qep_stream_close_all(qep_stream *s);

static inline int64_t qep_stream_blocks(int64_t d)
{
    return qep_ceil_div(d, QEP_STREAM_ROWS);
}
static inline int64_t qep_stream_block_rows(int64_t d, int64_t b)
{
    return qep_min_i64(QEP_STREAM_ROWS, d - b * QEP_STREAM_ROWS);
}
static inline int64_t qep_stream_bundles(int64_t d)
{
    return qep_ceil_div(d, QEP_STREAM_BUNDLE);
}
static inline int64_t qep_stream_bundle_rows(int64_t d, int64_t b)
{
    return qep_min_i64(QEP_STREAM_BUNDLE, d - b * QEP_STREAM_BUNDLE);
}

/* Columns of a product that are worked on together, whole panels: with the rows of a bundle half of a second-level cache of 1 MiB. */
enum { QEP_SOLVE_CHUNK = 32 * 6 };

/* x <- x (L L^T)^-1 for n_rows rows of x, ld ldx; alpha[i] == 0: rows [64 i, 64 (i + 1)) are left alone; NULL: none. */
void qep_rows_solve_strips_all(const qep_dmat *L, int64_t n_rows, const double *alpha, double *x, int64_t ldx, qep_window *w);

#endif
