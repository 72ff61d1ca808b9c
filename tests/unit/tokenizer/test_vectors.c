/* Published test vectors (llama.cpp, swift-transformers) with the tokenizers they belong to, beside the repository in $QEP_SHARED/data/tokenizers; skipped
 * where they are not there. Llama-2's vectors run on Phi-3's tokenizer, which has Llama-2's pieces. Llama-3's are in tests/tokenizer/compare.py.
 * SPDX-License-Identifier: Apache-2.0 */
#include <unistd.h>

#include "qep/json.h"
#include "qep/tokenizer.h"
#include "qep_test.h"

/* $QEP_SHARED/data/tokenizers/name; qep_free. Skips the test when it is not there. */
static char *shared(const char *name)
{
    const char *dir = getenv("QEP_SHARED");
    char *path = qep_strf("test", "%s/data/tokenizers/%s", dir ? dir : "../shared", name);
    if (qep_file_exists(path) || qep_dir_exists(path)) return path;
    print_message("# skipped: no %s (set QEP_SHARED)\n", path);
    qep_free(path);
    skip();
    return NULL;
}

static qep_tokenizer *open_shared(const char *name)
{
    qep_tokenizer *t = NULL;
    char *path = shared(name);
    assert_ok(qep_tokenizer_open(path, &t));
    qep_free(path);
    return t;
}

static char *read_shared(const char *name)
{
    char *path = shared(name), *text = NULL;
    int64_t bytes;
    assert_ok(qep_file_read(path, INT64_MAX, QEP_E_INPUT, &text, &bytes));
    qep_free(path);
    return text;
}

static void check(const qep_tokenizer *t, const char *text, int64_t bytes, bool add_special, const int32_t *want, int64_t n_want)
{
    int32_t *ids;
    int64_t n;
    assert_ok(qep_tokenizer_encode(t, text, bytes, add_special, &ids, &n));
    if (n != n_want || memcmp(ids, want, (size_t)n * sizeof *ids) != 0) fail_msg("other ids for \"%.*s\" (%d, wanted %d)", (int)bytes, text, (int)n, (int)n_want);
    qep_free(ids);
}

/* Texts divided by lines "__ggml_vocab_test__"; a line of ids each. */
static void ggml(const char *tokenizer, const char *vectors, int at_least)
{
    static const char mark[] = "\n__ggml_vocab_test__\n";
    char name[128];
    snprintf(name, sizeof name, "vectors/llama.cpp/ggml-vocab-%s.gguf.inp", vectors);
    char *in = read_shared(name);
    snprintf(name, sizeof name, "vectors/llama.cpp/ggml-vocab-%s.gguf.out", vectors);
    char *out = read_shared(name);
    qep_tokenizer *t = open_shared(tokenizer);
    int n_texts = 0;
    char *line = out;
    for (char *p = in, *next; p; p = next, n_texts++) {
        int32_t ids[512];
        int64_t n = 0;
        char *end = strstr(p, mark), *stop = strchr(line, '\n');
        next = end ? end + sizeof mark - 1 : NULL;
        if (!stop) stop = line + strlen(line);
        for (char *rest; line < stop && (ids[n] = (int32_t)strtol(line, &rest, 10), rest > line && rest <= stop); line = rest) n++;
        line = *stop ? stop + 1 : stop;
        if (next) check(t, p, end - p, false, ids, n);
    }
    assert_true(n_texts >= at_least);
    qep_tokenizer_close(&t);
    qep_free(in);
    qep_free(out);
}

static void ggml_gpt2(void **state) { (void)state; ggml("gpt2", "gpt-2", 40); }
static void ggml_qwen2(void **state) { (void)state; ggml("qwen2", "qwen2", 40); }
static void ggml_phi3(void **state) { (void)state; ggml("phi3", "phi-3", 40); }
static void ggml_llama(void **state) { (void)state; ggml("phi3", "llama-spm", 40); }

/* want[from ...] of a JSON array */
static void check_json(const qep_tokenizer *t, const char *text, const qep_json *want, int64_t from)
{
    const int64_t n = qep_json_size(want) - from;
    int32_t *ids = qep_alloc("test", n, sizeof *ids);
    for (int64_t i = 0; i < n; i++) ids[i] = (int32_t)qep_json_int(qep_json_at(want, from + i));
    check(t, text, (int64_t)strlen(text), false, ids, n);
    qep_free(ids);
}

/* One text with its ids; bos: ids in front that the template would add. */
static void swift_text(const char *tokenizer, const char *file, int64_t bos)
{
    char *path = shared(file);
    qep_json *j;
    qep_tokenizer *t = open_shared(tokenizer);
    assert_ok(qep_json_load(path, QEP_E_INPUT, &j));
    assert_true(qep_json_size(qep_json_get(j, "token_ids")) > 150);
    check_json(t, qep_json_string(qep_json_get(j, "text")), qep_json_get(j, "token_ids"), bos);
    qep_json_free(&j);
    qep_tokenizer_close(&t);
    qep_free(path);
}

