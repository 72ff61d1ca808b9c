/* One packed linear of a finished output: shapes, scales, zeros, g_idx, and its digest.
 * SPDX-License-Identifier: Apache-2.0 */
#include "export_priv.h"

#include <math.h>

enum { ROWS_AT_ONCE = 256 };

typedef struct packed {
    const qep_st_set *files;
    const char *module;
    const qep_st_tensor *qweight, *qzeros, *scales, *g_idx;
    qep_settings s;
    int bits;
    int64_t linear, rows, cols, groups;
    int32_t *group_of; /* [cols] */
    /* ROWS_AT_ONCE rows: as stored, and as numbers [row, ...] */
    uint32_t *words, *line;
    uint16_t *half;
    uint8_t *codes, *zeros;
    float *row_scales;
} packed;

static qep_status wrong(const packed *p, const char *what)
{
    return qep_fail(QEP_E_INPUT, "%s: module %s: %s", qep_st_file(p->files, p->qweight->shard),
                    p->module, what);
}

static bool has_shape(const qep_st_tensor *t, qep_dtype dtype, int rank, int64_t d0, int64_t d1)
{
    return t->dtype == dtype && t->rank == rank && t->shape[0] == d0 &&
           (rank == 1 || t->shape[1] == d1);
}

static qep_status find(packed *p)
{
    char text[160];

    p->qzeros = qep_stored_part(p->files, p->module, ".qzeros");
    p->scales = qep_stored_part(p->files, p->module, ".scales");
    p->g_idx = qep_stored_part(p->files, p->module, ".g_idx");
    if (!p->qzeros || !p->scales || !p->g_idx)
        return wrong(p, "qweight is there, but qzeros, scales or g_idx is missing");
    if (p->qweight->rank != 2 || p->g_idx->rank != 1)
        return wrong(p, "qweight is not a matrix or g_idx not a vector");
    p->rows = p->qweight->shape[1];
    p->cols = p->g_idx->shape[0];
    if (p->rows < 1 || p->cols < 1 || p->rows % 32 != 0 || p->cols % 32 != 0)
        return wrong(p, "its rows or columns are not a multiple of 32");
    if (p->cols % qep_settings_width(&p->s, p->cols) != 0)
        return wrong(p, "the group_size of config.json does not divide its columns");
    p->groups = p->cols / qep_settings_width(&p->s, p->cols);
    if (has_shape(p->qweight, QEP_I32, 2, qep_packed_words(p->cols, p->bits), p->rows) &&
        has_shape(p->qzeros, QEP_I32, 2, p->groups, qep_packed_words(p->rows, p->bits)) &&
        has_shape(p->scales, QEP_F16, 2, p->groups, p->rows) &&
        has_shape(p->g_idx, QEP_I32, 1, p->cols, 0))
        return QEP_OK;
    snprintf(text, sizeof text, "shapes or dtypes of its tensors do not fit a [%lld, %lld] weight "
             "with the bits = %d and group_size = %lld of config.json", (long long)p->rows,
             (long long)p->cols, p->bits, (long long)p->s.group_size);
    return wrong(p, text);
}

static qep_status read_groups(packed *p)
{
    int64_t width = p->cols / p->groups;

    QEP_TRY(qep_st_read(p->files, p->g_idx, 0, p->cols * 4, p->group_of));
    for (int64_t k = 0; k < p->cols; k++) {
        if (p->group_of[k] < 0 || p->group_of[k] >= p->groups)
            return wrong(p, "g_idx has a group that does not exist");
        if (!p->s.desc_act && p->group_of[k] != k / width)
            return wrong(p, "g_idx is not in order, but config.json says desc_act = false");
    }
    return QEP_OK;
}

/* Bytes [byte0, byte0 + n) of each row of a matrix. */
static qep_status read_columns(const packed *p, const qep_st_tensor *t, int64_t byte0, int64_t n,
                               void *dst)
{
    int64_t stride = t->bytes / t->shape[0];

    if (n == stride)
        return qep_st_read(p->files, t, 0, t->bytes, dst);
    for (int64_t r = 0; r < t->shape[0]; r++)
        QEP_TRY(qep_st_read(p->files, t, r * stride + byte0, n, (char *)dst + r * n));
    return QEP_OK;
}

