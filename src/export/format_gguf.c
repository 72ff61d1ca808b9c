/* GGUF for llama.cpp (formats.md 6): one file with metadata, tokenizer and all tensors; a type for each tensor. Codes go into the smallest type that holds
 * them exactly; what no type holds becomes Q8_0 of its values, and the largest difference is told. SPDX-License-Identifier: Apache-2.0 */
#include "gguf_priv.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 32, VERSION = 3 };

/* --- what it can hold --------------------------------------------------------------------------- */

static qep_status check(const qep_export_request *rq, const qep_export_linear *l)
{
    (void)rq;
    if (l->cols % 32 == 0)
        return QEP_OK;
    return qep_fail(QEP_E_CONFIG, "%s: its weight has %lld columns, but gguf packs blocks of 32; "
                    "leave the module unquantized with an [override ...] match = %s, method = none, "
                    "or choose another format", l->module, (long long)l->cols, l->module);
}

/* Number of a linear's expert. */
static int64_t expert_of(const qep_export_linear *l)
{
    size_t n = qep_mixture_length(l->module);

    return n > 0 ? strtoll(l->module + n + 1, NULL, 10) : 0;
}

static int parts(const qep_export *e, const qep_export_linear *l, qep_part *out)
{
    int64_t row_bytes = qep_gguf_row_bytes(l);

    out[0] = (qep_part){".weight", QEP_U8, 2, {l->rows, row_bytes, 0}, false, false};
    if (qep_mixture_length(l->module) > 0)
        out[0] = (qep_part){".weight", QEP_U8, 3, {qep_gguf_n_experts(e->config), l->rows, row_bytes},
                            false, expert_of(l) > 0};
    return 1;
}

/* --- the plan of the file ------------------------------------------------------------------------- */

/* Vectors are F32 there. */
static qep_status copied(qep_export *e, const qep_st_tensor *src, char **name, qep_copied *c)
{
    qep_gguf_place place;

    *name = qep_gguf_name(e->arch, e->config, src->name, &place);
    if (!*name)
        return qep_fail(QEP_E_CONFIG, "output.format = gguf: llama.cpp's name of the tensor \"%s\" "
                        "is not known; choose another format", src->name);
    if (place.is_expert)
        return qep_fail(QEP_E_CONFIG, "output.format = gguf: \"%s\" is not quantized, and the experts of a layer "
                        "are one tensor there; quantize them, or choose another format", src->name);
    c->heads = place.heads;
    c->more = place.more;
    c->dtype = src->rank == 1 || strstr(*name, "ffn_gate_inp") ? QEP_F32 : src->dtype; /* routers too */
    return QEP_OK;
}

static char *name_of(const qep_export *e, const char *name)
{
    qep_gguf_place place;

    return qep_gguf_name(e->arch, e->config, name, &place);
}

static uint32_t type_id(const qep_export *e, int64_t tensor)
{
    static const struct {
        qep_dtype dtype;
        qep_gguf_type id;
    } plain[] = {{QEP_F32, QEP_GGUF_F32}, {QEP_F16, QEP_GGUF_F16}, {QEP_BF16, QEP_GGUF_BF16}};
    const qep_st_tensor *t = qep_st_layout_at(e->layout, tensor);
    bool exact;

    for (int64_t i = 0; i < e->n_linears; i++)
        if (e->linears[i].quantized && e->places[i].part[0] == t)
            return qep_gguf_type_of(&e->linears[i], &exact)->id;
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (plain[i].dtype == t->dtype)
            return plain[i].id;
    return UINT32_MAX;
}

/* Dimensions of a tensor as there, fastest first. */
static int dimensions(const qep_export *e, int64_t tensor, int64_t *dims)
{
    const qep_st_tensor *t = qep_st_layout_at(e->layout, tensor);

    for (int64_t i = 0; i < e->n_linears; i++)
        if (e->linears[i].quantized && e->places[i].part[0] == t) {
            dims[0] = e->linears[i].cols;
            dims[1] = e->linears[i].rows;
            dims[2] = t->rank == 3 ? t->shape[0] : 1;
            return t->rank;
        }
    for (int i = 0; i < t->rank; i++)
        dims[i] = t->shape[t->rank - 1 - i];
    return t->rank;
}

