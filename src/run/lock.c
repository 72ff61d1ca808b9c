/* Locks of what a job writes: its output directory and its checkpoint. SPDX-License-Identifier: Apache-2.0 */
#include "run_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { WHO_CAP = 256 };

static bool has_no_locks(int e)
{
    return e == ENOLCK || e == ENOSYS || e == EOPNOTSUPP || e == EINVAL;
}

/* 0: locked, or the file system has no locks; else why not. A job that was killed a moment ago may still hold its lock while the system ends its last write:
 * tried for five seconds. */
static int lock_file(int fd, const char *path)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    const struct timespec pause = {0, 100000000};
    for (int i = 0; i < 50; i++) {
        if (fcntl(fd, F_SETLK, &lock) == 0) return 0;
        if (has_no_locks(errno)) {
            qep_warn("%s cannot be locked: this file system has no locks (%s), so nothing keeps a second job from writing here too", path, strerror(errno));
            return 0;
        }
        if (errno != EACCES && errno != EAGAIN && errno != EINTR) return errno;
        nanosleep(&pause, NULL);
    }
    return EAGAIN;
}

/* The job that held it may have ended while we waited, and removed the file: then the lock is on nothing. */
static bool is_at(int fd, const char *path)
{
    struct stat a, b;
    return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* Who holds it, for the message of a second job. */
static void sign(int fd, const qep_comm *c)
{
    static const char *const numbers[] = {"SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID"};
    const char *job = NULL;
    char who[WHO_CAP];
    for (int i = 0; i < 4 && !job; i++) job = getenv(numbers[i]);
    const int n = snprintf(who, sizeof who, "process %ld on %s%s%s", (long)getpid(), qep_host(c), job ? ", job " : "", job ? job : "");
    if (ftruncate(fd, 0) == 0 && n > 0) (void)!pwrite(fd, who, (size_t)qep_min_i64(n, WHO_CAP - 1), 0);
}

static qep_status busy(int fd, const char *what)
{
    char who[WHO_CAP] = "";
    const ssize_t n = pread(fd, who, sizeof who - 1, 0);
    return qep_fail(QEP_E_CONFIG, "another job is working on %s (%s); wait for it or choose another path", what, n > 0 ? who : "it does not say which");
}

static qep_status open_and_lock(const qep_comm *c, const char *path, const char *what, int *fd)
{
    if (*fd > 0) close(*fd);
    *fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0644);
    if (*fd < 0) return qep_fail(QEP_E_IO, "%s: cannot be created: %s", path, strerror(errno));
    const int e = lock_file(*fd, path);
    if (e == EAGAIN) return busy(*fd, what);
    if (e != 0) return qep_fail(QEP_E_IO, "%s: cannot be locked: %s", path, strerror(e));
    sign(*fd, c);
    return QEP_OK;
}

static qep_status lock_at(const qep_comm *c, const char *path, const char *what, int *fd)
{
    enum { TRIES = 100 };
    for (int i = 0; i < TRIES; i++) {
        QEP_TRY(open_and_lock(c, path, what, fd));
        if (is_at(*fd, path)) break;
    }
    return QEP_OK;
}

/* The checkpoint may be another job's, whose output is another directory. NULL: there is none, nor a folder for it. */
static char *checkpoint_lock(const qep_run *r)
{
    char *dir = r->checkpoint ? qep_path_dir(r->checkpoint) : NULL;
    char *path = dir && qep_dir_exists(dir) ? qep_strf("run.checkpoint", "%s.lock", r->checkpoint) : NULL;
    qep_free(dir);
    return path;
}

qep_status qep_run_lock(qep_run *r)
{
    char *path = qep_path_join(r->cfg->output_path, QEP_LOCK_NAME), *other = checkpoint_lock(r);
    qep_status st = lock_at(r->comm, path, r->cfg->output_path, &r->lock_fd[0]);
    if (st == QEP_OK && other) st = lock_at(r->comm, other, r->checkpoint, &r->lock_fd[1]);
    qep_free(other);
    qep_free(path);
    return st;
}

void qep_run_unlock(const qep_run *r)
{
    char *path = qep_path_join(r->cfg->output_path, QEP_LOCK_NAME), *other = checkpoint_lock(r);
    if (other) unlink(other);
    unlink(path);
    qep_free(other);
    qep_free(path);
}
