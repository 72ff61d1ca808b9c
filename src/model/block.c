/* One block's weights in two windows per node: full precision (with norms and biases) and
 * quantized.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model_priv.h"

#include <string.h>

static const char *const window_names[2] = {"model.block.fp", "model.block.q"};

static int64_t vector_bytes(int64_t n)
{
    return qep_round_up(n * (int64_t)sizeof(float), 64);
}

/* Some block has the linears of groups 2 and 3 once, without experts. */
static bool has_linear(const qep_arch *a, int linear)
{
    return a->linears[linear].group < 2 || a->n_sparse < a->n_blocks;
}

void qep_block_bytes(const qep_arch *a, qep_compute compute, int64_t *fp, int64_t *q)
{
    *q = a->n_experts * (2 * qep_weight_bytes(a->expert_inter, a->hidden, compute) + qep_weight_bytes(a->hidden, a->expert_inter, compute));
    *fp = vector_bytes(a->n_experts * a->hidden);
    for (int n = 0; n < QEP_N_NORMS; n++) {
        if (a->norms[n].name) *fp += vector_bytes(a->norms[n].size);
    }
    for (int i = 0; i < a->n_linears; i++) {
        const qep_linear_shape *l = &a->linears[i];
        if (has_linear(a, i)) *q += qep_weight_bytes(l->rows, l->cols, compute);
        if (l->bias) *fp += vector_bytes(l->rows);
    }
    *fp += *q;
}

/* The next weight of both windows; the end of what is laid out so far moves on. */
static void place(qep_block *b, qep_weight *fp, qep_weight *q, int64_t rows, int64_t cols, int64_t *at)
{
    *fp = (qep_weight){.window = b->window[QEP_STREAM_FP], .offset = *at, .rows = rows, .cols = cols, .type = qep_compute_dtype(b->compute)};
    *q = *fp;
    q->window = b->window[QEP_STREAM_Q];
    *at += qep_weight_bytes(rows, cols, b->compute);
}

/* All gates and ups, then all downs: the experts of neighbouring ranks are neighbours in the group that they are working on. */
static void place_experts(qep_block *b, int64_t *at)
{
    const qep_arch *a = &b->model->arch;
    if (a->n_experts == 0) return;
    for (int s = 0; s < 2; s++) b->experts[s] = qep_alloc("model.block", 3 * a->n_experts, sizeof *b->experts[s]);
    for (int64_t i = 0; i < 3 * a->n_experts; i++)
        if (i % 3 < 2) place(b, &b->experts[0][i], &b->experts[1][i], a->expert_inter, a->hidden, at);
    for (int64_t i = 2; i < 3 * a->n_experts; i += 3) place(b, &b->experts[0][i], &b->experts[1][i], a->hidden, a->expert_inter, at);
}

/* The linears at the start of each window, at the same offsets in both; then, in the first, router, norms
 * and biases. */
static void lay_out(qep_block *b)
{
    const qep_arch *a = &b->model->arch;
    int64_t at = 0;
    for (int i = 0; i < a->n_linears; i++) {
        const qep_linear_shape *l = &a->linears[i];
        if (has_linear(a, i)) place(b, &b->linears[0][i], &b->linears[1][i], l->rows, l->cols, &at);
    }
    place_experts(b, &at);
    char *data = qep_window_data(b->window[QEP_STREAM_FP]);
    if (a->n_experts > 0) b->router = (float *)(void *)(data + at);
    at += vector_bytes(a->n_experts * a->hidden);
    for (int n = 0; n < QEP_N_NORMS; n++) {
        if (!a->norms[n].name) continue;
        b->norms[n] = (float *)(void *)(data + at);
        at += vector_bytes(a->norms[n].size);
    }
    for (int i = 0; i < a->n_linears; i++) {
        if (!a->linears[i].bias) continue;
        b->biases[i] = (float *)(void *)(data + at);
        at += vector_bytes(a->linears[i].rows);
    }
}

/* Linear number `linear` of the loaded block. */
static const qep_weight *weight_of(const qep_block *b, qep_stream s, int64_t block, int linear)
{
    const qep_arch *a = &b->model->arch;
    const bool expert = linear >= a->group_first[2] && qep_arch_sparse(a, block);
    return expert ? &b->experts[s][linear - a->group_first[2]] : &b->linears[s][linear];
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
    for (int s = 0; s < 2; s++) {
        qep_window_destroy_all(&b->window[s]);
        qep_free(b->experts[s]);
    }
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
    for (int i = 0; i < qep_arch_n_linears(&b->model->arch, index); i++) {
        const qep_weight *fp = weight_of(b, QEP_STREAM_FP, index, i);
        char module[QEP_NAME_CAP];
        int64_t row0, n;
        qep_model_linear_name(b->model, index, i, module, sizeof module);
        qep_partition(fp->rows, qep_node_size(c), qep_node_rank(c), &row0, &n);
        QEP_TRY(qep_weight_load(b->model, module, fp, b->with_q ? weight_of(b, QEP_STREAM_Q, index, i) : NULL,
                                row0, n));
    }
    return QEP_OK;
}

