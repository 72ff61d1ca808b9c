/* A hash from text to number, open addressing; keys stay where they are. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "tokenizer_priv.h"

void qep_tok_map_init(qep_tok_map *m, int64_t expected)
{
    *m = (qep_tok_map){.cap = 16};
    while (m->cap < 2 * expected) m->cap *= 2;
    m->slots = qep_alloc("tokenizer.map", m->cap, sizeof *m->slots);
}

void qep_tok_map_free(qep_tok_map *m)
{
    qep_free(m->slots);
    *m = (qep_tok_map){0};
}

/* The slot of the key, or the empty one where it belongs. */
static qep_tok_slot *find(const qep_tok_map *m, const char *key, int64_t n, uint64_t hash)
{
    for (uint64_t i = hash;; i++) {
        qep_tok_slot *s = &m->slots[i & (uint64_t)(m->cap - 1)];
        if (!s->key || (s->hash == hash && s->n == n && memcmp(s->key, key, (size_t)n) == 0)) return s;
    }
}

int32_t qep_tok_map_get(const qep_tok_map *m, const char *key, int64_t n)
{
    if (m->cap == 0) return -1;
    const qep_tok_slot *s = find(m, key, n, qep_hash64(key, (size_t)n, 0));
    return s->key ? s->value : -1;
}

static void grow(qep_tok_map *m)
{
    const qep_tok_map old = *m;
    qep_tok_map_init(m, old.cap);
    m->used = old.used;
    for (int64_t i = 0; i < old.cap; i++) {
        const qep_tok_slot *s = &old.slots[i];
        if (s->key) *find(m, s->key, s->n, s->hash) = *s;
    }
    qep_free(old.slots);
}

bool qep_tok_map_add(qep_tok_map *m, const char *key, int64_t n, int32_t value)
{
    if (2 * m->used >= m->cap) grow(m);
    const uint64_t hash = qep_hash64(key, (size_t)n, 0);
    qep_tok_slot *s = find(m, key, n, hash);
    if (s->key) return false;
    *s = (qep_tok_slot){.key = key, .n = qep_int(n), .value = value, .hash = hash};
    m->used++;
    return true;
}
