/* --check finds every kind of damage. SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include "export_fixture.h"
#include "qep/gguf.h"

/* The files as they are stored. */
static qep_status open_stored(const char *dir, qep_st_set **out)
{
    qep_gguf_file *f = NULL;
    if (!qep_gguf_is_there(dir)) return qep_st_open_dir(dir, out);
    qep_status st = qep_gguf_open(dir, &f);
    if (st == QEP_OK) st = qep_gguf_stored(f, out);
    qep_gguf_close(&f);
    return st;
}

/* Overwrites bytes of a tensor of the output at `at`; `old` keeps what was there. */
static void poke(const char *dir, const char *tensor, int64_t at, const void *bytes, size_t n, void *old)
{
    qep_st_set *s = NULL;
    assert_ok(open_stored(dir, &s));
    const qep_st_tensor *t = qep_st_find(s, tensor);
    assert_true(t && at + (int64_t)n <= t->bytes);
    if (old) assert_ok(qep_st_read(s, t, at, (int64_t)n, old));
    qep_barrier_all(world);
    bool ok = true;
    if (is_root()) {
        int fd = open(qep_st_file(s, t->shard), O_WRONLY);
        ok = fd >= 0 && pwrite(fd, bytes, n, t->offset + at) == (ssize_t)n && close(fd) == 0;
    }
    assert_all(world, ok);
    qep_st_close(&s);
}

static void unlink_file(const char *dir, const char *name)
{
    char *path = qep_path_join(dir, name);
    assert_int_equal(unlink(path), 0);
    qep_free(path);
}

static void check_fails(const fixture *f, const char *text)
{
    uint64_t d[2];
    int64_t n;
    qep_status st = qep_export_check_all(world, f->out, d, &n);
    bool ok = st == QEP_E_INPUT && strstr(qep_error_text(), text) != NULL;
    if (!ok) print_message("wanted \"%s\", got %d: %s\n", text, (int)st, qep_error_text());
    assert_all(world, ok);
}

static void damaged(const fixture *f, const char *tensor, int64_t at, const void *bytes, size_t n, const char *text)
{
    char old[16];
    poke(f->out, tensor, at, bytes, n, old);
    check_fails(f, text);
    poke(f->out, tensor, at, old, n, NULL);
    check_digest(f, f->out);
}

#define Q1 "model.layers.1.self_attn.q_proj"

static void damaged_tensors(void **state)
{
    (void)state;
    fixture f = open_fixture(&small, true, spec_of(4, 32, true, false));
    f.linears[6].spec = spec_of(8, 32, false, false);
    assert_ok(write_output(&f, false, false, false));
    check_digest(&f, f.out);
    const uint16_t inf = 0x7c00, zero = 0, nan = 0x7e01, negative = 0xbc00, bf16_inf = 0x7f80;
    damaged(&f, Q1 ".scales", 2 * 95, &inf, 2, "module " Q1 ": a scale is not finite or not positive");
    damaged(&f, Q1 ".scales", 0, &zero, 2, "a scale is not finite or not positive");
    damaged(&f, Q1 ".scales", 2, &nan, 2, "a scale is not finite or not positive");
    damaged(&f, Q1 ".scales", 4, &negative, 2, "a scale is not finite or not positive");
    const int32_t high = 3, low = -1, one = 1;
    damaged(&f, Q1 ".g_idx", 4 * 7, &high, 4, "g_idx has a group that does not exist");
    damaged(&f, Q1 ".g_idx", 4 * 7, &low, 4, "g_idx has a group that does not exist");
    damaged(&f, Q1 ".g_idx", 4 * 7, &one, 4, "desc_act = false");
    const uint8_t off = 0x76, full = 0xff;
    damaged(&f, Q1 ".qzeros", 40, &off, 1, "sym = true");
    damaged(&f, "model.layers.0.mlp.down_proj.qzeros", 40, &full, 1, "outside of the range");
    damaged(&f, "model.norm.weight", 2 * 95, &bf16_inf, 2, "\"model.norm.weight\": infinity");
    damaged(&f, "lm_head.scales", 2 * 63, &inf, 2, "module lm_head");
    /* one bit of one code: only the digest can know */
    uint64_t want[2], got[2];
    int64_t n = 0;
    uint8_t old = 0;
    digest_of(&f, want);
    poke(f.out, Q1 ".qweight", 4 * 96 * 5 + 17, &full, 1, &old);
    check_fails(&f, "tensor \"" Q1 ".qweight\" was changed or damaged");
    if (is_root()) unlink_file(f.out, "qep_mpi.json");
    qep_barrier_all(world);
    assert_ok(qep_export_check_all(world, f.out, got, &n));
    assert_all(world, got[0] != want[0] && got[1] != want[1]);
    close_fixture(&f);
}

