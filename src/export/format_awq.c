/* AWQ in its GEMM layout (formats.md 5): 4 bits; words along the rows, eight of them interleaved;
 * zero points in the same order and as they are. SPDX-License-Identifier: Apache-2.0 */
#include "export_priv.h"

#include <string.h>

enum { QWEIGHT, QZEROS, SCALES, N_PARTS };

/* Row 8 c + order[i] is nibble i of word c. */
static const int order[8] = {0, 2, 4, 6, 1, 3, 5, 7};

/* One configuration holds for all modules. */
static qep_status check_common(const qep_export_request *rq, const qep_export_linear *l)
{
    qep_settings common = qep_settings_common(rq->linears, rq->n_linears);
    qep_settings s = qep_settings_of(l);

    if (qep_settings_width(&s, l->cols) == qep_settings_width(&common, l->cols))
        return QEP_OK;
    return qep_fail(QEP_E_CONFIG, "%s: group_size %lld differs from the %lld of most modules, and "
                    "an awq configuration has one for all; make them equal, leave the module "
                    "unquantized with method = none, or write [output] format = "
                    "compressed-tensors or gptq_v2", l->module, (long long)s.group_size,
                    (long long)common.group_size);
}

static qep_status check(const qep_export_request *rq, const qep_export_linear *l)
{
    char text[512];

    if (l->spec.bits != 4)
        return qep_fail(QEP_E_CONFIG, "%s: bits = %d, but the awq format holds 4 bits only; %s",
                        l->module, l->spec.bits, qep_engines_instead(l, text, sizeof text));
    if (qep_settings_of(l).desc_act)
        return qep_fail(QEP_E_CONFIG, "%s: act_order with groups formed in processing order cannot "
                        "be stored in the awq format, which has no g_idx; set static_groups = yes "
                        "or act_order = no, or write [output] format = gptq or gptq_v2", l->module);
    if (l->rows % 8 != 0)
        return qep_fail(QEP_E_CONFIG, "%s: its weight is [%lld, %lld], but the awq format packs "
                        "eight rows in a word; leave the module unquantized with an [override ...] "
                        "match = %s, method = none, or write [output] format = compressed-tensors "
                        "or dense", l->module, (long long)l->rows, (long long)l->cols, l->module);
    if (strcmp(l->module, "lm_head") == 0)
        return qep_fail(QEP_E_CONFIG, "quantization.lm_head = yes: the engines that read awq keep "
                        "lm_head unquantized; set it to no, or write [output] format = gptq or "
                        "gptq_v2");
    return check_common(rq, l);
}

static int parts(const qep_export *e, const qep_export_linear *l, qep_part *out)
{
    int64_t groups = qep_n_groups(&l->spec, l->cols);

    (void)e;
    out[QWEIGHT] = (qep_part){".qweight", QEP_I32, 2, {l->cols, l->rows / 8}, false, false};
    out[QZEROS] = (qep_part){".qzeros", QEP_I32, 2, {groups, l->rows / 8}, false, false};
    out[SCALES] = (qep_part){".scales", QEP_F16, 2, {groups, l->rows}, false, false};
    return N_PARTS;
}

/* [n, width] values of 4 bits -> columns [row0 / 8, (row0 + n) / 8) of [width, rows / 8] words */
static qep_status put_words(const qep_rows *r, int part, const uint8_t *values, int64_t width)
{
    int64_t words = r->n / 8;
    uint32_t *block = qep_alloc("export.rows", width * words, sizeof *block);
    qep_status st;

    for (int64_t w = 0; w < words; w++)
        for (int i = 0; i < 8; i++) {
            const uint8_t *row = values + (w * 8 + order[i]) * width;

            for (int64_t k = 0; k < width; k++)
                block[k * words + w] |= (uint32_t)row[k] << (4 * i);
        }
    st = qep_st_write_columns(r->e->writer, r->e->places[r->i].part[part], width, r->l->rows / 2,
                              r->row0 / 2, words * 4, block);
    qep_free(block);
    return st;
}

static qep_status put_zeros(const qep_rows *r)
{
    uint8_t *stored = qep_alloc("export.rows", r->n * r->groups, 1);
    qep_status st = qep_rows_zeros(r, 0, stored);

    if (st == QEP_OK)
        st = put_words(r, QZEROS, stored, r->groups);
    qep_free(stored);
    return st;
}

static qep_status put(const qep_rows *r)
{
    QEP_TRY(put_words(r, QWEIGHT, r->codes, r->l->cols));
    QEP_TRY(put_zeros(r));
    QEP_TRY(qep_rows_put_scales(r, SCALES));
    return r->row0 == 0 ? qep_rows_check_g_idx(r) : QEP_OK;
}

/* What stays as it is, by its name in the files, and what it is a part of where that is run as one. */
static qep_json *names_without(const qep_export_request *rq)
{
    qep_json *names = qep_unquantized_modules(rq);
    int64_t n = qep_json_size(names);

    for (int64_t i = 0; i < n; i++) {
        char *whole = qep_fused_name(qep_json_string(qep_json_at(names, i)));

        if (whole)
            qep_json_append(names, qep_json_new_string(whole));
        qep_free(whole);
    }
    return names;
}

static qep_json *config(const qep_export_request *rq)
{
    qep_settings s = qep_settings_common(rq->linears, rq->n_linears);
    qep_json *q = qep_json_new_object();

    qep_json_set(q, "quant_method", qep_json_new_string("awq"));
    qep_json_set(q, "version", qep_json_new_string("gemm"));
    qep_json_set(q, "bits", qep_json_new_int(s.bits));
    qep_json_set(q, "group_size", qep_json_new_int(s.group_size));
    qep_json_set(q, "zero_point", qep_json_new_bool(true));
    qep_json_set(q, "modules_to_not_convert", names_without(rq));
    return q;
}

const qep_format qep_format_awq = {
    .name = "awq", .packed = true, .f16_bias = true, .fuses = true, .check = check, .parts = parts,
    .put = put, .config = config};
