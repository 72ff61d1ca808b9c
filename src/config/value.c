/* One key's value: from text into the configuration and back. SPDX-License-Identifier: Apache-2.0
 */
#include "config_priv.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* What a parse function needs. value: the key's variable, count: of a list. */
typedef struct target {
    const qep_key *k;
    const qep_place *p;
    const char *dir;
    void *value;
    int64_t *count;
} target;

static qep_status not_allowed(const target *t, const char *text)
{
    qep_text a = {0};
    qep_key_allowed(t->k, &a);
    qep_status st = *text ? qep_place_fail(t->p, "%s is not allowed; allowed: %s", text, a.s)
                          : qep_place_fail(t->p, "the value is missing; allowed: %s", a.s);
    qep_free(a.s);
    return st;
}

static bool is_special(const target *t, const char *text)
{
    return t->k->special && qep_same(text, t->k->special);
}

static qep_status parse_choice(const target *t, const char *text)
{
    const char *word;
    for (int i = 0; (word = qep_key_choice(t->k, i)) != NULL; i++) {
        if (!qep_same(word, text)) continue;
        *(const char **)t->value = word;
        return QEP_OK;
    }
    bool override_method =
        strncmp(t->p->section, "override ", 9) == 0 && qep_same(t->k->name, "method");
    if (override_method && qep_same(text, "qep")) {
        return qep_place_fail(
            t->p,
            "method means the quantizer here; write correction = qep (or none) for the correction");
    }
    return not_allowed(t, text);
}

static qep_status parse_int(const target *t, const char *text)
{
    const qep_key *k = t->k;
    int64_t v;
    if (is_special(t, text)) {
        *(int64_t *)t->value = k->special_value;
        return QEP_OK;
    }
    if (!qep_read_i64(text, &v)) return not_allowed(t, text);
    bool ok;
    if (k->choices) {
        const char *word;
        ok = false;
        for (int i = 0; (word = qep_key_choice(k, i)) != NULL && !ok; i++) {
            int64_t allowed;
            ok = qep_read_i64(word, &allowed) && allowed == v;
        }
    } else {
        ok = ((double)v >= k->min && (double)v <= k->max) || (k->special && v == k->special_value);
    }
    if (!ok) return not_allowed(t, text);
    *(int64_t *)t->value = v;
    return QEP_OK;
}

static qep_status parse_size(const target *t, const char *text)
{
    int64_t v;
    if (!qep_read_size(text, &v) || v < 1) return not_allowed(t, text);
    *(int64_t *)t->value = v;
    return QEP_OK;
}

static qep_status parse_bool(const target *t, const char *text)
{
    static const char *const words[] = {"no", "yes", "false", "true", "off", "on", "0", "1"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (!qep_same(words[i], text)) continue;
        *(bool *)t->value = i % 2 == 1;
        return QEP_OK;
    }
    return not_allowed(t, text);
}

static qep_status parse_real(const target *t, const char *text)
{
    double v = (double)t->k->special_value;
    if (!is_special(t, text) && (!qep_read_real(text, &v) || !(v >= t->k->min && v <= t->k->max)))
        return not_allowed(t, text);
    *(double *)t->value = v;
    return QEP_OK;
}

static qep_status parse_duration(const target *t, const char *text)
{
    double v = 0.0;
    if (!is_special(t, text) && !qep_read_duration(text, &v)) return not_allowed(t, text);
    *(double *)t->value = v;
    return QEP_OK;
}

static qep_status parse_grid(const target *t, const char *text)
{
    int64_t p, q;
    if (is_special(t, text)) {
        *(int64_t *)t->value = t->k->special_value;
        return QEP_OK;
    }
    const char *x = strchr(text, 'x');
    if (!x) return not_allowed(t, text);
    char *head = qep_slice(text, x);
    bool ok = qep_read_i64(head, &p) && qep_read_i64(x + 1, &q) && (double)p >= t->k->min &&
              (double)p <= t->k->max && q >= 1;
    qep_free(head);
    if (!ok) return not_allowed(t, text);
    if (q > 1) {
        return qep_place_fail(t->p,
                              "%s is not allowed: with more than one column of processes the bits "
                              "of the result would depend "
                              "on the grid; allowed: Px1, for example %" PRId64 "x1, or auto",
                              text, p);
    }
    *(int64_t *)t->value = p;
    return QEP_OK;
}

static qep_status parse_path(const target *t, const char *text)
{
    char *path = NULL;
    if (!*text) return not_allowed(t, text);
    if (!is_special(t, text)) path = qep_path_absolute(t->dir, text);
    *(char **)t->value = path;
    return QEP_OK;
}

double qep_data_weight(const char *item, size_t *name_length)
{
    const char *star = strrchr(item, '*');
    double weight = 1;
    *name_length = star ? (size_t)(star - item) : strlen(item);
    while (star && *name_length > 0 && item[*name_length - 1] == ' ') --*name_length;
    if (star) {
        star += strspn(star + 1, " ");
        if (!qep_read_real(star + 1, &weight) || weight <= 0 || weight > 1e9) weight = 0;
    }
    return weight;
}

static qep_status parse_paths(const target *t, char **items, int64_t n)
{
    char **paths = n ? qep_alloc("config.list", n, sizeof *paths) : NULL;
    for (int64_t i = 0; i < n; i++) paths[i] = qep_path_absolute(t->dir, items[i]);
    *(char ***)t->value = paths;
    *t->count = n;
    for (int64_t i = 0; i < n; i++) {
        size_t length;
        if (!(qep_data_weight(items[i], &length) > 0) || length == 0) {
            return qep_place_fail(
                t->p, "%s: what follows the * is the file's weight, a number above 0, for example c4.jsonl*0.75",
                items[i]);
        }
    }
    return QEP_OK;
}

