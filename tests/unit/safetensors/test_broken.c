/* Broken files and directories: each is refused with a message that names the file and the fault.
 * SPDX-License-Identifier: Apache-2.0 */
#include "st_files.h"

typedef struct broken {
    const char *what;   /* for the failure message */
    const char *header; /* JSON text */
    size_t data;        /* bytes behind it */
    const char *text;   /* the message must contain it */
} broken;

#define T(dtype, shape, offsets) "\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets

static const broken headers[] = {
    {"not JSON", "{\"a\":", 0, "line 1"},
    {"garbage behind", "{} x", 0, "line 1"},
    {"array", "[1,2]", 0, "does not start with '{'"},
    {"leading space", " {}", 0, "does not start with '{'"},
    {"byte order mark", "\xEF\xBB\xBF{}", 0, "does not start with '{'"},
    {"not UTF-8", "{\"\xff\xfe\":{" T("U8", "[1]", "[0,1]") "}}", 1, "line 1"},
    {"duplicate name", "{\"a\":{" T("U8", "[1]", "[0,1]") "},\"a\":{" T("U8", "[1]", "[1,2]") "}}", 2,
     "uplicate"},
    {"duplicate field", "{\"a\":{\"dtype\":\"U8\"," T("U8", "[1]", "[0,1]") "}}", 1, "uplicate"},
    {"duplicate metadata", "{\"__metadata__\":{},\"__metadata__\":{}}", 0, "uplicate"},
    {"entry is a list", "{\"a\":[1]}", 0, "not an object"},
    {"entry is null", "{\"a\":null}", 0, "not an object"},
    {"no dtype", "{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "no \"dtype\""},
    {"dtype is a number", "{\"a\":{\"dtype\":8,\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "no \"dtype\""},
    {"unknown dtype", "{\"a\":{" T("F12", "[1]", "[0,1]") "}}", 1, "unknown dtype \"F12\""},
    {"dtype in small letters", "{\"a\":{" T("f32", "[1]", "[0,4]") "}}", 4, "unknown dtype"},
    {"no shape", "{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, "no \"shape\""},
    {"shape is a number", "{\"a\":{" T("U8", "1", "[0,1]") "}}", 1, "no \"shape\""},
    {"shape with text", "{\"a\":{" T("U8", "[\"1\"]", "[0,1]") "}}", 1, "shape[0]"},
    {"real extent", "{\"a\":{" T("U8", "[1,1.0]", "[0,1]") "}}", 1, "shape[1]"},
    {"negative extent", "{\"a\":{" T("U8", "[-1,-1]", "[0,1]") "}}", 1, "shape[0]"},
    {"extent above int64", "{\"a\":{" T("U8", "[9223372036854775808]", "[0,1]") "}}", 1, "line 1"},
    {"product overflows", "{\"a\":{" T("U8", "[4294967296,4294967296]", "[0,0]") "}}", 0, "overflows"},
    {"overflow hidden by zero", "{\"a\":{" T("U8", "[4294967296,4294967296,0]", "[0,0]") "}}", 0,
     "overflows"},
    {"bits overflow", "{\"a\":{" T("F64", "[1152921504606846976]", "[0,0]") "}}", 0, "overflows"},
    {"half a byte", "{\"a\":{" T("F4", "[3]", "[0,1]") "}}", 1, "whole bytes"},
    {"rank 9", "{\"a\":{" T("U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]") "}}", 1, "9 dimensions"},
    {"no offsets", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "data_offsets"},
    {"one offset", "{\"a\":{" T("U8", "[1]", "[0]") "}}", 1, "data_offsets"},
    {"three offsets", "{\"a\":{" T("U8", "[1]", "[0,1,2]") "}}", 1, "data_offsets"},
    {"negative offset", "{\"a\":{" T("U8", "[1]", "[-1,0]") "}}", 1, "data_offsets[0]"},
    {"real offset", "{\"a\":{" T("U8", "[1]", "[0,1.0]") "}}", 1, "data_offsets[1]"},
    {"end before begin", "{\"a\":{" T("U8", "[1]", "[1,0]") "}}", 1, "end before they begin"},
    {"span too short", "{\"a\":{" T("F32", "[2]", "[0,4]") "}}", 4, "span 4 bytes, dtype and shape need 8"},
    {"span too long", "{\"a\":{" T("BF16", "[2]", "[0,8]") "}}", 8, "span 8 bytes, dtype and shape need 4"},
    {"does not begin at 0", "{\"a\":{" T("U8", "[1]", "[1,2]") "}}", 2, "hole of 1 bytes before tensor \"a\""},
    {"hole", "{\"a\":{" T("U8", "[1]", "[0,1]") "},\"b\":{" T("U8", "[1]", "[3,4]") "}}", 4,
     "hole of 2 bytes before tensor \"b\""},
    {"overlap", "{\"a\":{" T("U8", "[2]", "[0,2]") "},\"b\":{" T("U8", "[2]", "[1,3]") "}}", 3,
     "\"b\" overlaps tensor \"a\""},
    {"same place twice", "{\"a\":{" T("U8", "[2]", "[0,2]") "},\"b\":{" T("U8", "[2]", "[0,2]") "}}", 2,
     "overlaps"},
    {"empty tensor inside another", "{\"a\":{" T("U8", "[2]", "[0,2]") "},\"b\":{" T("U8", "[0]", "[1,1]")
     "}}", 2, "overlaps"},
    {"truncated data", "{\"a\":{" T("U8", "[9]", "[0,9]") "}}", 5, "truncated: 4 bytes"},
    {"far beyond the end",
     "{\"a\":{" T("U8", "[1152921504606846975]", "[0,1152921504606846975]") "}}", 5, "truncated"},
    {"trailing bytes", "{\"a\":{" T("U8", "[2]", "[0,2]") "}}", 3, "1 bytes at its end"},
    {"data without tensors", "{}", 1, "1 bytes at its end"},
    {"metadata is a string", "{\"__metadata__\":\"pt\"}", 0, "__metadata__ is not an object"},
    {"metadata holds a number", "{\"__metadata__\":{\"format\":\"pt\",\"n\":1}}", 0, "\"n\" is not a string"},
    {"metadata holds an object", "{\"__metadata__\":{\"format\":{}}}", 0, "\"format\" is not a string"},
};

