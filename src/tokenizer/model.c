/* The BPE model of tokenizer.json: vocabulary, merges and the tables made from them. SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <string.h>

#include "tokenizer_priv.h"

/* --- vocabulary --------------------------------------------------------------------------------- */

static qep_tok_place vocab_place(const qep_tok_place *at, const char *key)
{
    qep_tok_place p = *at;
    const size_t n = strlen(p.path);
    snprintf(p.path + n, sizeof p.path - n, "[\"%.80s\"]", key);
    return p;
}

/* Number of ids and bytes of text. */
static qep_status measure_vocab(const qep_json *vocab, const qep_tok_place *at, int64_t *size, int64_t *bytes)
{
    const char *key;
    qep_json *value;
    *size = *bytes = 0;
    for (void *it = NULL; (it = qep_json_next(vocab, it, &key, &value));) {
        const qep_tok_place here = vocab_place(at, key);
        int32_t id;
        QEP_TRY(qep_tok_get_id(value, &here, &id));
        *size = qep_max_i64(*size, (int64_t)id + 1);
        *bytes += (int64_t)strlen(key) + 1;
    }
    return QEP_OK;
}

qep_status qep_tok_vocab_open(qep_tok_vocab *v, const qep_json *vocab, const qep_tok_place *at)
{
    int64_t bytes;
    QEP_TRY(measure_vocab(vocab, at, &v->size, &bytes));
    v->count = qep_json_size(vocab);
    if (v->count == 0) return qep_tok_bad(at, "an empty vocabulary");
    v->text = qep_alloc("tokenizer.vocab", bytes, 1);
    v->piece = qep_alloc("tokenizer.vocab", v->size, sizeof *v->piece);
    qep_tok_map_init(&v->ids, v->count, v->size);
    const char *key;
    qep_json *value;
    char *to = v->text;
    for (void *it = NULL; (it = qep_json_next(vocab, it, &key, &value));) {
        const int32_t id = (int32_t)qep_json_int(value);
        const size_t n = strlen(key);
        if (v->piece[id]) {
            const qep_tok_place here = vocab_place(at, key);
            return qep_tok_bad(&here, "id %" PRId32 " is also the id of \"%.100s\"", id, v->piece[id]);
        }
        memcpy(to, key, n + 1);
        v->piece[id] = to;
        qep_tok_map_add(&v->ids, to, (int64_t)n, id);
        to += n + 1;
    }
    return QEP_OK;
}

void qep_tok_vocab_close(qep_tok_vocab *v)
{
    qep_free(v->text);
    qep_free(v->piece);
    qep_tok_map_free(&v->ids);
}

/* --- merges --------------------------------------------------------------------------------------- */

static uint64_t pair_hash(uint32_t a, uint32_t b)
{
    uint64_t h = ((uint64_t)a << 32 | b) * UINT64_C(0x9E3779B97F4A7C15);
    return h ^ h >> 29;
}

const qep_tok_merge *qep_tok_find_merge(const qep_tok_bpe *b, int32_t left, int32_t right)
{
    const uint32_t l = (uint32_t)left, r = (uint32_t)right;
    for (uint64_t i = pair_hash(l, r);; i++) {
        const qep_tok_merge *m = &b->table[i & b->table_mask];
        if (m->id < 0) return NULL;
        if (m->left == l && m->right == r) return m;
    }
}

static void merges_init(qep_tok_bpe *b, int64_t expected)
{
    int64_t cap = 16;
    while (cap < 2 * expected) cap *= 2;
    b->table = qep_alloc("tokenizer.merges", cap, sizeof *b->table);
    b->table_mask = (uint64_t)cap - 1;
    for (int64_t i = 0; i < cap; i++) b->table[i].id = -1;
    b->merges = qep_alloc("tokenizer.merges", expected, sizeof *b->merges);
}

/* A pair that is there twice has its later rank, as in the library. */
static void table_put(qep_tok_bpe *b, qep_tok_merge m)
{
    uint64_t i = pair_hash(m.left, m.right);
    qep_tok_merge *s;
    for (;; i++) {
        s = &b->table[i & b->table_mask];
        if (s->id < 0 || (s->left == m.left && s->right == m.right)) break;
    }
    *s = m;
}

