/* Inside data: what a source is made of. SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_DATA_PRIV_H
#define QEP_DATA_PRIV_H

#include "text_priv.h"

#include "qep/store.h"

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

/* --- sources ------------------------------------------------------------------------------------ */

/* How sequences are taken from a source. */
typedef enum qep_view {
    QEP_VIEW_ARRAY,    /* token ids in a file */
    QEP_VIEW_LINE,     /* text as one line of tokens: rows = 1 */
    QEP_VIEW_WINDOWS,  /* text whose windows stay inside documents: row = document */
    QEP_VIEW_DOCUMENTS /* text of which single documents are tokenized: row = document */
} qep_view;
struct qep_source {
    char *path; /* as it was given, for messages */
    qep_view view;
    int64_t rows, length;
    bool is_rows;
    int fd; /* .npy, else -1 */
    qep_npy npy;
    qep_h5_array *h5; /* HDF5, else NULL */
    qep_line line;    /* of LINE and WINDOWS */
    qep_text *text;   /* of DOCUMENTS, NULL else */
    int64_t n_documents, wrong_utf8; /* of a text, 0 else */
    bool whole;       /* LINE and WINDOWS: all of the text is tokenized */
};
/* A text for one of the views; want: tokens (LINE) or windows of `length` tokens (WINDOWS) that are needed. A random selection
 * from several documents becomes DOCUMENTS. Collective. */
QEP_MUST_CHECK qep_status qep_source_open_text_all(qep_comm *c, const char *path, const qep_text_rules *rules, bool random, qep_view view,
                                                   int64_t want, int64_t length, qep_source **out);
void qep_source_close_all(qep_source **s);

typedef struct qep_files {
    qep_source **s;
    int64_t n;
} qep_files;
/* Every file of calibration.data or evaluation.data; says in the log what is done with texts. On error too, qep_files_close_all is due. */
QEP_MUST_CHECK qep_status qep_files_open_all(qep_comm *c, const qep_config *cfg, bool evaluation, const qep_text_rules *rules, qep_files *f);
void qep_files_close_all(qep_files *f);
/* calibration.selection draws from a generator. */
bool qep_selects_random(const qep_config *cfg);
/* The EOS that is put behind each document of a calibration text: packed documents without a BOS in front; -1: none. */
int32_t qep_calibration_eos(const qep_config *cfg, const qep_text_rules *rules);

/* Sequences that calibration file i gives, by the files' weights: floors, then one more for the largest remainders (earlier files first). */
void qep_calibration_shares(const qep_config *cfg, int64_t total, int64_t *shares);
QEP_MUST_CHECK qep_status qep_text_rules_all(qep_comm *c, const qep_config *cfg, int64_t vocab, qep_tokenizer **tokenizer, qep_text_rules *rules);

/* Lists the sequences of every calibration file and evaluation set: seqs, n, counts, tokens,
 * max_length. sources: one per file. */
QEP_MUST_CHECK qep_status qep_corpus_plan_all(qep_comm *c, const qep_config *cfg, qep_source *const *calibration,
                                              qep_source *const *evaluation, const qep_tasks *tasks, qep_corpus *out);
void qep_corpus_add(qep_corpus *k, qep_seq s);
/* Tokens of a calibration sequence of this file; s NULL: of a text. */
int64_t qep_calibration_length(const qep_config *cfg, const qep_source *s);
/* Adds the held-out sequences; the calibration sequences are there. r: the generator behind their
 * draws. */
QEP_MUST_CHECK qep_status qep_corpus_hold_out_all(qep_comm *c, const qep_config *cfg, qep_source *const *sources, qep_mt19937 *r, qep_corpus *k);
/* The i-th window of `length` tokens of a WINDOWS source; false when there are not so many. */
bool qep_source_window(const qep_source *s, int64_t length, int64_t i, int64_t *doc, int64_t *first);
const char *qep_source_path(const qep_source *s);

#endif
