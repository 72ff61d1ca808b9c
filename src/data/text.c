/* A text file with its tokenizer: documents, and the ids of each. SPDX-License-Identifier: Apache-2.0 */
#include "text_priv.h"

#include <inttypes.h>
#include <string.h>

enum { chunk_bytes = 1 << 22 };

static bool ends(const char *s, const char *tail)
{
    const size_t n = strlen(s), m = strlen(tail);
    return n > m && strcmp(s + n - m, tail) == 0;
}

/* C4's files are jsonl that is called .json.gz. */
static bool is_jsonl(const char *path)
{
    static const char *const names[] = {".jsonl", ".jsonl.gz", ".json", ".json.gz"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (ends(path, names[i])) return true;
    return false;
}

bool qep_text_is(const char *path)
{
    return is_jsonl(path) || ends(path, ".txt") || ends(path, ".txt.gz");
}

/* The bytes [at, at + n) of the file. */
static qep_status check_nul(const qep_text *t, const char *buf, int64_t n, int64_t at)
{
    const char *nul = memchr(buf, '\0', (size_t)n);
    if (!nul) return QEP_OK;
    return qep_fail(QEP_E_INPUT, "%s: byte %" PRId64 " of its text (the first is 0) is a NUL; this is not a text file, or one in UTF-16 or UTF-32",
                    t->bytes.path, at + (int64_t)(nul - buf));
}

/* Of a .txt; of jsonl, what is no UTF-8 in a line is an error when the line is parsed. */
static qep_status check_utf8(qep_text *t, qep_utf8_tally *u)
{
    qep_utf8_end(u);
    t->wrong_utf8 = u->wrong;
    if (t->wrong_utf8 <= u->characters / 100) return QEP_OK;
    return qep_fail(QEP_E_INPUT,
                    "%s: %" PRId64 " of its %" PRId64 " characters are no UTF-8, more than one in a hundred; this is not a text file, or one in another "
                    "encoding: convert it to UTF-8", t->bytes.path, u->wrong, u->characters);
}

/* Root's part of the index. */
static qep_status find_documents(qep_text *t)
{
    char *buf = qep_alloc("data.read", qep_min_i64(chunk_bytes, t->bytes.n), 1);
    qep_utf8_tally utf8 = {0};
    qep_status st = QEP_OK;
    for (int64_t at = 0; at < t->bytes.n; at += chunk_bytes) {
        const int64_t n = qep_min_i64(chunk_bytes, t->bytes.n - at);
        QEP_GO(st, qep_bytes_read(&t->bytes, at, n, buf));
        QEP_GO(st, check_nul(t, buf, n, at));
        if (t->index.kind != QEP_DOCUMENT_LINES) qep_utf8_feed(&utf8, buf, n);
        qep_document_index_feed(&t->index, buf, n);
    }
    qep_document_index_end(&t->index);
    st = check_utf8(t, &utf8);
    if (t->index.n == 0)
        st = qep_fail(QEP_E_INPUT, "%s: there is no text in it%s", t->bytes.path, t->bytes.n ? ", only blank lines" : "; it is empty");
done:
    qep_free(buf);
    return st;
}

static qep_status share_index_all(qep_comm *c, qep_text *t)
{
    qep_document_index *x = &t->index;
    QEP_TRY(qep_agree_all(c, qep_rank(c) == 0 ? QEP_ALONE("texts", find_documents(t)) : QEP_OK));
    qep_bcast_all(c, 0, &x->n, sizeof x->n);
    qep_bcast_all(c, 0, &t->wrong_utf8, sizeof t->wrong_utf8);
    if (qep_rank(c) != 0) {
        x->begin = qep_alloc("data.documents", x->n, sizeof *x->begin);
        x->end = qep_alloc("data.documents", x->n, sizeof *x->end);
    }
    qep_bcast_all(c, 0, x->begin, x->n * (int64_t)sizeof *x->begin);
    qep_bcast_all(c, 0, x->end, x->n * (int64_t)sizeof *x->end);
    return QEP_OK;
}

qep_status qep_text_open_all(qep_comm *c, const char *path, const qep_text_rules *rules, qep_text **out)
{
    qep_text *t = qep_alloc("data.text", 1, sizeof *t);
    t->rules = *rules;
    qep_document_index_start(&t->index, is_jsonl(path) ? QEP_DOCUMENT_LINES : rules->blocks && !rules->as_one ? QEP_DOCUMENT_BLOCKS : QEP_DOCUMENT_FILE);
    qep_status st = qep_bytes_open_all(c, path, &t->bytes);
    if (st == QEP_OK) st = share_index_all(c, t);
    t->n = t->index.n;
    if (st == QEP_OK && rules->as_one) st = qep_text_part_all(c, t);
    if (st != QEP_OK) qep_text_close_all(&t);
    *out = t;
    return st;
}

void qep_text_close_all(qep_text **tp)
{
    qep_text *t = *tp;
    if (!t) return;
    qep_bytes_close_all(&t->bytes);
    qep_document_index_free(&t->index);
    qep_free(t->length);
    qep_free(t->used);
    qep_free(t->parts);
    qep_free(t);
    *tp = NULL;
}

int64_t qep_text_bytes(const qep_text *t, int64_t i)
{
    return t->parts ? qep_text_part_bytes(t, i) : t->index.end[i] - t->index.begin[i];
}

/* Number of the line that starts at byte `at`, from 1; 0 when the file cannot be read. */
static int64_t line_number(const qep_text *t, int64_t at)
{
    char *buf = qep_alloc("data.read", chunk_bytes, 1);
    int64_t line = 1;
    for (int64_t i = 0; i < at && line > 0; i += chunk_bytes) {
        const int64_t n = qep_min_i64(chunk_bytes, at - i);
        if (qep_bytes_read(&t->bytes, i, n, buf) != QEP_OK) line = -n;
        for (int64_t j = 0; j < n; j++) line += buf[j] == '\n';
    }
    qep_free(buf);
    return qep_max_i64(line, 0);
}

/* Document i of the index, as it stands in the file, its bytes [from, to). */
static qep_status read_raw(const qep_text *t, int64_t i, int64_t from, int64_t to, char **raw, int64_t *n)
{
    const int64_t bytes = t->index.end[i] - t->index.begin[i];
    from = qep_min_i64(from, bytes);
    *n = qep_min_i64(to, bytes) - from;
    *raw = qep_alloc("data.text", *n + 1, 1);
    return qep_bytes_read(&t->bytes, t->index.begin[i] + from, *n, *raw);
}

/* The text in a line of jsonl. */
static qep_status read_line(const qep_text *t, int64_t i, char **text, int64_t *n)
{
    char *raw;
    *text = NULL;
    qep_status st = read_raw(t, i, 0, INT64_MAX, &raw, n);
    if (st == QEP_OK) {
        st = qep_jsonl_text(raw, *n, t->rules.field, t->bytes.path, text);
        if (st != QEP_OK) { /* again, for a message with the line */
            char *where = qep_strf("data.path", "%s:%" PRId64, t->bytes.path, line_number(t, t->index.begin[i]));
            st = qep_jsonl_text(raw, *n, t->rules.field, where, text);
            qep_free(where);
        }
    }
    qep_free(raw);
    if (*text) *n = (int64_t)strlen(*text);
    return st;
}

qep_status qep_text_read_stretch(const qep_text *t, int64_t i, int64_t from, int64_t to, char **text, int64_t *n)
{
    const bool line = t->index.kind == QEP_DOCUMENT_LINES;
    qep_status st = line ? read_line(t, i, text, n) : read_raw(t, i, from, to, text, n);
    if (st != QEP_OK) {
        qep_free(*text);
        *text = NULL;
        return st;
    }
    if (!line) return QEP_OK;
    from = qep_min_i64(from, *n);
    *n = qep_min_i64(to, *n) - from;
    memmove(*text, *text + from, (size_t)*n);
    return QEP_OK;
}

static qep_status check_ids(const qep_text *t, int64_t i, const int32_t *ids, int64_t n)
{
    for (int64_t j = 0; j < n; j++) {
        if (ids[j] >= t->rules.vocab) {
            return qep_fail(QEP_E_INPUT,
                            "%s: document %" PRId64 ": the tokenizer gives id %d, outside the model's vocabulary of %" PRId64
                            "; tokenizer and weights in the model's directory do not belong together",
                            t->bytes.path, i, (int)ids[j], t->rules.vocab);
        }
    }
    return QEP_OK;
}

qep_status qep_text_encode(qep_text *t, int64_t i, int32_t **ids, int64_t *n)
{
    char *text = NULL;
    int64_t bytes;
    *ids = NULL;
    const bool first = !t->parts || i == 0, last = !t->parts || i == t->n - 1;
    qep_status st = t->parts ? qep_text_read_part(t, i, &text, &bytes) : qep_text_read_stretch(t, i, 0, INT64_MAX, &text, &bytes);
    if (st == QEP_OK) st = qep_tokenizer_encode_part(t->rules.tokenizer, text, bytes, t->rules.special, first, last, ids, n);
    qep_free(text);
    QEP_TRY(st);
    const int64_t front = first && t->rules.front >= 0, behind = last && t->rules.behind >= 0;
    if (front || behind) {
        int32_t *more = qep_alloc("data.ids", *n + front + behind, sizeof *more);
        if (front) more[0] = t->rules.front;
        if (*n) memcpy(more + front, *ids, (size_t)*n * sizeof *more);
        if (behind) more[front + *n] = t->rules.behind;
        qep_free(*ids);
        *ids = more;
        *n += front + behind;
    }
    st = check_ids(t, i, *ids, *n);
    if (st != QEP_OK) {
        qep_free(*ids);
        *ids = NULL;
    }
    return st;
}
