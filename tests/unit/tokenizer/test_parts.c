/* Texts in parts: at every place that qep_tokenizer_part names the ids of the two sides are those of the whole. The tokenizers beside the repository
 * ($QEP_SHARED) are skipped where they are not there.
 * SPDX-License-Identifier: Apache-2.0 */
#include "small.h"

#define MARK "\xE2\x96\x81"
#define VOCAB "'vocab':{'<unk>':0,'" MARK "':1,'a':2,'b':3,'c':4,'" MARK "a':5,'" MARK "b':6,'ab':7,'a" MARK "':8,'c" MARK "a':9,'" MARK MARK "':10,'<0xC3>':11,'<0xA9>':12}"
#define MODEL(merges) "{'model':{'type':'BPE','unk_token':'<unk>','byte_fallback':true,'fuse_unk':true," VOCAB ",'merges':[" merges "]}"
#define MERGES "'" MARK " a','" MARK " b','a b','" MARK " " MARK "'"
#define OLDER ",'normalizer':{'type':'Sequence','normalizers':[{'type':'Prepend','prepend':'" MARK "'},{'type':'Replace','pattern':{'String':' '},'content':'" MARK "'}]}}"
#define META(scheme) ",'pre_tokenizer':{'type':'Metaspace','replacement':'" MARK "','prepend_scheme':'" scheme "','split':false}}"
#define ADDED(content, flags) ",'added_tokens':[{'id':13,'content':'" content "'," flags "}]"
#define FLAGS(word, left, right, normalized) "'single_word':" word ",'lstrip':" left ",'rstrip':" right ",'normalized':" normalized ",'special':false"

static uint32_t seed = 1;
static uint32_t below(uint32_t n)
{
    seed = seed * 1664525U + 1013904223U;
    return (seed >> 8) % n;
}

/* Words, blanks and what is difficult about them. */
static int64_t make_text(char *to, int64_t cap)
{
    static const char *const bits[] = {"a", "b", "c", "ab", " ", " ", " ", " a", "a b", "b a", "c a", "  ", "\n", "\r\n", "\t", "'s", "'LL", "'", "the", " of", "12", "345", ".",
                                       "...", "\xC3\xA9", "e\xCC\x81", "\xC2\xA0", "\xE3\x80\x80", MARK, MARK MARK, "\xF0\x9F\x98\x80", "\xFF", "\xE4\xB8", "<s>", "</s>", "<x>",
                                       "<|endoftext|>", "xy", "a xy", "xy b", "Lily went to the park", "I don't know", "\xE4\xB8\xAD\xE6\x96\x87", "\xE2\x80\x9C", "- a"};
    int64_t n = 0;
    while (n < cap - 32 && (n == 0 || below(60) > 0)) {
        const char *s = bits[below(sizeof bits / sizeof *bits)];
        memcpy(to + n, s, strlen(s));
        n += (int64_t)strlen(s);
    }
    return n;
}

/* Number of places. */
static int64_t check_text(const qep_tokenizer *t, const char *text, int64_t n)
{
    int32_t *whole, *left, *right;
    int64_t n_whole, n_left, n_right, places = 0;
    assert_ok(qep_tokenizer_encode(t, text, n, true, &whole, &n_whole));
    for (int64_t p = -1; (p = qep_tokenizer_part(t, text, n, p + 1)) >= 0; places++) {
        assert_true(p >= 1 && p < n);
        assert_ok(qep_tokenizer_encode_part(t, text, p, true, true, false, &left, &n_left));
        assert_ok(qep_tokenizer_encode_part(t, text + p, n - p, true, false, true, &right, &n_right));
        if (n_left + n_right != n_whole || memcmp(left, whole, (size_t)n_left * sizeof *left) != 0 ||
            memcmp(right, whole + n_left, (size_t)n_right * sizeof *right) != 0)
            fail_msg("\"%.*s\" gives other ids in parts at %d", (int)n, text, (int)p);
        qep_free(left);
        qep_free(right);
    }
    qep_free(whole);
    return places;
}

