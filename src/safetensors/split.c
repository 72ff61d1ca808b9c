/* Matrices that stand one after the other in one tensor, each under a name of its own.
 * SPDX-License-Identifier: Apache-2.0 */
#include "safetensors_priv.h"

#include <string.h>

static const qep_st_cut *cut_of(const qep_st_cut *cuts, int64_t n_cuts, const qep_st_tensor *t)
{
    for (int64_t k = 0; k < n_cuts; k++)
        if (cuts[k].tensor == t)
            return &cuts[k];
    return NULL;
}

/* Part i of a tensor. */
static qep_st_tensor part_of(const qep_st_cut *c, int64_t i, char *name)
{
    const qep_st_tensor *t = c->tensor;
    int64_t cols = t->shape[t->rank - 1];
    qep_st_tensor p = *t;

    QEP_REQUIRE(t->rank > 1 && t->bytes % c->n == 0);
    p.name = name;
    p.rank = 2;
    p.bytes = t->bytes / c->n;
    p.offset = t->offset + i * p.bytes;
    p.shape[0] = p.bytes / qep_dtype_size(t->dtype) / qep_max_i64(cols, 1);
    p.shape[1] = cols;
    return p;
}

qep_status qep_st_split(qep_st_set *s, const qep_st_cut *cuts, int64_t n_cuts)
{
    int64_t more = 0, bytes = 0, n = 0;
    qep_st_tensor *tensors;
    char *at;

    for (int64_t k = 0; k < n_cuts; k++) {
        more += cuts[k].n;
        for (int64_t i = 0; i < cuts[k].n; i++)
            bytes += (int64_t)strlen(cuts[k].names[i]) + 1;
    }
    if (more == 0)
        return QEP_OK;
    QEP_REQUIRE(!s->split_names);
    at = s->split_names = qep_alloc("safetensors.index", bytes, 1);
    tensors = qep_alloc("safetensors.index", s->n + more, sizeof *tensors);
    for (int64_t k = 0; k < s->n; k++) {
        const qep_st_cut *c = cut_of(cuts, n_cuts, &s->tensors[k]);

        if (!c)
            tensors[n++] = s->tensors[k];
        for (int64_t i = 0; c && i < c->n; i++) {
            size_t length = strlen(c->names[i]) + 1;

            tensors[n++] = part_of(c, i, memcpy(at, c->names[i], length));
            at += length;
        }
    }
    qep_free(s->tensors);
    qep_st_names_free(&s->index);
    s->tensors = tensors;
    s->n = n;
    return qep_st_set_seal(s);
}
