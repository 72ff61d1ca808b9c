/* One block's weights in two windows per node: full precision (with norms and biases) and
 * quantized.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model_priv.h"

static const char *const window_names[2] = {"model.block.fp", "model.block.q"};

static int64_t vector_bytes(int64_t n)
{
    return qep_round_up(n * (int64_t)sizeof(float), 64);
}

void qep_block_bytes(const qep_arch *a, qep_compute compute, int64_t *fp, int64_t *q)
{
    *q = 0;
    *fp = QEP_N_NORMS * vector_bytes(a->hidden);
    for (int r = 0; r < QEP_N_ROLES; r++) {
        const qep_linear_shape *l = &a->linears[r];
        *q += qep_weight_bytes(l->rows, l->cols, compute);
        if (l->bias) *fp += vector_bytes(l->rows);
    }
    *fp += *q;
}

/* The linears at the start of each window, at the same offsets in both; then, in the first, norms
 * and biases. */
static void lay_out(qep_block *b)
{
    const qep_arch *a = &b->model->arch;
    int64_t at = 0;
    for (int r = 0; r < QEP_N_ROLES; r++) {
        const qep_linear_shape *l = &a->linears[r];
        for (int s = 0; s < 2; s++)
            b->linears[s][r] = (qep_weight){.window = b->window[s],
                                            .offset = at,
                                            .rows = l->rows,
                                            .cols = l->cols,
                                            .type = qep_compute_dtype(b->compute)};
        at += qep_weight_bytes(l->rows, l->cols, b->compute);
    }
    char *data = qep_window_data(b->window[QEP_STREAM_FP]);
    for (int n = 0; n < QEP_N_NORMS; n++, at += vector_bytes(a->hidden))
        b->norms[n] = (float *)(void *)(data + at);
    for (int r = 0; r < QEP_N_ROLES; r++) {
        if (!a->linears[r].bias) continue;
        b->biases[r] = (float *)(void *)(data + at);
        at += vector_bytes(a->linears[r].rows);
    }
}

qep_block *qep_block_create_all(qep_comm *c, const qep_model *m, qep_compute compute, bool with_q)
{
    int64_t bytes[2];
    qep_block_bytes(&m->arch, compute, &bytes[QEP_STREAM_FP], &bytes[QEP_STREAM_Q]);
    qep_block *b = qep_alloc("model.block", 1, sizeof *b);
    *b = (qep_block){.comm = c, .model = m, .compute = compute, .with_q = with_q, .index = -1};
    for (int s = 0; s < 1 + with_q; s++)
        b->window[s] = qep_window_create_all(c, window_names[s], bytes[s]);
    lay_out(b);
    return b;
}

void qep_block_destroy_all(qep_block **block)
{
    qep_block *b = *block;
    if (!b) return;
    for (int s = 0; s < 2; s++) qep_window_destroy_all(&b->window[s]);
    qep_free(b);
    *block = NULL;
}

int64_t qep_block_index(const qep_block *b)
{
    return b->index;
}

static void sync_all(qep_block *b)
{
    for (int s = 0; s < 1 + b->with_q; s++) qep_window_sync_all(b->window[s]);
}

/* My share of the node's reading: rows of every linear. */
static qep_status load_linears(qep_block *b, int64_t index)
{
    const qep_comm *c = b->comm;
    for (int r = 0; r < QEP_N_ROLES; r++) {
        char module[QEP_NAME_CAP];
        int64_t row0, n;
        qep_model_linear_name(b->model, index, (qep_role)r, module, sizeof module);
        qep_partition(b->linears[0][r].rows, qep_node_size(c), qep_node_rank(c), &row0, &n);
        QEP_TRY(qep_weight_load(b->model, module, &b->linears[QEP_STREAM_FP][r],
                                b->with_q ? &b->linears[QEP_STREAM_Q][r] : NULL, row0, n));
    }
    return QEP_OK;
}

/* Norms and biases are small: the node's first rank reads them. */
static qep_status load_vectors(qep_block *b, int64_t index)
{
    const qep_model *m = b->model;
    if (qep_node_rank(b->comm) != 0) return QEP_OK;
    for (int n = 0; n < QEP_N_NORMS; n++) {
        const qep_st_tensor *t = qep_model_norm_tensor(m, index, n);
        QEP_TRY(qep_st_read_rows_f32(m->files, t, 0, m->arch.hidden, b->norms[n]));
    }
    for (int r = 0; r < QEP_N_ROLES; r++) {
        if (!b->biases[r]) continue;
        const qep_st_tensor *t = qep_model_linear_tensor(m, index, (qep_role)r, "bias");
        QEP_TRY(qep_st_read_rows_f32(m->files, t, 0, m->arch.linears[r].rows, b->biases[r]));
    }
    return QEP_OK;
}

qep_status qep_block_load_all(qep_block *b, int64_t index)
{
    QEP_REQUIRE(index >= 0 && index < b->model->arch.n_blocks);
    b->index = -1;
    sync_all(b); /* the others of the node may still be reading the previous block */
    qep_status st = load_linears(b, index);
    if (st == QEP_OK) st = load_vectors(b, index);
    st = qep_agree_all(b->comm, st);
    sync_all(b);
    if (st == QEP_OK) b->index = index;
    return st;
}

void qep_block_put_rows(qep_block *b, qep_role role, int64_t row0, int64_t n, const float *values)
{
    QEP_REQUIRE(b->with_q);
    qep_weight_put(&b->linears[QEP_STREAM_Q][role], row0, n, values);
}

void qep_block_share_all(qep_block *b, qep_role role, const int64_t *begin, const int64_t *count)
{
    QEP_REQUIRE(b->with_q);
    qep_weight_share_all(b->comm, &b->linears[QEP_STREAM_Q][role], begin, count);
}

void qep_block_norm(const qep_block *b, int g, const float *x, int64_t T, float *out)
{
    QEP_REQUIRE(b->index >= 0 && (g == 0 || g == 2));
    const qep_arch *a = &b->model->arch;
    qep_rmsnorm(out, x, b->norms[g / 2], T, a->hidden, a->eps);
}