/* One bit of any tensor, first, middle or last byte, is found: in codes, scales, zeros, norms, embedding, biases. */
static void flipped_bytes(void **state)
{
    (void)state;
    static const char *const formats[] = {"gptq", "compressed-tensors", "awq", "dense", "gptq_v2", "gguf"};
    for (int k = 0; k < 6; k++) {
        fixture f = open_fixture(&small, k != 2, spec_of(4, 32, false, false));
        f.rq.format = formats[k];
        assert_ok(write_output(&f, false, false, false));
        qep_st_set *s = NULL;
        assert_ok(open_stored(f.out, &s));
        for (int64_t i = 0; i < qep_st_count(s); i++) {
            const qep_st_tensor *t = qep_st_at(s, i);
            int64_t at = i % 3 * (t->bytes - 1) / 2, n;
            uint64_t d[2];
            uint8_t old = 0;
            assert_ok(qep_st_read(s, t, at, 1, &old));
            const uint8_t other = old ^ 1;
            poke(f.out, t->name, at, &other, 1, NULL);
            qep_status st = qep_export_check_all(world, f.out, d, &n);
            if (st != QEP_E_INPUT || (strstr(qep_error_text(), "checksum") && !strstr(qep_error_text(), t->name)))
                fail_msg("%s: byte %d: status %d: %s", t->name, (int)at, (int)st, qep_error_text());
            poke(f.out, t->name, at, &old, 1, NULL);
        }
        qep_st_close(&s);
        uint64_t d[2];
        int64_t n;
        assert_ok(qep_export_check_all(world, f.out, d, &n));
        close_fixture(&f);
    }
}

/* A file of the output with another text, which is then as it was. */
static void replaced(const fixture *f, const char *name, const char *other, const char *text)
{
    char *path = qep_path_join(f->out, name), *was = NULL;
    int64_t bytes = 0;
    assert_ok(qep_agree_all(world, qep_file_read(path, INT64_MAX, QEP_E_INPUT, &was, &bytes)));
    put_text(f->out, name, other);
    check_fails(f, text);
    put_text(f->out, name, was);
    qep_free(was);
    qep_free(path);
}

/* Small files that came along, in every kind of output, an empty and a long one among them. */
static void small_files(void **state)
{
    (void)state;
    static const char *const formats[] = {"gptq", "dense", "gguf"};
    char *lengthy = qep_alloc("test", (3 << 20) + 2, 1);
    memset(lengthy, 'a', (3 << 20) + 1);
    for (int k = 0; k < 3; k++) {
        fixture f = open_fixture(&small, true, spec_of(4, 32, false, false));
        f.rq.format = formats[k];
        put_text(f.source, "added_tokens.json", "");
        put_text(f.source, "vocab.json", lengthy);
        put_text(f.source, "caf\xe9.txt", "no UTF-8"); /* is copied, and not in the list */
        assert_ok(write_output(&f, false, false, false));
        uint64_t d[2];
        int64_t n;
        assert_ok(qep_export_check_all(world, f.out, d, &n));
        lengthy[(2 << 20) + 5] = 'b';
        replaced(&f, "vocab.json", lengthy, "vocab.json was changed or damaged");
        lengthy[(2 << 20) + 5] = 'a';
        replaced(&f, "added_tokens.json", "x", "added_tokens.json was changed or damaged");
        assert_ok(qep_export_check_all(world, f.out, d, &n));
        qep_barrier_all(world);
        if (is_root()) unlink_file(f.out, "vocab.json");
        check_fails(&f, "vocab.json is missing");
        close_fixture(&f);
    }
    qep_free(lengthy);
}

/* The list of checksums with its small files left out, as earlier versions wrote it, and with names that lead elsewhere. */
static void lists_of_files(void **state)
{
    (void)state;
    fixture f = open_fixture(&small, true, spec_of(4, 32, false, false));
    put_text(f.source, "vocab.json", "{}");
    assert_ok(write_output(&f, false, false, false));
    char *path = qep_path_join(f.out, "qep_mpi.json");
    qep_json *list = NULL, *files = qep_json_new_object();
    assert_ok(qep_agree_all(world, qep_json_load(path, QEP_E_INPUT, &list)));
    assert_non_null(qep_json_string(qep_json_get(qep_json_get(list, "files"), "vocab.json")));
    qep_barrier_all(world);
    qep_json_set(files, "../vocab.json", qep_json_new_string("00"));
    qep_json_set(list, "files", files);
    char *elsewhere = qep_json_text(list, true);
    put_text(f.out, "qep_mpi.json", elsewhere);
    check_fails(&f, "is no file beside it");
    qep_json_set(list, "files", qep_json_new_array());
    char *array = qep_json_text(list, true);
    put_text(f.out, "qep_mpi.json", array);
    check_fails(&f, "\"files\" is no object");
    qep_free(array);
    qep_json_remove(list, "files");
    char *without = qep_json_text(list, true);
    put_text(f.out, "qep_mpi.json", without);
    uint64_t d[2];
    int64_t n;
    assert_ok(qep_export_check_all(world, f.out, d, &n));
    qep_free(without);
    qep_free(elsewhere);
    qep_json_free(&list);
    qep_free(path);
    close_fixture(&f);
}

