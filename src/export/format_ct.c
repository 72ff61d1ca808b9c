/* compressed-tensors, "pack-quantized" (formats.md 4): each row its own bit stream; zero points
 * packed along the rows. Codes and zero points are signed there and stored with an offset of
 * 2^(bits - 1), which makes them the same unsigned numbers as ours. SPDX-License-Identifier: Apache-2.0 */
#include "export_priv.h"

enum { WEIGHT_PACKED, WEIGHT_SCALE, WEIGHT_SHAPE, ZERO_POINT, N_PARTS };

static qep_status check(const qep_export_request *rq, const qep_export_linear *l)
{
    qep_settings s = qep_settings_of(l);

    (void)rq;
    if (!s.desc_act)
        return QEP_OK;
    return qep_fail(QEP_E_CONFIG, "%s: act_order with groups formed in processing order: the "
                    "engines that read compressed-tensors do not take it; set static_groups = yes "
                    "or act_order = no, or write [output] format = gptq or gptq_v2", l->module);
}

static int parts(const qep_export *e, const qep_export_linear *l, qep_part *out)
{
    int64_t groups = qep_n_groups(&l->spec, l->cols);

    (void)e;
    out[WEIGHT_PACKED] = (qep_part){
        ".weight_packed", QEP_I32, 2, {l->rows, qep_packed_words(l->cols, l->spec.bits)}, false, false};
    out[WEIGHT_SCALE] = (qep_part){".weight_scale", QEP_F16, 2, {l->rows, groups}, false, false};
    out[WEIGHT_SHAPE] = (qep_part){".weight_shape", QEP_I64, 1, {2, 0}, true, false};
    if (l->spec.symmetric)
        return ZERO_POINT;
    out[ZERO_POINT] = (qep_part){
        ".weight_zero_point", QEP_I32, 2, {qep_packed_words(l->rows, l->spec.bits), groups}, false, false};
    return N_PARTS;
}

static qep_status put_codes(const qep_rows *r)
{
    const qep_st_tensor *t = r->e->places[r->i].part[WEIGHT_PACKED];
    int64_t words = t->shape[1];
    uint32_t *block = qep_alloc("export.rows", r->n * words, sizeof *block);
    qep_status st;

    for (int64_t k = 0; k < r->n; k++)
        qep_pack_bits(block + k * words, r->codes + k * r->l->cols, 1, r->l->cols,
                      r->l->spec.bits);
    st = qep_st_write(r->e->writer, t, r->row0 * words * 4, r->n * words * 4, block);
    qep_free(block);
    return st;
}

/* Rows [row0, row0 + n) fill whole words, as row0 is a multiple of 32. */
static qep_status put_zeros(const qep_rows *r)
{
    int64_t groups = r->groups, words = qep_packed_words(r->n, r->l->spec.bits);
    uint8_t *stored = qep_alloc("export.rows", r->n * groups, 1);
    uint32_t *line = qep_alloc("export.rows", words, sizeof *line);
    uint32_t *block = qep_alloc("export.rows", words * groups, sizeof *block);
    qep_status st;

    QEP_GO(st, qep_rows_zeros(r, 0, stored));
    for (int64_t g = 0; g < groups; g++) {
        qep_pack_bits(line, stored + g, groups, r->n, r->l->spec.bits);
        for (int64_t w = 0; w < words; w++)
            block[w * groups + g] = line[w];
    }
    st = qep_st_write(r->e->writer, r->e->places[r->i].part[ZERO_POINT],
                      r->row0 * r->l->spec.bits / 32 * groups * 4, words * groups * 4, block);

done:
    qep_free(block);
    qep_free(line);
    qep_free(stored);
    return st;
}

static qep_status put_scales(const qep_rows *r)
{
    uint16_t *block = qep_alloc("export.rows", r->n * r->groups, sizeof *block);
    qep_status st = qep_rows_scales(r, false, block);

    if (st == QEP_OK)
        st = qep_st_write(r->e->writer, r->e->places[r->i].part[WEIGHT_SCALE],
                          r->row0 * r->groups * 2, r->n * r->groups * 2, block);
    qep_free(block);
    return st;
}

