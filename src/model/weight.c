/* A weight matrix in a window that the ranks of a node share: reading its rows from the files,
 * putting rows, spreading them to the other nodes, multiplying.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model_priv.h"

#include <string.h>

enum { QEP_LOAD_THREADS = 16 }; /* at most: bounds the scratch */
static const int64_t chunk_elements = INT64_C(1) << 18; /* of a thread */

qep_dtype qep_compute_dtype(qep_compute compute)
{
    return compute == QEP_COMPUTE_BF16 ? QEP_BF16 : QEP_F32;
}

int64_t qep_weight_bytes(int64_t rows, int64_t cols, qep_compute compute)
{
    return qep_round_up(rows * cols * qep_dtype_size(qep_compute_dtype(compute)), 64);
}

static int64_t row_bytes(const qep_weight *w)
{
    return w->cols * qep_dtype_size(w->type);
}

static char *row_at(const qep_weight *w, int64_t row)
{
    return (char *)qep_window_data(w->window) + w->offset + row * row_bytes(w);
}

/* One of the two holds the weight. */
typedef struct stored {
    const qep_model *model;
    const qep_st_tensor *plain;
    const qep_packed_linear *packed;
} stored;

static qep_status read_values(const stored *s, int64_t row0, int64_t n, float *values)
{
    if (s->plain) return qep_st_read_rows_f32(s->model->files, s->plain, row0, n, values);
    return qep_packed_values(s->model->packed, s->packed, row0, n, values);
}

/* Rows on their way into one or two windows. */
typedef struct loading {
    stored s;
    const qep_weight *w, *copy;
    int64_t row0, n, step; /* step: rows at a time */
    float *values;         /* a step's for each thread; NULL: they are read where they belong */
} loading;

static bool as_stored(const loading *l)
{
    return l->w->type != QEP_F32 && l->s.plain && l->s.plain->dtype == l->w->type && qep_st_is_plain(l->s.plain);
}

static qep_status load_step(void *ctx, int64_t i, int thread)
{
    const loading *l = ctx;
    const qep_weight *w = l->w;
    const int64_t row = l->row0 + i * l->step, n = qep_min_i64(l->step, l->row0 + l->n - row), bytes = row_bytes(w);
    char *direct = row_at(w, row);
    if (l->values) {
        float *values = l->values + thread * l->step * w->cols;
        QEP_TRY(read_values(&l->s, row, n, values));
        qep_weight_put(w, row, n, values);
    } else if (as_stored(l)) {
        QEP_TRY(qep_st_read(l->s.model->files, l->s.plain, row * bytes, n * bytes, direct));
    } else {
        QEP_TRY(read_values(&l->s, row, n, (float *)(void *)direct));
    }
    if (l->copy) memcpy(row_at(l->copy, row), direct, (size_t)(n * bytes));
    return QEP_OK;
}

qep_status qep_weight_load(const qep_model *m, const char *module, const qep_weight *w,
                           const qep_weight *copy, int64_t row0, int64_t n)
{
    if (n == 0) return QEP_OK;
    const qep_packed_linear *packed = qep_packed_find(m->packed, module);
    loading l = {.s = {m, packed ? NULL : qep_model_weight_tensor(m, module), packed}, .w = w, .copy = copy, .row0 = row0, .n = n};
    QEP_REQUIRE(l.s.plain || l.s.packed);
    l.step = qep_min_i64(n, qep_max_i64(chunk_elements / w->cols, 1));
    const int64_t steps = qep_ceil_div(n, l.step);
    const int threads = qep_each_threads(steps, packed ? 1 : QEP_LOAD_THREADS); /* a packed linear's scratch is planned for one */
    if (w->type != QEP_F32 && !as_stored(&l)) l.values = qep_alloc("model.read", threads * l.step * w->cols, sizeof *l.values);
    const qep_status st = qep_each(steps, threads, load_step, &l);
    qep_free(l.values);
    return st;
}

void qep_weight_expect(const qep_model *m, const char *module, int parts, int part)
{
    const qep_packed_linear *l = qep_packed_find(m->packed, module);
    const qep_st_tensor *tensors[] = {l ? l->codes_at : qep_model_weight_tensor(m, module), l ? l->scales_at : NULL, l ? l->zeros_at : NULL};
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
        int64_t begin, bytes;
        if (!tensors[i]) continue;
        qep_partition(tensors[i]->bytes, parts, part, &begin, &bytes);
        qep_st_expect(m->files, tensors[i], begin, bytes);
    }
}

void qep_weight_put(const qep_weight *w, int64_t row0, int64_t n, const float *values)
{
    QEP_REQUIRE(row0 >= 0 && n >= 0 && row0 + n <= w->rows);
    qep_from_f32(row_at(w, row0), w->type, values, n * w->cols);
}

void qep_weight_share_all(qep_comm *c, const qep_weight *w, const int64_t *begin,
                          const int64_t *count)
{
    const int ranks = qep_size(c);
    int64_t *bytes = qep_alloc("model.share", 2 * (int64_t)ranks, sizeof *bytes);
    for (int r = 0; r < ranks; r++) {
        bytes[r] = w->offset + begin[r] * row_bytes(w);
        bytes[ranks + r] = count[r] * row_bytes(w);
    }
    qep_window_merge_all(w->window, bytes, bytes + ranks);
    qep_free(bytes);
}

qep_linear qep_weight_linear(const qep_weight *w, int64_t row0, int64_t n, const void *x, int64_t T, float *y)
{
    return (qep_linear){.bf16 = w->type == QEP_BF16, .y = y, .x = x, .w = row_at(w, row0), .T = T, .C = w->cols, .O = n};
}

void qep_weight_product(const qep_weight *w, int64_t row0, int64_t n, const void *x, int64_t T, float *y)
{
    const qep_linear one = qep_weight_linear(w, row0, n, x, T, y);
    qep_linears(&one, 1);
}