static bool set_name_ok(const char *s, const char *end)
{
    if (s == end) return false;
    for (; s < end; s++) {
        bool ok = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') ||
                  (*s >= '0' && *s <= '9') || strchr("_-.", *s);
        if (!ok) return false;
    }
    return true;
}

static qep_status parse_files(const target *t, char **items, int64_t n)
{
    qep_named_file *files = n ? qep_alloc("config.list", n, sizeof *files) : NULL;
    *(qep_named_file **)t->value = files;
    *t->count = n;
    for (int64_t i = 0; i < n; i++) {
        const char *colon = strchr(items[i], ':');
        if (!colon || !colon[1] || !set_name_ok(items[i], colon)) {
            return qep_place_fail(
                t->p,
                "%s is not name:file; write for example wikitext2:wikitext2_test.npy "
                "(names are made of letters, digits and _ - .)",
                items[i]);
        }
        files[i].name = qep_slice(items[i], colon);
        files[i].path = qep_path_absolute(t->dir, colon + 1);
        for (int64_t j = 0; j < i; j++) {
            if (qep_same(files[j].name, files[i].name)) {
                return qep_place_fail(
                    t->p, "the name %s is there twice; every set needs a name of its own",
                    files[i].name);
            }
        }
    }
    return QEP_OK;
}

static qep_status parse_globs(const target *t, char **items, int64_t n)
{
    qep_text joined = {0};
    qep_text_add(&joined, "%s", "");
    for (int64_t i = 0; i < n; i++) {
        for (const char *c = items[i]; *c; c++) {
            if (!set_name_ok(c, c + 1) && *c != '*' && *c != '?') {
                qep_free(joined.s);
                return not_allowed(t, items[i]);
            }
        }
        qep_text_add(&joined, "%s%s", i ? ", " : "", items[i]);
    }
    *(char **)t->value = joined.s;
    return QEP_OK;
}

static qep_status parse_ranges(const target *t, char **items, int64_t n)
{
    qep_text joined = {0};
    if (n == 0) return not_allowed(t, "");
    for (int64_t i = 0; i < n; i++) {
        int64_t from, to;
        if (!(n == 1 && is_special(t, items[i])) && !qep_read_range(items[i], &from, &to)) {
            qep_free(joined.s);
            return not_allowed(t, items[i]);
        }
        qep_text_add(&joined, "%s%s", i ? ", " : "", items[i]);
    }
    *(char **)t->value = joined.s;
    return QEP_OK;
}

static qep_status parse_scalar(const target *t, char *text)
{
    switch (t->k->type) {
    case QEP_KEY_CHOICE: return parse_choice(t, text);
    case QEP_KEY_INT: return parse_int(t, text);
    case QEP_KEY_SIZE: return parse_size(t, text);
    case QEP_KEY_BOOL: return parse_bool(t, text);
    case QEP_KEY_REAL: return parse_real(t, text);
    case QEP_KEY_DURATION: return parse_duration(t, text);
    case QEP_KEY_GRID: return parse_grid(t, text);
    case QEP_KEY_PATH: return parse_path(t, text);
    case QEP_KEY_TEXT:
        if (!*text) return not_allowed(t, text);
        *(char **)t->value = qep_strdup("config.text", text);
        return QEP_OK;
    default: QEP_BUG("%s.%s is a list", t->k->section, t->k->name);
    }
}

qep_status qep_key_parse(const qep_key *k, const qep_place *p, const char *raw, const char *dir,
                         qep_config *c, qep_linear_config *lin)
{
    target t = {k, p, dir, qep_key_value(k, c, lin), (int64_t *)(void *)((char *)c + k->count_at)};
    qep_key_clear(k, c, lin);
    qep_status st;
    if (k->type != QEP_KEY_PATHS && k->type != QEP_KEY_FILES && k->type != QEP_KEY_GLOBS &&
        k->type != QEP_KEY_RANGES) {
        char *text;
        QEP_TRY(qep_value_scalar(p, raw, &text));
        st = parse_scalar(&t, text);
        qep_free(text);
        return st;
    }
    char **items;
    int64_t n;
    QEP_TRY(qep_value_list(p, raw, &items, &n));
    st = k->type == QEP_KEY_PATHS    ? parse_paths(&t, items, n)
         : k->type == QEP_KEY_FILES  ? parse_files(&t, items, n)
         : k->type == QEP_KEY_RANGES ? parse_ranges(&t, items, n)
                                     : parse_globs(&t, items, n);
    qep_free_strings(items, n);
    return st;
}

void qep_key_clear(const qep_key *k, qep_config *c, qep_linear_config *lin)
{
    void *value = qep_key_value(k, c, lin);
    int64_t *count = (int64_t *)(void *)((char *)c + k->count_at);
    if (k->type == QEP_KEY_FILES) {
        qep_named_file *f = *(qep_named_file **)value;
        for (int64_t i = 0; i < *count; i++) {
            qep_free(f[i].name);
            qep_free(f[i].path);
        }
        qep_free(f);
        *(qep_named_file **)value = NULL;
        *count = 0;
    } else if (k->type == QEP_KEY_PATHS) {
        qep_free_strings(*(char ***)value, *count);
        *(char ***)value = NULL;
        *count = 0;
    } else if (k->type == QEP_KEY_TEXT || k->type == QEP_KEY_PATH || k->type == QEP_KEY_GLOBS ||
               k->type == QEP_KEY_RANGES) {
        qep_free(*(char **)value);
        *(char **)value = NULL;
    }
}
