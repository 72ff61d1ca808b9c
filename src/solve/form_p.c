/* Rows of S and P, for methods that correct column by column: x R^T = c from the right end, the part up to the diagonal cleared, which is S; y R = x from
 * the left, which is P. A row needs only the columns behind its own; a strip is one block of rows, whatever its neighbours on this rank, and
 * works on the blocks of columns from its own on. SPDX-License-Identifier: Apache-2.0 */
#include "rows_priv.h"
#include <string.h>

typedef struct rows {
    qep_dmat *M;
    int64_t n, block, d, ld;
    int rank;
} rows;

static rows rows_of(qep_dmat *M)
{
    const int rank = qep_rank(qep_dmat_comm(M));
    return (rows){M, qep_dmat_n_rows_of(M, rank), qep_dmat_block(M), qep_dmat_n(M), qep_dmat_ld(M), rank};
}

/* First global row, number of rows of my strip that begins with local row l. */
static int64_t strip_row(const rows *s, int64_t l)
{
    return qep_dmat_row_of(s->M, s->rank, l);
}

/* x_J <- (x_J - x_>J R_J,>J^T) R_JJ^-T. r: rows j0 .. of R from column j0 on. */
static void from_right(const rows *s, int64_t j0, int64_t cols, const double *r, int64_t ldr)
{
    const int64_t right = s->d - j0 - cols;
#pragma omp parallel for schedule(dynamic)
    for (int64_t l = 0; l < s->n; l += s->block) {
        if (strip_row(s, l) >= j0 + cols) continue;
        const int64_t m = qep_min_i64(s->block, s->n - l);
        double *x = qep_dmat_row(s->M, l) + j0;
        if (right > 0) qep_gemm_f64(true, m, cols, right, -1.0, x + cols, s->ld, r + cols, ldr, 1.0, x, s->ld);
        qep_trsm_right_f64(false, true, m, cols, r, ldr, x, s->ld);
    }
}

/* y_J <- y_J R_JJ^-1, y_>J -= y_J R_J,>J. */
static void from_left(const rows *s, int64_t j0, int64_t cols, const double *r, int64_t ldr)
{
    const int64_t right = s->d - j0 - cols;
#pragma omp parallel for schedule(dynamic)
    for (int64_t l = 0; l < s->n; l += s->block) {
        if (strip_row(s, l) >= j0 + cols) continue;
        const int64_t m = qep_min_i64(s->block, s->n - l);
        double *y = qep_dmat_row(s->M, l) + j0;
        qep_trsm_right_f64(false, false, m, cols, r, ldr, y, s->ld);
        if (right > 0) qep_gemm_f64(false, m, right, cols, -1.0, y, s->ld, r + cols, ldr, 1.0, y + cols, s->ld);
    }
}

static void clear_lower(const rows *s)
{
#pragma omp parallel for schedule(static, 16)
    for (int64_t l = 0; l < s->n; l++)
        memset(qep_dmat_row(s->M, l), 0, (size_t)(strip_row(s, l) + 1) * sizeof(double));
}

qep_dmat *qep_form_s_all(const qep_dmat *C, const int32_t *perm, const qep_dmat *Lr, const char *name, qep_window *w)
{
    const int64_t d = qep_dmat_n(C);
    qep_dmat *S = qep_dmat_create_all(qep_dmat_comm(C), name, d, qep_dmat_block(C), qep_dmat_n_owners(C));
    qep_dmat_permute_all(S, C, perm);
    const rows mine = rows_of(S);
    qep_stream s = qep_stream_open(Lr, w, QEP_F64);
    s.flip = true;
    for (int64_t b = qep_stream_blocks(d) - 1; b >= 0; b--) {
        const double *r = qep_stream_block_all(&s, b);
        from_right(&mine, b * QEP_STREAM_ROWS, qep_stream_block_rows(d, b), r, s.ld);
    }
    clear_lower(&mine);
    qep_stream_close_all(&s);
    return S;
}

void qep_s_to_p_all(qep_dmat *S, const qep_dmat *Lr, qep_window *w)
{
    const int64_t d = qep_dmat_n(S);
    const rows mine = rows_of(S);
    qep_stream s = qep_stream_open(Lr, w, QEP_F64);
    s.flip = true;
    for (int64_t b = 0; b < qep_stream_blocks(d); b++) {
        const double *r = qep_stream_block_all(&s, b);
        from_left(&mine, b * QEP_STREAM_ROWS, qep_stream_block_rows(d, b), r, s.ld);
    }
    qep_stream_close_all(&s);
}
