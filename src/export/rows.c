/* Rows of a quantized linear into the output files, and the values that a reader gets.
 * SPDX-License-Identifier: Apache-2.0 */
#include "export_priv.h"

#include <math.h>
#include <string.h>

enum { ROUND_AT_ONCE = 512 }; /* values rounded through a buffer on the stack */

/* x rounded to dtype, still as f32. */
static void round_to(qep_dtype dtype, float *x, int64_t n)
{
    uint16_t half[ROUND_AT_ONCE];

    if (dtype != QEP_BF16 && dtype != QEP_F16) /* F32 and F64 hold every f32 */
        return;
    for (int64_t i = 0; i < n; i += ROUND_AT_ONCE) {
        int64_t m = qep_min_i64(ROUND_AT_ONCE, n - i);

        qep_from_f32(half, dtype, x + i, m);
        qep_to_f32(x + i, half, dtype, m);
    }
}

void qep_export_values(const qep_export *e, int64_t i, int64_t n, const uint8_t *codes,
                       const float *scales, const uint8_t *zeros, const int32_t *g_idx,
                       float *values)
{
    const qep_export_linear *l = &e->linears[i];
    int64_t cols = l->cols, groups = qep_n_groups(&l->spec, cols);

    for (int64_t r = 0; r < n; r++) {
        for (int64_t c = 0; c < cols; c++) {
            int64_t g = r * groups + g_idx[c];

            values[r * cols + c] = qep_grid_value(codes[r * cols + c], scales[g], zeros[g]);
        }
        if (!e->gptq)
            round_to(e->dense_dtype, values + r * cols, cols);
    }
}

static qep_status put_dense(qep_export *e, int64_t i, int64_t row0, int64_t n,
                            const uint8_t *codes, const float *scales, const uint8_t *zeros,
                            const int32_t *g_idx)
{
    const qep_export_linear *l = &e->linears[i];
    int64_t cols = l->cols, size = qep_dtype_size(e->dense_dtype), bad;
    float *values = qep_alloc("export.rows", n * cols, sizeof *values);
    void *raw = qep_alloc("export.rows", n * cols, (size_t)size);
    qep_status st = QEP_OK;

    qep_export_values(e, i, n, codes, scales, zeros, g_idx, values);
    bad = qep_find_nonfinite_f32(values, n * cols);
    if (bad >= 0) {
        st = qep_fail(QEP_E_NUMERIC, "%s: row %lld, column %lld: the quantized weight is not "
                      "finite, or too large for %s", l->module, (long long)(row0 + bad / cols),
                      (long long)(bad % cols), qep_dtype_name(e->dense_dtype));
        goto done;
    }
    qep_from_f32(raw, e->dense_dtype, values, n * cols);
    st = qep_st_write(e->writer, e->places[i].weight, row0 * cols * size, n * cols * size, raw);

done:
    qep_free(raw);
    qep_free(values);
    return st;
}

/* [n, cols] codes -> columns [row0, row0 + n) of qweight [cols * bits / 32, rows] */
static qep_status put_codes(qep_export *e, int64_t i, int64_t row0, int64_t n,
                            const uint8_t *codes)
{
    const qep_export_linear *l = &e->linears[i];
    int64_t words = qep_packed_words(l->cols, l->spec.bits);
    uint32_t *line = qep_alloc("export.rows", words, sizeof *line);
    uint32_t *block = qep_alloc("export.rows", words * n, sizeof *block);
    qep_status st;

    for (int64_t r = 0; r < n; r++) {
        qep_pack_bits(line, codes + r * l->cols, 1, l->cols, l->spec.bits);
        for (int64_t w = 0; w < words; w++)
            block[w * n + r] = line[w];
    }
    st = qep_st_write_columns(e->writer, e->places[i].qweight, words, l->rows * 4, row0 * 4, n * 4,
                              block);
    qep_free(block);
    qep_free(line);
    return st;
}

