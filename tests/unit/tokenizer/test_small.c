/* Small tokenizers written here, one for each part. What they must give was read off the library's sources, and tests/tokenizer/compare.py asks the
 * library itself about the same kinds. SPDX-License-Identifier: Apache-2.0 */
#include "small.h"

#define MARK "\xE2\x96\x81"
#define TOKEN(id, content, flags) "{'id':" id ",'content':'" content "'," flags "}"
#define PLAIN "'single_word':false,'lstrip':false,'rstrip':false,'normalized':false,'special':true"

static void merges_in_order_of_rank(void **state)
{
    (void)state;
    qep_tokenizer *t = small("{'model':{'vocab':{'a':0,'b':1,'c':2,'ab':3,'bc':4,'abc':5,'aa':6},'merges':['b c','a b','a bc','a a']}}");
    assert_pieces(t, "abc", false, "abc");   /* b c first, then a bc */
    assert_pieces(t, "abab", false, "ab|ab");
    assert_pieces(t, "aaa", false, "aa|a");  /* the leftmost of equals */
    assert_pieces(t, "axb", false, "ab");    /* without unk an unknown character vanishes, as in the library */
    qep_tokenizer_close(&t);
}

static void a_pair_listed_twice_has_its_later_rank(void **state)
{
    (void)state;
    qep_tokenizer *t = small("{'model':{'vocab':{'a':0,'b':1,'c':2,'ab':3,'bc':4},'merges':['a b','b c','a b']}}");
    assert_pieces(t, "abc", false, "a|bc");
    assert_int_equal(qep_tokenizer_n_merges(t), 3);
    qep_tokenizer_close(&t);
}

static void unknown_characters(void **state)
{
    (void)state;
    qep_tokenizer *t = small("{'model':{'unk_token':'?','fuse_unk':false,'vocab':{'?':0,'a':1},'merges':[]}}");
    assert_pieces(t, "xaxx", false, "?|a|?|?");
    assert_int_equal(qep_tokenizer_unk(t), 0);
    qep_tokenizer_close(&t);
    t = small("{'model':{'unk_token':'?','fuse_unk':true,'vocab':{'?':0,'a':1},'merges':[]}}");
    assert_pieces(t, "xaxx", false, "?|a|?");
    qep_tokenizer_close(&t);
    /* bytes where all are there; unk that waits is overtaken by them */
    t = small("{'model':{'unk_token':'?','fuse_unk':true,'byte_fallback':true,'vocab':{'?':0,'a':1,'<0xC3>':2,'<0xA9>':3},'merges':[]}}");
    assert_pieces(t, "a\xC3\xA9", false, "a|<0xC3>|<0xA9>");
    assert_pieces(t, "x\xC3\xA9", false, "<0xC3>|<0xA9>|?");
    qep_tokenizer_close(&t);
}

static void ignoring_merges(void **state)
{
    (void)state;
    qep_tokenizer *t = small("{'model':{'ignore_merges':true,'vocab':{'a':0,'b':1,'ab':2,'abb':3},'merges':['a b']},"
                             "'pre_tokenizer':{'type':'Split','pattern':{'String':' '},'behavior':'Removed','invert':false}}");
    assert_pieces(t, "abb abba", false, "abb|ab|b|a");
    qep_tokenizer_close(&t);
}

static void blanks_as_marks(void **state)
{
    (void)state;
    static const char *const schemes[] = {"always", "first", "never"};
    static const char *const want[] = {MARK "a|" MARK "a|<s>|" MARK "a|<s>|" MARK "a", MARK "a|" MARK "a|<s>|a|<s>|" MARK "a", "a|" MARK "a|<s>|a|<s>|" MARK "a"};
    for (int k = 0; k < 3; k++) {
        char text[512];
        snprintf(text, sizeof text,
                 "{'added_tokens':[" TOKEN("3", "<s>", PLAIN) "],'pre_tokenizer':{'type':'Metaspace','replacement':'" MARK "','prepend_scheme':'%s','split':%s},"
                 "'model':{'vocab':{'a':0,'" MARK "':1,'" MARK "a':2},'merges':['" MARK " a']}}", schemes[k], k == 1 ? "false" : "true");
        qep_tokenizer *t = small(text);
        assert_pieces(t, "a a<s>a<s> a", false, want[k]);
        assert_pieces(t, "", false, "");
        assert_pieces(t, " ", false, MARK);
        assert_pieces(t, "  a", false, MARK "|" MARK "a");
        qep_tokenizer_close(&t);
    }
    /* the older form puts a mark in front of every segment */
    qep_tokenizer *t = small("{'added_tokens':[" TOKEN("3", "<s>", PLAIN) "],'normalizer':{'type':'Sequence','normalizers':[{'type':'Prepend','prepend':'" MARK "'},"
                             "{'type':'Replace','pattern':{'String':' '},'content':'" MARK "'}]},'model':{'byte_fallback':true,'vocab':{'a':0,'" MARK "':1,'" MARK "a':2},"
                             "'merges':['" MARK " a']}}");
    assert_pieces(t, "a a<s>a<s> a", false, MARK "a|" MARK "a|<s>|" MARK "a|<s>|" MARK "|" MARK "a");
    assert_int_equal(qep_tokenizer_get_family(t), QEP_TOKENIZER_SPM);
    qep_tokenizer_close(&t);
}

