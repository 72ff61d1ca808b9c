/* Checksums of all tensors of an output, packed or not: made from what is in the files when all is
 * written, kept in qep_mpi.json beside those of the small files (side_sums.c), compared by --check. A tensor's sum is that of its chunks' hashes,
 * each keyed by its place, so that it does not depend on who read which. SPDX-License-Identifier: Apache-2.0 */
#include "export_priv.h"

#include <inttypes.h>
#include <string.h>

static const int64_t most_threads = QEP_EXPORT_COPY_BYTES / QEP_SUM_CHUNK; /* their buffers are no more */

/* Where bytes come from: [begin, begin + n) of t. */
typedef qep_status (*sums_read)(void *from, const qep_st_tensor *t, int64_t begin, int64_t n,
                                void *dst);

typedef struct adding {
    void *from;
    sums_read read;
    const qep_st_tensor *t;
    int64_t first; /* of the chunks at hand */
    char *bufs;    /* a chunk for each thread */
    uint64_t *sum; /* [2] */
} adding;

void qep_sums_hash(const char *chunk, int64_t n, int64_t at, uint64_t hash[2])
{
    uint64_t seeds[2];

    for (int k = 0; k < 2; k++) {
        const int64_t key[2] = {k, at};

        seeds[k] = qep_hash64(key, sizeof key, 0);
    }
    qep_hash64_pair(chunk, (size_t)n, seeds, hash);
}

static qep_status add_chunk(void *ctx, int64_t i, int thread)
{
    const adding *a = ctx;
    const int64_t at = (a->first + i) * QEP_SUM_CHUNK, n = qep_min_i64(QEP_SUM_CHUNK, a->t->bytes - at);
    char *buf = a->bufs + thread * QEP_SUM_CHUNK;
    uint64_t hash[2];

    QEP_TRY(a->read(a->from, a->t, at, n, buf));
    qep_sums_hash(buf, n, at, hash);
    for (int k = 0; k < 2; k++) {
#pragma omp atomic
        a->sum[k] += hash[k];
    }
    return QEP_OK;
}

/* Chunks of a->t that begin in [begin, end), counted in bytes from its start. */
static qep_status add_chunks(adding *a, int64_t begin, int64_t end)
{
    if (end <= 0)
        return QEP_OK;
    a->first = qep_ceil_div(qep_max_i64(begin, 0), QEP_SUM_CHUNK);
    return qep_each(qep_ceil_div(qep_min_i64(end, a->t->bytes), QEP_SUM_CHUNK) - a->first,
                    most_threads, add_chunk, a);
}

/* sums [n][2] of tensors [n], split over the ranks by bytes. Collective. */
static qep_status make_all(qep_comm *c, void *from, sums_read read,
                           const qep_st_tensor *tensors, int64_t n, uint64_t *sums)
{
    int64_t total = 0, first, mine, at = 0;
    adding a = {.from = from, .read = read};
    qep_status st = QEP_OK;

    a.bufs = qep_alloc("export.copy", qep_each_threads(INT64_MAX, most_threads) * QEP_SUM_CHUNK, 1);
    for (int64_t i = 0; i < n; i++)
        total += tensors[i].bytes;
    qep_partition(total, qep_size(c), qep_rank(c), &first, &mine);
    for (int64_t i = 0; i < n && st == QEP_OK; i++) {
        a.t = &tensors[i];
        a.sum = sums + 2 * i;
        st = add_chunks(&a, first - at, first + mine - at);
        at += tensors[i].bytes;
    }
    qep_free(a.bufs);
    st = qep_agree_all(c, st);
    if (st == QEP_OK)
        qep_sum_u64_all(c, sums, 2 * n);
    return st;
}

void qep_sums_text(const uint64_t sum[2], char text[QEP_SUM_TEXT])
{
    snprintf(text, QEP_SUM_TEXT, "%016" PRIx64 "%016" PRIx64, sum[0], sum[1]);
}

/* --- of an output that is about to be published -------------------------------------------- */

static qep_status read_written(void *from, const qep_st_tensor *t, int64_t begin, int64_t n,
                               void *dst)
{
    return qep_st_written(from, t, begin, n, dst);
}

