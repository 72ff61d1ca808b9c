/* Reads every weight once before the work starts: a NaN found after hours is a lost night.
 * All tensors form one sequence of chunks that does not depend on the number of ranks; each rank takes a contiguous part of the bytes, so the
 * fault reported (that of the lowest rank) is the first in file order. Codes and zeros of packed linears are integers: any value is sound.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model_priv.h"

static const int64_t chunk_bytes = INT64_C(4) << 20, most_bytes = INT64_C(64) << 20; /* of a chunk, of all threads' buffers */

static bool scanned(const qep_st_tensor *t)
{
    return t->rank > 0 && t->bytes > 0;
}

static int64_t chunk_rows(const qep_st_tensor *t)
{
    return qep_max_i64(chunk_bytes / (t->bytes / t->shape[0]), 1);
}

/* Bytes of a row in the buffer: floats are looked at as f32. */
static int64_t buffer_bytes(const qep_st_tensor *t)
{
    const int64_t row = t->bytes / t->shape[0];
    return qep_dtype_is_float(t->dtype) ? row / qep_dtype_size(t->dtype) * (int64_t)sizeof(float) : row;
}

static qep_status read_rows(const qep_model *m, const qep_st_tensor *t, int64_t row, int64_t n, void *buffer)
{
    if (qep_dtype_is_float(t->dtype)) return qep_st_read_rows_f32(m->files, t, row, n, buffer);
    const int64_t row_bytes = t->bytes / t->shape[0];
    return qep_st_read(m->files, t, row * row_bytes, n * row_bytes, buffer);
}

typedef struct scan {
    qep_model *m;
    int64_t i, first; /* number of the tensor, of the first of its chunks at hand */
    char *buffers;
    int64_t bytes;    /* of a thread's buffer */
    int64_t threads;
} scan;

/* The hash of a chunk is keyed by its place, so that the sum over all chunks does not depend on who read which. */
static qep_status scan_chunk(void *ctx, int64_t chunk, int thread)
{
    const scan *s = ctx;
    const qep_st_tensor *t = qep_st_at(s->m->files, s->i);
    const int64_t row = (s->first + chunk) * chunk_rows(t), n = qep_min_i64(chunk_rows(t), t->shape[0] - row);
    void *buffer = s->buffers + thread * s->bytes;
    QEP_TRY(read_rows(s->m, t, row, n, buffer));
    const int64_t place[2] = {s->i, row};
    const uint64_t key = qep_hash64(place, sizeof place, 0), seeds[2] = {key, key + 1};
    uint64_t hash[2];
    qep_hash64_pair(buffer, (size_t)(n * buffer_bytes(t)), seeds, hash);
    for (int k = 0; k < 2; k++) {
#pragma omp atomic
        s->m->weights[k] += hash[k];
    }
    return QEP_OK;
}

/* Chunks of tensor s->i that begin in [begin, end), counted in bytes from its start. */
static qep_status scan_part(scan *s, int64_t begin, int64_t end)
{
    const qep_st_tensor *t = qep_st_at(s->m->files, s->i);
    const int64_t chunk = t->bytes / t->shape[0] * chunk_rows(t);
    if (end <= 0) return QEP_OK;
    s->first = qep_ceil_div(qep_max_i64(begin, 0), chunk);
    return qep_each(qep_ceil_div(qep_min_i64(end, t->bytes), chunk) - s->first, s->threads, scan_chunk, s);
}

qep_status qep_model_scan_all(qep_comm *c, qep_model *m)
{
    int64_t total = 0, bytes = 0, begin, count, at = 0;
    for (int64_t i = 0; i < qep_st_count(m->files); i++) {
        const qep_st_tensor *t = qep_st_at(m->files, i);
        if (!scanned(t)) continue;
        total += t->bytes;
        bytes = qep_max_i64(bytes, buffer_bytes(t) * qep_min_i64(chunk_rows(t), t->shape[0]));
    }
    m->weights[0] = m->weights[1] = 0;
    qep_partition(total, qep_size(c), qep_rank(c), &begin, &count);
    scan s = {.m = m, .bytes = bytes};
    s.threads = qep_each_threads(INT64_MAX, qep_max_i64(most_bytes / qep_max_i64(bytes, 1), 1));
    s.buffers = qep_alloc("model.scan", s.threads * bytes, 1);
    qep_status st = QEP_OK;
    for (s.i = 0; s.i < qep_st_count(m->files) && st == QEP_OK; s.i++) {
        const qep_st_tensor *t = qep_st_at(m->files, s.i);
        if (!scanned(t)) continue;
        st = scan_part(&s, begin - at, begin + count - at);
        at += t->bytes;
    }
    qep_free(s.buffers);
    st = qep_agree_all(c, st);
    if (st == QEP_OK) qep_sum_u64_all(c, m->weights, 2);
    return st;
}
