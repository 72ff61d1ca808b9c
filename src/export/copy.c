/* Tensors that are not quantized, copied as bytes. SPDX-License-Identifier: Apache-2.0 */
#include "export_priv.h"

/* Bytes [begin, begin + n) of one tensor. */
static qep_status copy_bytes(qep_export *e, const qep_copied *t, int64_t begin, int64_t n,
                             void *buf)
{
    for (int64_t at = begin; at < begin + n; at += QEP_EXPORT_COPY_BYTES) {
        int64_t m = qep_min_i64(QEP_EXPORT_COPY_BYTES, begin + n - at);

        QEP_TRY(qep_st_read(e->files, t->src, at, m, buf));
        QEP_TRY(qep_st_write(e->writer, t->dst, at, m, buf));
    }
    return QEP_OK;
}

/* Where row r of a tensor goes. */
static int64_t row_place(const qep_copied *t, int64_t r)
{
    return t->heads > 0 ? qep_st_interleaved(r, t->src->shape[0], t->heads) : r;
}

/* In another type or another order of rows. Norms, biases and the like, so one rank does the whole of a tensor: a vector at once, rows of a matrix or in another
 * order one by one. */
static qep_status convert_rows(qep_export *e, const qep_copied *t)
{
    int64_t rows = t->src->shape[0], step = t->heads == 0 && t->src->rank == 1 ? rows : 1;
    int64_t n = t->dst->bytes / qep_dtype_size(t->dtype) / qep_max_i64(rows, 1) * step, bad;
    int64_t bytes = n * qep_dtype_size(t->dtype);
    float *values = qep_alloc("export.copy", n, sizeof *values);
    float *back = qep_alloc("export.copy", n, sizeof *back);
    void *raw = qep_alloc("export.copy", bytes, 1);
    qep_status st = QEP_OK;

    for (int64_t r = 0; r < rows; r += step) {
        QEP_GO(st, qep_st_read_rows_f32(e->files, t->src, r, step, values));
        for (int64_t k = 0; k < n; k++)
            values[k] += t->more;
        qep_from_f32(raw, t->dtype, values, n);
        qep_to_f32(back, raw, t->dtype, n);
        bad = qep_find_nonfinite_f32(back, n);
        if (bad >= 0) {
            st = qep_fail(QEP_E_INPUT, "tensor \"%s\": element %lld = %g is too large for %s, in "
                          "which the %s format stores it; write [output] format = dense",
                          t->src->name, (long long)(r / step * n + bad), (double)values[bad],
                          qep_dtype_name(t->dtype), e->format->name);
            goto done;
        }
        QEP_GO(st, qep_st_write(e->writer, t->dst, row_place(t, r) * bytes, bytes, raw));
    }

done:
    qep_free(raw);
    qep_free(back);
    qep_free(values);
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
static qep_status copy_mine(qep_export *e, int rank, int size, void *buf)
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

        at += bytes;
        if (n <= 0)
            continue;
        if (t->dtype == t->src->dtype && t->heads == 0 && t->more == 0 && qep_st_is_plain(t->src))
            QEP_TRY(copy_bytes(e, t, begin, n, buf));
        else if (begin == 0) /* its first byte is mine */
            QEP_TRY(convert_rows(e, t));
    }
    return QEP_OK;
}

qep_status qep_export_copy_all(qep_comm *c, qep_export *e)
{
    void *buf = qep_alloc("export.copy", QEP_EXPORT_COPY_BYTES, 1);
    qep_status st;

    QEP_REQUIRE(e->writer);
    st = e->extra && qep_rank(c) == 0 ? write_extra(e) : QEP_OK;
    if (st == QEP_OK)
        st = copy_mine(e, qep_rank(c), qep_size(c), buf);
    qep_free(buf);
    return qep_agree_all(c, st);
}
