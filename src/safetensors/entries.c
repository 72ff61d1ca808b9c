/* The tensors of a header: fields, shapes and offsets, checked as the reference reader does.
 * SPDX-License-Identifier: Apache-2.0 */
#include "safetensors_priv.h"

#include <stdlib.h>
#include <string.h>

static qep_status parse_shape(const char *path, const qep_json *shape, qep_st_tensor *t)
{
    int64_t rank = qep_json_size(shape);

    if (!shape || qep_json_type(shape) != QEP_JSON_ARRAY)
        return qep_fail(QEP_E_INPUT, "%s: tensor \"%s\": no \"shape\" list", path, t->name);
    if (rank > QEP_ST_MAX_RANK)
        return qep_fail(QEP_E_INPUT, "%s: tensor \"%s\" has %lld dimensions; at most %d are "
                        "supported", path, t->name, (long long)rank, QEP_ST_MAX_RANK);
    t->rank = (int)rank;
    for (int i = 0; i < t->rank; i++) {
        const qep_json *extent = qep_json_at(shape, i);

        if (qep_json_type(extent) != QEP_JSON_INT || qep_json_int(extent) < 0)
            return qep_fail(QEP_E_INPUT, "%s: tensor \"%s\": shape[%d] is not a non-negative "
                            "integer", path, t->name, i);
        t->shape[i] = qep_json_int(extent);
    }
    return QEP_OK;
}

/* offset is relative to the data here; qep_st_entries_parse adds the data's start at the end. */
static qep_status parse_offsets(const char *path, const qep_json *pair, qep_st_tensor *t)
{
    int64_t at[2], want;

    if (!pair || qep_json_type(pair) != QEP_JSON_ARRAY || qep_json_size(pair) != 2)
        return qep_fail(QEP_E_INPUT, "%s: tensor \"%s\": \"data_offsets\" is not a list of two "
                        "numbers", path, t->name);
    for (int i = 0; i < 2; i++) {
        const qep_json *v = qep_json_at(pair, i);

        if (qep_json_type(v) != QEP_JSON_INT || qep_json_int(v) < 0)
            return qep_fail(QEP_E_INPUT, "%s: tensor \"%s\": data_offsets[%d] is not a "
                            "non-negative integer", path, t->name, i);
        at[i] = qep_json_int(v);
    }
    if (at[1] < at[0])
        return qep_fail(QEP_E_INPUT, "%s: tensor \"%s\": data_offsets end before they begin",
                        path, t->name);
    t->offset = at[0];
    t->bytes = at[1] - at[0];
    if (!qep_st_shape_bytes(t->dtype, t->rank, t->shape, &want))
        return qep_fail(QEP_E_INPUT, "%s: tensor \"%s\": its shape overflows or does not fill "
                        "whole bytes", path, t->name);
    if (t->bytes != want)
        return qep_fail(QEP_E_INPUT, "%s: tensor \"%s\": data_offsets span %lld bytes, dtype and "
                        "shape need %lld", path, t->name, (long long)t->bytes, (long long)want);
    return QEP_OK;
}

static qep_status parse_entry(const char *path, const qep_json *entry, qep_st_tensor *t)
{
    const qep_json *dtype = qep_json_get(entry, "dtype");

    if (qep_json_type(entry) != QEP_JSON_OBJECT)
        return qep_fail(QEP_E_INPUT, "%s: tensor \"%s\": its entry is not an object", path,
                        t->name);
    if (!dtype || !qep_json_string(dtype))
        return qep_fail(QEP_E_INPUT, "%s: tensor \"%s\": no \"dtype\" string", path, t->name);
    if (!qep_dtype_from_name(qep_json_string(dtype), &t->dtype))
        return qep_fail(QEP_E_INPUT, "%s: tensor \"%s\": unknown dtype \"%s\"", path, t->name,
                        qep_json_string(dtype));
    QEP_TRY(parse_shape(path, qep_json_get(entry, "shape"), t));
    return parse_offsets(path, qep_json_get(entry, "data_offsets"), t);
}

static qep_status check_metadata(const char *path, const qep_json *metadata)
{
    const char *key;
    qep_json *value;

    if (qep_json_type(metadata) != QEP_JSON_OBJECT)
        return qep_fail(QEP_E_INPUT, "%s: __metadata__ is not an object", path);
    for (void *it = NULL; (it = qep_json_next(metadata, it, &key, &value)) != NULL;)
        if (qep_json_type(value) != QEP_JSON_STRING)
            return qep_fail(QEP_E_INPUT, "%s: __metadata__: \"%s\" is not a string", path, key);
    return QEP_OK;
}

/* File order; tensors without data at one place are ordered by name. */
static int by_offset(const void *a, const void *b)
{
    const qep_st_tensor *x = a, *y = b;

    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* No holes, no overlaps, and the last byte of data is the last byte of the file. */
static qep_status check_cover(const char *path, const qep_st_header *h, int64_t data_bytes)
{
    int64_t end = 0;

    for (int64_t i = 0; i < h->n; i++) {
        const qep_st_tensor *t = &h->tensors[i];

        if (t->offset > end)
            return qep_fail(QEP_E_INPUT, "%s: hole of %lld bytes before tensor \"%s\"", path,
                            (long long)(t->offset - end), t->name);
        if (t->offset < end)
            return qep_fail(QEP_E_INPUT, "%s: tensor \"%s\" overlaps tensor \"%s\"", path, t->name,
                            h->tensors[i - 1].name);
        end = t->offset + t->bytes;
    }
    if (end > data_bytes)
        return qep_fail(QEP_E_INPUT, "%s is truncated: %lld bytes of data are missing at its end "
                        "(an interrupted download?)", path, (long long)(end - data_bytes));
    if (end < data_bytes)
        return qep_fail(QEP_E_INPUT, "%s: %lld bytes at its end belong to no tensor", path,
                        (long long)(data_bytes - end));
    return QEP_OK;
}

/* Room for all entries: n tensors and one buffer for their names. */
static void allocate(const qep_json *root, qep_st_header *out)
{
    int64_t chars = 0;
    const char *key;
    qep_json *value;

    for (void *it = NULL; (it = qep_json_next(root, it, &key, &value)) != NULL;)
        chars += (int64_t)strlen(key) + 1;
    out->tensors = qep_alloc("safetensors.index", qep_json_size(root), sizeof *out->tensors);
    out->names = qep_alloc("safetensors.names", chars, 1);
}

qep_status qep_st_entries_parse(const char *path, const qep_json *root, int64_t data0,
                                qep_st_header *out)
{
    const char *key;
    qep_json *value;
    char *names;

    allocate(root, out);
    names = out->names;
    for (void *it = NULL; (it = qep_json_next(root, it, &key, &value)) != NULL;) {
        size_t chars = strlen(key) + 1;

        if (strcmp(key, "__metadata__") == 0) {
            QEP_TRY(check_metadata(path, value));
            out->metadata = qep_json_copy(value);
            continue;
        }
        memcpy(names, key, chars);
        out->tensors[out->n].name = names;
        names += chars;
        QEP_TRY(parse_entry(path, value, &out->tensors[out->n]));
        out->n++;
    }
    if (out->n > 0)
        qsort(out->tensors, (size_t)out->n, sizeof *out->tensors, by_offset);
    QEP_TRY(check_cover(path, out, out->file_bytes - data0));
    for (int64_t i = 0; i < out->n; i++)
        out->tensors[i].offset += data0;
    return QEP_OK;
}
