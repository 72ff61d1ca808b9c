/* The blocks of a linear in GGUF files (formats.md 6.3). Where a type keeps no zero point but the settings say that the grid is symmetric, or where it does, the object
 * is the one that was written; else only code - zero is there, and the object is what the blocks hold. SPDX-License-Identifier: Apache-2.0 */
#include "gptq_priv.h"

#include "qep/gguf.h"

typedef struct state {
    qep_gptq_config *config; /* what was quantized how */
    const qep_json *types;   /* by tensor */
} state;

static const qep_gguf_block *block_of(const qep_packed *p, const qep_packed_linear *l)
{
    const state *s = p->state;
    const qep_json *type = qep_json_get(s->types, l->codes_at->name);

    return qep_gguf_block_of(type ? qep_json_int(type) : -1);
}

static qep_status find(const qep_packed *p, qep_packed_linear *l)
{
    const state *s = p->state;
    const qep_gguf_block *have = block_of(p, l);
    qep_gptq_settings own;
    bool exact, quantized;
    int64_t width;

    if (!have || l->codes_at->rank != 2)
        return qep_packed_wrong(p, l, "its tensor is no matrix of blocks");
    QEP_TRY(qep_gptq_settings_of(s->config, l->module, &own, &quantized));
    if (!quantized)
        return qep_packed_wrong(p, l, "it is packed, but its file says that it is not quantized");
    l->rows = l->codes_at->shape[0];
    l->cols = l->codes_at->shape[1] / have->bytes * have->weights;
    width = own.group_size == -1 ? l->cols : qep_min_i64(own.group_size, l->cols);
    if (l->cols % width != 0)
        return qep_packed_wrong(p, l, "the group_size of its settings does not divide its columns");
    if (have != qep_gguf_block_for((int)own.bits, own.sym, own.desc_act, width, &exact))
        return qep_packed_wrong(p, l, "its type is not the one that its settings ask for");
    l->rounded = !exact;
    l->differences = !exact || (!own.sym && have->zero >= 0);
    l->bits = l->differences ? have->bits : (int)own.bits;
    l->symmetric = l->differences || own.sym;
    l->groups = l->cols / (exact ? width : have->weights);
    return QEP_OK;
}

static qep_status open(qep_packed *p)
{
    state *s = qep_alloc("packed.linears", 1, sizeof *s);

    p->state = s;
    p->name = "gguf";
    s->types = qep_json_get(qep_st_metadata(p->files, 0), "gguf_types");
    QEP_TRY(qep_gptq_config_read(p, &s->config));
    for (int64_t i = 0; i < qep_st_count(p->files); i++)
        if (qep_st_at(p->files, i)->dtype == QEP_U8)
            QEP_TRY(qep_packed_add_tensor(p, qep_st_at(p->files, i), ".weight", find));
    return QEP_OK;
}

static void close(qep_packed *p)
{
    state *s = p->state;

    if (s)
        qep_gptq_config_free(s->config);
    qep_free(s);
}

static qep_status expects(const qep_packed *p, const char *module, bool *yes)
{
    const state *s = p->state;
    qep_gptq_settings own;

    return qep_gptq_settings_of(s->config, module, &own, yes);
}

/* A group's blocks: one scale and one zero point, codes of the linear's bits. */
static qep_status read_group(const qep_packed *p, const qep_packed_linear *l, const qep_gguf_block *t,
                             const uint8_t *in, uint8_t *codes, float *scale, uint8_t *zero)
{
    int64_t width = l->cols / l->groups;
    int add, z = 0;
    float s = 0;

    for (int64_t k = 0; k < width; k += t->weights, in += t->bytes) {
        bool first = k == 0;
        int z_here;
        float s_here;

        if (!qep_gguf_get_block(t, in, codes + k, &s_here, &z_here) ||
            (!first && (s_here != s || z_here != z)))
            return qep_packed_wrong(p, l, "a block is not as it was written");
        s = s_here;
        z = z_here;
    }
    *zero = (uint8_t)(l->symmetric ? 1 << (l->bits - 1) : z);
    add = *zero - z;
    for (int64_t k = 0; k < width; k++) {
        int code = codes[k] + add;

        if (code < 0 || code >> l->bits != 0)
            return qep_packed_wrong(p, l, "a code is outside of the range of its bits");
        codes[k] = (uint8_t)code;
    }
    *scale = s;
    return *zero >> l->bits == 0 ? qep_packed_check_scales(p, l, scale, 1)
                                 : qep_packed_wrong(p, l, "a zero point is outside of the range of its codes");
}

static qep_status read(const qep_packed *p, const qep_packed_linear *l, int64_t row0, int64_t n,
                       uint8_t *codes, float *scales, uint8_t *zeros)
{
    const qep_gguf_block *t = block_of(p, l);
    int64_t row_bytes = l->codes_at->shape[1], width = l->cols / l->groups;
    uint8_t *rows = qep_alloc("packed.rows", n * row_bytes, 1);
    qep_status st;

    QEP_GO(st, qep_st_read_rows(p->files, l->codes_at, row0, n, rows));
    for (int64_t i = 0; i < n * l->groups; i++) {
        int64_t r = i / l->groups, g = i % l->groups;

        QEP_GO(st, read_group(p, l, t, rows + r * row_bytes + g * width / t->weights * t->bytes,
                              codes + r * l->cols + g * width, scales + i, zeros + i));
    }

done:
    qep_free(rows);
    return st;
}

static qep_status groups(const qep_packed *p, const qep_packed_linear *l, int32_t *g_idx)
{
    (void)p;
    qep_packed_groups_in_order(l, g_idx);
    return QEP_OK;
}

const qep_packed_format_ops qep_packed_gguf = {"gguf", open, close, expects, read, groups};
