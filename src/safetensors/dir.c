/* A model directory: one file, or the shards that the index names; clear refusals otherwise.
 * SPDX-License-Identifier: Apache-2.0 */
#include "safetensors_priv.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s), k = strlen(tail);

    return n >= k && strcmp(s + n - k, tail) == 0;
}

/* Nothing to open: says what the directory holds instead. */
static qep_status refuse(const char *path)
{
    DIR *d = opendir(path);
    bool pickle = false, other = false;
    char found[128] = "";

    if (!d)
        return qep_fail(errno == ENOENT || errno == ENOTDIR ? QEP_E_INPUT : QEP_E_IO,
                        "cannot open the model directory %s: %s", path, strerror(errno));
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        bool is_pickle = ends_with(e->d_name, ".bin") || ends_with(e->d_name, ".pt") ||
                         ends_with(e->d_name, ".pth");
        bool is_other = ends_with(e->d_name, ".safetensors");

        if (is_other || (is_pickle && !other))
            snprintf(found, sizeof found, "%.120s", e->d_name);
        pickle = pickle || is_pickle;
        other = other || is_other;
    }
    closedir(d);
    if (other)
        return qep_fail(QEP_E_INPUT, "%s has neither " QEP_ST_SINGLE " nor " QEP_ST_INDEX
                        ", but %s; a single file must be named " QEP_ST_SINGLE
                        ", shards need their index", path, found);
    if (pickle)
        return qep_fail(QEP_E_INPUT, "%s holds only PyTorch pickle weights (%s), which cannot be "
                        "read safely; convert them with transformers: from_pretrained(...), then "
                        "save_pretrained(..., safe_serialization=True)", path, found);
    return qep_fail(QEP_E_INPUT, "%s holds no weights: neither " QEP_ST_SINGLE " nor "
                    QEP_ST_INDEX, path);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A shard is a plain file name: the index may not lead out of its directory. */
static qep_status check_shard_name(const char *index_path, const char *tensor, const char *file)
{
    if (!file)
        return qep_fail(QEP_E_INPUT, "%s: weight_map: the file of \"%s\" is not a string",
                        index_path, tensor);
    if (strchr(file, '/') || strchr(file, '\\') || !ends_with(file, ".safetensors"))
        return qep_fail(QEP_E_INPUT, "%s: weight_map: \"%s\" is in \"%s\", which is not the plain "
                        "name of a .safetensors file", index_path, tensor, file);
    return QEP_OK;
}

/* The different files of the map, sorted; names borrowed from the map, the caller frees the list */
static qep_status list_shards(const char *index_path, const qep_json *weight_map,
                              const char ***files, int64_t *n)
{
    int64_t all = 0;
    const char *key;
    qep_json *value;

    *files = qep_alloc("safetensors.index", qep_json_size(weight_map), sizeof **files);
    *n = 0;
    for (void *it = NULL; (it = qep_json_next(weight_map, it, &key, &value)) != NULL;) {
        QEP_TRY(check_shard_name(index_path, key, qep_json_string(value)));
        (*files)[all++] = qep_json_string(value);
    }
    qsort(*files, (size_t)all, sizeof **files, by_text);
    for (int64_t i = 0; i < all; i++)
        if (*n == 0 || strcmp((*files)[*n - 1], (*files)[i]) != 0)
            (*files)[(*n)++] = (*files)[i];
    return QEP_OK;
}

/* Every tensor of the map was found in its shard. */
static qep_status check_complete(const char *index_path, const qep_json *weight_map,
                                 const qep_st_set *s)
{
    const char *key;
    qep_json *value;

    for (void *it = NULL; (it = qep_json_next(weight_map, it, &key, &value)) != NULL;)
        if (!qep_st_find(s, key))
            return qep_fail(QEP_E_INPUT, "%s: tensor \"%s\" is not in %s, where the index has it",
                            index_path, key, qep_json_string(value));
    return QEP_OK;
}

static qep_status open_shards(const char *dir, const char *index_path, const qep_json *weight_map,
                              const char *const *files, int64_t n, qep_st_set **out)
{
    qep_status st = QEP_OK;
    qep_st_header h;

    *out = qep_st_set_create(qep_int(n));
    for (int i = 0; i < (int)n; i++) {
        char *path = qep_path_join(dir, files[i]);

        st = qep_st_header_read(path, &h);
        if (st == QEP_OK)
            qep_st_set_put(*out, i, path, &h, weight_map);
        else
            st = qep_context(st, "shard %d of %d named by %s", i + 1, (int)n, index_path);
        qep_free(path);
        if (st != QEP_OK)
            goto done;
        qep_st_header_free(&h);
    }
    QEP_GO(st, qep_st_set_seal(*out));
    st = check_complete(index_path, weight_map, *out);

done:
    if (st != QEP_OK)
        qep_st_close(out);
    return st;
}

static qep_status open_index(const char *dir, const char *index_path, qep_st_set **out)
{
    qep_status st = QEP_OK;
    qep_json *root = NULL;
    const qep_json *weight_map;
    const char **files = NULL;
    int64_t n = 0;

    QEP_GO(st, qep_json_load(index_path, QEP_E_INPUT, &root));
    weight_map = qep_json_get(root, "weight_map");
    if (!weight_map || qep_json_type(weight_map) != QEP_JSON_OBJECT ||
        qep_json_size(weight_map) == 0) {
        st = qep_fail(QEP_E_INPUT, "%s: no \"weight_map\" object with tensors", index_path);
        goto done;
    }
    QEP_GO(st, list_shards(index_path, weight_map, &files, &n));
    st = open_shards(dir, index_path, weight_map, files, n, out);

done:
    qep_free(files);
    qep_json_free(&root);
    return st;
}

qep_status qep_st_open_dir(const char *dir, qep_st_set **out)
{
    char *single = qep_path_join(dir, QEP_ST_SINGLE);
    char *index_path = qep_path_join(dir, QEP_ST_INDEX);
    qep_status st;

    *out = NULL;
    if (qep_file_exists(single))
        st = qep_st_open_file(single, out);
    else if (qep_file_exists(index_path))
        st = open_index(dir, index_path, out);
    else
        st = refuse(dir);
    qep_free(single);
    qep_free(index_path);
    return st;
}
