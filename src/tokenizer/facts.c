/* What is asked about an open tokenizer. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "tokenizer_priv.h"

static const qep_tok_added *added(const qep_tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->size ? t->added_of[id] : NULL;
}

int64_t qep_tokenizer_size(const qep_tokenizer *t)
{
    return t->size;
}

int32_t qep_tokenizer_id(const qep_tokenizer *t, const char *token)
{
    for (int64_t i = 0; i < t->n_added; i++) {
        if (strcmp(t->added[i].content, token) == 0) return t->added[i].id;
    }
    return qep_tok_map_get(&t->vocab.ids, token, (int64_t)strlen(token));
}

const char *qep_tokenizer_piece(const qep_tokenizer *t, int32_t id)
{
    const qep_tok_added *a = added(t, id);
    if (a) return a->content;
    return id >= 0 && id < t->vocab.size ? t->vocab.piece[id] : NULL;
}

bool qep_tokenizer_is_added(const qep_tokenizer *t, int32_t id)
{
    return added(t, id) != NULL;
}

bool qep_tokenizer_is_special(const qep_tokenizer *t, int32_t id)
{
    const qep_tok_added *a = added(t, id);
    return a && a->special;
}

int64_t qep_tokenizer_n_merges(const qep_tokenizer *t)
{
    return t->bpe.n_merges;
}

void qep_tokenizer_merge(const qep_tokenizer *t, int64_t rank, int32_t *left, int32_t *right)
{
    QEP_REQUIRE(rank >= 0 && rank < t->bpe.n_merges);
    *left = t->bpe.merges[rank][0];
    *right = t->bpe.merges[rank][1];
}

qep_tokenizer_family qep_tokenizer_get_family(const qep_tokenizer *t)
{
    return t->family;
}

int32_t qep_tokenizer_bos(const qep_tokenizer *t)
{
    return t->bos;
}

int32_t qep_tokenizer_eos(const qep_tokenizer *t)
{
    return t->eos;
}

int32_t qep_tokenizer_unk(const qep_tokenizer *t)
{
    return t->bpe.unk;
}

bool qep_tokenizer_adds_bos(const qep_tokenizer *t)
{
    return t->bos >= 0 && t->front.n > 0 && t->front.id[0] == t->bos;
}

bool qep_tokenizer_bos_rule(const qep_tokenizer *t, const char *rule, bool *special, int32_t *front)
{
    const bool missing = strcmp(rule, "yes") == 0 && !qep_tokenizer_adds_bos(t);
    *special = strcmp(rule, "no") != 0;
    *front = missing ? t->bos : -1;
    return !missing || t->bos >= 0;
}

bool qep_tokenizer_adds_eos(const qep_tokenizer *t)
{
    return t->eos >= 0 && t->back.n > 0 && t->back.id[t->back.n - 1] == t->eos;
}

uint64_t qep_tokenizer_identity(const qep_tokenizer *t)
{
    return t->identity;
}
