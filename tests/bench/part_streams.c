/* Forward as a run does it: each group in both streams through the model's block, then the head
 * with its figures.
 * SPDX-License-Identifier: Apache-2.0 */
#include "qep/eval.h"

#include "bench.h"

typedef struct stream_case {
    int group;
    qep_block *block;
    qep_work *work;
    float *x[2], *act[2]; /* [n_seq * tokens, hidden], [.., widest act]: both streams */
    float *in[2];         /* [tokens, hidden] */
    qep_head *head;
    int32_t *ids; /* [head_tokens] */
    int64_t head_tokens;
    float *logits;
} stream_case;

static const char *const type_names[2] = {"f32", "bf16"};

/* From the group's input to what it leaves behind, norms included; both streams, with the error
 * sums. */
static qep_status advance(bench *b, void *ctx)
{
    stream_case *c = ctx;
    const qep_arch *a = &b->model->arch;
    const int64_t T = b->opt.tokens, g = c->group;
    const int64_t act = qep_group_act_cols(a, g < 2 ? 0 : 2);
    for (int64_t s = 0; s < b->n_seq; s++) {
        qep_out_error err[QEP_MAX_MEMBERS] = {{0, 0}};
        float *x[2], *y[2];
        const float *in[2];
        for (int k = 0; k < 2; k++) {
            x[k] = c->x[k] + s * T * a->hidden;
            y[k] = c->act[k] + s * T * act;
            if (g % 2 == 0) qep_block_norm(c->block, (int)g, x[k], T, c->in[k]);
            in[k] = g % 2 == 0 ? c->in[k] : y[k];
        }
        qep_block_advance(c->block, (int)g, T, in[0], in[1], x[0], x[1], y[0], y[1], err, c->work);
    }
    return QEP_OK;
}

/* The residual streams grow with every repetition: start from the same ones. */
static qep_status restart(bench *b, void *ctx)
{
    stream_case *c = ctx;
    const int64_t n = b->n_seq * b->opt.tokens * b->model->arch.hidden;
    for (int k = 0; k < 2; k++) bench_fill(c->x[k], n, 1.0, (uint64_t)(6 + k));
    return QEP_OK;
}

/* Of both streams: products of the linears. */
static double linear_work(const bench *b, int g)
{
    const qep_arch *a = &b->model->arch;
    double weights = 0;
    for (int i = 0; i < a->group_count[g]; i++)
        weights += (double)a->linears[a->group_first[g] + i].rows *
                   (double)a->linears[a->group_first[g] + i].cols;
    return 2 * 2.0 * (double)b->total_tokens * weights;
}

/* Causal: half of the two products over all pairs of tokens. */
static double attention_work(const bench *b, int g)
{
    const qep_arch *a = &b->model->arch;
    return g == 0 ? 2 * 2.0 * (double)b->total_tokens * (double)b->opt.tokens *
                        (double)(a->n_heads * a->head_dim)
                  : 0;
}

static qep_status head(bench *b, void *ctx)
{
    stream_case *c = ctx;
    qep_eval_figures sum;
    for (int64_t s = 0; s < b->n_seq; s++) {
        const int64_t at = s * b->opt.tokens * b->model->arch.hidden;
        qep_eval_sequence(c->head, &b->model->arch, c->ids, 1, c->head_tokens, c->x[0] + at,
                          c->x[1] + at, c->work, c->logits, &sum);
    }
    return QEP_OK;
}

static qep_status time_head_all(bench *b, stream_case *c, qep_compute compute)
{
    enum { HEAD_TOKENS = 513 }; /* 512 predictions: enough chunks of logits */
    static const char name[] = "head: logits and loss";
    const qep_arch *a = &b->model->arch;
    if (!bench_wants(b, name)) return QEP_OK;
    c->head_tokens = qep_min_i64(HEAD_TOKENS, b->opt.tokens);
    QEP_TRY(qep_head_load_all(b->comm, b->model, compute, false, &c->head));
    c->logits = qep_alloc("bench", qep_eval_bytes(a, true), 1);
    c->ids = qep_alloc("bench", c->head_tokens, sizeof *c->ids);
    for (int64_t t = 0; t < c->head_tokens; t++) c->ids[t] = (int32_t)(t * 7919 % a->vocab);
    const double work = 2 * 2.0 * (double)b->opt.sequences * (double)(c->head_tokens - 1) *
                        (double)a->vocab * (double)a->hidden;
    const bench_floor floor = compute == QEP_COMPUTE_F32 ? BENCH_GEMM_F32 : BENCH_GEMM_BF16;
    qep_status st =
        bench_time_all(b, &(bench_part){name, type_names[compute], work, floor, restart, head, c});
    qep_head_destroy_all(&c->head);
    qep_free(c->logits);
    qep_free(c->ids);
    return st;
}

static qep_status time_groups_all(bench *b, stream_case *c, qep_compute compute)
{
    static const char *const names[QEP_N_GROUPS] = {"streams: norm qkv attention", "streams: o",
                                                    "streams: norm gate_up act", "streams: down"};
    const bench_floor floor = compute == QEP_COMPUTE_F32 ? BENCH_GEMM_F32 : BENCH_GEMM_BF16;
    for (int g = 0; g < QEP_N_GROUPS; g++) {
        const double attention = attention_work(b, g), work = linear_work(b, g) + attention;
        c->group = g;
        QEP_TRY(bench_time_mixed_all(
            b, &(bench_part){names[g], type_names[compute], work, floor, restart, advance, c},
            attention));
    }
    return QEP_OK;
}

/* Odd groups read the activations of the group before: with --only they may not have run, so these
 * start as noise. */
static qep_status time_compute_all(bench *b, qep_compute compute)
{
    const qep_arch *a = &b->model->arch;
    const int64_t T = b->opt.tokens, n = b->n_seq * T;
    const int64_t act = qep_max_i64(qep_group_act_cols(a, 0), qep_group_act_cols(a, 2));
    stream_case c = {.block = qep_block_create_all(b->comm, b->model, compute, true),
                     .work = qep_work_create(a, compute, T)};
    qep_status st;
    for (int k = 0; k < 2; k++) {
        c.x[k] = qep_alloc("bench", n * a->hidden, sizeof *c.x[k]);
        c.act[k] = bench_noise(n * act, 1.0, (uint64_t)(8 + k));
        c.in[k] = qep_alloc("bench", T * a->hidden, sizeof *c.in[k]);
    }
    QEP_GO(st, qep_block_load_all(c.block, 0));
    QEP_GO(st, time_groups_all(b, &c, compute));
    QEP_GO(st, time_head_all(b, &c, compute));
done:
    for (int k = 0; k < 2; k++) {
        qep_free(c.x[k]);
        qep_free(c.act[k]);
        qep_free(c.in[k]);
    }
    qep_work_destroy(&c.work);
    qep_block_destroy_all(&c.block);
    return st;
}

qep_status bench_streams_all(bench *b)
{
    if (!bench_wants_section(b, "streams") && !bench_wants_section(b, "head")) return QEP_OK;
    if (b->opt.f32) QEP_TRY(time_compute_all(b, QEP_COMPUTE_F32));
    if (b->opt.bf16) QEP_TRY(time_compute_all(b, QEP_COMPUTE_BF16));
    return QEP_OK;
}
