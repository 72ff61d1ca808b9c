/* The writing side: create the temporary file, put datasets and texts.
 * SPDX-License-Identifier: Apache-2.0 */
#include "store_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* Root makes the file first: the operating system's reason is clearer than MPI-IO's. */
static qep_status make_file(const char *tmp)
{
    int fd;

    if (qep_fault("store.create"))
        return qep_fail(QEP_E_IO, "cannot create %s: injected fault", tmp);
    QEP_TRY(qep_file_remove(tmp));
    fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return qep_fail(QEP_E_IO, "cannot create %s: %s", tmp, strerror(errno));
    if (close(fd) != 0)
        return qep_fail(QEP_E_IO, "cannot close %s: %s", tmp, strerror(errno));
    return QEP_OK;
}

static qep_status create_hdf5(qep_store *s)
{
    hid_t access = qep_store_parallel_access(s->comm), creation = H5Pcreate(H5P_FILE_CREATE);
    qep_status st = QEP_OK;

    (void)H5Pset_obj_track_times(creation, false); /* of the root group; see make_dataset */
    s->file = H5Fcreate(s->tmp, H5F_ACC_TRUNC, creation, access);
    if (s->file < 0)
        st = qep_store_fail(QEP_E_IO, "cannot create %s", s->tmp);
    H5Pclose(creation);
    H5Pclose(access);
    return st;
}

static qep_status mark_format(const qep_store *s)
{
    /* collective calls: every rank makes both */
    bool format = qep_store_set_text(s->file, "format", QEP_STORE_FORMAT);
    bool version = qep_store_set_u64(s->file, "version", QEP_STORE_VERSION);

    if (!format || !version)
        return qep_store_fail(QEP_E_IO, "cannot write to %s", s->tmp);
    return QEP_OK;
}

qep_status qep_store_create_all(qep_comm *c, const char *path, qep_store **out)
{
    qep_store *s = qep_alloc("store", 1, sizeof *s);
    qep_status st = QEP_OK;

    *out = s;
    s->comm = c;
    s->path = qep_strdup("store", path);
    s->tmp = qep_strf("store", "%s.tmp", path);
    s->file = -1;
    qep_store_quiet();
    QEP_GO(st, qep_agree_all(c, qep_rank(c) == 0 ? QEP_ALONE("checkpoint", make_file(s->tmp)) : QEP_OK));
    QEP_GO(st, qep_store_make_room_all(s, 0)); /* a full disk is found before HDF5 has anything to write */
    QEP_GO(st, qep_agree_all(c, create_hdf5(s)));
    s->room = 0; /* H5Fcreate cuts the file to nothing */
    st = qep_store_make_room_all(s, 0);
    if (st != QEP_OK) { /* somebody filled the disk in this moment: closing the file would hang (room.c) */
        s->file = -1;
        qep_set_stuck();
        goto done;
    }
    QEP_GO(st, qep_agree_all(c, mark_format(s)));

done:
    if (st != QEP_OK)
        qep_store_close_all(out);
    return st;
}

/* Collective in HDF5: same arguments on all ranks. */
static qep_status make_dataset(const qep_store *s, const char *name, hid_t type, int64_t rows,
                               int64_t cols, hid_t *set)
{
    hsize_t extent[2] = {(hsize_t)rows, (hsize_t)cols};
    hid_t space = H5Screate_simple(2, extent, NULL);
    hid_t layout = H5Pcreate(H5P_DATASET_CREATE), link = H5Pcreate(H5P_LINK_CREATE);
    qep_status st = QEP_OK;

    /* every byte is written by somebody: no fill values, space at once */
    (void)H5Pset_layout(layout, H5D_CONTIGUOUS);
    (void)H5Pset_fill_time(layout, H5D_FILL_TIME_NEVER);
    (void)H5Pset_alloc_time(layout, H5D_ALLOC_TIME_EARLY);
    (void)H5Pset_obj_track_times(layout, false); /* equal runs write equal files */
    (void)H5Pset_create_intermediate_group(link, 1);
    *set = H5Dcreate2(s->file, name, type, space, link, layout, H5P_DEFAULT);
    if (*set < 0)
        st = qep_store_fail(QEP_E_IO, "%s: cannot create dataset \"%s\"", s->tmp, name);
    H5Pclose(link);
    H5Pclose(layout);
    H5Sclose(space);
    return st;
}