static qep_status put_infos(const qep_export *e, int64_t *offsets, int64_t *bytes,
                            qep_gguf_text *t)
{
    *bytes = 0;
    for (int64_t k = 0; k < qep_st_layout_count(e->layout); k++) {
        const qep_st_tensor *tensor = qep_st_layout_at(e->layout, k);
        uint32_t type = type_id(e, k);
        int64_t dims[QEP_ST_MAX_RANK];
        int rank = dimensions(e, k, dims);

        if (type == UINT32_MAX)
            return qep_fail(QEP_E_CONFIG, "output.format = gguf: tensor \"%s\" has a type that is "
                            "not written there; F32, F16 and BF16 are", tensor->name);
        qep_gguf_string(t, tensor->name);
        qep_gguf_u32(t, (uint32_t)rank);
        for (int i = 0; i < rank; i++)
            qep_gguf_u64(t, (uint64_t)dims[i]);
        qep_gguf_u32(t, type);
        qep_gguf_u64(t, (uint64_t)*bytes);
        offsets[k] = *bytes;
        *bytes = qep_round_up(*bytes + tensor->bytes, ALIGNMENT);
    }
    return QEP_OK;
}

/* Head, keys, tensor infos; padded to where the data begin. */
static qep_status finish(qep_export *e, const qep_export_request *rq)
{
    static const char zeros[ALIGNMENT] = "";
    qep_gguf_text keys = {0}, t = {0};
    int64_t *offsets = qep_alloc("export.gguf", qep_st_layout_count(e->layout), sizeof *offsets);
    int64_t bytes = 0;
    qep_status st = QEP_OK;

    QEP_GO(st, qep_gguf_metadata(rq, e->config, e->arch, &keys));
    qep_gguf_key_string(&keys, "qep_mpi.run", QEP_ST_STAMP_MARK "0000000000000000\"");
    qep_gguf_put(&t, "GGUF", 4);
    qep_gguf_u32(&t, VERSION);
    qep_gguf_u64(&t, (uint64_t)qep_st_layout_count(e->layout));
    qep_gguf_u64(&t, (uint64_t)keys.n_keys);
    qep_gguf_put(&t, keys.p, keys.n);
    QEP_GO(st, put_infos(e, offsets, &bytes, &t));
    qep_gguf_put(&t, zeros, qep_round_up(t.n, ALIGNMENT) - t.n);
    qep_st_layout_finish_as(e->layout, QEP_GGUF_FILE, t.p, t.n, offsets, bytes);
    t.p = NULL; /* taken */

done:
    qep_free(t.p);
    qep_free(keys.p);
    qep_free(offsets);
    return st;
}

/* Before tensors are planned: the family, and a tensor of its own for llama3's frequencies. */
static qep_status begin(qep_export *e, const qep_json *config)
{
    int64_t n;

    QEP_TRY(qep_gguf_find_arch(config, &e->arch));
    QEP_TRY(qep_gguf_check_experts(config, e->arch));
    e->config = qep_json_copy(config);
    if (e->head_quantized && strcmp(qep_gguf_arch_name(e->arch), "gemma2") == 0)
        return qep_fail(QEP_E_CONFIG, "output.format = gguf: llama.cpp takes the head of a gemma2 model from the "
                        "embedding; leave it as it is with [quantization] lm_head = no");
    e->extra = qep_gguf_rope_factors(config, &n);
    return e->extra ? qep_st_layout_add(e->layout, "rope_freqs.weight", QEP_F32, 1, &n) : QEP_OK;
}

/* llama.cpp's name of a linear's weight. */
static char *weight_name(const qep_export *e, const char *module, qep_gguf_place *place)
{
    char *ours = qep_strf("export.name", "%s.weight", module);
    char *theirs = qep_gguf_name(e->arch, e->config, ours, place);

    qep_free(ours);
    return theirs;
}

/* --- rows --------------------------------------------------------------------------------------------- */

