/* Text to ids: added tokens, normalizer, words, model, template. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "tokenizer_priv.h"

void qep_tok_work_free(qep_tok_work *w)
{
    qep_free(w->ids);
    qep_free(w->sym);
    qep_free(w->links);
    qep_free(w->heap);
    qep_tok_match_free(&w->match);
    *w = (qep_tok_work){0};
}

typedef struct encoding {
    const qep_tokenizer *t;
    qep_tok_work *w;
    qep_tok_text raw, normalized; /* the text; the segment at hand */
    bool begins;                  /* the text is no part that goes on with another one */
    bool first;                   /* the segment begins where the whole text begins */
    qep_tok_buf buf;              /* of the normalizer */
} encoding;

/* A stretch of a normalized segment. */
static qep_status on_normalized(void *ctx, const qep_tok_added *token, int64_t begin, int64_t end)
{
    encoding *e = ctx;
    if (token) {
        qep_tok_emit(e->w, token->id);
        return QEP_OK;
    }
    const qep_tok_text part = {e->normalized.p + begin, end - begin};
    return qep_tok_split(&e->t->splits, &e->t->bpe, part, e->first && begin == 0, e->w);
}

/* A stretch of the raw text. */
static qep_status on_raw(void *ctx, const qep_tok_added *token, int64_t begin, int64_t end)
{
    encoding *e = ctx;
    if (token) {
        qep_tok_emit(e->w, token->id);
        return QEP_OK;
    }
    e->first = begin == 0 && e->begins;
    e->normalized = (qep_tok_text){e->raw.p + begin, end - begin};
    if (e->t->norms.n > 0) {
        QEP_TRY(qep_tok_normalize(&e->t->norms, e->normalized, begin > 0 || e->begins, e->w, &e->buf));
        e->normalized = (qep_tok_text){e->buf.p, e->buf.n};
    }
    return qep_tok_matcher_run(&e->t->normalized, e->normalized, on_normalized, e);
}

qep_status qep_tokenizer_encode(const qep_tokenizer *t, const char *text, int64_t bytes, bool add_special, int32_t **ids, int64_t *n)
{
    return qep_tokenizer_encode_part(t, text, bytes, add_special, true, true, ids, n);
}

qep_status qep_tokenizer_encode_part(const qep_tokenizer *t, const char *text, int64_t bytes, bool add_special, bool first, bool last, int32_t **ids,
                                     int64_t *n)
{
    qep_tok_work w = {0};
    qep_tok_buf valid = {0};
    encoding e = {.t = t, .w = &w, .raw = {text, bytes}, .begins = first};
    *ids = NULL;
    *n = 0;
    QEP_REQUIRE(bytes >= 0);
    if (qep_tok_valid_prefix(text, bytes, 0) < bytes) {
        qep_tok_replace_invalid(text, bytes, &valid);
        e.raw = (qep_tok_text){valid.p, valid.n};
    }
    w.cap = 64 + e.raw.n / 4;
    w.ids = qep_alloc("tokenizer.ids", w.cap, sizeof *w.ids);
    for (int64_t i = 0; add_special && first && i < t->front.n; i++) qep_tok_emit(&w, t->front.id[i]);
    const qep_status st = qep_tok_matcher_run(&t->raw, e.raw, on_raw, &e);
    for (int64_t i = 0; add_special && last && i < t->back.n; i++) qep_tok_emit(&w, t->back.id[i]);
    if (st == QEP_OK) {
        *ids = w.ids;
        *n = w.n;
        w.ids = NULL;
    }
    qep_tok_buf_free(&e.buf);
    qep_tok_buf_free(&valid);
    qep_tok_work_free(&w);
    return st;
}
