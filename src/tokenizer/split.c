/* Pre-tokenizers: a chain of steps that cuts a segment of text into words. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "tokenizer_priv.h"

/* --- reading ------------------------------------------------------------------------------------------------ */

static qep_tok_step *append(qep_tok_splits *s, qep_tok_step_kind kind)
{
    s->step = qep_realloc(s->step, "tokenizer.steps", s->n + 1, sizeof *s->step);
    s->step[s->n].kind = kind;
    return &s->step[s->n++];
}

/* The words of a step that cuts by a pattern. */
static qep_status append_pattern(qep_tok_splits *s, const char *pattern, bool is_literal, qep_tok_behavior behavior, const qep_tok_place *at)
{
    qep_tok_regex *r;
    QEP_TRY(qep_tok_regex_open(pattern, is_literal, at, &r));
    qep_tok_step *step = append(s, QEP_TOK_SPLIT);
    step->regex = r;
    step->behavior = behavior;
    return QEP_OK;
}

static qep_status read_behavior(const qep_json *o, const qep_tok_place *at, bool required, qep_tok_behavior *out)
{
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    const char *name = NULL;
    QEP_TRY(qep_tok_get_string(o, at, "behavior", required, &name));
    if (!name) return QEP_OK;
    for (int i = 0; i < 5; i++) {
        if (strcmp(names[i], name) != 0) continue;
        *out = (qep_tok_behavior)i;
        return QEP_OK;
    }
    const qep_tok_place here = qep_tok_member(at, "behavior");
    return qep_tok_bad(&here, "unknown behavior \"%.100s\"", name);
}

qep_status qep_tok_get_pattern(const qep_json *o, const qep_tok_place *at, const char **pattern, bool *is_literal)
{
    const qep_json *p;
    QEP_TRY(qep_tok_get_object(o, at, "pattern", true, &p));
    const qep_tok_place here = qep_tok_member(at, "pattern");
    *is_literal = qep_json_get(p, "String") != NULL;
    return qep_tok_get_string(p, &here, *is_literal ? "String" : "Regex", true, pattern);
}

static qep_status read_split(qep_tok_splits *s, const qep_json *o, const qep_tok_place *at)
{
    const char *pattern;
    bool is_literal, invert = false;
    qep_tok_behavior behavior = QEP_TOK_ISOLATED;
    QEP_TRY(qep_tok_get_pattern(o, at, &pattern, &is_literal));
    QEP_TRY(read_behavior(o, at, true, &behavior));
    QEP_TRY(qep_tok_get_bool(o, at, "invert", true, &invert));
    const qep_tok_place here = qep_tok_member(at, "pattern");
    QEP_TRY(append_pattern(s, pattern, is_literal, behavior, &here));
    s->step[s->n - 1].invert = invert;
    return QEP_OK;
}

static qep_status read_byte_level(qep_tok_splits *s, const qep_json *o, const qep_tok_place *at)
{
    bool prefix = true, use_regex = true;
    QEP_TRY(qep_tok_get_bool(o, at, "add_prefix_space", true, &prefix));
    QEP_TRY(qep_tok_get_bool(o, at, "use_regex", false, &use_regex));
    if (prefix) append(s, QEP_TOK_PREFIX_SPACE);
    if (use_regex) QEP_TRY(append_pattern(s, qep_tok_gpt2_pattern, false, QEP_TOK_ISOLATED, at));
    append(s, QEP_TOK_ALPHABET);
    return QEP_OK;
}

static qep_status read_metaspace(qep_tok_splits *s, const qep_json *o, const qep_tok_place *at)
{
    static const char *const schemes[] = {"never", "always", "first"};
    const char *mark, *scheme = "always";
    bool split = true, prefix = true;
    QEP_TRY(qep_tok_get_string(o, at, "replacement", true, &mark));
    QEP_TRY(qep_tok_get_string(o, at, "prepend_scheme", false, &scheme));
    QEP_TRY(qep_tok_get_bool(o, at, "split", false, &split));
    QEP_TRY(qep_tok_get_bool(o, at, "add_prefix_space", false, &prefix));
    qep_tok_place here = qep_tok_member(at, "replacement");
    int len = 0;
    if (*mark) qep_tok_decode(mark, &len);
    if (len == 0 || mark[len]) return qep_tok_bad(&here, "expected one character, found \"%.100s\"", mark);
    qep_tok_step *step = append(s, QEP_TOK_METASPACE);
    memcpy(step->mark, mark, (size_t)len);
    here = qep_tok_member(at, "prepend_scheme");
    int k = 0;
    while (k < 3 && strcmp(schemes[k], scheme) != 0) k++;
    if (k == 3) return qep_tok_bad(&here, "unknown scheme \"%.100s\"", scheme);
    if (!prefix && k != QEP_TOK_NEVER) return qep_tok_bad(&here, "\"%s\" does not go with add_prefix_space = false", scheme);
    step->scheme = (qep_tok_scheme)k;
    if (split) QEP_TRY(append_pattern(s, mark, true, QEP_TOK_MERGED_WITH_NEXT, at));
    return QEP_OK;
}