static void test_headers(void **state)
{
    qep_st_set *s;
    const char *path = in_scratch("broken.safetensors");
    char name[1024];

    (void)state;
    snprintf(name, sizeof name, "%s", path);
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        const broken *b = &headers[i];
        qep_status st;

        put_st(name, b->header, zeros, b->data);
        st = qep_st_open_file(name, &s);
        if (st != QEP_E_INPUT || s)
            fail_msg("%s: status %d (%s)", b->what, (int)st, qep_error_text());
        if (!strstr(qep_error_text(), b->text) || !strstr(qep_error_text(), "broken.safetensors"))
            fail_msg("%s: message \"%s\" lacks \"%s\" or the file", b->what, qep_error_text(), b->text);
    }
    assert_int_equal(qep_mem_blocks(), 0);
}

typedef struct raw_file {
    const char *what;
    const char *bytes;
    size_t n;
    const char *text;
} raw_file;

static const raw_file raws[] = {
    {"empty file", "", 0, "only 0 bytes"},
    {"7 bytes", "\2\0\0\0\0\0\0", 7, "only 7 bytes"},
    {"length 0", "\0\0\0\0\0\0\0\0", 8, "header length is 0"},
    {"length 0 with data", "\0\0\0\0\0\0\0\0{}", 10, "header length is 0"},
    {"one byte too long", "\3\0\0\0\0\0\0\0{}", 10, "beyond the end"},
    {"no header at all", "\2\0\0\0\0\0\0\0", 8, "beyond the end"},
    {"100 MB + 1", "\1\341\365\5\0\0\0\0{}", 10, "above the limit"},
    {"100 MB, not there", "\0\341\365\5\0\0\0\0{}", 10, "beyond the end"},
    {"all ones", "\377\377\377\377\377\377\377\377{}", 10, "above the limit"},
    {"sign bit", "\2\0\0\0\0\0\0\200{}", 10, "above the limit"},
    {"zero bytes for a header", "\2\0\0\0\0\0\0\0\0\0", 10, "does not start"},
    {"padded with zero bytes", "\4\0\0\0\0\0\0\0{}\0\0", 12, "line 1"},
    {"a pickle", "PK\3\4\0\0\10\10\0\0\0\0\0\0\0\0", 16, "above the limit"},
    {"a Git LFS pointer", "version https://git-lfs.github.com/spec/v1\n", 43, "git lfs pull"},
};