/* The configuration with one text replaced by another. */
static void edited(const fixture *f, const char *from, const char *to, const char *text)
{
    char *path = qep_path_join(f->out, "config.json"), *config = NULL;
    int64_t bytes = 0;
    assert_ok(qep_agree_all(world, qep_file_read(path, INT64_MAX, QEP_E_INPUT, &config, &bytes)));
    const char *at = strstr(config, from);
    if (!at) fail_msg("config.json lacks %s", from);
    char *other = qep_strf("test", "%.*s%s%s", (int)(at - config), config, to, at + strlen(from));
    replaced(f, "config.json", other, text);
    qep_free(other);
    qep_free(config);
    qep_free(path);
}

static void wrong_configuration(void **state)
{
    (void)state;
    tiny_model m = small;
    m.tied = true;
    fixture f = open_fixture(&m, true, spec_of(4, 32, true, false));
    f.linears[3].quantized = false;
    f.linears[6].spec.bits = 8;
    assert_ok(write_output(&f, false, false, false));
    check_digest(&f, f.out);
    edited(&f, "\"bits\": 4", "\"bits\": 2", "do not fit a [");
    edited(&f, "\"bits\": 4", "\"bits\": 5", "bits = 5 is not 2, 3, 4 or 8");
    edited(&f, "\"bits\": 4", "\"bits\": \"4\"", "\"bits\" is missing or not an integer");
    edited(&f, "\"bits\": 8", "\"bits\": 4", "model.layers.0.mlp.down_proj: shapes or dtypes");
    edited(&f, "\"group_size\": 32", "\"group_size\": 16", "group_size = 16 of config.json");
    edited(&f, "\"group_size\": 32", "\"group_size\": 64", "does not divide");
    edited(&f, "\"group_size\": 32", "\"group_size\": 0", "group_size = 0");
    edited(&f, "\"quant_method\": \"gptq\"", "\"quant_method\": \"exl2\"", "quant_method");
    edited(&f, "\"checkpoint_format\": \"gptq\"", "\"checkpoint_format\": \"marlin\"", "checkpoint_format");
    edited(&f, "\"lm_head\": true", "\"lm_head\": false", "there is a lm_head.qweight");
    edited(&f, "\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true", "tie_word_embeddings is true");
    edited(&f, "-:^model", "-:^other", "o_proj is quantized, but there is no packed weight");
    edited(&f, "-:^model\\\\.layers\\\\.0\\\\.self_attn\\\\.o_proj$", "-:model\\\\.layers\\\\.0\\\\.self_attn", "is not quantized");
    edited(&f, "-:^model", "-:^(model", ": missing closing parenthesis");
    edited(&f, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1", "7 packed linears belong to no block");
    edited(&f, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", "model.layers.2.self_attn.q_proj is quantized, but there is no packed weight");
    edited(&f, "\"num_hidden_layers\": 2", "\"layers\": 2", "num_hidden_layers");
    close_fixture(&f);
}

static void missing_output(void **state)
{
    (void)state;
    fixture f = open_fixture(&small, false, spec_of(4, 32, true, false));
    check_fails(&f, "config.json");
    f.rq.format = "dense";
    assert_ok(write_output(&f, false, false, false));
    check_digest(&(fixture){.n_linears = 0}, f.out);
    const uint16_t nan = 0x7fc0;
    poke(f.out, Q1 ".weight", 96 * 2 * 95 + 190, &nan, 2, NULL);
    check_fails(&f, "\"" Q1 ".weight\": NaN at row 95, column 95");
    close_fixture(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(damaged_tensors),
    cmocka_unit_test(flipped_bytes),
    cmocka_unit_test(small_files),
    cmocka_unit_test(lists_of_files),
    cmocka_unit_test(wrong_configuration),
    cmocka_unit_test(missing_output),
};

QEP_TEST_MAIN_MPI(tests)
