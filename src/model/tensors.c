/* Are all tensors there that the architecture needs, with the right shapes and a float type? And
 * which are there that nothing reads?
 * SPDX-License-Identifier: Apache-2.0 */
#include "model_priv.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { PACKED_PARTS = 4, TENSORS_BESIDE_BLOCKS = 2 + PACKED_PARTS, SHAPE_TEXT = 160 };

/* The tensors found so far. */
typedef struct tensor_list {
    const qep_st_tensor **at;
    int64_t n;
} tensor_list;

static const char *shape_text(int rank, const int64_t *shape, char *buf, size_t cap)
{
    size_t used = (size_t)snprintf(buf, cap, "[");
    for (int i = 0; i < rank && used < cap; i++)
        used += (size_t)snprintf(buf + used, cap - used, "%s%" PRId64, i ? ", " : "", shape[i]);
    if (used < cap) snprintf(buf + used, cap - used, "]");
    return buf;
}

/* cols 0: a vector. */
static qep_status find_tensor(const qep_model *m, const char *name, int64_t rows, int64_t cols,
                              tensor_list *found, const qep_st_tensor **out)
{
    const qep_st_tensor *t = qep_st_find(m->files, name);
    if (!t)
        return qep_fail(
            QEP_E_INPUT,
            "%s: no weight file holds the tensor \"%s\", which config.json asks for; is the "
            "model complete?",
            m->path, name);
    const char *file = qep_st_file(m->files, t->shard);
    const int64_t shape[2] = {rows, cols};
    const int rank = cols > 0 ? 2 : 1;
    if (t->rank != rank || t->shape[0] != rows || (rank == 2 && t->shape[1] != cols)) {
        char have[SHAPE_TEXT], want[SHAPE_TEXT];
        return qep_fail(QEP_E_INPUT, "%s: tensor \"%s\" has the shape %s; config.json asks for %s",
                        file, name, shape_text(t->rank, t->shape, have, sizeof have),
                        shape_text(rank, shape, want, sizeof want));
    }
    if (!qep_dtype_is_float(t->dtype))
        return qep_fail(
            QEP_E_INPUT,
            "%s: tensor \"%s\" has the type %s; supported are BF16, F16, F32 and F64 (convert "
            "the model first)",
            file, name, qep_dtype_name(t->dtype));
    found->at[found->n++] = t;
    if (out) *out = t;
    return QEP_OK;
}

static qep_status find_plain(const qep_model *m, const char *module, int64_t rows, int64_t cols,
                             tensor_list *found, const qep_st_tensor **out)
{
    char name[QEP_NAME_CAP];
    snprintf(name, sizeof name, "%s.weight", module);
    return find_tensor(m, name, rows, cols, found, out);
}

/* The weight of a linear: a tensor, or the parts of a packed one. */
static qep_status find_weight(const qep_model *m, const char *module, int64_t rows, int64_t cols,
                              tensor_list *found, const qep_st_tensor **out)
{
    const qep_packed_linear *l = qep_packed_find(m->packed, module);
    if (!l) return find_plain(m, module, rows, cols, found, out);
    if (l->rows != rows || l->cols != cols)
        return qep_fail(QEP_E_INPUT,
                        "%s: the packed weight of %s is [%" PRId64 ", %" PRId64
                        "]; config.json asks for [%" PRId64 ", %" PRId64 "]",
                        qep_st_file(m->files, l->codes_at->shard), module, l->rows, l->cols, rows,
                        cols);
    const qep_st_tensor *const parts[] = {l->codes_at, l->scales_at, l->zeros_at, l->groups_at, l->shape_at};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (parts[i]) found->at[found->n++] = parts[i];
    }
    return QEP_OK;
}

static qep_status find_block(const qep_model *m, int64_t block, tensor_list *found)
{
    char module[QEP_NAME_CAP - 8], name[QEP_NAME_CAP];
    for (int n = 0; n < QEP_N_NORMS; n++) {
        if (!m->arch.norms[n].name) continue;
        qep_model_norm_name(m, block, n, name, sizeof name);
        QEP_TRY(find_tensor(m, name, m->arch.norms[n].size, 0, found, NULL));
    }
    if (qep_arch_sparse(&m->arch, block))
        QEP_TRY(find_tensor(m, qep_model_router_name(m, block, name, sizeof name), m->arch.n_experts,
                            m->arch.hidden, found, NULL));
    for (int i = 0; i < qep_arch_n_linears(&m->arch, block); i++) {
        const qep_linear_shape l = qep_arch_linear(&m->arch, block, i);
        qep_model_linear_name(m, block, i, module, sizeof module);
        QEP_TRY(find_weight(m, module, l.rows, l.cols, found, NULL));
        snprintf(name, sizeof name, "%s.bias", module);
        if (l.bias) QEP_TRY(find_tensor(m, name, l.rows, 0, found, NULL));
    }
    return QEP_OK;
}

