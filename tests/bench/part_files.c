/* Checkpoint, a block's weights and embedding rows from the files.
 * SPDX-License-Identifier: Apache-2.0 */
#include "qep/store.h"

#include "bench.h"

typedef struct file_case {
    char *path;      /* of the checkpoint */
    float *x[2];     /* both residual streams of my sequences: [n_seq * tokens, hidden] */
    int64_t row0, n; /* my tokens */
    qep_block *block;
    int32_t *ids;
} file_case;

static const char *const stream_names[2] = {"calibration.fp", "calibration.q"};

static qep_status save(bench *b, void *ctx)
{
    file_case *c = ctx;
    qep_store *s = NULL;
    qep_status st;
    QEP_GO(st, qep_store_create_all(b->comm, c->path, &s));
    for (int k = 0; k < 2; k++)
        QEP_GO(st,
               qep_store_put_all(s, stream_names[k], "residual stream, one row per token", "1",
                                 QEP_F32, b->total_tokens, b->opt.hidden, c->row0, c->n, c->x[k]));
    st = qep_store_seal_all(&s, 2);
done:
    qep_store_close_all(&s);
    return st;
}

static qep_status load(bench *b, void *ctx)
{
    file_case *c = ctx;
    qep_store *s = NULL;
    qep_status st;
    QEP_GO(st, qep_store_open_all(b->comm, c->path, &s));
    for (int k = 0; k < 2; k++)
        QEP_GO(st, qep_store_get_all(s, stream_names[k], QEP_F32, b->total_tokens, b->opt.hidden,
                                     c->row0, c->n, c->x[k]));
done:
    qep_store_close_all(&s);
    return st;
}

static qep_status load_block(bench *b, void *ctx)
{
    (void)b;
    return qep_block_load_all(((file_case *)ctx)->block, 0);
}

static qep_status embed(bench *b, void *ctx)
{
    file_case *c = ctx;
    return qep_model_embed(b->model, c->ids, c->n, c->x[0]);
}

static qep_status time_checkpoint_all(bench *b, file_case *c)
{
    const double bytes = 2.0 * 4 * (double)b->total_tokens * (double)b->opt.hidden;
    if (!bench_wants_section(b, "checkpoint")) return QEP_OK;
    QEP_TRY(bench_time_all(
        b, &(bench_part){"checkpoint: write and seal", "f32", bytes, BENCH_SYNC, NULL, save, c}));
    QEP_TRY(save(b, c)); /* --only may have left it out */
    QEP_TRY(bench_time_all(
        b, &(bench_part){"checkpoint: read", "f32", bytes, BENCH_READ, NULL, load, c}));
    return qep_store_remove_all(b->comm, c->path);
}

/* Bytes of a block's linears in the files. */
static double block_bytes(const bench *b)
{
    double bytes = 0;
    for (int role = 0; role < QEP_N_ROLES; role++)
        bytes += (double)qep_model_linear_tensor(b->model, 0, (qep_role)role, "weight")->bytes;
    return bytes;
}

static qep_status time_block_all(bench *b, file_case *c, qep_compute compute, const char *type)
{
    if (!bench_wants_section(b, "read")) return QEP_OK;
    c->block = qep_block_create_all(b->comm, b->model, compute, true);
    qep_status st =
        bench_time_all(b, &(bench_part){"read: a block, both streams", type, block_bytes(b),
                                        BENCH_READ, NULL, load_block, c});
    qep_block_destroy_all(&c->block);
    return st;
}

static qep_status time_embedding_all(bench *b, file_case *c)
{
    const qep_st_tensor *t = b->model->embed;
    const double bytes = (double)b->total_tokens * (double)t->bytes / (double)t->shape[0];
    qep_rng r;
    qep_rng_seed(&r, 30 + (uint64_t)qep_rank(b->comm));
    for (int64_t i = 0; i < c->n; i++)
        c->ids[i] = (int32_t)(qep_rng_u64(&r) % (uint64_t)b->opt.vocab);
    return bench_time_all(
        b, &(bench_part){"read: embedding", "f32", bytes, BENCH_READ, NULL, embed, c});
}

qep_status bench_files_all(bench *b)
{
    int64_t first, n_seq;
    qep_partition(b->opt.sequences, qep_size(b->comm), qep_rank(b->comm), &first, &n_seq);
    file_case c = {.path = qep_path_join(b->work_dir, "checkpoint.h5"),
                   .row0 = first * b->opt.tokens,
                   .n = n_seq * b->opt.tokens};
    for (int k = 0; k < 2; k++) c.x[k] = bench_noise(c.n * b->opt.hidden, 1.0, (uint64_t)(31 + k));
    c.ids = qep_alloc("bench", c.n, sizeof *c.ids);
    qep_status st;
    QEP_GO(st, time_checkpoint_all(b, &c));
    if (b->opt.f32) QEP_GO(st, time_block_all(b, &c, QEP_COMPUTE_F32, "f32"));
    if (b->opt.bf16) QEP_GO(st, time_block_all(b, &c, QEP_COMPUTE_BF16, "bf16"));
    QEP_GO(st, time_embedding_all(b, &c));
done:
    qep_free(c.ids);
    for (int k = 0; k < 2; k++) qep_free(c.x[k]);
    qep_free(c.path);
    return st;
}
