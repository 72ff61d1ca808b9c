/* The reading side: open a published file, read datasets with any split of the rows.
 * SPDX-License-Identifier: Apache-2.0 */
#include "store_priv.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static qep_status check_marks(const char *path, hid_t file)
{
    uint64_t version = 0, whole = 0;

    if (!qep_store_is_text(file, "format", QEP_STORE_FORMAT))
        return qep_fail(QEP_E_CHECKPOINT, "%s is an HDF5 file, but not a checkpoint of qep_mpi",
                        path);
    if (!qep_store_get_u64(file, "version", &version) || version != QEP_STORE_VERSION)
        return qep_fail(QEP_E_CHECKPOINT, "%s was written in format version %llu, this program "
                        "reads %llu; restart without it", path, (unsigned long long)version,
                        (unsigned long long)QEP_STORE_VERSION);
    if (!qep_store_get_u64(file, "complete", &whole) || whole != 1)
        return qep_fail(QEP_E_CHECKPOINT, "%s is incomplete: its writer was interrupted", path);
    return QEP_OK;
}

/* Root looks alone first: a damaged file is found before all ranks depend on it. */
static qep_status inspect(const char *path)
{
    hid_t how, file;
    qep_status st;

    if (qep_fault("store.open"))
        return qep_fail(QEP_E_IO, "cannot open %s: injected fault", path);
    if (access(path, R_OK) != 0)
        return qep_fail(QEP_E_IO, "cannot open %s: %s", path, strerror(errno));
    how = qep_store_serial_access();
    file = H5Fopen(path, H5F_ACC_RDONLY, how);
    st = file < 0 ? qep_store_fail(QEP_E_IO, "cannot open %s: truncated, damaged or not HDF5", path)
                  : check_marks(path, file);
    if (file >= 0)
        H5Fclose(file);
    H5Pclose(how);
    return st;
}

static qep_status open_hdf5(qep_store *s)
{
    hid_t access = qep_store_parallel_access(s->comm);
    qep_status st = QEP_OK;

    s->file = H5Fopen(s->path, H5F_ACC_RDONLY, access);
    if (s->file < 0)
        st = qep_store_fail(QEP_E_IO, "cannot open %s", s->path);
    H5Pclose(access);
    return st;
}

qep_status qep_store_open_all(qep_comm *c, const char *path, qep_store **out)
{
    qep_store *s = qep_alloc("store", 1, sizeof *s);
    qep_status st = QEP_OK;

    *out = s;
    s->comm = c;
    s->path = qep_strdup("store", path);
    s->file = -1;
    qep_store_quiet();
    QEP_GO(st, qep_agree_all(c, qep_rank(c) == 0 ? QEP_ALONE("checkpoint", inspect(path)) : QEP_OK));
    QEP_GO(st, qep_agree_all(c, open_hdf5(s)));

done:
    if (st != QEP_OK)
        qep_store_close_all(out);
    return st;
}

/* Collective in HDF5. *set is open only when QEP_OK. */
static qep_status open_dataset(const qep_store *s, const char *name, hid_t *set, int64_t extent[2])
{
    hsize_t dims[2] = {0, 0};
    hid_t space;
    int rank;

    *set = H5Dopen2(s->file, name, H5P_DEFAULT);
    if (*set < 0)
        return qep_store_fail(QEP_E_CHECKPOINT, "%s has no dataset \"%s\"", s->path, name);
    space = H5Dget_space(*set);
    rank = H5Sget_simple_extent_ndims(space);
    if (rank == 2)
        (void)H5Sget_simple_extent_dims(space, dims, NULL);
    H5Sclose(space);
    extent[0] = (int64_t)dims[0];
    extent[1] = (int64_t)dims[1];
    if (rank == 2)
        return QEP_OK;
    H5Dclose(*set);
    *set = -1;
    return qep_fail(QEP_E_CHECKPOINT, "%s: dataset \"%s\" has %d dimensions, not 2", s->path, name,
                    rank);
}

