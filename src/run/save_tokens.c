/* [calibration] save_tokens: the ids of this run in an HDF5 file, so that another run or program can repeat it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "run_priv.h"

#include <string.h>

/* Rows of one dataset: sequences [first, first + n) of the corpus, all of `length` tokens. */
typedef struct rows {
    int64_t first, n, length;
} rows;

static qep_status one_length(const qep_run *r, rows *w, const char *what)
{
    const qep_seq *q = &r->corpus->seqs[w->first];
    w->length = w->n > 0 ? q->length : 1;
    for (int64_t i = 0; i < w->n; i++)
        if (q[i].length != w->length)
            return qep_fail(QEP_E_CONFIG, "calibration.save_tokens: the sequences of %s differ in length (%lld and %lld); set %s.length", what,
                            (long long)w->length, (long long)q[i].length, strcmp(what, "calibration") == 0 ? what : "evaluation");
    return QEP_OK;
}

static qep_status put_rows_all(qep_run *r, qep_store *s, const char *name, const char *description, rows w)
{
    int64_t begin, count;
    qep_partition(w.n, qep_size(r->comm), qep_rank(r->comm), &begin, &count);
    int32_t *ids = qep_alloc("run.tokens", count * w.length, sizeof *ids);
    qep_corpus_fetch_all(r->comm, r->corpus, w.first + begin, count, ids);
    qep_status st = qep_store_put_all(s, name, description, "token id", QEP_I32, w.n, w.length, begin, count, ids);
    qep_free(ids);
    return st;
}

/* Sequences of evaluation set `set`. */
static rows rows_of_set(const qep_corpus *k, int64_t set)
{
    rows w = {k->count[QEP_SEQ_CALIBRATION] + k->count[QEP_SEQ_VALIDATION], 0, 0};
    const int64_t end = w.first + k->count[QEP_SEQ_EVALUATION];
    while (w.first < end && k->seqs[w.first].set < set) w.first++;
    while (w.first + w.n < end && k->seqs[w.first + w.n].set == set) w.n++;
    return w;
}

static qep_status put_sets_all(qep_run *r, qep_store *s)
{
    const qep_corpus *k = r->corpus;
    qep_status st = QEP_OK;
    for (int64_t i = 0; i < k->n_sets && st == QEP_OK; i++) {
        rows w = rows_of_set(k, i);
        char *name = qep_strf("run.tokens", "evaluation.%s", k->set_names[i]);
        st = one_length(r, &w, name);
        if (st == QEP_OK) st = put_rows_all(r, s, name, "evaluation set: contiguous windows, one a row", w);
        qep_free(name);
    }
    return st;
}

qep_status qep_run_save_tokens_all(qep_run *r)
{
    const char *path = r->cfg->save_tokens;
    const int64_t *n = r->corpus->count;
    if (!path) return QEP_OK;
    rows w = {0, n[QEP_SEQ_CALIBRATION] + n[QEP_SEQ_VALIDATION], 0};
    char *dir = qep_path_dir(path), *note = qep_strf("run.tokens", "calibration sequences, %lld rows, then held-out validation sequences, %lld rows; read "
                                                     "with selection = sequential, samples = %lld, validation = %lld", (long long)n[QEP_SEQ_CALIBRATION],
                                                     (long long)n[QEP_SEQ_VALIDATION], (long long)n[QEP_SEQ_CALIBRATION], (long long)n[QEP_SEQ_VALIDATION]);
    qep_store *s = NULL;
    qep_status st;
    QEP_GO(st, qep_agree_all(r->comm, qep_rank(r->comm) == 0 ? QEP_ALONE("directory", qep_dir_make(dir)) : QEP_OK));
    QEP_GO(st, one_length(r, &w, "calibration"));
    QEP_GO(st, qep_store_create_all(r->comm, path, &s));
    if (w.n > 0) QEP_GO(st, put_rows_all(r, s, "tokens", note, w));
    QEP_GO(st, put_sets_all(r, s));
    st = qep_store_seal_all(&s, 1);
    if (st == QEP_OK) qep_info("the token ids of this run are in %s", path);
done:
    qep_store_close_all(&s);
    qep_free(note);
    qep_free(dir);
    return st;
}
