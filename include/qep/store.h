/* store: one checkpoint file, parallel HDF5 (its only door). Global row-distributed datasets, so that another number of ranks can read.
 * Recipe: write NAME.tmp, "complete" attribute last, flush, close, fsync, hard-link NAME to NAME.prev, rename, fsync of the
 * directory. A good file is never reopened for writing. Every dataset carries a checksum that does not depend on the split of rows.
 * Fault sites: "store.create", "store.room", "store.write", "store.seal", "store.open", "store.read". SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_STORE_H
#define QEP_STORE_H

#include "qep/par.h"
#include "qep/tensor.h"

typedef struct qep_store qep_store;

/* Creates PATH.tmp (an old one is replaced). All functions collective; error: QEP_E_IO, equal on all ranks; the store stays usable
 * only for abandon. */
QEP_MUST_CHECK qep_status qep_store_create_all(qep_comm *c /* [keep] */, const char *path, qep_store **out);
/* Dataset of [rows, cols] of dtype (F32, F64, I32, I64, U64, U8, BF16 as a proper float type); this rank writes rows
 * [row0, row0 + n), n may be 0; the ranks' slabs are disjoint and cover all rows. Contiguous layout, independent transfers in slabs of at most 1 GiB. description and
 * unit become attributes (must not be empty). */
QEP_MUST_CHECK qep_status qep_store_put_all(qep_store *s, const char *name, const char *description, const char *unit, qep_dtype dtype,
                                            int64_t rows, int64_t cols, int64_t row0, int64_t n, const void *data);
/* Root's text as a dataset of bytes (may be large). */
QEP_MUST_CHECK qep_status qep_store_put_text_all(qep_store *s, const char *name, const char *description, const char *text);
/* One line as an attribute of the file, the same on all ranks; not empty. For people and other programs: nothing here reads it. */
QEP_MUST_CHECK qep_status qep_store_put_note_all(qep_store *s, const char *name, const char *text);
/* Completes, makes durable and publishes under PATH (the old PATH becomes PATH.prev when keep >= 2, else it is replaced).
 * On any error nothing is published and PATH stays. Frees. */
QEP_MUST_CHECK qep_status qep_store_seal_all(qep_store **s, int keep);
/* Drops an unfinished file (removes the .tmp) or closes one that was read. NULL allowed. */
void qep_store_close_all(qep_store **s);

/* Opens a published file for reading. QEP_E_IO when it does not open, QEP_E_CHECKPOINT when it is incomplete or not ours. */
QEP_MUST_CHECK qep_status qep_store_open_all(qep_comm *c /* [keep] */, const char *path, qep_store **out);
/* Shape of a dataset; QEP_E_CHECKPOINT when absent. */
QEP_MUST_CHECK qep_status qep_store_shape_all(qep_store *s, const char *name, int64_t *rows, int64_t *cols);
/* Reads my slab; the ranks' slabs must cover all rows exactly once: the checksum is verified over all ranks.
 * QEP_E_CHECKPOINT on a wrong type, shape or checksum (names file and dataset). */
QEP_MUST_CHECK qep_status qep_store_get_all(qep_store *s, const char *name, qep_dtype dtype, int64_t rows, int64_t cols, int64_t row0, int64_t n, void *data);
/* Text to every rank (qep_free, NUL-terminated); checksum verified. */
QEP_MUST_CHECK qep_status qep_store_get_text_all(qep_store *s, const char *name, char **text);
/* PATH.prev takes PATH's place, whose file cannot be used: the next one is kept beside a good one. Root renames, all agree. */
QEP_MUST_CHECK qep_status qep_store_take_previous_all(qep_comm *c, const char *path);
/* Removes PATH, PATH.prev and PATH.tmp (end of a run). Root removes, all agree. */
QEP_MUST_CHECK qep_status qep_store_remove_all(qep_comm *c, const char *path);
/* HDF5 version, one line. */
const char *qep_store_library(void);

/* Token ids from an HDF5 file without MPI (each rank opens it for itself): dataset NAME, 1-D or 2-D of any integer type. */
typedef struct qep_h5_array qep_h5_array;
QEP_MUST_CHECK qep_status qep_h5_open(const char *path, const char *dataset, qep_h5_array **out, int *rank, int64_t shape[2]);
/* n elements from flat index `first` as int64. QEP_E_IO. */
QEP_MUST_CHECK qep_status qep_h5_read_i64(qep_h5_array *a, int64_t first, int64_t n, int64_t *dst);
void qep_h5_close(qep_h5_array **a);

#endif
