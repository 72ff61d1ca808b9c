/* Opening a tokenizer: files, the parts of the JSON, and what is asked about them. SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <string.h>

#include "tokenizer_priv.h"

/* --- the model -------------------------------------------------------------------------------------------------- */

/* Fields that change the ids when they are set, and that this module does not do. */
static qep_status check_unsupported(const qep_json *model, const qep_tok_place *at)
{
    static const char *const texts[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    const char *type = "BPE", *text;
    QEP_TRY(qep_tok_get_string(model, at, "type", false, &type));
    qep_tok_place here = qep_tok_member(at, "type");
    if (strcmp(type, "BPE") != 0) return qep_tok_bad(&here, "the model %.100s is not supported; only BPE is", type);
    const qep_json *dropout = qep_json_get(model, "dropout");
    here = qep_tok_member(at, "dropout");
    if (dropout && qep_json_type(dropout) != QEP_JSON_NULL && !(qep_json_is_number(dropout) && qep_json_real(dropout) == 0.0))
        return qep_tok_bad(&here, "not supported: ids would be random");
    for (int i = 0; i < 2; i++) {
        text = "";
        QEP_TRY(qep_tok_get_string(model, at, texts[i], false, &text));
        here = qep_tok_member(at, texts[i]);
        if (*text) return qep_tok_bad(&here, "not supported (\"%.100s\")", text);
    }
    return QEP_OK;
}

static qep_status read_model(qep_tokenizer *t, const qep_json *model, const qep_tok_place *at)
{
    const char *unk = NULL;
    QEP_TRY(check_unsupported(model, at));
    QEP_TRY(qep_tok_get_bool(model, at, "fuse_unk", false, &t->bpe.fuse_unk));
    QEP_TRY(qep_tok_get_bool(model, at, "byte_fallback", false, &t->bpe.byte_fallback));
    QEP_TRY(qep_tok_get_bool(model, at, "ignore_merges", false, &t->bpe.ignore_merges));
    QEP_TRY(qep_tok_get_string(model, at, "unk_token", false, &unk));
    if (!unk) return QEP_OK;
    t->bpe.unk = qep_tok_map_get(&t->vocab.ids, unk, (int64_t)strlen(unk));
    const qep_tok_place here = qep_tok_member(at, "unk_token");
    return t->bpe.unk >= 0 ? QEP_OK : qep_tok_bad(&here, "\"%.100s\" is not in the vocabulary", unk);
}

/* --- the parts ---------------------------------------------------------------------------------------------------- */

static qep_status read_steps(qep_tokenizer *t, const qep_json *root, const qep_tok_place *at)
{
    const qep_json *o;
    qep_tok_place here = qep_tok_member(at, "normalizer");
    QEP_TRY(qep_tok_get_object(root, at, "normalizer", false, &o));
    if (o) QEP_TRY(qep_tok_norms_open(&t->norms, o, &here));
    QEP_TRY(qep_tok_get_object(root, at, "pre_tokenizer", false, &o));
    here = qep_tok_member(at, "pre_tokenizer");
    if (o) QEP_TRY(qep_tok_splits_open(&t->splits, o, &here));
    QEP_TRY(qep_tok_get_object(root, at, "decoder", false, &o));
    here = qep_tok_member(at, "decoder");
    if (o) QEP_TRY(qep_tok_decoders_open(&t->decoders, o, &here));
    return QEP_OK;
}

qep_status qep_tok_build(qep_tokenizer *t, const qep_json *root, const qep_tok_place *at, const qep_tok_source *m)
{
    const qep_json *model;
    const char *version = "1.0";
    QEP_TRY(qep_tok_get_string(root, at, "version", false, &version));
    const qep_tok_place version_at = qep_tok_member(at, "version"), model_at = qep_tok_member(at, "model");
    if (strcmp(version, "1.0") != 0) return qep_tok_bad(&version_at, "unknown version \"%.100s\"", version);
    QEP_TRY(qep_tok_get_object(root, at, "model", true, &model));
    QEP_TRY(check_unsupported(model, &model_at));
    QEP_TRY(qep_tok_vocab_open(&t->vocab, m->vocab, &m->vocab_at));
    QEP_TRY(read_model(t, model, &model_at));
    QEP_TRY(read_steps(t, root, at));
    if (m->merges) {
        QEP_TRY(qep_tok_merges_json(&t->bpe, &t->vocab, m->merges, &m->merges_at));
    } else {
        QEP_TRY(qep_tok_merges_text(&t->bpe, &t->vocab, m->merges_at.source, m->merges_text, m->merges_bytes));
    }
    t->bpe.byte_level = t->splits.ends_in_bytes;
    qep_tok_bpe_index(&t->bpe, &t->vocab);
    QEP_TRY(qep_tok_added_open(t, root, at));
    QEP_TRY(qep_tok_template_open(t, root, at));
    t->bos = t->front.n > 0 ? t->front.id[0] : -1;
    t->eos = t->back.n > 0 ? t->back.id[t->back.n - 1] : -1;
    t->family = qep_tok_family(t);
    t->can_part = qep_tok_can_part(t);
    return QEP_OK;
}

qep_tokenizer *qep_tok_new(void)
{
    qep_tokenizer *t = qep_alloc("tokenizer", 1, sizeof *t);
    t->bpe.unk = t->bos = t->eos = -1;
    return t;
}

qep_status qep_tokenizer_parse(const char *text, int64_t bytes, const char *source, qep_tokenizer **out)
{
    qep_json *root = NULL;
    const qep_json *model;
    qep_tokenizer *t = qep_tok_new();
    const qep_tok_place at = {.source = source}, model_at = qep_tok_member(&at, "model");
    qep_tok_source m = {.vocab_at = qep_tok_member(&model_at, "vocab"), .merges_at = qep_tok_member(&model_at, "merges")};
    qep_status st = QEP_OK;
    *out = NULL;
    QEP_GO(st, qep_json_parse(text, bytes, source, QEP_E_INPUT, &root));
    if (qep_json_type(root) != QEP_JSON_OBJECT) QEP_GO(st, qep_tok_bad(&at, "expected an object"));
    QEP_GO(st, qep_tok_get_object(root, &at, "model", true, &model));
    QEP_GO(st, check_unsupported(model, &model_at));
    QEP_GO(st, qep_tok_get_object(model, &model_at, "vocab", true, &m.vocab));
    QEP_GO(st, qep_tok_get_array(model, &model_at, "merges", true, &m.merges));
    QEP_GO(st, qep_tok_build(t, root, &at, &m));
    t->identity = qep_hash64(text, (size_t)bytes, 0);
    *out = t;
    t = NULL;
done:
    qep_tokenizer_close(&t);
    qep_json_free(&root);
    return st;
}

void qep_tokenizer_close(qep_tokenizer **out)
{
    qep_tokenizer *t = *out;
    if (!t) return;
    for (int64_t i = 0; i < t->n_added; i++) {
        qep_free(t->added[i].content);
        qep_free(t->added[i].pattern);
    }
    qep_free(t->added);
    qep_free(t->added_of);
    qep_tok_matcher_close(&t->raw);
    qep_tok_matcher_close(&t->normalized);
    qep_free(t->front.id);
    qep_free(t->back.id);
    qep_tok_decoders_close(&t->decoders);
    qep_tok_splits_close(&t->splits);
    qep_tok_norms_close(&t->norms);
    qep_tok_bpe_close(&t->bpe);
    qep_tok_vocab_close(&t->vocab);
    qep_free(t);
    *out = NULL;
}
