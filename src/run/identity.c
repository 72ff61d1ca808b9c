/* What the result depends on, as text of "key: value" lines; two runs may share a checkpoint exactly when these are equal.
 * SPDX-License-Identifier: Apache-2.0 */
#include "run_priv.h"

#include <inttypes.h>
#include <string.h>

char *qep_run_identity_text(const qep_run *r)
{
    char *settings = qep_config_identity(r->cfg);
    char *text = qep_strf("run.identity", "model files: %016" PRIx64 "%016" PRIx64 "\ntoken ids: %016" PRIx64 "%016" PRIx64 "\n%s",
                          r->model->identity[0], r->model->identity[1], r->corpus->digest[0], r->corpus->digest[1], settings);
    qep_free(settings);
    return text;
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
