/* One file of token ids, whatever its format. SPDX-License-Identifier: Apache-2.0 */
#include "data_priv.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

static bool ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s), m = strlen(tail);
    return n >= m && strcmp(s + n - m, tail) == 0;
}

/* "a.h5:/x" -> where the colon stands; NULL when the path names no dataset. */
static const char *dataset_colon(const char *path)
{
    static const char *const ends[] = {".h5:", ".hdf5:"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        const char *p = strstr(path, ends[i]);
        if (p) return p + strlen(ends[i]) - 1;
    }
    return NULL;
}

static qep_status open_npy(qep_source *s)
{
    QEP_TRY(qep_open(s->path, &s->fd));
    QEP_TRY(qep_npy_open(s->path, s->fd, &s->npy));
    s->rows = s->npy.rows;
    s->length = s->npy.length;
    s->is_rows = s->npy.is_rows;
    return QEP_OK;
}

static qep_status open_h5(qep_source *s)
{
    const char *colon = dataset_colon(s->path);
    char *file = qep_strdup("data.path", s->path);
    if (colon) file[colon - s->path] = '\0';
    const char *dataset = colon ? colon + 1 : "tokens";
    int rank = 0;
    int64_t shape[2] = {0, 0};
    qep_status st = qep_h5_open(file, dataset, &s->h5, &rank, shape);
    qep_free(file);
    QEP_TRY(st);
    s->is_rows = rank == 2;
    s->rows = rank == 2 ? shape[0] : 1;
    s->length = rank == 2 ? shape[1] : shape[0];
    return QEP_OK;
}

qep_status qep_source_open(const char *path, qep_source **out)
{
    *out = NULL;
    qep_source *s = qep_alloc("data.source", 1, sizeof *s);
    s->path = qep_strdup("data.path", path);
    s->fd = -1;
    qep_status st;
    if (qep_fault("data.open")) {
        st = qep_fail(QEP_E_IO, "cannot open %s: injected fault", path);
    } else if (dataset_colon(path) || ends_with(path, ".h5") || ends_with(path, ".hdf5")) {
        st = open_h5(s);
    } else if (ends_with(path, ".npy")) {
        st = open_npy(s);
    } else {
        st = qep_fail(
            QEP_E_INPUT,
            "%s: text is read from .txt and .jsonl files (also .gz), token ids from .npy, .h5 and "
            ".hdf5 (FILE.h5:/DATASET, \"tokens\" when no dataset is given; numpy.save writes .npy)",
            path);
    }
    if (st != QEP_OK) qep_source_close(&s);
    *out = s;
    return st;
}

void qep_source_close(qep_source **sp)
{
    qep_source *s = *sp;
    if (!s) return;
    QEP_REQUIRE(!s->text);
    if (s->fd >= 0) (void)close(s->fd);
    if (s->h5) qep_h5_close(&s->h5);
    qep_line_free(&s->line);
    qep_free(s->path);
    qep_free(s);
    *sp = NULL;
}

int64_t qep_source_rows(const qep_source *s)
{
    return s->rows;
}

int64_t qep_source_length(const qep_source *s)
{
    return s->length;
}

bool qep_source_is_rows(const qep_source *s)
{
    return s->is_rows;
}

const char *qep_source_path(const qep_source *s)
{
    return s->path;
}

qep_status qep_source_read(qep_source *s, int64_t row, int64_t first, int64_t n, int64_t vocab,
                           int32_t *ids)
{
    QEP_REQUIRE(row >= 0 && row < s->rows && first >= 0 && n >= 0 && first <= s->length - n);
    QEP_REQUIRE(vocab > 0 && vocab <= INT32_MAX);
    if (qep_fault("data.read"))
        return qep_fail(QEP_E_IO, "cannot read %s: injected fault", s->path);
    if (n == 0) return QEP_OK;
    int64_t *wide = qep_alloc("data.read", n, sizeof *wide);
    int64_t flat = row * s->length + first;
    qep_status st = QEP_OK;
    QEP_GO(st, s->h5 ? qep_h5_read_i64(s->h5, flat, n, wide)
                     : qep_npy_read(s->path, s->fd, &s->npy, flat, n, wide));
    for (int64_t i = 0; i < n; i++) {
        if (wide[i] < 0 || wide[i] >= vocab) {
            QEP_GO(st, qep_fail(QEP_E_INPUT,
                                "%s: row %" PRId64 ", position %" PRId64 ": token id %" PRId64
                                " lies outside the model's "
                                "vocabulary of %" PRId64 "; tokenize with this model's tokenizer",
                                s->path, row, first + i, wide[i], vocab));
        }
        ids[i] = (int32_t)wide[i];
    }
done:
    qep_free(wide);
    return st;
}