/* The head is the embedding when config.json says so, and also when the files hold no other (many
 * configurations leave the key out). */
static qep_status find_head(qep_model *m, tensor_list *found)
{
    const qep_arch *a = &m->arch;
    QEP_TRY(find_plain(m, qep_module_embed, a->vocab, a->hidden, found, &m->embed));
    QEP_TRY(find_plain(m, qep_module_final_norm, a->hidden, 0, found, &m->final_norm));
    m->lm_head = m->embed;
    m->arch.tied = a->tied || (!qep_model_weight_tensor(m, qep_module_lm_head) &&
                               !qep_packed_find(m->packed, qep_module_lm_head));
    if (m->arch.tied) return QEP_OK;
    m->lm_head = NULL;
    return find_weight(m, qep_module_lm_head, a->vocab, a->hidden, found, &m->lm_head);
}

static int by_address(const void *a, const void *b)
{
    const uintptr_t x = (uintptr_t)*(const qep_st_tensor *const *)a,
                    y = (uintptr_t)*(const qep_st_tensor *const *)b;
    return (x > y) - (x < y);
}

/* Tensors that are known to be superfluous: tables that the program computes itself, and the copy
 * of a tied head. */
static bool harmless(const qep_model *m, const char *name)
{
    static const char inv_freq[] = "rotary_emb.inv_freq";
    const size_t n = strlen(name), k = sizeof inv_freq - 1;
    if (n >= k && strcmp(name + n - k, inv_freq) == 0) return true;
    return m->arch.tied && strcmp(name, "lm_head.weight") == 0;
}

static void log_unused(const qep_model *m, tensor_list *found)
{
    int64_t strange = 0;
    const char *first = NULL;
    qsort(found->at, (size_t)found->n, sizeof found->at[0], by_address);
    for (int64_t i = 0; i < qep_st_count(m->files); i++) {
        const qep_st_tensor *t = qep_st_at(m->files, i);
        if (bsearch(&t, found->at, (size_t)found->n, sizeof found->at[0], by_address)) continue;
        qep_debug("%s: tensor \"%s\" is not used", qep_st_file(m->files, t->shard), t->name);
        if (harmless(m, t->name)) continue;
        if (strange++ == 0) first = t->name;
    }
    if (strange > 0)
        qep_warn(
            "%s: %" PRId64
            " tensors are not part of a %s model and are ignored, the first is \"%s\" (log_level = "
            "debug lists them)",
            m->path, strange, m->arch.family, first);
}

/* The factor of the embedding is a number of the model's type (formats.md 2.5). */
static void round_scale(qep_arch *a)
{
    const float exact = (float)a->embed_scale;
    double stored = 0.0;
    float rounded;
    qep_from_f32(&stored, a->dtype, &exact, 1);
    qep_to_f32(&rounded, &stored, a->dtype, 1);
    a->embed_scale = (double)rounded;
}

qep_status qep_model_check_tensors(qep_model *m)
{
    qep_status st;
    const int64_t per_block = QEP_N_NORMS + 1 + (PACKED_PARTS + 1) * (QEP_N_ROLES + 3 * m->arch.n_experts);
    tensor_list found = {.n = 0};
    found.at = qep_alloc("model.tensors", TENSORS_BESIDE_BLOCKS + m->arch.n_blocks * per_block,
                         sizeof found.at[0]);
    QEP_GO(st, find_head(m, &found));
    for (int64_t b = 0; b < m->arch.n_blocks; b++) QEP_GO(st, find_block(m, b, &found));
    if (m->arch.dtype == QEP_DTYPE_COUNT) m->arch.dtype = m->embed->dtype;
    round_scale(&m->arch);
    log_unused(m, &found);
done:
    qep_free(found.at);
    return st;
}
