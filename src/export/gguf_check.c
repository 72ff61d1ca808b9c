/* --check of a GGUF output: header and tensor infos read like a stranger would, every tensor inside the file, aligned and as long as its type and shape say, and
 * its checksum. The codes are not taken out again: a block need not tell a zero point apart. SPDX-License-Identifier: Apache-2.0 */
#include "gguf_priv.h"

#include <stdio.h>
#include <string.h>

typedef struct reader {
    FILE *f;
    const char *path;
    int64_t bytes, at; /* of the file; read so far */
    qep_st_tensor *tensors;
    int64_t n;
} reader;

static qep_status bad(const reader *r, const char *what)
{
    return qep_fail(QEP_E_INPUT, "%s: byte %lld: %s: this is not a sound GGUF file", r->path,
                    (long long)r->at, what);
}

static qep_status get(reader *r, void *dst, int64_t n)
{
    if (n < 0 || n > r->bytes - r->at)
        return bad(r, "the header is longer than the file");
    if (fread(dst, 1, (size_t)n, r->f) != (size_t)n)
        return qep_fail(QEP_E_IO, "cannot read %s", r->path);
    r->at += n;
    return QEP_OK;
}

static qep_status skip(reader *r, int64_t n)
{
    if (n < 0 || n > r->bytes - r->at)
        return bad(r, "the header is longer than the file");
    if (fseeko(r->f, (off_t)n, SEEK_CUR) != 0)
        return qep_fail(QEP_E_IO, "cannot read %s", r->path);
    r->at += n;
    return QEP_OK;
}

static qep_status get_le(reader *r, int bytes, int64_t *v)
{
    unsigned char b[8];
    uint64_t u = 0;

    QEP_TRY(get(r, b, bytes));
    for (int i = 0; i < bytes; i++)
        u |= (uint64_t)b[i] << (8 * i);
    *v = (int64_t)u;
    return *v < 0 ? bad(r, "a number is too large") : QEP_OK;
}

static int64_t scalar_bytes(int64_t type)
{
    static const int bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

    return type >= 0 && type < (int64_t)(sizeof bytes / sizeof *bytes) ? bytes[type] : 0;
}

static qep_status skip_string(reader *r)
{
    int64_t n;

    QEP_TRY(get_le(r, 8, &n));
    return skip(r, n);
}

static qep_status skip_value(reader *r, int64_t type)
{
    int64_t element, n;

    if (type == 8)
        return skip_string(r);
    if (type != 9)
        return scalar_bytes(type) > 0 ? skip(r, scalar_bytes(type)) : bad(r, "unknown type");
    QEP_TRY(get_le(r, 4, &element));
    QEP_TRY(get_le(r, 8, &n));
    if (element == 8) {
        for (int64_t i = 0; i < n; i++)
            QEP_TRY(skip_string(r));
        return QEP_OK;
    }
    if (scalar_bytes(element) == 0 || n > r->bytes)
        return bad(r, "an array of unknown type or more elements than bytes");
    return skip(r, n * scalar_bytes(element));
}

/* Bytes of a tensor of `cols` columns and `rows` rows; -1: the type is none of ours. */
static int64_t tensor_bytes(int64_t type, int64_t cols, int64_t rows)
{
    static const qep_gguf_type blocks[] = {QEP_GGUF_Q4_0, QEP_GGUF_Q5_0, QEP_GGUF_Q8_0,
                                           QEP_GGUF_Q2_K, QEP_GGUF_Q3_K, QEP_GGUF_Q4_K};

    if (type == QEP_GGUF_F32)
        return rows * cols * 4;
    if (type == QEP_GGUF_F16 || type == QEP_GGUF_BF16)
        return rows * cols * 2;
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        if (type == (int64_t)blocks[i])
            return rows * qep_gguf_row_bytes(blocks[i], cols);
    return -1;
}