static qep_status read_digits(qep_tok_splits *s, const qep_json *o, const qep_tok_place *at)
{
    bool individual = false;
    QEP_TRY(qep_tok_get_bool(o, at, "individual_digits", true, &individual));
    return append_pattern(s, "\\p{N}", false, individual ? QEP_TOK_ISOLATED : QEP_TOK_CONTIGUOUS, at);
}

static qep_status read_whitespace_split(qep_tok_splits *s, const qep_json *o, const qep_tok_place *at)
{
    (void)o;
    return append_pattern(s, "\\s", false, QEP_TOK_REMOVED, at);
}

static qep_status read_step(qep_tok_splits *s, const qep_json *o, const qep_tok_place *at, int depth);

static qep_status read_sequence(qep_tok_splits *s, const qep_json *o, const qep_tok_place *at, int depth)
{
    const qep_json *list;
    QEP_TRY(qep_tok_get_array(o, at, "pretokenizers", true, &list));
    const qep_tok_place here = qep_tok_member(at, "pretokenizers");
    for (int64_t i = 0; i < qep_json_size(list); i++) {
        const qep_tok_place item = qep_tok_item(&here, i);
        QEP_TRY(read_step(s, qep_json_at(list, i), &item, depth + 1));
    }
    return QEP_OK;
}

static qep_status read_step(qep_tok_splits *s, const qep_json *o, const qep_tok_place *at, int depth)
{
    static const struct {
        const char *type;
        qep_status (*read)(qep_tok_splits *, const qep_json *, const qep_tok_place *);
    } kinds[] = {{"Split", read_split},
                 {"ByteLevel", read_byte_level},
                 {"Metaspace", read_metaspace},
                 {"Digits", read_digits},
                 {"WhitespaceSplit", read_whitespace_split}};
    const char *type;
    QEP_TRY(qep_tok_get_type(o, at, depth, &type));
    if (strcmp(type, "Sequence") == 0) return read_sequence(s, o, at, depth);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kinds[i].type, type) == 0) return kinds[i].read(s, o, at);
    }
    return qep_tok_bad(at, "the pre-tokenizer %.100s is not supported", type);
}

qep_status qep_tok_splits_open(qep_tok_splits *s, const qep_json *o, const qep_tok_place *at)
{
    QEP_TRY(read_step(s, o, at, 0));
    /* A last step into the byte alphabet is left to the model, which then takes bytes. */
    if (s->n > 0 && s->step[s->n - 1].kind == QEP_TOK_ALPHABET) {
        s->n--;
        s->ends_in_bytes = true;
    }
    return QEP_OK;
}

void qep_tok_splits_close(qep_tok_splits *s)
{
    for (int64_t i = 0; i < s->n; i++) qep_tok_regex_close(&s->step[i].regex);
    qep_free(s->step);
}

/* --- running ---------------------------------------------------------------------------------------------------- */

typedef struct run {
    const qep_tok_splits *splits;
    const qep_tok_bpe *bpe;
    qep_tok_work *w;
} run;

/* A piece on its way through the steps; first: it begins where the whole text begins. */
static qep_status pass(const run *r, int64_t k, qep_tok_text piece, bool first);

/* Pieces of a split that is under way: the last one waits, because the next match may join it. */
typedef struct cutter {
    const run *r;
    int64_t next; /* step */
    qep_tok_behavior behavior;
    qep_tok_text text;
    bool first;
    int64_t begin, end; /* the piece that waits; empty: none */
    bool was_match;
} cutter;

