/* The lock of an output directory. SPDX-License-Identifier: Apache-2.0 */
#include "run_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
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

/* The job that held it may have ended while we waited, and removed the file: then the lock is on nothing. */
static bool is_at(int fd, const char *path)
{
    struct stat a, b;
    return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static qep_status open_and_lock(qep_run *r, const char *path)
{
    r->lock_fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0644);
    if (r->lock_fd < 0) return qep_fail(QEP_E_IO, "%s: cannot be created: %s", path, strerror(errno));
    if (lock_file(r->lock_fd)) return QEP_OK;
    return qep_fail(QEP_E_CONFIG, "another job is working on %s; wait for it or choose another [output] path", r->cfg->output_path);
}

qep_status qep_run_lock(qep_run *r)
{
    enum { TRIES = 100 };
    char *path = qep_path_join(r->cfg->output_path, QEP_LOCK_NAME);
    qep_status st = open_and_lock(r, path);
    for (int i = 0; st == QEP_OK && i < TRIES && !is_at(r->lock_fd, path); i++) {
        close(r->lock_fd);
        st = open_and_lock(r, path);
    }
    qep_free(path);
    return st;
}

void qep_run_unlock(const qep_run *r)
{
    char *path = qep_path_join(r->cfg->output_path, QEP_LOCK_NAME);
    unlink(path);
    qep_free(path);
}
