/* Files by descriptor: opened at first use and kept; transfers that complete or say why not.
 * SPDX-License-Identifier: Apache-2.0 */
#include "safetensors_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* One system call moves at most 2^31 - 4096 bytes on Linux. */
#define MAX_TRANSFER (INT64_C(1) << 30)

void qep_st_handle_init(qep_st_handle *h, char *path, int64_t bytes)
{
    h->path = path;
    h->bytes = bytes;
    atomic_init(&h->fd, -1);
    atomic_init(&h->dirty, false);
    atomic_init(&h->written, 0);
}

bool qep_st_handle_end(qep_st_handle *h)
{
    int fd = h->path ? atomic_load(&h->fd) : -1;
    bool ok = fd < 0 || close(fd) == 0;

    qep_free(h->path);
    h->path = NULL;
    return ok;
}

static int64_t time_of(const struct stat *sb)
{
    return (int64_t)sb->st_mtim.tv_sec * 1000000000 + (int64_t)sb->st_mtim.tv_nsec;
}

qep_status qep_st_handle_unchanged(const qep_st_handle *h)
{
    struct stat sb;
    int fd = atomic_load(&h->fd);

    if (fd < 0 || fstat(fd, &sb) != 0 || (sb.st_size == h->bytes && time_of(&sb) == atomic_load(&h->written)))
        return QEP_OK;
    return qep_fail(QEP_E_INPUT, "%s was written to while in use; nobody else may do that. Submit the same command again: it goes on if the weights "
                                 "are what they were", h->path);
}

static qep_status open_failed(const char *path)
{
    int e = errno;

    if (e == EMFILE || e == ENFILE)
        return qep_fail(QEP_E_IO, "cannot open %s: %s; raise the limit of open files (ulimit -n)",
                        path, strerror(e));
    return qep_fail(QEP_E_IO, "cannot open %s: %s", path, strerror(e));
}

qep_status qep_st_handle_fd(qep_st_handle *h, int flags, int *fd)
{
    struct stat sb;
    int mine, seen = -1;

    *fd = atomic_load(&h->fd);
    if (*fd >= 0)
        return QEP_OK;
    mine = qep_fault("safetensors.open") ? (errno = EIO, -1) : open(h->path, flags | O_CLOEXEC);
    if (mine < 0)
        return open_failed(h->path);
    if (fstat(mine, &sb) != 0 || sb.st_size != h->bytes) {
        close(mine);
        return qep_fail(QEP_E_IO, "%s changed its size while in use (it had %lld bytes); "
                        "nobody else may write to it", h->path, (long long)h->bytes);
    }
    if (!atomic_compare_exchange_strong(&h->fd, &seen, mine)) {
        close(mine); /* another thread was first */
        mine = seen;
    } else {
        atomic_store(&h->written, time_of(&sb));
    }
    *fd = mine;
    return QEP_OK;
}

int64_t qep_st_pread(int fd, void *buf, int64_t bytes, int64_t offset)
{
    int64_t done = 0;

    while (done < bytes) {
        size_t want = (size_t)qep_min_i64(bytes - done, MAX_TRANSFER);
        ssize_t got = pread(fd, (char *)buf + done, want, (off_t)(offset + done));

        if (got < 0 && errno == EINTR)
            continue;
        if (got == 0)
            errno = 0;
        if (got <= 0)
            break;
        done += got;
    }
    return done;
}

int64_t qep_st_pwrite(int fd, const void *buf, int64_t bytes, int64_t offset)
{
    int64_t done = 0;

    while (done < bytes) {
        size_t want = (size_t)qep_min_i64(bytes - done, MAX_TRANSFER);
        ssize_t put = pwrite(fd, (const char *)buf + done, want, (off_t)(offset + done));

        if (put < 0 && errno == EINTR)
            continue;
        if (put == 0)
            errno = ENOSPC;
        if (put <= 0)
            break;
        done += put;
    }
    return done;
}

int qep_st_fsync(int fd)
{
    if (qep_fault("safetensors.sync")) {
        errno = EIO;
        return -1;
    }
    return fsync(fd);
}
