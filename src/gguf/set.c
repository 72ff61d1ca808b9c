/* A GGUF file as a set of tensors: as they are stored, and as those of the model. SPDX-License-Identifier: Apache-2.0 */
#include "gguf_priv.h"

#include <string.h>

qep_status qep_gguf_stored(const qep_gguf_file *f, qep_st_set **out)
{
    return qep_st_open_as(f->path, f->bytes, f->tensors, f->n, NULL, out);
}

typedef struct list {
    qep_st_tensor *tensors;
    int64_t n;
    qep_json *types;
} list;

/* One tensor of the model; name is taken. */
static void add(list *l, char *name, const qep_st_tensor *t, int64_t type)
{
    l->tensors = qep_realloc(l->tensors, "gguf.index", l->n + 1, sizeof *l->tensors);
    l->tensors[l->n] = *t;
    l->tensors[l->n++].name = name;
    if (t->dtype == QEP_U8)
        qep_json_set(l->types, name, qep_json_new_int(type));
}

/* The stored tensor, or one of the experts in it: false when there are no more. */
static bool add_one(list *l, const qep_gguf_arch *a, const qep_json *config, const qep_st_tensor *stored,
                    int64_t type, int64_t expert)
{
    qep_gguf_place place;
    char *name = qep_gguf_our_name(a, config, stored->name, expert, &place);
    qep_st_tensor t = *stored;

    if (!name)
        return false; /* a table of llama.cpp's own */
    t.interleaved = place.heads;
    t.more = place.more;
    if (place.is_expert && t.rank == 3 && t.shape[0] > 0) {
        t.rank = 2;
        t.bytes = stored->bytes / stored->shape[0];
        t.offset = stored->offset + expert * t.bytes;
        t.shape[0] = stored->shape[1];
        t.shape[1] = stored->shape[2];
    }
    add(l, name, &t, type);
    return t.rank < stored->rank && expert + 1 < stored->shape[0];
}

static void add_tensor(list *l, const qep_gguf_arch *a, const qep_json *config, const qep_st_tensor *stored,
                       int64_t type)
{
    for (int64_t expert = 0; add_one(l, a, config, stored, type, expert);)
        expert++;
}

/* {"quantization": settings, "gguf_types": {...}} */
static qep_status make_metadata(const qep_gguf_file *f, qep_json *types, qep_json **out)
{
    qep_json *settings;

    if (!f->settings)
        return qep_fail(QEP_E_INPUT, "%s has no key " QEP_GGUF_SETTINGS_KEY ": only GGUF files that were "
                        "written here are read", f->path);
    QEP_TRY(qep_json_parse(f->settings, (int64_t)strlen(f->settings), f->path, QEP_E_INPUT, &settings));
    *out = qep_json_new_object();
    qep_json_set(*out, "quantization", settings);
    qep_json_set(*out, "gguf_types", qep_json_copy(types));
    return QEP_OK;
}

qep_status qep_gguf_as_model(const qep_gguf_file *f, const qep_json *config, qep_st_set **out)
{
    list l = {.types = qep_json_new_object()};
    const qep_gguf_arch *a;
    qep_json *metadata = NULL;
    qep_status st;

    *out = NULL;
    QEP_GO(st, qep_gguf_find_arch(config, &a));
    for (int64_t i = 0; i < f->n; i++)
        add_tensor(&l, a, config, &f->tensors[i], f->types[i]);
    QEP_GO(st, make_metadata(f, l.types, &metadata));
    st = qep_st_open_as(f->path, f->bytes, l.tensors, l.n, metadata, out);

done:
    for (int64_t i = 0; i < l.n; i++)
        qep_free(l.tensors[i].name);
    qep_free(l.tensors);
    qep_json_free(&l.types);
    return st;
}
