/* --check: reads a finished output back, every byte of it, split over the ranks.
 * SPDX-License-Identifier: Apache-2.0 */
#include "gguf_priv.h"

#include "qep/packed.h"

#define CHUNK_VALUES (INT64_C(1) << 20)

typedef struct readback {
    int rank, size;
    qep_st_set *files;
    char *config_path;
    qep_json *config;
    qep_packed *packed; /* NULL: dense */
    bool tied;
    int64_t n_blocks;
    qep_modules modules;
    uint64_t digest[2];
    int64_t n_linears;
    bool differences; /* of some linear only code - zero is there */
} readback;

typedef struct digest_of {
    uint64_t *digest;
    int64_t linear;
} digest_of;

static qep_status digest_rows(void *ctx, const qep_packed_linear *l, int64_t row0, int64_t n,
                              const qep_packed_rows *o)
{
    const digest_of *d = ctx;

    for (int64_t r = 0; r < n; r++)
        qep_digest_row(d->digest, d->linear, row0 + r, o->codes + r * l->cols,
                       o->scales + r * l->groups, o->zeros + r * l->groups, o->g_idx, l->cols,
                       l->groups);
    return QEP_OK;
}

/* The digest of my rows of linear number `linear`, in units of 32 as they are packed. */
static qep_status digest_linear(readback *b, int64_t linear, const qep_packed_linear *l)
{
    digest_of d = {b->digest, linear};
    int64_t first, units, from, end;

    qep_partition(qep_ceil_div(l->rows, 32), b->size, b->rank, &first, &units);
    from = qep_min_i64(first * 32, l->rows);
    end = qep_min_i64((first + units) * 32, l->rows);
    return qep_packed_each(b->packed, l, from, end - from, digest_rows, &d);
}

static bool has_weight(const readback *b, const char *module)
{
    char *name = qep_strf("export.name", "%s.weight", module);
    bool yes = qep_st_find(b->files, name) != NULL;

    qep_free(name);
    return yes;
}

static qep_status check_linear(readback *b, int64_t linear)
{
    const char *module = b->modules.names[linear];
    bool head = linear == b->modules.n - 1;
    const qep_packed_linear *packed = qep_packed_find(b->packed, module);
    bool expected;

    QEP_TRY(qep_packed_expects(b->packed, module, &expected));
    if (!packed && expected)
        return qep_fail(QEP_E_INPUT, "%s says that %s is quantized, but there is no packed weight "
                        "of it", b->config_path, module);
    if (!packed && !has_weight(b, module) && !head)
        return qep_fail(QEP_E_INPUT, "%s: no weight of %s among its files", b->config_path, module);
    if (packed && head && b->tied)
        return qep_fail(QEP_E_INPUT, "%s: tie_word_embeddings is true, but lm_head is quantized",
                        b->config_path);
    if (!packed)
        return QEP_OK;
    b->n_linears++;
    b->differences = b->differences || packed->differences;
    return digest_linear(b, linear, packed);
}

static qep_status check_linears(readback *b)
{
    int64_t strange;

    qep_modules_list(b->files, b->n_blocks, &b->modules);
    for (int64_t i = 0; i < b->modules.n; i++)
        QEP_TRY(check_linear(b, i));
    strange = qep_packed_count(b->packed) - b->n_linears;
    if (strange != 0)
        return qep_fail(QEP_E_INPUT, "%s: %lld packed linears belong to no block of the model",
                        b->config_path, (long long)strange);
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
    for (int64_t i = 0; i < qep_packed_count(b->packed); i++)
        if (qep_packed_at(b->packed, i)->scales_at == t)
            return false;
    return qep_dtype_is_float(t->dtype);
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

static qep_status parse(readback *b, const char *dir, const char *text, int64_t bytes)
{
    const qep_json *blocks;

    QEP_TRY(qep_json_parse(text, bytes, b->config_path, QEP_E_INPUT, &b->config));
    blocks = qep_json_get(b->config, "num_hidden_layers");
    b->n_blocks = blocks ? qep_json_int(blocks) : 0;
    if (!blocks || qep_json_type(blocks) != QEP_JSON_INT || b->n_blocks < 0)
        return qep_fail(QEP_E_INPUT, "%s: \"num_hidden_layers\" is missing or not a number",
                        b->config_path);
    b->tied = qep_json_bool(qep_json_get(b->config, "tie_word_embeddings"));
    return qep_packed_open_dir(dir, b->config, b->config_path, &b->files, &b->packed);
}

/* Root reads config.json, all parse the same bytes; every rank opens the weight files. */
static qep_status open_all(qep_comm *c, const char *dir, readback *b)
{
    char *text = NULL;
    int64_t bytes = 0;
    qep_status st = QEP_OK;

    b->config_path = qep_path_join(dir, QEP_CONFIG_NAME);
    if (b->rank == 0)
        st = qep_file_read(b->config_path, INT64_C(1) << 26, QEP_E_INPUT, &text, &bytes);
    if (st != QEP_OK)
        qep_context(st, "%s holds no finished model (a run that is not finished goes on with its own command)", dir);
    QEP_GO(st, qep_agree_all(c, st));
    qep_bcast_text_all(c, 0, &text, &bytes);
    st = qep_agree_all(c, parse(b, dir, text, bytes));

done:
    qep_free(text);
    return st;
}

static qep_status check_mine(readback *b)
{
    if (b->packed)
        QEP_TRY(check_linears(b));
    return check_tensors(b);
}

/* The checksums are of the tensors as they are stored. */
static qep_status check_sums_all(qep_comm *c, const char *dir, readback *b, bool *found)
{
    qep_gguf_file *gguf = NULL;
    qep_st_set *stored = NULL;
    qep_status st = QEP_OK;

    if (!qep_any_all(c, qep_rank(c) == 0 && qep_gguf_is_there(dir)))
        return qep_sums_check_all(c, dir, b->files, found);
    st = qep_gguf_open(dir, &gguf);
    if (st == QEP_OK)
        st = qep_gguf_stored(gguf, &stored);
    st = qep_agree_all(c, st);
    if (st == QEP_OK)
        st = qep_sums_check_all(c, dir, stored, found);
    qep_st_close(&stored);
    qep_gguf_close(&gguf);
    return st;
}

qep_status qep_export_check_all(qep_comm *c, const char *dir, uint64_t digest[2],
                                int64_t *n_linears)
{
    readback b = {.rank = qep_rank(c), .size = qep_size(c)};
    qep_status st;
    bool sums = false;

    digest[0] = digest[1] = 0;
    *n_linears = 0;
    QEP_GO(st, open_all(c, dir, &b));
    QEP_GO(st, qep_agree_all(c, check_mine(&b)));
    QEP_GO(st, check_sums_all(c, dir, &b, &sums));
    if (!sums)
        qep_info("%s has no %s: checksums of its tensors are not known", dir, QEP_SUMS_NAME);
    qep_sum_u64_all(c, b.digest, 2);
    for (int k = 0; k < 2 && !b.differences; k++)
        digest[k] = b.digest[k];
    *n_linears = b.n_linears;

done:
    qep_modules_free(&b.modules);
    qep_packed_close(&b.packed);
    qep_st_close(&b.files);
    qep_json_free(&b.config);
    qep_free(b.config_path);
    return st;
}
