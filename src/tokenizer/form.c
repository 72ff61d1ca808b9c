/* Unicode normalization forms, through utf8proc. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "tokenizer_priv.h"

/* The library's tables are those of Unicode 9: characters of later versions that decompose, combine or compose by newer tables stay as they are there. As
 * tests/tokenizer/make_categories.py finds them up to Unicode 14; whatever came later is in qep_tok_newer. */
static const uint32_t newer_forms[][2] = {
    {0x7FD, 0x7FD},     {0x898, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},     {0xC3C, 0xC3C},     {0xD3B, 0xD3C},     {0xEBA, 0xEBA},
    {0x1715, 0x1715},   {0x1ABF, 0x1ACE},   {0x1DF6, 0x1DFA},   {0x32FF, 0x32FF},   {0xA7F2, 0xA7F4},   {0xA82C, 0xA82C},   {0xAB69, 0xAB69},
    {0x10781, 0x10785}, {0x10787, 0x107B0}, {0x107B2, 0x107BA}, {0x10D24, 0x10D27}, {0x10EAB, 0x10EAC}, {0x10F46, 0x10F50}, {0x10F82, 0x10F85},
    {0x11070, 0x11070}, {0x1133B, 0x1133B}, {0x1145E, 0x1145E}, {0x11839, 0x1183A}, {0x11930, 0x11930}, {0x11935, 0x11935}, {0x11938, 0x11938},
    {0x1193D, 0x1193E}, {0x11943, 0x11943}, {0x119E0, 0x119E0}, {0x11A34, 0x11A34}, {0x11A47, 0x11A47}, {0x11A99, 0x11A99}, {0x11D42, 0x11D42},
    {0x11D44, 0x11D45}, {0x11D97, 0x11D97}, {0x16FF0, 0x16FF1}, {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF}, {0x1F16C, 0x1F16C},
    {0x1FBF0, 0x1FBF9}};

static bool in_newer_forms(uint32_t c)
{
    size_t low = 0, high = sizeof newer_forms / sizeof *newer_forms;
    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        if (newer_forms[mid][1] < c) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low < sizeof newer_forms / sizeof *newer_forms && c >= newer_forms[low][0];
}

/* A character that the library's tables do not know: it neither changes nor combines. */
static bool is_unknown(uint32_t c)
{
    if (c >= 0x3400 && c < 0xA000) return false; /* Han, the most frequent case */
    return in_newer_forms(c) || qep_tok_is_newer(c);
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
