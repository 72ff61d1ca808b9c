/* The bytes of a text file: read in place, or, from a .gz, unpacked once per node into shared memory.
 * SPDX-License-Identifier: Apache-2.0 */
#include "text_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { unpack_bytes = 1 << 20 };

static qep_status open_plain(const char *path, int *fd, int64_t *bytes)
{
    struct stat info;
    QEP_TRY(qep_open(path, fd));
    if (fstat(*fd, &info) != 0) return qep_open_fail(path, errno);
    if (!S_ISREG(info.st_mode)) return qep_fail(QEP_E_INPUT, "%s is not a file", path);
    *bytes = (int64_t)info.st_size;
    return QEP_OK;
}

/* All of an open .gz into dst (NULL: only counted); *bytes: how many there are. */
static qep_status unpack(gzFile z, const char *path, char *dst, int64_t cap, int64_t *bytes)
{
    char *scratch = dst ? NULL : qep_alloc("data.read", unpack_bytes, 1);
    int got, code = Z_OK;
    *bytes = 0;
    for (;;) {
        const int64_t room = dst ? qep_min_i64(cap - *bytes, unpack_bytes) : unpack_bytes;
        got = room > 0 ? gzread(z, dst ? dst + *bytes : scratch, (unsigned)room) : 0;
        if (got <= 0) break;
        *bytes += got;
    }
    const char *why = gzerror(z, &code);
    qep_status st = QEP_OK;
    if (got < 0 || (code != Z_OK && code != Z_STREAM_END)) {
        st = qep_fail(QEP_E_INPUT, "%s: cannot be unpacked behind byte %" PRId64 " of its text: %s; it is damaged or cut off, copy it again",
                      path, *bytes, code == Z_BUF_ERROR ? "it ends too early" : why);
    }
    qep_free(scratch);
    return st;
}

static qep_status unpack_file(const char *path, char *dst, int64_t cap, int64_t *bytes)
{
    gzFile z = gzopen(path, "rb");
    if (!z) return qep_open_fail(path, errno);
    qep_status st = unpack(z, path, dst, cap, bytes);
    if (st == QEP_OK && *bytes > 0 && gzdirect(z))
        st = qep_fail(QEP_E_INPUT, "%s: not a gzip file; take .gz off its name if it is plain text", path);
    if (gzclose(z) == Z_BUF_ERROR && st == QEP_OK)
        st = qep_fail(QEP_E_INPUT, "%s: the gzip file is cut off; copy it again", path);
    return st;
}

static qep_status open_packed_all(qep_comm *c, const char *path, qep_bytes *out)
{
    qep_status st = qep_rank(c) == 0 ? QEP_ALONE("texts", unpack_file(path, NULL, 0, &out->n)) : QEP_OK;
    QEP_TRY(qep_agree_all(c, st));
    qep_bcast_all(c, 0, &out->n, sizeof out->n);
    if (out->n == 0) return QEP_OK;
    out->unpacked = qep_window_create_all(c, "data.unpacked", out->n);
    int64_t n = 0;
    if (qep_node_rank(c) == 0) {
        st = QEP_ALONE("texts", unpack_file(path, qep_window_data(out->unpacked), out->n, &n));
        if (st == QEP_OK && n != out->n) st = qep_fail(QEP_E_IO, "%s changes while it is read", path);
    }
    st = qep_agree_all(c, st);
    qep_window_sync_all(out->unpacked);
    return st;
}

qep_status qep_bytes_open_all(qep_comm *c, const char *path, qep_bytes *out)
{
    *out = (qep_bytes){.path = qep_strdup("data.path", path), .fd = -1};
    qep_status st = QEP_OK;
    if (qep_fault("data.open")) st = qep_fail(QEP_E_IO, "cannot open %s: injected fault", path);
    QEP_TRY(qep_agree_all(c, st));
    const size_t n = strlen(path);
    if (n > 3 && strcmp(path + n - 3, ".gz") == 0) return open_packed_all(c, path, out);
    return qep_agree_all(c, open_plain(path, &out->fd, &out->n));
}

void qep_bytes_close_all(qep_bytes *b)
{
    if (b->unpacked) qep_window_destroy_all(&b->unpacked);
    if (b->fd >= 0) (void)close(b->fd);
    qep_free(b->path);
    *b = (qep_bytes){.fd = -1};
}

qep_status qep_bytes_read(const qep_bytes *b, int64_t at, int64_t n, char *dst)
{
    QEP_REQUIRE(at >= 0 && n >= 0 && at <= b->n - n);
    if (qep_fault("data.read")) return qep_fail(QEP_E_IO, "cannot read %s: injected fault", b->path);
    if (b->unpacked) {
        memcpy(dst, (const char *)qep_window_data(b->unpacked) + at, (size_t)n);
        return QEP_OK;
    }
    return qep_pread(b->path, b->fd, dst, n, at);
}
