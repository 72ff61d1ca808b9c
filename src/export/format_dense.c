/* The values of the codes in the model's own float type, under the source's names: loads wherever the
 * source does. SPDX-License-Identifier: Apache-2.0 */
#include "export_priv.h"

static int parts(const qep_export *e, const qep_export_linear *l, qep_part *out)
{
    out[0] = (qep_part){".weight", e->dense_dtype, 2, {l->rows, l->cols}, false};
    return 1;
}

static qep_status put(const qep_rows *r)
{
    const qep_export_linear *l = r->l;
    qep_export *e = r->e;
    int64_t cols = l->cols, size = qep_dtype_size(e->dense_dtype), bad;
    float *values = qep_alloc("export.rows", r->n * cols, sizeof *values);
    void *raw = qep_alloc("export.rows", r->n * cols, (size_t)size);
    qep_status st = QEP_OK;

    qep_export_values(e, r->i, r->n, r->codes, r->scales, r->zeros, r->g_idx, values);
    bad = qep_find_nonfinite_f32(values, r->n * cols);
    if (bad >= 0) {
        st = qep_fail(QEP_E_NUMERIC, "%s: row %lld, column %lld: the quantized weight is not "
                      "finite, or too large for %s", l->module, (long long)(r->row0 + bad / cols),
                      (long long)(bad % cols), qep_dtype_name(e->dense_dtype));
        goto done;
    }
    qep_from_f32(raw, e->dense_dtype, values, r->n * cols);
    st = qep_st_write(e->writer, e->places[r->i].part[0], r->row0 * cols * size,
                      r->n * cols * size, raw);

done:
    qep_free(raw);
    qep_free(values);
    return st;
}

const qep_format qep_format_dense = {.name = "dense", .parts = parts, .put = put};
