/* The effective settings of one linear. SPDX-License-Identifier: Apache-2.0 */
#include "config_priv.h"

#include <string.h>

/* Puts the override's set values over lin. */
static void apply(const qep_override *o, qep_linear_config *lin)
{
    uint64_t bit = 1;
    for (int i = 0; i < qep_n_keys; i++) {
        const qep_key *k = &qep_keys[i];
        if (!k->in_override) continue;
        static const size_t sizes[] = {[QEP_KEY_GLOBS] = sizeof(char *),
                                       [QEP_KEY_CHOICE] = sizeof(char *),
                                       [QEP_KEY_INT] = sizeof(int64_t),
                                       [QEP_KEY_BOOL] = sizeof(bool),
                                       [QEP_KEY_REAL] = sizeof(double)};
        size_t size = (size_t)k->type < sizeof sizes / sizeof *sizes ? sizes[k->type] : 0;
        QEP_REQUIRE(size > 0);
        if (o->set & bit)
            memcpy((char *)lin + k->offset, (const char *)&o->values + k->offset, size);
        bit <<= 1;
    }
}

qep_linear_config qep_linear_under(const qep_config *c, int64_t at)
{
    qep_linear_config l = c->linear;
    if (at >= 0) apply(&c->overrides[at], &l);
    return l;
}

/* The glob [begin, end) matches the whole name or what follows one of its dots. */
static bool matches_tail(const char *begin, const char *end, const char *name)
{
    char *glob = qep_slice(begin, end);
    bool found = qep_glob(glob, name);
    for (const char *dot = strchr(name, '.'); dot && !found; dot = strchr(dot + 1, '.'))
        found = qep_glob(glob, dot + 1);
    qep_free(glob);
    return found;
}

const char *qep_exclude_stray(const char *list, const char *const *modules, int64_t n, int *length)
{
    while (*list) {
        const char *end = list + strcspn(list, ",");
        bool found = (size_t)(end - list) == strlen("lm_head") && strncmp(list, "lm_head", strlen("lm_head")) == 0;
        for (int64_t i = 0; i < n && !found; i++) found = matches_tail(list, end, modules[i]);
        *length = (int)(end - list);
        if (!found) return list;
        list = end + strspn(end, ", ");
    }
    return NULL;
}

/* list: "a, b", as the parser writes it. */
static bool excluded(const char *list, const char *name)
{
    while (*list) {
        const char *end = list + strcspn(list, ",");
        if (matches_tail(list, end, name)) return true;
        list = end + strspn(end, ", ");
    }
    return false;
}

void qep_config_linear(const qep_config *c, const char *module, qep_linear_config *out)
{
    *out = c->linear;
    for (int64_t i = 0; i < c->n_overrides; i++) {
        if (qep_glob(c->overrides[i].match, module)) apply(&c->overrides[i], out);
    }
    if (excluded(out->exclude, module)) out->correction = "none";
}
