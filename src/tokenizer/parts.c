/* Places where a text can be parted so that its parts, encoded each by itself, give the ids of the whole: between an ASCII letter and a blank that a letter
 * follows, "a| b".
 *
 * Byte-level patterns (GPT-2, Llama-3, Qwen2): no alternative has a letter with a blank behind it, so a word ends there whatever stands around; words on
 * the left look behind themselves only over blanks (\s+(?!\S)), which the letter stops; no pattern looks back. NFC leaves ASCII as it is.
 * Characters with U+2581 for blanks: all of the text may be one word, but no merge joins the letter and the mark (qep_tok_joins), so that none reaches
 * across (bpe.c cuts long words at the same places).
 * Added tokens: none may reach across, take in the blank from the left, ask what stands on the other side, or end there in the raw text (what follows it
 * is normalized by itself, with a mark put in front).
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "tokenizer_priv.h"

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_blank(const char *p)
{
    return *p == ' ' || strncmp(p, qep_tok_mark, strlen(qep_tok_mark)) == 0;
}

static bool stays_on_a_side(const qep_tok_added *a)
{
    const char *p = a->pattern;
    if ((a->rstrip || !a->normalized) && is_letter(p[strlen(p) - 1])) return false;
    if (a->single_word && is_blank(p)) return false;
    for (; *p; p++)
        if (is_letter(p[0]) && is_blank(p + 1)) return false;
    return true;
}

bool qep_tok_can_part(const qep_tokenizer *t)
{
    if (t->family == QEP_TOKENIZER_OTHER) return false;
    if (t->family == QEP_TOKENIZER_SPM && (t->bpe.no_cuts || t->bpe.ignore_merges)) return false;
    for (int64_t i = 0; i < t->n_added; i++)
        if (!stays_on_a_side(&t->added[i])) return false;
    return true;
}

/* No merge joins this letter and the mark; both are tokens. */
static bool ends_before_mark(const qep_tokenizer *t, char letter)
{
    const int32_t left = t->bpe.ascii_id[(unsigned char)letter], right = qep_tok_map_get(t->bpe.vocab, qep_tok_mark, (int64_t)strlen(qep_tok_mark));
    return left >= 0 && right >= 0 && !qep_tok_joins(&t->bpe, left, right);
}

int64_t qep_tokenizer_part(const qep_tokenizer *t, const char *text, int64_t bytes, int64_t from)
{
    if (!t->can_part) return -1;
    for (int64_t p = qep_max_i64(from, 1); p + 1 < bytes; p++) {
        const char *blank = memchr(text + p, ' ', (size_t)(bytes - 1 - p));
        if (!blank) return -1;
        p = blank - text;
        if (is_letter(text[p - 1]) && is_letter(text[p + 1]) && (t->family != QEP_TOKENIZER_SPM || ends_before_mark(t, text[p - 1]))) return p;
    }
    return -1;
}
