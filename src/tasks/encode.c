/* From a context and a continuation to tokens, by lm-evaluation-harness's rule (models/huggingface.py and api/model.py, _encode_pair, 0.4): white space at
 * the end of the context moves to the continuation; continuation = tokens of both together behind as many as the context alone has,
 * both with what the rules put around a text.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tasks_priv.h"

#include <string.h>

static const char *const unicode_spaces[] = {
    "\xc2\x85", "\xc2\xa0", "\xe1\x9a\x80", "\xe2\x80\x80", "\xe2\x80\x81", "\xe2\x80\x82", "\xe2\x80\x83", "\xe2\x80\x84", "\xe2\x80\x85",
    "\xe2\x80\x86", "\xe2\x80\x87", "\xe2\x80\x88", "\xe2\x80\x89", "\xe2\x80\x8a", "\xe2\x80\xa8", "\xe2\x80\xa9", "\xe2\x80\xaf", "\xe2\x81\x9f",
    "\xe3\x80\x80"};

/* Bytes of the space character that ends the text; 0: none does. */
static int64_t one_space(const char *s, int64_t n)
{
    if (n == 0) return 0;
    const unsigned char last = (unsigned char)s[n - 1];
    if (last == ' ' || (last >= 0x09 && last <= 0x0d) || (last >= 0x1c && last <= 0x1f)) return 1;
    for (size_t i = 0; i < sizeof unicode_spaces / sizeof unicode_spaces[0]; i++) {
        const int64_t k = (int64_t)strlen(unicode_spaces[i]);
        if (n >= k && memcmp(s + n - k, unicode_spaces[i], (size_t)k) == 0) return k;
    }
    return 0;
}

int64_t qep_trailing_space(const char *s, int64_t n)
{
    int64_t kept = n, k;
    while ((k = one_space(s, kept)) > 0) kept -= k;
    return n - kept;
}

int64_t qep_characters(const char *s)
{
    int64_t n = 0;
    for (; *s; s++) n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

/* Room for n more ids, doubled as needed. */
static int32_t *make_room(qep_task *t, int64_t n)
{
    int64_t want = 1;
    while (want < t->n_ids + n) want *= 2;
    t->ids = qep_realloc(t->ids, "tasks.ids", want, sizeof *t->ids);
    return t->ids + t->n_ids;
}

static qep_status check_ids(const int32_t *ids, int64_t n, int64_t vocab, const qep_place *at)
{
    char text[96];
    for (int64_t i = 0; i < n; i++) {
        if (ids[i] >= 0 && ids[i] < vocab) continue;
        snprintf(text, sizeof text, "token %d is beyond the model's %lld; is this the model's tokenizer?", (int)ids[i], (long long)vocab);
        return qep_task_fail(at, text, "");
    }
    return QEP_OK;
}

/* Tokens of the context alone, then those that the whole has more. */
static qep_status take(qep_task *t, const qep_place *at, const int32_t *context, int64_t n_context, const int32_t *whole, int64_t n_whole,
                       const qep_task_rules *rules, qep_task_choice *c)
{
    const int64_t more = n_whole - n_context, cut = qep_max_i64(n_context + more - rules->max_tokens, 0);
    if (n_context == 0) return qep_task_fail(at, "nothing stands in front of the answer", "");
    if (more <= 0) return qep_task_fail(at, "a choice adds no token to the question", "");
    if (cut >= n_context) return qep_task_fail(at, "a choice is longer than the model's context", "");
    QEP_TRY(check_ids(context, n_context, rules->vocab, at));
    QEP_TRY(check_ids(whole + n_context, more, rules->vocab, at));
    *c = (qep_task_choice){.first = t->n_ids, .length = n_context + more - cut, .context = n_context - cut};
    int32_t *to = make_room(t, c->length);
    memcpy(to, context + cut, (size_t)c->context * sizeof *to);
    memcpy(to + c->context, whole + n_context, (size_t)more * sizeof *to);
    t->n_ids += c->length;
    return QEP_OK;
}

/* *ids: [*n], qep_free; never NULL on success. */
static qep_status encode(const qep_task_rules *rules, const char *text, int64_t bytes, int32_t **ids, int64_t *n)
{
    QEP_TRY(qep_tokenizer_encode(rules->tokenizer, text, bytes, rules->special, ids, n));
    if (rules->front < 0) return QEP_OK;
    *ids = qep_realloc(*ids, "tasks.ids", *n + 1, sizeof **ids);
    memmove(*ids + 1, *ids, (size_t)*n * sizeof **ids);
    (*ids)[0] = rules->front;
    ++*n;
    return QEP_OK;
}

qep_status qep_task_add_choice(qep_task *t, const qep_task_rules *rules, const qep_place *at, const char *context, const char *choice)
{
    char *text = qep_strf("tasks.example", "%s %s", context, choice);
    const int64_t n = (int64_t)strlen(context), kept = n - qep_trailing_space(context, n);
    int32_t *part = NULL, *whole = NULL;
    int64_t n_part, n_whole;
    qep_status st;
    if (!*choice) {
        st = qep_task_fail(at, "a choice is empty", "");
        goto done;
    }
    if ((t->n_choices & (t->n_choices - 1)) == 0)
        t->choices = qep_realloc(t->choices, "tasks.choices", qep_max_i64(1, 2 * t->n_choices), sizeof *t->choices);
    qep_task_choice *c = &t->choices[t->n_choices];
    QEP_GO(st, encode(rules, context, kept, &part, &n_part));
    QEP_GO(st, encode(rules, text, (int64_t)strlen(text), &whole, &n_whole));
    QEP_GO(st, take(t, at, part, n_part, whole, n_whole, rules, c));
    c->chars = qep_characters(choice);
    t->n_choices++;
done:
    qep_free(whole);
    qep_free(part);
    qep_free(text);
    return st;
}
