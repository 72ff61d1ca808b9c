/* Normalizers: what happens to a segment of text before it is cut into words. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "tokenizer_priv.h"

/* --- reading ------------------------------------------------------------------------------------------------ */

static qep_tok_norm *append(qep_tok_norms *s, qep_tok_norm_kind kind)
{
    s->step = qep_realloc(s->step, "tokenizer.steps", s->n + 1, sizeof *s->step);
    s->step[s->n].kind = kind;
    return &s->step[s->n++];
}

static qep_status read_prepend(qep_tok_norms *s, const qep_json *o, const qep_tok_place *at)
{
    const char *text;
    QEP_TRY(qep_tok_get_string(o, at, "prepend", true, &text));
    append(s, QEP_TOK_PREPEND)->text = qep_strdup("tokenizer.steps", text);
    return QEP_OK;
}

static qep_status read_replace(qep_tok_norms *s, const qep_json *o, const qep_tok_place *at)
{
    const char *pattern, *content;
    bool is_literal;
    QEP_TRY(qep_tok_get_pattern(o, at, &pattern, &is_literal));
    QEP_TRY(qep_tok_get_string(o, at, "content", true, &content));
    const qep_tok_place here = qep_tok_member(at, "pattern");
    qep_tok_regex *r;
    QEP_TRY(qep_tok_regex_open(pattern, is_literal, &here, &r));
    qep_tok_norm *step = append(s, QEP_TOK_REPLACE);
    step->regex = r;
    step->text = qep_strdup("tokenizer.steps", content);
    if (is_literal) step->what = qep_strdup("tokenizer.steps", pattern);
    return QEP_OK;
}

static qep_status read_strip(qep_tok_norms *s, const qep_json *o, const qep_tok_place *at)
{
    bool left = false, right = false;
    QEP_TRY(qep_tok_get_bool(o, at, "strip_left", true, &left));
    QEP_TRY(qep_tok_get_bool(o, at, "strip_right", true, &right));
    qep_tok_norm *step = append(s, QEP_TOK_STRIP);
    step->left = left;
    step->right = right;
    return QEP_OK;
}

static qep_status read_step(qep_tok_norms *s, const qep_json *o, const qep_tok_place *at, int depth);

static qep_status read_sequence(qep_tok_norms *s, const qep_json *o, const qep_tok_place *at, int depth)
{
    const qep_json *list;
    QEP_TRY(qep_tok_get_array(o, at, "normalizers", true, &list));
    const qep_tok_place here = qep_tok_member(at, "normalizers");
    for (int64_t i = 0; i < qep_json_size(list); i++) {
        const qep_tok_place item = qep_tok_item(&here, i);
        QEP_TRY(read_step(s, qep_json_at(list, i), &item, depth + 1));
    }
    return QEP_OK;
}

static qep_status read_step(qep_tok_norms *s, const qep_json *o, const qep_tok_place *at, int depth)
{
    static const struct {
        const char *type;
        qep_tok_norm_kind kind; /* where read is NULL */
        qep_status (*read)(qep_tok_norms *, const qep_json *, const qep_tok_place *);
    } kinds[] = {{"Prepend", QEP_TOK_PREPEND, read_prepend}, {"Replace", QEP_TOK_REPLACE, read_replace}, {"Strip", QEP_TOK_STRIP, read_strip},
                 {"NFC", QEP_TOK_NFC, NULL},                 {"NFD", QEP_TOK_NFD, NULL},                 {"NFKC", QEP_TOK_NFKC, NULL},
                 {"NFKD", QEP_TOK_NFKD, NULL},               {"ByteLevel", QEP_TOK_TO_ALPHABET, NULL}};
    const char *type;
    QEP_TRY(qep_tok_get_type(o, at, depth, &type));
    if (strcmp(type, "Sequence") == 0) return read_sequence(s, o, at, depth);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kinds[i].type, type) != 0) continue;
        if (kinds[i].read) return kinds[i].read(s, o, at);
        append(s, kinds[i].kind);
        return QEP_OK;
    }
    return qep_tok_bad(at, "the normalizer %.100s is not supported", type);
}

qep_status qep_tok_norms_open(qep_tok_norms *s, const qep_json *o, const qep_tok_place *at)
{
    return read_step(s, o, at, 0);
}

void qep_tok_norms_close(qep_tok_norms *s)
{
    for (int64_t i = 0; i < s->n; i++) {
        qep_tok_regex_close(&s->step[i].regex);
        qep_free(s->step[i].text);
        qep_free(s->step[i].what);
    }
    qep_free(s->step);
}

/* --- running ---------------------------------------------------------------------------------------------------- */

static qep_tok_text strip(const qep_tok_norm *s, qep_tok_text t)
{
    int len;
    while (s->left && t.n > 0 && qep_tok_is_space(qep_tok_decode(t.p, &len))) {
        t.p += len;
        t.n -= len;
    }
    while (s->right && t.n > 0) {
        const int64_t last = qep_tok_last_char(t);
        if (!qep_tok_is_space(qep_tok_decode(t.p + last, &len))) break;
        t.n = last;
    }
    return t;
}

static qep_status replace_matches(const qep_tok_norm *s, qep_tok_text t, qep_tok_work *w, qep_tok_buf *out)
{
    int64_t begin, end;
    for (int64_t at = 0; at < t.n; at = end) {
        QEP_TRY(qep_tok_regex_next(s->regex, t, at, w, &begin, &end));
        qep_tok_put(out, t.p + at, begin - at);
        if (end > begin) qep_tok_put(out, s->text, (int64_t)strlen(s->text));
    }
    return QEP_OK;
}

static qep_status apply(const qep_tok_norm *s, qep_tok_text t, qep_tok_work *w, qep_tok_buf *out)
{
    switch (s->kind) {
    case QEP_TOK_PREPEND:
        if (t.n > 0) qep_tok_put(out, s->text, (int64_t)strlen(s->text));
        qep_tok_put(out, t.p, t.n);
        return QEP_OK;
    case QEP_TOK_REPLACE:
        if (!s->what) return replace_matches(s, t, w, out);
        qep_tok_replace(t, s->what, (int64_t)strlen(s->what), s->text, out);
        return QEP_OK;
    case QEP_TOK_STRIP:
        t = strip(s, t);
        qep_tok_put(out, t.p, t.n);
        return QEP_OK;
    case QEP_TOK_TO_ALPHABET: qep_tok_put_alphabet(t, out); return QEP_OK;
    default: return qep_tok_put_form(s->kind, t, out);
    }
}

qep_status qep_tok_normalize(const qep_tok_norms *s, qep_tok_text t, bool begins, qep_tok_work *w, qep_tok_buf *out)
{
    qep_tok_buf step = {0};
    qep_status st = QEP_OK;
    out->n = 0;
    for (int64_t i = 0; i < s->n; i++) {
        if (!begins && s->step[i].kind == QEP_TOK_PREPEND) continue;
        step.n = 0;
        QEP_GO(st, apply(&s->step[i], t, w, &step));
        const qep_tok_buf swap = *out;
        *out = step;
        step = swap;
        t = (qep_tok_text){out->p, out->n};
    }
done:
    qep_tok_buf_free(&step);
    return st;
}
