/* Rows of a matrix streaming by. They come in bundles of several blocks, so that several owners fill the window at the same time. While a
 * rank still computes on one half of the window, the next bundle goes into the other half: its merge begins with a barrier of the node, so
 * whoever has left it knows that nobody reads the bundle before the last any more. SPDX-License-Identifier: Apache-2.0 */
#include "rows_priv.h"
#include "qep/linalg.h"

static int64_t half_rows(int64_t d)
{
    return qep_min_i64(QEP_STREAM_BUNDLE, d);
}

static int64_t half_bytes(int64_t d, qep_dtype type)
{
    return half_rows(d) * qep_round_up(d, QEP_DMAT_LINE) * qep_dtype_size(type);
}

/* Panels of a bundle's rows, in two parts with a panel's padding each, or of its transpose. */
static int64_t packed_size(int64_t d)
{
    return qep_max_i64(qep_panel_packed(half_rows(d), d + 2 * QEP_PANEL_COLS), qep_panel_packed(d, half_rows(d)));
}

/* Two halves and, behind them, packed panels: of one bundle in f64, of two in f32. */
int64_t qep_stream_bytes(int64_t d)
{
    const int64_t f64 = 2 * half_bytes(d, QEP_F64) + packed_size(d) * (int64_t)sizeof(double);
    const int64_t f32 = 2 * half_bytes(d, QEP_F32) + 2 * packed_size(d) * (int64_t)sizeof(float);
    return qep_max_i64(qep_max_i64(f64, f32), qep_dmat_factor_window_bytes(d));
}

qep_stream qep_stream_open(const qep_dmat *m, qep_window *w, qep_dtype type)
{
    QEP_REQUIRE(qep_window_bytes(w) >= qep_stream_bytes(qep_dmat_n(m)));
    return (qep_stream){.m = m, .w = w, .type = type, .ld = qep_dmat_ld(m), .bundle = -1,
                        .kept = type == QEP_F32 ? qep_dmat_kept_rows(m) : NULL};
}

/* A flipped row begins at the first row of its fetch: no bundles there, so that it begins at its block's. */
const void *qep_stream_block_all(qep_stream *s, int64_t b)
{
    const int64_t d = qep_dmat_n(s->m), size = s->ld * qep_dtype_size(s->type), most = s->flip ? QEP_STREAM_ROWS : QEP_STREAM_BUNDLE;
    const int64_t bundle = b * QEP_STREAM_ROWS / most, row0 = bundle * most;
    if (s->kept) return s->kept + b * QEP_STREAM_ROWS * s->ld;
    if (bundle != s->bundle) {
        s->turn = 1 - s->turn;
        qep_dmat_fetch_rows_all(s->m, row0, qep_min_i64(most, d - row0), s->flip, s->type, s->w, s->turn * half_bytes(d, s->type), s->ld);
        s->bundle = bundle;
    }
    return (const char *)qep_window_data(s->w) + (s->turn * half_rows(d) + b * QEP_STREAM_ROWS - row0) * size;
}

static void *packed_area(const qep_stream *s)
{
    return (char *)qep_window_data(s->w) + 2 * half_bytes(qep_dmat_n(s->m), s->type);
}

static const void *bundle_all(qep_stream *s, int64_t b)
{
    return qep_stream_block_all(s, b * QEP_STREAM_BUNDLE / QEP_STREAM_ROWS);
}

/* A rank packs into the half of the bundle before the last when all have packed the last one, so when all are done with the one before it. */
const float *qep_stream_panels_f32_all(qep_stream *s, int64_t b)
{
    const int64_t d = qep_dmat_n(s->m);
    const qep_comm *c = qep_dmat_comm(s->m);
    const float *block = bundle_all(s, b);
    float *packed = (float *)packed_area(s) + b % 2 * packed_size(d);
    qep_panel_pack_f32(packed, block, s->ld, qep_stream_bundle_rows(d, b), d, qep_node_rank(c), qep_node_size(c));
    qep_window_sync_all(s->w);
    return packed;
}

/* The bundle, when nobody reads f64 panels any more: a fetch begins with a barrier of the node; a bundle that is there already, where the way back
 * begins, needs one. */
static const double *fresh_bundle_all(qep_stream *s, int64_t b)
{
    const bool there = s->bundle == b;
    const double *block = bundle_all(s, b);
    if (there) qep_window_sync_all(s->w);
    return block;
}

const double *qep_stream_panels_f64_all(qep_stream *s, int64_t b)
{
    const int64_t d = qep_dmat_n(s->m);
    const qep_comm *c = qep_dmat_comm(s->m);
    const double *block = fresh_bundle_all(s, b);
    qep_panel_pack_f64(packed_area(s), block, s->ld, qep_stream_bundle_rows(d, b), d, qep_node_rank(c), qep_node_size(c));
    qep_window_sync_all(s->w);
    return packed_area(s);
}

const double *qep_stream_panels_left_all(qep_stream *s, int64_t b, const double **diagonal)
{
    const int64_t j0 = b * QEP_STREAM_BUNDLE, rows = qep_stream_bundle_rows(qep_dmat_n(s->m), b);
    const qep_comm *c = qep_dmat_comm(s->m);
    const double *block = fresh_bundle_all(s, b);
    double *packed = packed_area(s), *right = packed + qep_panel_packed(rows, j0);
    qep_panel_pack_f64(packed, block, s->ld, rows, j0, qep_node_rank(c), qep_node_size(c));
    qep_panel_pack_f64(right, block + j0, s->ld, rows, rows, qep_node_rank(c), qep_node_size(c));
    qep_window_sync_all(s->w);
    *diagonal = right;
    return packed;
}

const double *qep_stream_panels_turned_all(qep_stream *s, int64_t b)
{
    const int64_t rows = qep_stream_bundle_rows(qep_dmat_n(s->m), b), all = qep_panel_packed(QEP_STREAM_BUNDLE, rows);
    const qep_comm *c = qep_dmat_comm(s->m);
    const double *block = fresh_bundle_all(s, b);
    double *packed = packed_area(s);
    for (int64_t k = 0; k <= b; k++)
        qep_panel_pack_turned_f64(packed + k * all, block + k * QEP_STREAM_BUNDLE, s->ld, k < b ? QEP_STREAM_BUNDLE : rows, rows, qep_node_rank(c),
                                  qep_node_size(c));
    qep_window_sync_all(s->w);
    return packed;
}

const double *qep_stream_corner_all(qep_stream *s, int64_t b)
{
    return (const double *)bundle_all(s, b) + b * QEP_STREAM_BUNDLE;
}

void qep_stream_close_all(qep_stream *s)
{
    qep_window_sync_all(s->w);
}

void qep_rows_stream_all(const qep_dmat *M, qep_rows_visit *visit, void *ctx, qep_window *w)
{
    const int64_t d = qep_dmat_n(M);
    qep_stream s = qep_stream_open(M, w, QEP_F32);
    for (int64_t b = 0; b < qep_stream_blocks(d); b++) {
        const float *block = qep_stream_block_all(&s, b);
        visit(ctx, b * QEP_STREAM_ROWS, qep_stream_block_rows(d, b), block, s.ld);
    }
    qep_stream_close_all(&s);
}
