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

/* The bias of a packed linear becomes F16; a few KiB, so one rank does the whole of it. */
static qep_status convert_bias(qep_export *e, const qep_copied *t)
{
    int64_t n = t->dst->bytes / 2;
    float *values = qep_alloc("export.copy", n, sizeof *values);
    uint16_t *half = qep_alloc("export.copy", n, sizeof *half);
    qep_status st = QEP_OK;

    QEP_GO(st, qep_st_read_rows_f32(e->files, t->src, 0, n, values));
    for (int64_t i = 0; i < n; i++) {
        half[i] = qep_f32_to_f16(values[i]);
        if ((half[i] & 0x7c00) == 0x7c00) {
            st = qep_fail(QEP_E_INPUT, "tensor \"%s\": element %lld = %g is too large for F16, in "
                          "which the %s format stores it; write [output] format = dense",
                          t->src->name, (long long)i, (double)values[i], e->format->name);
            goto done;
        }
    }
    st = qep_st_write(e->writer, t->dst, 0, n * 2, half);

done:
    qep_free(half);
    qep_free(values);
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
        if (!t->to_f16)
            QEP_TRY(copy_bytes(e, t, begin, n, buf));
        else if (begin == 0) /* its first byte is mine */
            QEP_TRY(convert_bias(e, t));
    }
    return QEP_OK;
}

qep_status qep_export_copy_all(qep_comm *c, qep_export *e)
{
    void *buf = qep_alloc("export.copy", QEP_EXPORT_COPY_BYTES, 1);
    qep_status st;

    QEP_REQUIRE(e->writer);
    st = copy_mine(e, qep_rank(c), qep_size(c), buf);
    qep_free(buf);
    return qep_agree_all(c, st);
}