static void test_raw_files(void **state)
{
    char name[1024];
    qep_st_set *s;

    (void)state;
    snprintf(name, sizeof name, "%s", in_scratch("broken.safetensors"));
    for (size_t i = 0; i < sizeof raws / sizeof *raws; i++) {
        qep_status st;

        put_bytes(name, raws[i].bytes, raws[i].n);
        st = qep_st_open_file(name, &s);
        if (st != QEP_E_INPUT || s || !strstr(qep_error_text(), raws[i].text))
            fail_msg("%s: status %d (%s)", raws[i].what, (int)st, qep_error_text());
    }
    assert_int_equal(qep_mem_blocks(), 0);
}

/* Every strict prefix of a good file is refused, and so is every file with one more byte. */
static void test_every_truncation(void **state)
{
    static const char header[] = "{\"a\":{" T("BF16", "[2,3]", "[0,12]") "}}";
    char bytes[256], name[1024];
    uint64_t h = sizeof header - 1;
    size_t n = 8 + sizeof header - 1 + 12;
    qep_st_set *s;

    (void)state;
    memset(bytes, 0, sizeof bytes);
    memcpy(bytes, &h, 8);
    memcpy(bytes + 8, header, sizeof header - 1);
    snprintf(name, sizeof name, "%s", in_scratch("cut.safetensors"));
    for (size_t k = 0; k < n; k++) {
        put_bytes(name, bytes, k);
        assert_int_equal(qep_st_open_file(name, &s), QEP_E_INPUT);
        assert_null(s);
    }
    put_bytes(name, bytes, n);
    assert_ok(qep_st_open_file(name, &s));
    qep_st_close(&s);
    put_bytes(name, bytes, n + 1);
    assert_fails(qep_st_open_file(name, &s), QEP_E_INPUT, "belong to no tensor");
}

static void test_not_files(void **state)
{
    qep_st_set *s;

    (void)state;
    assert_fails(qep_st_open_file(in_scratch("absent.safetensors"), &s), QEP_E_INPUT, "absent");
    assert_null(s);
    assert_fails(qep_st_open_file(scratch, &s), QEP_E_INPUT, "not a regular file");
    assert_int_equal(mkdir(in_scratch("model.safetensors"), 0777), 0);
    assert_fails(qep_st_open_file(in_scratch("model.safetensors"), &s), QEP_E_INPUT, "regular");
}

static void test_directories_without_weights(void **state)
{
    qep_st_set *s;

    (void)state;
    assert_fails(qep_st_open_dir(in_scratch("nowhere"), &s), QEP_E_INPUT, "nowhere");
    assert_fails(qep_st_open_dir(scratch, &s), QEP_E_INPUT, "holds no weights");
    put_bytes(in_scratch("config.json"), "{}", 2);
    assert_fails(qep_st_open_dir(in_scratch("config.json"), &s), QEP_E_INPUT, "config.json");
    assert_fails(qep_st_open_dir(scratch, &s), QEP_E_INPUT, "holds no weights");
    put_bytes(in_scratch("pytorch_model-00001-of-00002.bin"), "PK", 2);
    assert_fails(qep_st_open_dir(scratch, &s), QEP_E_INPUT, "pytorch_model-00001-of-00002.bin");
    assert_non_null(strstr(qep_error_text(), "pickle"));
    assert_non_null(strstr(qep_error_text(), "safe_serialization"));
    put_bytes(in_scratch("consolidated.safetensors"), zeros, 8);
    assert_fails(qep_st_open_dir(scratch, &s), QEP_E_INPUT, "consolidated.safetensors");
    assert_null(s);
    assert_int_equal(qep_mem_blocks(), 0);
}

