/* Ids to text: the decoder of tokenizer.json, step by step over the list of spellings. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "tokenizer_priv.h"

/* --- reading ------------------------------------------------------------------------------------------------ */

static qep_status read_one(qep_tok_decoder *d, const char *type, const qep_json *o, const qep_tok_place *at)
{
    static const char *const types[] = {"ByteLevel", "Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"};
    const char *text = NULL, *scheme = "always";
    bool is_literal = true, prefix = true;
    int k = 0;
    while (k < (int)(sizeof types / sizeof *types) && strcmp(types[k], type) != 0) k++;
    d->kind = (qep_tok_decoder_kind)k;
    if (d->kind == QEP_TOK_DEC_REPLACE) {
        QEP_TRY(qep_tok_get_pattern(o, at, &text, &is_literal));
        const qep_tok_place here = qep_tok_member(at, "pattern");
        QEP_TRY(qep_tok_regex_open(text, is_literal, &here, &d->regex));
        const char *by;
        QEP_TRY(qep_tok_get_string(o, at, "content", true, &by));
        d->by = qep_strdup("tokenizer.steps", by);
    } else if (d->kind == QEP_TOK_DEC_STRIP) {
        const qep_tok_place start = qep_tok_member(at, "start"), stop = qep_tok_member(at, "stop");
        int32_t a, b;
        QEP_TRY(qep_tok_get_string(o, at, "content", true, &text));
        QEP_TRY(qep_tok_get_id(qep_json_get(o, "start"), &start, &a));
        QEP_TRY(qep_tok_get_id(qep_json_get(o, "stop"), &stop, &b));
        d->start = a;
        d->stop = b;
    } else if (d->kind == QEP_TOK_DEC_METASPACE) {
        QEP_TRY(qep_tok_get_string(o, at, "replacement", true, &text));
        QEP_TRY(qep_tok_get_string(o, at, "prepend_scheme", false, &scheme));
        QEP_TRY(qep_tok_get_bool(o, at, "add_prefix_space", false, &prefix));
        d->keep_first = !prefix || strcmp(scheme, "never") == 0;
    } else if (d->kind == QEP_TOK_DEC_UNKNOWN) {
        text = type;
    }
    if (text) d->what = qep_strdup("tokenizer.steps", text);
    return QEP_OK;
}

static qep_status read_decoder(qep_tok_decoders *s, const qep_json *o, const qep_tok_place *at, int depth)
{
    const char *type;
    QEP_TRY(qep_tok_get_type(o, at, depth, &type));
    if (strcmp(type, "Sequence") != 0) {
        s->step = qep_realloc(s->step, "tokenizer.steps", s->n + 1, sizeof *s->step);
        return read_one(&s->step[s->n++], type, o, at);
    }
    const qep_json *list;
    QEP_TRY(qep_tok_get_array(o, at, "decoders", true, &list));
    const qep_tok_place here = qep_tok_member(at, "decoders");
    for (int64_t i = 0; i < qep_json_size(list); i++) {
        const qep_tok_place item = qep_tok_item(&here, i);
        QEP_TRY(read_decoder(s, qep_json_at(list, i), &item, depth + 1));
    }
    return QEP_OK;
}

qep_status qep_tok_decoders_open(qep_tok_decoders *s, const qep_json *o, const qep_tok_place *at)
{
    return read_decoder(s, o, at, 0);
}

void qep_tok_decoders_close(qep_tok_decoders *s)
{
    for (int64_t i = 0; i < s->n; i++) {
        qep_free(s->step[i].what);
        qep_free(s->step[i].by);
        qep_tok_regex_close(&s->step[i].regex);
    }
    qep_free(s->step);
}

/* --- a list of texts ------------------------------------------------------------------------------------------ */

typedef struct texts {
    qep_tok_buf buf;
    int64_t *end; /* owned [cap]: where each text ends in buf */
    int64_t n, cap;
} texts;

static void close_text(texts *l)
{
    if (l->n == l->cap) {
        l->cap = qep_max_i64(64, 2 * l->cap);
        l->end = qep_realloc(l->end, "tokenizer.text", l->cap, sizeof *l->end);
    }
    l->end[l->n++] = l->buf.n;
}

static qep_tok_text get(const texts *l, int64_t i)
{
    const int64_t begin = i > 0 ? l->end[i - 1] : 0;
    return (qep_tok_text){l->buf.p + begin, l->end[i] - begin};
}

static void texts_free(texts *l)
{
    qep_tok_buf_free(&l->buf);
    qep_free(l->end);
    *l = (texts){0};
}

/* --- the steps ------------------------------------------------------------------------------------------------- */

/* Bytes as text, ill-formed parts replaced. */
static void put_lossy(const qep_tok_buf *bytes, qep_tok_buf *out)
{
    if (bytes->n > 0) qep_tok_replace_invalid(bytes->p, bytes->n, out);
}

static void byte_level(const texts *in, texts *out)
{
    qep_tok_buf bytes = {0};
    for (int64_t i = 0; i < in->n; i++) {
        const qep_tok_text t = get(in, i);
        const int64_t before = bytes.n;
        if (qep_tok_alphabet_bytes(t.p, t.n, &bytes)) continue;
        bytes.n = before;
        qep_tok_put(&bytes, t.p, t.n);
    }
    put_lossy(&bytes, &out->buf);
    close_text(out);
    qep_tok_buf_free(&bytes);
}

/* The byte of "<0xNN>", -1: another text. */
static int byte_token(qep_tok_text t)
{
    int v = 0;
    if (t.n != 6 || memcmp(t.p, "<0x", 3) != 0 || t.p[5] != '>') return -1;
    for (int i = 3; i < 5; i++) {
        const char *digits = "0123456789abcdef0123456789ABCDEF", *at = t.p[i] ? strchr(digits, t.p[i]) : NULL;
        if (!at) return -1;
        v = v * 16 + (int)((at - digits) % 16);
    }
    return v;
}

