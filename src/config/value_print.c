/* A key's value as text that parses to the same value. SPDX-License-Identifier: Apache-2.0 */
#include "config_priv.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static void print_chars(const char *s, bool quoted, qep_text *t)
{
    for (; *s; s++) {
        if (strncmp(s, "${", 2) == 0) qep_text_add(t, "$"); /* $${ reads as ${ */
        if (quoted && *s == '"') qep_text_add(t, "\"");
        qep_text_add(t, "%c", *s);
    }
}

/* prefix and s together are one item. Quotes whatever could be read as a comment, a comma or a
 * quote. */
static void print_item(const char *prefix, const char *s, qep_text *t)
{
    size_t n = strlen(s);
    bool blank_end = n > 0 && (s[0] == ' ' || s[n - 1] == ' ');
    bool quoted = (n == 0 && !*prefix) || blank_end || s[strcspn(s, "\"'#;,")];
    if (quoted) qep_text_add(t, "\"");
    qep_text_add(t, "%s", prefix);
    print_chars(s, quoted, t);
    if (quoted) qep_text_add(t, "\"");
}

void qep_item_print(const char *s, qep_text *t)
{
    print_item("", s, t);
}

/* 5000000000 -> 5G: the largest unit that divides it. */
static void print_size(int64_t v, qep_text *t)
{
    static const char *const units[] = {"", "K", "M", "G", "T"};
    int u = 0;
    while (u < 4 && v != 0 && v % 1000 == 0) {
        v /= 1000;
        u++;
    }
    qep_text_add(t, "%" PRId64 "%s", v, units[u]);
}

static void print_duration(double v, qep_text *t)
{
    if (v >= 1.0 && v <= 1e9 && floor(v) >= v) {
        int64_t s = (int64_t)v;
        qep_text_add(t, "%" PRId64 ":%02" PRId64 ":%02" PRId64, s / 3600, s / 60 % 60, s % 60);
        return;
    }
    char buf[40];
    qep_real_text(v, buf, sizeof buf);
    qep_text_add(t, "%s", buf);
}

static void print_files(const qep_named_file *f, int64_t n, qep_text *t)
{
    for (int64_t i = 0; i < n; i++) {
        char *name = qep_strf("config.text", "%s:", f[i].name);
        if (i) qep_text_add(t, ", ");
        print_item(name, f[i].path, t);
        qep_free(name);
    }
}

static void print_paths(char *const *paths, int64_t n, qep_text *t)
{
    for (int64_t i = 0; i < n; i++) {
        if (i) qep_text_add(t, ", ");
        print_item("", paths[i], t);
    }
}

static void print_number(const qep_key *k, int64_t v, qep_text *t)
{
    if (k->special && v == k->special_value) {
        qep_text_add(t, "%s", k->special);
    } else if (k->type == QEP_KEY_SIZE) {
        print_size(v, t);
    } else {
        qep_text_add(t, k->type == QEP_KEY_GRID ? "%" PRId64 "x1" : "%" PRId64, v);
    }
}

static void print_real(const qep_key *k, double v, qep_text *t)
{
    char buf[40];
    if (k->type == QEP_KEY_REAL && !(k->special && v < k->min)) {
        qep_real_text(v, buf, sizeof buf);
        qep_text_add(t, "%s", buf);
    } else if (k->special && v <= (double)k->special_value) {
        qep_text_add(t, "%s", k->special);
    } else {
        print_duration(v, t);
    }
}

void qep_key_print(const qep_key *k, const qep_config *c, const qep_linear_config *lin, qep_text *t)
{
    const void *v = (k->linear ? (const char *)lin : (const char *)c) + k->offset;
    int64_t n = k->count_at ? *(const int64_t *)(const void *)((const char *)c + k->count_at) : 0;
    const char *s;
    switch (k->type) {
    case QEP_KEY_PATHS: print_paths(*(char *const *const *)v, n, t); break;
    case QEP_KEY_FILES: print_files(*(const qep_named_file *const *)v, n, t); break;
    case QEP_KEY_TEXT:
    case QEP_KEY_PATH:
        s = *(char *const *)v;
        if (s) {
            print_item("", s, t);
        } else {
            qep_text_add(t, "%s", k->special ? k->special : "");
        }
        break;
    case QEP_KEY_GLOBS:
    case QEP_KEY_RANGES:
    case QEP_KEY_CHOICE: qep_text_add(t, "%s", *(const char *const *)v); break;
    case QEP_KEY_BOOL: qep_text_add(t, *(const bool *)v ? "yes" : "no"); break;
    case QEP_KEY_INT:
    case QEP_KEY_SIZE:
    case QEP_KEY_GRID: print_number(k, *(const int64_t *)v, t); break;
    case QEP_KEY_REAL:
    case QEP_KEY_DURATION: print_real(k, *(const double *)v, t); break;
    }
}
