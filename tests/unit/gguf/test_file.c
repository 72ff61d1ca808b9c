/* Headers of GGUF files that are not sound. SPDX-License-Identifier: Apache-2.0 */
#include "qep_test.h"
#include "qep/gguf.h"

#include <unistd.h>

static char dir[256], path[300];

static int make_dir(void **state)
{
    const char *tmp = getenv("TMPDIR");
    (void)state;
    snprintf(dir, sizeof dir, "%s/qep_gguf_XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(dir)) return -1;
    snprintf(path, sizeof path, "%s/" QEP_GGUF_FILE, dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(dir);
}

static void put_le(FILE *f, int bytes, uint64_t v)
{
    for (int i = 0; i < bytes; i++) fputc((int)(v >> (8 * i) & 255), f);
}

/* A file of one tensor [rows, cols], its name one character, with room for `data` bytes of it. */
static void write_file(int name, int64_t type, int64_t rows, int64_t cols, int data)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs("GGUF", f);
    put_le(f, 4, 3);
    put_le(f, 8, 1); /* tensors */
    put_le(f, 8, 0); /* keys */
    put_le(f, 8, 1);
    fputc(name, f);
    put_le(f, 4, 2);
    put_le(f, 8, (uint64_t)cols);
    put_le(f, 8, (uint64_t)rows);
    put_le(f, 4, (uint64_t)type);
    put_le(f, 8, 0);
    while (ftell(f) % 32 != 0) fputc(0, f);
    for (int i = 0; i < data; i++) fputc(0, f);
    assert_int_equal(fclose(f), 0);
}

static void refused(int64_t type, int64_t rows, int64_t cols, int data, const char *message)
{
    qep_gguf_file *g = NULL;
    write_file('a', type, rows, cols, data);
    assert_fails(qep_gguf_open(dir, &g), QEP_E_INPUT, message);
    assert_null(g);
    qep_error_clear();
}

static void sizes(void **state)
{
    qep_gguf_file *g = NULL;
    (void)state;
    write_file('a', QEP_GGUF_F32, 2, 16, 128);
    assert_ok(qep_gguf_open(dir, &g));
    qep_gguf_close(&g);
    write_file('a', QEP_GGUF_Q8_0, 16, 64, 16 * 68);
    assert_ok(qep_gguf_open(dir, &g));
    qep_gguf_close(&g);
    refused(QEP_GGUF_Q8_0, 16, 65, 16 * 68, "rows do not fill whole blocks");
    refused(QEP_GGUF_Q8_0, 1, INT64_MAX - 31, 64, "a tensor's rows are longer than the file"); /* 34 bytes for 32 weights: more than 63 bits */
    refused(QEP_GGUF_F32, INT64_MAX / 2, INT64_MAX / 2, 64, "a tensor is empty or larger than the file");
    refused(QEP_GGUF_F32, 0, INT64_MAX, 0, "a tensor is empty or larger than the file");
    refused(QEP_GGUF_F32, 2, 16, 96, "pass the end of the file");
    refused(QEP_GGUF_F32, 2, 16, 160, "the file is longer than its tensors");
    refused(3, 2, 16, 128, "a type that is not written here");
}

static void names(void **state)
{
    qep_gguf_file *g = NULL;
    (void)state;
    write_file(0xe9, QEP_GGUF_F32, 2, 16, 128);
    assert_fails(qep_gguf_open(dir, &g), QEP_E_INPUT, "a tensor's name is not ASCII");
    qep_error_clear();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(sizes, make_dir, remove_dir), cmocka_unit_test_setup_teardown(names, make_dir, remove_dir)};

QEP_TEST_MAIN(tests)
