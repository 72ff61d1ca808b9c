/* Files, directories and paths. SPDX-License-Identifier: Apache-2.0 */
#include <sys/stat.h>
#include <unistd.h>
#include "qep_test.h"

static char dir[64];

static void write_and_read_back(void **state)
{
    (void)state;
    char *path = qep_path_join(dir, "f");
    const int64_t sizes[] = {0, 1, 4095, 4096, 4097, 1000003};
    char *data = qep_alloc("test.file", 1000003, 1);
    for (int64_t i = 0; i < 1000003; i++) data[i] = (char)(i * 31 + i / 256);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        assert_ok(qep_file_write(path, data, sizes[s]));
        char *text;
        int64_t bytes;
        assert_ok(qep_file_read(path, sizes[s], QEP_E_INPUT, &text, &bytes));
        assert_int_equal(bytes, sizes[s]);
        assert_memory_equal(text, data, (size_t)bytes);
        assert_int_equal(text[bytes], 0);
        qep_free(text);
        if (sizes[s] > 0) {
            assert_fails(qep_file_read(path, sizes[s] - 1, QEP_E_INPUT, &text, &bytes), QEP_E_INPUT, "limit");
            assert_null(text);
        }
    }
    assert_true(qep_file_exists(path));
    char *tmp = qep_strf("test.path", "%s.tmp", path);
    assert_false(qep_file_exists(tmp));
    assert_ok(qep_file_remove(path));
    assert_ok(qep_file_remove(path));
    assert_false(qep_file_exists(path));
    qep_free(tmp);
    qep_free(data);
    qep_free(path);
    assert_int_equal(qep_mem_blocks(), 0);
}

static void a_failed_write_leaves_the_old_file(void **state)
{
    (void)state;
    char *path = qep_path_join(dir, "kept");
    char *text;
    int64_t bytes;
    assert_ok(qep_file_write(path, "old", 3));
    setenv("QEP_FAULT", "file.write:1", 1);
    qep_fault_init(0);
    assert_fails(qep_file_write(path, "new!", 4), QEP_E_IO, "kept");
    assert_ok(qep_file_read(path, 100, QEP_E_IO, &text, &bytes));
    assert_string_equal(text, "old");
    qep_free(text);
    assert_ok(qep_file_write(path, "new!", 4));
    assert_ok(qep_file_read(path, 100, QEP_E_IO, &text, &bytes));
    assert_string_equal(text, "new!");
    qep_free(text);
    unsetenv("QEP_FAULT");
    qep_fault_init(0);
    assert_ok(qep_file_remove(path));
    qep_free(path);
    assert_int_equal(qep_mem_blocks(), 0);
}

static void a_missing_file_has_its_own_status(void **state)
{
    (void)state;
    char *text;
    int64_t bytes;
    char *path = qep_path_join(dir, "absent");
    assert_fails(qep_file_read(path, 10, QEP_E_CONFIG, &text, &bytes), QEP_E_CONFIG, "absent: No such file");
    assert_fails(qep_file_read(dir, 10, QEP_E_CONFIG, &text, &bytes), QEP_E_CONFIG, "Is a directory");
    assert_null(text);
    qep_free(path);
    path = qep_path_join(dir, "no/such/f");
    assert_fails(qep_file_write(path, "x", 1), QEP_E_IO, "no/such/f.tmp: No such file");
    qep_free(path);
    assert_fails(qep_file_remove(dir), QEP_E_IO, "cannot remove");
    assert_int_equal(qep_mem_blocks(), 0);
}

/* Such files tell the size 0 and still have content. */
static void files_without_a_size(void **state)
{
    (void)state;
    char *text;
    int64_t bytes;
    if (!qep_file_exists("/proc/self/maps")) {
        print_message("no /proc: skipped\n");
        skip();
    }
    assert_ok(qep_file_read("/proc/self/maps", INT64_MAX, QEP_E_IO, &text, &bytes));
    assert_true(bytes > 100);
    assert_int_equal((int64_t)strlen(text), bytes);
    qep_free(text);
    assert_fails(qep_file_read("/proc/self/maps", 10, QEP_E_INPUT, &text, &bytes), QEP_E_INPUT, "limit");
    assert_int_equal(qep_mem_blocks(), 0);
}

static void directories_with_parents(void **state)
{
    (void)state;
    char *deep = qep_path_join(dir, "a/b//c/");
    assert_false(qep_dir_exists(deep));
    assert_ok(qep_dir_make(deep));
    assert_true(qep_dir_exists(deep));
    assert_false(qep_file_exists(deep));
    assert_ok(qep_dir_make(deep));
    assert_ok(qep_fsync_dir(deep));
    assert_fails(qep_fsync_dir("/no such directory"), QEP_E_IO, "/no such directory");
    char *file = qep_path_join(deep, "f");
    assert_ok(qep_file_write(file, "x", 1));
    assert_fails(qep_dir_make(file), QEP_E_IO, "Not a directory");
    char *below = qep_path_join(file, "g");
    assert_fails(qep_dir_make(below), QEP_E_IO, "Not a directory");
    char *text;
    int64_t bytes;
    assert_fails(qep_file_read(below, 9, QEP_E_INPUT, &text, &bytes), QEP_E_INPUT, "Not a directory");
    assert_ok(qep_file_remove(file));
    const char *made[] = {"a/b/c", "a/b", "a"};
    for (int i = 0; i < 3; i++) {
        char *d = qep_path_join(dir, made[i]);
        assert_int_equal(rmdir(d), 0);
        qep_free(d);
    }
    qep_free(below);
    qep_free(file);
    qep_free(deep);
    assert_int_equal(qep_mem_blocks(), 0);
}

static void check_text(char *got, const char *want)
{
    assert_string_equal(got, want);
    qep_free(got);
}

static void paths(void **state)
{
    (void)state;
    check_text(qep_path_join("a", "b"), "a/b");
    check_text(qep_path_join("a/", "b"), "a/b");
    check_text(qep_path_join("/", "b"), "/b");
    check_text(qep_path_join("", "b"), "b");
    check_text(qep_path_join("a", "/b"), "/b");
    check_text(qep_path_dir("a/b"), "a");
    check_text(qep_path_dir("a//b"), "a");
    check_text(qep_path_dir("/a"), "/");
    check_text(qep_path_dir("//a"), "/");
    check_text(qep_path_dir("a"), ".");
    check_text(qep_path_dir(""), ".");
    check_text(qep_path_dir("a/b/"), "a/b");
    assert_string_equal(qep_path_base("a/b"), "b");
    assert_string_equal(qep_path_base("b"), "b");
    assert_string_equal(qep_path_base("a/"), "");
    char name[3001];
    memset(name, 'n', 3000);
    name[3000] = '\0';
    char *longest = qep_path_join(name, name);
    assert_int_equal(strlen(longest), 6001);
    qep_free(longest);
}

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/qep_test_file_XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(write_and_read_back),
        cmocka_unit_test(a_failed_write_leaves_the_old_file),
        cmocka_unit_test(a_missing_file_has_its_own_status),
        cmocka_unit_test(files_without_a_size),
        cmocka_unit_test(directories_with_parents),
        cmocka_unit_test(paths),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir) != 0;
}