static qep_json *make_object(const qep_export *e, const uint64_t *sums)
{
    qep_json *root = qep_json_new_object(), *o = qep_json_new_object();
    char hex[QEP_SUM_TEXT];

    for (int64_t i = 0; i < qep_st_layout_count(e->layout); i++) {
        qep_sums_text(sums + 2 * i, hex);
        qep_json_set(o, qep_st_layout_at(e->layout, i)->name, qep_json_new_string(hex));
    }
    qep_json_set(root, "format", qep_json_new_string(e->format->name));
    qep_json_set(root, "stamp", qep_json_new_string(qep_st_layout_stamp(e->layout)));
    qep_json_set(root, "tensors", o);
    return root;
}

qep_status qep_sums_make_all(qep_comm *c, qep_export *e)
{
    int64_t n = qep_st_layout_count(e->layout);
    uint64_t *sums = qep_alloc("export.sums", 2 * n, sizeof *sums);
    qep_st_writer *w = NULL;
    qep_status st;

    QEP_GO(st, qep_agree_all(c, qep_st_writer_open(e->layout, e->output_dir, QEP_PARTIAL, &w)));
    if (n > 0)
        QEP_GO(st, make_all(c, w, read_written, qep_st_layout_at(e->layout, 0), n, sums));
    qep_json_free(&e->sums);
    if (qep_rank(c) == 0)
        e->sums = make_object(e, sums);

done:
    (void)!qep_st_writer_close(&w);
    qep_free(sums);
    return st;
}

/* --- of a finished output ---------------------------------------------------------------------- */

static qep_status compare(const char *dir, const qep_st_tensor *tensors, int64_t n,
                          const qep_json *want, const char *path, const uint64_t *sums)
{
    for (int64_t i = 0; i < n; i++) {
        const char *name = tensors[i].name, *text = qep_json_string(qep_json_get(want, name));
        char hex[QEP_SUM_TEXT];

        qep_sums_text(sums + 2 * i, hex);
        if (!text)
            return qep_fail(QEP_E_INPUT, "%s: knows no tensor \"%s\", which %s has", path, name,
                            dir);
        if (strcmp(text, hex) != 0)
            return qep_fail(QEP_E_INPUT, "%s: tensor \"%s\" was changed or damaged: its checksum "
                            "is %s, %s says %s", dir, name, hex, path, text);
    }
    if (qep_json_size(want) != n)
        return qep_fail(QEP_E_INPUT, "%s: lists %lld tensors, the files have %lld", path,
                        (long long)qep_json_size(want), (long long)n);
    return QEP_OK;
}

static qep_status read_stored(void *from, const qep_st_tensor *t, int64_t begin, int64_t n,
                              void *dst)
{
    return qep_st_read(from, t, begin, n, dst);
}

static qep_status check_list_all(qep_comm *c, const char *dir, qep_st_set *stored, const qep_json *list, const char *path)
{
    const int64_t n = qep_st_count(stored);
    uint64_t *sums = qep_alloc("export.sums", 2 * n, sizeof *sums);
    qep_status st = QEP_OK;

    if (n > 0)
        QEP_GO(st, make_all(c, stored, read_stored, qep_st_at(stored, 0), n, sums));
    QEP_GO(st, compare(dir, n > 0 ? qep_st_at(stored, 0) : NULL, n, qep_json_get(list, "tensors"), path, sums)); /* the same on all ranks */
    st = qep_agree_all(c, qep_rank(c) == 0 ? qep_side_sums_check(dir, qep_json_get(list, "files"), path) : QEP_OK);

done:
    qep_free(sums);
    return st;
}

qep_status qep_sums_check_all(qep_comm *c, const char *dir, qep_st_set *stored, bool *found)
{
    char *path = qep_path_join(dir, QEP_SUMS_NAME), *text = NULL;
    qep_json *list = NULL;
    int64_t bytes = 0;
    qep_status st = QEP_OK;

    *found = qep_any_all(c, qep_rank(c) == 0 && qep_file_exists(path));
    if (!*found)
        goto done;
    if (qep_rank(c) == 0)
        st = qep_file_read(path, INT64_C(1) << 30, QEP_E_INPUT, &text, &bytes);
    QEP_GO(st, qep_agree_all(c, st));
    qep_bcast_text_all(c, 0, &text, &bytes);
    QEP_GO(st, qep_json_parse(text, bytes, path, QEP_E_INPUT, &list));
    st = check_list_all(c, dir, stored, list, path);

done:
    qep_json_free(&list);
    qep_free(text);
    qep_free(path);
    return st;
}
