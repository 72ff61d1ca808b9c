/* safetensors, inside: file handles, name table and checked header, shared by reader and writer.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_SAFETENSORS_PRIV_H
#define QEP_SAFETENSORS_PRIV_H

#include "qep/safetensors.h"

#include <stdatomic.h>

#define QEP_ST_MAX_HEADER INT64_C(100000000) /* bytes; the limit of the reference reader */

#define QEP_ST_SINGLE "model.safetensors"
#define QEP_ST_INDEX "model.safetensors.index.json"

/* --- file.c: one file whose descriptor is opened at first use and kept ------------------ */

typedef struct qep_st_handle {
    char *path;      /* owned */
    int64_t bytes;   /* the size it must have */
    _Atomic int64_t written; /* time of its last change when it was opened, ns */
    atomic_int fd;   /* -1: not open yet; threads may race to open it */
    atomic_bool dirty; /* written since the last fsync */
} qep_st_handle;

void qep_st_handle_init(qep_st_handle *h, char *path /* [take] */, int64_t bytes);
/* Closes and frees the path; false when close reported an error (errno). */
bool qep_st_handle_end(qep_st_handle *h);
/* Descriptor of an existing file of the expected size. flags: O_RDONLY or O_WRONLY. */
qep_status qep_st_handle_fd(qep_st_handle *h, int flags, int *fd);

/* QEP_E_INPUT when an open file has another size or was written to since it was opened for reading. */
qep_status qep_st_handle_unchanged(const qep_st_handle *h);

/* pread/pwrite until all bytes are through. The number of bytes done; less than wanted: end of file
 * (errno 0) or an error (errno). */
int64_t qep_st_pread(int fd, void *buf, int64_t bytes, int64_t offset);
int64_t qep_st_pwrite(int fd, const void *buf, int64_t bytes, int64_t offset);
int qep_st_fsync(int fd); /* 0, or -1 with errno */

/* --- names.c: tensor name -> index ---------------------------------------------------- */

typedef struct qep_st_names {
    int64_t *slots; /* index + 1; 0: empty; open addressing */
    int64_t n_slots, n;
} qep_st_names;

/* Adds tensors[index]; false when its name is already there. */
bool qep_st_names_add(qep_st_names *m, const qep_st_tensor *tensors, int64_t index);
/* Index of name, -1 when absent. */
int64_t qep_st_names_find(const qep_st_names *m, const qep_st_tensor *tensors, const char *name);
void qep_st_names_free(qep_st_names *m);

/* --- shape.c ----------------------------------------------------------------------------- */

/* Bytes of a tensor; false when the product overflows, an extent is negative or the bits do not
 * fill whole bytes. */
bool qep_st_shape_bytes(qep_dtype dtype, int rank, const int64_t *shape, int64_t *bytes);

/* --- header.c: one file's header, with all checks of the format ------------------------- */

typedef struct qep_st_header {
    int64_t file_bytes;
    uint64_t hash;          /* over header text and file size */
    int64_t n;
    qep_st_tensor *tensors; /* in file order; names point into `names` */
    char *names;
    qep_json *metadata;     /* NULL: none */
} qep_st_header;

/* QEP_E_INPUT: not there, or not a sound safetensors file; QEP_E_IO. *out is empty on error. */
qep_status qep_st_header_read(const char *path, qep_st_header *out);
void qep_st_header_free(qep_st_header *h);

/* entries.c: JSON object -> checked, sorted tensors. data0: file offset of the data. */
qep_status qep_st_entries_parse(const char *path, const qep_json *root, int64_t data0,
                                qep_st_header *out);

/* --- set.c ------------------------------------------------------------------------------- */

typedef struct qep_st_part {
    qep_st_handle handle;
    char *names;
    qep_json *metadata;
} qep_st_part;

struct qep_st_set {
    int n_parts;
    qep_st_part *parts;
    int64_t n;
    qep_st_tensor *tensors;
    qep_st_names index;
    uint64_t identity;
    char *split_names; /* of parts (split.c) */
};

/* An empty set with room for n_parts files. */
qep_st_set *qep_st_set_create(int n_parts);
/* Puts one file's header in place `part`, taking what it owns. weight_map: NULL, or take only the
 * tensors that it has in this file. */
void qep_st_set_put(qep_st_set *s, int part, const char *path, qep_st_header *h,
                    const qep_json *weight_map);
/* Builds the name table. QEP_E_INPUT when a name is there twice. */
qep_status qep_st_set_seal(qep_st_set *s);

/* --- layout.c ------------------------------------------------------------------------------ */

typedef struct qep_st_planned {
    char *name;          /* base name */
    char *header;        /* length field and padded JSON: the file's bytes before the data */
    int64_t header_bytes;
    int64_t data_bytes;
} qep_st_planned;

struct qep_st_layout {
    qep_st_tensor *tensors; /* in the order of the calls */
    int64_t n, cap;
    qep_st_names index;
    int n_files; /* 0 until finished */
    qep_st_planned *files;
    int64_t total; /* data bytes */
    char stamp[QEP_ST_STAMP + 1];
};

/* DIR/<file i>SUFFIX; qep_free. */
char *qep_st_layout_path(const qep_st_layout *l, int i, const char *dir, const char *suffix);

#endif
