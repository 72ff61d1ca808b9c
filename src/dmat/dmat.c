/* The matrix: storage, questions, and what a rank does to its own rows.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dmat_priv.h"
#include <string.h>

qep_dmat *qep_dmat_create_all(qep_comm *c, const char *name, int64_t n, int64_t block,
                              int64_t n_owners)
{
    QEP_REQUIRE(n >= 0 && block >= 1 && n_owners >= 1 && n_owners <= qep_size(c));
    qep_dmat *m = qep_alloc("dmat", 1, sizeof *m);
    m->comm = c;
    m->spread = (qep_spread){.n = n, .block = block, .n_owners = n_owners};
    m->n_rows = qep_spread_rows(m->spread, qep_rank(c));
    m->ld = qep_round_up(n, QEP_DMAT_LINE);
    m->data = qep_alloc(name, m->n_rows * m->ld, sizeof *m->data);
    return m;
}

void qep_dmat_destroy_all(qep_dmat **m)
{
    if (*m == NULL) return;
    qep_dmat_drop_rows_all(*m);
    qep_free((*m)->data);
    qep_free(*m);
    *m = NULL;
}

int64_t qep_dmat_local_bytes(int64_t n, int64_t block, int64_t n_owners, int64_t rank)
{
    const qep_spread s = {.n = n, .block = block, .n_owners = n_owners};
    return qep_spread_rows(s, rank) * qep_round_up(n, QEP_DMAT_LINE) * (int64_t)sizeof(double);
}

qep_comm *qep_dmat_comm(const qep_dmat *m)
{
    return m->comm;
}

int64_t qep_dmat_n(const qep_dmat *m)
{
    return m->spread.n;
}

int64_t qep_dmat_block(const qep_dmat *m)
{
    return m->spread.block;
}

int64_t qep_dmat_n_owners(const qep_dmat *m)
{
    return m->spread.n_owners;
}

int qep_dmat_owner(const qep_dmat *m, int64_t row)
{
    return qep_int(qep_spread_owner(m->spread, row));
}

int64_t qep_dmat_n_rows_of(const qep_dmat *m, int rank)
{
    return qep_spread_rows(m->spread, rank);
}

int64_t qep_dmat_row_of(const qep_dmat *m, int rank, int64_t lrow)
{
    return qep_spread_row(m->spread, rank, lrow);
}

double *qep_dmat_row(qep_dmat *m, int64_t lrow)
{
    return m->data + lrow * m->ld;
}

int64_t qep_dmat_ld(const qep_dmat *m)
{
    return m->ld;
}

void qep_dmat_copy(qep_dmat *dst, const qep_dmat *src)
{
    QEP_REQUIRE(memcmp(&dst->spread, &src->spread, sizeof dst->spread) == 0 && dst->kept == NULL);
    qep_copy(dst->data, src->data, src->n_rows * src->ld * (int64_t)sizeof *dst->data);
}

void qep_dmat_add(qep_dmat *dst, const qep_dmat *src)
{
    QEP_REQUIRE(memcmp(&dst->spread, &src->spread, sizeof dst->spread) == 0 && dst->kept == NULL);
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < src->n_rows * src->ld; k++) dst->data[k] += src->data[k];
}

void qep_dmat_add_diag(qep_dmat *m, double shift)
{
    QEP_REQUIRE(m->kept == NULL);
    for (int64_t l = 0; l < m->n_rows; l++)
        m->data[l * m->ld + qep_spread_row(m->spread, qep_rank(m->comm), l)] += shift;
}

void qep_dmat_set_diag_all(qep_dmat *m, const double *diag)
{
    for (int64_t l = 0; l < m->n_rows; l++) {
        const int64_t i = qep_spread_row(m->spread, qep_rank(m->comm), l);
        m->data[l * m->ld + i] = diag[i];
    }
    if (m->kept == NULL) return;
    float *kept = qep_window_data(m->kept);
    qep_window_sync_all(m->kept); /* nobody reads the former diagonal any more */
    for (int64_t i = 0; i < m->spread.n && qep_node_rank(m->comm) == 0; i++) kept[i * m->ld + i] = (float)diag[i];
    qep_window_sync_all(m->kept);
}

void qep_dmat_diag_all(const qep_dmat *m, double *diag)
{
    memset(diag, 0, (size_t)m->spread.n * sizeof *diag);
    for (int64_t l = 0; l < m->n_rows; l++) {
        const int64_t i = qep_spread_row(m->spread, qep_rank(m->comm), l);
        diag[i] = m->data[l * m->ld + i];
    }
    qep_sum_f64_all(m->comm, diag, m->spread.n); /* one rank gives the value, the others 0 */
}
