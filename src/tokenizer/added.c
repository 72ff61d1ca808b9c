/* Added tokens: found in the text before anything else happens to it (tokenizer/added_vocabulary.rs). SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer_priv.h"

/* --- reading ------------------------------------------------------------------------------------------------ */

static qep_status read_token(qep_tokenizer *t, const qep_json *o, const qep_tok_place *at, qep_tok_added *a)
{
    const char *content;
    if (qep_json_type(o) != QEP_JSON_OBJECT) return qep_tok_bad(at, "expected an object");
    QEP_TRY(qep_tok_get_string(o, at, "content", true, &content));
    QEP_TRY(qep_tok_get_bool(o, at, "single_word", true, &a->single_word));
    QEP_TRY(qep_tok_get_bool(o, at, "lstrip", true, &a->lstrip));
    QEP_TRY(qep_tok_get_bool(o, at, "rstrip", true, &a->rstrip));
    QEP_TRY(qep_tok_get_bool(o, at, "normalized", true, &a->normalized));
    QEP_TRY(qep_tok_get_bool(o, at, "special", true, &a->special));
    const qep_tok_place id_at = qep_tok_member(at, "id");
    QEP_TRY(qep_tok_get_id(qep_json_get(o, "id"), &id_at, &a->id));
    a->content = qep_strdup("tokenizer.added", content);
    const qep_tok_place here = qep_tok_member(at, "content");
    if (!*content) return qep_tok_bad(&here, "an empty token");
    for (const qep_tok_added *b = t->added; b < a; b++) {
        if (strcmp(b->content, content) == 0) return qep_tok_bad(&here, "\"%.100s\" is there twice", content);
        if (b->id == a->id) return qep_tok_bad(&id_at, "id %" PRId32 " is also the id of \"%.100s\"", a->id, b->content);
    }
    return QEP_OK;
}

/* The library takes the model's id of the spelling, or the next free one, and not the id that is written there; where the two differ the file is refused. */
static qep_status check_id(const qep_tokenizer *t, const qep_tok_added *a, const qep_tok_place *at, int64_t *next)
{
    int32_t id = qep_tok_map_get(&t->vocab.ids, a->content, (int64_t)strlen(a->content));
    if (id < 0) id = (int32_t)(*next)++;
    if (id == a->id) return QEP_OK;
    const qep_tok_place here = qep_tok_member(at, "id");
    return qep_tok_bad(&here, "\"%.100s\" has id %" PRId32 " here, but the tokenizers library would give it %" PRId32, a->content, a->id, id);
}

static qep_status find_pattern(const qep_tokenizer *t, qep_tok_added *a, const qep_tok_place *at)
{
    if (!a->normalized || t->norms.n == 0) {
        a->pattern = qep_strdup("tokenizer.added", a->content);
        return QEP_OK;
    }
    qep_tok_buf out = {0};
    qep_tok_work w = {0};
    qep_status st = qep_tok_normalize(&t->norms, (qep_tok_text){a->content, (int64_t)strlen(a->content)}, true, &w, &out);
    if (st == QEP_OK && out.n == 0) st = qep_tok_bad(at, "nothing is left of \"%.100s\" by the normalizer", a->content);
    qep_tok_put(&out, "", 1);
    a->pattern = qep_strdup("tokenizer.added", out.p);
    qep_tok_buf_free(&out);
    qep_tok_work_free(&w);
    return st;
}

static qep_status index_added(qep_tokenizer *t, const qep_tok_place *at)
{
    t->size = t->vocab.size;
    for (int64_t i = 0; i < t->n_added; i++) t->size = qep_max_i64(t->size, (int64_t)t->added[i].id + 1);
    t->added_of = qep_alloc("tokenizer.added", t->size, sizeof *t->added_of);
    for (int64_t i = 0; i < t->n_added; i++) t->added_of[t->added[i].id] = &t->added[i];
    QEP_TRY(qep_tok_matcher_open(&t->raw, t->added, t->n_added, false, at));
    return qep_tok_matcher_open(&t->normalized, t->added, t->n_added, true, at);
}

qep_status qep_tok_added_open(qep_tokenizer *t, const qep_json *root, const qep_tok_place *at)
{
    const qep_json *list;
    QEP_TRY(qep_tok_get_array(root, at, "added_tokens", false, &list));
    const qep_tok_place here = qep_tok_member(at, "added_tokens");
    const int64_t n = list ? qep_json_size(list) : 0;
    int64_t next = t->vocab.count;
    t->added = qep_alloc("tokenizer.added", n, sizeof *t->added);
    for (int64_t i = 0; i < n; i++) {
        const qep_tok_place item = qep_tok_item(&here, i);
        qep_tok_added *a = &t->added[t->n_added++];
        QEP_TRY(read_token(t, qep_json_at(list, i), &item, a));
        QEP_TRY(check_id(t, a, &item, &next));
        QEP_TRY(find_pattern(t, a, &item));
    }
    return index_added(t, &here);
}

