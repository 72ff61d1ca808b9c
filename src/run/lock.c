/* The lock of an output directory. SPDX-License-Identifier: Apache-2.0 */
#include "run_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A job that was killed a moment ago may still hold its lock while the system ends its last write: tried for five seconds. */
static bool lock_file(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    const struct timespec pause = {0, 100000000};
    for (int i = 0; i < 50; i++) {
        if (fcntl(fd, F_SETLK, &lock) == 0) return true;
        if (errno != EACCES && errno != EAGAIN) return true; /* a file system without locks: nothing to hold on to */
        nanosleep(&pause, NULL);
    }
    return false;
}

qep_status qep_run_lock(qep_run *r)
{
    char *path = qep_path_join(r->cfg->output_path, QEP_LOCK_NAME);
    qep_status st = QEP_OK;
    r->lock_fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0644);
    if (r->lock_fd < 0)
        st = qep_fail(QEP_E_IO, "%s: cannot be created: %s", path, strerror(errno));
    else if (!lock_file(r->lock_fd))
        st = qep_fail(QEP_E_CONFIG, "another job is working on %s; wait for it or choose another [output] path", r->cfg->output_path);
    qep_free(path);
    return st;
}

void qep_run_unlock(const qep_run *r)
{
    char *path = qep_path_join(r->cfg->output_path, QEP_LOCK_NAME);
    unlink(path);
    qep_free(path);
}
