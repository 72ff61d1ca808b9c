/* Tensor name -> index: open addressing with linear probing, at most half full.
 * SPDX-License-Identifier: Apache-2.0 */
#include "safetensors_priv.h"

#include <string.h>

/* Slot that holds name, or the empty slot where it belongs. */
static int64_t probe(const int64_t *slots, int64_t n_slots, const qep_st_tensor *tensors,
                     const char *name)
{
    uint64_t mask = (uint64_t)n_slots - 1;
    uint64_t at = qep_hash64(name, strlen(name), 0) & mask;

    while (slots[at] != 0 && strcmp(tensors[slots[at] - 1].name, name) != 0)
        at = (at + 1) & mask;
    return (int64_t)at;
}

static void grow(qep_st_names *m, const qep_st_tensor *tensors)
{
    int64_t n_slots = m->n_slots > 0 ? 2 * m->n_slots : 64;
    int64_t *slots = qep_alloc("safetensors.names", n_slots, sizeof *slots);

    for (int64_t i = 0; i < m->n_slots; i++)
        if (m->slots[i] != 0)
            slots[probe(slots, n_slots, tensors, tensors[m->slots[i] - 1].name)] = m->slots[i];
    qep_free(m->slots);
    m->slots = slots;
    m->n_slots = n_slots;
}

bool qep_st_names_add(qep_st_names *m, const qep_st_tensor *tensors, int64_t index)
{
    int64_t at;

    if (2 * (m->n + 1) > m->n_slots)
        grow(m, tensors);
    at = probe(m->slots, m->n_slots, tensors, tensors[index].name);
    if (m->slots[at] != 0)
        return false;
    m->slots[at] = index + 1;
    m->n++;
    return true;
}

int64_t qep_st_names_find(const qep_st_names *m, const qep_st_tensor *tensors, const char *name)
{
    if (m->n == 0)
        return -1;
    return m->slots[probe(m->slots, m->n_slots, tensors, name)] - 1;
}

void qep_st_names_free(qep_st_names *m)
{
    qep_free(m->slots);
    memset(m, 0, sizeof *m);
}
