/* The program's forward pass of a whole model on every rank, both streams with the model's weights, for tests that compare it with
 * something else.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_FORWARD_H
#define QEP_FORWARD_H
#include "qep_test.h"
#include "../../../src/model/model_priv.h" /* the rotary tables of the work object */

typedef struct forward {
    qep_comm *comm;
    qep_model *model;
    qep_compute compute;
    int64_t n_seq, T;
    float *x, *xq; /* [n_seq, T, hidden] */
    float *in, *inq, *act, *actq;
    qep_block *block;
    qep_work *work;
} forward;

/* What is there after the embedding (stage 0) and after each block (1 ..): values[n] = [n_seq, T, hidden]; at last (-1) the logits. */
typedef void forward_stage(void *ctx, int64_t stage, const float *values, int64_t n);

static inline void forward_open(forward *f, qep_comm *c, const char *dir, qep_compute compute, int64_t n_seq, int64_t T)
{
    *f = (forward){.comm = c, .compute = compute, .n_seq = n_seq, .T = T};
    assert_ok(qep_model_open_all(c, dir, &f->model));
    assert_ok(qep_model_scan_all(c, f->model));
    const qep_arch *a = &f->model->arch;
    const int64_t wide = qep_max_i64(a->inter, a->n_heads * a->head_dim);
    f->x = qep_alloc("test", n_seq * T * a->hidden, sizeof(float));
    f->xq = qep_alloc("test", n_seq * T * a->hidden, sizeof(float));
    f->in = qep_alloc("test", T * a->hidden, sizeof(float));
    f->inq = qep_alloc("test", T * a->hidden, sizeof(float));
    f->act = qep_alloc("test", T * wide, sizeof(float));
    f->actq = qep_alloc("test", T * wide, sizeof(float));
    f->work = qep_work_create(a, compute, T);
    f->block = qep_block_create_all(c, f->model, compute, true);
}

static inline void forward_close(forward *f)
{
    qep_block_destroy_all(&f->block);
    qep_work_destroy(&f->work);
    float *const arrays[] = {f->x, f->xq, f->in, f->inq, f->act, f->actq};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) qep_free(arrays[i]);
    qep_model_close(&f->model);
}

/* Both streams of sequence s through the loaded block; equal weights must give equal streams. */
static inline void forward_block(forward *f, int64_t s)
{
    const qep_arch *a = &f->model->arch;
    float *x = f->x + s * f->T * a->hidden, *xq = f->xq + s * f->T * a->hidden;
    const bool sparse = qep_arch_sparse(a, qep_block_index(f->block));
    for (int g = 0; g < (sparse ? 2 : QEP_N_GROUPS); g++) {
        qep_out_error err[QEP_MAX_MEMBERS] = {{0.0, 0.0}};
        const bool normed = g == 0 || g == 2;
        if (normed) {
            qep_block_norm(f->block, g, x, f->T, f->in);
            qep_block_norm(f->block, g, xq, f->T, f->inq);
        }
        qep_block_advance(f->block, g, f->T, normed ? f->in : f->act, normed ? f->inq : f->actq, x, xq, f->act, f->actq, err, f->work);
        for (int i = 0; i < a->group_count[g]; i++) {
            assert_true(err[i].diff == 0.0);
            assert_true(err[i].ref > 0.0);
        }
    }
    for (int q = 0; q < 2 && sparse; q++) {
        float *to = q ? xq : x;
        qep_block_norm(f->block, 2, to, f->T, f->in);
        qep_block_experts(f->block, (qep_stream)q, f->in, f->T, to, f->work);
    }
    assert_memory_equal(x, xq, (size_t)(f->T * a->hidden) * sizeof *x);
}

static inline void forward_head(forward *f, forward_stage *stage, void *ctx)
{
    const qep_arch *a = &f->model->arch;
    qep_head *head = NULL;
    assert_ok(qep_head_load_all(f->comm, f->model, f->compute, false, &head));
    float *logits = qep_alloc("test", f->n_seq * f->T * a->vocab, sizeof *logits);
    for (int64_t s = 0; s < f->n_seq; s++) {
        qep_head_norm(head, QEP_STREAM_FP, f->x + s * f->T * a->hidden, f->T, f->in);
        qep_head_logits(head, QEP_STREAM_FP, f->in, f->T, logits + s * f->T * a->vocab, f->work);
    }
    stage(ctx, -1, logits, f->n_seq * f->T * a->vocab);
    qep_free(logits);
    qep_head_destroy_all(&head);
}

/* ids: [n_seq, T]. */
static inline void forward_run(forward *f, const int32_t *ids, forward_stage *stage, void *ctx)
{
    const qep_arch *a = &f->model->arch;
    const int64_t n = f->n_seq * f->T * a->hidden;
    assert_ok(qep_model_embed(f->model, ids, f->n_seq * f->T, f->x));
    memcpy(f->xq, f->x, (size_t)n * sizeof *f->x);
    stage(ctx, 0, f->x, n);
    for (int64_t b = 0; b < a->n_blocks; b++) {
        assert_ok(qep_block_load_all(f->block, b));
        for (int64_t s = 0; s < f->n_seq; s++) forward_block(f, s);
        stage(ctx, b + 1, f->x, n);
    }
    forward_head(f, stage, ctx);
}

/* Error relative to the standard deviation of what should be there: the largest, and the root mean square. */
typedef struct deviation {
    double max, rms;
} deviation;

/* NaN counts as larger than any number. */
static inline deviation deviation_of(const float *have, const double *want, int64_t n)
{
    double sum = 0.0, squares = 0.0, error = 0.0, max = 0.0;
    for (int64_t i = 0; i < n; i++) {
        const double d = fabs((double)have[i] - want[i]);
        sum += want[i];
        squares += want[i] * want[i];
        error += d * d;
        if (!(d <= max)) max = d;
    }
    const double mean = sum / (double)n, std = sqrt(squares / (double)n - mean * mean);
    return (deviation){max / std, sqrt(error / (double)n) / std};
}

static inline void worsen(deviation *worst, deviation d)
{
    if (!(d.max <= worst->max)) worst->max = d.max;
    if (!(d.rms <= worst->rms)) worst->rms = d.rms;
}
#endif