#define A "model-00001-of-00002.safetensors"
#define B "model-00002-of-00002.safetensors"

static const struct {
    const char *index, *text;
} indexes[] = {
    {"", "index.json"},
    {"[]", "no \"weight_map\""},
    {"{", "index.json"},
    {"{}", "no \"weight_map\""},
    {"{\"weight_map\":{}}", "no \"weight_map\""},
    {"{\"weight_map\":[\"a\"]}", "no \"weight_map\""},
    {"{\"weight_map\":{\"a\":1}}", "\"a\" is not a string"},
    {"{\"weight_map\":{\"a\":\"" A "\",\"a\":\"" A "\"}}", "uplicate"},
    {"{\"weight_map\":{\"a\":\"" A "\",\"b\":\"model-00003.safetensors\"}}", "model-00003"},
    {"{\"weight_map\":{\"a\":\"" A "\",\"b\":\"" A "\"}}", "\"b\" is not in " A},
    {"{\"weight_map\":{\"a\":\"" A "\",\"nope\":\"" B "\"}}", "\"nope\" is not in " B},
    {"{\"weight_map\":{\"a\":\"../" A "\"}}", "plain name"},
    {"{\"weight_map\":{\"a\":\"/etc/model.safetensors\"}}", "plain name"},
    {"{\"weight_map\":{\"a\":\"sub/" A "\"}}", "plain name"},
    {"{\"weight_map\":{\"a\":\"..\\\\" A "\"}}", "plain name"},
    {"{\"weight_map\":{\"a\":\"..\"}}", "plain name"},
    {"{\"weight_map\":{\"a\":\"\"}}", "plain name"},
    {"{\"weight_map\":{\"a\":\"pytorch_model.bin\"}}", "plain name"},
};

static void test_indexes(void **state)
{
    qep_st_set *s;

    (void)state;
    put_st(in_scratch(A), "{\"a\":{" T("U8", "[2]", "[0,2]") "}}", zeros, 2);
    put_st(in_scratch(B), "{\"b\":{" T("U8", "[3]", "[0,3]") "}}", zeros, 3);
    for (size_t i = 0; i < sizeof indexes / sizeof *indexes; i++) {
        qep_status st;

        put_bytes(in_scratch("model.safetensors.index.json"), indexes[i].index, strlen(indexes[i].index));
        st = qep_st_open_dir(scratch, &s);
        if (st != QEP_E_INPUT || s || !strstr(qep_error_text(), indexes[i].text))
            fail_msg("%s: status %d (%s)", indexes[i].index, (int)st, qep_error_text());
    }
    assert_int_equal(qep_mem_blocks(), 0);
}

static void test_broken_shard_names_the_index(void **state)
{
    static const char index[] = "{\"weight_map\":{\"a\":\"" A "\",\"b\":\"" B "\"}}";
    qep_st_set *s;

    (void)state;
    put_st(in_scratch(A), "{\"a\":{" T("U8", "[2]", "[0,2]") "}}", zeros, 2);
    put_st(in_scratch(B), "{\"b\":{" T("U8", "[3]", "[0,3]") "}}", zeros, 1);
    put_bytes(in_scratch("model.safetensors.index.json"), index, sizeof index - 1);
    assert_fails(qep_st_open_dir(scratch, &s), QEP_E_INPUT, "truncated");
    assert_non_null(strstr(qep_error_text(), "shard 2 of 2"));
    assert_int_equal(qep_mem_blocks(), 0);
}

static const struct CMUnitTest tests[] = {
    SCRATCH_TEST(test_headers),
    SCRATCH_TEST(test_raw_files),
    SCRATCH_TEST(test_every_truncation),
    SCRATCH_TEST(test_not_files),
    SCRATCH_TEST(test_directories_without_weights),
    SCRATCH_TEST(test_indexes),
    SCRATCH_TEST(test_broken_shard_names_the_index),
};

QEP_TEST_MAIN(tests)
