/* Rows of a block's quantized linears: into the output files, the digest and back to values.
 * SPDX-License-Identifier: Apache-2.0 */
#include "bench.h"

typedef struct output_case {
    qep_export *output;
    qep_export_linear linears[QEP_N_ROLES];
    uint8_t *codes, *zeros; /* my rows of the largest linear; all linears write the same ones */
    float *scales, *values; /* values: one strip */
    int32_t *g_idx[QEP_N_ROLES];
    uint64_t digest[2];
} output_case;

/* What is done with my rows [row0, row0 + n) of linear i. */
typedef qep_status (*rows_step)(output_case *c, int64_t i, int64_t row0, int64_t n);

static qep_status put(output_case *c, int64_t i, int64_t row0, int64_t n)
{
    return qep_export_put_rows(c->output, i, row0, n, c->codes, c->scales, c->zeros, c->g_idx[i]);
}

static qep_status digest(output_case *c, int64_t i, int64_t row0, int64_t n)
{
    const int64_t cols = c->linears[i].cols, groups = qep_n_groups(&c->linears[i].spec, cols);
    for (int64_t r = 0; r < n; r++)
        qep_digest_row(c->digest, i, row0 + r, c->codes + r * cols, c->scales + r * groups,
                       c->zeros + r * groups, c->g_idx[i], cols, groups);
    return QEP_OK;
}

static qep_status values(output_case *c, int64_t i, int64_t row0, int64_t n)
{
    (void)row0;
    const int64_t cols = c->linears[i].cols, groups = qep_n_groups(&c->linears[i].spec, cols);
    for (int64_t r = 0; r < n; r += QEP_STRIP)
        qep_export_values(c->output, i, qep_min_i64(QEP_STRIP, n - r), c->codes + r * cols,
                          c->scales + r * groups, c->zeros + r * groups, c->g_idx[i], c->values);
    return QEP_OK;
}

/* My rows of a linear, in whole strips. */
static void my_rows(const bench *b, int64_t rows, int64_t *row0, int64_t *n)
{
    int64_t first, count;
    qep_partition(qep_ceil_div(rows, QEP_STRIP), qep_size(b->comm), qep_rank(b->comm), &first,
                  &count);
    *row0 = first * QEP_STRIP;
    *n = qep_min_i64(count * QEP_STRIP, rows - *row0);
}

/* Linear by linear, as src/layer writes them. */
static qep_status each_linear(bench *b, output_case *c, rows_step step)
{
    for (int64_t i = 0; i < QEP_N_ROLES; i++) {
        int64_t row0, n;
        my_rows(b, c->linears[i].rows, &row0, &n);
        if (n > 0) QEP_TRY(step(c, i, row0, n));
    }
    return QEP_OK;
}

static qep_status put_rows(bench *b, void *ctx)
{
    return each_linear(b, ctx, put);
}

static qep_status put_rows_sync(bench *b, void *ctx)
{
    output_case *c = ctx;
    QEP_TRY(each_linear(b, c, put));
    return qep_export_sync(c->output);
}

static qep_status digest_rows(bench *b, void *ctx)
{
    return each_linear(b, ctx, digest);
}

static qep_status value_rows(bench *b, void *ctx)
{
    return each_linear(b, ctx, values);
}

static void set_linear(const bench *b, int role, output_case *c)
{
    char name[128];
    const qep_linear_shape *s = &b->model->arch.linears[role];
    qep_model_linear_name(b->model, 0, (qep_role)role, name, sizeof name);
    c->linears[role] = (qep_export_linear){
        .module = qep_strdup("bench", name),
        .weight = qep_model_linear_tensor(b->model, 0, (qep_role)role, "weight"),
        .rows = s->rows,
        .cols = s->cols,
        .quantized = true,
        .spec = {.method = &qep_method_gptq,
                 .bits = (int)b->opt.bits,
                 .group_size = bench_group_size(&b->opt, s->cols),
                 .block_size = 128,
                 .zero_min = qep_export_zero_min("gptq")}};
    const int64_t per =
        c->linears[role].spec.group_size < 0 ? s->cols : c->linears[role].spec.group_size;
    c->g_idx[role] = qep_alloc("bench", s->cols, sizeof *c->g_idx[role]);
    for (int64_t k = 0; k < s->cols; k++) c->g_idx[role][k] = (int32_t)(k / per);
}

