/* ${NAME} in the configuration means root's environment on every rank: launchers do not pass all variables on.
 * SPDX-License-Identifier: Apache-2.0 */
#include "run_priv.h"

#include <stdlib.h>
#include <string.h>

enum { CAP = 1 << 20 }; /* bytes of all values together */

typedef struct packed {
    char *text; /* "NAME=value" or "NAME" (not set), each with its NUL */
    int64_t bytes;
} packed;

/* Adds the variable whose name is name[0..n). False when there is no room. */
static bool pack_variable(packed *p, const char *name, size_t n)
{
    char *at = p->text + p->bytes;
    int64_t room = CAP - p->bytes;
    if ((int64_t)n + 2 > room) return false;
    memcpy(at, name, n);
    at[n] = '\0';
    const char *value = getenv(at);
    int64_t used = (int64_t)n;
    if (value) used += snprintf(at + n, (size_t)(room - (int64_t)n), "=%s", value);
    if (used + 1 > room) return false;
    p->bytes += used + 1;
    return true;
}

static bool pack_text(packed *p, const char *text)
{
    bool fits = true;
    for (const char *at = strstr(text, "${"); at && fits; at = strstr(at + 2, "${")) {
        const char *end = strchr(at, '}');
        if (!end) break; /* the parser says what is wrong */
        fits = pack_variable(p, at + 2, (size_t)(end - at - 2));
    }
    return fits;
}

static void unpack(const packed *p)
{
    for (int64_t at = 0; at < p->bytes; at += (int64_t)strlen(p->text + at) + 1) {
        char *eq = strchr(p->text + at, '=');
        if (!eq) {
            if (p->text[at]) unsetenv(p->text + at);
            continue;
        }
        *eq = '\0';
        setenv(p->text + at, eq + 1, 1);
        *eq = '=';
    }
}

qep_status qep_run_share_environment_all(qep_comm *c, const char *text, const qep_args *args)
{
    packed p = {.text = qep_alloc("text", CAP, 1)};
    bool fits = true;
    if (qep_rank(c) == 0) {
        fits = pack_text(&p, text);
        for (int i = 0; i < args->n_sets && fits; i++) fits = pack_text(&p, args->sets[i]);
    }
    qep_status st = fits ? QEP_OK : qep_fail(QEP_E_CONFIG, "the environment variables in %s are too long", args->config);
    st = qep_agree_all(c, st);
    if (st == QEP_OK) {
        qep_bcast_text_all(c, 0, &p.text, &p.bytes);
        if (qep_rank(c) != 0) unpack(&p);
    }
    qep_free(p.text);
    return st;
}