qep_status qep_store_shape_all(qep_store *s, const char *name, int64_t *rows, int64_t *cols)
{
    int64_t extent[2] = {0, 0};
    hid_t set = -1;
    qep_status st;

    QEP_REQUIRE(!s->tmp);
    st = qep_agree_all(s->comm, open_dataset(s, name, &set, extent));
    if (set >= 0)
        H5Dclose(set);
    *rows = extent[0];
    *cols = extent[1];
    return st;
}

/* Type and shape are what the caller expects; *checksum is what the writer noted. */
static qep_status check_dataset(const qep_store *s, const char *name, hid_t set,
                                const int64_t extent[2], hid_t type, int64_t rows, int64_t cols,
                                uint64_t *checksum)
{
    hid_t seen = H5Dget_type(set);
    bool same = seen >= 0 && H5Tequal(seen, type) > 0;

    if (seen >= 0)
        H5Tclose(seen);
    if (!same)
        return qep_fail(QEP_E_CHECKPOINT, "%s: dataset \"%s\" has another element type than this "
                        "run needs", s->path, name);
    if (extent[0] != rows || extent[1] != cols)
        return qep_fail(QEP_E_CHECKPOINT, "%s: dataset \"%s\" is [%lld, %lld], this run needs "
                        "[%lld, %lld]", s->path, name, (long long)extent[0], (long long)extent[1],
                        (long long)rows, (long long)cols);
    if (!qep_store_get_u64(set, "checksum", checksum))
        return qep_fail(QEP_E_CHECKPOINT, "%s: dataset \"%s\" has no checksum", s->path, name);
    return QEP_OK;
}

static qep_status read_rows(const qep_store *s, const char *name, hid_t set, hid_t type,
                            int64_t cols, int64_t row0, int64_t n, void *data)
{
    if (qep_fault("store.read"))
        return qep_fail(QEP_E_IO, "%s: reading dataset \"%s\" failed: injected fault", s->path,
                        name);
    if (!qep_store_read_slab(set, type, cols, row0, n, QEP_STORE_PIECE, data))
        return qep_store_fail(QEP_E_IO, "%s: reading dataset \"%s\" failed", s->path, name);
    return QEP_OK;
}

qep_status qep_store_get_all(qep_store *s, const char *name, qep_dtype dtype, int64_t rows,
                             int64_t cols, int64_t row0, int64_t n, void *data)
{
    qep_status st = QEP_OK;
    int64_t extent[2];
    uint64_t checksum = 0;
    qep_store_sums sums;
    hid_t set = -1, type = qep_store_type(dtype);

    QEP_REQUIRE(!s->tmp && row0 >= 0 && n >= 0 && row0 <= rows && n <= rows - row0);
    QEP_GO(st, qep_agree_all(s->comm, open_dataset(s, name, &set, extent)));
    QEP_GO(st, qep_agree_all(s->comm, check_dataset(s, name, set, extent, type, rows, cols,
                                                    &checksum)));
    QEP_GO(st, qep_agree_all(s->comm, read_rows(s, name, set, type, cols, row0, n, data)));
    sums = qep_store_row_sums(data, cols * qep_dtype_size(dtype), row0, n);
    qep_sum_u64_all(s->comm, sums.v, 3);
    QEP_REQUIRE(qep_store_covers(&sums, rows));
    if (sums.v[0] != checksum)
        st = qep_fail(QEP_E_CHECKPOINT, "%s: dataset \"%s\": wrong checksum, the file is damaged",
                      s->path, name);

done:
    if (set >= 0)
        H5Dclose(set);
    H5Tclose(type);
    return st;
}

qep_status qep_store_get_text_all(qep_store *s, const char *name, char **text)
{
    bool root = qep_rank(s->comm) == 0;
    int64_t rows, bytes;
    qep_status st;

    *text = NULL;
    QEP_TRY(qep_store_shape_all(s, name, &rows, &bytes));
    if (root)
        *text = qep_alloc("text", bytes + 1, 1);
    st = qep_store_get_all(s, name, QEP_U8, 1, bytes, root ? 0 : 1, root ? 1 : 0, *text);
    if (st == QEP_OK) {
        qep_bcast_text_all(s->comm, 0, text, &bytes);
    } else {
        qep_free(*text);
        *text = NULL;
    }
    return st;
}

const char *qep_store_library(void)
{
    return H5_VERS_INFO;
}