static void fill_rows(const bench *b, output_case *c)
{
    const qep_arch *a = &b->model->arch;
    int64_t most = 0;
    qep_rng r;
    for (int role = 0; role < QEP_N_ROLES; role++) {
        int64_t row0, n;
        my_rows(b, c->linears[role].rows, &row0, &n);
        most = qep_max_i64(most, n * c->linears[role].cols);
    }
    qep_rng_seed(&r, 20);
    c->codes = qep_alloc("bench", most, 1);
    c->zeros = qep_alloc("bench", most, 1);
    c->scales = qep_alloc("bench", most, sizeof *c->scales);
    c->values = qep_alloc("bench", QEP_STRIP * qep_max_i64(a->hidden, a->inter), sizeof *c->values);
    for (int64_t i = 0; i < most; i++) {
        c->codes[i] = (uint8_t)(qep_rng_u64(&r) & ((1u << b->opt.bits) - 1));
        c->zeros[i] = 1;
        c->scales[i] = 0.0625F; /* f16 holds it */
    }
}

static qep_status open_output_all(bench *b, const char *dir, output_case *c)
{
    const qep_export_request request = {.format = "gptq",
                                        .source_dir = b->model->path,
                                        .config_text = b->model->config_text,
                                        .files = b->model->files,
                                        .linears = c->linears,
                                        .n_linears = QEP_N_ROLES,
                                        .output_dir = dir,
                                        .shard_bytes = INT64_C(5000000000),
                                        .dense_dtype = b->model->arch.dtype,
                                        .damping = 0.01};
    QEP_TRY(qep_export_plan(&request, &c->output));
    QEP_TRY(qep_export_check_dir_all(b->comm, c->output, true, true));
    return qep_export_open_all(b->comm, c->output, false);
}

static qep_status time_rows_all(bench *b, output_case *c)
{
    double weights = 0, groups = 0;
    for (int i = 0; i < QEP_N_ROLES; i++) {
        const qep_export_linear *l = &c->linears[i];
        weights += (double)l->rows * (double)l->cols;
        groups += (double)l->rows * (double)qep_n_groups(&l->spec, l->cols);
    }
    const double bits = (double)b->opt.bits, packed = (weights * bits + groups * (16 + bits)) / 8;
    QEP_TRY(bench_time_all(
        b, &(bench_part){"output: digest", "u8", weights, BENCH_MEMORY, NULL, digest_rows, c}));
    QEP_TRY(bench_time_all(
        b, &(bench_part){"output: values", "f32", 5 * weights, BENCH_MEMORY, NULL, value_rows, c}));
    QEP_TRY(bench_time_all(b, &(bench_part){"output: pack and put rows", "gptq", packed,
                                            BENCH_WRITE, NULL, put_rows, c}));
    return bench_time_all(b, &(bench_part){"output: pack, put rows, sync", "gptq", packed,
                                           BENCH_SYNC, NULL, put_rows_sync, c});
}

qep_status bench_output_all(bench *b)
{
    output_case c = {.output = NULL};
    if (!bench_wants_section(b, "output")) return QEP_OK;
    char *dir = qep_path_join(b->work_dir, "output");
    for (int role = 0; role < QEP_N_ROLES; role++) set_linear(b, role, &c);
    fill_rows(b, &c);
    qep_status st;
    QEP_GO(st, open_output_all(b, dir, &c));
    QEP_GO(st, time_rows_all(b, &c));
    QEP_GO(st, qep_export_discard_all(b->comm, c.output));
done:
    qep_export_destroy(&c.output);
    for (int role = 0; role < QEP_N_ROLES; role++) {
        qep_free(c.linears[role].module);
        qep_free(c.g_idx[role]);
    }
    qep_free(c.codes);
    qep_free(c.zeros);
    qep_free(c.scales);
    qep_free(c.values);
    qep_free(dir);
    return st;
}