static int64_t check_texts(const qep_tokenizer *t, int texts)
{
    static char text[4096];
    int64_t places = 0;
    for (int i = 0; i < texts; i++) places += check_text(t, text, make_text(text, (int64_t)sizeof text));
    return places;
}

static void bundled(void **state)
{
    (void)state;
    qep_tokenizer *t = NULL;
    assert_ok(qep_tokenizer_open("tests/data/quickstart", &t));
    assert_true(check_texts(t, 200) > 500);
    static const char text[] = "x  y\n a b' 'c d";
    assert_int_equal(qep_tokenizer_part(t, text, 15, 0), 7); /* of "a b" only, and of "c d" */
    assert_int_equal(qep_tokenizer_part(t, text, 15, 8), 13);
    assert_int_equal(qep_tokenizer_part(t, text, 14, 8), -1); /* what follows is not there */
    assert_int_equal(qep_tokenizer_part(t, text, 15, 14), -1);
    assert_int_equal(qep_tokenizer_part(t, "", 0, 0), -1);
    qep_tokenizer_close(&t);
}

static void marks(void **state)
{
    (void)state;
    static const char *const kinds[] = {MODEL(MERGES) OLDER, MODEL(MERGES) META("always"), MODEL(MERGES) META("first"), MODEL(MERGES) META("never"),
                                        MODEL(MERGES) ADDED("xy", FLAGS("true", "true", "false", "true")) META("first"),
                                        MODEL(MERGES) ADDED("<x>", FLAGS("false", "true", "true", "false")) META("first")};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        qep_tokenizer *t = small(kinds[i]);
        if (check_texts(t, 200) < 100) fail_msg("kind %d: few places", (int)i);
        qep_tokenizer_close(&t);
    }
}

/* A token that has a blank behind a letter can begin at that letter only. */
static void a_merge_across(void **state)
{
    (void)state;
    qep_tokenizer *t = small(MODEL("'" MARK " b','a " MARK "','c " MARK "a','" MARK " a'") OLDER);
    assert_true(check_texts(t, 200) > 20);
    assert_int_equal(qep_tokenizer_part(t, "a b", 3, 0), -1);
    assert_int_equal(qep_tokenizer_part(t, "c b", 3, 0), -1);
    assert_int_equal(qep_tokenizer_part(t, "b a", 3, 0), 1);
    assert_int_equal(qep_tokenizer_part(t, "x a", 3, 0), -1); /* a letter that is no token */
    qep_tokenizer_close(&t);
}

static void no_place(void **state)
{
    (void)state;
    static const char *const kinds[] = {MODEL(MERGES) "}", /* blanks stay blanks: no way of cutting that has a name */
                                        MODEL(MERGES) ADDED("x y", FLAGS("false", "false", "false", "false")) OLDER,
                                        MODEL(MERGES) ADDED("xy", FLAGS("false", "false", "true", "false")) OLDER,
                                        MODEL(MERGES) ADDED("xy", FLAGS("false", "false", "false", "false")) OLDER,
                                        MODEL(MERGES) ADDED(" xy", FLAGS("true", "false", "false", "false")) OLDER};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        qep_tokenizer *t = small(kinds[i]);
        assert_int_equal(check_texts(t, 20), 0);
        qep_tokenizer_close(&t);
    }
}

