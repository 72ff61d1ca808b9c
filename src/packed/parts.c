/* What the formats' readers share. SPDX-License-Identifier: Apache-2.0 */
#include "packed_priv.h"

#include <math.h>
#include <string.h>

bool qep_packed_has_shape(const qep_st_tensor *t, qep_dtype dtype, int rank, int64_t d0,
                          int64_t d1)
{
    return t->dtype == dtype && t->rank == rank && t->shape[0] == d0 &&
           (rank == 1 || t->shape[1] == d1);
}

qep_status qep_packed_columns(const qep_packed *p, const qep_st_tensor *t, int64_t byte0,
                              int64_t n, void *dst)
{
    int64_t stride = t->bytes / t->shape[0];

    if (n == stride)
        return qep_st_read(p->files, t, 0, t->bytes, dst);
    for (int64_t r = 0; r < t->shape[0]; r++)
        QEP_TRY(qep_st_read(p->files, t, r * stride + byte0, n, (char *)dst + r * n));
    return QEP_OK;
}

qep_status qep_packed_check_scales(const qep_packed *p, const qep_packed_linear *l,
                                   const float *scales, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!(scales[i] > 0) || isinf(scales[i]))
            return qep_packed_wrong(p, l, "a scale is not finite or not positive");
    return QEP_OK;
}

qep_status qep_packed_scales_by_group(const qep_packed *p, const qep_packed_linear *l,
                                      int64_t row0, int64_t n, float *scales)
{
    uint16_t *half = qep_alloc("packed.rows", l->groups * n, sizeof *half);
    qep_status st = qep_packed_columns(p, l->scales_at, row0 * 2, n * 2, half);

    for (int64_t r = 0; r < n && st == QEP_OK; r++)
        for (int64_t g = 0; g < l->groups; g++)
            scales[r * l->groups + g] = qep_f16_to_f32(half[g * n + r]);
    qep_free(half);
    return st == QEP_OK ? qep_packed_check_scales(p, l, scales, n * l->groups) : st;
}

/* gptq v1: the largest field would be a zero point of 2^bits. */
static qep_status check_zero(const qep_packed *p, const qep_packed_linear *l, int zero)
{
    if (zero >> l->bits != 0)
        return qep_packed_wrong(p, l, "a zero point is outside of the range of its codes");
    if (l->symmetric && zero != 1 << (l->bits - 1))
        return qep_packed_wrong(p, l, "config.json says sym = true, but a zero point is not in "
                                "the middle");
    return QEP_OK;
}

/* Words of group g among those of all groups, one behind the other. */
static const uint32_t *words_of(const uint32_t *block, bool by_group, int64_t g, int64_t groups, int64_t words,
                                uint32_t *line)
{
    if (by_group)
        return block + g * words;
    for (int64_t w = 0; w < words; w++)
        line[w] = block[w * groups + g];
    return line;
}

qep_status qep_packed_zeros(const qep_packed *p, const qep_packed_linear *l, bool by_group, int offset,
                            int64_t row0, int64_t n, uint8_t *zeros)
{
    int64_t from = row0 / 32 * 32, m = qep_min_i64(qep_round_up(row0 + n, 32), l->rows) - from;
    int64_t words = qep_packed_words(m, l->bits), at = from * l->bits / 8, groups = l->groups;
    uint32_t *block = qep_alloc("packed.rows", words * groups, sizeof *block);
    uint32_t *line = by_group ? NULL : qep_alloc("packed.rows", words, sizeof *line);
    uint8_t *fields = qep_alloc("packed.rows", m, 1);
    qep_status st;

    st = by_group ? qep_packed_columns(p, l->zeros_at, at, words * 4, block)
                  : qep_st_read(p->files, l->zeros_at, at * groups, words * groups * 4, block);
    for (int64_t g = 0; g < groups && st == QEP_OK; g++) {
        qep_unpack_bits(fields, 1, words_of(block, by_group, g, groups, words, line), m, l->bits);
        for (int64_t r = 0; r < n && st == QEP_OK; r++) {
            int zero = fields[row0 - from + r] + offset;

            st = check_zero(p, l, zero);
            zeros[r * groups + g] = (uint8_t)zero;
        }
    }
    qep_free(fields);
    qep_free(line);
    qep_free(block);
    return st;
}

void qep_packed_groups_in_order(const qep_packed_linear *l, int32_t *g_idx)
{
    int64_t width = l->cols / l->groups;

    for (int64_t k = 0; k < l->cols; k++)
        g_idx[k] = (int32_t)(k / width);
}

qep_status qep_packed_add_tensor(qep_packed *p, const qep_st_tensor *t, const char *suffix,
                                 qep_packed_find_fn find)
{
    size_t n = strlen(t->name), k = strlen(suffix);
    qep_packed_linear *l;
    char *module;

    if (n <= k || strcmp(t->name + n - k, suffix) != 0)
        return QEP_OK;
    module = qep_strf("packed.name", "%.*s", (int)(n - k), t->name);
    l = qep_packed_add(p, module);
    qep_free(module);
    l->codes_at = t;
    return find(p, l);
}

qep_status qep_packed_add_all(qep_packed *p, const char *suffix, qep_packed_find_fn find)
{
    for (int64_t i = 0; i < qep_st_count(p->files); i++)
        QEP_TRY(qep_packed_add_tensor(p, qep_st_at(p->files, i), suffix, find));
    return QEP_OK;
}