static qep_status unpack_codes(packed *p, int64_t row0, int64_t n)
{
    int64_t words = p->qweight->shape[0];

    QEP_TRY(read_columns(p, p->qweight, row0 * 4, n * 4, p->words));
    for (int64_t r = 0; r < n; r++) {
        for (int64_t w = 0; w < words; w++)
            p->line[w] = p->words[w * n + r];
        qep_unpack_bits(p->codes + r * p->cols, 1, p->line, p->cols, p->bits);
    }
    return QEP_OK;
}

/* The v1 format stores zero - 1, so the largest field would be a zero point of 2^bits. */
static qep_status unpack_zeros(packed *p, int64_t row0, int64_t n)
{
    int64_t words = qep_packed_words(n, p->bits);
    int max = (1 << p->bits) - 1;

    QEP_TRY(read_columns(p, p->qzeros, row0 * p->bits / 8, words * 4, p->words));
    for (int64_t g = 0; g < p->groups; g++)
        qep_unpack_bits(p->zeros + g, p->groups, p->words + g * words, n, p->bits);
    for (int64_t k = 0; k < n * p->groups; k++) {
        if (p->zeros[k] >= max)
            return wrong(p, "a zero point is outside of the range of its codes");
        p->zeros[k]++;
        if (p->s.sym && p->zeros[k] != 1 << (p->bits - 1))
            return wrong(p, "config.json says sym = true, but a zero point is not in the middle");
    }
    return QEP_OK;
}

static qep_status unpack_scales(packed *p, int64_t row0, int64_t n)
{
    QEP_TRY(read_columns(p, p->scales, row0 * 2, n * 2, p->half));
    for (int64_t r = 0; r < n; r++)
        for (int64_t g = 0; g < p->groups; g++) {
            float v = qep_f16_to_f32(p->half[g * n + r]);

            if (!(v > 0) || isinf(v))
                return wrong(p, "a scale is not finite or not positive");
            p->row_scales[r * p->groups + g] = v;
        }
    return QEP_OK;
}

static qep_status digest_rows(packed *p, int64_t row0, int64_t n, uint64_t digest[2])
{
    QEP_TRY(unpack_codes(p, row0, n));
    QEP_TRY(unpack_zeros(p, row0, n));
    QEP_TRY(unpack_scales(p, row0, n));
    for (int64_t r = 0; r < n; r++)
        qep_digest_row(digest, p->linear, row0 + r, p->codes + r * p->cols,
                       p->row_scales + r * p->groups, p->zeros + r * p->groups, p->group_of,
                       p->cols, p->groups);
    return QEP_OK;
}

static void allocate(packed *p)
{
    int64_t n = qep_min_i64(ROWS_AT_ONCE, p->rows);
    int64_t words = qep_packed_words(p->cols, p->bits);

    p->group_of = qep_alloc("export.check", p->cols, sizeof *p->group_of);
    p->words = qep_alloc("export.check",
                         qep_max_i64(words * n, p->groups * qep_packed_words(n, p->bits)),
                         sizeof *p->words);
    p->line = qep_alloc("export.check", words, sizeof *p->line);
    p->half = qep_alloc("export.check", n * p->groups, sizeof *p->half);
    p->codes = qep_alloc("export.check", n * p->cols, 1);
    p->zeros = qep_alloc("export.check", n * p->groups, 1);
    p->row_scales = qep_alloc("export.check", n * p->groups, sizeof *p->row_scales);
}

static void release(packed *p)
{
    qep_free(p->group_of);
    qep_free(p->words);
    qep_free(p->line);
    qep_free(p->half);
    qep_free(p->codes);
    qep_free(p->zeros);
    qep_free(p->row_scales);
}

qep_status qep_stored_linear(const qep_st_set *files, const char *module, const qep_settings *s,
                             int64_t linear, int part, int parts, uint64_t digest[2])
{
    packed p = {.files = files, .module = module, .s = *s, .bits = (int)s->bits, .linear = linear};
    qep_status st = QEP_OK;
    int64_t first, units;

    p.qweight = qep_stored_part(files, module, ".qweight");
    QEP_REQUIRE(p.qweight);
    QEP_TRY(find(&p));
    allocate(&p);
    QEP_GO(st, read_groups(&p));
    qep_partition(p.rows / 32, parts, part, &first, &units); /* zeros are packed by 32 rows */
    for (int64_t row = first * 32; row < (first + units) * 32; row += ROWS_AT_ONCE)
        QEP_GO(st, digest_rows(&p, row, qep_min_i64(ROWS_AT_ONCE, (first + units) * 32 - row),
                               digest));

done:
    release(&p);
    return st;
}
