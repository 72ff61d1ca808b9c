/* Broken and unsupported tokenizers: file, place in the JSON and reason. SPDX-License-Identifier: Apache-2.0 */
#include "small.h"

#define VOCAB "'vocab':{'a':0,'b':1,'ab':2}"
#define MODEL "'model':{'type':'BPE'," VOCAB ",'merges':['a b']}"
#define ADDED(id, content) "{'id':" id ",'content':'" content "','single_word':false,'lstrip':false,'rstrip':false,'normalized':false,'special':true}"
#define SPLIT(pattern) "{'pre_tokenizer':{'type':'Split','pattern':{'Regex':'" pattern "'},'behavior':'Isolated','invert':false}," MODEL "}"
#define TEMPLATE(single, tokens) "{'post_processor':{'type':'TemplateProcessing','single':[" single "],'special_tokens':{" tokens "}}," MODEL "}"

static const struct {
    const char *json, *where, *why;
} broken[] = {
    {"", "", "line 1"},
    {"{'model':{'vocab':{'a':0", "", "line 1"},
    {"[]", "", "expected an object"},
    {"{}", "model: ", "missing"},
    {"{'model':3}", "model: ", "expected an object"},
    {"{'version':'2.0'," MODEL "}", "version: ", "unknown version"},
    {"{'model':{'type':'Unigram','vocab':[]}}", "model.type: ", "Unigram is not supported"},
    {"{'model':{'type':'BPE','merges':[]}}", "model.vocab: ", "missing"},
    {"{'model':{'type':'BPE','vocab':{},'merges':[]}}", "model.vocab: ", "empty"},
    {"{'model':{'type':'BPE'," VOCAB "}}", "model.merges: ", "missing"},
    {"{'model':{'type':'BPE','vocab':{'a':'0'},'merges':[]}}", "model.vocab['a']: ", "expected a token id"},
    {"{'model':{'type':'BPE','vocab':{'a':-1},'merges':[]}}", "model.vocab['a']: ", "outside"},
    {"{'model':{'type':'BPE','vocab':{'a':99999999999},'merges':[]}}", "model.vocab['a']: ", "outside"},
    {"{'model':{'type':'BPE','vocab':{'a':7,'b':7},'merges':[]}}", "model.vocab['b']: ", "id 7 is also the id of 'a'"},
    {"{'model':{'type':'BPE','vocab':{'a':1,'a':2},'merges':[]}}", "", "duplicate"},
    {"{'model':{'type':'BPE'," VOCAB ",'merges':['a b','a c']}}", "model.merges[1]: ", "'c' is not in the vocabulary"},
    {"{'model':{'type':'BPE'," VOCAB ",'merges':['b a']}}", "model.merges[0]: ", "the result 'ba'"},
    {"{'model':{'type':'BPE'," VOCAB ",'merges':['ab']}}", "model.merges[0]: ", "one blank"},
    {"{'model':{'type':'BPE'," VOCAB ",'merges':['a  b']}}", "model.merges[0]: ", "one blank"},
    {"{'model':{'type':'BPE'," VOCAB ",'merges':[['a']]}}", "model.merges[0]: ", "expected"},
    {"{'model':{'type':'BPE'," VOCAB ",'merges':[5]}}", "model.merges[0]: ", "expected"},
    {"{'model':{'type':'BPE','dropout':0.1," VOCAB ",'merges':[]}}", "model.dropout: ", "random"},
    {"{'model':{'type':'BPE','end_of_word_suffix':'</w>'," VOCAB ",'merges':[]}}", "model.end_of_word_suffix: ", "not supported"},
    {"{'model':{'type':'BPE','continuing_subword_prefix':'##'," VOCAB ",'merges':[]}}", "model.continuing_subword_prefix: ", "not supported"},
    {"{'model':{'type':'BPE','unk_token':'<unk>'," VOCAB ",'merges':[]}}", "model.unk_token: ", "not in the vocabulary"},
    {"{'model':{'type':'BPE','byte_fallback':1," VOCAB ",'merges':[]}}", "model.byte_fallback: ", "expected a boolean"},
    {"{'normalizer':{'type':'Lowercase'}," MODEL "}", "normalizer: ", "Lowercase is not supported"},
    {"{'normalizer':{'type':'Sequence','normalizers':[{'type':'NFC'},{'type':'Nmt'}]}," MODEL "}", "normalizer.normalizers[1]: ", "Nmt"},
    {"{'normalizer':{'type':'Prepend'}," MODEL "}", "normalizer.prepend: ", "missing"},
    {"{'normalizer':{'type':'Replace','pattern':{'String':''},'content':'x'}," MODEL "}", "normalizer.pattern: ", "empty"},
    {"{'pre_tokenizer':{'type':'Whitespace'}," MODEL "}", "pre_tokenizer: ", "Whitespace is not supported"},
    {"{'pre_tokenizer':{'type':'Metaspace','replacement':'xy'}," MODEL "}", "pre_tokenizer.replacement: ", "one character"},
    {"{'pre_tokenizer':{'type':'Metaspace','replacement':'x','prepend_scheme':'last'}," MODEL "}", "pre_tokenizer.prepend_scheme: ", "last"},
    {"{'pre_tokenizer':{'type':'Split','pattern':{'Regex':'a'},'behavior':'Melted','invert':false}," MODEL "}", "pre_tokenizer.behavior: ", "Melted"},
    {"{'pre_tokenizer':{'type':'Split','pattern':{},'behavior':'Isolated','invert':false}," MODEL "}", "pre_tokenizer.pattern.Regex: ", "missing"},
    {SPLIT("a("), "pre_tokenizer.pattern: ", "'(' without ')'"},
    {SPLIT("a)"), "pre_tokenizer.pattern: ", "')' without '('"},
    {SPLIT("[a"), "pre_tokenizer.pattern: ", "'[' without ']'"},
    {SPLIT("[b-a]"), "pre_tokenizer.pattern: ", "this range"},
    {SPLIT("a*"), "pre_tokenizer.pattern: ", "can match the empty text"},
    {SPLIT("*a"), "pre_tokenizer.pattern: ", "a repetition of nothing"},
    {SPLIT("a{2}{3}"), "pre_tokenizer.pattern: ", "a repetition of {}"},
    {SPLIT("a{x}"), "pre_tokenizer.pattern: ", "no repetition"},
    {SPLIT("^a"), "pre_tokenizer.pattern: ", "the anchors"},
    {SPLIT("(?m:a)"), "pre_tokenizer.pattern: ", "(?m:a)"},
    {SPLIT("a(?i)b"), "pre_tokenizer.pattern: ", "(?i)"},
    {SPLIT("(?i:ss)"), "pre_tokenizer.pattern: ", "ligature"},
    {SPLIT("\\\\w+"), "pre_tokenizer.pattern: ", "\\w"},
    {SPLIT("\\\\p{Han}"), "pre_tokenizer.pattern: ", "\\p{Han}"},
    {SPLIT("[[:alpha:]]"), "pre_tokenizer.pattern: ", "[:name:]"},
    {SPLIT("[a&&b]"), "pre_tokenizer.pattern: ", "&&"},
    {SPLIT("a\\\\"), "pre_tokenizer.pattern: ", "a backslash at the end"},
    {SPLIT(""), "pre_tokenizer.pattern: ", "an empty pattern"},
    {"{'added_tokens':[{'id':3}]," MODEL "}", "added_tokens[0].content: ", "missing"},
    {"{'added_tokens':[7]," MODEL "}", "added_tokens[0]: ", "expected an object"},
    {"{'added_tokens':[" ADDED("3", "") "]," MODEL "}", "added_tokens[0].content: ", "empty"},
    {"{'added_tokens':[" ADDED("5", "<x>") "]," MODEL "}", "added_tokens[0].id: ", "would give it 3"},
    {"{'added_tokens':[" ADDED("1", "a") "]," MODEL "}", "added_tokens[0].id: ", "would give it 0"},
    {"{'added_tokens':[" ADDED("3", "<x>") "," ADDED("4", "<x>") "]," MODEL "}", "added_tokens[1].content: ", "twice"},
    {"{'added_tokens':[" ADDED("3", "<x>") "," ADDED("3", "<y>") "]," MODEL "}", "added_tokens[1].id: ", "also the id"},
    {"{'added_tokens':[" ADDED("4294967296", "<x>") "]," MODEL "}", "added_tokens[0].id: ", "outside"},
    {"{'post_processor':{'type':'BertProcessing'}," MODEL "}", "post_processor: ", "BertProcessing is not supported"},
    {TEMPLATE("{'SpecialToken':{'id':'<s>','type_id':0}},{'Sequence':{'id':'A','type_id':0}}", ""), "post_processor.special_tokens.<s>: ", "missing"},
    {TEMPLATE("{'SpecialToken':{'id':'x','type_id':0}}", "'x':{'id':'x','ids':[0],'tokens':['a']}"), "post_processor.single: ", "leaves the text out"},
    {TEMPLATE("{'Sequence':{'id':'A'}},{'Sequence':{'id':'A'}}", ""), "post_processor.single[1].Sequence: ", "once"},
    {TEMPLATE("{'SpecialToken':{'id':'x'}},{'Sequence':{'id':'A'}}", "'x':{'ids':[3]}"), "post_processor.special_tokens.x.ids[0]: ", "id 3 is no token"},
};

