/* A directory without tokenizer.json: vocab.json, merges.txt and what tokenizer_config.json and added_tokens.json say, put together as transformers 5 does
 * for GPT2Tokenizer and Qwen2Tokenizer. SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer_priv.h"

#define BYTE_LEVEL(use_regex) "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":" use_regex "}"
static const char gpt2_way[] = "{\"pre_tokenizer\":" BYTE_LEVEL("true") ",\"decoder\":" BYTE_LEVEL("true") ",\"model\":{}}";
static const char qwen2_way[] = "{\"normalizer\":{\"type\":\"NFC\"},\"pre_tokenizer\":" BYTE_LEVEL("false") ",\"decoder\":" BYTE_LEVEL("true") ",\"model\":{}}";

/* One file in memory with its JSON; absent files stay empty. */
typedef struct json_file {
    char *path, *text; /* owned */
    int64_t bytes;
    qep_json *json; /* owned */
} json_file;

static qep_status load(json_file *f, const char *dir, const char *name, bool required, uint64_t *identity)
{
    f->path = qep_path_join(dir, name);
    if (!required && !qep_file_exists(f->path)) return QEP_OK;
    QEP_TRY(qep_file_read(f->path, INT64_MAX, QEP_E_INPUT, &f->text, &f->bytes));
    *identity = qep_hash64(f->text, (size_t)f->bytes, *identity);
    return QEP_OK;
}

static void drop(json_file *f)
{
    qep_json_free(&f->json);
    qep_free(f->text);
    qep_free(f->path);
}

static qep_status parse_object(json_file *f, bool reals)
{
    const qep_tok_place at = {.source = f->path};
    if (!f->text) return QEP_OK;
    QEP_TRY(reals ? qep_json_parse_reals(f->text, f->bytes, f->path, QEP_E_INPUT, &f->json)
                  : qep_json_parse(f->text, f->bytes, f->path, QEP_E_INPUT, &f->json));
    return qep_json_type(f->json) == QEP_JSON_OBJECT ? QEP_OK : qep_tok_bad(&at, "expected an object");
}

/* --- added tokens ------------------------------------------------------------------------------------------------ */

typedef struct entry {
    int64_t id;
    const char *content;
    const qep_json *flags; /* of added_tokens_decoder; NULL: a special token, or one of added_tokens.json */
    bool special;
} entry;

typedef struct entries {
    entry *e; /* owned */
    int64_t n;
} entries;

static void add(entries *l, entry e)
{
    for (int64_t i = 0; i < l->n; i++) {
        if (strcmp(l->e[i].content, e.content) != 0) continue;
        l->e[i].special = l->e[i].special || e.special;
        return;
    }
    l->e = qep_realloc(l->e, "tokenizer.added", l->n + 1, sizeof *l->e);
    l->e[l->n++] = e;
}

static qep_status from_decoder(entries *l, const json_file *config)
{
    const qep_tok_place at = {.source = config->path};
    const qep_json *all;
    qep_json *value;
    const char *key, *content;
    QEP_TRY(qep_tok_get_object(config->json, &at, "added_tokens_decoder", false, &all));
    const qep_tok_place here = qep_tok_member(&at, "added_tokens_decoder");
    for (void *it = NULL; all && (it = qep_json_next(all, it, &key, &value));) {
        const qep_tok_place item = qep_tok_member(&here, key);
        char *end;
        const long id = strtol(key, &end, 10);
        if (*end || end == key || id < 0 || id > QEP_TOK_MAX_ID) return qep_tok_bad(&item, "not a token id");
        QEP_TRY(qep_tok_get_string(value, &item, "content", true, &content));
        add(l, (entry){id, content, value, false});
    }
    return QEP_OK;
}

static qep_status from_added(entries *l, const json_file *added)
{
    const qep_tok_place at = {.source = added->path};
    const char *key;
    qep_json *value;
    for (void *it = NULL; added->json && (it = qep_json_next(added->json, it, &key, &value));) {
        const qep_tok_place item = qep_tok_member(&at, key);
        int32_t id;
        QEP_TRY(qep_tok_get_id(value, &item, &id));
        add(l, (entry){id, key, NULL, false});
    }
    return QEP_OK;
}

/* bos_token and the like: special; the class's own where the configuration does not name them. */
static void from_names(entries *l, const json_file *config, const qep_json *vocab)
{
    static const char *const keys[] = {"bos_token", "eos_token", "unk_token", "pad_token"};
    for (int i = 0; i < 4; i++) {
        const qep_json *v = config->json ? qep_json_get(config->json, keys[i]) : NULL;
        const char *name = v ? qep_json_string(qep_json_type(v) == QEP_JSON_OBJECT ? qep_json_get(v, "content") : v) : "<|endoftext|>";
        const qep_json *id = name ? qep_json_get(vocab, name) : NULL;
        if (name) add(l, (entry){id ? qep_json_int(id) : -1, name, NULL, true});
    }
}

static int by_id(const void *x, const void *y)
{
    const entry *a = x, *b = y;
    return (a->id > b->id) - (a->id < b->id);
}

static bool flag(const entry *e, const char *key, bool otherwise)
{
    const qep_json *v = e->flags ? qep_json_get(e->flags, key) : NULL;
    return v ? qep_json_bool(v) : otherwise;
}

