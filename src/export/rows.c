/* Rows of a quantized linear into the output files, and the values that a reader gets.
 * SPDX-License-Identifier: Apache-2.0 */
#include "export_priv.h"

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

    qep_grid_values(n, l->cols, qep_n_groups(&l->spec, l->cols), codes, scales, zeros, g_idx,
                    values);
    for (int64_t r = 0; r < n && !e->format->packed; r++)
        round_to(e->dense_dtype, values + r * l->cols, l->cols);
    if (e->format->values)
        e->format->values(l, n, values);
}

void qep_export_round(const qep_export *e, const float *from, int64_t n, float *values)
{
    memcpy(values, from, (size_t)n * sizeof *values);
    if (!e->format->packed)
        round_to(e->dense_dtype, values, n);
}

bool qep_export_is_packed(const qep_export *e)
{
    return e->format->packed;
}

qep_status qep_export_put_values(qep_export *e, int64_t i, int64_t row0, int64_t n,
                                 const float *values)
{
    QEP_REQUIRE(e->writer && !e->format->packed && i >= 0 && i < e->n_linears);
    QEP_REQUIRE(row0 >= 0 && n >= 0 && row0 + n <= e->linears[i].rows);
    return qep_dense_put(e, i, row0, n, values);
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
    return e->format->put(&(qep_rows){.e = e,
                                      .l = l,
                                      .i = i,
                                      .row0 = row0,
                                      .n = n,
                                      .groups = qep_n_groups(&l->spec, l->cols),
                                      .codes = codes,
                                      .scales = scales,
                                      .zeros = zeros,
                                      .g_idx = g_idx});
}
