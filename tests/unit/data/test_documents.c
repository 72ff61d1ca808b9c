/* Documents of a text fed in any pieces, lines of jsonl, bytes that are no UTF-8. SPDX-License-Identifier: Apache-2.0 */
#include "../../../src/data/text_priv.h"
#include "qep_test.h"

#include <string.h>

typedef struct found {
    int64_t n, at[64][2];
} found;

static bool blank(const char *s, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!strchr(" \t\r", s[i])) return false;
    return true;
}

/* The rule the plain way: line by line over the whole text. */
static found index_ref(qep_document_kind kind, const char *s)
{
    found f = {0};
    bool open = false;
    const int64_t n = (int64_t)strlen(s);
    if (kind == QEP_DOCUMENT_FILE) return n ? (found){1, {{0, n}}} : f;
    for (int64_t at = 0; at <= n;) {
        const char *stop = strchr(s + at, '\n');
        const int64_t end = stop ? stop - s : n;
        if (blank(s + at, end - at)) {
            open = false;
        } else if (kind == QEP_DOCUMENT_LINES || !open) {
            f.at[f.n][0] = at;
            f.at[f.n++][1] = end;
            open = true;
        } else {
            f.at[f.n - 1][1] = end;
        }
        at = end + 1;
    }
    return f;
}

static void any_pieces(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "a", "\n", "a\n", "\n\na\nb\n\n\nc", "a b\n \t\r\nc\r\n\r\n", "a\n\nb\n\nc\n\n", " \n", "x\ny\nz", "\n x \n"};
    for (size_t t = 0; t < sizeof texts / sizeof *texts; t++)
        for (int kind = 0; kind < 3; kind++)
            for (int64_t piece = 1; piece < 7; piece++) {
                const int64_t n = (int64_t)strlen(texts[t]);
                const found want = index_ref((qep_document_kind)kind, texts[t]);
                qep_document_index x;
                qep_document_index_start(&x, (qep_document_kind)kind);
                for (int64_t at = 0; at < n; at += piece) qep_document_index_feed(&x, texts[t] + at, qep_min_i64(piece, n - at));
                qep_document_index_end(&x);
                assert_int_equal(x.n, want.n);
                for (int64_t i = 0; i < x.n; i++) {
                    assert_int_equal(x.begin[i], want.at[i][0]);
                    assert_int_equal(x.end[i], want.at[i][1]);
                }
                qep_document_index_free(&x);
            }
}

/* s.decode("utf-8", "replace") by Python: characters in all, and replacement characters; the same in whatever pieces. */
static void wrong_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *s;
        int64_t characters, wrong;
    } row[] = {{"", 0, 0}, {"abc", 3, 0}, {"caf\303\251", 4, 0}, {"\360\237\230\200", 1, 0}, {"\303", 1, 1}, {"\303a", 2, 1}, {"\200\200", 2, 2},
               {"\340\240", 1, 1}, {"\340\200\200", 3, 3}, {"\355\240\200", 3, 3}, {"\360\237\230", 1, 1}, {"\360\237\230a", 2, 1},
               {"\364\220\200\200", 4, 4}, {"\300\257", 2, 2}, {"\377\376", 2, 2}, {"a\342\200b\342", 4, 2}, {"\342\200\342\200\235", 2, 1}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        for (int64_t n = (int64_t)strlen(row[i].s), cut = 0; cut <= n; cut++) {
            qep_utf8_tally u = {0};
            qep_utf8_feed(&u, row[i].s, cut);
            qep_utf8_feed(&u, row[i].s + cut, n - cut);
            qep_utf8_end(&u);
            assert_int_equal(u.characters, row[i].characters);
            assert_int_equal(u.wrong, row[i].wrong);
        }
}

static void jsonl(void **state)
{
    (void)state;
    static const struct {
        const char *line, *text, *say;
    } row[] = {
        {"{\"text\": \"a\\nb\"}", "a\nb", NULL},
        {" {\"x\": 1, \"text\": \"\"} \r", "", NULL},
        {"{\"text\": 1}", NULL, "is no string"},
        {"{\"text\": null}", NULL, "is no string"},
        {"{\"body\": \"a\"}", NULL, "no member \"text\""},
        {"[\"text\"]", NULL, "not an object"},
        {"{\"text\": \"a\"", NULL, "f.jsonl:7"},
        {"{\"text\": \"a\"} x", NULL, "f.jsonl:7"},
        {"{\"text\": \"a\\u0000b\"}", NULL, "f.jsonl:7"},
        {"{\"text\": \"\303\"}", NULL, "f.jsonl:7"},
        {"text", NULL, "f.jsonl:7"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char *text;
        const qep_status st = qep_jsonl_text(row[i].line, (int64_t)strlen(row[i].line), "text", "f.jsonl:7", &text);
        if (row[i].text) {
            assert_int_equal(st, QEP_OK);
            assert_string_equal(text, row[i].text);
        } else {
            assert_fails(st, QEP_E_INPUT, row[i].say);
            assert_null(text);
        }
        qep_free(text);
    }
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(any_pieces), cmocka_unit_test(wrong_utf8), cmocka_unit_test(jsonl)};

QEP_TEST_MAIN(tests)
