/* safetensors: header index with the checks of the reference reader, ranged reads, preallocated writer.
 * No MPI: every rank may open the same file. Format facts: safetensors README, formats.md. Fault sites:
 * "safetensors.open", "safetensors.read", "safetensors.create", "safetensors.write", "safetensors.sync".
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_SAFETENSORS_H
#define QEP_SAFETENSORS_H

#include "qep/json.h"
#include "qep/tensor.h"

#define QEP_ST_MAX_RANK 8

typedef struct qep_st_tensor {
    char *name;                     /* owned by the file */
    qep_dtype dtype;
    int rank;
    int64_t shape[QEP_ST_MAX_RANK];
    int64_t offset, bytes;          /* from the start of the file; bytes of data */
    int shard;                      /* index into the set's files */
    /* Other containers may store it in another way, which the readers of rows undo: */
    int64_t interleaved;            /* > 0: row r of so many equal parts is at qep_st_interleaved */
    float more;                     /* stored values are so much larger */
} qep_st_tensor;

/* Where row r of `rows` is when the two halves of each of `parts` equal parts are interleaved. */
int64_t qep_st_interleaved(int64_t r, int64_t rows, int64_t parts);

/* --- reading -------------------------------------------------------------------------- */

typedef struct qep_st_set qep_st_set; /* one file, or all shards of a model directory */

/* Opens one file. All checks of the format (header length, JSON, dtypes, shapes, no holes, no overlap, exact file
 * length). QEP_E_INPUT with file and tensor name; QEP_E_IO. *out NULL on error. */
QEP_MUST_CHECK qep_status qep_st_open_file(const char *path, qep_st_set **out);
/* Opens DIR/model.safetensors, or the shards of DIR/model.safetensors.index.json (every tensor of the weight_map
 * must be in the shard it names; tensors of the shards that the map does not mention are ignored).
 * Clear refusals: pytorch_model*.bin only, no weights, missing shard, tensor missing. */
QEP_MUST_CHECK qep_status qep_st_open_dir(const char *dir, qep_st_set **out);
/* Tensors [n] of one file of another container, whose header the caller has read: names are copied, shard is set, bytes and offsets lie inside. metadata is taken,
 * also on failure. QEP_E_INPUT: a name is there twice. */
QEP_MUST_CHECK qep_status qep_st_open_as(const char *path, int64_t file_bytes, const qep_st_tensor *tensors, int64_t n, qep_json *metadata /* [take] */, qep_st_set **out);
void qep_st_close(qep_st_set **s);
/* A tensor of n equal parts, each some of its rows (all axes but the last count rows), and a name for each. */
typedef struct qep_st_cut {
    const qep_st_tensor *tensor;    /* of rank 2 or more, in the set */
    int64_t n;
    char **names;                   /* borrowed */
} qep_st_cut;
/* The parts, matrices of their own now, take the place of their tensors: pointers to tensors of the set no longer hold, those to parts are
 * found by name. Once per set. QEP_E_INPUT when a name is there already. */
QEP_MUST_CHECK qep_status qep_st_split(qep_st_set *s, const qep_st_cut *cuts, int64_t n_cuts);
int64_t qep_st_count(const qep_st_set *s);
const qep_st_tensor *qep_st_at(const qep_st_set *s, int64_t i);            /* in file order, shards in order */
const qep_st_tensor *qep_st_find(const qep_st_set *s, const char *name);   /* NULL when absent; O(1) or O(log n) */
int qep_st_n_files(const qep_st_set *s);
const char *qep_st_file(const qep_st_set *s, int shard);   /* path */
int64_t qep_st_file_bytes(const qep_st_set *s, int shard); /* size seen at open */
const qep_json *qep_st_metadata(const qep_st_set *s, int shard); /* the __metadata__ object or NULL */
/* Hash over all headers and file sizes: the identity of the model's files (cheap, not of the data). */
uint64_t qep_st_identity(const qep_st_set *s);
/* Raw bytes [begin, begin+bytes) of a tensor as they are stored. Short reads are QEP_E_IO with file and tensor name. */
QEP_MUST_CHECK qep_status qep_st_read(const qep_st_set *s, const qep_st_tensor *t, int64_t begin, int64_t bytes, void *dst);
/* Its values and the order of its rows are those of the file. */
bool qep_st_is_plain(const qep_st_tensor *t);
/* QEP_E_INPUT when a file that was read from has another size or was written to since (names it). */
QEP_MUST_CHECK qep_status qep_st_unchanged(const qep_st_set *s);
/* These bytes will be read soon: the operating system may begin to fetch them while the caller goes on. A hint, nothing more: says nothing when it cannot be given. */
void qep_st_expect(const qep_st_set *s, const qep_st_tensor *t, int64_t begin, int64_t bytes);
/* Raw bytes of rows [row0, row0+n). */
QEP_MUST_CHECK qep_status qep_st_read_rows(const qep_st_set *s, const qep_st_tensor *t, int64_t row0, int64_t n, void *dst);
/* Rows [row0, row0+n) of a tensor [rows, ...] converted to f32. dtype must be a float type. A value that is not
 * finite is QEP_E_INPUT naming file, tensor, row and column. */
