/* Ways of cutting text that have a name. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "tokenizer_priv.h"

/* Sources: pre_tokenizers/byte_level.rs of the library; tokenizer.json of Llama-3 and of Qwen2. */
const char qep_tok_gpt2_pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
static const char llama3_pattern[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+"
                                     "|\\s+(?!\\S)|\\s+";
const char qep_tok_qwen2_pattern[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+"
                                    "|\\s+(?!\\S)|\\s+";

const char qep_tok_mark[] = "\xE2\x96\x81";

static bool cuts_by(const qep_tokenizer *t, const char *pattern)
{
    const qep_tok_step *s = t->splits.step;
    return t->bpe.byte_level && t->splits.n == 1 && s->kind == QEP_TOK_SPLIT && s->behavior == QEP_TOK_ISOLATED && !s->invert &&
           strcmp(qep_tok_regex_source(s->regex), pattern) == 0;
}

/* Blanks become U+2581, by the normalizer (with one in front) or by Metaspace. */
static bool marks_blanks(const qep_tokenizer *t)
{
    const qep_tok_norm *n = t->norms.step;
    const qep_tok_step *s = t->splits.step;
    const int64_t prepends = t->norms.n > 0 && n[0].kind == QEP_TOK_PREPEND && strcmp(n[0].text, qep_tok_mark) == 0;
    if (t->norms.n == 0) return t->splits.n > 0 && s->kind == QEP_TOK_METASPACE && strcmp(s->mark, qep_tok_mark) == 0;
    if (t->norms.n != prepends + 1 || t->splits.n > 0) return false;
    n += prepends;
    return n->kind == QEP_TOK_REPLACE && n->what && strcmp(n->what, " ") == 0 && strcmp(n->text, qep_tok_mark) == 0;
}

qep_tokenizer_family qep_tok_family(const qep_tokenizer *t)
{
    const bool plain = t->norms.n == 0, nfc = t->norms.n == 1 && t->norms.step[0].kind == QEP_TOK_NFC;
    if (plain && cuts_by(t, qep_tok_gpt2_pattern)) return QEP_TOKENIZER_GPT2;
    if (plain && cuts_by(t, llama3_pattern)) return QEP_TOKENIZER_LLAMA3;
    if (nfc && cuts_by(t, qep_tok_qwen2_pattern)) return QEP_TOKENIZER_QWEN2;
    if (!t->bpe.byte_level && t->bpe.byte_fallback && marks_blanks(t)) return QEP_TOKENIZER_SPM;
    return QEP_TOKENIZER_OTHER;
}
