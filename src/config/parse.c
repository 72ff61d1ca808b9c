/* From text to a checked configuration: defaults, then the file, then the command line.
 * SPDX-License-Identifier: Apache-2.0 */
#include "config_priv.h"

#include <string.h>

typedef struct parser {
    qep_config *c;
    qep_origin o;
    char *dir; /* of the file: relative paths in it start there */
} parser;

/* Names of the keys of a section (not of "override"'s own rows), NULL-terminated; qep_free. */
static const char **key_names(const char *section)
{
    const char **names = qep_alloc("config.names", qep_n_keys + 1, sizeof *names);
    bool override = qep_same(section, "override");
    int n = 0;
    for (int i = 0; i < qep_n_keys; i++) {
        const qep_key *k = &qep_keys[i];
        if (qep_same(k->section, section))
            names[n++] = k->name;
        else if (override && k->in_override)
            names[n++] = k->in_override;
    }
    return names;
}

static void add_list(qep_text *t, const char *const *names)
{
    for (int i = 0; names[i]; i++) qep_text_add(t, "%s%s", i ? ", " : "", names[i]);
}

/* base: the section without an override's name. */
static qep_status unknown_key(const qep_place *p, const char *base)
{
    qep_text t = {0};
    const char **names = key_names(base);
    const char *near = qep_nearest(p->key, names);
    const char *home = NULL;
    for (const char *const *s = qep_sections; *s && !home; s++) {
        if (!qep_same(*s, "override") && qep_key_find(*s, p->key) >= 0) home = *s;
    }
    qep_text_add(&t, "unknown key");
    if (home && qep_same(base, "override")) {
        qep_text_add(&t, "; %s cannot be set per module, it belongs into [%s]", p->key, home);
    } else if (home) {
        qep_text_add(&t, "; %s belongs into [%s]", p->key, home);
    } else if (near) {
        qep_text_add(&t, "; did you mean %s?", near);
    }
    if (strchr(p->key, '.')) qep_text_add(&t, "; keys with their section's name stand in front of the first [section], or on the command line behind --set");
    qep_text_add(&t, "%s Keys of [%s]: ", t.s[strlen(t.s) - 1] == '?' ? "" : ".", base);
    add_list(&t, names);
    qep_status st = qep_place_fail(p, "%s", t.s);
    qep_free(names);
    qep_free(t.s);
    return st;
}

/* base: the section's first word, whose keys hold. */
static qep_status check_section(const qep_place *p, const char **base)
{
    qep_text t = {0};
    *base = qep_override_name(p->section) ? "override" : p->section;
    bool bare_override = qep_same(p->section, "override");
    if (qep_section_known(*base) && !bare_override) return QEP_OK;
    if (bare_override) {
        qep_text_add(&t, "an override needs a name of its own: [override NAME]");
    } else {
        const char *near = qep_nearest(p->section, qep_sections);
        qep_text_add(&t, "unknown section [%s]", p->section);
        if (near) qep_text_add(&t, "; did you mean [%s]?", near);
        qep_text_add(&t, " Sections: ");
        add_list(&t, qep_sections);
    }
    qep_place header = *p;
    header.key = NULL;
    qep_status st = qep_place_fail(&header, "%s", t.s);
    qep_free(t.s);
    return st;
}

static int64_t find_override(const qep_config *c, const char *name)
{
    for (int64_t i = 0; i < c->n_overrides; i++) {
        if (qep_same(c->overrides[i].name, name)) return i;
    }
    return -1;
}

/* The override of that name, made when it is new. */
static int64_t get_override(parser *ps, const char *name, int line)
{
    qep_config *c = ps->c;
    int64_t i = find_override(c, name);
    if (i >= 0) return i;
    i = c->n_overrides++;
    c->overrides =
        qep_realloc(c->overrides, "config.overrides", c->n_overrides, sizeof *c->overrides);
    ps->o.over =
        qep_realloc(ps->o.over, "config.origin", c->n_overrides * qep_n_keys, sizeof *ps->o.over);
    c->overrides[i].name = qep_strdup("config.text", name);
    c->overrides[i].line = line;
    return i;
}

/* Number of a key among those that an override may set. */
static uint64_t override_bit(int row)
{
    uint64_t bit = 1;
    for (int i = 0; i < row; i++) {
        if (qep_keys[i].in_override) bit <<= 1;
    }
    return bit;
}

static qep_status set_override_key(parser *ps, const qep_place *p, int row, const char *raw,
                                   int origin)
{
    const char *name = qep_override_name(p->section);
    int64_t at = get_override(ps, name, p->line);
    qep_override *ov = &ps->c->overrides[at];
    const qep_key *k = &qep_keys[row];
    ps->o.over[at * qep_n_keys + row] = origin;
    if (k->in_override) {
        QEP_TRY(qep_key_parse(k, p, raw, "", ps->c, &ov->values));
        ov->set |= override_bit(row);
        return QEP_OK;
    }
    char *match;
    QEP_TRY(qep_value_scalar(p, raw, &match));
    if (!*match) {
        qep_free(match);
        return qep_place_fail(
            p, "the value is missing; write a glob on module names, for example model.layers.0.*");
    }
    qep_free(ov->match);
    ov->match = match;
    return QEP_OK;
}

