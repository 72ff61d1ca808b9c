/* A value's text: quotes, ${NAME}, comma lists, and back. SPDX-License-Identifier: Apache-2.0 */
#include "config_priv.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

qep_status qep_place_fail(const qep_place *p, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *what = qep_alloc("config.text", (int64_t)(n < 0 ? 0 : n) + 1, 1);
    if (n > 0) vsnprintf(what, (size_t)n + 1, fmt, again);
    va_end(again);
    qep_status st;
    const char *dot = p->key ? "." : "", *key = p->key ? p->key : "";
    if (p->set) {
        st = qep_fail(QEP_E_CONFIG, "--set %s: %s", p->set, what);
    } else if (p->line > 0) {
        st = qep_fail(QEP_E_CONFIG, "%s:%d: %s%s%s: %s", p->source, p->line, p->section, dot, key,
                      what);
    } else {
        st = qep_fail(QEP_E_CONFIG, "%s: %s%s%s: %s", p->source, p->section, dot, key, what);
    }
    qep_free(what);
    return st;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static bool name_char(char c, bool first)
{
    return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (!first && c >= '0' && c <= '9');
}

/* s points behind "${": adds the variable's text, *end behind the brace. */
static qep_status add_variable(const qep_place *p, const char *s, const char **end, qep_text *t)
{
    const char *stop = s;
    while (name_char(*stop, stop == s)) stop++;
    if (stop == s || *stop != '}') {
        return qep_place_fail(p, "${ needs the name of an environment variable and a closing "
                                 "brace: ${NAME}; write $${ for the characters themselves");
    }
    char *name = qep_slice(s, stop);
    const char *v = getenv(name);
    qep_status st = QEP_OK;
    if (v) {
        qep_text_add(t, "%s", v);
    } else {
        st = qep_place_fail(p,
                            "the environment variable %s is not set; export it (and to all ranks) "
                            "or write the value",
                            name);
    }
    qep_free(name);
    *end = stop + 1;
    return st;
}

/* *s (taken) with ${NAME} replaced and $${ turned into ${. */
static qep_status expand(const qep_place *p, char **s)
{
    if (!strstr(*s, "${")) return QEP_OK;
    qep_text t = {0};
    qep_text_add(&t, "%s", "");
    qep_status st = QEP_OK;
    for (const char *c = *s; *c && st == QEP_OK;) {
        if (strncmp(c, "$${", 3) == 0) {
            qep_text_add(&t, "${");
            c += 3;
        } else if (strncmp(c, "${", 2) == 0) {
            st = add_variable(p, c + 2, &c, &t);
        } else {
            qep_text_add(&t, "%c", *c++);
        }
    }
    qep_free(*s);
    *s = t.s;
    return st;
}

static qep_status check_characters(const qep_place *p, const char *s)
{
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c < 0x20 || c == 0x7F)
            return qep_place_fail(p, "the value contains the control character 0x%02x",
                                  (unsigned)c);
    }
    return QEP_OK;
}

/* Reads one item that starts at *s; stops at the end, or at a comma when `list`. */
static qep_status read_item(const qep_place *p, const char **s, bool list, char **out)
{
    const char *c = *s;
    while (is_space(*c)) c++;
    *out = NULL;
    if (*c == '"' || *c == '\'') {
        char quote = *c++;
        qep_text t = {0};
        qep_text_add(&t, "%s", "");
        for (; *c && (*c != quote || c[1] == quote); c++) {
            if (*c == quote) c++;
            qep_text_add(&t, "%c", *c);
        }
        *out = t.s;
        if (!*c) return qep_place_fail(p, "a quote is not closed");
        c++;
        while (is_space(*c)) c++;
        if (*c && !(list && *c == ','))
            return qep_place_fail(p, "text after the closing quote: %s", c);
    } else {
        const char *end = list ? strchr(c, ',') : NULL;
        if (!end) end = c + strlen(c);
        const char *last = end;
        while (last > c && is_space(last[-1])) last--;
        *out = qep_slice(c, last);
        c = end;
    }
    *s = c;
    QEP_TRY(expand(p, out));
    return check_characters(p, *out);
}

qep_status qep_value_scalar(const qep_place *p, const char *raw, char **out)
{
    qep_status st = read_item(p, &raw, false, out);
    if (st != QEP_OK) {
        qep_free(*out);
        *out = NULL;
    }
    return st;
}

qep_status qep_value_list(const qep_place *p, const char *raw, char ***out, int64_t *n)
{
    *out = NULL;
    *n = 0;
    while (is_space(*raw)) raw++;
    if (!*raw) return QEP_OK;
    qep_status st = QEP_OK;
    for (;;) {
        char *item;
        st = read_item(p, &raw, true, &item);
        *out = qep_realloc(*out, "config.list", *n + 1, sizeof **out);
        (*out)[(*n)++] = item;
        if (st == QEP_OK && !*item) st = qep_place_fail(p, "an item of the list is empty");
        if (st != QEP_OK || *raw != ',') break;
        raw++;
    }
    if (st != QEP_OK) {
        qep_free_strings(*out, *n);
        *out = NULL;
        *n = 0;
    }
    return st;
}

void qep_free_strings(char **s, int64_t n)
{
    for (int64_t i = 0; i < n; i++) qep_free(s[i]);
    qep_free(s);
}