static qep_status add_merge(qep_tok_bpe *b, const qep_tok_vocab *v, const qep_tok_place *at, qep_tok_text left, qep_tok_text right)
{
    const int32_t l = qep_tok_map_get(&v->ids, left.p, left.n), r = qep_tok_map_get(&v->ids, right.p, right.n);
    if (left.n == 0 || right.n == 0) return qep_tok_bad(at, "one side of the merge is empty");
    if (l < 0) return qep_tok_bad(at, "\"%.*s\" is not in the vocabulary", (int)qep_min_i64(left.n, 200), left.p);
    if (r < 0) return qep_tok_bad(at, "\"%.*s\" is not in the vocabulary", (int)qep_min_i64(right.n, 200), right.p);
    qep_tok_buf both = {0};
    qep_tok_put(&both, left.p, left.n);
    qep_tok_put(&both, right.p, right.n);
    const int32_t id = qep_tok_map_get(&v->ids, both.p, both.n);
    qep_status st = QEP_OK;
    if (id < 0) st = qep_tok_bad(at, "the result \"%.*s\" is not in the vocabulary", (int)qep_min_i64(both.n, 200), both.p);
    qep_tok_buf_free(&both);
    if (st != QEP_OK) return st;
    table_put(b, (qep_tok_merge){(uint32_t)l, (uint32_t)r, (uint32_t)b->n_merges, id});
    b->merges[b->n_merges][0] = l;
    b->merges[b->n_merges][1] = r;
    b->n_merges++;
    return QEP_OK;
}

/* "left right" with one blank. */
static qep_status add_merge_line(qep_tok_bpe *b, const qep_tok_vocab *v, const qep_tok_place *at, const char *line, int64_t n)
{
    const char *blank = memchr(line, ' ', (size_t)n);
    const int64_t left = blank ? blank - line : 0, right = n - left - 1;
    if (!blank || memchr(blank + 1, ' ', (size_t)right)) return qep_tok_bad(at, "expected two tokens with one blank between them");
    return add_merge(b, v, at, (qep_tok_text){line, left}, (qep_tok_text){blank + 1, right});
}

static qep_status add_merge_json(qep_tok_bpe *b, const qep_tok_vocab *v, const qep_tok_place *at, const qep_json *j)
{
    if (qep_json_type(j) == QEP_JSON_STRING) {
        const char *s = qep_json_string(j);
        return strncmp(s, "#version", 8) == 0 ? QEP_OK : add_merge_line(b, v, at, s, (int64_t)strlen(s));
    }
    const char *l = qep_json_type(j) == QEP_JSON_ARRAY && qep_json_size(j) == 2 ? qep_json_string(qep_json_at(j, 0)) : NULL;
    const char *r = l ? qep_json_string(qep_json_at(j, 1)) : NULL;
    if (!r) return qep_tok_bad(at, "expected \"left right\" or [\"left\", \"right\"]");
    return add_merge(b, v, at, (qep_tok_text){l, (int64_t)strlen(l)}, (qep_tok_text){r, (int64_t)strlen(r)});
}

qep_status qep_tok_merges_json(qep_tok_bpe *b, const qep_tok_vocab *v, const qep_json *merges, const qep_tok_place *at)
{
    const int64_t n = qep_json_size(merges);
    merges_init(b, n);
    for (int64_t i = 0; i < n; i++) {
        const qep_tok_place here = qep_tok_item(at, i);
        QEP_TRY(add_merge_json(b, v, &here, qep_json_at(merges, i)));
    }
    return QEP_OK;
}

qep_status qep_tok_merges_text(qep_tok_bpe *b, const qep_tok_vocab *v, const char *source, const char *text, int64_t bytes)
{
    int64_t lines = 1;
    for (int64_t i = 0; i < bytes; i++) lines += text[i] == '\n';
    merges_init(b, lines);
    const char *end = text + bytes;
    int64_t number = 1;
    for (const char *p = text; p < end; number++) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        const char *next = stop ? stop + 1 : end;
        int64_t n = (stop ? stop : end) - p;
        if (n > 0 && p[n - 1] == '\r') n--;
        qep_tok_place at = {.source = source};
        snprintf(at.path, sizeof at.path, "line %" PRId64, number);
        const bool skip = (n >= 8 && memcmp(p, "#version", 8) == 0) || (n == 0 && next == end);
        if (!skip) QEP_TRY(add_merge_line(b, v, &at, p, n));
        p = next;
    }
    return QEP_OK;
}

/* --- which neighbours a merge can bring together -------------------------------------------------- */

bool qep_tok_joins(const qep_tok_bpe *b, int32_t left, int32_t right)
{
    const uint64_t key = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) + 1;
    for (uint64_t i = pair_hash((uint32_t)left, (uint32_t)right);; i++) {
        const uint64_t k = b->joins[i & b->joins_mask];
        if (k == key) return true;
        if (k == 0) return false;
    }
}

static void joins_put(qep_tok_bpe *b, int32_t left, int32_t right)
{
    uint64_t i = pair_hash((uint32_t)left, (uint32_t)right);
    while (b->joins[i & b->joins_mask] != 0) i++;
    b->joins[i & b->joins_mask] = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) + 1;
}

