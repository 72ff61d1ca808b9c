/* Unicode normalization forms, through utf8proc. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "tokenizer_priv.h"

/* The library's tables are those of Unicode 12.0: characters that came later, with a decomposition or a combining class of their own, stay as they are
 * there. As tests/tokenizer/make_categories.py finds them; utf8proc 2.8 knows Unicode 15. */
static const uint32_t unknown[][2] = {{0x32FF, 0x32FF}};

static bool is_unknown(uint32_t c)
{
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        if (c >= unknown[i][0] && c <= unknown[i][1]) return true;
    }
    return false;
}

static qep_status map_span(qep_tok_norm_kind kind, qep_tok_text t, qep_tok_buf *out)
{
    const bool compose = kind == QEP_TOK_NFC || kind == QEP_TOK_NFKC, compat = kind == QEP_TOK_NFKC || kind == QEP_TOK_NFKD;
    const unsigned options = UTF8PROC_STABLE | (compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) | (compat ? UTF8PROC_COMPAT : 0U);
    utf8proc_uint8_t *text = NULL;
    const utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)t.p, t.n, &text, (utf8proc_option_t)options);
    if (n < 0) return qep_fail(n == UTF8PROC_ERROR_NOMEM ? QEP_E_RESOURCE : QEP_E_INTERNAL, "utf8proc: %s", utf8proc_errmsg(n));
    qep_tok_put(out, (const char *)text, n);
    free(text);
    return QEP_OK;
}

/* Characters below `inert` neither change nor combine with what stands in front of them: spans between them are normalized by themselves, each with
 * the inert character that it may combine with. */
qep_status qep_tok_put_form(qep_tok_norm_kind kind, qep_tok_text t, qep_tok_buf *out)
{
    const uint32_t inert = kind == QEP_TOK_NFC ? 0x300 : kind == QEP_TOK_NFD ? 0xC0 : 0xA0;
    int64_t done = 0, before = 0; /* up to done: put out; before: begin of the last inert character behind done */
    for (int64_t at = 0, len; at < t.n; at += len) {
        int bytes;
        const uint32_t c = qep_tok_decode(t.p + at, &bytes);
        len = bytes;
        if (c < inert) {
            before = at;
            continue;
        }
        if (is_unknown(c)) {
            before = at + len;
            continue;
        }
        const int64_t begin = before < at && before >= done ? before : at;
        int64_t end = at;
        while (end < t.n) {
            const uint32_t d = qep_tok_decode(t.p + end, &bytes);
            if (d < inert || is_unknown(d)) break;
            end += bytes;
        }
        qep_tok_put(out, t.p + done, begin - done);
        QEP_TRY(map_span(kind, (qep_tok_text){t.p + begin, end - begin}, out));
        done = before = end;
        len = end - at;
    }
    qep_tok_put(out, t.p + done, t.n - done);
    return QEP_OK;
}
