/* Mixtures of experts: which blocks have them, and how their linears are numbered (formats.md 2.3).
 * SPDX-License-Identifier: Apache-2.0 */
#include "model_priv.h"

#include <inttypes.h>

static const int64_t max_experts = INT64_C(1) << 14, max_width = INT64_C(1) << 24;

bool qep_arch_sparse(const qep_arch *a, int64_t block)
{
    return block >= 0 && block < a->n_blocks && (a->sparse[block / 8] >> (block % 8) & 1);
}

/* mlp_only_layers lists blocks without experts; of the others each decoder_sparse_step-th has them. */
static qep_status set_sparse(const qep_keys *k, qep_arch *a)
{
    int64_t step;
    const qep_json *dense = qep_key(k, "mlp_only_layers");
    QEP_TRY(qep_key_size(k, "decoder_sparse_step", QEP_MAX_BLOCKS, 1, &step));
    for (int64_t b = step - 1; b < a->n_blocks; b += step) a->sparse[b / 8] |= (uint8_t)(1U << (b % 8));
    for (int64_t i = 0; dense && i < qep_json_size(dense); i++) {
        const qep_json *v = qep_json_at(dense, i);
        const int64_t b = qep_json_type(v) == QEP_JSON_INT ? qep_json_int(v) : -1;
        if (b < 0 || b >= a->n_blocks)
            return qep_fail(QEP_E_INPUT, "%s: key \"mlp_only_layers\", entry %" PRId64 ": it must be the number of a layer, 0..%" PRId64, k->source,
                            i, a->n_blocks - 1);
        a->sparse[b / 8] &= (uint8_t)~(1U << (b % 8));
    }
    for (int64_t b = 0; b < a->n_blocks; b++) a->n_sparse += qep_arch_sparse(a, b);
    return QEP_OK;
}

qep_status qep_arch_parse_experts(const qep_keys *k, const qep_family *f, qep_arch *a)
{
    if (!f->moe) return QEP_OK;
    QEP_REQUIRE(!f->norms[QEP_NORM_MLP_OUT]); /* qep_block_experts adds the outputs as they are */
    /* transformers 5 writes num_local_experts for every family */
    const char *count = qep_key(k, f->count_key) ? f->count_key : "num_local_experts";
    QEP_TRY(qep_key_size(k, count, max_experts, f->n_experts, &a->n_experts));
    QEP_TRY(qep_key_size(k, "num_experts_per_tok", a->n_experts, qep_min_i64(f->top_k, a->n_experts), &a->top_k));
    QEP_TRY(qep_key_size(k, f->size_key, max_width, 0, &a->expert_inter));
    a->renormalize = f->always_renormalize;
    if (!f->always_renormalize) QEP_TRY(qep_key_bool(k, "norm_topk_prob", false, &a->renormalize));
    a->moe = f->moe;
    for (int i = 0; i < 3; i++) a->expert_parts[i] = f->expert_parts[i];
    return set_sparse(k, a);
}

int qep_arch_expert_linear(const qep_arch *a, int64_t expert, int part)
{
    return a->group_first[2] + 3 * (int)expert + part;
}

int qep_arch_n_linears(const qep_arch *a, int64_t block)
{
    return qep_arch_sparse(a, block) ? qep_arch_expert_linear(a, a->n_experts, 0) : a->n_linears;
}

int64_t qep_arch_linears_before(const qep_arch *a, int64_t block)
{
    int64_t n = 0;
    for (int64_t b = 0; b < block; b++) n += qep_arch_n_linears(a, b);
    return n;
}

qep_linear_shape qep_arch_linear(const qep_arch *a, int64_t block, int linear)
{
    const int i = linear - a->group_first[2];
    QEP_REQUIRE(linear >= 0 && linear < qep_arch_n_linears(a, block));
    if (i < 0 || !qep_arch_sparse(a, block)) return a->linears[linear];
    const bool down = i % 3 == 2;
    return (qep_linear_shape){.group = down ? 3 : 2,
                              .rows = down ? a->hidden : a->expert_inter,
                              .cols = down ? a->expert_inter : a->hidden};
}
