/* Rows of P, for methods that correct column by column: x R^T = c from the right end, the part up to the diagonal cleared, y R = x from
 * the left. A row needs only the columns behind its own; a strip is one block of rows, whatever its neighbours on this rank, and
 * works on the blocks of columns from its own on. SPDX-License-Identifier: Apache-2.0 */
#include "rows_priv.h"
#include <string.h>

typedef struct rows {
    qep_dmat *P;
    int64_t n, block, d, ld;
    int rank;
} rows;

/* First global row, number of rows of my strip that begins with local row l. */
static int64_t strip_row(const rows *s, int64_t l)
{
    return qep_dmat_row_of(s->P, s->rank, l);
}

/* x_J <- (x_J - x_>J R_J,>J^T) R_JJ^-T. r: rows j0 .. of R from column j0 on. */
static void from_right(const rows *s, int64_t j0, int64_t cols, const double *r, int64_t ldr)
{
    const int64_t right = s->d - j0 - cols;
#pragma omp parallel for schedule(dynamic)
    for (int64_t l = 0; l < s->n; l += s->block) {
        if (strip_row(s, l) >= j0 + cols) continue;
        const int64_t m = qep_min_i64(s->block, s->n - l);
        double *x = qep_dmat_row(s->P, l) + j0;
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
        double *y = qep_dmat_row(s->P, l) + j0;
        qep_trsm_right_f64(false, false, m, cols, r, ldr, y, s->ld);
        if (right > 0) qep_gemm_f64(false, m, right, cols, -1.0, y, s->ld, r + cols, ldr, 1.0, y + cols, s->ld);
    }
}

static void clear_lower(const rows *s)
{
    for (int64_t l = 0; l < s->n; l++)
        memset(qep_dmat_row(s->P, l), 0, (size_t)(strip_row(s, l) + 1) * sizeof(double));
}

qep_dmat *qep_form_p_all(const qep_dmat *C, const int32_t *perm, const qep_dmat *Lr, const char *name, qep_window *w)
{
    qep_comm *comm = qep_dmat_comm(C);
    const int64_t d = qep_dmat_n(C), n_blocks = qep_stream_blocks(d);
    qep_dmat *P = qep_dmat_create_all(comm, name, d, qep_dmat_block(C), qep_dmat_n_owners(C));
    qep_dmat_permute_all(P, C, perm);
    const rows mine = {P, qep_dmat_n_rows_of(P, qep_rank(comm)), qep_dmat_block(P), d, qep_dmat_ld(P), qep_rank(comm)};
    qep_stream s = qep_stream_open(Lr, w, QEP_F64);
    s.flip = true;
    for (int64_t b = n_blocks - 1; b >= 0; b--) {
        const double *r = qep_stream_block_all(&s, b);
        from_right(&mine, b * QEP_STREAM_ROWS, qep_stream_block_rows(d, b), r, s.ld);
    }
    clear_lower(&mine);
    for (int64_t b = 0; b < n_blocks; b++) {
        const double *r = qep_stream_block_all(&s, b);
        from_left(&mine, b * QEP_STREAM_ROWS, qep_stream_block_rows(d, b), r, s.ld);
    }
    qep_stream_close_all(&s);
    return P;
}
