/* The header of a GGUF file, read like a stranger would. SPDX-License-Identifier: Apache-2.0 */
#include "gguf_priv.h"

#include <stdio.h>
#include <string.h>

typedef struct reader {
    FILE *f;
    qep_gguf_file *file;
    int64_t at; /* read so far */
} reader;

static qep_status bad(const reader *r, const char *what)
{
    return qep_fail(QEP_E_INPUT, "%s: byte %lld: %s: this is not a sound GGUF file", r->file->path,
                    (long long)r->at, what);
}

static qep_status get(reader *r, void *dst, int64_t n)
{
    if (n < 0 || n > r->file->bytes - r->at)
        return bad(r, "the header is longer than the file");
    if (fread(dst, 1, (size_t)n, r->f) != (size_t)n)
        return qep_fail(QEP_E_IO, "cannot read %s", r->file->path);
    r->at += n;
    return QEP_OK;
}

static qep_status skip(reader *r, int64_t n)
{
    if (n < 0 || n > r->file->bytes - r->at)
        return bad(r, "the header is longer than the file");
    if (fseeko(r->f, (off_t)n, SEEK_CUR) != 0)
        return qep_fail(QEP_E_IO, "cannot read %s", r->file->path);
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

/* *text: qep_free. */
static qep_status get_string(reader *r, char **text)
{
    int64_t n;

    QEP_TRY(get_le(r, 8, &n));
    if (n > r->file->bytes - r->at)
        return bad(r, "the header is longer than the file");
    *text = qep_alloc("gguf.name", n + 1, 1);
    return get(r, *text, n);
}

/* --- keys -------------------------------------------------------------------------------------------- */

enum { STRING = 8, ARRAY = 9 };

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

    if (type == STRING)
        return skip_string(r);
    if (type != ARRAY)
        return scalar_bytes(type) > 0 ? skip(r, scalar_bytes(type)) : bad(r, "unknown type");
    QEP_TRY(get_le(r, 4, &element));
    QEP_TRY(get_le(r, 8, &n));
    if (element == STRING) {
        for (int64_t i = 0; i < n; i++)
            QEP_TRY(skip_string(r));
        return QEP_OK;
    }
    if (scalar_bytes(element) == 0 || n > r->file->bytes)
        return bad(r, "an array of unknown type or more elements than bytes");
    return skip(r, n * scalar_bytes(element));
}

static qep_status get_key(reader *r)
{
    char *key = NULL;
    int64_t type;
    qep_status st;

    QEP_GO(st, get_string(r, &key));
    QEP_GO(st, get_le(r, 4, &type));
    if (type == STRING && !r->file->settings && strcmp(key, QEP_GGUF_SETTINGS_KEY) == 0)
        st = get_string(r, &r->file->settings);
    else
        st = skip_value(r, type);

done:
    qep_free(key);
    return st;
}

/* --- tensors ------------------------------------------------------------------------------------------ */

static qep_status fill_in(const reader *r, qep_st_tensor *t, int64_t type)
{
    const qep_gguf_block *block = qep_gguf_block_of(type);
    int64_t *last = &t->shape[t->rank - 1];

    t->dtype = type == QEP_GGUF_F32    ? QEP_F32
               : type == QEP_GGUF_F16  ? QEP_F16
               : type == QEP_GGUF_BF16 ? QEP_BF16
                                       : QEP_U8;
    if (t->dtype == QEP_U8) {
        if (!block)
            return bad(r, "a tensor has a type that is not written here");
        if (*last % block->weights != 0)
            return bad(r, "a tensor's rows do not fill whole blocks");
        if (*last / block->weights > r->file->bytes / block->bytes)
            return bad(r, "a tensor's rows are longer than the file");
        *last = *last / block->weights * block->bytes;
    }
    t->bytes = qep_dtype_size(t->dtype);
    for (int i = 0; i < t->rank; i++) {
        if (t->shape[i] < 1 || t->bytes > r->file->bytes / t->shape[i])
            return bad(r, "a tensor is empty or larger than the file");
        t->bytes *= t->shape[i];
    }
    return QEP_OK;
}

static bool is_ascii(const char *text)
{
    while (*text && (unsigned char)*text < 0x80)
        text++;
    return *text == '\0';
}

