/* The files of a model directory. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "tokenizer_priv.h"

/* tokenizer_config.json beside the tokenizer, where there is one. */
static qep_status read_config(qep_tokenizer *t, const char *dir)
{
    char *path = qep_path_join(dir, "tokenizer_config.json"), *text = NULL;
    int64_t bytes;
    qep_json *config = NULL;
    qep_status st = QEP_OK;
    if (!qep_file_exists(path)) goto done;
    const qep_tok_place at = {.source = path};
    QEP_GO(st, qep_file_read(path, INT64_MAX, QEP_E_INPUT, &text, &bytes));
    QEP_GO(st, qep_json_parse_reals(text, bytes, path, QEP_E_INPUT, &config));
    QEP_GO(st, qep_tok_config_read(t, config, &at));
    t->identity = qep_hash64(text, (size_t)bytes, t->identity);
done:
    qep_json_free(&config);
    qep_free(text);
    qep_free(path);
    return st;
}

static qep_status open_json(const char *path, const char *dir, qep_tokenizer **out)
{
    char *text = NULL;
    int64_t bytes;
    QEP_TRY(qep_file_read(path, INT64_MAX, QEP_E_INPUT, &text, &bytes));
    qep_status st = qep_tokenizer_parse(text, bytes, path, out);
    qep_free(text);
    if (st == QEP_OK) st = read_config(*out, dir);
    if (st != QEP_OK) qep_tokenizer_close(out);
    return st;
}

static qep_status open_legacy(const char *dir, qep_tokenizer **out)
{
    qep_tokenizer *t = qep_tok_new();
    const qep_status st = qep_tok_open_legacy(t, dir);
    if (st != QEP_OK) qep_tokenizer_close(&t);
    *out = t;
    return st;
}

static qep_status open_dir(const char *dir, qep_tokenizer **out)
{
    char *json = qep_path_join(dir, "tokenizer.json"), *model = qep_path_join(dir, "tokenizer.model"), *vocab = qep_path_join(dir, "vocab.json"),
         *merges = qep_path_join(dir, "merges.txt");
    qep_status st;
    if (qep_file_exists(json)) {
        st = open_json(json, dir, out);
    } else if (qep_file_exists(vocab) && qep_file_exists(merges)) {
        st = open_legacy(dir, out);
    } else if (qep_file_exists(model)) {
        st = qep_fail(QEP_E_INPUT,
                      "%s: only tokenizer.model is there (SentencePiece or tiktoken), and no tokenizer.json; make one with transformers: "
                      "AutoTokenizer.from_pretrained(\"%s\").save_pretrained(\"%s\")",
                      dir, dir, dir);
    } else {
        st = qep_fail(QEP_E_INPUT, "%s: no tokenizer.json in this directory, and no vocab.json with merges.txt", dir);
    }
    qep_free(json);
    qep_free(model);
    qep_free(vocab);
    qep_free(merges);
    return st;
}

qep_status qep_tokenizer_open(const char *path, qep_tokenizer **out)
{
    *out = NULL;
    if (qep_dir_exists(path)) return open_dir(path, out);
    char *dir = qep_path_dir(path);
    const qep_status st = open_json(path, dir, out);
    qep_free(dir);
    return st;
}
