/* Byte pair encoding of one word: repeatedly the adjacent pair of lowest rank, the leftmost of equals (models/bpe/word.rs of the library).
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <string.h>

#include "tokenizer_priv.h"

enum { SHORT_RUN = 32 }; /* up to here looking at all pairs is faster than a heap */

void qep_tok_emit(qep_tok_work *w, int32_t id)
{
    if (w->n == w->cap) {
        w->cap = qep_max_i64(64, w->cap + w->cap / 2);
        w->ids = qep_realloc(w->ids, "tokenizer.ids", w->cap, sizeof *w->ids);
    }
    w->ids[w->n++] = id;
}

/* --- short runs --------------------------------------------------------------------------------------- */

typedef struct pair_at {
    uint32_t rank;
    int32_t id;
} pair_at;

static pair_at pair_of(const qep_tok_bpe *b, int32_t left, int32_t right)
{
    const qep_tok_merge *m = qep_tok_find_merge(b, left, right);
    return m ? (pair_at){m->rank, m->id} : (pair_at){UINT32_MAX, -1};
}

static void merge_short(const qep_tok_bpe *b, qep_tok_work *w)
{
    int32_t *s = w->sym;
    int n = (int)w->n_sym;
    pair_at pair[SHORT_RUN];
    for (int i = 0; i + 1 < n; i++) pair[i] = pair_of(b, s[i], s[i + 1]);
    for (;;) {
        int best = 0;
        for (int i = 1; i + 1 < n; i++) {
            if (pair[i].rank < pair[best].rank) best = i;
        }
        if (n < 2 || pair[best].id < 0) break;
        s[best] = pair[best].id;
        memmove(s + best + 1, s + best + 2, (size_t)(n - best - 2) * sizeof *s);
        if (best + 2 < n) memmove(pair + best, pair + best + 1, (size_t)(n - best - 2) * sizeof *pair);
        n--;
        if (best > 0) pair[best - 1] = pair_of(b, s[best - 1], s[best]);
        if (best + 1 < n) pair[best] = pair_of(b, s[best], s[best + 1]);
    }
    for (int i = 0; i < n; i++) qep_tok_emit(w, s[i]);
}

/* --- long runs: a heap of pairs, a chain of symbols ------------------------------------------------------ */

struct qep_tok_link {
    int32_t prev, next; /* -1: none; next == GONE: merged into its left neighbour */
};
enum { GONE = -2 };
struct qep_tok_entry {
    uint32_t rank;
    int32_t at, id;
};

static bool before(const struct qep_tok_entry *a, const struct qep_tok_entry *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void sift_down(struct qep_tok_entry *h, int64_t n, int64_t i)
{
    const struct qep_tok_entry e = h[i];
    for (int64_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && before(&h[child + 1], &h[child])) child++;
        if (!before(&h[child], &e)) break;
        h[i] = h[child];
    }
    h[i] = e;
}

static void push(qep_tok_work *w, int64_t *n, struct qep_tok_entry e)
{
    if (*n == w->heap_cap) {
        w->heap_cap = qep_max_i64(256, 2 * w->heap_cap);
        w->heap = qep_realloc(w->heap, "tokenizer.heap", w->heap_cap, sizeof *w->heap);
    }
    int64_t i = (*n)++;
    for (; i > 0 && before(&e, &w->heap[(i - 1) / 2]); i = (i - 1) / 2) w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = e;
}

static void push_pair(const qep_tok_bpe *b, qep_tok_work *w, int64_t *n, int32_t at)
{
    const pair_at p = pair_of(b, w->sym[at], w->sym[w->links[at].next]);
    if (p.id >= 0) push(w, n, (struct qep_tok_entry){p.rank, at, p.id});
}

static void chain(qep_tok_work *w)
{
    const int32_t n = (int32_t)w->n_sym;
    if (n > w->links_cap) {
        w->links_cap = qep_max_i64(n, 2 * w->links_cap);
        w->links = qep_realloc(w->links, "tokenizer.links", w->links_cap, sizeof *w->links);
    }
    for (int32_t i = 0; i < n; i++) w->links[i] = (struct qep_tok_link){i - 1, i + 1 < n ? i + 1 : -1};
}

static void merge_long(const qep_tok_bpe *b, qep_tok_work *w)
{
    int64_t n = 0;
    chain(w);
    struct qep_tok_link *link = w->links;
    for (int32_t i = 0; i + 1 < w->n_sym; i++) push_pair(b, w, &n, i);
    while (n > 0) {
        const struct qep_tok_entry top = w->heap[0];
        w->heap[0] = w->heap[--n];
        if (n > 0) sift_down(w->heap, n, 0);
        struct qep_tok_link *l = &link[top.at];
        if (l->next < 0) continue;
        const int32_t right = l->next;
        /* an entry whose pair has changed since */
        if (pair_of(b, w->sym[top.at], w->sym[right]).id != top.id) continue;
        w->sym[top.at] = top.id;
        l->next = link[right].next;
        link[right].next = GONE;
        if (l->next >= 0) link[l->next].prev = top.at;
        if (l->prev >= 0) push_pair(b, w, &n, l->prev);
        if (l->next >= 0) push_pair(b, w, &n, top.at);
    }
    for (int32_t i = 0; i >= 0; i = link[i].next) qep_tok_emit(w, w->sym[i]);
}

