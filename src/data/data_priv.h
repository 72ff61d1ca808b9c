/* Inside data: what a source is made of. SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_DATA_PRIV_H
#define QEP_DATA_PRIV_H

#include "qep/data.h"

/* A .npy file's header. */
typedef struct qep_npy {
    int64_t rows, length; /* 1-D: 1 and n */
    bool is_rows;
    int64_t item_bytes; /* 2, 4, 8 */
    bool is_signed;
    int64_t data_at; /* offset of the first item, bytes */
} qep_npy;

/* Reads the header text [s, s + n) (a Python dictionary, strictly) into rows, length, item. path:
 * for messages. QEP_E_INPUT. */
QEP_MUST_CHECK qep_status qep_npy_header(const char *path, const char *s, int64_t n, qep_npy *out);
/* Header and file size of an open file. */
QEP_MUST_CHECK qep_status qep_npy_open(const char *path, int fd, qep_npy *out);
/* n items from flat index first, as int64. */
QEP_MUST_CHECK qep_status qep_npy_read(const char *path, int fd, const qep_npy *a, int64_t first,
                                       int64_t n, int64_t *dst);

/* Lists the sequences of every calibration file and evaluation set: seqs, n, counts, tokens,
 * max_length. sources: one per file. */
QEP_MUST_CHECK qep_status qep_corpus_plan(const qep_config *cfg, qep_source *const *calibration,
                                          qep_source *const *evaluation, const qep_tasks *tasks,
                                          qep_corpus *out);
void qep_corpus_add(qep_corpus *k, qep_seq s);
/* Tokens of a calibration sequence of this file. */
int64_t qep_calibration_length(const qep_config *cfg, const qep_source *s);
/* Adds the held-out sequences; the calibration sequences are there. r: the generator behind their
 * draws. */
void qep_corpus_hold_out(const qep_config *cfg, qep_source *const *sources, qep_mt19937 *r,
                         qep_corpus *k);
const char *qep_source_path(const qep_source *s);

#endif
