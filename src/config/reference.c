/* The table of keys for people: config/reference.ini and the lines of --help.
 * SPDX-License-Identifier: Apache-2.0 */
#include "config_priv.h"

#include <string.h>

enum { line_width = 100 };

/* Comment lines of words, broken at line_width. */
static void add_comment(qep_text *t, const char *s)
{
    int64_t at = 0; /* columns used in this line; 0: not begun */
    while (*s) {
        int64_t n = (int64_t)strcspn(s, " ");
        if (at > 0 && at + 1 + n > line_width) {
            qep_text_add(t, "\n");
            at = 0;
        }
        qep_text_add(t, at == 0 ? "# " : " ");
        at += (at == 0 ? 2 : 1) + n;
        qep_text_add(t, "%.*s", (int)n, s);
        s += n;
        s += strspn(s, " ");
    }
    qep_text_add(t, "\n");
}

static const char *type_name(const qep_key *k)
{
    switch (k->type) {
    case QEP_KEY_TEXT: return "text";
    case QEP_KEY_PATH: return "path";
    case QEP_KEY_PATHS: return "list of paths";
    case QEP_KEY_FILES: return "list of named files";
    case QEP_KEY_GLOBS: return "list of names";
    case QEP_KEY_RANGES: return "list of ranges";
    case QEP_KEY_CHOICE: return "one of";
    case QEP_KEY_INT: return "integer";
    case QEP_KEY_SIZE: return "size";
    case QEP_KEY_BOOL: return "boolean";
    case QEP_KEY_REAL: return "number";
    case QEP_KEY_DURATION: return "duration";
    case QEP_KEY_GRID: return "grid";
    }
    return "";
}

static const char *default_text(const qep_key *k)
{
    if (!k->def) return k->type == QEP_KEY_PATHS ? "none" : "none, must be set";
    return *k->def ? k->def : "empty";
}

static void add_key(qep_text *t, const qep_key *k)
{
    qep_text comment = {0};
    qep_key_help(k, &comment);
    qep_text_add(&comment, " (%s: ", type_name(k));
    qep_key_allowed(k, &comment);
    qep_text_add(&comment, "; default: %s)", default_text(k));
    add_comment(t, comment.s);
    qep_free(comment.s);
    const char *value = k->def ? k->def : k->example;
    qep_text_add(t, "%s =%s%s\n\n", k->name, *value ? " " : "", value);
}

static void add_override(qep_text *t)
{
    add_comment(t, "Settings for some of the linears: as many such sections as needed, each with a "
                   "name of its own. Where several match, "
                   "the later one wins key by key. Keys: match and those below.");
    for (int i = 0; i < qep_n_keys; i++) {
        const qep_key *k = &qep_keys[i];
        if (!qep_same(k->section, "override")) continue;
        qep_text_add(t, "#\n# [override first-block]\n# %s = %s\n", k->name, k->example);
    }
    for (int i = 0; i < qep_n_keys; i++) {
        const qep_key *k = &qep_keys[i];
        if (k->in_override)
            qep_text_add(t, "# %s =%s%s\n", k->in_override, *k->def ? " " : "", k->def);
    }
    qep_text_add(t, "\n");
}

char *qep_config_reference(void)
{
    qep_text t = {0};
    qep_text_add(&t, "# Every key of qep_mpi with its type, what is allowed and its default.\n"
                     "# Made from the program's own table: a test compares the two.\n#\n");
    add_comment(&t, "Grammar: [section], key = value, comments with # or ; at the start of a line "
                    "or after white space. Values may be "
                    "quoted with \" or ' (a doubled quote stands for itself). ${NAME} is taken "
                    "from the environment. Relative paths are "
                    "relative to this file. The command line wins: --set section.key=value");
    qep_text_add(&t, "\n");
    for (const char *const *s = qep_sections; *s; s++) {
        if (qep_same(*s, "override")) {
            add_override(&t);
            continue;
        }
        qep_text_add(&t, "[%s]\n\n", *s);
        for (int i = 0; i < qep_n_keys; i++) {
            if (qep_same(qep_keys[i].section, *s)) add_key(&t, &qep_keys[i]);
        }
    }
    t.s[--t.n] = '\0'; /* one newline at the end */
    return t.s;
}

char *qep_config_help(void)
{
    qep_text t = {0};
    for (int i = 0; i < qep_n_keys; i++) {
        const qep_key *k = &qep_keys[i];
        bool override = qep_same(k->section, "override");
        qep_text_add(&t, "  %s%s.%s (%s): ", k->section, override ? " NAME" : "", k->name,
                     default_text(k));
        qep_key_help(k, &t);
        qep_text_add(&t, "\n");
    }
    return t.s;
}
