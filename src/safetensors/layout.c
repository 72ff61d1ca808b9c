/* Plans the output files: shards, offsets and headers, all known before the first byte of data.
 * SPDX-License-Identifier: Apache-2.0 */
#include "safetensors_priv.h"

#include <stdlib.h>
#include <string.h>

static const char no_stamp[QEP_ST_STAMP + 1] = "0000000000000000";

qep_st_layout *qep_st_layout_create(void)
{
    qep_st_layout *l = qep_alloc("safetensors.layout", 1, sizeof *l);

    memcpy(l->stamp, no_stamp, sizeof no_stamp);
    return l;
}

void qep_st_layout_destroy(qep_st_layout **l)
{
    if (!*l)
        return;
    for (int64_t i = 0; i < (*l)->n; i++)
        qep_free((*l)->tensors[i].name);
    for (int i = 0; i < (*l)->n_files; i++) {
        qep_free((*l)->files[i].name);
        qep_free((*l)->files[i].header);
    }
    qep_free((*l)->tensors);
    qep_free((*l)->files);
    qep_st_names_free(&(*l)->index);
    qep_free(*l);
    *l = NULL;
}

qep_status qep_st_layout_add(qep_st_layout *l, const char *name, qep_dtype dtype, int rank,
                             const int64_t *shape)
{
    qep_st_tensor t = {.dtype = dtype, .rank = rank};

    QEP_REQUIRE(l->n_files == 0 && rank >= 0 && rank <= QEP_ST_MAX_RANK);
    if (strcmp(name, "__metadata__") == 0 || qep_st_names_find(&l->index, l->tensors, name) >= 0)
        return qep_fail(QEP_E_INTERNAL, "output tensor \"%s\" is planned twice or has a reserved "
                        "name", name);
    for (int i = 0; i < rank; i++)
        t.shape[i] = shape[i];
    if (!qep_st_shape_bytes(dtype, rank, shape, &t.bytes) ||
        !qep_add_i64(l->total, t.bytes, &l->total))
        return qep_fail(QEP_E_INTERNAL, "output tensor \"%s\": its shape is negative, overflows or "
                        "does not fill whole bytes", name);
    if (l->n == l->cap) {
        l->cap = l->cap > 0 ? 2 * l->cap : 64;
        l->tensors = qep_realloc(l->tensors, "safetensors.layout", l->cap, sizeof *l->tensors);
    }
    t.name = qep_strdup("safetensors.layout", name);
    l->tensors[l->n] = t;
    (void)qep_st_names_add(&l->index, l->tensors, l->n);
    l->n++;
    return QEP_OK;
}

/* Numbers the shards in the model's order: a new one when the next tensor would pass the limit. */
static int cut(qep_st_layout *l, int64_t shard_bytes)
{
    int shard = 0;
    int64_t used = 0;

    for (int64_t i = 0; i < l->n; i++) {
        qep_st_tensor *t = &l->tensors[i];

        if (used > 0 && t->bytes > 0 && t->bytes > shard_bytes - used) {
            shard++;
            used = 0;
        }
        t->shard = shard;
        used += t->bytes;
    }
    return shard + 1;
}

/* Larger elements first: with no holes allowed it is the only order in which every tensor begins
 * at a multiple of its element size, which PyTorch's loader needs. The model's order within one
 * size. */
static int by_place(const void *a, const void *b)
{
    const qep_st_tensor *x = *(const qep_st_tensor *const *)a;
    const qep_st_tensor *y = *(const qep_st_tensor *const *)b;
    int p = qep_dtype_bits(x->dtype), q = qep_dtype_bits(y->dtype);

    if (x->shard != y->shard)
        return x->shard < y->shard ? -1 : 1;
    if (p != q)
        return p > q ? -1 : 1;
    return x < y ? -1 : x > y;
}

static qep_json *entry_json(const qep_st_tensor *t, int64_t begin)
{
    qep_json *entry = qep_json_new_object();
    qep_json *shape = qep_json_new_array(), *offsets = qep_json_new_array();

    for (int i = 0; i < t->rank; i++)
        qep_json_append(shape, qep_json_new_int(t->shape[i]));
    qep_json_append(offsets, qep_json_new_int(begin));
    qep_json_append(offsets, qep_json_new_int(begin + t->bytes));
    qep_json_set(entry, "dtype", qep_json_new_string(qep_dtype_name(t->dtype)));
    qep_json_set(entry, "shape", shape);
    qep_json_set(entry, "data_offsets", offsets);
    return entry;
}

/* transformers refuses files whose metadata lacks a known format. */
static qep_json *header_json(void)
{
    qep_json *root = qep_json_new_object(), *metadata = qep_json_new_object();

    qep_json_set(metadata, "format", qep_json_new_string("pt"));
    qep_json_set(metadata, QEP_ST_STAMP_KEY, qep_json_new_string(no_stamp));
    qep_json_set(root, "__metadata__", metadata);
    return root;
}

/* Length field and text, padded with spaces so that the data begins at a multiple of 8. */
static qep_status set_header(qep_st_planned *f, const qep_json *root)
{
    char *text = qep_json_text(root, false);
    int64_t chars = (int64_t)strlen(text), length = qep_round_up(chars, 8);

    f->header_bytes = 8 + length;
    f->header = qep_alloc("safetensors.layout", f->header_bytes, 1);
    for (int i = 0; i < 8; i++)
        f->header[i] = (char)((uint64_t)length >> (8 * i) & 0xff);
    memcpy(f->header + 8, text, (size_t)chars);
    memset(f->header + 8 + chars, ' ', (size_t)(length - chars));
    qep_free(text);
    if (length > QEP_ST_MAX_HEADER)
        return qep_fail(QEP_E_CONFIG, "the header of %s would have %lld bytes, readers accept %lld;"
                        " choose a smaller output.shard_size", f->name, (long long)length,
                        (long long)QEP_ST_MAX_HEADER);
    return QEP_OK;
}

