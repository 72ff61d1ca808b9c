/* Opens every file of calibration.data and evaluation.data, text or token ids. SPDX-License-Identifier: Apache-2.0 */
#include "data_priv.h"

#include <inttypes.h>
#include <string.h>

void qep_files_close_all(qep_files *f)
{
    for (int64_t i = 0; i < f->n; i++) qep_source_close_all(&f->s[i]);
    qep_free(f->s);
    *f = (qep_files){0};
}

/* What the log says of a text. */
static void log_text(const qep_source *s, bool evaluation)
{
    if (s->view == QEP_VIEW_DOCUMENTS)
        qep_info("%s: %" PRId64 " documents; those that are drawn are tokenized", s->path, s->n_documents);
    else if (evaluation)
        qep_info("%s: %" PRId64 " document%s as one text, %s tokenized by the ranks together: %" PRId64 " tokens", s->path, s->n_documents,
                 s->n_documents == 1 ? "" : "s", s->whole ? "all of it" : "its beginning", s->length);
    else
        qep_info("%s: %" PRId64 " document%s, the first %" PRId64 " tokenized: %" PRId64 " tokens", s->path, s->n_documents,
                 s->n_documents == 1 ? "" : "s", s->line.n_docs, s->length);
    if (s->wrong_utf8 > 0)
        qep_warn("%s: %" PRId64 " places are no UTF-8; each is read as U+FFFD, the replacement character", s->path, s->wrong_utf8);
}

static const char *joint_of(const qep_config *cfg)
{
    static const char *const names[] = {"blank-line", "newline", "space"}, *const texts[] = {"\n\n", "\n", " "};
    for (int i = 0; i < 3; i++)
        if (strcmp(cfg->join, names[i]) == 0) return texts[i];
    return "";
}

bool qep_selects_random(const qep_config *cfg)
{
    return strncmp(cfg->selection, "random", 6) == 0; /* random-new too */
}

int32_t qep_calibration_eos(const qep_config *cfg, const qep_text_rules *rules)
{
    if (strcmp(cfg->selection, "packed") != 0 || rules->front >= 0 || qep_tokenizer_adds_eos(rules->tokenizer)) return -1;
    return rules->special && qep_tokenizer_adds_bos(rules->tokenizer) ? -1 : qep_tokenizer_eos(rules->tokenizer);
}

static qep_status open_calibration_text_all(qep_comm *c, const qep_config *cfg, const char *path, int64_t sequences, qep_text_rules rules,
                                            qep_source **s)
{
    const int64_t length = qep_calibration_length(cfg, NULL);
    const bool random = qep_selects_random(cfg), packed = strcmp(cfg->selection, "packed") == 0;
    int64_t want = sequences;
    rules.behind = qep_calibration_eos(cfg, &rules);
    rules.margin = strcmp(cfg->selection, "random-new") == 0;
    if (random) want = INT64_MAX;
    if (packed && !qep_mul_i64(sequences, length, &want)) want = INT64_MAX;
    return qep_source_open_text_all(c, path, &rules, random, random || packed ? QEP_VIEW_LINE : QEP_VIEW_WINDOWS, want, length, s);
}

static qep_status open_one_all(qep_comm *c, const qep_config *cfg, bool evaluation, const char *path, int64_t sequences, qep_text_rules rules,
                               qep_source **s)
{
    if (!qep_text_is(path)) return qep_agree_all(c, qep_source_open(path, s));
    rules.as_one = evaluation ? joint_of(cfg) : NULL;
    const int64_t want = cfg->evaluation_tokens > 0 ? cfg->evaluation_tokens : INT64_MAX;
    qep_status st = evaluation ? qep_source_open_text_all(c, path, &rules, false, QEP_VIEW_LINE, want, 0, s)
                               : open_calibration_text_all(c, cfg, path, sequences, rules, s);
    if (st == QEP_OK) log_text(*s, evaluation);
    return st;
}

qep_status qep_files_open_all(qep_comm *c, const qep_config *cfg, bool evaluation, const qep_text_rules *rules, qep_files *f)
{
    f->n = evaluation ? cfg->n_evaluation : cfg->n_calibration_data;
    f->s = qep_alloc("data.files", f->n, sizeof *f->s);
    int64_t *shares = qep_alloc("data.shares", 2 * f->n, sizeof *shares), *held = shares + f->n;
    if (!evaluation) qep_calibration_shares(cfg, cfg->samples, shares);
    if (!evaluation) qep_calibration_shares(cfg, cfg->validation, held);
    qep_status st = QEP_OK;
    for (int64_t i = 0; i < f->n && st == QEP_OK; i++) {
        size_t n = 0;
        const char *item = evaluation ? cfg->evaluation[i].path : cfg->calibration_data[i];
        if (evaluation) n = strlen(item); else (void)qep_data_weight(item, &n);
        char *path = qep_strf("data.path", "%.*s", (int)n, item);
        st = open_one_all(c, cfg, evaluation, path, shares[i] + held[i], *rules, &f->s[i]);
        qep_free(path);
    }
    qep_free(shares);
    return st == QEP_OK ? QEP_OK : qep_context(st, "%s.data", evaluation ? "evaluation" : "calibration");
}
