/* Random documents and windows as the published codes draw them from C4, with the ranks looking at documents together.
 * SPDX-License-Identifier: Apache-2.0 */
#include "text_priv.h"

enum { ahead = 16 }; /* candidates per rank that are looked at together */

/* Lengths of the documents in `list`, equal on all ranks, dealt out in turn. */
static qep_status learn_all(qep_comm *c, qep_text *t, const int64_t *list, int64_t n)
{
    int64_t *length = qep_alloc("data.draw", n, sizeof *length);
    qep_status st = QEP_OK;
    for (int64_t i = qep_rank(c); i < n && st == QEP_OK; i += qep_size(c)) {
        int32_t *ids;
        st = qep_text_encode(t, list[i], &ids, &length[i]);
        if (st == QEP_OK) qep_free(ids);
    }
    st = qep_agree_all(c, st);
    qep_sum_i64_all(c, length, n);
    for (int64_t i = 0; i < n && st == QEP_OK; i++) t->length[list[i]] = length[i];
    qep_free(length);
    return st;
}

/* What the generator would draw next if every document were too short: those whose length is not known. A copy draws. */
static qep_status look_ahead_all(qep_comm *c, qep_text *t, qep_mt19937 r)
{
    const int64_t most = (int64_t)ahead * qep_size(c);
    int64_t *list = qep_alloc("data.draw", most, sizeof *list), n = 0;
    for (int64_t i = 0; i < most; i++) {
        const int64_t d = qep_mt_randint(&r, 0, t->n - 1);
        bool there = t->length[d] >= 0;
        for (int64_t j = 0; j < n && !there; j++) there = list[j] == d;
        if (!there) list[n++] = d;
    }
    qep_status st = learn_all(c, t, list, n);
    qep_free(list);
    return st;
}

/* After as many failures as there are documents: is there any that would do? */
static qep_status any_left_all(qep_comm *c, qep_text *t, int64_t length, bool fresh, bool *left)
{
    int64_t *list = qep_alloc("data.draw", t->n, sizeof *list), n = 0;
    for (int64_t i = 0; i < t->n; i++)
        if (t->length[i] < 0) list[n++] = i;
    qep_status st = learn_all(c, t, list, n);
    qep_free(list);
    *left = false;
    for (int64_t i = 0; i < t->n && st == QEP_OK; i++)
        *left = *left || (t->length[i] >= length && !(fresh && t->used[i]));
    return st;
}

static void prepare(qep_text *t)
{
    if (t->length) return;
    t->length = qep_alloc("data.documents", t->n, sizeof *t->length);
    t->used = qep_alloc("data.documents", t->n, sizeof *t->used);
    for (int64_t i = 0; i < t->n; i++) t->length[i] = -1;
}

qep_status qep_text_draw_all(qep_comm *c, qep_text *t, qep_mt19937 *r, int64_t length, bool fresh, int64_t *doc, int64_t *first)
{
    const int64_t need = length + t->rules.margin;
    prepare(t);
    for (int64_t failures = 0;;) {
        const qep_mt19937 before = *r;
        const int64_t d = qep_mt_randint(r, 0, t->n - 1);
        if (t->length[d] < 0) {
            *r = before;
            QEP_TRY(look_ahead_all(c, t, *r));
            continue;
        }
        if (t->length[d] >= need && !(fresh && t->used[d])) {
            *doc = d;
            *first = qep_mt_randint(r, 0, t->length[d] - need);
            return QEP_OK;
        }
        if (++failures < t->n) continue;
        bool left;
        QEP_TRY(any_left_all(c, t, need, fresh, &left));
        *doc = -1;
        if (!left) return QEP_OK;
        failures = 0;
    }
}
