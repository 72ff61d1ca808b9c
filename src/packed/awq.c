/* The tensors of a linear in awq files, GEMM layout (formats.md 5): qweight [cols, rows / 8], qzeros [groups, rows / 8], scales [groups, rows]; rows interleaved
 * by eights in a word. SPDX-License-Identifier: Apache-2.0 */
#include "packed_priv.h"

#include <string.h>

/* What the configuration says of all linears. */
typedef struct state {
    int64_t group_size; /* -1: one group per row */
    char **without;     /* names that stay as they are */
    int64_t n_without;
} state;

/* Row 8 c + j is nibble place[j] of word c: the inverse of AutoAWQ's order 0 2 4 6 1 3 5 7. */
static const int place[8] = {0, 4, 1, 5, 2, 6, 3, 7};

static qep_status read_names(const qep_packed *p, state *s)
{
    const qep_json *list = qep_json_get(p->quantization, "modules_to_not_convert");
    int64_t n = list && qep_json_type(list) == QEP_JSON_ARRAY ? qep_json_size(list) : 0;

    s->without = qep_alloc("packed.linears", n, sizeof *s->without);
    for (int64_t i = 0; i < n; i++) {
        const char *name = qep_json_string(qep_json_at(list, i));

        if (!name)
            return qep_packed_bad_key(p, "modules_to_not_convert", "a list of names");
        s->without[s->n_without++] = qep_strdup("packed.linears", name);
    }
    return QEP_OK;
}

static qep_status read_config(const qep_packed *p, state *s)
{
    const char *version = qep_json_string(qep_json_get(p->quantization, "version"));
    int64_t bits;

    QEP_TRY(qep_packed_int(p, p->quantization, "bits", &bits));
    QEP_TRY(qep_packed_int(p, p->quantization, "group_size", &s->group_size));
    if (bits != 4)
        return qep_fail(QEP_E_INPUT, "%s: quantization_config: bits = %lld: awq has 4", p->source,
                        (long long)bits);
    if (s->group_size != -1 && s->group_size < 1)
        return qep_fail(QEP_E_INPUT, "%s: quantization_config: group_size = %lld is neither -1 nor "
                        "positive", p->source, (long long)s->group_size);
    if (version && strcmp(version, "gemm") != 0)
        return qep_fail(QEP_E_INPUT, "%s: quantization_config: version \"%s\" cannot be read; "
                        "supported: gemm", p->source, version);
    return read_names(p, s);
}

static qep_status find(const qep_packed *p, qep_packed_linear *l)
{
    const state *s = p->state;
    int64_t width;

    l->scales_at = qep_packed_part(p, l->module, ".scales");
    l->zeros_at = qep_packed_part(p, l->module, ".qzeros");
    l->bits = 4;
    if (!l->scales_at || !l->zeros_at || l->codes_at->rank != 2)
        return qep_packed_wrong(p, l, "qweight is no matrix, or qzeros or scales is missing");
    l->cols = l->codes_at->shape[0];
    l->rows = l->codes_at->shape[1] * 8;
    width = s->group_size == -1 ? l->cols : qep_min_i64(s->group_size, l->cols);
    if (l->rows < 1 || l->cols < 1 || l->cols % width != 0)
        return qep_packed_wrong(p, l, "the group_size of config.json does not divide its columns");
    l->groups = l->cols / width;
    if (qep_packed_has_shape(l->codes_at, QEP_I32, 2, l->cols, l->rows / 8) &&
        qep_packed_has_shape(l->zeros_at, QEP_I32, 2, l->groups, l->rows / 8) &&
        qep_packed_has_shape(l->scales_at, QEP_F16, 2, l->groups, l->rows))
        return QEP_OK;
    return qep_packed_wrong(p, l, "shapes or dtypes of its tensors do not fit the group_size of "
                            "config.json");
}

static qep_status open(qep_packed *p)
{
    state *s = qep_alloc("packed.linears", 1, sizeof *s);

    p->state = s;
    p->name = "awq";
    QEP_TRY(read_config(p, s));
    return qep_packed_add_all(p, ".qweight", find);
}

static void close(qep_packed *p)
{
    state *s = p->state;

    for (int64_t i = 0; s && i < s->n_without; i++)
        qep_free(s->without[i]);
    if (s)
        qep_free(s->without);
    qep_free(s);
}

/* As the loaders do: a name of the list that occurs in the module's; lm_head never. */
static qep_status expects(const qep_packed *p, const char *module, bool *yes)
{
    const state *s = p->state;

    *yes = strcmp(module, "lm_head") != 0;
    for (int64_t i = 0; i < s->n_without; i++)
        if (strstr(module, s->without[i]))
            *yes = false;
    return QEP_OK;
}

/* Rows [row0, row0 + n) of [width, rows / 8] words -> values [n, width] */
static qep_status read_words(const qep_packed *p, const qep_st_tensor *t, int64_t row0, int64_t n,
                             int64_t width, uint8_t *values)
{
    int64_t from = row0 / 8, words = qep_ceil_div(row0 + n, 8) - from;
    uint32_t *block = qep_alloc("packed.rows", width * words, sizeof *block);
    qep_status st = qep_packed_columns(p, t, from * 4, words * 4, block);

    for (int64_t r = 0; r < n && st == QEP_OK; r++) {
        int64_t w = (row0 + r) / 8 - from;
        int shift = 4 * place[(row0 + r) % 8];

        for (int64_t k = 0; k < width; k++)
            values[r * width + k] = (uint8_t)(block[k * words + w] >> shift & 15);
    }
    qep_free(block);
    return st;
}

static qep_status read(const qep_packed *p, const qep_packed_linear *l, int64_t row0, int64_t n,
                       uint8_t *codes, float *scales, uint8_t *zeros)
{
    QEP_TRY(read_words(p, l->codes_at, row0, n, l->cols, codes));
    QEP_TRY(read_words(p, l->zeros_at, row0, n, l->groups, zeros));
    return qep_packed_scales_by_group(p, l, row0, n, scales);
}

static qep_status groups(const qep_packed *p, const qep_packed_linear *l, int32_t *g_idx)
{
    (void)p;
    qep_packed_groups_in_order(l, g_idx);
    return QEP_OK;
}

const qep_packed_format_ops qep_packed_awq = {"awq", open, close, expects, read, groups};
