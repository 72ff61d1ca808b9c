/* The residual streams of my sequences and the buffers to run one sequence at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#include "run_priv.h"

/* Columns of the mlp's activations between groups 2 and 3: those of experts are never kept. */
static int64_t mlp_act(const qep_arch *a)
{
    return a->n_sparse < a->n_blocks ? qep_group_act_cols(a, 2) : 0;
}

int64_t qep_run_kept_act(const qep_arch *a, bool keep_act)
{
    return keep_act ? qep_max_i64(qep_group_act_cols(a, 0), mlp_act(a)) : qep_group_act_cols(a, 0);
}

int64_t qep_run_widest_act(const qep_arch *a)
{
    return qep_max_i64(qep_run_kept_act(a, true), a->expert_inter);
}

/* For the sums of a linear's group: with C as its settings ask, and, of experts, which borrow, without it too. */
static int64_t sums_bytes(const qep_run *r, int64_t linear, bool want_c, bool keep_act)
{
    const qep_export_linear *l = &r->linears[linear];
    qep_stats_plan p = qep_run_stats_plan(r, l->cols, 1, want_c, keep_act);
    if (want_c && qep_layer_needs_gamma(&r->linear_cfg[linear])) p.gamma_rows = l->rows;
    return qep_stats_window_bytes(&p);
}

/* For a round of experts side by side. */
static int64_t round_bytes(const qep_run *r, int64_t cols, bool want_c, bool keep_act)
{
    const qep_stats_plan p = qep_run_stats_plan(r, cols, 1, want_c, keep_act);
    return qep_stats_many_bytes(&p, qep_min_i64(qep_stats_many_at_once(&p, QEP_EXPERTS_ROOM), qep_run_experts_batch(r, cols)));
}

static int64_t statistics_bytes(const qep_run *r, int64_t linear, bool expert, bool keep_act)
{
    const int64_t cols = r->linears[linear].cols;
    int64_t bytes = 0;
    if (!qep_layer_needs_h(&r->linear_cfg[linear])) return 0;
    for (int k = 0; k <= (expert ? 1 : 0); k++) {
        const bool want_c = k == 0 && qep_layer_needs_c(&r->linear_cfg[linear]);
        bytes = qep_max_i64(bytes, sums_bytes(r, linear, want_c, keep_act));
        if (expert && qep_run_experts_apart(r, cols)) bytes = qep_max_i64(bytes, round_bytes(r, cols, want_c, keep_act));
    }
    return bytes;
}

static int64_t linear_bytes(const qep_run *r, int64_t linear, bool expert, bool keep_act)
{
    const qep_export_linear *l = &r->linears[linear];
    return l->quantized ? qep_max_i64(qep_layer_stream_bytes(&l->spec, l->cols), statistics_bytes(r, linear, expert, keep_act)) : 0;
}

int64_t qep_run_stream_bytes(const qep_run *r, bool keep_act)
{
    const qep_arch *a = &r->model->arch;
    int64_t bytes = 64;
    for (int64_t b = 0; b < a->n_blocks && r->n_linears > 0; b++)
        for (int k = 0; k < qep_arch_n_linears(a, b); k++) {
            const bool expert = qep_arch_sparse(a, b) && k >= qep_arch_expert_linear(a, 0, 0);
            bytes = qep_max_i64(bytes, linear_bytes(r, qep_run_linear_index(r, b, k), expert, keep_act));
        }
    return r->n_linears > 0 ? qep_max_i64(bytes, linear_bytes(r, r->n_linears - 1, false, keep_act)) : bytes; /* the head, where it is a candidate */
}

void qep_run_start_streams_all(qep_run *r)
{
    const qep_arch *a = &r->model->arch;
    /* rounding without any sequence needs no tokens, but the scratch has a size */
    int64_t tokens = r->seq_offset[r->n_mine], longest = qep_max_i64(1, r->corpus->max_length);
    int64_t kept = r->seq_offset[r->n_grouped] * qep_run_kept_act(a, r->keep_act);
    r->x_fp = qep_alloc("streams.fp", tokens * a->hidden, sizeof *r->x_fp);
    r->in_fp = qep_alloc("run.sequence", longest * a->hidden, sizeof *r->in_fp);
    r->one_fp = qep_alloc("run.sequence", longest * qep_run_widest_act(a), sizeof *r->one_fp);
    if (r->quantizes) {
        r->x_q = qep_alloc("streams.q", tokens * a->hidden, sizeof *r->x_q);
        r->act_fp = qep_alloc("streams.act", kept, sizeof *r->act_fp);
        r->act_q = qep_alloc("streams.act", kept, sizeof *r->act_q);
        r->in_q = qep_alloc("run.sequence", longest * a->hidden, sizeof *r->in_q);
        r->one_q = qep_alloc("run.sequence", longest * qep_run_widest_act(a), sizeof *r->one_q);
    }
    r->work = qep_work_create(a, r->compute, longest);
    r->block = qep_block_create_all(r->comm, r->model, r->compute, r->quantizes);
    r->stream = qep_window_create_all(r->comm, "solve.stream", qep_run_stream_bytes(r, r->keep_act));
    if (r->apart) r->stream_alone = qep_window_create_all(qep_comm_alone(r->comm), "experts.stream", qep_run_experts_stream(r));
}

static qep_status embed(qep_run *r)
{
    int64_t d = r->model->arch.hidden;
    for (int64_t i = 0; i < r->n_mine; i++)
        QEP_TRY(qep_model_embed(r->model, r->corpus->ids[i], r->seq_tokens[i], r->x_fp + r->seq_offset[i] * d));
    if (r->x_q) qep_copy(r->x_q, r->x_fp, r->seq_offset[r->n_mine] * d * (int64_t)sizeof *r->x_q);
    return QEP_OK;
}

qep_status qep_run_embed_all(qep_run *r)
{
    return qep_agree_all(r->comm, embed(r));
}
