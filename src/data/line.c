/* Documents as one line of tokens: each is tokenized by one rank, and windows of the line are sent to those who ask for them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "text_priv.h"

#include <string.h>

enum { bytes_per_token = 4, least_round = 1 << 12 };

static void append(qep_line *l, const int32_t *ids, int64_t n, int64_t *cap)
{
    if (l->n_mine + n > *cap) {
        *cap = 2 * (l->n_mine + n);
        l->ids = qep_realloc(l->ids, "data.line", *cap, sizeof *l->ids);
    }
    if (n) memcpy(l->ids + l->n_mine, ids, (size_t)n * sizeof *ids);
    l->n_mine += n;
}

/* Documents [l->n_docs, end) join the line: dealt out in contiguous shares of about equal bytes. */
static qep_status add_documents_all(qep_comm *c, qep_text *t, int64_t end, int64_t bytes, qep_line *l, int64_t *cap)
{
    const int64_t first = l->n_docs, P = qep_size(c);
    int64_t *length = qep_alloc("data.line", end - first, sizeof *length), before = 0;
    qep_status st = QEP_OK;
    l->begin = qep_realloc(l->begin, "data.line", end + 1, sizeof *l->begin);
    l->owner = qep_realloc(l->owner, "data.line", end, sizeof *l->owner);
    l->place = qep_realloc(l->place, "data.line", end, sizeof *l->place);
    for (int64_t i = first; i < end; i++) {
        const double middle = (double)before + 0.5 * (double)qep_text_bytes(t, i);
        l->owner[i] = (int)qep_min_i64(P - 1, (int64_t)(middle * (double)P / (double)qep_max_i64(bytes, 1)));
        before += qep_text_bytes(t, i);
        if (l->owner[i] != qep_rank(c) || st != QEP_OK) continue;
        int32_t *ids;
        st = qep_text_encode(t, i, &ids, &length[i - first]);
        if (st != QEP_OK) continue;
        append(l, ids, length[i - first], cap);
        qep_free(ids);
    }
    st = qep_agree_all(c, st);
    qep_sum_i64_all(c, length, end - first);
    int64_t *held = qep_alloc("data.line", P, sizeof *held);
    for (int64_t i = 0; i < first; i++) held[l->owner[i]] += l->begin[i + 1] - l->begin[i];
    for (int64_t i = first; i < end; i++) {
        l->place[i] = held[l->owner[i]];
        held[l->owner[i]] += length[i - first];
        l->begin[i + 1] = l->begin[i] + length[i - first];
    }
    qep_free(held);
    qep_free(length);
    l->n_docs = end;
    return st;
}

static int64_t amount(const qep_line *l, int64_t window)
{
    if (window == 0) return l->begin[l->n_docs];
    int64_t n = 0;
    for (int64_t i = 0; i < l->n_docs; i++) n += (l->begin[i + 1] - l->begin[i]) / window;
    return n;
}

qep_status qep_line_make_all(qep_comm *c, qep_text *t, int64_t want, int64_t window, qep_line *l)
{
    int64_t cap = 0, tokens;
    *l = (qep_line){.begin = qep_alloc("data.line", 1, sizeof *l->begin)};
    if (!qep_mul_i64(want, qep_max_i64(window, 1) * bytes_per_token, &tokens)) tokens = INT64_MAX;
    for (int64_t round = qep_max_i64(tokens, least_round); l->n_docs < t->n && amount(l, window) < want;) {
        int64_t end = l->n_docs, bytes = 0;
        while (end < t->n && bytes < round) bytes += qep_text_bytes(t, end++);
        QEP_TRY(add_documents_all(c, t, end, bytes, l, &cap));
        if (round < INT64_MAX / 2) round *= 2;
    }
    return QEP_OK;
}

void qep_line_free(qep_line *l)
{
    qep_free(l->begin);
    qep_free(l->owner);
    qep_free(l->place);
    qep_free(l->ids);
    *l = (qep_line){.n_docs = 0};
}

