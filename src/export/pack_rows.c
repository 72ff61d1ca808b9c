/* Scales, zero points and g_idx as packed formats store them, with what none of them can hold refused.
 * SPDX-License-Identifier: Apache-2.0 */
#include "export_priv.h"

#include <math.h>

qep_status qep_rows_scales(const qep_rows *r, bool by_group, uint16_t *out)
{
    for (int64_t n = 0; n < r->n; n++)
        for (int64_t g = 0; g < r->groups; g++) {
            float v = r->scales[n * r->groups + g];
            uint16_t half = qep_f32_to_f16(v);
            float back = qep_f16_to_f32(half);

            if (!(back > 0) || isinf(back))
                return qep_fail(QEP_E_NUMERIC, "%s: row %lld, group %lld: scale %g cannot be "
                                "stored as a positive F16", r->l->module,
                                (long long)(r->row0 + n), (long long)g, (double)v);
            out[by_group ? g * r->n + n : n * r->groups + g] = half;
        }
    return QEP_OK;
}

qep_status qep_rows_put_scales(const qep_rows *r, int part)
{
    uint16_t *block = qep_alloc("export.rows", r->groups * r->n, sizeof *block);
    qep_status st = qep_rows_scales(r, true, block);

    if (st == QEP_OK)
        st = qep_st_write_columns(r->e->writer, r->e->places[r->i].part[part], r->groups,
                                  r->l->rows * 2, r->row0 * 2, r->n * 2, block);
    qep_free(block);
    return st;
}

qep_status qep_rows_zeros(const qep_rows *r, int minus, uint8_t *out)
{
    for (int64_t k = 0; k < r->n * r->groups; k++) {
        if (r->zeros[k] < minus || r->zeros[k] >> r->l->spec.bits != 0)
            return qep_fail(QEP_E_INTERNAL, "%s: row %lld: zero point %d cannot be stored in the "
                            "%s format (%d to %d)", r->l->module,
                            (long long)(r->row0 + k / r->groups), r->zeros[k],
                            r->e->format->name, minus, (1 << r->l->spec.bits) - 1);
        out[k] = (uint8_t)(r->zeros[k] - minus);
    }
    return QEP_OK;
}

qep_status qep_rows_check_g_idx(const qep_rows *r)
{
    qep_settings s = qep_settings_of(r->l);
    int64_t width = qep_settings_width(&s, r->l->cols);

    for (int64_t k = 0; k < r->l->cols; k++)
        if (r->g_idx[k] < 0 || r->g_idx[k] >= r->groups ||
            (!s.desc_act && r->g_idx[k] != k / width))
            return qep_fail(QEP_E_INTERNAL, "%s: column %lld has group %d, which its settings do "
                            "not allow", r->l->module, (long long)k, (int)r->g_idx[k]);
    return QEP_OK;
}
