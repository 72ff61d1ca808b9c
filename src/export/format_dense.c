/* The values of the codes in the model's own float type, under the source's names: loads wherever the
 * source does. SPDX-License-Identifier: Apache-2.0 */
#include "export_priv.h"

static int parts(const qep_export *e, const qep_export_linear *l, qep_part *out)
{
    out[0] = (qep_part){".weight", e->dense_dtype, 2, {l->rows, l->cols}, false, false};
    return 1;
}

/* First of n stored values that is not finite, -1 when all are. */
static int64_t find_unfit(qep_dtype dtype, const char *raw, int64_t n)
{
    float x[512];

    for (int64_t i = 0, m; i < n; i += m) {
        int64_t bad;

        m = qep_min_i64(n - i, (int64_t)(sizeof x / sizeof *x));
        qep_to_f32(x, raw + i * qep_dtype_size(dtype), dtype, m);
        bad = qep_find_nonfinite_f32(x, m);
        if (bad >= 0)
            return i + bad;
    }
    return -1;
}

qep_status qep_dense_put(qep_export *e, int64_t i, int64_t row0, int64_t n, const float *values)
{
    const qep_export_linear *l = &e->linears[i];
    int64_t cols = l->cols, size = qep_dtype_size(e->dense_dtype), bad;
    void *made = e->dense_dtype == QEP_F32 ? NULL : qep_alloc("export.rows", n * cols, (size_t)size);
    const void *raw = made ? made : values;
    qep_status st;

    if (made)
        qep_from_f32(made, e->dense_dtype, values, n * cols);
    bad = find_unfit(e->dense_dtype, raw, n * cols);
    if (bad >= 0)
        st = qep_fail(QEP_E_NUMERIC, "%s: row %lld, column %lld: the quantized weight is not "
                      "finite, or too large for %s", l->module, (long long)(row0 + bad / cols),
                      (long long)(bad % cols), qep_dtype_name(e->dense_dtype));
    else
        st = qep_st_write(e->writer, e->places[i].part[0], row0 * cols * size, n * cols * size,
                          raw);
    qep_free(made);
    return st;
}

static qep_status put(const qep_rows *r)
{
    float *values = qep_alloc("export.rows", r->n * r->l->cols, sizeof *values);
    qep_status st;

    qep_export_values(r->e, r->i, r->n, r->codes, r->scales, r->zeros, r->g_idx, values);
    st = qep_dense_put(r->e, r->i, r->row0, r->n, values);
    qep_free(values);
    return st;
}

const qep_format qep_format_dense = {.name = "dense", .parts = parts, .put = put};