/* A run of bytes is a text when it is valid as a whole, else U+FFFD for every byte (decoders/byte_fallback.rs). */
static void put_byte_run(qep_tok_buf *run, texts *out)
{
    if (run->n == 0) return;
    const bool valid = qep_tok_valid_prefix(run->p, run->n, 0) == run->n;
    for (int64_t i = 0; !valid && i < run->n; i++) {
        qep_tok_put(&out->buf, "\xEF\xBF\xBD", 3);
        close_text(out);
    }
    if (valid) {
        qep_tok_put(&out->buf, run->p, run->n);
        close_text(out);
    }
    run->n = 0;
}

static void byte_fallback(const texts *in, texts *out)
{
    qep_tok_buf run = {0};
    for (int64_t i = 0; i < in->n; i++) {
        const qep_tok_text t = get(in, i);
        const int b = byte_token(t);
        if (b >= 0) {
            const char c = (char)b;
            qep_tok_put(&run, &c, 1);
            continue;
        }
        put_byte_run(&run, out);
        qep_tok_put(&out->buf, t.p, t.n);
        close_text(out);
    }
    put_byte_run(&run, out);
    qep_tok_buf_free(&run);
}

static qep_tok_text strip(const qep_tok_decoder *d, qep_tok_text t)
{
    const int64_t n = (int64_t)strlen(d->what);
    for (int64_t i = 0; i < d->start && t.n >= n && memcmp(t.p, d->what, (size_t)n) == 0; i++) {
        t.p += n;
        t.n -= n;
    }
    for (int64_t i = 0; i < d->stop && t.n >= n && memcmp(t.p + t.n - n, d->what, (size_t)n) == 0; i++) t.n -= n;
    return t;
}

static qep_status replace(const qep_tok_decoder *d, qep_tok_text t, qep_tok_work *w, qep_tok_buf *out)
{
    int64_t begin, end;
    for (int64_t at = 0; at < t.n; at = end) {
        QEP_TRY(qep_tok_regex_next(d->regex, t, at, w, &begin, &end));
        qep_tok_put(out, t.p + at, begin - at);
        if (end > begin) qep_tok_put(out, d->by, (int64_t)strlen(d->by));
    }
    return QEP_OK;
}

static qep_status step(const qep_tok_decoder *d, const texts *in, qep_tok_work *w, texts *out)
{
    if (d->kind == QEP_TOK_DEC_UNKNOWN) return qep_fail(QEP_E_INPUT, "the tokenizer's decoder %s is not supported", d->what);
    if (d->kind == QEP_TOK_DEC_BYTE_LEVEL) byte_level(in, out);
    if (d->kind == QEP_TOK_DEC_BYTE_FALLBACK) byte_fallback(in, out);
    if (d->kind == QEP_TOK_DEC_FUSE) {
        qep_tok_put(&out->buf, in->buf.p, in->buf.n);
        close_text(out);
    }
    for (int64_t i = 0; i < in->n; i++) {
        const qep_tok_text t = get(in, i);
        if (d->kind == QEP_TOK_DEC_REPLACE) {
            QEP_TRY(replace(d, t, w, &out->buf));
        } else if (d->kind == QEP_TOK_DEC_STRIP) {
            const qep_tok_text rest = strip(d, t);
            qep_tok_put(&out->buf, rest.p, rest.n);
        } else if (d->kind == QEP_TOK_DEC_METASPACE) {
            qep_tok_replace(t, d->what, (int64_t)strlen(d->what), i > 0 || d->keep_first ? " " : "", &out->buf);
        } else {
            break;
        }
        close_text(out);
    }
    return QEP_OK;
}

/* The spellings of the ids. Added tokens that are found in normalized text read as they do there (added_vocabulary.rs, simple_id_to_token). */
static void spell(const qep_tokenizer *t, const int32_t *ids, int64_t n, bool skip_special, texts *out)
{
    for (int64_t i = 0; i < n; i++) {
        const char *piece = qep_tokenizer_piece(t, ids[i]);
        if (!piece) continue;
        const qep_tok_added *a = t->added_of[ids[i]];
        if (a && skip_special && a->special && strcmp(a->pattern, a->content) == 0) continue;
        if (a) piece = a->pattern;
        qep_tok_put(&out->buf, piece, (int64_t)strlen(piece));
        close_text(out);
    }
}

qep_status qep_tokenizer_decode(const qep_tokenizer *t, const int32_t *ids, int64_t n, bool skip_special, char **text, int64_t *bytes)
{
    texts now = {0}, next = {0};
    qep_tok_work w = {0};
    qep_tok_buf all = {0};
    qep_status st = QEP_OK;
    *text = NULL;
    if (bytes) *bytes = 0;
    spell(t, ids, n, skip_special, &now);
    for (int64_t i = 0; i < t->decoders.n; i++) {
        QEP_GO(st, step(&t->decoders.step[i], &now, &w, &next));
        const texts swap = now;
        now = next;
        next = swap;
        next.n = next.buf.n = 0;
    }
    for (int64_t i = 0; i < now.n; i++) {
        const qep_tok_text part = get(&now, i);
        if (i > 0 && t->decoders.n == 0) qep_tok_put(&all, " ", 1);
        qep_tok_put(&all, part.p, part.n);
    }
    if (bytes) *bytes = all.n;
    qep_tok_put(&all, "", 1);
    *text = all.p;
    all.p = NULL;
done:
    qep_tok_buf_free(&all);
    qep_tok_work_free(&w);
    texts_free(&now);
    texts_free(&next);
    return st;
}
