/* Tensors that are not quantized, copied as bytes. SPDX-License-Identifier: Apache-2.0 */
#include "export_priv.h"

enum { MOST_THREADS = 16 };

/* Bytes [begin, begin + n) of one tensor, or of its rows [begin, begin + n), on their way. */
typedef struct copying {
    qep_export *e;
    const qep_copied *t;
    int64_t begin, n;
    int64_t piece; /* bytes at a time */
    char *buf;     /* one piece for each thread */
} copying;

static qep_status copy_piece(void *ctx, int64_t i, int thread)
{
    const copying *c = ctx;
    int64_t at = c->begin + i * c->piece, n = qep_min_i64(c->piece, c->begin + c->n - at);
    char *buf = c->buf + thread * c->piece;

    QEP_TRY(qep_st_read(c->e->files, c->t->src, at, n, buf));
    return qep_st_write(c->e->writer, c->t->dst, at, n, buf);
}

/* One thread reads while another writes: the pieces of all have the room of one. */
static qep_status copy_bytes(copying *c)
{
    c->piece = QEP_EXPORT_COPY_BYTES / qep_each_threads(INT64_MAX, MOST_THREADS);
    return qep_each(qep_ceil_div(c->n, c->piece), MOST_THREADS, copy_piece, c);
}

/* Where row r of a tensor goes. */
static int64_t row_place(const qep_copied *t, int64_t r)
{
    return t->heads > 0 ? qep_st_interleaved(r, t->src->shape[0], t->heads) : r;
}

/* In another type or another order of rows: norms and biases at once, by the rank that has their first byte; rows of a matrix or in another order one by one. */
typedef struct converting {
    const copying *c;
    int64_t step, n; /* rows at a time, and their elements */
    float *values;   /* two steps' for each thread */
    char *raw;       /* a step as it is stored, for each thread */
} converting;

static qep_status convert_step(void *ctx, int64_t i, int thread)
{
    const converting *v = ctx;
    const copying *c = v->c;
    const qep_copied *t = c->t;
    int64_t n = v->n, bytes = n * qep_dtype_size(t->dtype), row = c->begin + i * v->step, bad;
    float *values = v->values + 2 * thread * n, *back = values + n;
    char *raw = v->raw + thread * bytes;

    QEP_TRY(qep_st_read_rows_f32(c->e->files, t->src, row, v->step, values));
    for (int64_t k = 0; k < n; k++)
        values[k] += t->more;
    qep_from_f32(raw, t->dtype, values, n);
    qep_to_f32(back, raw, t->dtype, n);
    bad = qep_find_nonfinite_f32(back, n);
    if (bad >= 0)
        return qep_fail(QEP_E_INPUT, "tensor \"%s\": element %lld = %g is too large for %s, in "
                        "which the %s format stores it; write [output] format = dense",
                        t->src->name, (long long)(row / v->step * n + bad), (double)values[bad],
                        qep_dtype_name(t->dtype), c->e->format->name);
    return qep_st_write(c->e->writer, t->dst, row_place(t, row) * bytes, bytes, raw);
}

/* The rows that begin in [begin, begin + n) of the tensor's bytes. */
static qep_status convert_rows(copying *c)
{
    const qep_copied *t = c->t;
    const bool whole = t->heads == 0 && t->src->rank == 1;
    int64_t rows = qep_max_i64(t->src->shape[0], 1), width = t->src->bytes / rows; /* a scalar is one */
    int64_t first = qep_ceil_div(c->begin, width), end = qep_ceil_div(c->begin + c->n, width);
    int64_t steps = whole ? c->begin == 0 : end - first, threads = qep_each_threads(steps, MOST_THREADS);
    converting v = {.c = c, .step = whole ? rows : 1};
    qep_status st;

    c->begin = whole ? 0 : first;
    v.n = t->dst->bytes / qep_dtype_size(t->dtype) / rows * v.step;
    v.values = qep_alloc("export.copy", 2 * threads * v.n, sizeof *v.values);
    v.raw = qep_alloc("export.copy", threads * v.n, (size_t)qep_dtype_size(t->dtype));
    st = qep_each(steps, MOST_THREADS, convert_step, &v);
    qep_free(v.raw);
    qep_free(v.values);
    return st;
}

/* The tensor that has no source. */
static qep_status write_extra(qep_export *e)
{
    const qep_st_tensor *t = qep_st_layout_at(e->layout, 0);

    return qep_st_write(e->writer, t, 0, t->bytes, e->extra);
}

qep_status qep_export_put_copied(qep_export *e, const qep_st_tensor *source, const float *values,
                                 int64_t n)
{
    int64_t i = 0, bytes;
    void *raw;
    qep_status st;

    while (i < e->n_copies && e->copies[i].src != source)
        i++;
    QEP_REQUIRE(e->writer && i < e->n_copies && e->copies[i].heads == 0);
    bytes = n * qep_dtype_size(e->copies[i].dtype);
    QEP_REQUIRE(bytes == e->copies[i].dst->bytes);
    raw = qep_alloc("export.copy", bytes, 1);
    qep_from_f32(raw, e->copies[i].dtype, values, n);
    st = qep_st_write(e->writer, e->copies[i].dst, 0, bytes, raw);
    qep_free(raw);
    return st;
}

/* My part of the bytes of all tensors laid end to end: an even split whatever their sizes. */
static qep_status copy_mine(qep_export *e, int rank, int size, char *buf)
{
    int64_t total = 0, first, mine, at = 0;

    for (int64_t i = 0; i < e->n_copies; i++)
        total += e->copies[i].src->bytes;
    qep_partition(total, size, rank, &first, &mine);
    for (int64_t i = 0; i < e->n_copies; i++) {
        const qep_copied *t = &e->copies[i];
        int64_t bytes = t->src->bytes;
        int64_t begin = qep_max_i64(first - at, 0);
        int64_t n = qep_min_i64(first + mine - at, bytes) - begin;
        copying c;

        at += bytes;
        c = (copying){.e = e, .t = t, .begin = begin, .n = n, .buf = buf};
        if (n <= 0)
            continue;
        if (t->dtype == t->src->dtype && t->heads == 0 && t->more == 0 && qep_st_is_plain(t->src))
            QEP_TRY(copy_bytes(&c));
        else
            QEP_TRY(convert_rows(&c));
    }
    return QEP_OK;
}

qep_status qep_export_copy_all(qep_comm *c, qep_export *e)
{
    char *buf = qep_alloc("export.copy", QEP_EXPORT_COPY_BYTES, 1);
    qep_status st;

    QEP_REQUIRE(e->writer);
    st = e->extra && qep_rank(c) == 0 ? QEP_ALONE("files", write_extra(e)) : QEP_OK;
    if (st == QEP_OK)
        st = copy_mine(e, qep_rank(c), qep_size(c), buf);
    qep_free(buf);
    return qep_agree_all(c, st);
}
