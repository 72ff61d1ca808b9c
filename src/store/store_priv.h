/* store, inside: the open file and the small HDF5 helpers. One thread of a process does HDF5.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_STORE_PRIV_H
#define QEP_STORE_PRIV_H

#include "qep/store.h"

#include <hdf5.h>

/* Datasets of at least this size begin at its multiples: file system blocks, stripes. */
#define QEP_STORE_ALIGNMENT (INT64_C(1) << 20)

/* Root attributes: what the file is, and that it is whole. */
#define QEP_STORE_FORMAT "qep_mpi checkpoint"
#define QEP_STORE_VERSION UINT64_C(1)

struct qep_store {
    qep_comm *comm;
    char *path;
    char *tmp;     /* PATH.tmp while writing, NULL when reading */
    hid_t file;
    bool failed;   /* an agreed error happened while writing: only close is allowed */
    int64_t end;   /* of the last dataset's rows in the file */
    int64_t room;  /* bytes of the file that have their place on the disk; root's */
};

/* --- hdf5.c ------------------------------------------------------------------------------ */

/* qep_fail with the printf text, then HDF5's own reason for its last failure. */
qep_status qep_store_fail(qep_status st, const char *fmt, ...) QEP_PRINTF(2, 3);
/* Before all else of HDF5: it prints nothing by itself and does nothing at the process's exit. */
void qep_store_quiet(void);
/* File type of a dtype; H5Tclose. A dtype that the store does not hold is a bug. */
hid_t qep_store_type(qep_dtype dtype);
/* Access through POSIX in this process alone; H5Pclose. */
hid_t qep_store_serial_access(void);
/* Access by all ranks of c; H5Pclose. */
hid_t qep_store_parallel_access(const qep_comm *c);
/* Attributes of an object: one string or one unsigned number; false when HDF5 refused. */
bool qep_store_set_text(hid_t object, const char *name, const char *text);
bool qep_store_set_u64(hid_t object, const char *name, uint64_t value);
bool qep_store_get_u64(hid_t object, const char *name, uint64_t *value);
/* True when the attribute is there and is this string. */
bool qep_store_is_text(hid_t object, const char *name, const char *text);

/* --- room.c ------------------------------------------------------------------------------ */

/* Has the disk's room for a dataset of so many bytes, and for HDF5's own, before HDF5 hears of it. QEP_E_IO. */
QEP_MUST_CHECK qep_status qep_store_make_room_all(qep_store *s, int64_t bytes);

/* --- slab.c ------------------------------------------------------------------------------ */

/* Rows [row0, row0 + n) between memory and the dataset; independent, in pieces of at most
 * piece_bytes; false: HDF5 refused. */
bool qep_store_write_slab(hid_t set, hid_t type, int64_t cols, int64_t row0, int64_t n,
                          int64_t piece_bytes, const void *data);
bool qep_store_read_slab(hid_t set, hid_t type, int64_t cols, int64_t row0, int64_t n,
                         int64_t piece_bytes, void *data);

/* Largest independent transfer: above 2^31 bytes HDF5 1.10 fails. */
#define QEP_STORE_PIECE (INT64_C(1) << 30)

/* --- checksum.c -------------------------------------------------------------------------- */

/* Sums over rows; they add up to the same for any split of the rows over ranks. */
typedef struct qep_store_sums {
    uint64_t v[3]; /* hash of each row keyed by its number; rows; row numbers */
} qep_store_sums;

qep_store_sums qep_store_row_sums(const void *data, int64_t row_bytes, int64_t row0, int64_t n);
/* True when the added sums tell that every row of `rows` was there exactly once. */
bool qep_store_covers(const qep_store_sums *all, int64_t rows);

#endif
