/* Text as a source of sequences: which tokenizer rules hold, and which view a selection takes. SPDX-License-Identifier: Apache-2.0 */
#include "data_priv.h"

#include <inttypes.h>
#include <string.h>

static bool wants_text(const qep_config *cfg)
{
    for (int64_t i = 0; i < cfg->n_calibration_data; i++) {
        size_t n;
        (void)qep_data_weight(cfg->calibration_data[i], &n);
        char *path = qep_strf("data.path", "%.*s", (int)n, cfg->calibration_data[i]);
        const bool text = qep_text_is(path);
        qep_free(path);
        if (text) return true;
    }
    for (int64_t i = 0; i < cfg->n_evaluation; i++)
        if (qep_text_is(cfg->evaluation[i].path)) return true;
    return false;
}

static qep_status bos_rules(const qep_config *cfg, const qep_tokenizer *t, qep_text_rules *rules)
{
    if (qep_tokenizer_bos_rule(t, cfg->bos, &rules->special, &rules->front)) return QEP_OK;
    return qep_fail(QEP_E_CONFIG, "calibration.bos = yes, but the tokenizer of %s has no BOS token; use auto or no", cfg->model_path);
}

qep_status qep_text_rules_all(qep_comm *c, const qep_config *cfg, int64_t vocab, qep_tokenizer **tokenizer, qep_text_rules *rules)
{
    *tokenizer = NULL;
    *rules = (qep_text_rules){.field = cfg->field, .blocks = strcmp(cfg->documents, "blocks") == 0, .front = -1, .behind = -1, .vocab = vocab};
    if (!wants_text(cfg)) return QEP_OK;
    qep_status st = qep_tokenizer_open(cfg->model_path, tokenizer);
    if (st == QEP_OK) st = bos_rules(cfg, *tokenizer, rules);
    rules->tokenizer = *tokenizer;
    return qep_agree_all(c, st);
}

/* Tokens of a text that is not needed any more when they are there. */
static qep_status make_line_all(qep_comm *c, qep_source *s, int64_t want, int64_t length)
{
    qep_status st = qep_line_make_all(c, s->text, want, s->view == QEP_VIEW_WINDOWS ? length : 0, &s->line);
    s->whole = s->line.n_docs == s->text->n;
    qep_text_close_all(&s->text);
    s->length = s->line.begin[s->line.n_docs];
    return st;
}

qep_status qep_source_open_text_all(qep_comm *c, const char *path, const qep_text_rules *rules, bool random, qep_view view, int64_t want,
                                    int64_t length, qep_source **out)
{
    qep_source *s = qep_alloc("data.source", 1, sizeof *s);
    *s = (qep_source){.path = qep_strdup("data.path", path), .view = view, .rows = 1, .fd = -1};
    qep_status st = qep_text_open_all(c, path, rules, &s->text);
    if (st == QEP_OK) {
        s->n_documents = s->text->index.n;
        s->wrong_utf8 = s->text->wrong_utf8;
        if (random && s->text->n > 1)
            s->view = QEP_VIEW_DOCUMENTS;
        else
            st = make_line_all(c, s, want, length);
    }
    if (st != QEP_OK) qep_source_close_all(&s);
    *out = s;
    return st;
}

void qep_source_close_all(qep_source **s)
{
    if (*s) qep_text_close_all(&(*s)->text);
    qep_source_close(s);
}

bool qep_source_window(const qep_source *s, int64_t length, int64_t i, int64_t *doc, int64_t *first)
{
    for (int64_t d = 0; d < s->line.n_docs; d++) {
        const int64_t n = (s->line.begin[d + 1] - s->line.begin[d]) / length;
        if (i < n) {
            *doc = d;
            *first = i * length;
            return true;
        }
        i -= n;
    }
    return false;
}