static void swift_gpt2(void **state) { (void)state; swift_text("gpt2", "vectors/swift-transformers/gpt2_encoded_tokens.json", 0); }
static void swift_llama(void **state) { (void)state; swift_text("phi3", "vectors/swift-transformers/llama_encoded.json", 1); }

static void swift_set(const char *tokenizer, const char *key, int64_t bos)
{
    char *path = shared("vectors/swift-transformers/tokenizer_tests.json");
    qep_json *j;
    qep_tokenizer *t = open_shared(tokenizer);
    assert_ok(qep_json_load(path, QEP_E_INPUT, &j));
    const qep_json *set = qep_json_get(j, key);
    assert_int_equal(qep_json_size(set), 18);
    for (int64_t i = 0; i < 18; i++) {
        const qep_json *one = qep_json_at(set, i);
        check_json(t, qep_json_string(qep_json_get(one, "input")), qep_json_get(qep_json_get(one, "encoded"), "input_ids"), bos);
    }
    qep_json_free(&j);
    qep_tokenizer_close(&t);
    qep_free(path);
}

static const char gpt2_set[] = "distilgpt2", llama2_set[] = "coreml-projects/Llama-2-7b-chat-coreml", llama3_set[] = "pcuenq/Llama-3.2-1B-Instruct-tokenizer";
static void swift_distilgpt2(void **state) { (void)state; swift_set("gpt2", gpt2_set, 0); }
static void swift_llama2(void **state) { (void)state; swift_set("phi3", llama2_set, 1); }

/* The sets of that file that no test runs, by name, so that nobody takes them for tested. */
static void swift_others(void **state)
{
    (void)state;
    char *path = shared("vectors/swift-transformers/tokenizer_tests.json");
    qep_json *j, *set;
    void *it = NULL;
    const char *key;
    int known = 0;
    assert_ok(qep_json_load(path, QEP_E_INPUT, &j));
    while ((it = qep_json_next(j, it, &key, &set)) != NULL) {
        if (strcmp(key, gpt2_set) == 0 || strcmp(key, llama2_set) == 0 || strcmp(key, llama3_set) == 0) known++;
        else print_message("# skipped: %s, %lld texts: its tokenizer is not there\n", key, (long long)qep_json_size(set));
    }
    assert_int_equal(known, 3); /* two here, Llama-3's in tests/tokenizer/compare.py */
    qep_json_free(&j);
    qep_free(path);
}

/* The same ids from vocab.json and merges.txt alone, and what a directory without a readable tokenizer says. */
static void other_files(void **state)
{
    (void)state;
    char *dir = shared("gpt2"), *text = NULL;
    char here[] = "/tmp/qep_tokenizer.XXXXXX";
    qep_tokenizer *a = NULL, *b = NULL, *c = NULL;
    int64_t bytes;
    assert_non_null(mkdtemp(here));
    for (int i = 0; i < 2; i++) {
        static const char *const names[] = {"vocab.json", "merges.txt"};
        char *from = qep_path_join(dir, names[i]), *to = qep_path_join(here, names[i]);
        assert_ok(qep_file_read(from, INT64_MAX, QEP_E_INPUT, &text, &bytes));
        assert_ok(qep_file_write(to, text, bytes));
        qep_free(from);
        qep_free(to);
        qep_free(text);
    }
    assert_ok(qep_tokenizer_open(dir, &a));
    assert_ok(qep_tokenizer_open(here, &b));
    static const char sample[] = "It's 2 o'clock<|endoftext|> \xC3\xA9t\xC3\xA9   ";
    int32_t *want;
    int64_t n;
    assert_ok(qep_tokenizer_encode(a, sample, sizeof sample - 1, true, &want, &n));
    check(b, sample, sizeof sample - 1, true, want, n);
    assert_int_equal(qep_tokenizer_get_family(b), QEP_TOKENIZER_GPT2);
    assert_true(qep_tokenizer_identity(a) != qep_tokenizer_identity(b));
    char *merges = qep_path_join(here, "merges.txt"), *vocab = qep_path_join(here, "vocab.json");
    assert_ok(qep_file_write(merges, "#version: 0.2\nx y z\n", 20));
    assert_fails(qep_tokenizer_open(here, &c), QEP_E_INPUT, "merges.txt: line 2: expected two tokens");
    assert_ok(qep_file_remove(merges));
    assert_ok(qep_file_remove(vocab));
    assert_int_equal(rmdir(here), 0);
    char *llama3 = shared("llama3");
    assert_fails(qep_tokenizer_open(llama3, &c), QEP_E_INPUT, "only tokenizer.model is there");
    qep_free(llama3);
    qep_free(merges);
    qep_free(vocab);
    qep_free(want);
    qep_free(dir);
    qep_tokenizer_close(&a);
    qep_tokenizer_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(ggml_gpt2),  cmocka_unit_test(ggml_qwen2),  cmocka_unit_test(ggml_phi3),
                                       cmocka_unit_test(ggml_llama), cmocka_unit_test(swift_gpt2),  cmocka_unit_test(swift_llama),
                                       cmocka_unit_test(swift_distilgpt2), cmocka_unit_test(swift_llama2), cmocka_unit_test(swift_others), cmocka_unit_test(other_files)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
