/* Which quantized linear a tensor of the source belongs to. SPDX-License-Identifier: Apache-2.0 */
#include "export_priv.h"

#include <stdlib.h>

static int by_tensor(const void *a, const void *b)
{
    const uintptr_t x = (uintptr_t)((const qep_owner *)a)->tensor, y = (uintptr_t)((const qep_owner *)b)->tensor;

    return (x > y) - (x < y);
}

static void add(qep_owners *o, const qep_st_tensor *t, int64_t linear, bool is_bias)
{
    if (t)
        o->at[o->n++] = (qep_owner){t, linear, is_bias};
}

void qep_owners_list(const qep_export *e, qep_owners *o)
{
    enum { MOST = 2 + sizeof e->linears->replaced / sizeof *e->linears->replaced };

    *o = (qep_owners){.at = qep_alloc("export.plan", MOST * e->n_linears, sizeof *o->at)};
    for (int64_t i = 0; i < e->n_linears; i++) {
        const qep_export_linear *l = &e->linears[i];
        char *weight;

        if (!l->quantized)
            continue;
        weight = qep_strf("export.name", "%s.weight", l->module); /* a tied head has none of its own */
        add(o, qep_st_find(e->files, weight), i, false);
        qep_free(weight);
        add(o, l->bias, i, true);
        for (int k = 0; k < MOST - 2; k++)
            add(o, l->replaced[k], i, false);
    }
    qsort(o->at, (size_t)o->n, sizeof *o->at, by_tensor);
}

void qep_owners_free(qep_owners *o)
{
    qep_free(o->at);
    *o = (qep_owners){.at = NULL};
}

const qep_owner *qep_owner_of(const qep_owners *o, const qep_st_tensor *t)
{
    const qep_owner key = {.tensor = t};

    return o->n > 0 ? bsearch(&key, o->at, (size_t)o->n, sizeof *o->at, by_tensor) : NULL;
}