static qep_status write_rows(const qep_store *s, const char *name, hid_t set, hid_t type,
                             int64_t cols, int64_t row0, int64_t n, const void *data)
{
    if (qep_fault("store.write"))
        return qep_fail(QEP_E_IO, "%s: writing dataset \"%s\" failed: injected fault", s->tmp,
                        name);
    if (!qep_store_write_slab(set, type, cols, row0, n, QEP_STORE_PIECE, data))
        return qep_store_fail(QEP_E_IO, "%s: writing dataset \"%s\" failed; is the disk full?",
                              s->tmp, name);
    return QEP_OK;
}

static qep_status describe(const qep_store *s, const char *name, hid_t set,
                           const char *description, const char *unit, uint64_t checksum)
{
    /* collective calls: every rank makes all three */
    bool text = qep_store_set_text(set, "description", description);
    bool units = qep_store_set_text(set, "unit", unit);
    bool sum = qep_store_set_u64(set, "checksum", checksum);

    if (!text || !units || !sum)
        return qep_store_fail(QEP_E_IO, "%s: cannot describe dataset \"%s\"", s->tmp, name);
    return QEP_OK;
}

qep_status qep_store_put_all(qep_store *s, const char *name, const char *description,
                             const char *unit, qep_dtype dtype, int64_t rows, int64_t cols,
                             int64_t row0, int64_t n, const void *data)
{
    qep_status st = QEP_OK;
    hid_t set = -1, type;
    qep_store_sums sums;

    QEP_REQUIRE(s->tmp && description[0] && unit[0] && rows >= 0 && cols >= 0);
    QEP_REQUIRE(row0 >= 0 && n >= 0 && row0 <= rows && n <= rows - row0);
    if (s->failed)
        return qep_fail(QEP_E_IO, "%s: an earlier write failed", s->tmp);
    type = qep_store_type(dtype);
    QEP_GO(st, qep_store_make_room_all(s, rows * cols * qep_dtype_size(dtype)));
    QEP_GO(st, qep_agree_all(s->comm, make_dataset(s, name, type, rows, cols, &set)));
    if (rows * cols > 0)
        s->end = qep_max_i64(s->end, (int64_t)H5Dget_offset(set) + rows * cols * qep_dtype_size(dtype)); /* a small one may lie in a gap before */
    QEP_GO(st, qep_agree_all(s->comm, write_rows(s, name, set, type, cols, row0, n, data)));
    sums = qep_store_row_sums(data, cols * qep_dtype_size(dtype), row0, n);
    qep_sum_u64_all(s->comm, sums.v, 3);
    QEP_REQUIRE(qep_store_covers(&sums, rows));
    QEP_GO(st, qep_agree_all(s->comm, describe(s, name, set, description, unit, sums.v[0])));

done:
    if (set >= 0)
        H5Dclose(set);
    H5Tclose(type);
    s->failed = st != QEP_OK;
    return st;
}

qep_status qep_store_put_text_all(qep_store *s, const char *name, const char *description,
                                  const char *text)
{
    bool root = qep_rank(s->comm) == 0;
    int64_t bytes = root ? (int64_t)strlen(text) : 0;

    qep_bcast_all(s->comm, 0, &bytes, (int64_t)sizeof bytes);
    return qep_store_put_all(s, name, description, "bytes of UTF-8 text", QEP_U8, 1, bytes,
                             root ? 0 : 1, root ? 1 : 0, root ? text : NULL);
}

qep_status qep_store_put_note_all(qep_store *s, const char *name, const char *text)
{
    qep_status st = QEP_OK;

    QEP_REQUIRE(s->tmp && text[0]);
    if (s->failed)
        return qep_fail(QEP_E_IO, "%s: an earlier write failed", s->tmp);
    if (!qep_store_set_text(s->file, name, text))
        st = qep_store_fail(QEP_E_IO, "%s: cannot write the attribute \"%s\"", s->tmp, name);
    st = qep_agree_all(s->comm, st);
    s->failed = st != QEP_OK;
    return st;
}