static qep_status put(const qep_rows *r)
{
    const int64_t shape[2] = {r->l->rows, r->l->cols};

    QEP_TRY(put_codes(r));
    QEP_TRY(put_scales(r));
    if (!r->l->spec.symmetric)
        QEP_TRY(put_zeros(r));
    if (r->row0 > 0)
        return QEP_OK;
    QEP_TRY(qep_rows_check_g_idx(r));
    return qep_st_write(r->e->writer, r->e->places[r->i].part[WEIGHT_SHAPE], 0, sizeof shape,
                        shape);
}

/* The reader forbids keys that it does not know, so there is no room for ours. */
static qep_json *scheme(const qep_settings *s, qep_json *targets)
{
    qep_json *w = qep_json_new_object(), *o = qep_json_new_object();

    qep_json_set(w, "num_bits", qep_json_new_int(s->bits));
    qep_json_set(w, "type", qep_json_new_string("int"));
    qep_json_set(w, "symmetric", qep_json_new_bool(s->sym));
    qep_json_set(w, "strategy", qep_json_new_string(s->group_size == -1 ? "channel" : "group"));
    qep_json_set(w, "group_size",
                 s->group_size == -1 ? qep_json_new_null() : qep_json_new_int(s->group_size));
    qep_json_set(w, "block_structure", qep_json_new_null());
    qep_json_set(w, "dynamic", qep_json_new_bool(false));
    qep_json_set(w, "actorder", qep_json_new_null());
    qep_json_set(w, "observer", qep_json_new_string("memoryless_minmax"));
    qep_json_set(w, "observer_kwargs", qep_json_new_object());
    qep_json_set(o, "targets", targets);
    qep_json_set(o, "weights", w);
    qep_json_set(o, "input_activations", qep_json_new_null());
    qep_json_set(o, "output_activations", qep_json_new_null());
    return o;
}

/* Modules of the settings s that no earlier group has taken; marks them as taken. */
static qep_json *take_modules(const qep_export_request *rq, const qep_settings *s, bool *taken)
{
    qep_json *names = qep_json_new_array();

    for (int64_t i = 0; i < rq->n_linears; i++) {
        const qep_export_linear *l = &rq->linears[i];
        qep_settings own = qep_settings_of(l);

        if (!l->quantized || taken[i] || !qep_settings_same(s, &own, l->cols))
            continue;
        taken[i] = true;
        qep_json_append(names, qep_json_new_string(l->module));
    }
    return names;
}

static int64_t quantized_count(const qep_export_request *rq)
{
    int64_t n = 0;

    for (int64_t i = 0; i < rq->n_linears; i++)
        n += rq->linears[i].quantized;
    return n;
}

/* One set of settings: for every Linear that is not in "ignore". Several: modules by name. */
static qep_json *groups_json(const qep_export_request *rq)
{
    qep_settings s = qep_settings_common(rq->linears, rq->n_linears);
    bool *taken = qep_alloc("export.config", rq->n_linears, sizeof *taken);
    qep_json *groups = qep_json_new_object(), *first = take_modules(rq, &s, taken);
    int64_t n = 1;

    if (qep_json_size(first) == quantized_count(rq)) {
        qep_json_free(&first);
        first = qep_json_new_array();
        qep_json_append(first, qep_json_new_string("Linear"));
    }
    qep_json_set(groups, "group_0", scheme(&s, first));
    for (int64_t i = 0; i < rq->n_linears; i++) {
        char name[32];

        if (!rq->linears[i].quantized || taken[i])
            continue;
        s = qep_settings_of(&rq->linears[i]);
        snprintf(name, sizeof name, "group_%lld", (long long)n++);
        qep_json_set(groups, name, scheme(&s, take_modules(rq, &s, taken)));
    }
    qep_free(taken);
    return groups;
}

static qep_json *config(const qep_export_request *rq)
{
    qep_json *q = qep_json_new_object();

    qep_json_set(q, "quant_method", qep_json_new_string("compressed-tensors"));
    qep_json_set(q, "format", qep_json_new_string("pack-quantized"));
    qep_json_set(q, "quantization_status", qep_json_new_string("compressed"));
    qep_json_set(q, "global_compression_ratio", qep_json_new_null());
    qep_json_set(q, "kv_cache_scheme", qep_json_new_null());
    qep_json_set(q, "ignore", qep_unquantized_modules(rq));
    qep_json_set(q, "config_groups", groups_json(rq));
    return q;
}

const qep_format qep_format_ct = {
    .name = "compressed-tensors", .packed = true, .fuses = true, .check = check, .parts = parts,
    .put = put, .config = config};