/* [n, G] zeros -> columns of qzeros [G, rows * bits / 32]; the v1 format stores zero - 1. */
static qep_status put_zeros(qep_export *e, int64_t i, int64_t row0, int64_t n,
                            const uint8_t *zeros)
{
    const qep_export_linear *l = &e->linears[i];
    int64_t groups = qep_n_groups(&l->spec, l->cols), words = qep_packed_words(n, l->spec.bits);
    uint8_t *stored = qep_alloc("export.rows", n * groups, 1);
    uint32_t *block = qep_alloc("export.rows", groups * words, sizeof *block);
    qep_status st = QEP_OK;

    for (int64_t k = 0; k < n * groups; k++) {
        if (zeros[k] < 1 || zeros[k] >> l->spec.bits != 0) {
            st = qep_fail(QEP_E_INTERNAL, "%s: row %lld: zero point %d cannot be stored in the "
                          "gptq format (1 to %d)", l->module, (long long)(row0 + k / groups),
                          zeros[k], (1 << l->spec.bits) - 1);
            goto done;
        }
        stored[k] = (uint8_t)(zeros[k] - 1);
    }
    for (int64_t g = 0; g < groups; g++)
        qep_pack_bits(block + g * words, stored + g, groups, n, l->spec.bits);
    st = qep_st_write_columns(e->writer, e->places[i].qzeros, groups,
                              e->places[i].qzeros->shape[1] * 4, row0 * l->spec.bits / 8,
                              words * 4, block);

done:
    qep_free(block);
    qep_free(stored);
    return st;
}

/* [n, G] scales -> columns of scales [G, rows] */
static qep_status put_scales(qep_export *e, int64_t i, int64_t row0, int64_t n,
                             const float *scales)
{
    const qep_export_linear *l = &e->linears[i];
    int64_t groups = qep_n_groups(&l->spec, l->cols);
    uint16_t *block = qep_alloc("export.rows", groups * n, sizeof *block);
    qep_status st = QEP_OK;

    for (int64_t r = 0; r < n; r++)
        for (int64_t g = 0; g < groups; g++) {
            uint16_t half = qep_f32_to_f16(scales[r * groups + g]);
            float back = qep_f16_to_f32(half);

            if (!(back > 0) || isinf(back)) {
                st = qep_fail(QEP_E_NUMERIC, "%s: row %lld, group %lld: scale %g cannot be stored "
                              "as a positive F16", l->module, (long long)(row0 + r), (long long)g,
                              (double)scales[r * groups + g]);
                goto done;
            }
            block[g * n + r] = half;
        }
    st = qep_st_write_columns(e->writer, e->places[i].scales, groups, l->rows * 2, row0 * 2, n * 2,
                              block);

done:
    qep_free(block);
    return st;
}

/* The configuration was written down before the run: what it says of g_idx must hold. */
static qep_status put_g_idx(qep_export *e, int64_t i, const int32_t *g_idx)
{
    const qep_export_linear *l = &e->linears[i];
    qep_settings s = qep_settings_of(l);
    int64_t width = qep_settings_width(&s, l->cols), groups = qep_n_groups(&l->spec, l->cols);

    for (int64_t k = 0; k < l->cols; k++)
        if (g_idx[k] < 0 || g_idx[k] >= groups || (!s.desc_act && g_idx[k] != k / width))
            return qep_fail(QEP_E_INTERNAL, "%s: column %lld has group %d, which its settings do "
                            "not allow", l->module, (long long)k, (int)g_idx[k]);
    return qep_st_write(e->writer, e->places[i].g_idx, 0, l->cols * 4, g_idx);
}

qep_status qep_export_put_rows(qep_export *e, int64_t i, int64_t row0, int64_t n,
                               const uint8_t *codes, const float *scales, const uint8_t *zeros,
                               const int32_t *g_idx)
{
    const qep_export_linear *l;

    QEP_REQUIRE(e->writer && i >= 0 && i < e->n_linears && e->linears[i].quantized);
    l = &e->linears[i];
    QEP_REQUIRE(row0 >= 0 && n >= 0 && row0 <= l->rows && n <= l->rows - row0);
    QEP_REQUIRE(row0 % 32 == 0 && (n % 32 == 0 || row0 + n == l->rows));
    if (n == 0)
        return QEP_OK;
    if (!e->gptq)
        return put_dense(e, i, row0, n, codes, scales, zeros, g_idx);
    QEP_TRY(put_codes(e, i, row0, n, codes));
    QEP_TRY(put_zeros(e, i, row0, n, zeros));
    QEP_TRY(put_scales(e, i, row0, n, scales));
    return row0 == 0 ? put_g_idx(e, i, g_idx) : QEP_OK;
}
