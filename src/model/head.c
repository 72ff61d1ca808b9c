/* Final norm and output head, once per node.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model_priv.h"

#include <string.h>

struct qep_head {
    qep_comm *comm;         /* borrowed */
    const qep_model *model; /* borrowed */
    qep_compute compute;
    bool with_q;
    qep_window *window[2]; /* by stream */
    qep_weight lm_head[2]; /* [vocab, hidden] */
    float *norm[2];        /* [hidden] by stream, behind the full-precision head */
};

int64_t qep_head_bytes(const qep_arch *a, qep_compute compute, qep_stream s)
{
    const int64_t norms = s == QEP_STREAM_FP ? 2 * a->hidden * (int64_t)sizeof(float) : 0;
    return qep_weight_bytes(a->vocab, a->hidden, compute) + norms;
}

static qep_head *create_all(qep_comm *c, const qep_model *m, qep_compute compute, bool with_q)
{
    static const char *const names[2] = {"model.head", "model.head.q"};
    const qep_arch *a = &m->arch;
    const int64_t weight = qep_weight_bytes(a->vocab, a->hidden, compute);
    qep_head *h = qep_alloc("model.head", 1, sizeof *h);
    *h = (qep_head){.comm = c, .model = m, .compute = compute, .with_q = with_q};
    for (int s = 0; s < 1 + with_q; s++) {
        h->window[s] = qep_window_create_all(c, names[s], qep_head_bytes(a, compute, (qep_stream)s));
        h->lm_head[s] = (qep_weight){.window = h->window[s],
                                     .rows = a->vocab,
                                     .cols = a->hidden,
                                     .type = qep_compute_dtype(compute)};
    }
    h->norm[QEP_STREAM_FP] = (float *)(void *)((char *)qep_window_data(h->window[QEP_STREAM_FP]) + weight);
    h->norm[QEP_STREAM_Q] = h->norm[QEP_STREAM_FP] + a->hidden;
    return h;
}

/* My share of the node's reading. */
static qep_status load_part(qep_head *h)
{
    const qep_model *m = h->model;
    int64_t row0, n;
    qep_partition(m->arch.vocab, qep_node_size(h->comm), qep_node_rank(h->comm), &row0, &n);
    QEP_TRY(qep_weight_load(m, m->arch.tied ? qep_module_embed : qep_module_lm_head,
                            &h->lm_head[QEP_STREAM_FP],
                            h->with_q ? &h->lm_head[QEP_STREAM_Q] : NULL, row0, n));
    if (qep_node_rank(h->comm) != 0) return QEP_OK;
    QEP_TRY(qep_model_read_norm(m, m->final_norm, m->arch.hidden, h->norm[QEP_STREAM_FP]));
    memcpy(h->norm[QEP_STREAM_Q], h->norm[QEP_STREAM_FP], (size_t)m->arch.hidden * sizeof(float));
    return QEP_OK;
}

qep_status qep_head_load_all(qep_comm *c, const qep_model *m, qep_compute compute, bool with_q,
                             qep_head **out)
{
    qep_head *h = create_all(c, m, compute, with_q);
    qep_status st = qep_agree_all(c, load_part(h));
    for (int s = 0; s < 1 + with_q; s++) qep_window_sync_all(h->window[s]);
    if (st != QEP_OK) qep_head_destroy_all(&h);
    *out = h;
    return st;
}

void qep_head_destroy_all(qep_head **head)
{
    qep_head *h = *head;
    if (!h) return;
    for (int s = 0; s < 2; s++) qep_window_destroy_all(&h->window[s]);
    qep_free(h);
    *head = NULL;
}

void qep_head_put_rows(qep_head *h, int64_t row0, int64_t n, const float *values)
{
    QEP_REQUIRE(h->with_q);
    qep_weight_put(&h->lm_head[QEP_STREAM_Q], row0, n, values);
}

void qep_head_share_all(qep_head *h, const int64_t *begin, const int64_t *count)
{
    QEP_REQUIRE(h->with_q);
    qep_weight_share_all(h->comm, &h->lm_head[QEP_STREAM_Q], begin, count);
}

void qep_head_set_norm_all(qep_head *h, const float *w)
{
    qep_window_sync_all(h->window[QEP_STREAM_FP]);
    if (qep_node_rank(h->comm) == 0) memcpy(h->norm[QEP_STREAM_Q], w, (size_t)h->model->arch.hidden * sizeof *w);
    qep_window_sync_all(h->window[QEP_STREAM_FP]);
}

const float *qep_head_norm_weight(const qep_head *h, qep_stream s)
{
    return h->norm[s];
}

void qep_head_norm(const qep_head *h, qep_stream s, const float *x, int64_t T, float *out)
{
    qep_rmsnorm(out, x, h->norm[s], T, h->model->arch.hidden, h->model->arch.eps);
}

void qep_head_product(const qep_head *h, qep_stream s, const float *a, int64_t T, float *y,
                      qep_work *w)
{
    QEP_REQUIRE(T <= w->max_tokens && w->compute == h->compute);
    const void *x = qep_work_input(w, s, a, T * h->model->arch.hidden);
    const qep_stream use = s == QEP_STREAM_Q && h->with_q ? QEP_STREAM_Q : QEP_STREAM_FP;
    qep_weight_product(&h->lm_head[use], 0, h->model->arch.vocab, x, T, y);
}

void qep_head_logits(const qep_head *h, qep_stream s, const float *a, int64_t T, float *logits,
                     qep_work *w)
{
    const qep_arch *arch = &h->model->arch;
    qep_head_product(h, s, a, T, logits, w);
    if (arch->logit_cap > 0.0) qep_softcap(logits, T * arch->vocab, (float)arch->logit_cap);
}

void qep_head_back(const qep_head *h, qep_stream s, const float *r, int64_t T, void *scratch, float *g)
{
    const qep_arch *a = &h->model->arch;
    const qep_weight *w = &h->lm_head[s == QEP_STREAM_Q && h->with_q ? QEP_STREAM_Q : QEP_STREAM_FP];
    const void *data = (const char *)qep_window_data(w->window) + w->offset;
    if (w->type == QEP_F32) {
        qep_linear_back_f32(g, r, data, T, a->hidden, a->vocab);
        return;
    }
    qep_from_f32(scratch, QEP_BF16, r, T * a->vocab);
    qep_linear_back_bf16(g, scratch, data, T, a->hidden, a->vocab);
}
