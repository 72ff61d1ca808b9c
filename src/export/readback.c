/* --check: reads a finished output back, every byte of it, split over the ranks.
 * SPDX-License-Identifier: Apache-2.0 */
#include "export_priv.h"

#define CHUNK_VALUES (INT64_C(1) << 20)

typedef struct readback {
    int rank, size;
    qep_st_set *files;
    qep_stored_config config;
    uint64_t digest[2];
    int64_t n_linears;
} readback;

/* Module number `linear` in the order of qep_export_check_all: block by block, lm_head last. */
static char *module_name(const readback *b, int64_t linear)
{
    if (linear == b->config.n_blocks * QEP_BLOCK_LINEARS)
        return qep_strdup("export.name", "lm_head");
    return qep_strf("export.name", "model.layers.%lld.%s", (long long)(linear / QEP_BLOCK_LINEARS),
                    qep_block_linears[linear % QEP_BLOCK_LINEARS]);
}

static qep_status check_linear(readback *b, int64_t linear, const char *module)
{
    qep_settings s;
    bool quantized, head = linear == b->config.n_blocks * QEP_BLOCK_LINEARS;
    const qep_st_tensor *packed = qep_stored_part(b->files, module, ".qweight");
    const qep_st_tensor *weight = qep_stored_part(b->files, module, ".weight");

    QEP_TRY(qep_stored_settings(&b->config, module, &s, &quantized));
    if (quantized != (packed != NULL))
        return qep_fail(QEP_E_INPUT, "%s says that %s is %s, but there is %s %s.qweight",
                        b->config.path, module, quantized ? "quantized" : "not quantized",
                        packed ? "a" : "no", module);
    if (packed && weight)
        return qep_fail(QEP_E_INPUT, "%s: there are both %s.weight and %s.qweight",
                        qep_st_file(b->files, weight->shard), module, module);
    if (!packed && !weight && !head)
        return qep_fail(QEP_E_INPUT, "%s: no weight of %s among its files", b->config.path, module);
    if (packed && head && b->config.tied)
        return qep_fail(QEP_E_INPUT, "%s: tie_word_embeddings is true, but lm_head is quantized",
                        b->config.path);
    if (!packed)
        return QEP_OK;
    b->n_linears++;
    return qep_stored_linear(b->files, module, &s, linear, b->rank, b->size, b->digest);
}

static qep_status check_linears(readback *b)
{
    int64_t packed = 0;

    for (int64_t i = 0; i <= b->config.n_blocks * QEP_BLOCK_LINEARS; i++) {
        char *module = module_name(b, i);
        qep_status st = check_linear(b, i, module);

        qep_free(module);
        if (st != QEP_OK)
            return st;
    }
    for (int64_t i = 0; i < qep_st_count(b->files); i++)
        packed += qep_ends_with(qep_st_at(b->files, i)->name, ".qweight");
    if (packed != b->n_linears)
        return qep_fail(QEP_E_INPUT, "%s: %lld packed linears belong to no block of the model",
                        b->config.path, (long long)(packed - b->n_linears));
    return QEP_OK;
}

/* My rows of one tensor of floats must be finite. */
static qep_status check_floats(const readback *b, const qep_st_tensor *t, float *values)
{
    int64_t rows = t->rank > 0 ? t->shape[0] : 1;
    int64_t cols = rows > 0 ? t->bytes / qep_dtype_size(t->dtype) / rows : 0;
    int64_t first, n, step = qep_max_i64(CHUNK_VALUES / qep_max_i64(cols, 1), 1);

    qep_partition(rows, b->size, b->rank, &first, &n);
    for (int64_t row = first; row < first + n && cols > 0; row += step)
        QEP_TRY(qep_st_read_rows_f32(b->files, t, row, qep_min_i64(step, first + n - row), values));
    return QEP_OK;
}

/* Floats that are not checked with their packed linear. */
static bool is_plain(const readback *b, const qep_st_tensor *t)
{
    return qep_dtype_is_float(t->dtype) &&
           !(b->config.quantization && qep_ends_with(t->name, ".scales"));
}

static qep_status check_tensors(const readback *b)
{
    int64_t room = CHUNK_VALUES;
    qep_status st = QEP_OK;
    float *values;

    for (int64_t i = 0; i < qep_st_count(b->files); i++) {
        const qep_st_tensor *t = qep_st_at(b->files, i);

        if (t->rank > 0 && t->shape[0] > 0 && qep_dtype_is_float(t->dtype))
            room = qep_max_i64(room, t->bytes / qep_dtype_size(t->dtype) / t->shape[0]);
    }
    values = qep_alloc("export.check", room, sizeof *values);
    for (int64_t i = 0; i < qep_st_count(b->files) && st == QEP_OK; i++)
        if (is_plain(b, qep_st_at(b->files, i)))
            st = check_floats(b, qep_st_at(b->files, i), values);
    qep_free(values);
    return st;
}

/* Root reads config.json, all parse the same bytes; every rank opens the weight files. */
static qep_status open_all(qep_comm *c, const char *dir, readback *b)
{
    char *path = qep_path_join(dir, QEP_CONFIG_NAME), *text = NULL;
    int64_t bytes = 0;
    qep_status st = QEP_OK;

    if (b->rank == 0)
        st = qep_file_read(path, INT64_C(1) << 26, QEP_E_INPUT, &text, &bytes);
    if (st != QEP_OK)
        qep_context(st, "%s holds no finished model (a run that is not finished goes on with its own command)", dir);
    QEP_GO(st, qep_agree_all(c, st));
    qep_bcast_text_all(c, 0, &text, &bytes);
    st = qep_stored_parse(path, text, bytes, &b->config);
    if (st == QEP_OK)
        st = qep_st_open_dir(dir, &b->files);
    st = qep_agree_all(c, st);

done:
    qep_free(text);
    qep_free(path);
    return st;
}

static qep_status check_mine(readback *b)
{
    if (b->config.quantization)
        QEP_TRY(check_linears(b));
    return check_tensors(b);
}

qep_status qep_export_check_all(qep_comm *c, const char *dir, uint64_t digest[2],
                                int64_t *n_linears)
{
    readback b = {.rank = qep_rank(c), .size = qep_size(c)};
    qep_status st;

    digest[0] = digest[1] = 0;
    *n_linears = 0;
    QEP_GO(st, open_all(c, dir, &b));
    QEP_GO(st, qep_agree_all(c, check_mine(&b)));
    qep_sum_u64_all(c, b.digest, 2);
    digest[0] = b.digest[0];
    digest[1] = b.digest[1];
    *n_linears = b.n_linears;

done:
    qep_st_close(&b.files);
    qep_stored_free(&b.config);
    return st;
}
