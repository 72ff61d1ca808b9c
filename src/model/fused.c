/* Experts of a layer that are stored in two tensors, as transformers 5 holds them in memory: gate_up_proj [experts, 2 inter, hidden], gate rows
 * first, and down_proj [experts, hidden, inter]. Their matrices get the names that they have where experts are stored one by one; from there on
 * nothing knows the difference.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model_priv.h"

#include <inttypes.h>

static const qep_st_tensor *find_fused(const qep_model *m, int64_t block, const char *moe, const char *part)
{
    char name[QEP_NAME_CAP];
    const int n = snprintf(name, sizeof name, "model.layers.%" PRId64 ".%s.experts.%s", block, moe, part);
    QEP_REQUIRE(n > 0 && (size_t)n < sizeof name);
    return qep_st_find(m->files, name);
}

/* Another order of the axes (rows and columns exchanged, gate and up interleaved) would be read without a sign. */
static qep_status check_shape(const qep_model *m, const qep_st_tensor *t, int64_t rows, int64_t cols)
{
    if (t->rank == 3 && t->shape[0] == m->arch.n_experts && t->shape[1] == rows && t->shape[2] == cols && qep_dtype_is_float(t->dtype)) return QEP_OK;
    return qep_fail(QEP_E_INPUT,
                    "%s: tensor \"%s\" holds the experts of a layer in a layout that is not known; supported are floats [%" PRId64 ", %" PRId64 ", %" PRId64
                    "], or experts one by one (transformers' save_pretrained writes those)",
                    qep_st_file(m->files, t->shard), t->name, m->arch.n_experts, rows, cols);
}

/* Transformers 5 calls every family's experts mlp.experts in memory; an engine looks for the published names. */
static qep_status refuse_renamed(const qep_model *m, int64_t block)
{
    const qep_st_tensor *t = find_fused(m, block, "mlp", "gate_up_proj");
    if (!t) return QEP_OK;
    return qep_fail(QEP_E_INPUT,
                    "%s: tensor \"%s\": the experts of a %s model are expected in %s.experts; this file has the names that transformers 5 uses in "
                    "memory: write it again with save_pretrained(..., save_original_format=True)",
                    qep_st_file(m->files, t->shard), t->name, m->arch.family, m->arch.moe);
}

/* The parts of t: gate and up, or down, of each expert. */
static qep_st_cut cut_of(const qep_model *m, int64_t block, const qep_st_tensor *t, bool down)
{
    const qep_arch *a = &m->arch;
    const int64_t per = down ? 1 : 2;
    qep_st_cut c = {.tensor = t, .n = per * a->n_experts, .names = qep_alloc("model.fused", per * a->n_experts, sizeof *c.names)};
    for (int64_t i = 0; i < c.n; i++) {
        char module[QEP_NAME_CAP];
        qep_model_linear_name(m, block, qep_arch_expert_linear(a, i / per, down ? 2 : (int)(i % per)), module, sizeof module);
        c.names[i] = qep_strf("model.fused", "%s.weight", module);
    }
    return c;
}

static qep_status add_cuts(const qep_model *m, int64_t block, qep_st_cut *cuts, int64_t *n)
{
    const qep_arch *a = &m->arch;
    const qep_st_tensor *t[2] = {find_fused(m, block, a->moe, "gate_up_proj"), find_fused(m, block, a->moe, "down_proj")};
    if (!t[0] && !t[1]) return refuse_renamed(m, block);
    if (t[0]) QEP_TRY(check_shape(m, t[0], 2 * a->expert_inter, a->hidden));
    if (t[1]) QEP_TRY(check_shape(m, t[1], a->hidden, a->expert_inter));
    for (int i = 0; i < 2; i++)
        if (t[i]) cuts[(*n)++] = cut_of(m, block, t[i], i == 1);
    return QEP_OK;
}

qep_status qep_model_split_experts(qep_model *m)
{
    qep_status st = QEP_OK;
    int64_t n = 0;
    if (m->arch.n_sparse == 0 || m->packed) return QEP_OK;
    qep_st_cut *cuts = qep_alloc("model.fused", 2 * m->arch.n_blocks, sizeof *cuts);
    for (int64_t b = 0; b < m->arch.n_blocks && st == QEP_OK; b++)
        if (qep_arch_sparse(&m->arch, b)) st = add_cuts(m, b, cuts, &n);
    if (st == QEP_OK && n > 0) {
        qep_info("%s: the experts of a layer are stored together; they are written one by one", m->path);
        st = qep_st_split(m->files, cuts, n);
    }
    for (int64_t k = 0; k < n; k++) {
        for (int64_t i = 0; i < cuts[k].n; i++) qep_free(cuts[k].names[i]);
        qep_free(cuts[k].names);
    }
    qep_free(cuts);
    return st;
}
