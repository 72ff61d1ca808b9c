/* A hash from text to number, open addressing; keys stay where they are. Most words are short: the first eight bytes of a key lie in its slot, so that
 * looking up costs one read of memory. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "tokenizer_priv.h"

void qep_tok_map_init(qep_tok_map *m, int64_t count, int64_t values)
{
    *m = (qep_tok_map){.cap = 16, .n_keys = values};
    while (m->cap < 2 * count) m->cap *= 2;
    m->slots = qep_alloc("tokenizer.map", m->cap, sizeof *m->slots);
    m->keys = qep_alloc("tokenizer.map", values, sizeof *m->keys);
}

void qep_tok_map_free(qep_tok_map *m)
{
    qep_free(m->slots);
    qep_free(m->keys);
    *m = (qep_tok_map){0};
}

static uint64_t load8(const char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static uint64_t load4(const char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* The first bytes of a key, all of them where there are at most eight: equal heads and equal lengths are equal short keys. */
static inline uint64_t head_of(const char *key, int64_t n)
{
    if (n >= 8) return load8(key);
    if (n >= 4) return load4(key) | load4(key + n - 4) << 32;
    const unsigned char *s = (const unsigned char *)key;
    return n > 0 ? (uint64_t)s[0] | (uint64_t)s[n / 2] << 8 | (uint64_t)s[n - 1] << 16 : 0;
}

static inline uint64_t mix(uint64_t h)
{
    h *= UINT64_C(0x9E3779B97F4A7C15);
    return h ^ h >> 32;
}

static inline uint64_t hash_of(const char *key, int64_t n, uint64_t head)
{
    uint64_t h = mix(head + (uint64_t)n);
    if (n <= 8) return h;
    for (int64_t i = 8; i + 8 < n; i += 8) h = mix(h ^ load8(key + i));
    return mix(h ^ load8(key + n - 8));
}

/* The slot of the key, or the empty one where it belongs. n > 0 */
static inline qep_tok_slot *find(const qep_tok_map *m, const char *key, int64_t n, uint64_t head)
{
    for (uint64_t i = hash_of(key, n, head);; i++) {
        qep_tok_slot *s = &m->slots[i & (uint64_t)(m->cap - 1)];
        if (s->n == 0) return s;
        if (s->head == head && s->n == n && (n <= 8 || memcmp(m->keys[s->value], key, (size_t)n) == 0)) return s;
    }
}

int32_t qep_tok_map_get(const qep_tok_map *m, const char *key, int64_t n)
{
    if (n == 0 || m->cap == 0) return -1;
    const qep_tok_slot *s = find(m, key, n, head_of(key, n));
    return s->n > 0 ? s->value : -1;
}

bool qep_tok_map_add(qep_tok_map *m, const char *key, int64_t n, int32_t value)
{
    QEP_REQUIRE(value >= 0 && value < m->n_keys);
    if (n == 0) return false;
    const uint64_t head = head_of(key, n);
    qep_tok_slot *s = find(m, key, n, head);
    if (s->n > 0) return false;
    *s = (qep_tok_slot){.head = head, .n = qep_int(n), .value = value};
    m->keys[value] = key;
    return true;
}
