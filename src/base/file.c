/* Whole files and directories through POSIX calls; what is written survives a crash of the node.
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* fallocate */
#include "base_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* Largest single read or write: Linux moves at most 2 GiB - 4 KiB per call. */
static const int64_t max_io_bytes = INT64_C(1) << 30;

static qep_status io_fail(qep_status st, const char *doing, const char *path, int err)
{
    char why[128];
    return qep_fail(st, "cannot %s %s: %s", doing, path, qep_errno_text(err, why, sizeof why));
}

static int open_retry(const char *path, int flags)
{
    int fd;
    do {
        fd = open(path, flags | O_CLOEXEC, 0666);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

static int fsync_retry(int fd)
{
    int rc;
    do {
        rc = fsync(fd);
    } while (rc != 0 && errno == EINTR);
    return rc;
}

/* Reads to the end of fd. guess: the size that stat told; the file may be longer (/proc, a file
 * that grows). */
static qep_status read_all(int fd, const char *path, int64_t guess, int64_t max_bytes,
                           qep_status too_big, char **text, int64_t *bytes)
{
    int64_t cap = qep_max_i64(guess, 0) + 1; /* one more shows the end at once */
    int64_t n = 0;
    char *buf = qep_alloc("base.file", cap + 1, 1);
    for (;;) {
        ssize_t got = read(fd, buf + n, (size_t)qep_min_i64(cap - n, max_io_bytes));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            qep_free(buf);
            return io_fail(QEP_E_IO, "read", path, errno);
        }
        if (got == 0) break;
        n += got;
        if (n > max_bytes) {
            qep_free(buf);
            return qep_fail(too_big, "%s is larger than the limit of %" PRId64 " bytes", path,
                            max_bytes);
        }
        if (n == cap) {
            cap = 2 * cap + 4096;
            buf = qep_realloc(buf, "base.file", cap + 1, 1);
        }
    }
    buf[n] = '\0';
    *text = buf;
    *bytes = n;
    return QEP_OK;
}

qep_status qep_file_read(const char *path, int64_t max_bytes, qep_status missing, char **text,
                         int64_t *bytes)
{
    *text = NULL;
    *bytes = 0;
    int fd = open_retry(path, O_RDONLY);
    if (fd < 0) {
        bool absent = errno == ENOENT || errno == ENOTDIR;
        return io_fail(absent ? missing : QEP_E_IO, "open", path, errno);
    }
    qep_status st;
    struct stat info;
    if (fstat(fd, &info) != 0) {
        st = io_fail(QEP_E_IO, "inspect", path, errno);
    } else if (S_ISDIR(info.st_mode)) {
        st = io_fail(missing, "read", path, EISDIR);
    } else if (info.st_size > max_bytes) {
        st = qep_fail(missing, "%s has %" PRId64 " bytes, more than the limit of %" PRId64, path,
                      (int64_t)info.st_size, max_bytes);
    } else {
        st = read_all(fd, path, (int64_t)info.st_size, max_bytes, missing, text, bytes);
    }
    close(fd);
    return st;
}

static qep_status write_all(int fd, const char *path, const char *data, int64_t bytes)
{
    for (int64_t done = 0; done < bytes;) {
        ssize_t put = write(fd, data + done, (size_t)qep_min_i64(bytes - done, max_io_bytes));
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return io_fail(QEP_E_IO, "write", path, errno);
        done += put;
    }
    return QEP_OK;
}

/* Creates `path` with the data and brings it to the disk. */
static qep_status write_synced(const char *path, const char *data, int64_t bytes)
{
    int fd = open_retry(path, O_WRONLY | O_CREAT | O_TRUNC);
    if (fd < 0) return io_fail(QEP_E_IO, "create", path, errno);
    qep_status st = write_all(fd, path, data, bytes);
    if (st == QEP_OK && fsync_retry(fd) != 0) {
        st = io_fail(QEP_E_IO, "bring to the disk", path, errno);
    }
    /* After EINTR Linux has closed the descriptor; another close could hit somebody else's. */
    if (close(fd) != 0 && errno != EINTR && st == QEP_OK) {
        st = io_fail(QEP_E_IO, "close", path, errno);
    }
    return st;
}

qep_status qep_file_write(const char *path, const void *data, int64_t bytes)
{
    qep_status st = QEP_OK;
    char *tmp = qep_strf("base.path", "%s.tmp", path);
    char *dir = qep_path_dir(path);
    QEP_GO(st, write_synced(tmp, data, bytes));
    if (qep_fault("file.write")) QEP_GO(st, io_fail(QEP_E_IO, "write", path, EIO));
    if (rename(tmp, path) != 0) QEP_GO(st, io_fail(QEP_E_IO, "create", path, errno));
    QEP_GO(st, qep_fsync_dir(dir));
done:
    if (st != QEP_OK) (void)unlink(tmp);
    qep_free(tmp);
    qep_free(dir);
    return st;
}

/* Linux: not posix_fallocate, which glibc makes up by a write to every block where the file system has no such call. */
static int allocate(int fd, int64_t from, int64_t bytes)
{
#ifdef __linux__
    return fallocate(fd, 0, (off_t)from, (off_t)bytes) == 0 ? 0 : errno;
#else
    return posix_fallocate(fd, (off_t)from, (off_t)bytes);
#endif
}

/* Where the file system reserves nothing, what it says to have must do. */
static int extend(int fd, int64_t from, int64_t bytes)
{
    struct statvfs fs;
    const bool told = fstatvfs(fd, &fs) == 0 && fs.f_frsize > 0 && fs.f_blocks > 0; /* some say nothing, by zeros */
    if (told && ((uint64_t)bytes + fs.f_frsize - 1) / fs.f_frsize > (uint64_t)fs.f_bavail) return ENOSPC;
    return ftruncate(fd, (off_t)(from + bytes)) == 0 ? 0 : errno;
}

int qep_file_reserve(int fd, int64_t from, int64_t bytes)
{
    int e;
    do {
        e = allocate(fd, from, bytes);
    } while (e == EINTR);
    if (e == EOPNOTSUPP || e == ENOSYS || e == EINVAL) e = extend(fd, from, bytes);
    return e;
}

bool qep_file_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && !S_ISDIR(info.st_mode);
}