/* --- the matcher ---------------------------------------------------------------------------------------------- */

static int by_pattern(const void *x, const void *y)
{
    const qep_tok_added *const *a = x, *const *b = y;
    return strcmp((*a)->pattern, (*b)->pattern);
}

qep_status qep_tok_matcher_open(qep_tok_matcher *m, const qep_tok_added *added, int64_t n, bool normalized, const qep_tok_place *at)
{
    m->token = qep_alloc("tokenizer.added", n, sizeof *m->token);
    for (int64_t i = 0; i < n; i++) {
        if (added[i].normalized == normalized) m->token[m->n++] = &added[i];
    }
    qsort(m->token, (size_t)m->n, sizeof *m->token, by_pattern);
    for (int64_t i = 0; i < m->n; i++) {
        if (i > 0 && by_pattern(&m->token[i - 1], &m->token[i]) == 0) {
            return qep_tok_bad(at, "\"%.100s\" and \"%.100s\" cannot be told apart in normalized text", m->token[i - 1]->content,
                               m->token[i]->content);
        }
        for (int b = (unsigned char)*m->token[i]->pattern + 1; b < 257; b++) m->first[b]++;
    }
    return QEP_OK;
}

void qep_tok_matcher_close(qep_tok_matcher *m)
{
    qep_free(m->token);
}

/* First of the tokens [low, high), which agree on their first `depth` bytes, whose next byte is >= b. */
static int64_t lower(const qep_tok_matcher *m, int64_t low, int64_t high, int64_t depth, int b)
{
    while (low < high) {
        const int64_t mid = low + (high - low) / 2;
        if ((unsigned char)m->token[mid]->pattern[depth] < b) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

/* The longest token that stands at p; NULL: none. */
static const qep_tok_added *longest(const qep_tok_matcher *m, const char *p, int64_t n, int64_t *bytes)
{
    const unsigned char *s = (const unsigned char *)p;
    int64_t low = m->first[s[0]], high = m->first[s[0] + 1];
    const qep_tok_added *best = NULL;
    for (int64_t depth = 1; low < high; depth++) {
        if (!m->token[low]->pattern[depth]) {
            best = m->token[low++];
            *bytes = depth;
        }
        if (depth == n || s[depth] == 0) break;
        low = lower(m, low, high, depth, s[depth]);
        high = lower(m, low, high, depth, s[depth] + 1);
    }
    return best;
}

static bool is_word_before(const char *p, int64_t at)
{
    int len;
    return at > 0 && qep_tok_is_word(qep_tok_decode(p + qep_tok_last_char((qep_tok_text){p, at}), &len));
}

static bool is_word_behind(const char *p, int64_t n, int64_t at)
{
    int len;
    return at < n && qep_tok_is_word(qep_tok_decode(p + at, &len));
}

/* What a match is with the blanks around it that it takes in. */
static void widen(const qep_tok_added *a, qep_tok_text t, int64_t done, int64_t *begin, int64_t *end)
{
    int len;
    while (a->lstrip && *begin > done) {
        const int64_t last = qep_tok_last_char((qep_tok_text){t.p, *begin});
        if (!qep_tok_is_space(qep_tok_decode(t.p + last, &len))) break;
        *begin = last;
    }
    while (a->rstrip && *end < t.n && qep_tok_is_space(qep_tok_decode(t.p + *end, &len))) *end += len;
}

qep_status qep_tok_matcher_run(const qep_tok_matcher *m, qep_tok_text t, qep_tok_found emit, void *ctx)
{
    int64_t done = 0;
    for (int64_t at = 0, n; m->n > 0 && at < t.n; at += n) {
        const qep_tok_added *a = longest(m, t.p + at, t.n - at, &n);
        if (!a) {
            n = 1;
            continue;
        }
        int64_t begin = at, end = at + n;
        if (a->single_word && (is_word_before(t.p, begin) || is_word_behind(t.p, t.n, end))) continue;
        widen(a, t, done, &begin, &end);
        if (done < begin) QEP_TRY(emit(ctx, NULL, done, begin));
        QEP_TRY(emit(ctx, a, begin, end));
        done = end; /* as in the library, a match may lie among the blanks that the one before it took in */
    }
    return done < t.n ? emit(ctx, NULL, done, t.n) : QEP_OK;
}