static qep_status get_info(reader *r, qep_st_tensor *t, int64_t *type)
{
    int64_t rank;

    r->file->n++;
    QEP_TRY(get_string(r, &t->name));
    if (!is_ascii(t->name))
        return bad(r, "a tensor's name is not ASCII");
    QEP_TRY(get_le(r, 4, &rank));
    if (rank < 1 || rank > 4)
        return bad(r, "a tensor has no or more than 4 dimensions");
    t->rank = (int)rank;
    for (int64_t i = rank - 1; i >= 0; i--)
        QEP_TRY(get_le(r, 8, &t->shape[i]));
    QEP_TRY(get_le(r, 4, type));
    QEP_TRY(get_le(r, 8, &t->offset));
    return fill_in(r, t, *type);
}

/* Offsets count from the end of the header; aligned, without holes. */
static qep_status place_tensors(const reader *r)
{
    qep_gguf_file *f = r->file;
    int64_t data = qep_round_up(r->at, 32), end = 0;

    for (int64_t i = 0; i < f->n; i++) {
        if (f->tensors[i].offset != end || f->tensors[i].bytes > f->bytes - data - end)
            return bad(r, "tensors overlap, leave holes or pass the end of the file");
        end = qep_round_up(end + f->tensors[i].bytes, 32);
        f->tensors[i].offset += data;
    }
    return data + end == f->bytes ? QEP_OK : bad(r, "the file is longer than its tensors");
}

static qep_status read_header(reader *r)
{
    qep_gguf_file *f = r->file;
    char magic[4];
    int64_t version, n, keys;

    QEP_TRY(get(r, magic, 4));
    QEP_TRY(get_le(r, 4, &version));
    if (memcmp(magic, "GGUF", 4) != 0 || version != 3)
        return bad(r, "no GGUF file of version 3");
    QEP_TRY(get_le(r, 8, &n));
    QEP_TRY(get_le(r, 8, &keys));
    if (n > f->bytes / 24)
        return bad(r, "more tensors than the file has room for");
    for (int64_t i = 0; i < keys; i++)
        QEP_TRY(get_key(r));
    f->tensors = qep_alloc("gguf.index", n, sizeof *f->tensors);
    f->types = qep_alloc("gguf.index", n, sizeof *f->types);
    for (int64_t i = 0; i < n; i++)
        QEP_TRY(get_info(r, &f->tensors[i], &f->types[i]));
    return place_tensors(r);
}

static qep_status read_file(qep_gguf_file *f)
{
    reader r = {.f = fopen(f->path, "rb"), .file = f};
    qep_status st;

    if (!r.f || fseeko(r.f, 0, SEEK_END) != 0) {
        st = qep_fail(QEP_E_IO, "cannot open %s", f->path);
    } else {
        f->bytes = (int64_t)ftello(r.f);
        rewind(r.f);
        st = read_header(&r);
    }
    if (r.f)
        fclose(r.f);
    return st;
}

static bool has(const char *dir, const char *name)
{
    char *path = qep_path_join(dir, name);
    bool there = qep_file_exists(path);

    qep_free(path);
    return there;
}

bool qep_gguf_is_there(const char *dir)
{
    return has(dir, QEP_GGUF_FILE) && !has(dir, "model.safetensors") &&
           !has(dir, "model.safetensors.index.json");
}

qep_status qep_gguf_open(const char *dir, qep_gguf_file **out)
{
    qep_gguf_file *f = qep_alloc("gguf.index", 1, sizeof *f);
    qep_status st;

    f->path = qep_path_join(dir, QEP_GGUF_FILE);
    st = read_file(f);
    if (st != QEP_OK)
        qep_gguf_close(&f);
    *out = f;
    return st;
}

void qep_gguf_close(qep_gguf_file **file)
{
    qep_gguf_file *f = *file;

    if (!f)
        return;
    for (int64_t i = 0; i < f->n; i++)
        qep_free(f->tensors[i].name);
    qep_free(f->tensors);
    qep_free(f->types);
    qep_free(f->settings);
    qep_free(f->path);
    qep_free(f);
    *file = NULL;
}