static void stored_values(const qep_export_linear *l, int64_t n, float *values)
{
    bool exact;

    (void)qep_gguf_type_of(l, &exact);
    for (int64_t r = 0; !exact && r < n; r++)
        (void)qep_gguf_round_row(values + r * l->cols, l->cols, NULL);
}

/* Rows as blocks [n, row bytes]. */
static qep_status encode(const qep_rows *r, bool exact, int64_t row_bytes, uint8_t *out)
{
    const qep_export_linear *l = r->l;
    float *values = exact ? NULL : qep_alloc("export.rows", l->cols, sizeof *values);
    uint16_t *half = qep_alloc("export.rows", r->n * r->groups, sizeof *half);
    qep_status st = qep_rows_scales(r, false, half); /* positive and F16 */

    for (int64_t n = 0; n < r->n && st == QEP_OK; n++) {
        const uint8_t *codes = r->codes + n * l->cols, *zeros = r->zeros + n * r->groups;
        const float *scales = r->scales + n * r->groups;
        double worst;

        if (exact) {
            qep_gguf_exact_row(l, codes, scales, zeros, out + n * row_bytes);
            continue;
        }
        qep_grid_values(1, l->cols, r->groups, codes, scales, zeros, r->g_idx, values);
        worst = qep_gguf_round_row(values, l->cols, out + n * row_bytes);
#pragma omp critical(qep_gguf_worst)
        r->e->worst = worst > r->e->worst ? worst : r->e->worst;
    }
    qep_free(half);
    qep_free(values);
    return st;
}

static qep_status put(const qep_rows *r)
{
    const qep_st_tensor *t = r->e->places[r->i].part[0];
    int64_t row_bytes = qep_gguf_row_bytes(r->l), begin = expert_of(r->l) * r->l->rows + r->row0;
    uint8_t *blocks = qep_alloc("export.rows", r->n * row_bytes, 1);
    qep_gguf_place place;
    bool exact;
    qep_status st;

    (void)qep_gguf_type_of(r->l, &exact);
    qep_free(weight_name(r->e, r->l->module, &place));
    QEP_GO(st, encode(r, exact, row_bytes, blocks));
    if (place.heads == 0) {
        st = qep_st_write(r->e->writer, t, begin * row_bytes, r->n * row_bytes, blocks);
        goto done;
    }
    for (int64_t n = 0; n < r->n; n++)
        QEP_GO(st, qep_st_write(r->e->writer, t,
                                qep_st_interleaved(r->row0 + n, r->l->rows, place.heads) * row_bytes,
                                row_bytes, blocks + n * row_bytes));

done:
    qep_free(blocks);
    return st;
}

/* Linears by type. */
void qep_gguf_describe(const qep_export *e)
{
    static const qep_gguf_type types[] = {QEP_GGUF_Q2_K, QEP_GGUF_Q3_K, QEP_GGUF_Q4_0,
                                          QEP_GGUF_Q4_K, QEP_GGUF_Q5_0, QEP_GGUF_Q8_0};

    for (size_t k = 0; k < sizeof types / sizeof *types; k++)
        for (int exactly = 0; exactly < 2; exactly++) {
            int64_t n = 0;
            bool exact;

            for (int64_t i = 0; i < e->n_linears; i++)
                n += e->linears[i].quantized &&
                     qep_gguf_type_of(&e->linears[i], &exact)->id == types[k] &&
                     exact == exactly;
            if (n > 0)
                qep_info("  %lld linears as %s, %s", (long long)n, qep_gguf_block_of(types[k])->name,
                         exactly ? "codes held exactly" : "their values rounded to it");
        }
}

void qep_gguf_tell_rounding_all(qep_comm *c, const qep_export *e)
{
    double worst = e->worst;

    qep_max_f64_all(c, &worst, 1);
    if (worst > 0)
        qep_info("values that GGUF does not hold exactly: the largest difference is %.3e", worst);
}

const qep_format qep_format_gguf = {.name = "gguf", .packed = true, .stacks = true, .check = check, .parts = parts,
                                    .put = put, .begin = begin, .copied = copied, .finish = finish,
                                    .name_of = name_of, .values = stored_values};
