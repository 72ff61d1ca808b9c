/* GPTQ checkpoints, v1 and v2 (formats.md 3.1 to 3.6): codes packed down the columns, one column of
 * words for each row of the weight. They differ in the zero points alone: v1 stores zero - 1, so that
 * zero = 0 does not fit. SPDX-License-Identifier: Apache-2.0 */
#include "export_priv.h"

#include <string.h>

enum { QWEIGHT, QZEROS, SCALES, G_IDX, N_PARTS };

static qep_status check(const qep_export_request *rq, const qep_export_linear *l)
{
    if (l->rows % 32 == 0 && l->cols % 32 == 0)
        return QEP_OK;
    return qep_fail(QEP_E_CONFIG, "%s: its weight is [%lld, %lld], but the %s format packs %s in "
                    "words of 32 values and needs a multiple of 32; leave the module unquantized "
                    "with an [override ...] match = %s, method = none, or write [output] format = "
                    "compressed-tensors or dense", l->module, (long long)l->rows,
                    (long long)l->cols, rq->format, l->rows % 32 != 0 ? "rows" : "columns",
                    l->module);
}

static int parts(const qep_export *e, const qep_export_linear *l, qep_part *out)
{
    int64_t groups = qep_n_groups(&l->spec, l->cols);

    (void)e;
    out[QWEIGHT] = (qep_part){
        ".qweight", QEP_I32, 2, {qep_packed_words(l->cols, l->spec.bits), l->rows}, false, false};
    out[QZEROS] = (qep_part){
        ".qzeros", QEP_I32, 2, {groups, qep_packed_words(l->rows, l->spec.bits)}, false, false};
    out[SCALES] = (qep_part){".scales", QEP_F16, 2, {groups, l->rows}, false, false};
    out[G_IDX] = (qep_part){".g_idx", QEP_I32, 1, {l->cols, 0}, true, false};
    return N_PARTS;
}

/* [n, cols] codes -> columns [row0, row0 + n) of qweight [cols * bits / 32, rows] */
static qep_status put_codes(const qep_rows *r)
{
    const qep_st_tensor *t = r->e->places[r->i].part[QWEIGHT];
    int64_t n = r->n, cols = r->l->cols, words = t->shape[0];
    uint32_t *line = qep_alloc("export.rows", words, sizeof *line);
    uint32_t *block = qep_alloc("export.rows", words * n, sizeof *block);
    qep_status st;

    for (int64_t k = 0; k < n; k++) {
        qep_pack_bits(line, r->codes + k * cols, 1, cols, r->l->spec.bits);
        for (int64_t w = 0; w < words; w++)
            block[w * n + k] = line[w];
    }
    st = qep_st_write_columns(r->e->writer, t, words, r->l->rows * 4, r->row0 * 4, n * 4, block);
    qep_free(block);
    qep_free(line);
    return st;
}

/* [n, G] zeros -> columns of qzeros [G, rows * bits / 32] */
static qep_status put_zeros(const qep_rows *r)
{
    const qep_st_tensor *t = r->e->places[r->i].part[QZEROS];
    int64_t groups = r->groups, words = qep_packed_words(r->n, r->l->spec.bits);
    uint8_t *stored = qep_alloc("export.rows", r->n * groups, 1);
    uint32_t *block = qep_alloc("export.rows", groups * words, sizeof *block);
    qep_status st;

    QEP_GO(st, qep_rows_zeros(r, r->e->format->zero_min, stored));
    for (int64_t g = 0; g < groups; g++)
        qep_pack_bits(block + g * words, stored + g, groups, r->n, r->l->spec.bits);
    st = qep_st_write_columns(r->e->writer, t, groups, t->shape[1] * 4,
                              r->row0 * r->l->spec.bits / 8, words * 4, block);

done:
    qep_free(block);
    qep_free(stored);
    return st;
}

static qep_status put(const qep_rows *r)
{
    QEP_TRY(put_codes(r));
    QEP_TRY(put_zeros(r));
    QEP_TRY(qep_rows_put_scales(r, SCALES));
    if (r->row0 > 0)
        return QEP_OK;
    QEP_TRY(qep_rows_check_g_idx(r));
    return qep_st_write(r->e->writer, r->e->places[r->i].part[G_IDX], 0, r->l->cols * 4,
                        r->g_idx);
}

static bool uses_static_groups(const qep_export_request *rq)
{
    bool used = false;

    for (int64_t i = 0; i < rq->n_linears; i++)
        used = used || (rq->linears[i].quantized && rq->linears[i].spec.static_groups);
    return used;
}

static qep_json *config(const qep_export_request *rq)
{
    qep_json *q = qep_json_new_object();

    qep_json_set(q, "quant_method", qep_json_new_string("gptq"));
    qep_json_set(q, "checkpoint_format", qep_json_new_string(rq->format));
    qep_json_set(q, "format", qep_json_new_string(rq->format));
    qep_json_set(q, "static_groups", qep_json_new_bool(uses_static_groups(rq)));
    qep_json_set(q, "true_sequential", qep_json_new_bool(true));
    qep_json_set(q, "damp_percent", qep_json_new_real(rq->damping));
    qep_json_set(q, "pack_dtype", qep_json_new_string("int32"));
    qep_settings_put(rq, q);
    return q;
}

const qep_format qep_format_gptq = {
    .name = "gptq", .packed = true, .f16_bias = true, .fuses = true, .zero_min = 1, .check = check,
    .parts = parts, .put = put, .config = config, .config_alone = true, .has_meta = true};

const qep_format qep_format_gptq_v2 = {
    .name = "gptq_v2", .packed = true, .f16_bias = true, .fuses = true, .zero_min = 0,
    .check = check, .parts = parts, .put = put, .config = config, .config_alone = true,
    .has_meta = true};
