/* The log on stdout and in a file. SPDX-License-Identifier: Apache-2.0 */
#include <unistd.h>
#include "qep_test.h"

static char dir[64];

static char *path_of(const char *name)
{
    return qep_path_join(dir, name);
}

static char *content(const char *name)
{
    char *path = path_of(name);
    char *text;
    int64_t bytes;
    assert_ok(qep_file_read(path, INT64_MAX, QEP_E_IO, &text, &bytes));
    qep_free(path);
    return text;
}

/* Calls write_log() with descriptor fd going to a file; returns what came there. */
static char *output_of(int fd, void (*write_log)(void))
{
    char *path = path_of("stdout");
    fflush(stdout);
    int keep = dup(fd);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(dup2(fileno(f), fd) >= 0);
    write_log();
    fflush(stdout);
    assert_true(dup2(keep, fd) >= 0);
    close(keep);
    fclose(f);
    qep_free(path);
    return content("stdout");
}

static void some_lines(void)
{
    qep_info("block %d of %d", 1, 2);
    qep_warn("two\nlines\n");
    qep_debug("detail");
    qep_log(QEP_LOG_ERROR, "bad");
    qep_info("%s", "");
}

static void silent_until_started_and_on_other_ranks(void **state)
{
    (void)state;
    char *out = output_of(STDOUT_FILENO, some_lines);
    assert_string_equal(out, "");
    qep_free(out);
    qep_log_start(false, QEP_LOG_DEBUG);
    assert_ok(qep_log_file("/no such directory/log")); /* not its task: no error */
    out = output_of(STDOUT_FILENO, some_lines);
    assert_string_equal(out, "");
    qep_free(out);
    qep_log_close();
}

static void levels_and_marks(void **state)
{
    (void)state;
    qep_log_start(true, QEP_LOG_INFO);
    assert_int_equal(qep_log_get_level(), QEP_LOG_INFO);
    char *out = output_of(STDOUT_FILENO, some_lines);
    assert_string_equal(out, "block 1 of 2\nwarning: two\nwarning: lines\n\n");
    qep_free(out);
    qep_log_start(true, QEP_LOG_ERROR);
    out = output_of(STDOUT_FILENO, some_lines);
    assert_string_equal(out, "");
    qep_free(out);
    out = output_of(STDERR_FILENO, some_lines);
    assert_string_equal(out, "error: bad\n");
    qep_free(out);
    qep_log_start(true, QEP_LOG_DEBUG);
    out = output_of(STDOUT_FILENO, some_lines);
    assert_non_null(strstr(out, "debug: detail\n"));
    qep_free(out);
    qep_log_close();
}

/* "2025-01-31 23:59:59  " */
static bool has_stamp(const char *line)
{
    int y, mo, d, h, mi, s, n = 0;
    return sscanf(line, "%4d-%2d-%2d %2d:%2d:%2d%n", &y, &mo, &d, &h, &mi, &s, &n) == 6 && n == 19 &&
           strncmp(line + n, "  ", 2) == 0 && mo <= 12 && h < 24 && mi < 60;
}

static void file_has_stamps_and_is_appended(void **state)
{
    (void)state;
    char *path = path_of("log");
    for (int pass = 0; pass < 2; pass++) {
        qep_log_start(true, QEP_LOG_INFO);
        assert_ok(qep_log_file(path));
        qep_free(output_of(STDOUT_FILENO, some_lines));
        qep_log_close();
    }
    char *text = content("log");
    int lines = 0;
    for (char *line = text; *line; lines++) {
        assert_true(has_stamp(line));
        char *end = strchr(line, '\n');
        assert_non_null(end);
        line = end + 1;
    }
    assert_int_equal(lines, 10);
    assert_non_null(strstr(text, "  warning: lines\n"));
    qep_free(text);
    assert_int_equal(unlink(path), 0);
    qep_free(path);
}

static void a_bad_path_is_told(void **state)
{
    (void)state;
    qep_log_start(true, QEP_LOG_INFO);
    char *path = path_of("absent/log");
    assert_fails(qep_log_file(path), QEP_E_IO, "absent/log: No such file");
    qep_free(path);
    qep_log_close();
}

static void one_line(void)
{
    qep_info("still here");
}

static void a_full_disk_does_not_end_the_run(void **state)
{
    (void)state;
    if (access("/dev/full", W_OK) != 0) {
        print_message("no /dev/full: skipped\n");
        skip();
    }
    qep_log_start(true, QEP_LOG_INFO);
    assert_ok(qep_log_file("/dev/full"));
    char *out = output_of(STDOUT_FILENO, one_line);
    assert_non_null(strstr(out, "still here\n"));
    assert_non_null(strstr(out, "warning: cannot write the log file: No space left"));
    qep_free(out);
    out = output_of(STDOUT_FILENO, one_line);
    assert_string_equal(out, "still here\n");
    qep_free(out);
    qep_log_close();
}

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/qep_test_log_XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    char *path = path_of("stdout");
    (void)unlink(path);
    qep_free(path);
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(silent_until_started_and_on_other_ranks),
        cmocka_unit_test(levels_and_marks),
        cmocka_unit_test(file_has_stamps_and_is_appended),
        cmocka_unit_test(a_bad_path_is_told),
        cmocka_unit_test(a_full_disk_does_not_end_the_run),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir) != 0;
}
