/* Writes pieces of tensors at their final place; any number of processes, disjoint ranges.
 * SPDX-License-Identifier: Apache-2.0 */
#include "safetensors_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct qep_st_writer {
    int n_files;
    qep_st_handle *files;
};

/* All files must be there already; found at the first write, it would cost hours of work. */
static qep_status check_exists(const char *path, int64_t bytes)
{
    struct stat sb;

    if (stat(path, &sb) != 0)
        return qep_fail(QEP_E_IO, "cannot open output file %s: %s", path, strerror(errno));
    if (sb.st_size != bytes)
        return qep_fail(QEP_E_IO, "output file %s has %lld bytes, planned are %lld; remove it and "
                        "start again", path, (long long)sb.st_size, (long long)bytes);
    return QEP_OK;
}

static bool destroy(qep_st_writer **w)
{
    bool ok = true;

    for (int i = 0; i < (*w)->n_files; i++)
        ok = qep_st_handle_end(&(*w)->files[i]) && ok;
    qep_free((*w)->files);
    qep_free(*w);
    *w = NULL;
    return ok;
}

qep_status qep_st_writer_open(const qep_st_layout *l, const char *dir, const char *suffix,
                              qep_st_writer **out)
{
    qep_status st = QEP_OK;

    QEP_REQUIRE(l->n_files > 0);
    *out = qep_alloc("safetensors.writer", 1, sizeof **out);
    (*out)->n_files = l->n_files;
    (*out)->files = qep_alloc("safetensors.writer", l->n_files, sizeof *(*out)->files);
    for (int i = 0; i < l->n_files && st == QEP_OK; i++) {
        char *path = qep_st_layout_path(l, i, dir, suffix);

        qep_st_handle_init(&(*out)->files[i], path, qep_st_layout_file_bytes(l, i));
        st = check_exists(path, qep_st_layout_file_bytes(l, i));
    }
    if (st != QEP_OK)
        (void)destroy(out);
    return st;
}

static qep_status write_at(qep_st_handle *h, const qep_st_tensor *t, int64_t begin, int64_t bytes,
                           const void *src)
{
    int64_t put;
    int fd;

    QEP_TRY(qep_st_handle_fd(h, O_WRONLY, &fd));
    if (qep_fault("safetensors.write")) {
        put = 0;
        errno = EIO;
    } else {
        put = qep_st_pwrite(fd, src, bytes, t->offset + begin);
    }
    atomic_store(&h->dirty, true);
    if (put == bytes)
        return QEP_OK;
    return qep_fail(QEP_E_IO, "%s: tensor \"%s\": writing %lld bytes at offset %lld failed: %s",
                    h->path, t->name, (long long)bytes, (long long)(t->offset + begin),
                    strerror(errno));
}

static qep_st_handle *handle_of(qep_st_writer *w, const qep_st_tensor *t)
{
    QEP_REQUIRE(t->shard >= 0 && t->shard < w->n_files);
    QEP_REQUIRE(t->offset >= 0 && t->bytes <= w->files[t->shard].bytes - t->offset);
    return &w->files[t->shard];
}

qep_status qep_st_write(qep_st_writer *w, const qep_st_tensor *t, int64_t begin, int64_t bytes,
                        const void *src)
{
    QEP_REQUIRE(begin >= 0 && bytes >= 0 && begin <= t->bytes && bytes <= t->bytes - begin);
    return bytes > 0 ? write_at(handle_of(w, t), t, begin, bytes, src) : QEP_OK;
}

qep_status qep_st_write_columns(qep_st_writer *w, const qep_st_tensor *t, int64_t rows,
                                int64_t stride, int64_t byte0, int64_t n, const void *src)
{
    qep_st_handle *h = handle_of(w, t);
    int64_t bytes = 0;

    QEP_REQUIRE(qep_mul_i64(rows, stride, &bytes) && bytes <= t->bytes);
    QEP_REQUIRE(byte0 >= 0 && n >= 0 && byte0 <= stride && n <= stride - byte0);
    if (n == 0 || rows == 0)
        return QEP_OK;
    if (n == stride)
        return write_at(h, t, 0, bytes, src);
    for (int64_t r = 0; r < rows; r++)
        QEP_TRY(write_at(h, t, r * stride + byte0, n, (const char *)src + r * n));
    return QEP_OK;
}

qep_status qep_st_written(qep_st_writer *w, const qep_st_tensor *t, int64_t begin, int64_t bytes,
                          void *dst)
{
    qep_st_handle *h = handle_of(w, t);
    int64_t got;
    int fd;

    QEP_REQUIRE(begin >= 0 && bytes >= 0 && begin <= t->bytes && bytes <= t->bytes - begin);
    if (bytes == 0)
        return QEP_OK;
    QEP_TRY(qep_st_handle_fd(h, O_RDWR, &fd));
    got = qep_fault("safetensors.read") ? 0 : qep_st_pread(fd, dst, bytes, t->offset + begin);
    if (got == bytes)
        return QEP_OK;
    return qep_fail(QEP_E_IO, "%s: tensor \"%s\": reading %lld bytes at offset %lld back failed",
                    h->path, t->name, (long long)bytes, (long long)(t->offset + begin));
}

qep_status qep_st_writer_sync(qep_st_writer *w)
{
    for (int i = 0; i < w->n_files; i++) {
        qep_st_handle *h = &w->files[i];

        if (!atomic_exchange(&h->dirty, false))
            continue;
        if (qep_st_fsync(atomic_load(&h->fd)) != 0) {
            atomic_store(&h->dirty, true);
            return qep_fail(QEP_E_IO, "fsync of %s failed: %s", h->path, strerror(errno));
        }
    }
    return QEP_OK;
}

qep_status qep_st_writer_close(qep_st_writer **w)
{
    qep_status st;

    if (!*w)
        return QEP_OK;
    st = qep_st_writer_sync(*w);
    if (!destroy(w) && st == QEP_OK)
        st = qep_fail(QEP_E_IO, "closing an output file failed: %s", strerror(errno));
    return st;
}
