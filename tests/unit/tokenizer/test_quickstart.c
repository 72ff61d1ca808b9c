/* The bundled tokenizer against ids that the tokenizers library gave (quickstart_ids.h). SPDX-License-Identifier: Apache-2.0 */
#include "qep/tokenizer.h"
#include "qep_test.h"
#include "quickstart_ids.h"

enum { N_TEXTS = sizeof quickstart_ids / sizeof *quickstart_ids };

static qep_tokenizer *open_bundled(void)
{
    qep_tokenizer *t = NULL;
    assert_ok(qep_tokenizer_open("tests/data/quickstart", &t));
    return t;
}

static void ids_agree(void **state)
{
    (void)state;
    qep_tokenizer *t = open_bundled();
    for (int i = 0; i < N_TEXTS; i++) {
        int32_t *ids;
        int64_t n;
        assert_ok(qep_tokenizer_encode(t, quickstart_ids[i].text, quickstart_ids[i].bytes, false, &ids, &n));
        assert_int_equal(n, quickstart_ids[i].n);
        assert_non_null(ids);
        assert_memory_equal(ids, quickstart_ids[i].ids, (size_t)n * sizeof *ids);
        qep_free(ids);
    }
    qep_tokenizer_close(&t);
    assert_null(t);
}

/* Valid text comes back; what is invalid comes back with U+FFFD. */
static void text_comes_back(void **state)
{
    (void)state;
    qep_tokenizer *t = open_bundled();
    for (int i = 0; i < N_TEXTS; i++) {
        char *text;
        int64_t bytes;
        assert_ok(qep_tokenizer_decode(t, quickstart_ids[i].ids, quickstart_ids[i].n, false, &text, &bytes));
        if (quickstart_ids[i].text[0] == '\xff') {
            static const char want[] = "\xEF\xBF\xBD\xEF\xBF\xBD a \xEF\xBF\xBD( \xEF\xBF\xBD \xEF\xBF\xBD \xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD "
                                       "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD end\xEF\xBF\xBD";
            assert_int_equal(bytes, sizeof want - 1);
            assert_memory_equal(text, want, sizeof want);
        } else {
            assert_int_equal(bytes, quickstart_ids[i].bytes);
            assert_memory_equal(text, quickstart_ids[i].text, (size_t)bytes);
        }
        qep_free(text);
    }
    qep_tokenizer_close(&t);
}

static void facts(void **state)
{
    (void)state;
    qep_tokenizer *t = open_bundled();
    int32_t left, right;
    assert_int_equal(qep_tokenizer_size(t), 1024);
    assert_int_equal(qep_tokenizer_id(t, "<|endoftext|>"), 0);
    assert_int_equal(qep_tokenizer_id(t, "no such token"), -1);
    assert_string_equal(qep_tokenizer_piece(t, 0), "<|endoftext|>");
    assert_null(qep_tokenizer_piece(t, -1));
    assert_null(qep_tokenizer_piece(t, 1024));
    assert_true(qep_tokenizer_is_added(t, 0) && qep_tokenizer_is_special(t, 0));
    assert_false(qep_tokenizer_is_added(t, 1) || qep_tokenizer_is_special(t, 1));
    assert_int_equal(qep_tokenizer_n_merges(t), 767);
    qep_tokenizer_merge(t, 0, &left, &right);
    assert_string_equal(qep_tokenizer_piece(t, left), "h");
    assert_string_equal(qep_tokenizer_piece(t, right), "e");
    assert_int_equal(qep_tokenizer_get_family(t), QEP_TOKENIZER_GPT2);
    /* tokenizer_config.json names both; the template adds neither */
    assert_int_equal(qep_tokenizer_bos(t), 0);
    assert_int_equal(qep_tokenizer_eos(t), 0);
    assert_false(qep_tokenizer_adds_bos(t) || qep_tokenizer_adds_eos(t));
    assert_int_equal(qep_tokenizer_unk(t), -1);
    qep_tokenizer_close(&t);
}

static void nothing_is_leaked(void **state)
{
    (void)state;
    assert_int_equal(qep_mem_blocks(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(ids_agree), cmocka_unit_test(text_comes_back), cmocka_unit_test(facts),
                                       cmocka_unit_test(nothing_is_leaked)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
