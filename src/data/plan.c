/* Which windows of which files a run looks at. Every rank computes the same list.
 * SPDX-License-Identifier: Apache-2.0 */
#include "data_priv.h"

#include <inttypes.h>
#include <string.h>

enum { default_length = 2048 };

/* The list has room for a power of two of sequences. */
void qep_corpus_add(qep_corpus *k, qep_seq s)
{
    if ((k->n & (k->n - 1)) == 0)
        k->seqs = qep_realloc(k->seqs, "data.sequences", qep_max_i64(1, 2 * k->n), sizeof *k->seqs);
    k->seqs[k->n++] = s;
    k->count[s.kind]++;
    k->max_length = qep_max_i64(k->max_length, s.length);
}

/* --- calibration ------------------------------------------------------------------------------ */

/* What one file gives. */
typedef struct share {
    const qep_source *source;
    int file;
    int64_t samples, length;
    bool random;
} share;

int64_t qep_calibration_length(const qep_config *cfg, const qep_source *s)
{
    if (cfg->length > 0) return cfg->length;
    return qep_source_is_rows(s) ? qep_source_length(s) : default_length;
}

static qep_status too_short(const share *h, const char *what)
{
    const qep_source *s = h->source;
    return qep_fail(QEP_E_INPUT,
                    "%s holds %" PRId64 " row(s) of %" PRId64
                    " tokens; %s: lower calibration.samples (%" PRId64 " from this file) or "
                    "calibration.length (%" PRId64 "), or give more data",
                    qep_source_path(s), qep_source_rows(s), qep_source_length(s), what, h->samples,
                    h->length);
}

/* Rows drawn without replacement, in file order: row i is taken with probability (still wanted) /
 * (still there) (Knuth, The Art of Computer Programming 2, algorithm S). */
static qep_status take_rows(const share *h, qep_mt19937 *r, qep_corpus *k)
{
    int64_t rows = qep_source_rows(h->source), want = h->samples;
    if (h->length > qep_source_length(h->source) || h->length < 1)
        return too_short(h, "its rows are shorter than a sequence");
    if (want > rows) return too_short(h, "it has fewer rows than samples are wanted");
    for (int64_t i = 0; i < rows && want > 0; i++) {
        if (h->random && qep_mt_randint(r, 0, rows - i - 1) >= want) continue;
        qep_corpus_add(k, (qep_seq){QEP_SEQ_CALIBRATION, h->file, i, 0, h->length});
        want--;
    }
    return QEP_OK;
}

/* start = random.randint(0, n - length - 1), as the published codes draw (methods.md 4): they never
 * reach the last token. */
static qep_status take_windows(const share *h, qep_mt19937 *r, qep_corpus *k)
{
    int64_t n = qep_source_length(h->source), need;
    if (!h->random && (!qep_mul_i64(h->samples, h->length, &need) || need > n)) {
        return too_short(h, "that is less than all sequences one after the other");
    }
    if (h->random && n <= h->length)
        return too_short(h, "a random window needs one token more than its length");
    for (int64_t i = 0; i < h->samples; i++) {
        int64_t first = h->random ? qep_mt_randint(r, 0, n - h->length - 1) : i * h->length;
        qep_corpus_add(k, (qep_seq){QEP_SEQ_CALIBRATION, h->file, 0, first, h->length});
    }
    return QEP_OK;
}

static qep_status plan_calibration(const qep_config *cfg, qep_source *const *sources, qep_corpus *k)
{
    const int64_t files = cfg->n_calibration_data;
    qep_mt19937 r;
    qep_mt_seed(&r, (uint64_t)cfg->seed);
    if (files > cfg->samples) {
        return qep_fail(QEP_E_CONFIG,
                        "calibration.samples = %" PRId64 " is less than the %" PRId64
                        " files of calibration.data; every file "
                        "gives at least one sample",
                        cfg->samples, files);
    }
    for (int64_t i = 0; i < files; i++) {
        int64_t begin;
        share h = {sources[i], qep_int(i), 0, qep_calibration_length(cfg, sources[i]),
                   strcmp(cfg->selection, "random") == 0};
        qep_partition(cfg->samples, files, i, &begin, &h.samples);
        QEP_TRY(qep_source_is_rows(sources[i]) ? take_rows(&h, &r, k)
                                               : take_windows(&h, &r, k));
    }
    qep_corpus_hold_out(cfg, sources, &r, k);
    return QEP_OK;
}

/* --- evaluation ---------------------------------------------------------------------------------
 */

/* auto: as calibration, but not more than a row of an array of rows has. */
static int64_t evaluation_length(const qep_config *cfg, const qep_source *s, int64_t calibration)
{
    if (cfg->evaluation_length > 0) return cfg->evaluation_length;
    int64_t length = cfg->length > 0 ? cfg->length : calibration;
    if (!qep_source_is_rows(s)) return length > 0 ? length : default_length;
    return length > 0 ? qep_min_i64(length, qep_source_length(s)) : qep_source_length(s);
}

static qep_status plan_set(const qep_config *cfg, const qep_source *s, int64_t set,
                           int64_t calibration, qep_corpus *k)
{
    const int64_t length = evaluation_length(cfg, s, calibration), before = k->n;
    const int64_t per_row = length >= 2 ? qep_source_length(s) / length : 0;
    const int64_t limit =
        cfg->evaluation_tokens > 0 ? cfg->evaluation_tokens / qep_max_i64(length, 1) : INT64_MAX;
    for (int64_t row = 0; row < qep_source_rows(s); row++) {
        for (int64_t i = 0; i < per_row && k->n - before < limit; i++) {
            qep_corpus_add(k, (qep_seq){QEP_SEQ_EVALUATION, qep_int(set), row, i * length, length});
        }
    }
    if (k->n > before) return QEP_OK;
    return qep_fail(QEP_E_INPUT,
                    "evaluation set %s: %s holds %" PRId64 " row(s) of %" PRId64
                    " tokens, not one window of %" PRId64 "%s; change "
                    "evaluation.length or evaluation.tokens, or give more data",
                    cfg->evaluation[set].name, qep_source_path(s), qep_source_rows(s),
                    qep_source_length(s), length, limit == 0 ? " within evaluation.tokens" : "");
}

static void add_tasks(const qep_tasks *tasks, qep_corpus *k)
{
    for (int64_t i = 0; tasks && i < tasks->n; i++) {
        for (int64_t j = 0; j < tasks->at[i].n_choices; j++) {
            const qep_task_choice *c = &tasks->at[i].choices[j];
            qep_corpus_add(k, (qep_seq){QEP_SEQ_TASKS, qep_int(i), j, c->first, c->length});
        }
    }
}

qep_status qep_corpus_plan(const qep_config *cfg, qep_source *const *calibration,
                           qep_source *const *evaluation, const qep_tasks *tasks, qep_corpus *k)
{
    if (cfg->n_calibration_data > 0) QEP_TRY(plan_calibration(cfg, calibration, k));
    const int64_t length = k->max_length;
    for (int64_t i = 0; i < cfg->n_evaluation; i++)
        QEP_TRY(plan_set(cfg, evaluation[i], i, length, k));
    add_tasks(tasks, k);
    for (int64_t i = 0; i < k->n; i++) {
        int64_t *sum = &k->tokens;
        if (!qep_add_i64(*sum, k->seqs[i].length, sum))
            return qep_fail(QEP_E_CONFIG, "more tokens than 64 bits can count");
        k->kind_tokens[k->seqs[i].kind] += k->seqs[i].length;
    }
    return QEP_OK;
}
