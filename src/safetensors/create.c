/* Creates the planned files at full size, and recognizes them after a restart.
 * SPDX-License-Identifier: Apache-2.0 */
#include "safetensors_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char *qep_st_layout_path(const qep_st_layout *l, int i, const char *dir, const char *suffix)
{
    char *path = qep_path_join(dir, l->files[i].name);
    char *full = qep_strf("safetensors.path", "%s%s", path, suffix);

    qep_free(path);
    return full;
}

/* The header comes after the space, so that a file whose header matches is complete. */
static qep_status fill_file(int fd, const char *path, const qep_st_planned *f)
{
    int64_t bytes = f->header_bytes + f->data_bytes;
    char text[32];
    int e = qep_fault("safetensors.create") ? ENOSPC : qep_file_reserve(fd, 0, bytes);

    if (e == ENOSPC || e == EFBIG || e == EDQUOT)
        return qep_fail(QEP_E_RESOURCE, "no space for %s (%s): %s; free space or quota, or choose "
                        "another output.path", path, qep_format_bytes(bytes, text, sizeof text),
                        strerror(e));
    if (e != 0)
        return qep_fail(QEP_E_IO, "cannot reserve %s for %s: %s",
                        qep_format_bytes(bytes, text, sizeof text), path, strerror(e));
    if (qep_st_pwrite(fd, f->header, f->header_bytes, 0) != f->header_bytes)
        return qep_fail(QEP_E_IO, "writing the header of %s failed: %s", path, strerror(errno));
    if (qep_st_fsync(fd) != 0)
        return qep_fail(QEP_E_IO, "fsync of %s failed: %s", path, strerror(errno));
    return QEP_OK;
}

static qep_status create_one(const char *path, const qep_st_planned *f)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    qep_status st;

    if (fd < 0)
        return qep_fail(errno == ENOSPC || errno == EDQUOT ? QEP_E_RESOURCE : QEP_E_IO,
                        "cannot create %s: %s", path, strerror(errno));
    st = fill_file(fd, path, f);
    if (close(fd) != 0 && st == QEP_OK)
        st = qep_fail(QEP_E_IO, "closing %s failed: %s", path, strerror(errno));
    if (st != QEP_OK)
        (void)unlink(path);
    return st;
}

qep_status qep_st_layout_create_files(const qep_st_layout *l, const char *dir, const char *suffix)
{
    qep_status st = QEP_OK;
    int made = 0;

    QEP_REQUIRE(l->n_files > 0);
    for (; made < l->n_files; made++) {
        char *path = qep_st_layout_path(l, made, dir, suffix);

        st = create_one(path, &l->files[made]);
        qep_free(path);
        if (st != QEP_OK)
            break;
    }
    if (st == QEP_OK)
        return qep_fsync_dir(dir);
    for (int i = 0; i < made; i++) { /* gives the space back */
        char *path = qep_st_layout_path(l, i, dir, suffix);

        (void)unlink(path);
        qep_free(path);
    }
    return st;
}

static bool header_matches(int fd, const qep_st_planned *f)
{
    char *seen = qep_alloc("safetensors.header", f->header_bytes, 1);
    bool same = qep_st_pread(fd, seen, f->header_bytes, 0) == f->header_bytes &&
                memcmp(seen, f->header, (size_t)f->header_bytes) == 0;

    qep_free(seen);
    return same;
}

static bool file_matches(const char *path, const qep_st_planned *f)
{
    struct stat sb;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool same;

    if (fd < 0)
        return false;
    same = fstat(fd, &sb) == 0 && S_ISREG(sb.st_mode) &&
           sb.st_size == f->header_bytes + f->data_bytes && header_matches(fd, f);
    close(fd);
    return same;
}

bool qep_st_layout_file_matches(const qep_st_layout *l, int i, const char *dir, const char *suffix)
{
    char *path = qep_st_layout_path(l, i, dir, suffix);
    bool same = file_matches(path, &l->files[i]);

    qep_free(path);
    return same;
}

bool qep_st_layout_files_match(const qep_st_layout *l, const char *dir, const char *suffix)
{
    bool same = l->n_files > 0;

    for (int i = 0; i < l->n_files && same; i++)
        same = qep_st_layout_file_matches(l, i, dir, suffix);
    return same;
}
