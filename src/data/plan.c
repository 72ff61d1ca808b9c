/* Which windows of which files a run looks at. Every rank computes the same list.
 * SPDX-License-Identifier: Apache-2.0 */
#include "data_priv.h"

#include <inttypes.h>
#include <string.h>

enum { default_length = 2048, many_times = 2 }; /* many_times: a text may be drawn from so often without a word */

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
    return s && qep_source_is_rows(s) ? qep_source_length(s) : default_length;
}

/* What a file holds, in words. */
static const char *amount(const qep_source *s, char *buf, size_t cap)
{
    const int64_t n = qep_source_length(s);
    if (s->view == QEP_VIEW_ARRAY)
        snprintf(buf, cap, "holds %" PRId64 " row(s) of %" PRId64 " tokens", qep_source_rows(s), n);
    else
        snprintf(buf, cap, "has %" PRId64 " token%s", n, n == 1 ? "" : "s");
    return buf;
}

static qep_status too_short(const share *h, const char *what)
{
    char has[96];
    if (h->random && h->source->view != QEP_VIEW_ARRAY)
        return qep_fail(QEP_E_INPUT, "%s %s; %s: lower calibration.length (%" PRId64 "), or give more data", qep_source_path(h->source),
                        amount(h->source, has, sizeof has), what, h->length);
    return qep_fail(QEP_E_INPUT, "%s %s; %s: lower calibration.samples (%" PRId64 " from this file) or calibration.length (%" PRId64 "), or give more data",
                    qep_source_path(h->source), amount(h->source, has, sizeof has), what, h->samples, h->length);
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

/* start = random.randint(0, n - length - 1), as the published codes draw: they never
 * reach the last token. */
static qep_status take_windows(const share *h, qep_mt19937 *r, qep_corpus *k)
{
    int64_t n = qep_source_length(h->source), need;
    if (!h->random && (!qep_mul_i64(h->samples, h->length, &need) || need > n)) {
        return too_short(h, "that is less than all sequences one after the other");
    }
    if (h->random && n <= h->length)
        return too_short(h, "a random window needs one token more than its length");
    if (h->random && (double)h->samples * (double)h->length > many_times * (double)n)
        qep_warn("%s has %" PRId64 " tokens; %" PRId64 " random windows of %" PRId64 " are %.1f times that and overlap: give more text, fewer samples or a shorter "
                 "length", qep_source_path(h->source), n, h->samples, h->length, (double)h->samples * (double)h->length / (double)n);
    for (int64_t i = 0; i < h->samples; i++) {
        int64_t first = h->random ? qep_mt_randint(r, 0, n - h->length - 1) : i * h->length;
        qep_corpus_add(k, (qep_seq){QEP_SEQ_CALIBRATION, h->file, 0, first, h->length});
    }
    return QEP_OK;
}

/* Windows inside documents, from the start. */
static qep_status take_document_windows(const share *h, qep_corpus *k)
{
    for (int64_t i = 0; i < h->samples; i++) {
        qep_seq q = {QEP_SEQ_CALIBRATION, h->file, 0, 0, h->length};
        if (!qep_source_window(h->source, h->length, i, &q.row, &q.first)) {
            return qep_fail(QEP_E_INPUT,
                            "%s: its %" PRId64 " documents hold %" PRId64 " windows of %" PRId64 " tokens, %" PRId64
                            " are wanted: lower calibration.samples or calibration.length, join documents with calibration.selection = packed, or give more text",
                            qep_source_path(h->source), h->source->n_documents, i, h->length, h->samples);
        }
        qep_corpus_add(k, q);
    }
    return QEP_OK;
}

/* Windows in documents that are drawn until one is long enough. */
static qep_status draw_documents_all(qep_comm *c, const share *h, qep_mt19937 *r, qep_corpus *k)
{
    for (int64_t i = 0; i < h->samples; i++) {
        qep_seq q = {QEP_SEQ_CALIBRATION, h->file, 0, 0, h->length};
        QEP_TRY(qep_text_draw_all(c, h->source->text, r, h->length, false, &q.row, &q.first));
        if (q.row < 0) {
            return qep_fail(QEP_E_INPUT,
                            "%s: none of its %" PRId64 " documents has %" PRId64
                            " tokens: lower calibration.length, join documents with calibration.selection = packed, or give longer ones",
                            qep_source_path(h->source), h->source->n_documents, h->length);
        }
        qep_corpus_add(k, q);
    }
    return QEP_OK;
}

static qep_status take_all(qep_comm *c, const share *h, qep_mt19937 *r, qep_corpus *k)
{
    switch (h->source->view) {
    case QEP_VIEW_WINDOWS: return take_document_windows(h, k);
    case QEP_VIEW_DOCUMENTS: return draw_documents_all(c, h, r, k);
    default: return qep_source_is_rows(h->source) ? take_rows(h, r, k) : take_windows(h, r, k);
    }
}

static qep_status plan_calibration_all(qep_comm *c, const qep_config *cfg, qep_source *const *sources, qep_corpus *k)
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
    int64_t *shares = qep_alloc("data.shares", files, sizeof *shares);
    qep_calibration_shares(cfg, cfg->samples, shares);
    qep_status st = QEP_OK;
    for (int64_t i = 0; i < files && st == QEP_OK; i++) {
        const share h = {sources[i], qep_int(i), shares[i], qep_calibration_length(cfg, sources[i]),
                         qep_selects_random(cfg)};
        if (h.samples == 0)
            st = qep_fail(QEP_E_CONFIG, "calibration.data: the weight of %s gives it none of the %" PRId64 " samples; raise it or calibration.samples",
                          qep_source_path(sources[i]), cfg->samples);
        else
            st = take_all(c, &h, &r, k);
    }
    qep_free(shares);
    return st == QEP_OK ? qep_corpus_hold_out_all(c, cfg, sources, &r, k) : st;
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
    char has[96];
    return qep_fail(QEP_E_INPUT, "evaluation set %s: %s %s, not one window of %" PRId64 "%s; change evaluation.length or evaluation.tokens, or give more data",
                    cfg->evaluation[set].name, qep_source_path(s), amount(s, has, sizeof has), length, limit == 0 ? " within evaluation.tokens" : "");
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

void qep_calibration_shares(const qep_config *cfg, int64_t total, int64_t *shares)
{
    double sum = 0;
    int64_t given = 0;
    size_t length;
    for (int64_t i = 0; i < cfg->n_calibration_data; i++) sum += qep_data_weight(cfg->calibration_data[i], &length);
    for (int64_t i = 0; i < cfg->n_calibration_data; i++) {
        shares[i] = (int64_t)((double)total * qep_data_weight(cfg->calibration_data[i], &length) / sum);
        given += shares[i];
    }
    for (; given < total; given++) {
        int64_t best = 0;
        double most = -1;
        for (int64_t i = 0; i < cfg->n_calibration_data; i++) {
            const double rest = (double)total * qep_data_weight(cfg->calibration_data[i], &length) / sum - (double)shares[i];
            if (rest > most) best = i;
            if (rest > most) most = rest;
        }
        shares[best]++;
    }
}

qep_status qep_corpus_plan_all(qep_comm *c, const qep_config *cfg, qep_source *const *calibration,
                               qep_source *const *evaluation, const qep_tasks *tasks, qep_corpus *k)
{
    if (cfg->n_calibration_data > 0) QEP_TRY(plan_calibration_all(c, cfg, calibration, k));
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
