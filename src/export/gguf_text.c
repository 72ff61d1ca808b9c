/* Bytes of a GGUF header (ggml docs/gguf.md): little-endian, strings with a length of 8 bytes. SPDX-License-Identifier: Apache-2.0 */
#include "gguf_priv.h"

#include <string.h>

enum { U32 = 4, F32 = 6, BOOL = 7, STRING = 8, ARRAY = 9 };

void qep_gguf_put(qep_gguf_text *t, const void *p, int64_t n)
{
    if (t->n + n > t->cap) {
        t->cap = qep_max_i64(2 * t->cap, t->n + n + 4096);
        t->p = qep_realloc(t->p, "export.gguf", t->cap, 1);
    }
    if (n > 0)
        memcpy(t->p + t->n, p, (size_t)n);
    t->n += n;
}

static void put_le(qep_gguf_text *t, uint64_t v, int bytes)
{
    unsigned char b[8];

    for (int i = 0; i < bytes; i++)
        b[i] = (unsigned char)(v >> (8 * i) & 0xff);
    qep_gguf_put(t, b, bytes);
}

void qep_gguf_u32(qep_gguf_text *t, uint32_t v)
{
    put_le(t, v, 4);
}

void qep_gguf_u64(qep_gguf_text *t, uint64_t v)
{
    put_le(t, v, 8);
}

void qep_gguf_string(qep_gguf_text *t, const char *s)
{
    qep_gguf_u64(t, strlen(s));
    qep_gguf_put(t, s, (int64_t)strlen(s));
}

static void key(qep_gguf_text *t, const char *name, uint32_t type)
{
    qep_gguf_string(t, name);
    qep_gguf_u32(t, type);
    t->n_keys++;
}

void qep_gguf_key_u32(qep_gguf_text *t, const char *name, int64_t v)
{
    key(t, name, U32);
    qep_gguf_u32(t, (uint32_t)v);
}

void qep_gguf_key_f32(qep_gguf_text *t, const char *name, double v)
{
    float f = (float)v;
    uint32_t bits;

    memcpy(&bits, &f, sizeof bits);
    key(t, name, F32);
    qep_gguf_u32(t, bits);
}

void qep_gguf_key_bool(qep_gguf_text *t, const char *name, bool v)
{
    key(t, name, BOOL);
    put_le(t, v, 1);
}

void qep_gguf_key_string(qep_gguf_text *t, const char *name, const char *v)
{
    key(t, name, STRING);
    qep_gguf_string(t, v);
}

void qep_gguf_key_array(qep_gguf_text *t, const char *name, int type, int64_t n)
{
    key(t, name, ARRAY);
    qep_gguf_u32(t, (uint32_t)type);
    qep_gguf_u64(t, (uint64_t)n);
}
