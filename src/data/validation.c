/* Held-out sequences: rows and windows of the calibration files that no calibration sequence touches.
 * SPDX-License-Identifier: Apache-2.0 */
#include "data_priv.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A file as a line of `end` places (rows, or tokens), where the calibration sequences took `span`
 * places each, from taken[] in rising order. Walked in steps of `span` through what they left. */
typedef struct line {
    int64_t *taken, n, span, end;
    int64_t at, place; /* the walk: next of taken, next place */
} line;

static int rising(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static line line_of(const qep_source *s, int file, int64_t length, const qep_corpus *k)
{
    const bool rows = qep_source_is_rows(s);
    line l = {.span = rows ? 1 : length, .end = rows ? qep_source_rows(s) : qep_source_length(s)};
    l.taken = qep_alloc("data.free", k->count[QEP_SEQ_CALIBRATION], sizeof *l.taken);
    for (int64_t i = 0; i < k->count[QEP_SEQ_CALIBRATION]; i++) {
        const qep_seq *q = &k->seqs[i];
        if (q->set == file) l.taken[l.n++] = rows ? q->row : q->first;
    }
    qsort(l.taken, (size_t)l.n, sizeof *l.taken, rising);
    return l;
}

/* The next free stretch of `span` places; false at the end. */
static bool next_free(line *l, int64_t *first)
{
    for (; l->at < l->n && l->taken[l->at] < l->place + l->span; l->at++)
        l->place = qep_max_i64(l->place, l->taken[l->at] + l->span);
    if (l->place > l->end - l->span) return false;
    *first = l->place;
    l->place += l->span;
    return true;
}

/* Takes `want` of the free stretches, or all; each is taken with probability (still wanted) / (still
 * there), or the first ones. Returns how many. */
static int64_t take_free(line *l, int64_t want, bool random, qep_mt19937 *r, int64_t *firsts)
{
    int64_t there = 0, n = 0, first;
    while (next_free(l, &first)) there++;
    l->at = l->place = 0;
    want = qep_min_i64(want, there);
    for (; n < want; there--) {
        QEP_REQUIRE(next_free(l, &first));
        if (!random || qep_mt_randint(r, 0, there - 1) < want - n) firsts[n++] = first;
    }
    return n;
}

/* Windows and rows that lie between those of calibration. */
static int64_t from_gaps(const qep_source *s, int file, int64_t want, int64_t length, bool random, qep_mt19937 *r, qep_corpus *k)
{
    int64_t *firsts = qep_alloc("data.free", want, sizeof *firsts);
    const bool rows = qep_source_is_rows(s);
    line l = line_of(s, file, length, k);
    const int64_t n = take_free(&l, want, random, r, firsts);
    for (int64_t j = 0; j < n; j++)
        qep_corpus_add(k, (qep_seq){QEP_SEQ_VALIDATION, file, rows ? firsts[j] : 0, rows ? 0 : firsts[j], length});
    qep_free(l.taken);
    qep_free(firsts);
    return n;
}

/* The windows inside documents that follow those of calibration. */
static int64_t next_windows(const qep_source *s, int file, int64_t taken, int64_t want, int64_t length, qep_corpus *k)
{
    int64_t n = 0;
    for (; n < want; n++) {
        qep_seq q = {QEP_SEQ_VALIDATION, file, 0, 0, length};
        if (!qep_source_window(s, length, taken + n, &q.row, &q.first)) break;
        qep_corpus_add(k, q);
    }
    return n;
}

/* Documents that no other sequence was drawn from. */
static qep_status fresh_documents_all(qep_comm *c, qep_source *s, int file, int64_t want, int64_t length, qep_mt19937 *r, qep_corpus *k, int64_t *n)
{
    for (int64_t i = 0; i < k->count[QEP_SEQ_CALIBRATION]; i++)
        if (k->seqs[i].set == file) s->text->used[k->seqs[i].row] = true;
    for (*n = 0; *n < want; ++*n) {
        qep_seq q = {QEP_SEQ_VALIDATION, file, 0, 0, length};
        QEP_TRY(qep_text_draw_all(c, s->text, r, length, true, &q.row, &q.first));
        if (q.row < 0) break;
        s->text->used[q.row] = true;
        qep_corpus_add(k, q);
    }
    return QEP_OK;
}

qep_status qep_corpus_hold_out_all(qep_comm *c, const qep_config *cfg, qep_source *const *sources, qep_mt19937 *r, qep_corpus *k)
{
    const bool random = qep_selects_random(cfg);
    int64_t *shares = qep_alloc("data.shares", 2 * cfg->n_calibration_data, sizeof *shares), *taken = shares + cfg->n_calibration_data;
    qep_status st = QEP_OK;
    qep_calibration_shares(cfg, cfg->validation, shares);
    for (int64_t i = 0; i < k->count[QEP_SEQ_CALIBRATION]; i++) taken[k->seqs[i].set]++;
    for (int64_t i = 0; i < cfg->n_calibration_data && st == QEP_OK; i++) {
        qep_source *s = sources[i];
        const int64_t length = qep_calibration_length(cfg, s);
        int64_t n = 0;
        if (s->view == QEP_VIEW_DOCUMENTS)
            st = fresh_documents_all(c, s, qep_int(i), shares[i], length, r, k, &n);
        else if (s->view == QEP_VIEW_WINDOWS)
            n = next_windows(s, qep_int(i), taken[i], shares[i], length, k);
        else
            n = from_gaps(s, qep_int(i), shares[i], length, random, r, k);
        if (st == QEP_OK && n < shares[i])
            qep_info("validation: %" PRId64 " of %" PRId64 " held-out sequences: calibration leaves no more %s free in %s", n, shares[i],
                     qep_source_is_rows(s) ? "rows" : s->view == QEP_VIEW_DOCUMENTS ? "long documents" : "windows", qep_source_path(s));
    }
    qep_free(shares);
    return st;
}