static qep_status release(cutter *c)
{
    const int64_t begin = c->begin, end = c->end;
    c->begin = c->end;
    if (begin == end) return QEP_OK;
    return pass(c->r, c->next, (qep_tok_text){c->text.p + begin, end - begin}, c->first && begin == 0);
}

/* Does this stretch join the one before it? (tokenizer/normalizer.rs, split) */
static bool joins(const cutter *c, bool is_match)
{
    switch (c->behavior) {
    case QEP_TOK_CONTIGUOUS: return is_match == c->was_match;
    case QEP_TOK_MERGED_WITH_PREVIOUS: return is_match && !c->was_match;
    case QEP_TOK_MERGED_WITH_NEXT: return !is_match && c->was_match;
    default: return false;
    }
}

static qep_status stretch(cutter *c, int64_t begin, int64_t end, bool is_match)
{
    if (begin == end) return QEP_OK;
    if (c->behavior == QEP_TOK_REMOVED && is_match) return release(c);
    if (c->begin == c->end || !joins(c, is_match)) {
        QEP_TRY(release(c));
        c->begin = begin;
    }
    c->end = end;
    c->was_match = is_match;
    return QEP_OK;
}

static qep_status cut(const run *r, int64_t k, qep_tok_text text, bool first)
{
    const qep_tok_step *s = &r->splits->step[k];
    cutter c = {.r = r, .next = k + 1, .behavior = s->behavior, .text = text, .first = first};
    int64_t begin, end;
    for (int64_t at = 0; at < text.n; at = end) {
        QEP_TRY(qep_tok_regex_next(s->regex, text, at, r->w, &begin, &end));
        QEP_TRY(stretch(&c, at, begin, s->invert));
        QEP_TRY(stretch(&c, begin, end, !s->invert));
    }
    return release(&c);
}

void qep_tok_replace(qep_tok_text text, const char *what, int64_t n, const char *by, qep_tok_buf *out)
{
    const char *p = text.p, *end = text.p + text.n;
    while (p < end) {
        const char *q = memchr(p, *what, (size_t)(end - p));
        while (q && (end - q < n || memcmp(q, what, (size_t)n) != 0)) q = memchr(q + 1, *what, (size_t)(end - q - 1));
        qep_tok_put(out, p, (q ? q : end) - p);
        if (!q) return;
        qep_tok_put(out, by, (int64_t)strlen(by));
        p = q + n;
    }
}

static bool starts_with(qep_tok_text text, const char *mark)
{
    const size_t n = strlen(mark);
    return (size_t)text.n >= n && memcmp(text.p, mark, n) == 0;
}

/* The steps that change the text of a piece. */
static void rewrite(const qep_tok_step *s, qep_tok_text piece, bool first, qep_tok_buf *out)
{
    if (s->kind == QEP_TOK_PREFIX_SPACE) {
        if (!starts_with(piece, " ")) qep_tok_put(out, " ", 1);
        qep_tok_put(out, piece.p, piece.n);
    } else if (s->kind == QEP_TOK_ALPHABET) {
        qep_tok_put_alphabet(piece, out);
    } else {
        const bool prepend = s->scheme == QEP_TOK_ALWAYS || (s->scheme == QEP_TOK_FIRST && first);
        if (prepend && !starts_with(piece, s->mark) && !starts_with(piece, " ")) qep_tok_put(out, s->mark, (int64_t)strlen(s->mark));
        qep_tok_replace(piece, " ", 1, s->mark, out);
    }
}

static qep_status pass(const run *r, int64_t k, qep_tok_text piece, bool first)
{
    if (k == r->splits->n) return qep_tok_bpe_word(r->bpe, piece, r->w);
    const qep_tok_step *s = &r->splits->step[k];
    if (s->kind == QEP_TOK_SPLIT) return cut(r, k, piece, first);
    qep_tok_buf out = {0};
    rewrite(s, piece, first, &out);
    const qep_status st = pass(r, k + 1, (qep_tok_text){out.p, out.n}, first);
    qep_tok_buf_free(&out);
    return st;
}

qep_status qep_tok_split(const qep_tok_splits *s, const qep_tok_bpe *b, qep_tok_text segment, bool first, qep_tok_work *w)
{
    const run r = {s, b, w};
    return segment.n == 0 ? QEP_OK : pass(&r, 0, segment, first);
}
