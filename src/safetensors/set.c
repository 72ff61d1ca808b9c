/* A set: one file or all shards of a model, with one table of names.
 * SPDX-License-Identifier: Apache-2.0 */
#include "safetensors_priv.h"

#include <string.h>

qep_st_set *qep_st_set_create(int n_parts)
{
    qep_st_set *s = qep_alloc("safetensors.set", 1, sizeof *s);

    s->n_parts = n_parts;
    s->parts = qep_alloc("safetensors.set", n_parts, sizeof *s->parts);
    return s;
}

static bool wanted(const qep_json *weight_map, const char *tensor, const char *file)
{
    const char *home;

    if (!weight_map)
        return true;
    home = qep_json_string(qep_json_get(weight_map, tensor));
    return home && strcmp(home, file) == 0;
}

void qep_st_set_put(qep_st_set *s, int part, const char *path, qep_st_header *h,
                    const qep_json *weight_map)
{
    qep_st_part *p = &s->parts[part];
    const char *base = qep_path_base(path);

    qep_st_handle_init(&p->handle, qep_strdup("safetensors.set", path), h->file_bytes);
    p->names = h->names;
    p->metadata = h->metadata;
    h->names = NULL;
    h->metadata = NULL;
    s->tensors = qep_realloc(s->tensors, "safetensors.index", s->n + h->n, sizeof *s->tensors);
    for (int64_t i = 0; i < h->n; i++) {
        if (!wanted(weight_map, h->tensors[i].name, base))
            continue;
        s->tensors[s->n] = h->tensors[i];
        s->tensors[s->n].shard = part;
        s->n++;
    }
    s->identity = qep_hash64(&h->hash, sizeof h->hash, s->identity);
}

qep_status qep_st_set_seal(qep_st_set *s)
{
    for (int64_t i = 0; i < s->n; i++) {
        const qep_st_tensor *t = &s->tensors[i];

        if (!qep_st_names_add(&s->index, s->tensors, i))
            return qep_fail(QEP_E_INPUT, "%s: tensor \"%s\" is there twice",
                            s->parts[t->shard].handle.path, t->name);
        s->identity = qep_hash64(t->name, strlen(t->name), s->identity);
    }
    return QEP_OK;
}

/* The set of one file. Takes h's contents. */
static qep_status set_of_one(const char *path, qep_st_header *h, qep_st_set **out)
{
    *out = qep_st_set_create(1);
    qep_st_set_put(*out, 0, path, h, NULL);
    qep_st_header_free(h);
    qep_status st = qep_st_set_seal(*out);
    if (st != QEP_OK)
        qep_st_close(out);
    return st;
}

qep_status qep_st_open_file(const char *path, qep_st_set **out)
{
    qep_st_header h;

    *out = NULL;
    QEP_TRY(qep_st_header_read(path, &h));
    return set_of_one(path, &h, out);
}

/* Names in one piece, as the header of a file gives them. */
static void copy_tensors(qep_st_header *h, const qep_st_tensor *tensors, int64_t n)
{
    int64_t bytes = 0, at = 0;

    for (int64_t i = 0; i < n; i++)
        bytes += (int64_t)strlen(tensors[i].name) + 1;
    h->names = qep_alloc("safetensors.index", bytes, 1);
    h->tensors = qep_alloc("safetensors.index", n, sizeof *h->tensors);
    for (int64_t i = 0; i < n; i++) {
        size_t length = strlen(tensors[i].name) + 1;

        h->tensors[i] = tensors[i];
        h->tensors[i].name = memcpy(h->names + at, tensors[i].name, length);
        at += (int64_t)length;
        h->hash = qep_hash64(&tensors[i].offset, sizeof tensors[i].offset, h->hash);
    }
    h->n = n;
}

qep_status qep_st_open_as(const char *path, int64_t file_bytes, const qep_st_tensor *tensors,
                          int64_t n, qep_json *metadata, qep_st_set **out)
{
    qep_st_header h = {.file_bytes = file_bytes, .hash = (uint64_t)file_bytes, .metadata = metadata};

    copy_tensors(&h, tensors, n);
    return set_of_one(path, &h, out);
}

void qep_st_close(qep_st_set **s)
{
    if (!*s)
        return;
    for (int i = 0; i < (*s)->n_parts; i++) {
        (void)qep_st_handle_end(&(*s)->parts[i].handle);
        qep_free((*s)->parts[i].names);
        qep_json_free(&(*s)->parts[i].metadata);
    }
    qep_free((*s)->parts);
    qep_free((*s)->tensors);
    qep_free((*s)->split_names);
    qep_st_names_free(&(*s)->index);
    qep_free(*s);
    *s = NULL;
}

int64_t qep_st_count(const qep_st_set *s)
{
    return s->n;
}

const qep_st_tensor *qep_st_at(const qep_st_set *s, int64_t i)
{
    QEP_REQUIRE(i >= 0 && i < s->n);
    return &s->tensors[i];
}

const qep_st_tensor *qep_st_find(const qep_st_set *s, const char *name)
{
    int64_t i = qep_st_names_find(&s->index, s->tensors, name);

    return i < 0 ? NULL : &s->tensors[i];
}

int qep_st_n_files(const qep_st_set *s)
{
    return s->n_parts;
}

static const qep_st_part *part_at(const qep_st_set *s, int shard)
{
    QEP_REQUIRE(shard >= 0 && shard < s->n_parts);
    return &s->parts[shard];
}

const char *qep_st_file(const qep_st_set *s, int shard)
{
    return part_at(s, shard)->handle.path;
}

int64_t qep_st_file_bytes(const qep_st_set *s, int shard)
{
    return part_at(s, shard)->handle.bytes;
}

const qep_json *qep_st_metadata(const qep_st_set *s, int shard)
{
    return part_at(s, shard)->metadata;
}

uint64_t qep_st_identity(const qep_st_set *s)
{
    return s->identity;
}
