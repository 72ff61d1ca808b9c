/* For tests of misuse in one process: runs a function in a child and tells how the child ended.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_DIE_H
#define QEP_DIE_H
#include <sys/wait.h>
#include <unistd.h>
#include "qep_test.h"

enum { DIE_RETURNED = 111 }; /* exit code when the function came back */

/* Exit code of a child that calls fn(arg), -1 when a signal ended it; what it wrote to stderr goes to text. */
static inline int die_code(void (*fn)(void *), void *arg, char *text, size_t cap)
{
    int end[2];
    fflush(NULL);
    assert_int_equal(pipe(end), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(end[0]);
        if (dup2(end[1], STDERR_FILENO) < 0) _exit(112);
        fn(arg);
        _exit(DIE_RETURNED);
    }
    close(end[1]);
    size_t n = 0;
    for (ssize_t got; n + 1 < cap && (got = read(end[0], text + n, cap - 1 - n)) > 0;) n += (size_t)got;
    text[n] = '\0';
    close(end[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#define assert_dies(fn, arg, code, part)                                                \
    do {                                                                                \
        char said_[4096];                                                               \
        int code_ = die_code((fn), (arg), said_, sizeof said_);                         \
        if (code_ != (code)) fail_msg("%s: exit code %d, wanted %d (%s)", #fn, code_, (int)(code), said_); \
        if (!strstr(said_, (part))) fail_msg("%s: \"%s\" lacks \"%s\"", #fn, said_, part); \
    } while (0)
#endif