/* Norms and biases are small: the node's first rank reads them. */
static qep_status load_vectors(qep_block *b, int64_t index)
{
    const qep_model *m = b->model;
    for (int n = 0; n < QEP_N_NORMS; n++) {
        if (!b->norms[n]) continue;
        const qep_st_tensor *t = qep_model_norm_tensor(m, index, n);
        QEP_TRY(qep_model_read_norm(m, t, m->arch.norms[n].size, b->norms[n]));
    }
    if (qep_arch_sparse(&m->arch, index)) {
        char name[QEP_NAME_CAP];
        const qep_st_tensor *t = qep_st_find(m->files, qep_model_router_name(m, index, name, sizeof name));
        QEP_TRY(qep_st_read_rows_f32(m->files, t, 0, m->arch.n_experts, b->router));
    }
    for (int i = 0; i < m->arch.n_linears; i++) {
        if (!b->biases[i]) continue;
        const qep_st_tensor *t = qep_model_linear_tensor(m, index, i, "bias");
        QEP_TRY(qep_st_read_rows_f32(m->files, t, 0, m->arch.linears[i].rows, b->biases[i]));
    }
    return QEP_OK;
}

qep_status qep_block_load_all(qep_block *b, int64_t index)
{
    QEP_REQUIRE(index >= 0 && index < b->model->arch.n_blocks);
    b->index = -1;
    sync_all(b); /* the others of the node may still be reading the previous block */
    qep_status st = load_linears(b, index);
    if (st == QEP_OK && qep_node_rank(b->comm) == 0) st = QEP_ALONE("norms", load_vectors(b, index));
    st = qep_agree_all(b->comm, st);
    sync_all(b);
    if (st == QEP_OK) b->index = index;
    return st;
}

void qep_block_expect(const qep_block *b, int64_t index)
{
    const qep_comm *c = b->comm;
    for (int i = 0; i < qep_arch_n_linears(&b->model->arch, index); i++) {
        char module[QEP_NAME_CAP];
        qep_model_linear_name(b->model, index, i, module, sizeof module);
        qep_weight_expect(b->model, module, qep_node_size(c), qep_node_rank(c));
    }
}

void qep_block_put_rows(qep_block *b, int linear, int64_t row0, int64_t n, const float *values)
{
    QEP_REQUIRE(b->with_q);
    qep_weight_put(weight_of(b, QEP_STREAM_Q, b->index, linear), row0, n, values);
}

void qep_block_share_all(qep_block *b, int linear, const int64_t *begin, const int64_t *count)
{
    QEP_REQUIRE(b->with_q);
    qep_weight_share_all(b->comm, weight_of(b, QEP_STREAM_Q, b->index, linear), begin, count);
}

void qep_block_share_experts_all(qep_block *b, int g, const int64_t *expert)
{
    const int ranks = qep_size(b->comm);
    int64_t *begin = qep_alloc("model.share", 2 * (int64_t)ranks, sizeof *begin), *count = begin + ranks;
    QEP_REQUIRE(b->with_q && (g == 2 || g == 3));
    for (int r = 0; r < ranks; r++) {
        if (expert[r] < 0) continue;
        const qep_weight *first = &b->experts[QEP_STREAM_Q][3 * expert[r] + (g == 2 ? 0 : 2)], *last = g == 2 ? first + 1 : first;
        begin[r] = first->offset;
        count[r] = last->offset + qep_weight_bytes(last->rows, last->cols, b->compute) - first->offset;
    }
    qep_window_merge_all(b->window[QEP_STREAM_Q], begin, count);
    qep_free(begin);
}

void qep_block_norm(const qep_block *b, int g, const float *x, int64_t T, float *out)
{
    QEP_REQUIRE(b->index >= 0 && (g == 0 || g == 2));
    const qep_arch *a = &b->model->arch;
    const float *w = b->norms[g == 0 ? QEP_NORM_ATTN_IN : QEP_NORM_MLP_IN];
    if (w)
        qep_rmsnorm(out, x, w, T, a->hidden, a->eps);
    else
        memcpy(out, x, (size_t)(T * a->hidden) * sizeof *out);
}