/* A vocabulary of a few characters with merges at random. Returns the number of its tokens. */
static int random_model(FILE *f)
{
    enum { MOST = 40 };
    static const char *const letters[] = {"<unk>", MARK, "a", "b", "c", "x"};
    char piece[MOST][64], merges[4096] = "";
    int n = 4 + (int)below(3), first = n;
    for (int i = 0; i < n; i++) strcpy(piece[i], letters[i]);
    for (int k = (int)below(20); k > 0 && n < MOST; k--) {
        const int l = (int)below((uint32_t)n), r = (int)below((uint32_t)n);
        const size_t bytes = strlen(piece[l]);
        bool there = bytes + strlen(piece[r]) > 30 || ((l == 0 || r == 0) && below(8) > 0);
        if (there) continue;
        char both[64];
        memcpy(both, piece[l], bytes);
        strcpy(both + bytes, piece[r]);
        strcpy(piece[n], both);
        for (int i = 0; i < n; i++) there = there || strcmp(piece[i], piece[n]) == 0;
        if (there) continue;
        sprintf(merges + strlen(merges), "%s['%s','%s']", n > first ? "," : "", piece[l], piece[r]);
        n++;
    }
    fprintf(f, "{'model':{'type':'BPE','unk_token':'<unk>','byte_fallback':true,'fuse_unk':%s,'ignore_merges':%s,'merges':[%s],'vocab':{", below(2) ? "true" : "false",
            below(6) ? "false" : "true", merges);
    for (int i = 0; i < n; i++) fprintf(f, "%s'%s':%d", i ? "," : "", piece[i], i);
    fputs("}}", f);
    return n;
}

static const char *flag(void)
{
    return below(3) ? "false" : "true";
}

static qep_tokenizer *random_tokenizer(void)
{
    static const char *const added[] = {"<x>", "<s>", "xy", "a", "ab", " x", "a b", MARK "a", "b" MARK, "the"};
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    const int n = random_model(f), k = (int)below(4);
    if (k == 0) fprintf(f, ",'normalizer':{'type':'Sequence','normalizers':[%s{'type':'Replace','pattern':{'String':' '},'content':'" MARK "'}]}", below(3) ? "{'type':'Prepend','prepend':'" MARK "'}," : "");
    else if (k == 1) fputs(",'pre_tokenizer':{'type':'ByteLevel','add_prefix_space':false,'use_regex':true}", f);
    else fprintf(f, ",'pre_tokenizer':{'type':'Metaspace','replacement':'" MARK "','prepend_scheme':'%s','split':%s}", below(2) ? "first" : below(2) ? "always" : "never", flag());
    if (below(2))
        fprintf(f, ",'added_tokens':[{'id':%d,'content':'%s','single_word':%s,'lstrip':%s,'rstrip':%s,'normalized':%s,'special':%s}]", n,
                added[below(sizeof added / sizeof *added)], flag(), flag(), flag(), flag(), flag());
    fputs("}", f);
    fclose(f);
    char *json = quoted(text);
    qep_tokenizer *t = NULL;
    if (qep_tokenizer_parse(json, (int64_t)strlen(json), "random.json", &t) != QEP_OK) qep_error_clear(); /* an added token that is in the vocabulary */
    qep_free(json);
    free(text);
    return t;
}

static void random_ones(void **state)
{
    (void)state;
    int64_t places = 0, opened = 0;
    for (int i = 0; i < 500; i++) {
        qep_tokenizer *t = random_tokenizer();
        opened += t != NULL;
        if (t) places += check_texts(t, 8);
        qep_tokenizer_close(&t);
    }
    assert_true(opened > 300 && places > 500);
}

static void published(const char *name)
{
    const char *dir = getenv("QEP_SHARED");
    char *path = qep_strf("test", "%s/data/tokenizers/%s", dir ? dir : "../shared", name);
    qep_tokenizer *t = NULL;
    const bool there = qep_file_exists(path);
    if (!there) print_message("# skipped: no %s (set QEP_SHARED)\n", path);
    if (there) assert_ok(qep_tokenizer_open(path, &t));
    qep_free(path);
    if (!there) skip();
    assert_true(check_texts(t, 100) > 200);
    qep_tokenizer_close(&t);
}

static void gpt2(void **state) { (void)state; published("gpt2/tokenizer.json"); }
static void qwen2(void **state) { (void)state; published("qwen2/tokenizer.json"); }
static void phi3(void **state) { (void)state; published("phi3/tokenizer.json"); }

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(bundled), cmocka_unit_test(marks), cmocka_unit_test(a_merge_across), cmocka_unit_test(no_place), cmocka_unit_test(random_ones),
                                       cmocka_unit_test(gpt2),    cmocka_unit_test(qwen2), cmocka_unit_test(phi3)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
