/* Rows into the windows of all nodes. Consecutive row blocks have different owners, so as many
 * blocks as there are owners travel in one round: each owner converts its rows into its node's
 * window, then the windows are merged.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dmat_priv.h"
#include <string.h>

typedef struct request {
    const qep_dmat *m;
    int64_t row0, n_rows;
    int64_t col0, cols; /* of a row that are asked for; 0 behind them, up to ld */
    bool flip;
    qep_dtype type;
    int64_t ld;
    char *base; /* where row0 goes in my node's window */
} request;

/* Row of the matrix that becomes row i of the request. */
static int64_t source_row(const request *q, int64_t i)
{
    return q->flip ? q->m->spread.n - 1 - (q->row0 + i) : q->row0 + i;
}

/* Rows from i on that lie in the same row block. */
static int64_t run_length(const request *q, int64_t i)
{
    const int64_t in_block = source_row(q, i) % q->m->spread.block;
    return qep_min_i64(q->n_rows - i, q->flip ? in_block + 1 : q->m->spread.block - in_block);
}

/* One row of mine (flipped: from the diagonal of the last row asked for on), zeros up to ld. */
static void write_row(const request *q, int64_t i)
{
    const int64_t used = q->cols;
    const double *row = q->m->data + qep_spread_lrow(q->m->spread, source_row(q, i)) * q->m->ld + q->col0;
    const double *last = row + used - 1; /* flipped: column n-1-row0 */
    if (q->type == QEP_F64) {
        double *dst = (double *)(void *)q->base + i * q->ld;
        if (q->flip) {
            for (int64_t c = 0; c < used; c++) dst[c] = last[-c];
        } else {
            memcpy(dst, row, (size_t)used * sizeof *dst);
        }
        memset(dst + used, 0, (size_t)(q->ld - used) * sizeof *dst);
    } else {
        float *dst = (float *)(void *)q->base + i * q->ld;
        for (int64_t c = 0; c < used; c++) dst[c] = (float)(q->flip ? last[-c] : row[c]);
        memset(dst + used, 0, (size_t)(q->ld - used) * sizeof *dst);
    }
}

static void write_rows(const request *q, int64_t i0, int64_t count)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = i0; i < i0 + count; i++) write_row(q, i);
}

/* offset: of q.base in the window. */
static void fetch_all(request q, qep_window *w, int64_t offset)
{
    const qep_dmat *m = q.m;
    const int64_t row_bytes = q.ld * qep_dtype_size(q.type), n_rows = q.n_rows, size = qep_size(m->comm);
    QEP_REQUIRE(q.type == QEP_F32 || q.type == QEP_F64);
    QEP_REQUIRE(q.row0 >= 0 && n_rows >= 0 && q.row0 + n_rows <= m->spread.n && q.ld >= q.cols);
    QEP_REQUIRE(offset >= 0 && offset % qep_dtype_size(q.type) == 0 && offset + n_rows * row_bytes <= qep_window_bytes(w));
    if (n_rows == 0) return;
    q.base = (char *)qep_window_data(w) + offset;
    int64_t *begin = qep_alloc("dmat.exchange", 2 * size, sizeof *begin), *count = begin + size;
    for (int64_t i = 0; i < n_rows;) {
        memset(begin, 0, 2 * (size_t)size * sizeof *begin);
        for (int64_t k = 0, sent = 0; k < m->spread.n_owners && i < n_rows; k++) {
            const int64_t run = run_length(&q, i);
            if (k > 0 && sent + run * row_bytes > QEP_DMAT_ROUND) break;
            sent += run * row_bytes;
            const int64_t owner = qep_spread_owner(m->spread, source_row(&q, i));
            begin[owner] = offset + i * row_bytes;
            count[owner] = run * row_bytes;
            if (owner == qep_rank(m->comm)) write_rows(&q, i, run);
            i += run;
        }
        qep_window_merge_all(w, begin, count);
    }
    qep_free(begin);
}

void qep_dmat_fetch_rows_all(const qep_dmat *m, int64_t row0, int64_t n_rows, bool flip,
                             qep_dtype type, qep_window *w, int64_t offset, int64_t ld)
{
    const int64_t cols = flip ? m->spread.n - row0 : m->spread.n;
    fetch_all((request){.m = m, .row0 = row0, .n_rows = n_rows, .cols = cols, .flip = flip, .type = type, .ld = ld}, w, offset);
}

void qep_dmat_fetch_part_all(const qep_dmat *m, int64_t row0, int64_t n_rows, int64_t col0, int64_t n_cols, qep_window *w, int64_t at, int64_t ld)
{
    QEP_REQUIRE(col0 >= 0 && n_cols >= 0 && col0 + n_cols <= m->spread.n);
    fetch_all((request){.m = m, .row0 = row0, .n_rows = n_rows, .col0 = col0, .cols = n_cols, .type = QEP_F64, .ld = ld}, w,
              at * (int64_t)sizeof(double));
}

int64_t qep_dmat_kept_bytes(int64_t n)
{
    return n * qep_round_up(n, QEP_DMAT_LINE) * (int64_t)sizeof(float);
}

void qep_dmat_keep_rows_all(qep_dmat *m, const char *name)
{
    QEP_REQUIRE(m->kept == NULL);
    m->kept = qep_window_create_all(m->comm, name, qep_dmat_kept_bytes(m->spread.n));
    qep_dmat_fetch_rows_all(m, 0, m->spread.n, false, QEP_F32, m->kept, 0, m->ld);
}

void qep_dmat_drop_rows_all(qep_dmat *m)
{
    if (m->kept) qep_window_destroy_all(&m->kept);
}

const float *qep_dmat_kept_rows(const qep_dmat *m)
{
    return m->kept ? qep_window_data(m->kept) : NULL;
}
