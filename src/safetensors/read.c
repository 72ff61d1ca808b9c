/* Ranged reads of tensors: raw bytes, and rows as f32 with a check of every value.
 * SPDX-License-Identifier: Apache-2.0 */
#include "safetensors_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "safetensors data is little-endian; this module copies it as it is"
#endif

#define CHUNK_BYTES (INT64_C(4) << 20) /* converted at a time */

qep_status qep_st_read(const qep_st_set *s, const qep_st_tensor *t, int64_t begin, int64_t bytes,
                       void *dst)
{
    qep_st_handle *h;
    int64_t got;
    int fd;

    QEP_REQUIRE(begin >= 0 && bytes >= 0 && begin <= t->bytes && bytes <= t->bytes - begin);
    QEP_REQUIRE(t->shard >= 0 && t->shard < s->n_parts);
    if (bytes == 0)
        return QEP_OK;
    h = &s->parts[t->shard].handle;
    QEP_TRY(qep_st_handle_fd(h, O_RDONLY, &fd));
    if (qep_fault("safetensors.read")) {
        got = 0;
        errno = EIO;
    } else {
        got = qep_st_pread(fd, dst, bytes, t->offset + begin);
    }
    if (got == bytes)
        return QEP_OK;
    return qep_fail(QEP_E_IO, "%s: tensor \"%s\": reading %lld bytes at offset %lld failed: %s",
                    h->path, t->name, (long long)bytes, (long long)(t->offset + begin),
                    errno ? strerror(errno) : "unexpected end of file");
}

qep_status qep_st_unchanged(const qep_st_set *s)
{
    for (int i = 0; i < s->n_parts; i++)
        QEP_TRY(qep_st_handle_unchanged(&s->parts[i].handle));
    return QEP_OK;
}

void qep_st_expect(const qep_st_set *s, const qep_st_tensor *t, int64_t begin, int64_t bytes)
{
    const qep_st_handle *h = &s->parts[t->shard].handle;
    int kept = atomic_load(&h->fd), fd = kept >= 0 ? kept : open(h->path, O_RDONLY | O_CLOEXEC);

    QEP_REQUIRE(begin >= 0 && bytes >= 0 && begin <= t->bytes && bytes <= t->bytes - begin);
    if (fd < 0)
        return;
    (void)posix_fadvise(fd, (off_t)(t->offset + begin), (off_t)bytes, POSIX_FADV_WILLNEED);
    if (fd != kept)
        close(fd);
}

/* Elements [first, first + n) of a tensor into dst, through `raw` unless they are f32 already. */
static qep_status read_chunk(const qep_st_set *s, const qep_st_tensor *t, int64_t first, int64_t n,
                             void *raw, float *dst)
{
    int64_t size = qep_dtype_size(t->dtype);

    if (t->dtype == QEP_F32)
        return qep_st_read(s, t, first * size, n * size, dst);
    QEP_TRY(qep_st_read(s, t, first * size, n * size, raw));
    qep_to_f32(dst, raw, t->dtype, n);
    return QEP_OK;
}

static qep_status not_finite(const qep_st_set *s, const qep_st_tensor *t, int64_t element,
                             int64_t cols, float value)
{
    return qep_fail(QEP_E_INPUT, "%s: tensor \"%s\": %s at row %lld, column %lld; the weights are "
                    "damaged, or too large for f32", qep_st_file(s, t->shard), t->name,
                    value != value ? "NaN" : "infinity", (long long)(element / cols),
                    (long long)(element % cols));
}

/* Rows side by side in the file. */
static qep_status read_f32(const qep_st_set *s, const qep_st_tensor *t, int64_t row0, int64_t n,
                           float *dst)
{
    int64_t rows = t->rank > 0 ? t->shape[0] : 1;
    int64_t cols = 1, size = qep_dtype_size(t->dtype), step, end;
    qep_status st = QEP_OK;
    void *raw = NULL;

    for (int i = 1; i < t->rank; i++)
        cols *= t->shape[i];
    QEP_REQUIRE(row0 >= 0 && n >= 0 && row0 <= rows && n <= rows - row0);
    if (!qep_dtype_is_float(t->dtype))
        return qep_fail(QEP_E_INPUT, "%s: tensor \"%s\" has dtype %s; F16, BF16, F32 or F64 is "
                        "needed (a model that is already quantized must be dequantized first)",
                        qep_st_file(s, t->shard), t->name, qep_dtype_name(t->dtype));
    if (n == 0 || cols == 0)
        return QEP_OK;
    step = qep_min_i64(CHUNK_BYTES / size, n * cols);
    if (t->dtype != QEP_F32)
        raw = qep_alloc("safetensors.convert", step, (size_t)size);
    end = (row0 + n) * cols;
    for (int64_t i = row0 * cols; i < end && st == QEP_OK; i += step) {
        float *at = dst + (i - row0 * cols);
        int64_t len = qep_min_i64(step, end - i), bad;

        QEP_GO(st, read_chunk(s, t, i, len, raw, at));
        bad = qep_find_nonfinite_f32(at, len);
        if (bad >= 0)
            st = not_finite(s, t, i + bad, cols, at[bad]);
    }

done:
    qep_free(raw);
    return st;
}

/* --- rows of tensors that are stored in another way ------------------------------------------------ */

int64_t qep_st_interleaved(int64_t r, int64_t rows, int64_t parts)
{
    int64_t width = rows / parts, half = width / 2, i = r % width;

    return r - i + (i < half ? 2 * i : 2 * (i - half) + 1);
}

bool qep_st_is_plain(const qep_st_tensor *t)
{
    return t->interleaved == 0 && t->more == 0;
}

qep_status qep_st_read_rows(const qep_st_set *s, const qep_st_tensor *t, int64_t row0, int64_t n,
                            void *dst)
{
    int64_t bytes = t->bytes / qep_max_i64(t->shape[0], 1);

    if (t->interleaved == 0)
        return qep_st_read(s, t, row0 * bytes, n * bytes, dst);
    for (int64_t r = 0; r < n; r++)
        QEP_TRY(qep_st_read(s, t, qep_st_interleaved(row0 + r, t->shape[0], t->interleaved) * bytes,
                            bytes, (char *)dst + r * bytes));
    return QEP_OK;
}

qep_status qep_st_read_rows_f32(const qep_st_set *s, const qep_st_tensor *t, int64_t row0,
                                int64_t n, float *dst)
{
    int64_t rows = t->rank > 0 ? t->shape[0] : 1, cols;

    if (qep_st_is_plain(t) || n == 0)
        return read_f32(s, t, row0, n, dst);
    cols = t->bytes / qep_dtype_size(t->dtype) / rows;
    for (int64_t r = 0; r < n; r++) {
        int64_t at = row0 + r;

        if (t->interleaved > 0)
            at = qep_st_interleaved(at, rows, t->interleaved);
        QEP_TRY(read_f32(s, t, at, 1, dst + r * cols));
        for (int64_t k = 0; k < cols; k++)
            dst[r * cols + k] -= t->more;
    }
    return QEP_OK;
}