static void each_says_why(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        qep_tokenizer *t = (qep_tokenizer *)1;
        char *json = quoted(broken[i].json), *why = quoted(broken[i].why), *where = quoted(broken[i].where), where_at[256];
        snprintf(where_at, sizeof where_at, "small.json: %s", where);
        if (qep_tokenizer_parse(json, (int64_t)strlen(json), "small.json", &t) != QEP_E_INPUT) fail_msg("taken: %s", json);
        assert_null(t);
        /* in messages about patterns quotes are single ones */
        if (!strstr(qep_error_text(), why) && !strstr(qep_error_text(), broken[i].why)) fail_msg("%s: \"%s\" lacks \"%s\"", json, qep_error_text(), why);
        if (strncmp(qep_error_text(), where_at, strlen(where_at)) != 0) fail_msg("%s: \"%s\" does not begin with \"%s\"", json, qep_error_text(), where_at);
        qep_free(json);
        qep_free(why);
        qep_free(where);
    }
    assert_int_equal(qep_mem_blocks(), 0);
}

/* Every beginning of a good file is refused, and nothing is leaked. */
static void cut_short(void **state)
{
    (void)state;
    char *json = quoted("{'added_tokens':[" ADDED("3", "<x>") "],'normalizer':{'type':'NFC'},'pre_tokenizer':{'type':'ByteLevel','add_prefix_space':false}," MODEL "}");
    qep_tokenizer *t = NULL;
    const int64_t n = (int64_t)strlen(json);
    for (int64_t k = 0; k < n; k++) assert_int_equal(qep_tokenizer_parse(json, k, "small.json", &t), QEP_E_INPUT);
    assert_ok(qep_tokenizer_parse(json, n, "small.json", &t));
    qep_tokenizer_close(&t);
    qep_free(json);
    assert_int_equal(qep_mem_blocks(), 0);
}

static void missing_files(void **state)
{
    (void)state;
    qep_tokenizer *t = NULL;
    assert_fails(qep_tokenizer_open("tests/data/no_such_file.json", &t), QEP_E_INPUT, "tests/data/no_such_file.json");
    assert_fails(qep_tokenizer_open("tests/data/quickstart_tokens", &t), QEP_E_INPUT, "tests/data/quickstart_tokens: no tokenizer.json");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_says_why), cmocka_unit_test(cut_short), cmocka_unit_test(missing_files)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
