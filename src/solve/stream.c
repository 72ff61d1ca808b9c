/* Rows of a matrix streaming by. While a rank still computes on one half of the window, the next
 * block goes into the other half: the merge of block b + 1 begins with a barrier of the node, so
 * whoever has left it knows that nobody reads block b - 1 any more.
 * SPDX-License-Identifier: Apache-2.0 */
#include "rows_priv.h"

enum { LD_UNIT = 8 };

int64_t qep_stream_bytes(int64_t d)
{
    return 2 * QEP_STREAM_ROWS * qep_round_up(d, LD_UNIT) * (int64_t)sizeof(double);
}

qep_stream qep_stream_open(const qep_dmat *m, qep_window *w, qep_dtype type)
{
    QEP_REQUIRE(qep_window_bytes(w) >= qep_stream_bytes(qep_dmat_n(m)));
    return (qep_stream){.m = m, .w = w, .type = type, .ld = qep_round_up(qep_dmat_n(m), LD_UNIT)};
}

const void *qep_stream_block_all(qep_stream *s, int64_t b)
{
    const int64_t offset = s->turn * QEP_STREAM_ROWS * s->ld * qep_dtype_size(s->type);
    const int64_t rows = qep_stream_block_rows(qep_dmat_n(s->m), b);
    qep_dmat_fetch_rows_all(s->m, b * QEP_STREAM_ROWS, rows, s->flip, s->type, s->w, offset, s->ld);
    s->turn = 1 - s->turn;
    return (const char *)qep_window_data(s->w) + offset;
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
