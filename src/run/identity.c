/* What the result depends on, as text of "key: value" lines; two runs may share a checkpoint exactly when these are equal.
 * SPDX-License-Identifier: Apache-2.0 */
#include "run_priv.h"

#include <inttypes.h>
#include <string.h>

void qep_run_set_identity(qep_run *r)
{
    const qep_model *m = r->model;
    const qep_corpus *c = r->corpus;
    char *settings = qep_config_identity(r->cfg);
    r->identity = qep_strf("run.identity",
                           "model files: %016" PRIx64 "%016" PRIx64 "\nmodel weights: %016" PRIx64 "%016" PRIx64
                           "\ntoken ids: %016" PRIx64 "%016" PRIx64 "\n%s",
                           m->identity[0], m->identity[1], m->weights[0], m->weights[1], c->digest[0], c->digest[1], settings);
    qep_free(settings);
    snprintf(r->stamp, sizeof r->stamp, "%016" PRIx64, qep_hash64(r->identity, strlen(r->identity), 0));
    if (r->output) qep_export_set_stamp(r->output, r->stamp);
}

/* True when the line [p, p + n) stands in text as a whole line. */
static bool has_line(const char *text, const char *p, size_t n)
{
    for (const char *at = text; *at;) {
        size_t len = strcspn(at, "\n");
        if (len == n && memcmp(at, p, n) == 0) return true;
        at += len;
        if (*at) at++;
    }
    return false;
}

/* Appends up to 8 lines of a that b lacks, each after `mark`. */
static char *missing_lines(char *list, const char *mark, const char *a, const char *b)
{
    int shown = 0;
    for (const char *at = a; *at;) {
        size_t len = strcspn(at, "\n");
        if (len > 0 && !has_line(b, at, len) && shown++ < 8) {
            char *longer = qep_strf("run.identity", "%s\n  %s %.*s", list, mark, (int)len, at);
            qep_free(list);
            list = longer;
        }
        at += len;
        if (*at) at++;
    }
    return list;
}

qep_status qep_run_identity_compare(const qep_run *r, const char *saved)
{
    if (strcmp(saved, r->identity) == 0) return QEP_OK;
    char *list = missing_lines(qep_strdup("run.identity", ""), "checkpoint:", saved, r->identity);
    list = missing_lines(list, "this run:  ", r->identity, saved);
    qep_status st = qep_fail(QEP_E_CHECKPOINT,
                             "%s belongs to another run; nothing was changed.%s\nRestore the settings, give another "
                             "[output] path, or start anew with --restart no (discards the checkpoint)",
                             r->checkpoint, list);
    qep_free(list);
    return st;
}
