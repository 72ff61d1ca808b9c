/* The tensors of a linear in compressed-tensors files, pack-quantized (formats.md 4.1): weight_packed [rows, cols * bits / 32], weight_scale [rows, groups],
 * weight_zero_point [rows * bits / 32, groups] unless symmetric, weight_shape [2]. SPDX-License-Identifier: Apache-2.0 */
#include "ct_priv.h"

/* Columns: what weight_shape says, if as many fill the words of a row. */
static qep_status find_cols(const qep_packed *p, qep_packed_linear *l)
{
    int64_t shape[2] = {0, 0};

    if (!l->shape_at || !qep_packed_has_shape(l->shape_at, QEP_I64, 1, 2, 0))
        return qep_packed_wrong(p, l, "weight_shape is missing or not two I64");
    if (l->codes_at->rank != 2)
        return qep_packed_wrong(p, l, "weight_packed is not a matrix");
    QEP_TRY(qep_st_read(p->files, l->shape_at, 0, sizeof shape, shape));
    l->rows = shape[0];
    l->cols = shape[1];
    if (l->rows < 1 || l->cols < 1 || l->cols > INT64_MAX / 64 ||
        !qep_packed_has_shape(l->codes_at, QEP_I32, 2, l->rows,
                              qep_packed_words(l->cols, l->bits)))
        return qep_packed_wrong(p, l, "weight_packed does not have the dtype or the shape that "
                                "weight_shape and config.json's num_bits give");
    return QEP_OK;
}

static bool scale_fits(const qep_packed_linear *l)
{
    const qep_st_tensor *t = l->scales_at;

    return (t->dtype == QEP_F16 || t->dtype == QEP_BF16 || t->dtype == QEP_F32) &&
           qep_packed_has_shape(t, t->dtype, 2, l->rows, l->groups);
}

static qep_status find(const qep_packed *p, qep_packed_linear *l)
{
    qep_ct_settings s = {0};
    int64_t width;
    bool quantized;

    QEP_TRY(qep_ct_settings_of(p->state, l->module, &s, &quantized));
    l->bits = (int)s.bits;
    l->symmetric = s.symmetric;
    l->scales_at = qep_packed_part(p, l->module, ".weight_scale");
    l->zeros_at = qep_packed_part(p, l->module, ".weight_zero_point");
    l->shape_at = qep_packed_part(p, l->module, ".weight_shape");
    if (!quantized)
        return qep_packed_wrong(p, l, "no group of config_groups has it among its targets");
    QEP_TRY(find_cols(p, l));
    width = s.group_size == -1 ? l->cols : qep_min_i64(s.group_size, l->cols);
    if (l->cols % width != 0)
        return qep_packed_wrong(p, l, "the group_size of config.json does not divide its columns");
    l->groups = l->cols / width;
    if (!l->scales_at || !scale_fits(l))
        return qep_packed_wrong(p, l, "weight_scale is missing, or its dtype or shape does not fit "
                                "the group_size of config.json");
    if (l->symmetric != (l->zeros_at == NULL) ||
        (l->zeros_at && !qep_packed_has_shape(l->zeros_at, QEP_I32, 2,
                                              qep_packed_words(l->rows, l->bits), l->groups)))
        return qep_packed_wrong(p, l, "weight_zero_point is there or not against what config.json "
                                "says of symmetric, or does not fit");
    return QEP_OK;
}

static qep_status open(qep_packed *p)
{
    qep_ct_config *config;
    qep_status st = qep_ct_config_read(p, &config);

    p->state = config;
    p->name = "compressed-tensors";
    return st == QEP_OK ? qep_packed_add_all(p, ".weight_packed", find) : st;
}

static void close(qep_packed *p)
{
    qep_ct_config_free(p->state);
}

static qep_status expects(const qep_packed *p, const char *module, bool *yes)
{
    qep_ct_settings s;

    return qep_ct_settings_of(p->state, module, &s, yes);
}

static qep_status read_codes(const qep_packed *p, const qep_packed_linear *l, int64_t row0,
                             int64_t n, uint8_t *codes)
{
    int64_t words = l->codes_at->shape[1];
    uint32_t *block = qep_alloc("packed.rows", words * n, sizeof *block);
    qep_status st = qep_st_read(p->files, l->codes_at, row0 * words * 4, n * words * 4, block);

    for (int64_t r = 0; r < n && st == QEP_OK; r++)
        qep_unpack_bits(codes + r * l->cols, 1, block + r * words, l->cols, l->bits);
    qep_free(block);
    return st;
}

static qep_status read_scales(const qep_packed *p, const qep_packed_linear *l, int64_t row0,
                              int64_t n, float *scales)
{
    int64_t size = qep_dtype_size(l->scales_at->dtype), count = n * l->groups;
    void *raw = qep_alloc("packed.rows", count, (size_t)size);
    qep_status st = qep_st_read(p->files, l->scales_at, row0 * l->groups * size, count * size, raw);

    if (st == QEP_OK)
        qep_to_f32(scales, raw, l->scales_at->dtype, count);
    qep_free(raw);
    return st == QEP_OK ? qep_packed_check_scales(p, l, scales, count) : st;
}

static qep_status read(const qep_packed *p, const qep_packed_linear *l, int64_t row0, int64_t n,
                       uint8_t *codes, float *scales, uint8_t *zeros)
{
    QEP_TRY(read_codes(p, l, row0, n, codes));
    QEP_TRY(read_scales(p, l, row0, n, scales));
    if (l->zeros_at)
        return qep_packed_zeros(p, l, false, 0, row0, n, zeros);
    for (int64_t k = 0; k < n * l->groups; k++)
        zeros[k] = (uint8_t)(1 << (l->bits - 1));
    return QEP_OK;
}

static qep_status groups(const qep_packed *p, const qep_packed_linear *l, int32_t *g_idx)
{
    (void)p;
    qep_packed_groups_in_order(l, g_idx);
    return QEP_OK;
}

const qep_packed_format_ops qep_packed_ct = {"compressed-tensors", open, close, expects, read,
                                             groups};