/* --- symbols of a word -------------------------------------------------------------------------------------- */

/* The run of symbols that is being gathered: no merge reaches across its ends. */
typedef struct gather {
    const qep_tok_bpe *b;
    qep_tok_work *w;
    bool cut;            /* cut where no merge can join */
    bool lookup;         /* try the table of whole pieces on a run */
    const char *start;   /* text of the run, NULL when a symbol of it is not its own text */
    bool unk;            /* an unknown character waits to be added */
} gather;

static void flush(gather *g, const char *end)
{
    qep_tok_work *w = g->w;
    if (w->n_sym == 0) return;
    const int32_t whole = g->lookup && g->start && w->n_sym > 1 && end - g->start <= g->b->longest
                              ? qep_tok_map_get(&g->b->whole, g->start, end - g->start)
                              : -1;
    if (whole >= 0) {
        qep_tok_emit(w, whole);
    } else if (w->n_sym == 1) {
        qep_tok_emit(w, w->sym[0]);
    } else if (w->n_sym <= SHORT_RUN) {
        merge_short(g->b, w);
    } else {
        merge_long(g->b, w);
    }
    w->n_sym = 0;
}

/* text: where the symbol's text begins; own: the symbol is the token of that text. */
static void add_symbol(gather *g, int32_t id, const char *text, bool own)
{
    qep_tok_work *w = g->w;
    if (g->cut && w->n_sym > 0 && !qep_tok_joins(g->b, w->sym[w->n_sym - 1], id)) flush(g, text);
    if (w->n_sym == 0) g->start = text;
    if (!own) g->start = NULL;
    if (w->n_sym == w->sym_cap) {
        w->sym_cap = qep_max_i64(256, 2 * w->sym_cap);
        w->sym = qep_realloc(w->sym, "tokenizer.symbols", w->sym_cap, sizeof *w->sym);
    }
    w->sym[w->n_sym++] = id;
}

static void add_known(gather *g, int32_t id, const char *text)
{
    if (g->unk) add_symbol(g, g->b->unk, text, false);
    g->unk = false;
    add_symbol(g, id, text, true);
}

/* A character that is no token: its bytes, or unk, or nothing where there is neither. As in the library, an unknown one that waits is overtaken by
 * characters that have bytes. */
static void add_missing(gather *g, const char *text, int len)
{
    bool bytes = g->b->byte_fallback;
    for (int i = 0; i < len; i++) bytes = bytes && g->b->byte_id[(unsigned char)text[i]] >= 0;
    if (bytes) {
        for (int i = 0; i < len; i++) add_symbol(g, g->b->byte_id[(unsigned char)text[i]], text, false);
        return;
    }
    if (g->b->unk < 0) return;
    if (g->unk && !g->b->fuse_unk) add_symbol(g, g->b->unk, text, false);
    g->unk = true;
}

static void gather_bytes(gather *g, qep_tok_text word)
{
    for (int64_t i = 0; i < word.n; i++) {
        const int32_t id = g->b->byte_id[(unsigned char)word.p[i]];
        if (id >= 0) {
            add_known(g, id, word.p + i);
        } else {
            add_missing(g, word.p + i, 1);
        }
    }
}

static void gather_chars(gather *g, qep_tok_text word)
{
    int len;
    for (int64_t i = 0; i < word.n; i += len) {
        const char *p = word.p + i;
        const uint32_t c = qep_tok_decode(p, &len);
        const int32_t id = c < 128 ? g->b->ascii_id[c] : qep_tok_map_get(g->b->vocab, p, len);
        if (id >= 0) {
            add_known(g, id, p);
        } else {
            add_missing(g, p, len);
        }
    }
}

void qep_tok_bpe_merge_word(const qep_tok_bpe *b, qep_tok_text word, qep_tok_work *w)
{
    gather g = {.b = b, .w = w, .cut = !b->no_cuts && (!b->byte_level || word.n > SHORT_RUN), .lookup = !b->byte_level && b->whole.cap > 0};
    w->n_sym = 0;
    if (b->byte_level) {
        gather_bytes(&g, word);
    } else {
        gather_chars(&g, word);
    }
    const char *end = word.p + word.n;
    if (g.unk) add_symbol(&g, b->unk, end, false);
    flush(&g, end);
}

qep_status qep_tok_bpe_word(const qep_tok_bpe *b, qep_tok_text word, qep_tok_work *w)
{
    if (word.n == 0) return QEP_OK;
    if (word.n > INT32_MAX - 1) {
        return qep_fail(QEP_E_INPUT, "a single word of %" PRId64 " bytes; texts for this tokenizer must be given in parts of less than 2 GiB", word.n);
    }
    int32_t whole = -1;
    if (b->byte_level) {
        if (word.n <= b->longest) whole = qep_tok_map_get(&b->whole, word.p, word.n);
    } else if (b->ignore_merges) {
        whole = qep_tok_map_get(b->vocab, word.p, word.n);
    }
    if (whole >= 0) {
        qep_tok_emit(w, whole);
    } else {
        qep_tok_bpe_merge_word(b, word, w);
    }
    return QEP_OK;
}
