/* Cholesky factor by p?potrf with all threads of a rank: the lower factor on a column of processes, padded to whole blocks by a unit diagonal. The local
 * rows are copied to a column-major array and back. SPDX-License-Identifier: Apache-2.0 */
#include "dmat_priv.h"
#include "scalapack_priv.h"
#include <math.h>

enum { LINE = 8 }; /* doubles per cache line: columns copied together */

/* Local part of the padded matrix, column-major: t[lrow + column * ld]. */
typedef struct padded {
    int64_t n;    /* padded order */
    int64_t rows; /* mine, with padding */
    int64_t ld;   /* max(rows, 1) */
    double *t;    /* owned, zeroed at first */
} padded;

static padded padded_shape(qep_spread s, int64_t rank)
{
    padded p = {.n = qep_round_up(s.n, s.block)};
    s.n = p.n;
    p.rows = qep_spread_rows(s, rank);
    p.ld = qep_max_i64(p.rows, 1);
    return p;
}

int64_t qep_scalapack_bytes(qep_spread s, int64_t rank)
{
    const padded p = padded_shape(s, rank);
    return p.ld * p.n * (int64_t)sizeof(double);
}

/* The lower triangle, and ones on the diagonal of the padding. */
static void load(const qep_dmat *m, padded *p)
{
    const int64_t n = m->spread.n;
    const int rank = qep_rank(m->comm);
#pragma omp parallel for schedule(static)
    for (int64_t j0 = 0; j0 < n; j0 += LINE) {
        for (int64_t l = qep_spread_rows_below(m->spread, rank, j0); l < m->n_rows; l++) {
            const int64_t end = qep_min_i64(j0 + LINE, qep_spread_row(m->spread, rank, l) + 1);
            for (int64_t j = j0; j < end; j++) p->t[j * p->ld + l] = m->data[l * m->ld + j];
        }
    }
    for (int64_t l = m->n_rows; l < p->rows; l++)
        p->t[qep_spread_row(m->spread, rank, l) * p->ld + l] = 1.0;
}

/* The factor back into the rows; zeros above the diagonal. */
static void store(qep_dmat *m, const padded *p)
{
    const int64_t n = m->spread.n;
    const int rank = qep_rank(m->comm);
#pragma omp parallel for schedule(static)
    for (int64_t j0 = 0; j0 < n; j0 += LINE) {
        const int64_t end = qep_min_i64(j0 + LINE, n);
        for (int64_t l = 0; l < m->n_rows; l++) {
            const int64_t i = qep_spread_row(m->spread, rank, l);
            double *row = m->data + l * m->ld;
            for (int64_t j = j0; j < end; j++) row[j] = j <= i ? p->t[j * p->ld + l] : 0.0;
        }
    }
}

/* INFO of p?potrf: 0, or the order of a leading minor that is not positive. */
static int64_t factor(const qep_grid *g, const qep_dmat *m, padded *p)
{
    const int one = 1, n = qep_int(p->n), block = qep_int(m->spread.block);
    /* DTYPE, CTXT, M, N, MB, NB, RSRC, CSRC, LLD */
    const int desc[9] = {1, g->context, n, n, block, block, 0, 0, qep_int(p->ld)};
    int info = QEP_INFO_UNSET;
    pdpotrf_("L", &n, p->t, &one, &one, desc, &info, 1);
    QEP_CHECK_INFO("p?potrf", info);
    return info;
}

/* p?potrf lets a NaN pass: order of the first leading minor whose pivot is not a positive
 * number, 0 when none. */
static int64_t first_bad_pivot(const qep_dmat *m, const padded *p)
{
    for (int64_t l = 0; l < m->n_rows; l++) {
        const int64_t i = qep_spread_row(m->spread, qep_rank(m->comm), l);
        const double pivot = p->t[i * p->ld + l];
        if (!(pivot > 0.0) || isinf(pivot)) return i + 1;
    }
    return 0;
}

void qep_scalapack_cholesky_all(qep_dmat *m, int64_t *minor)
{
    *minor = 0;
    qep_grid grid;
    qep_grid_open_all(m->comm, m->spread.n_owners, &grid);
    int64_t worst = 0; /* n + 1 - minor, so that the largest is the first minor; 0: none */
    if (grid.comm != MPI_COMM_NULL) {
        padded p = padded_shape(m->spread, qep_rank(m->comm));
        p.t = qep_alloc("dmat.factor", p.ld * p.n, sizeof *p.t);
        load(m, &p);
        int64_t bad = factor(&grid, m, &p);
        if (bad == 0) bad = first_bad_pivot(m, &p);
        if (bad > 0) worst = m->spread.n + 1 - bad;
        store(m, &p);
        qep_free(p.t);
    }
    qep_grid_close(&grid);
    qep_max_i64_all(m->comm, &worst, 1); /* ranks outside the grid learn it too */
    if (worst > 0) *minor = m->spread.n + 1 - worst;
}