static qep_status set_key(parser *ps, const qep_place *p, const char *raw, const char *dir,
                          int origin)
{
    const char *base;
    QEP_TRY(check_section(p, &base));
    int row = qep_key_find(base, p->key);
    if (row < 0) return unknown_key(p, base);
    if (qep_override_name(p->section)) return set_override_key(ps, p, row, raw, origin);
    ps->o.keys[row] = origin;
    return qep_key_parse(&qep_keys[row], p, raw, dir, ps->c, &ps->c->linear);
}

static void set_defaults(parser *ps)
{
    for (int i = 0; i < qep_n_keys; i++) {
        const qep_key *k = &qep_keys[i];
        if (!k->def) continue;
        qep_place p = {"the table of keys", 0, NULL, k->section, k->name};
        if (set_key(ps, &p, k->def, "", 0) != QEP_OK) QEP_BUG("%s", qep_error_text());
    }
}

static qep_status read_file(parser *ps, const char *text)
{
    qep_ini ini;
    QEP_TRY(qep_ini_read(text, ps->o.source, &ini));
    qep_status st = QEP_OK;
    for (int64_t i = 0; i < ini.n && st == QEP_OK; i++) {
        const qep_ini_entry *e = &ini.entries[i];
        qep_place p = {ps->o.source, e->line, NULL, e->section, e->key};
        const char *base;
        if (e->key) {
            st = set_key(ps, &p, e->value, ps->dir, e->line);
        } else {
            st = check_section(&p, &base);
            if (st == QEP_OK && qep_override_name(e->section))
                get_override(ps, qep_override_name(e->section), e->line);
        }
    }
    qep_ini_free(&ini);
    return st;
}

/* "section.key=value" -> set_key. The section may be "override NAME", where NAME may contain dots.
 */
static qep_status read_set(parser *ps, const char *set, int index)
{
    const char *equals = strchr(set, '=');
    const char *dot = NULL;
    for (const char *s = set; equals && s < equals; s++) {
        if (*s == '.') dot = s;
    }
    if (!dot || dot == set || dot + 1 == equals) {
        return qep_fail(
            QEP_E_CONFIG,
            "--set %s: expected section.key=value, for example --set quantization.bits=3", set);
    }
    char *section = qep_slice(set, dot), *key = qep_slice(dot + 1, equals);
    qep_place p = {ps->o.source, 0, set, section, key};
    qep_status st =
        qep_section_name_ok(section)
            ? set_key(ps, &p, equals + 1, "", -(index + 1))
            : qep_place_fail(
                  &p, "%s is not a section; write section.key=value or \"override NAME.key=value\"",
                  section);
    qep_free(section);
    qep_free(key);
    return st;
}

/* <output>/checkpoint unless set; without the ending .h5, which the user of the path adds. */
static void finish_checkpoint_path(qep_config *c)
{
    if (!c->checkpoint_path) c->checkpoint_path = qep_path_join(c->output_path, "checkpoint");
    char *name = strrchr(c->checkpoint_path, '/');
    name = name ? name + 1 : c->checkpoint_path;
    for (size_t n = strlen(name); n > 3 && qep_same(name + n - 3, ".h5"); n -= 3)
        name[n - 3] = '\0';
}

qep_status qep_config_parse(const char *text, const char *source, const char *const *sets,
                            int n_sets, qep_config **out)
{
    *out = NULL;
    qep_config *c = qep_alloc("config", 1, sizeof *c);
    c->source = qep_strdup("config.path", source);
    parser ps = {c, {source, sets, NULL, NULL}, qep_path_dir(source)};
    ps.o.keys = qep_alloc("config.origin", qep_n_keys, sizeof *ps.o.keys);
    qep_status st = QEP_OK;
    set_defaults(&ps);
    QEP_GO(st, read_file(&ps, text));
    for (int i = 0; i < n_sets; i++) QEP_GO(st, read_set(&ps, sets[i], i));
    QEP_GO(st, qep_config_check(c, &ps.o));
    finish_checkpoint_path(c);
    *out = c;
    c = NULL;
done:
    qep_free(ps.o.keys);
    qep_free(ps.o.over);
    qep_free(ps.dir);
    qep_config_destroy(&c);
    return st;
}

void qep_config_destroy(qep_config **cp)
{
    qep_config *c = *cp;
    if (!c) return;
    for (int i = 0; i < qep_n_keys; i++) {
        const qep_key *k = &qep_keys[i];
        if (qep_same(k->section, "override")) continue;
        qep_key_clear(k, c, &c->linear);
        for (int64_t j = 0; k->in_override && j < c->n_overrides; j++)
            qep_key_clear(k, c, &c->overrides[j].values);
    }
    for (int64_t j = 0; j < c->n_overrides; j++) {
        qep_free(c->overrides[j].name);
        qep_free(c->overrides[j].match);
    }
    qep_free(c->overrides);
    qep_free(c->source);
    qep_free(c);
    *cp = NULL;
}