/* File `shard` from its tensors order[0..n), in their order in the file. */
static qep_status plan_file(qep_st_layout *l, int shard, qep_st_tensor *const *order, int64_t n)
{
    qep_st_planned *f = &l->files[shard];
    qep_json *root = header_json();
    qep_status st;

    f->name = l->n_files == 1
                  ? qep_strdup("safetensors.layout", QEP_ST_SINGLE)
                  : qep_strf("safetensors.layout", "model-%05d-of-%05d.safetensors", shard + 1,
                             l->n_files);
    for (int64_t i = 0; i < n; i++) {
        qep_json_set(root, order[i]->name, entry_json(order[i], f->data_bytes));
        order[i]->offset = f->data_bytes;
        f->data_bytes += order[i]->bytes;
    }
    st = set_header(f, root);
    for (int64_t i = 0; i < n; i++)
        order[i]->offset += f->header_bytes;
    qep_json_free(&root);
    return st;
}

/* Where the stamp stands in a header: the metadata comes first in the text. */
static char *stamp_in(const qep_st_planned *f)
{
    static const char mark[] = QEP_ST_STAMP_MARK;
    char *at = f->header + 8;

    while (strncmp(at, mark, sizeof mark - 1) != 0)
        at++;
    return at + sizeof mark - 1;
}

void qep_st_layout_set_stamp(qep_st_layout *l, const char *stamp)
{
    QEP_REQUIRE(strlen(stamp) == QEP_ST_STAMP);
    for (int i = 0; i < l->n_files; i++)
        memcpy(stamp_in(&l->files[i]), stamp, QEP_ST_STAMP);
    memcpy(l->stamp, stamp, QEP_ST_STAMP);
}

const char *qep_st_layout_stamp(const qep_st_layout *l)
{
    return l->stamp;
}

qep_status qep_st_layout_finish(qep_st_layout *l, int64_t shard_bytes)
{
    qep_status st = QEP_OK;
    qep_st_tensor **order;
    int64_t begin = 0;

    QEP_REQUIRE(l->n_files == 0);
    if (shard_bytes <= 0)
        return qep_fail(QEP_E_CONFIG, "output.shard_size is %lld bytes; it must be positive",
                        (long long)shard_bytes);
    order = qep_alloc("safetensors.layout", l->n, sizeof *order);
    l->n_files = cut(l, shard_bytes);
    l->files = qep_alloc("safetensors.layout", l->n_files, sizeof *l->files);
    for (int64_t i = 0; i < l->n; i++)
        order[i] = &l->tensors[i];
    if (l->n > 0)
        qsort(order, (size_t)l->n, sizeof *order, by_place);
    for (int f = 0; f < l->n_files && st == QEP_OK; f++) {
        int64_t end = begin;

        while (end < l->n && order[end]->shard == f)
            end++;
        st = plan_file(l, f, order + begin, end - begin);
        begin = end;
    }
    qep_free(order);
    return st;
}

void qep_st_layout_finish_as(qep_st_layout *l, const char *file, char *header,
                             int64_t header_bytes, const int64_t *offsets, int64_t data_bytes)
{
    QEP_REQUIRE(l->n_files == 0);
    l->n_files = 1;
    l->files = qep_alloc("safetensors.layout", 1, sizeof *l->files);
    l->files[0] = (qep_st_planned){.name = qep_strdup("safetensors.layout", file),
                                   .header = header,
                                   .header_bytes = header_bytes,
                                   .data_bytes = data_bytes};
    for (int64_t i = 0; i < l->n; i++)
        l->tensors[i].offset = header_bytes + offsets[i];
}

static const qep_st_planned *planned(const qep_st_layout *l, int i)
{
    QEP_REQUIRE(i >= 0 && i < l->n_files);
    return &l->files[i];
}

int qep_st_layout_n_files(const qep_st_layout *l)
{
    return l->n_files;
}

const char *qep_st_layout_file(const qep_st_layout *l, int i)
{
    return planned(l, i)->name;
}

int64_t qep_st_layout_file_bytes(const qep_st_layout *l, int i)
{
    return planned(l, i)->header_bytes + planned(l, i)->data_bytes;
}

int64_t qep_st_layout_total_size(const qep_st_layout *l)
{
    return l->total;
}

const qep_st_tensor *qep_st_layout_find(const qep_st_layout *l, const char *name)
{
    int64_t i = qep_st_names_find(&l->index, l->tensors, name);

    return i < 0 ? NULL : &l->tensors[i];
}

int64_t qep_st_layout_count(const qep_st_layout *l)
{
    return l->n;
}

const qep_st_tensor *qep_st_layout_at(const qep_st_layout *l, int64_t i)
{
    QEP_REQUIRE(i >= 0 && i < l->n);
    return &l->tensors[i];
}

char *qep_st_layout_index_text(const qep_st_layout *l)
{
    qep_json *root, *metadata, *map;
    char *text;

    if (l->n_files <= 1)
        return NULL;
    root = qep_json_new_object();
    metadata = qep_json_new_object();
    map = qep_json_new_object();
    qep_json_set(metadata, "total_size", qep_json_new_int(l->total));
    for (int64_t i = 0; i < l->n; i++)
        qep_json_set(map, l->tensors[i].name,
                     qep_json_new_string(l->files[l->tensors[i].shard].name));
    qep_json_set(root, "metadata", metadata);
    qep_json_set(root, "weight_map", map);
    text = qep_json_text(root, true);
    qep_json_free(&root);
    return text;
}