/* Id of the first or last character of a piece, -1 when that character is no token: the piece cannot come about then. */
static int32_t end_symbol(const qep_tok_vocab *v, int32_t id, bool last)
{
    const char *p = v->piece[id];
    int64_t n = (int64_t)strlen(p);
    int len;
    if (last) {
        const char *q = p + n - 1;
        while (((unsigned char)*q & 0xC0) == 0x80) q--;
        return qep_tok_map_get(&v->ids, q, p + n - q);
    }
    qep_tok_decode(p, &len);
    return qep_tok_map_get(&v->ids, p, len);
}

/* Tokens that stand for something else than their text (bytes, unk) and take part in merges leave no sure cuts. */
static bool is_stand_in(const qep_tok_bpe *b, int32_t id)
{
    if (id == b->unk) return true;
    for (int i = 0; b->byte_fallback && i < 256; i++) {
        if (b->byte_id[i] == id) return true;
    }
    return false;
}

static void make_joins(qep_tok_bpe *b, const qep_tok_vocab *v)
{
    int64_t cap = 16;
    while (cap < 2 * b->n_merges) cap *= 2;
    b->joins = qep_alloc("tokenizer.joins", cap, sizeof *b->joins);
    b->joins_mask = (uint64_t)cap - 1;
    for (int64_t i = 0; i < b->n_merges; i++) {
        const int32_t l = b->merges[i][0], r = b->merges[i][1];
        const int32_t result = qep_tok_find_merge(b, l, r)->id;
        if (is_stand_in(b, l) || is_stand_in(b, r) || is_stand_in(b, result)) b->no_cuts = true;
        const int32_t left = end_symbol(v, l, true), right = end_symbol(v, r, false);
        if (left >= 0 && right >= 0 && !qep_tok_joins(b, left, right)) joins_put(b, left, right);
    }
}

/* --- the tables ------------------------------------------------------------------------------------- */

static int32_t char_id(const qep_tok_vocab *v, uint32_t c)
{
    char text[4];
    return qep_tok_map_get(&v->ids, text, qep_tok_encode_utf8(c, text));
}

static void single_symbols(qep_tok_bpe *b, const qep_tok_vocab *v)
{
    for (int i = 0; i < 256; i++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)i);
        b->byte_id[i] = b->byte_level ? char_id(v, qep_tok_byte_char((unsigned char)i)) : qep_tok_map_get(&v->ids, name, 6);
    }
    for (uint32_t c = 0; c < 128; c++) b->ascii_id[c] = char_id(v, c);
}

/* The pieces that BPE gives back as one token (all that can be spelled, where merges are ignored), by what a word of theirs looks like. */
static void make_whole(qep_tok_bpe *b, const qep_tok_vocab *v)
{
    qep_tok_buf raw = {0};
    qep_tok_work w = {0};
    int64_t bytes = 0;
    for (int64_t id = 0; id < v->size; id++) bytes += v->piece[id] ? (int64_t)strlen(v->piece[id]) : 0;
    b->raw = qep_alloc("tokenizer.vocab", b->byte_level ? bytes : 0, 1);
    qep_tok_map whole = {0};
    qep_tok_map_init(&whole, v->count, v->size);
    char *to = b->raw;
    for (int32_t id = 0; id < v->size; id++) {
        const char *piece = v->piece[id];
        if (!piece || !*piece) continue;
        raw.n = 0;
        qep_tok_text text = {piece, (int64_t)strlen(piece)};
        if (b->byte_level) {
            if (!qep_tok_alphabet_bytes(text.p, text.n, &raw)) continue;
            text = (qep_tok_text){raw.p, raw.n};
        }
        w.n = 0;
        qep_tok_bpe_merge_word(b, text, &w);
        if (!(b->byte_level && b->ignore_merges) && (w.n != 1 || w.ids[0] != id)) continue;
        if (b->byte_level) {
            memcpy(to, text.p, (size_t)text.n);
            text.p = to;
            to += text.n;
        }
        qep_tok_map_add(&whole, text.p, text.n, id);
        b->longest = qep_max_i64(b->longest, text.n);
    }
    b->whole = whole;
    qep_tok_buf_free(&raw);
    qep_tok_work_free(&w);
}

void qep_tok_bpe_index(qep_tok_bpe *b, const qep_tok_vocab *v)
{
    b->vocab = &v->ids;
    single_symbols(b, v);
    make_joins(b, v);
    make_whole(b, v);
}

void qep_tok_bpe_close(qep_tok_bpe *b)
{
    qep_tok_map_free(&b->whole);
    qep_free(b->table);
    qep_free(b->merges);
    qep_free(b->joins);
    qep_free(b->raw);
}
