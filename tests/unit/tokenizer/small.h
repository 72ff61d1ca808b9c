/* A small tokenizer.json written in a test: single quotes stand for double ones. SPDX-License-Identifier: Apache-2.0 */
#ifndef SMALL_H
#define SMALL_H
#include "qep/tokenizer.h"
#include "qep_test.h"

static inline char *quoted(const char *text)
{
    char *out = qep_strdup("test", text);
    for (char *p = out; *p; p++) {
        if (*p == '\'') *p = '"';
    }
    return out;
}

static inline qep_tokenizer *small(const char *text)
{
    qep_tokenizer *t = NULL;
    char *json = quoted(text);
    assert_ok(qep_tokenizer_parse(json, (int64_t)strlen(json), "small.json", &t));
    qep_free(json);
    return t;
}

/* The spellings of the ids of a text, with '|' between them. */
static inline void assert_pieces(const qep_tokenizer *t, const char *text, bool add_special, const char *want)
{
    int32_t *ids;
    int64_t n;
    char got[1024] = "";
    assert_ok(qep_tokenizer_encode(t, text, (int64_t)strlen(text), add_special, &ids, &n));
    for (int64_t i = 0; i < n; i++) {
        const size_t used = strlen(got);
        snprintf(got + used, sizeof got - used, "%s%s", i > 0 ? "|" : "", qep_tokenizer_piece(t, ids[i]));
    }
    qep_free(ids);
    assert_string_equal(got, want);
}
#endif
