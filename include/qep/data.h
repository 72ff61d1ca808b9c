/* data: token sources and the list of sequences of a run. A source is anything that yields token ids by (row, offset): .npy and HDF5 arrays; text with
 * a tokenizer is one more source of the same kind. Each rank reads only its own sequences. SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_DATA_H
#define QEP_DATA_H

#include "qep/config.h"
#include "qep/par.h"
#include "qep/tasks.h"

/* --- one source -------------------------------------------------------------------------------- */

typedef struct qep_source qep_source;
/* By file name: .npy (C order, 1-D or [samples, length], int32, int64, uint16, also uint32), .h5/.hdf5 (dataset "tokens", or PATH.h5:/name).
 * Other endings: QEP_E_INPUT that says what is supported. Local. Fault sites "data.open", "data.read". */
QEP_MUST_CHECK qep_status qep_source_open(const char *path, qep_source **out);
void qep_source_close(qep_source **s);
int64_t qep_source_rows(const qep_source *s);       /* 1 for a one-dimensional array */
int64_t qep_source_length(const qep_source *s);     /* tokens per row */
bool qep_source_is_rows(const qep_source *s);       /* [samples, length]: rows are sequences of their own */
/* n ids from `first` in `row`. Ids outside [0, vocab) are QEP_E_INPUT naming file, row, position and value. */
QEP_MUST_CHECK qep_status qep_source_read(qep_source *s, int64_t row, int64_t first, int64_t n, int64_t vocab, int32_t *ids);

/* --- Python's generator, so that published windows can be repeated ------------------ */

typedef struct qep_mt19937 { uint32_t s[624]; int at; } qep_mt19937;
void qep_mt_seed(qep_mt19937 *r, uint64_t seed);               /* random.seed(int) : init_by_array */
int64_t qep_mt_randint(qep_mt19937 *r, int64_t a, int64_t b);  /* random.randint(a, b), a <= b */

/* --- the sequences of a run ------------------------------------------------------------------------ */

/* Calibration: the statistics H and C come from these. Validation: held out, for fitting and for held-out figures. Evaluation: perplexity and the like.
 * Tasks: a choice of an example with its context each. */
typedef enum qep_seq_kind { QEP_SEQ_CALIBRATION, QEP_SEQ_VALIDATION, QEP_SEQ_EVALUATION, QEP_SEQ_TASKS, QEP_N_SEQ_KINDS } qep_seq_kind;
const char *qep_seq_kind_name(qep_seq_kind kind);
typedef struct qep_seq {
    qep_seq_kind kind;
    int set;                   /* evaluation set or task number, or index of the calibration file */
    int64_t row, first, length; /* tokens [first, first + length) of row; tasks: row is the choice's number in its task */
} qep_seq;

/* My share of the sequences of one kind: a contiguous run, balanced by tokens (each kind by itself, because they are separate phases of the work). */
typedef struct qep_corpus_part {
    int64_t begin, count;      /* into seqs */
    int64_t token_begin;       /* tokens of this kind before my run */
    int64_t tokens;            /* of my run */
    int64_t total_tokens;      /* of the kind, all ranks */
} qep_corpus_part;

typedef struct qep_corpus {
    qep_seq *seqs; int64_t n;            /* in the order of the kinds, evaluation set by set; equal on all ranks */
    int64_t count[QEP_N_SEQ_KINDS], kind_tokens[QEP_N_SEQ_KINDS]; /* by qep_seq_kind, all ranks */
    int64_t tokens;                      /* of all kinds and ranks */
    int64_t max_length;
    qep_corpus_part part[QEP_N_SEQ_KINDS]; /* by qep_seq_kind */
    int64_t n_mine;                      /* sum of part[].count */
    int32_t **ids;                       /* [n_mine] -> my sequences' ids, kind by kind */
    uint64_t digest[2];                  /* over all ids and kinds, independent of the split */
    int64_t n_sets; char **set_names;    /* evaluation sets */
    int64_t *documents;                  /* [calibration files] documents of a text, 0 for token ids */
    char *bos_calibration, *bos_evaluation; /* in words: how BOS came into the ids; NULL: no such sequences */
} qep_corpus;

/* Chooses windows and reads mine. Rules: rows of [samples, length] arrays: the first `samples` rows (sequential) or rows drawn without replacement (random; all rows
 * in file order when samples equals their number); one-dimensional: contiguous windows (sequential), or start = randint(0, n - length - 1) per sample
 * with Python's generator seeded by `seed` (random). Validation: up to `validation` rows or windows that no calibration sequence touches; a file is cut into
 * windows in what calibration leaves free, from the start of each gap; the first ones (sequential), or drawn without replacement by the same generator, which goes on
 * behind all calibration draws (random); fewer, or none, when there are not so many. Evaluation: contiguous windows of evaluation_length, the last partial one dropped. Several calibration files share the samples evenly (earlier
 * files get one more). Too few rows or tokens: QEP_E_INPUT with what is there and which key to change. need_calibration = false: calibration may be absent. tasks (NULL: none): every choice of every task is a sequence, in their order.
 * Collective. */
QEP_MUST_CHECK qep_status qep_corpus_open_all(qep_comm *c, const qep_config *cfg, int64_t vocab, bool need_calibration, const qep_tasks *tasks, qep_corpus **out);
void qep_corpus_destroy(qep_corpus **corpus);
/* Ids of sequences [first, first + n), one behind the other, from their owners to this rank; every rank asks for its own. Collective. */
void qep_corpus_fetch_all(qep_comm *c, const qep_corpus *k, int64_t first, int64_t n, int32_t *dst);
/* Document (or row) and first token of every calibration and validation sequence, at most `most` of a file and kind, as text. qep_free. */
char *qep_corpus_windows(const qep_corpus *k, const qep_config *cfg, int64_t most);
/* The share of rank `rank` of `ranks` (for tests and the plan): runs whose token counts are as even as possible. */
void qep_corpus_share(const qep_corpus *corpus, qep_seq_kind kind, int64_t ranks, int64_t rank, qep_corpus_part *out);

#endif