QEP_MUST_CHECK qep_status qep_st_read_rows_f32(const qep_st_set *s, const qep_st_tensor *t, int64_t row0, int64_t n, float *dst);

/* --- writing: all names, shapes and offsets are known before the first byte of data ------- */

typedef struct qep_st_layout qep_st_layout; /* the planned files */

qep_st_layout *qep_st_layout_create(void);
void qep_st_layout_destroy(qep_st_layout **l);
/* Adds one tensor (order of calls is kept as the model's order). Name must be new, the shape's bytes whole: else
 * QEP_E_INTERNAL. Pointers from find and at are valid after finish. */
QEP_MUST_CHECK qep_status qep_st_layout_add(qep_st_layout *l, const char *name, qep_dtype dtype, int rank, const int64_t *shape);
/* Cuts into shards of at most shard_bytes data (a tensor never spans shards; a larger tensor gets its own), orders
 * each file by falling element size, fixes headers (metadata "format":"pt") and offsets. Names: model.safetensors,
 * or model-00001-of-0000N.safetensors. QEP_E_CONFIG when shard_bytes <= 0 or a header passes the readers' limit. */
QEP_MUST_CHECK qep_status qep_st_layout_finish(qep_st_layout *l, int64_t shard_bytes);
/* Instead of finish: one file of another container, whose header (with the mark of a stamp in it) and whose offsets of tensors from the end of the header
 * the caller has made; offsets [count]. */
void qep_st_layout_finish_as(qep_st_layout *l, const char *file, char *header /* [take] */, int64_t header_bytes, const int64_t *offsets, int64_t data_bytes);
/* A stamp in every header's metadata ("qep_mpi"): says which run a file belongs to. Exactly QEP_ST_STAMP characters (hex), so that no
 * offset changes; zeros until it is set. After finish. */
enum { QEP_ST_STAMP = 16 };
#define QEP_ST_STAMP_KEY "qep_mpi"
#define QEP_ST_STAMP_MARK "\"" QEP_ST_STAMP_KEY "\":\"" /* stands in front of the stamp in a header */
void qep_st_layout_set_stamp(qep_st_layout *l, const char *stamp);
const char *qep_st_layout_stamp(const qep_st_layout *l);
int qep_st_layout_n_files(const qep_st_layout *l);
const char *qep_st_layout_file(const qep_st_layout *l, int i);        /* base name */
int64_t qep_st_layout_file_bytes(const qep_st_layout *l, int i);      /* complete size */
int64_t qep_st_layout_total_size(const qep_st_layout *l);             /* data bytes of all tensors (index.json) */
const qep_st_tensor *qep_st_layout_find(const qep_st_layout *l, const char *name);
int64_t qep_st_layout_count(const qep_st_layout *l);
const qep_st_tensor *qep_st_layout_at(const qep_st_layout *l, int64_t i);
/* Text of model.safetensors.index.json (qep_free), NULL when there is one file. */
char *qep_st_layout_index_text(const qep_st_layout *l);
/* Creates DIR/<file>SUFFIX of every file: full size (posix_fallocate: a full disk is found here, QEP_E_RESOURCE),
 * header written, fsynced. One process calls this (rank 0). */
QEP_MUST_CHECK qep_status qep_st_layout_create_files(const qep_st_layout *l, const char *dir, const char *suffix);
/* True when file i, or every file, exists with the right size and header (a restart). */
bool qep_st_layout_file_matches(const qep_st_layout *l, int i, const char *dir, const char *suffix);
bool qep_st_layout_files_match(const qep_st_layout *l, const char *dir, const char *suffix);

typedef struct qep_st_writer qep_st_writer; /* open files of a layout, for one process */
QEP_MUST_CHECK qep_status qep_st_writer_open(const qep_st_layout *l /* [keep] */, const char *dir, const char *suffix, qep_st_writer **out);
/* Bytes of tensor t at offset begin inside the tensor. Any process, any order, disjoint ranges. */
QEP_MUST_CHECK qep_status qep_st_write(qep_st_writer *w, const qep_st_tensor *t, int64_t begin, int64_t bytes, const void *src);
/* A [rows, row_bytes] block written as columns [byte0, byte0 + n) of each of `rows` rows of `stride` bytes: the
 * way a slice of output channels goes into a [K/.., N] tensor. src is [rows, n] bytes. */
QEP_MUST_CHECK qep_status qep_st_write_columns(qep_st_writer *w, const qep_st_tensor *t, int64_t rows, int64_t stride, int64_t byte0, int64_t n, const void *src);
/* Bytes [begin, begin + bytes) of t as they are in the file. For a writer that has been opened after all processes closed theirs. */
QEP_MUST_CHECK qep_status qep_st_written(qep_st_writer *w, const qep_st_tensor *t, int64_t begin, int64_t bytes, void *dst);
QEP_MUST_CHECK qep_status qep_st_writer_sync(qep_st_writer *w); /* fsync of every file written since the last sync */
QEP_MUST_CHECK qep_status qep_st_writer_close(qep_st_writer **w); /* sync and close */

#endif