static void added_tokens(void **state)
{
    (void)state;
    qep_tokenizer *t = small("{'added_tokens':[" TOKEN("2", "<w>", "'single_word':true,'lstrip':false,'rstrip':false,'normalized':false,'special':false") ","
                             TOKEN("3", "<l>", "'single_word':false,'lstrip':true,'rstrip':false,'normalized':false,'special':false") ","
                             TOKEN("4", "<r>", "'single_word':false,'lstrip':false,'rstrip':true,'normalized':false,'special':true") ","
                             TOKEN("5", "<r>>", PLAIN) "," TOKEN("6", "aa", "'single_word':false,'lstrip':false,'rstrip':false,'normalized':true,'special':false") "],"
                             "'normalizer':{'type':'Replace','pattern':{'String':'b'},'content':'a'},'model':{'vocab':{'a':0,' ':1},'merges':[]}}");
    assert_pieces(t, "a<w>a <w> a", false, "a|a| |<w>| |a"); /* not within a word */
    assert_pieces(t, "a  <l>  a", false, "a|<l>| | |a");
    assert_pieces(t, "a  <r>  a", false, "a| | |<r>|a");
    assert_pieces(t, "<r>>><r>", false, "<r>>|<r>");         /* the longest */
    assert_pieces(t, "b aab", false, "a| |aa|a");            /* found in normalized text */
    assert_true(qep_tokenizer_is_special(t, 4) && !qep_tokenizer_is_special(t, 3) && qep_tokenizer_is_added(t, 3));
    qep_tokenizer_close(&t);
}

static void templates(void **state)
{
    (void)state;
    qep_tokenizer *t = small("{'post_processor':{'type':'Sequence','processors':[{'type':'ByteLevel','add_prefix_space':true,'trim_offsets':false},"
                             "{'type':'TemplateProcessing','single':[{'SpecialToken':{'id':'B','type_id':0}},{'Sequence':{'id':'A','type_id':0}},"
                             "{'SpecialToken':{'id':'E','type_id':0}}],'special_tokens':{'B':{'id':'B','ids':[1],'tokens':['<s>']},'E':{'id':'E','ids':[2],'tokens':['</s>']}}}]},"
                             "'model':{'vocab':{'a':0,'<s>':1,'</s>':2},'merges':[]}}");
    assert_pieces(t, "aa", true, "<s>|a|a|</s>");
    assert_pieces(t, "aa", false, "a|a");
    assert_pieces(t, "", true, "<s>|</s>");
    assert_int_equal(qep_tokenizer_bos(t), 1);
    assert_int_equal(qep_tokenizer_eos(t), 2);
    assert_true(qep_tokenizer_adds_bos(t) && qep_tokenizer_adds_eos(t));
    qep_tokenizer_close(&t);
}

static void split_behaviors(void **state)
{
    (void)state;
    static const struct {
        const char *behavior, *invert, *want;
    } cases[] = {{"Removed", "false", "a|bb"},         {"Isolated", "false", "a|-|-|bb|-"},       {"MergedWithPrevious", "false", "a-|-|bb-"},
                 {"MergedWithNext", "false", "a|-|-bb|-"}, {"Contiguous", "false", "a|--|bb|-"}, {"Removed", "true", "-|-|-"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[512];
        snprintf(text, sizeof text, "{'pre_tokenizer':{'type':'Split','pattern':{'Regex':'-'},'behavior':'%s','invert':%s},"
                 "'model':{'ignore_merges':true,'vocab':{'a':0,'bb':1,'-':2,'a-':3,'-bb':4,'bb-':5,'--':6},'merges':[]}}", cases[i].behavior, cases[i].invert);
        qep_tokenizer *t = small(text);
        assert_pieces(t, "a--bb-", false, cases[i].want);
        qep_tokenizer_close(&t);
    }
}

static void holes(void **state)
{
    (void)state;
    qep_tokenizer *t = small("{'model':{'vocab':{'a':0,'b':5},'merges':[]}}");
    assert_int_equal(qep_tokenizer_size(t), 6);
    assert_null(qep_tokenizer_piece(t, 3));
    assert_string_equal(qep_tokenizer_piece(t, 5), "b");
    qep_tokenizer_close(&t);
}

/* The same text as one word of a million symbols, and by hand. */
static void a_huge_word(void **state)
{
    (void)state;
    enum { N = 1000001 };
    qep_tokenizer *t = small("{'model':{'vocab':{'a':0,'aa':1,'aaaa':2},'merges':['a a','aa aa']}}");
    char *text = qep_alloc("test", N, 1);
    memset(text, 'a', N);
    int32_t *ids;
    int64_t n;
    assert_ok(qep_tokenizer_encode(t, text, N, false, &ids, &n));
    assert_int_equal(n, N / 4 + 1);
    for (int64_t i = 0; i + 1 < n; i++) assert_int_equal(ids[i], 2);
    assert_int_equal(ids[n - 1], 0);
    qep_free(ids);
    qep_free(text);
    qep_tokenizer_close(&t);
    assert_int_equal(qep_mem_blocks(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_in_order_of_rank), cmocka_unit_test(a_pair_listed_twice_has_its_later_rank),
        cmocka_unit_test(unknown_characters),      cmocka_unit_test(ignoring_merges),
        cmocka_unit_test(blanks_as_marks),         cmocka_unit_test(added_tokens),
        cmocka_unit_test(templates),               cmocka_unit_test(split_behaviors),
        cmocka_unit_test(holes),                   cmocka_unit_test(a_huge_word)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
