/* Integer arrays of any HDF5 file, read by one process: token ids made by other programs.
 * SPDX-License-Identifier: Apache-2.0 */
#include "store_priv.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

struct qep_h5_array {
    char *path, *name;
    hid_t file, set;
    int rank;
    int64_t shape[2]; /* [n, 1] for rank 1 */
};

static qep_status check_kind(qep_h5_array *a)
{
    hid_t type = H5Dget_type(a->set), space = H5Dget_space(a->set);
    hsize_t dims[2] = {0, 1};
    bool integer = H5Tget_class(type) == H5T_INTEGER;

    a->rank = H5Sget_simple_extent_ndims(space);
    if (a->rank == 1 || a->rank == 2)
        (void)H5Sget_simple_extent_dims(space, dims, NULL);
    H5Sclose(space);
    H5Tclose(type);
    a->shape[0] = (int64_t)dims[0];
    a->shape[1] = (int64_t)dims[1];
    if (!integer)
        return qep_fail(QEP_E_INPUT, "%s: dataset \"%s\" does not hold integers", a->path, a->name);
    if (a->rank != 1 && a->rank != 2)
        return qep_fail(QEP_E_INPUT, "%s: dataset \"%s\" has %d dimensions; 1 or 2 are needed",
                        a->path, a->name, a->rank);
    return QEP_OK;
}

static qep_status open_array(qep_h5_array *a)
{
    hid_t how;

    if (access(a->path, R_OK) != 0)
        return qep_fail(QEP_E_INPUT, "cannot open %s: %s", a->path, strerror(errno));
    how = qep_store_serial_access();
    a->file = H5Fopen(a->path, H5F_ACC_RDONLY, how);
    if (a->file < 0)
        (void)qep_store_fail(QEP_E_INPUT, "cannot open %s: not HDF5, truncated or damaged",
                             a->path);
    H5Pclose(how);
    if (a->file < 0)
        return QEP_E_INPUT;
    a->set = H5Dopen2(a->file, a->name, H5P_DEFAULT);
    if (a->set < 0)
        return qep_store_fail(QEP_E_INPUT, "%s has no dataset \"%s\"; h5ls -r lists what it has",
                              a->path, a->name);
    return check_kind(a);
}

qep_status qep_h5_open(const char *path, const char *dataset, qep_h5_array **out, int *rank,
                       int64_t shape[2])
{
    qep_h5_array *a = qep_alloc("store.array", 1, sizeof *a);
    qep_status st;

    a->path = qep_strdup("store.array", path);
    a->name = qep_strdup("store.array", dataset);
    a->file = a->set = -1;
    qep_store_quiet();
    *out = a;
    st = open_array(a);
    *rank = a->rank;
    shape[0] = a->shape[0];
    shape[1] = a->shape[1];
    if (st != QEP_OK)
        qep_h5_close(out);
    return st;
}

/* A rectangle of the dataset, converted to int64. */
static bool read_rectangle(const qep_h5_array *a, int64_t row, int64_t col, int64_t rows,
                           int64_t cols, int64_t *dst)
{
    hsize_t start[2] = {(hsize_t)row, (hsize_t)col}, count[2] = {(hsize_t)rows, (hsize_t)cols};
    hid_t file = H5Dget_space(a->set), memory = H5Screate_simple(a->rank, count, NULL);
    bool ok = H5Sselect_hyperslab(file, H5S_SELECT_SET, start, NULL, count, NULL) >= 0 &&
              H5Dread(a->set, H5T_NATIVE_INT64, memory, file, H5P_DEFAULT, dst) >= 0;
    hid_t reason = H5Eget_current_stack(); /* closing would clear it */

    H5Sclose(memory);
    H5Sclose(file);
    H5Eset_current_stack(reason);
    return ok;
}

/* Row by row at the ragged ends, all whole rows between them at once. */
qep_status qep_h5_read_i64(qep_h5_array *a, int64_t first, int64_t n, int64_t *dst)
{
    int64_t width = a->shape[1], end = first + n;

    QEP_REQUIRE(first >= 0 && n >= 0 && first <= a->shape[0] * width - n);
    while (first < end) {
        int64_t row = first / width, col = first % width, rows = 1, cols = width - col;

        if (col == 0 && end - first >= width)
            rows = (end - first) / width;
        else
            cols = qep_min_i64(cols, end - first);
        if (qep_fault("store.read") || !read_rectangle(a, row, col, rows, cols, dst))
            return qep_store_fail(QEP_E_IO, "%s: reading %lld elements of \"%s\" failed", a->path,
                                  (long long)(rows * cols), a->name);
        first += rows * cols;
        dst += rows * cols;
    }
    return QEP_OK;
}

void qep_h5_close(qep_h5_array **a)
{
    if (!*a)
        return;
    if ((*a)->set >= 0)
        H5Dclose((*a)->set);
    if ((*a)->file >= 0)
        H5Fclose((*a)->file);
    qep_free((*a)->path);
    qep_free((*a)->name);
    qep_free(*a);
    *a = NULL;
}
