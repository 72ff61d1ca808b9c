/* A weight matrix in a window that the ranks of a node share: reading its rows from the files,
 * putting rows, spreading them to the other nodes, multiplying.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model_priv.h"

#include <string.h>

static const int64_t chunk_elements = INT64_C(1) << 20;

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

/* Through f32 in chunks. */
static qep_status load_converted(const stored *s, const qep_weight *w, int64_t row0, int64_t n)
{
    qep_status st = QEP_OK;
    const int64_t step = qep_min_i64(n, qep_max_i64(chunk_elements / w->cols, 1));
    float *values = qep_alloc("model.read", step * w->cols, sizeof *values);
    for (int64_t r = row0; r < row0 + n; r += step) {
        const int64_t rows = qep_min_i64(step, row0 + n - r);
        QEP_GO(st, read_values(s, r, rows, values));
        qep_weight_put(w, r, rows, values);
    }
done:
    qep_free(values);
    return st;
}

qep_status qep_weight_load(const qep_model *m, const char *module, const qep_weight *w,
                           const qep_weight *copy, int64_t row0, int64_t n)
{
    if (n == 0) return QEP_OK;
    const qep_packed_linear *packed = qep_packed_find(m->packed, module);
    const stored s = {m, packed ? NULL : qep_model_weight_tensor(m, module), packed};
    QEP_REQUIRE(s.plain || s.packed);
    const int64_t begin = row0 * row_bytes(w), bytes = n * row_bytes(w);
    float *direct = (float *)(void *)row_at(w, row0);
    if (w->type == QEP_F32)
        QEP_TRY(read_values(&s, row0, n, direct));
    else if (s.plain && s.plain->dtype == w->type && qep_st_is_plain(s.plain))
        QEP_TRY(qep_st_read(m->files, s.plain, begin, bytes, direct));
    else
        QEP_TRY(load_converted(&s, w, row0, n));
    if (copy) memcpy(row_at(copy, row0), direct, (size_t)bytes);
    return QEP_OK;
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

void qep_weight_product(const qep_weight *w, int64_t row0, int64_t n, const void *x, int64_t T,
                        float *y)
{
    const char *rows = row_at(w, row0);
    if (w->type == QEP_BF16)
        qep_linear_bf16(y, n, x, w->cols, (const uint16_t *)(const void *)rows, T, w->cols, n);
    else
        qep_linear_f32(y, n, x, w->cols, (const float *)(const void *)rows, T, w->cols, n, false);
}
