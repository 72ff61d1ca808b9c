/* Reads the header of one safetensors file: length field, then JSON text (safetensors README).
 * SPDX-License-Identifier: Apache-2.0 */
#include "safetensors_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static uint64_t get_u64_le(const unsigned char b[8])
{
    uint64_t v = 0;

    for (int i = 7; i >= 0; i--)
        v = v << 8 | b[i];
    return v;
}

static qep_status read_exactly(const char *path, int fd, void *buf, int64_t bytes, int64_t offset)
{
    int64_t got = qep_st_pread(fd, buf, bytes, offset);

    if (got == bytes && !qep_fault("safetensors.read"))
        return QEP_OK;
    return qep_fail(QEP_E_IO, "reading the header of %s failed: %s", path,
                    got < bytes && errno != 0 ? strerror(errno) : "unexpected end of file");
}

static qep_status open_regular(const char *path, int *fd, int64_t *file_bytes)
{
    struct stat sb;

    *fd = qep_fault("safetensors.open") ? (errno = EIO, -1) : open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0)
        return qep_fail(errno == ENOENT || errno == ENOTDIR ? QEP_E_INPUT : QEP_E_IO,
                        "cannot open %s: %s", path, strerror(errno));
    if (fstat(*fd, &sb) != 0)
        return qep_fail(QEP_E_IO, "cannot stat %s: %s", path, strerror(errno));
    if (!S_ISREG(sb.st_mode))
        return qep_fail(QEP_E_INPUT, "%s is not a regular file", path);
    *file_bytes = sb.st_size;
    return QEP_OK;
}

/* Reads and checks the length field; *length is then sane for this file. */
static qep_status read_length(const char *path, int fd, int64_t file_bytes, int64_t *length)
{
    unsigned char field[8];
    uint64_t h;

    if (file_bytes < 8)
        return qep_fail(QEP_E_INPUT, "%s has only %lld bytes: not a safetensors file "
                        "(an interrupted download?)", path, (long long)file_bytes);
    QEP_TRY(read_exactly(path, fd, field, 8, 0));
    if (memcmp(field, "version ", 8) == 0)
        return qep_fail(QEP_E_INPUT, "%s is a Git LFS pointer, not the weights themselves; "
                        "fetch them with: git lfs pull", path);
    h = get_u64_le(field);
    if (h > (uint64_t)QEP_ST_MAX_HEADER)
        return qep_fail(QEP_E_INPUT, "%s: header length %llu is above the limit of %lld bytes: "
                        "not a safetensors file", path, (unsigned long long)h,
                        (long long)QEP_ST_MAX_HEADER);
    if ((int64_t)h > file_bytes - 8)
        return qep_fail(QEP_E_INPUT, "%s: header of %llu bytes goes beyond the end of the file "
                        "(%lld bytes): truncated, or not a safetensors file", path,
                        (unsigned long long)h, (long long)file_bytes);
    if (h == 0)
        return qep_fail(QEP_E_INPUT, "%s: header length is 0", path);
    *length = (int64_t)h;
    return QEP_OK;
}

qep_status qep_st_header_read(const char *path, qep_st_header *out)
{
    qep_status st = QEP_OK;
    int fd = -1;
    int64_t length = 0;
    char *text = NULL;
    qep_json *root = NULL;

    memset(out, 0, sizeof *out);
    QEP_GO(st, open_regular(path, &fd, &out->file_bytes));
    QEP_GO(st, read_length(path, fd, out->file_bytes, &length));
    text = qep_alloc("safetensors.header", length + 1, 1);
    QEP_GO(st, read_exactly(path, fd, text, length, 8));
    if (text[0] != '{') {
        st = qep_fail(QEP_E_INPUT, "%s: header does not start with '{': not a safetensors file",
                      path);
        goto done;
    }
    QEP_GO(st, qep_json_parse(text, length, path, QEP_E_INPUT, &root));
    out->hash = qep_hash64(text, (size_t)length, (uint64_t)out->file_bytes);
    QEP_GO(st, qep_st_entries_parse(path, root, 8 + length, out));

done:
    if (fd >= 0)
        close(fd);
    qep_json_free(&root);
    qep_free(text);
    if (st != QEP_OK)
        qep_st_header_free(out);
    return st;
}

void qep_st_header_free(qep_st_header *h)
{
    qep_free(h->tensors);
    qep_free(h->names);
    qep_json_free(&h->metadata);
    memset(h, 0, sizeof *h);
}