bool qep_dir_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* Another rank may make the same directory at the same time: EEXIST is looked at, not feared. */
static qep_status make_one(const char *path)
{
    if (mkdir(path, 0777) == 0 || qep_dir_exists(path)) return QEP_OK;
    return io_fail(QEP_E_IO, "make the directory", path, errno == EEXIST ? ENOTDIR : errno);
}

qep_status qep_dir_make(const char *path)
{
    if (qep_dir_exists(path)) return QEP_OK;
    qep_status st = QEP_OK;
    char *part = qep_strdup("base.path", path);
    for (char *p = part; *p; p++) {
        if (*p != '/' || p == part) continue;
        *p = '\0';
        QEP_GO(st, make_one(part));
        *p = '/';
    }
    QEP_GO(st, make_one(path));
done:
    qep_free(part);
    return st;
}

qep_status qep_fsync_dir(const char *path)
{
    int fd = open_retry(path, O_RDONLY | O_DIRECTORY);
    if (fd < 0) return io_fail(QEP_E_IO, "open the directory", path, errno);
    qep_status st = QEP_OK;
    /* Some network file systems have no fsync for directories and say so: nothing more to do. */
    if (fsync_retry(fd) != 0 && errno != EINVAL && errno != ENOTSUP) {
        st = io_fail(QEP_E_IO, "bring to the disk the directory", path, errno);
    }
    close(fd);
    return st;
}

qep_status qep_file_remove(const char *path)
{
    if (unlink(path) == 0 || errno == ENOENT) return QEP_OK;
    return io_fail(QEP_E_IO, "remove", path, errno);
}

char *qep_dir_existing(const char *path)
{
    char *dir = qep_strdup("base.path", path);
    while (!qep_dir_exists(dir) && strcmp(dir, ".") != 0 && strcmp(dir, "/") != 0) {
        char *up = qep_path_dir(dir);
        qep_free(dir);
        dir = up;
    }
    return dir;
}
