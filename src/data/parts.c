/* Documents that are one text, in parts that ranks can tokenize by themselves. The parts are the same for any number of ranks.
 * SPDX-License-Identifier: Apache-2.0 */
#include "text_priv.h"

#include <string.h>

enum { part_bytes = 1 << 14, look_bytes = 1 << 12 };

/* The first place in document `doc` at or behind `from` where the text can be parted; -1: none in the next look_bytes. */
static qep_status find_place(const qep_text *t, int64_t doc, int64_t from, int64_t *at)
{
    char *text;
    int64_t n;
    QEP_TRY(qep_text_read_stretch(t, doc, from, from + look_bytes, &text, &n));
    *at = qep_tokenizer_part(t->rules.tokenizer, text, n, 1);
    if (*at >= 0) *at += from;
    qep_free(text);
    return QEP_OK;
}

/* Documents and places to look from: one for every part_bytes of the file. Lines of jsonl are looked at from their start. */
static int64_t list_candidates(const qep_text *t, int64_t *doc, int64_t *from)
{
    int64_t n = 0, since = 0;
    for (int64_t i = 0; i < t->index.n; i++) {
        const int64_t bytes = t->index.end[i] - t->index.begin[i];
        if (t->index.kind == QEP_DOCUMENT_FILE) {
            for (int64_t at = part_bytes; at < bytes; at += part_bytes, n++) {
                doc[n] = i;
                from[n] = at;
            }
        } else if (since >= part_bytes) {
            doc[n] = i;
            from[n++] = since = 0;
        }
        since += bytes;
    }
    return n;
}

qep_status qep_text_part_all(qep_comm *c, qep_text *t)
{
    const int64_t most = t->bytes.n / part_bytes + 1;
    int64_t *doc = qep_alloc("data.parts", 3 * most, sizeof *doc), *from = doc + most, *at = doc + 2 * most;
    const int64_t n = list_candidates(t, doc, from);
    QEP_REQUIRE(n < most);
    qep_status st = QEP_OK;
    for (int64_t i = qep_rank(c); i < n && st == QEP_OK; i += qep_size(c)) st = find_place(t, doc[i], from[i], &at[i]);
    st = qep_agree_all(c, st);
    qep_sum_i64_all(c, at, n);
    t->parts = qep_alloc("data.parts", n + 2, sizeof *t->parts);
    t->n = 1; /* the first one begins at {0, 0} */
    for (int64_t i = 0; i < n && st == QEP_OK; i++) {
        const qep_text_place *last = &t->parts[t->n - 1];
        if (at[i] > 0 && (doc[i] > last->doc || at[i] > last->at)) t->parts[t->n++] = (qep_text_place){doc[i], at[i]};
    }
    t->parts[t->n] = (qep_text_place){t->index.n - 1, INT64_MAX};
    qep_free(doc);
    return st;
}

static int64_t in_file(const qep_text *t, qep_text_place p)
{
    return qep_min_i64(t->index.begin[p.doc] + qep_min_i64(p.at, t->bytes.n), t->index.end[p.doc]);
}

int64_t qep_text_part_bytes(const qep_text *t, int64_t i)
{
    return in_file(t, t->parts[i + 1]) - in_file(t, t->parts[i]);
}

qep_status qep_text_read_part(const qep_text *t, int64_t i, char **text, int64_t *n)
{
    const qep_text_place begin = t->parts[i], end = t->parts[i + 1];
    const int64_t joint = (int64_t)strlen(t->rules.as_one);
    int64_t cap = 1;
    *text = qep_alloc("data.text", cap, 1);
    *n = 0;
    for (int64_t d = begin.doc; d <= end.doc; d++) {
        char *one;
        int64_t m;
        const qep_status st = qep_text_read_stretch(t, d, d == begin.doc ? begin.at : 0, d == end.doc ? end.at : INT64_MAX, &one, &m);
        if (st != QEP_OK) {
            qep_free(*text);
            *text = NULL;
            return st;
        }
        if (*n + joint + m + 1 > cap) {
            cap = 2 * (*n + joint + m + 1);
            *text = qep_realloc(*text, "data.text", cap, 1);
        }
        if (d > begin.doc) memcpy(*text + *n, t->rules.as_one, (size_t)joint);
        if (d > begin.doc) *n += joint;
        memcpy(*text + *n, one, (size_t)m);
        *n += m;
        qep_free(one);
    }
    return QEP_OK;
}