/* The last document that begins at or before token `at`. */
static int64_t document_of(const qep_line *l, int64_t at)
{
    int64_t low = 0, high = l->n_docs;
    while (high - low > 1) {
        const int64_t mid = (low + high) / 2;
        if (l->begin[mid] <= at) low = mid; else high = mid;
    }
    return low;
}

/* Parts of a fetch that lie in one document: calls back for each, in order. */
typedef void (*part_use)(void *ctx, const qep_fetch *f, int owner, int64_t place, int64_t at, int64_t n);

static void each_part(const qep_line *l, const qep_fetch *list, int64_t n, part_use use, void *ctx)
{
    for (int64_t i = 0; i < n; i++) {
        const qep_fetch *f = &list[i];
        int64_t done = 0;
        for (int64_t d = document_of(l, f->first); done < f->n; d++) {
            const int64_t from = f->first + done - l->begin[d];
            const int64_t m = qep_min_i64(f->n - done, l->begin[d + 1] - l->begin[d] - from);
            if (m > 0) use(ctx, f, l->owner[d], l->place[d] + from, done, m);
            done += qep_max_i64(m, 0);
        }
    }
}

typedef struct transfer {
    const qep_line *l;
    int me;
    int64_t *to, *from;       /* [P] bytes */
    int64_t *to_at, *from_at; /* [P] where the next part to or from a rank begins, bytes */
    char *sent, *got;
} transfer;

static void count_part(void *ctx, const qep_fetch *f, int owner, int64_t place, int64_t at, int64_t n)
{
    transfer *t = ctx;
    (void)place;
    (void)at;
    if (owner == t->me) t->to[f->rank] += n * (int64_t)sizeof *t->l->ids;
    if (f->rank == t->me) t->from[owner] += n * (int64_t)sizeof *t->l->ids;
}

static void pack_part(void *ctx, const qep_fetch *f, int owner, int64_t place, int64_t at, int64_t n)
{
    transfer *t = ctx;
    (void)at;
    if (owner != t->me) return;
    memcpy(t->sent + t->to_at[f->rank], t->l->ids + place, (size_t)n * sizeof *t->l->ids);
    t->to_at[f->rank] += n * (int64_t)sizeof *t->l->ids;
}

static void unpack_part(void *ctx, const qep_fetch *f, int owner, int64_t place, int64_t at, int64_t n)
{
    transfer *t = ctx;
    (void)place;
    if (f->rank != t->me) return;
    memcpy(f->dst + at, t->got + t->from_at[owner], (size_t)n * sizeof *t->l->ids);
    t->from_at[owner] += n * (int64_t)sizeof *t->l->ids;
}

void qep_line_fetch_all(qep_comm *c, const qep_line *l, const qep_fetch *list, int64_t n)
{
    const int P = qep_size(c);
    int64_t *table = qep_alloc("data.line", 6 * P, sizeof *table), *to0 = table + 4 * P, *from0 = table + 5 * P;
    transfer t = {l, qep_rank(c), table, table + P, table + 2 * P, table + 3 * P, NULL, NULL};
    each_part(l, list, n, count_part, &t);
    for (int q = 1; q < P; q++) {
        to0[q] = to0[q - 1] + t.to[q - 1];
        from0[q] = from0[q - 1] + t.from[q - 1];
    }
    t.sent = qep_alloc("data.line", to0[P - 1] + t.to[P - 1], 1);
    t.got = qep_alloc("data.line", from0[P - 1] + t.from[P - 1], 1);
    memcpy(t.to_at, to0, (size_t)P * sizeof *to0);
    memcpy(t.from_at, from0, (size_t)P * sizeof *from0);
    each_part(l, list, n, pack_part, &t);
    qep_exchange_all(c, t.sent, t.to, to0, t.got, t.from, from0);
    each_part(l, list, n, unpack_part, &t);
    qep_free(t.sent);
    qep_free(t.got);
    qep_free(table);
}
