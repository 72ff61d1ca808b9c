/* The configuration as text: the complete file, and the part that the result depends on.
 * SPDX-License-Identifier: Apache-2.0 */
#include "config_priv.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* True when the checkpoint lies where it lies unless somebody sets it: then "auto" keeps the dump
 * usable with another output. */
static bool checkpoint_is_default(const qep_config *c)
{
    char *def = qep_path_join(c->output_path, "checkpoint");
    bool same = qep_same(def, c->checkpoint_path);
    qep_free(def);
    return same;
}

/* "name = value"; nothing behind the equals sign of an empty list. */
static void add_pair(qep_text *t, const char *name, const qep_key *k, const qep_config *c,
                     const qep_linear_config *lin)
{
    qep_text_add(t, "%s = ", name);
    qep_key_print(k, c, lin, t);
    if (t->s[t->n - 1] == ' ') t->s[--t->n] = '\0';
    qep_text_add(t, "\n");
}

static void dump_override(const qep_config *c, const qep_override *ov, qep_text *t)
{
    qep_text_add(t, "\n[override %s]\nmatch = ", ov->name);
    qep_item_print(ov->match, t);
    qep_text_add(t, "\n");
    uint64_t bit = 1;
    for (int i = 0; i < qep_n_keys; i++) {
        const qep_key *k = &qep_keys[i];
        if (!k->in_override) continue;
        if (ov->set & bit) add_pair(t, k->in_override, k, c, &ov->values);
        bit <<= 1;
    }
}

static void dump_section(const qep_config *c, const char *section, qep_text *t)
{
    qep_text_add(t, "\n[%s]\n", section);
    for (int i = 0; i < qep_n_keys; i++) {
        const qep_key *k = &qep_keys[i];
        if (!qep_same(k->section, section)) continue;
        bool derived = k->offset == offsetof(qep_config, checkpoint_path) && !k->linear &&
                       checkpoint_is_default(c);
        if (derived) {
            qep_text_add(t, "# the file: %s.h5\n%s = %s\n", c->checkpoint_path, k->name,
                         k->special);
        } else {
            add_pair(t, k->name, k, c, &c->linear);
        }
    }
}

char *qep_config_dump(const qep_config *c)
{
    qep_text t = {0};
    qep_text_add(&t,
                 "# Complete effective configuration of a run of qep_mpi; usable as its input.\n");
    for (const char *const *s = qep_sections; *s; s++) {
        if (!qep_same(*s, "override")) {
            dump_section(c, *s, &t);
            continue;
        }
        for (int64_t i = 0; i < c->n_overrides; i++) dump_override(c, &c->overrides[i], &t);
    }
    return t.s;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

typedef struct lines {
    char **s;
    int64_t n;
} lines;

static void add_line(lines *l, char *text)
{
    l->s = qep_realloc(l->s, "config.lines", l->n + 1, sizeof *l->s);
    l->s[l->n++] = text;
}

/* prefix.name = value */
static void identity_line(lines *l, const char *prefix, const char *name, const qep_key *k,
                          const qep_config *c, const qep_linear_config *lin)
{
    qep_text t = {0};
    qep_text_add(&t, "%s.", prefix);
    add_pair(&t, name, k, c, lin);
    add_line(l, t.s);
}

/* Overrides are numbered: their order matters, their names do not. */
static void identity_override(lines *l, const qep_config *c, int64_t at)
{
    const qep_override *ov = &c->overrides[at];
    char *prefix = qep_strf("config.text", "override %04" PRId64, at);
    qep_text t = {0};
    qep_text_add(&t, "%s.match = ", prefix);
    qep_item_print(ov->match, &t);
    qep_text_add(&t, "\n");
    add_line(l, t.s);
    uint64_t bit = 1;
    for (int i = 0; i < qep_n_keys; i++) {
        const qep_key *k = &qep_keys[i];
        if (!k->in_override) continue;
        if (ov->set & bit) identity_line(l, prefix, k->in_override, k, c, &ov->values);
        bit <<= 1;
    }
    qep_free(prefix);
}

char *qep_config_identity(const qep_config *c)
{
    lines l = {0};
    for (int i = 0; i < qep_n_keys; i++) {
        const qep_key *k = &qep_keys[i];
        if (k->identity) identity_line(&l, k->section, k->name, k, c, &c->linear);
    }
    for (int64_t i = 0; i < c->n_overrides; i++) identity_override(&l, c, i);
    qsort(l.s, (size_t)l.n, sizeof *l.s, by_text);
    qep_text t = {0};
    for (int64_t i = 0; i < l.n; i++) qep_text_add(&t, "%s", l.s[i]);
    qep_free_strings(l.s, l.n);
    return t.s;
}