/* The tokens as tokenizer.json lists them. A name without an id is left out: nothing can have made it. */
static qep_json *listed(const entries *l)
{
    qep_json *list = qep_json_new_array();
    for (int64_t i = 0; i < l->n; i++) {
        const entry *e = &l->e[i];
        if (e->id < 0) continue;
        const bool special = e->special || flag(e, "special", false);
        qep_json *o = qep_json_new_object();
        qep_json_set(o, "id", qep_json_new_int(e->id));
        qep_json_set(o, "content", qep_json_new_string(e->content));
        qep_json_set(o, "single_word", qep_json_new_bool(flag(e, "single_word", false)));
        qep_json_set(o, "lstrip", qep_json_new_bool(flag(e, "lstrip", false)));
        qep_json_set(o, "rstrip", qep_json_new_bool(flag(e, "rstrip", false)));
        qep_json_set(o, "normalized", qep_json_new_bool(flag(e, "normalized", !special)));
        qep_json_set(o, "special", qep_json_new_bool(special));
        qep_json_append(list, o);
    }
    return list;
}

static qep_status collect(const json_file *config, const json_file *added, const qep_json *vocab, qep_json *root)
{
    entries l = {0};
    qep_status st = QEP_OK;
    if (config->json) QEP_GO(st, from_decoder(&l, config));
    QEP_GO(st, from_added(&l, added));
    from_names(&l, config, vocab);
    qsort(l.e, (size_t)l.n, sizeof *l.e, by_id);
    qep_json_set(root, "added_tokens", listed(&l));
done:
    qep_free(l.e);
    return st;
}

/* --- the whole ----------------------------------------------------------------------------------------------------- */

/* The frame of a tokenizer.json of this class. */
static qep_status make_root(const json_file *config, qep_json **root)
{
    const qep_tok_place at = {.source = config->path}, here = qep_tok_member(&at, "tokenizer_class");
    const char *name = "GPT2Tokenizer";
    if (config->json) QEP_TRY(qep_tok_get_string(config->json, &at, "tokenizer_class", false, &name));
    const size_t n = strlen(name) - (strlen(name) > 4 && strcmp(name + strlen(name) - 4, "Fast") == 0 ? 4 : 0);
    const bool gpt2 = n == strlen("GPT2Tokenizer") && memcmp(name, "GPT2Tokenizer", n) == 0;
    const bool qwen2 = n == strlen("Qwen2Tokenizer") && memcmp(name, "Qwen2Tokenizer", n) == 0;
    if (!gpt2 && !qwen2)
        return qep_tok_bad(&here, "%.100s without a tokenizer.json is not supported; save one with transformers (AutoTokenizer, save_pretrained)", name);
    const char *text = gpt2 ? gpt2_way : qwen2_way;
    QEP_TRY(qep_json_parse(text, (int64_t)strlen(text), "tokenizer", QEP_E_INTERNAL, root));
    if (gpt2) return QEP_OK;
    qep_json *split = qep_json_new_object(), *pattern = qep_json_new_object(), *list = qep_json_new_array(), *chain = qep_json_new_object();
    qep_json_set(pattern, "Regex", qep_json_new_string(qep_tok_qwen2_pattern));
    qep_json_set(split, "type", qep_json_new_string("Split"));
    qep_json_set(split, "pattern", pattern);
    qep_json_set(split, "behavior", qep_json_new_string("Isolated"));
    qep_json_set(split, "invert", qep_json_new_bool(false));
    qep_json_append(list, split);
    qep_json_append(list, qep_json_copy(qep_json_get(*root, "pre_tokenizer")));
    qep_json_set(chain, "type", qep_json_new_string("Sequence"));
    qep_json_set(chain, "pretokenizers", list);
    qep_json_set(*root, "pre_tokenizer", chain);
    return QEP_OK;
}

static qep_status add_bos(qep_tokenizer *t, const json_file *config)
{
    const qep_tok_place at = {.source = config->path};
    bool bos = false, eos = false;
    if (!config->json) return QEP_OK;
    QEP_TRY(qep_tok_config_read(t, config->json, &at));
    QEP_TRY(qep_tok_get_bool(config->json, &at, "add_bos_token", false, &bos));
    QEP_TRY(qep_tok_get_bool(config->json, &at, "add_eos_token", false, &eos));
    if (bos && t->bos >= 0) qep_tok_ids_append(&t->front, t->bos);
    if (eos && t->eos >= 0) qep_tok_ids_append(&t->back, t->eos);
    return QEP_OK;
}

qep_status qep_tok_open_legacy(qep_tokenizer *t, const char *dir)
{
    json_file vocab = {0}, merges = {0}, config = {0}, added = {0};
    qep_json *root = NULL;
    qep_status st = QEP_OK;
    QEP_GO(st, load(&vocab, dir, "vocab.json", true, &t->identity));
    QEP_GO(st, load(&merges, dir, "merges.txt", true, &t->identity));
    QEP_GO(st, load(&config, dir, "tokenizer_config.json", false, &t->identity));
    QEP_GO(st, load(&added, dir, "added_tokens.json", false, &t->identity));
    QEP_GO(st, parse_object(&vocab, false));
    QEP_GO(st, parse_object(&config, true));
    QEP_GO(st, parse_object(&added, false));
    QEP_GO(st, make_root(&config, &root));
    QEP_GO(st, collect(&config, &added, vocab.json, root));
    const qep_tok_source m = {.vocab = vocab.json, .vocab_at.source = vocab.path, .merges_at.source = merges.path, .merges_text = merges.text, .merges_bytes = merges.bytes};
    const qep_tok_place at = {.source = dir};
    QEP_GO(st, qep_tok_build(t, root, &at, &m));
    QEP_GO(st, add_bos(t, &config));
done:
    qep_json_free(&root);
    drop(&vocab);
    drop(&merges);
    drop(&config);
    drop(&added);
    return st;
}