static qep_status get_info(reader *r, qep_st_tensor *t)
{
    int64_t n, rank, type, dims[4] = {1, 1, 1, 1};

    QEP_TRY(get_le(r, 8, &n));
    if (n > 255)
        return bad(r, "a tensor's name is too long");
    t->name = qep_alloc("export.gguf", n + 1, 1);
    r->n++;
    QEP_TRY(get(r, t->name, n));
    QEP_TRY(get_le(r, 4, &rank));
    if (rank > 4)
        return bad(r, "a tensor has more than 4 dimensions");
    for (int64_t i = 0; i < rank; i++)
        QEP_TRY(get_le(r, 8, &dims[i]));
    QEP_TRY(get_le(r, 4, &type));
    QEP_TRY(get_le(r, 8, &t->offset));
    if (dims[0] > r->bytes || dims[1] > r->bytes || dims[2] > r->bytes || dims[3] > r->bytes)
        return bad(r, "a tensor is larger than the file");
    t->bytes = tensor_bytes(type, dims[0], dims[1] * dims[2] * dims[3]);
    return t->bytes < 0 ? bad(r, "a tensor has a type that is not written here") : QEP_OK;
}

static qep_status read_header(reader *r)
{
    char magic[4];
    int64_t version, n, keys, type, data, end = 0;

    QEP_TRY(get(r, magic, 4));
    QEP_TRY(get_le(r, 4, &version));
    if (memcmp(magic, "GGUF", 4) != 0 || version != 3)
        return bad(r, "no GGUF file of version 3");
    QEP_TRY(get_le(r, 8, &n));
    QEP_TRY(get_le(r, 8, &keys));
    if (n > r->bytes / 24)
        return bad(r, "more tensors than the file has room for");
    for (int64_t i = 0; i < keys; i++) {
        QEP_TRY(skip_string(r));
        QEP_TRY(get_le(r, 4, &type));
        QEP_TRY(skip_value(r, type));
    }
    r->tensors = qep_alloc("export.gguf", n, sizeof *r->tensors);
    for (int64_t i = 0; i < n; i++)
        QEP_TRY(get_info(r, &r->tensors[i]));
    data = qep_round_up(r->at, 32);
    for (int64_t i = 0; i < n; i++) {
        if (r->tensors[i].offset != end || r->tensors[i].bytes > r->bytes - data - end)
            return bad(r, "tensors overlap, leave holes or pass the end of the file");
        end = qep_round_up(end + r->tensors[i].bytes, 32);
        r->tensors[i].offset += data;
    }
    return data + end == r->bytes ? QEP_OK : bad(r, "the file is longer than its tensors");
}

static qep_status read_tensor(void *from, const qep_st_tensor *t, int64_t begin, int64_t n,
                              void *dst)
{
    reader *r = from;

    if (fseeko(r->f, (off_t)(t->offset + begin), SEEK_SET) != 0 ||
        fread(dst, 1, (size_t)n, r->f) != (size_t)n)
        return qep_fail(QEP_E_IO, "cannot read tensor \"%s\" of %s", t->name, r->path);
    return QEP_OK;
}

bool qep_gguf_is_there(const char *dir)
{
    char *path = qep_path_join(dir, QEP_GGUF_FILE);
    bool there = qep_file_exists(path);

    qep_free(path);
    return there;
}

static qep_status open_file(reader *r)
{
    r->f = fopen(r->path, "rb");
    if (!r->f || fseeko(r->f, 0, SEEK_END) != 0)
        return qep_fail(QEP_E_IO, "cannot open %s", r->path);
    r->bytes = (int64_t)ftello(r->f);
    rewind(r->f);
    return read_header(r);
}

qep_status qep_gguf_check_all(qep_comm *c, const char *dir)
{
    char *path = qep_path_join(dir, QEP_GGUF_FILE);
    reader r = {.path = path};
    bool sums = false;
    qep_status st;

    QEP_GO(st, qep_agree_all(c, open_file(&r)));
    QEP_GO(st, qep_sums_check_all(c, dir, path, r.tensors, r.n, read_tensor, &r, &sums));
    if (!sums)
        qep_info("%s has no %s: checksums of its tensors are not known", dir, QEP_SUMS_NAME);

done:
    for (int64_t i = 0; i < r.n; i++)
        qep_free(r.tensors[i].name);
    qep_free(r.tensors);
    if (r.f)
        fclose(r.f);
    qep_free(path);
    return st;
}
