/* Growing bytes, UTF-8 and GPT-2's byte alphabet. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "tokenizer_priv.h"

void qep_tok_put(qep_tok_buf *b, const char *p, int64_t n)
{
    if (n > b->cap - b->n) {
        b->cap = qep_max_i64(2 * b->cap, b->n + n + 64);
        b->p = qep_realloc(b->p, "tokenizer.text", b->cap, 1);
    }
    if (n > 0) memcpy(b->p + b->n, p, (size_t)n);
    b->n += n;
}

void qep_tok_buf_free(qep_tok_buf *b)
{
    qep_free(b->p);
    *b = (qep_tok_buf){0};
}

/* --- UTF-8 ------------------------------------------------------------------------------------ */

uint32_t qep_tok_decode(const char *p, int *len)
{
    const unsigned char *s = (const unsigned char *)p;
    if (s[0] < 0x80) {
        *len = 1;
        return s[0];
    }
    if (s[0] < 0xE0) {
        *len = 2;
        return (s[0] & 0x1FU) << 6 | (s[1] & 0x3FU);
    }
    if (s[0] < 0xF0) {
        *len = 3;
        return (s[0] & 0x0FU) << 12 | (s[1] & 0x3FU) << 6 | (s[2] & 0x3FU);
    }
    *len = 4;
    return (s[0] & 0x07U) << 18 | (s[1] & 0x3FU) << 12 | (s[2] & 0x3FU) << 6 | (s[3] & 0x3FU);
}

int qep_tok_encode_utf8(uint32_t c, char out[4])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    const int n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (int i = n - 1; i > 0; i--, c >>= 6) out[i] = (char)(0x80 | (c & 0x3F));
    out[0] = (char)(lead[n] | c);
    return n;
}

/* Length of the character at p of at most n bytes; where it is ill-formed, minus the length of its longest start that could have
 * become a character (at least 1): table 3-7 of the Unicode standard. */
static int character(const unsigned char *p, int64_t n)
{
    const unsigned char a = p[0];
    if (a < 0x80) return 1;
    if (a < 0xC2 || a > 0xF4) return -1;
    const int len = a < 0xE0 ? 2 : a < 0xF0 ? 3 : 4;
    unsigned char low = 0x80, high = 0xBF;
    if (a == 0xE0) low = 0xA0;
    if (a == 0xED) high = 0x9F;
    if (a == 0xF0) low = 0x90;
    if (a == 0xF4) high = 0x8F;
    for (int i = 1; i < len; i++) {
        if (i >= n || p[i] < low || p[i] > high) return -i;
        low = 0x80;
        high = 0xBF;
    }
    return len;
}

int64_t qep_tok_valid_prefix(const char *p, int64_t n, int64_t at)
{
    const unsigned char *s = (const unsigned char *)p;
    while (at < n) {
        uint64_t word;
        if (n - at >= 8 && (memcpy(&word, s + at, 8), (word & UINT64_C(0x8080808080808080)) == 0)) {
            at += 8;
            continue;
        }
        const int len = character(s + at, n - at);
        if (len < 0) return at;
        at += len;
    }
    return n;
}

void qep_tok_replace_invalid(const char *p, int64_t n, qep_tok_buf *out)
{
    for (int64_t at = 0; at < n;) {
        const int64_t good = qep_tok_valid_prefix(p, n, at);
        qep_tok_put(out, p + at, good - at);
        if (good == n) return;
        qep_tok_put(out, "\xEF\xBF\xBD", 3);
        at = good - character((const unsigned char *)p + good, n - good);
    }
}

/* --- the byte alphabet ------------------------------------------------------------------------ */

/* Printable Latin-1 stands for itself; the other 68 bytes, in increasing order, are U+0100, U+0101, ...
 * (encoder.py of GPT-2, bytes_to_unicode). */
static bool stands_for_itself(uint32_t b)
{
    return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || (b >= 0xAE && b <= 0xFF);
}

uint32_t qep_tok_byte_char(unsigned char b)
{
    if (stands_for_itself(b)) return b;
    return 0x100U + (b < 0x21 ? b : b < 0xA1 ? b - 0x7FU + 0x21U : 0x43U);
}

int qep_tok_char_byte(uint32_t c)
{
    if (c < 0x100) return stands_for_itself(c) ? (int)c : -1;
    if (c < 0x121) return (int)(c - 0x100);
    if (c < 0x143) return (int)(c - 0x121 + 0x7F);
    return c == 0x143 ? 0xAD : -1;
}

bool qep_tok_alphabet_bytes(const char *p, int64_t n, qep_tok_buf *out)
{
    for (int64_t at = 0; at < n;) {
        int len;
        const int b = qep_tok_char_byte(qep_tok_decode(p + at, &len));
        if (b < 0) return false;
        const char c = (char)b;
        qep_tok_put(out, &c, 1);
        at += len;
    }
    return true;
}

void qep_tok_put_alphabet(qep_tok_text text, qep_tok_buf *out)
{
    for (int64_t i = 0; i < text.n; i++) {
        char c[4];
        qep_tok_put(out, c, qep_tok_encode_utf8(qep_tok_byte_char((unsigned char)text.p[i]), c));
    }
}

int64_t qep_tok_last_char(qep_tok_text t)
{
    int64_t i = t.n - 1;
    while (i > 0 && ((unsigned char)t.p[i] & 0xC0) == 0x80) i--;
    return i;
}
