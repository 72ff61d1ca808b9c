/* The tensors of a linear in gptq files (formats.md 3.1 to 3.3): qweight [cols * bits / 32, rows] packed along the columns, qzeros [groups, rows * bits / 32] packed
 * along the rows, scales [groups, rows], g_idx [cols]. v1 stores zero - 1, v2 the zero. SPDX-License-Identifier: Apache-2.0 */
#include "gptq_priv.h"

static qep_status find(const qep_packed *p, qep_packed_linear *l)
{
    qep_gptq_settings s;
    int64_t width;
    char text[160];
    bool quantized; /* asked again once all are found */

    QEP_TRY(qep_gptq_settings_of(p->state, l->module, &s, &quantized));
    l->bits = (int)s.bits;
    l->symmetric = s.sym;
    l->any_order = s.desc_act;
    l->scales_at = qep_packed_part(p, l->module, ".scales");
    l->zeros_at = qep_packed_part(p, l->module, ".qzeros");
    l->groups_at = qep_packed_part(p, l->module, ".g_idx");
    if (!l->zeros_at || !l->scales_at || !l->groups_at)
        return qep_packed_wrong(p, l, "qweight is there, but qzeros, scales or g_idx is missing");
    if (l->codes_at->rank != 2 || l->groups_at->rank != 1)
        return qep_packed_wrong(p, l, "qweight is not a matrix or g_idx not a vector");
    l->rows = l->codes_at->shape[1];
    l->cols = l->groups_at->shape[0];
    if (l->rows < 1 || l->cols < 1 || l->rows % 32 != 0 || l->cols % 32 != 0)
        return qep_packed_wrong(p, l, "its rows or columns are not a multiple of 32");
    width = s.group_size == -1 ? l->cols : qep_min_i64(s.group_size, l->cols);
    if (l->cols % width != 0)
        return qep_packed_wrong(p, l, "the group_size of config.json does not divide its columns");
    l->groups = l->cols / width;
    if (qep_packed_has_shape(l->codes_at, QEP_I32, 2, qep_packed_words(l->cols, l->bits), l->rows) &&
        qep_packed_has_shape(l->zeros_at, QEP_I32, 2, l->groups, qep_packed_words(l->rows, l->bits)) &&
        qep_packed_has_shape(l->scales_at, QEP_F16, 2, l->groups, l->rows) &&
        qep_packed_has_shape(l->groups_at, QEP_I32, 1, l->cols, 0))
        return QEP_OK;
    snprintf(text, sizeof text, "shapes or dtypes of its tensors do not fit a [%lld, %lld] weight "
             "with the bits = %d and group_size = %lld of config.json", (long long)l->rows,
             (long long)l->cols, l->bits, (long long)s.group_size);
    return qep_packed_wrong(p, l, text);
}

static qep_status open(qep_packed *p)
{
    qep_gptq_config *config;
    qep_status st = qep_gptq_config_read(p, &config);

    p->state = config;
    p->name = config->zero_offset ? "gptq" : "gptq_v2";
    return st == QEP_OK ? qep_packed_add_all(p, ".qweight", find) : st;
}

static void close(qep_packed *p)
{
    qep_gptq_config_free(p->state);
}

static qep_status expects(const qep_packed *p, const char *module, bool *yes)
{
    qep_gptq_settings s;

    return qep_gptq_settings_of(p->state, module, &s, yes);
}

static qep_status read_codes(const qep_packed *p, const qep_packed_linear *l, int64_t row0,
                             int64_t n, uint8_t *codes)
{
    int64_t words = l->codes_at->shape[0];
    uint32_t *block = qep_alloc("packed.rows", words * n, sizeof *block);
    uint32_t *line = qep_alloc("packed.rows", words, sizeof *line);
    qep_status st = qep_packed_columns(p, l->codes_at, row0 * 4, n * 4, block);

    for (int64_t r = 0; r < n && st == QEP_OK; r++) {
        for (int64_t w = 0; w < words; w++)
            line[w] = block[w * n + r];
        qep_unpack_bits(codes + r * l->cols, 1, line, l->cols, l->bits);
    }
    qep_free(line);
    qep_free(block);
    return st;
}

static qep_status read(const qep_packed *p, const qep_packed_linear *l, int64_t row0, int64_t n,
                       uint8_t *codes, float *scales, uint8_t *zeros)
{
    const qep_gptq_config *config = p->state;

    QEP_TRY(read_codes(p, l, row0, n, codes));
    QEP_TRY(qep_packed_zeros(p, l, true, config->zero_offset, row0, n, zeros));
    return qep_packed_scales_by_group(p, l, row0, n, scales);
}

static qep_status groups(const qep_packed *p, const qep_packed_linear *l, int32_t *g_idx)
{
    int64_t width = l->cols / l->groups;

    QEP_TRY(qep_st_read(p->files, l->groups_at, 0, l->cols * 4, g_idx));
    for (int64_t k = 0; k < l->cols; k++) {
        if (g_idx[k] < 0 || g_idx[k] >= l->groups)
            return qep_packed_wrong(p, l, "g_idx has a group that does not exist");
        if (!l->any_order && g_idx[k] != k / width)
            return qep_packed_wrong(p, l, "g_idx is not in order, but config.json says desc_act = "
                                    "false");
    }
    return QEP_OK;
}

const qep_packed_format_ops qep_packed_gptq = {"gptq", open, close, expects, read, groups};
