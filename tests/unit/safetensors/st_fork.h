/* Misuse that must end the job: tried in a child process. SPDX-License-Identifier: Apache-2.0 */
#ifndef ST_FORK_H
#define ST_FORK_H

#include <sys/wait.h>
#include <unistd.h>

/* Running `code` must end the process with the exit code of `status`. */
#define assert_dies(status, code)                                                       \
    do {                                                                                \
        int how_ = 0;                                                                   \
        pid_t child_;                                                                   \
        fflush(NULL);                                                                   \
        child_ = fork();                                                                \
        if (child_ == 0) {                                                              \
            if (!freopen("/dev/null", "w", stderr)) _exit(99);                          \
            code;                                                                       \
            _exit(0);                                                                   \
        }                                                                               \
        assert_true(child_ > 0 && waitpid(child_, &how_, 0) == child_);                 \
        if (!WIFEXITED(how_) || WEXITSTATUS(how_) != qep_status_exit_code(status))      \
            fail_msg("%s: ended with %d", #code, how_);                                 \
    } while (0)

#endif
