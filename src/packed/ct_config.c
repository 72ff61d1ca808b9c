/* config_groups and ignore of compressed-tensors. SPDX-License-Identifier: Apache-2.0 */
#include "ct_priv.h"

#include <string.h>

/* A module's name, "re:<regular expression>", or the class "Linear". */
typedef struct target {
    char *name;
    qep_packed_pattern *pattern; /* owned; NULL: a name or a class */
    int64_t group; /* -1: ignore */
} target;

struct qep_ct_config {
    target *targets;
    int64_t n_targets;
    qep_ct_settings *groups;
    int64_t n_groups;
};

static qep_status add_target(const qep_packed *p, qep_ct_config *c, const char *key,
                             const char *name, int64_t group)
{
    target *t;

    c->targets = qep_realloc(c->targets, "packed.linears", c->n_targets + 1, sizeof *c->targets);
    t = &c->targets[c->n_targets];
    *t = (target){.group = group, .name = qep_strdup("packed.linears", name)};
    c->n_targets++;
    return strncmp(name, "re:", 3) == 0 ? qep_packed_pattern_open(p, key, name + 3, &t->pattern) : QEP_OK;
}

static qep_status add_targets(const qep_packed *p, qep_ct_config *c, const qep_json *list,
                              const char *key, int64_t group)
{
    if (!list || qep_json_type(list) != QEP_JSON_ARRAY)
        return qep_packed_bad_key(p, key, "a list of names");
    for (int64_t i = 0; i < qep_json_size(list); i++) {
        const char *name = qep_json_string(qep_json_at(list, i));

        if (!name)
            return qep_packed_bad_key(p, key, "a list of names");
        QEP_TRY(add_target(p, c, key, name, group));
    }
    return QEP_OK;
}

static bool is_null(const qep_json *j)
{
    return !j || qep_json_type(j) == QEP_JSON_NULL;
}

static qep_status read_weights(const qep_packed *p, const char *name, const qep_json *w,
                               qep_ct_settings *s)
{
    const char *strategy = qep_json_string(qep_json_get(w, "strategy"));
    const char *type = qep_json_string(qep_json_get(w, "type"));
    const char *order = qep_json_string(qep_json_get(w, "actorder"));
    bool channel = strategy && strcmp(strategy, "channel") == 0;

    QEP_TRY(qep_packed_int(p, w, "num_bits", &s->bits));
    QEP_TRY(qep_packed_bool(p, w, "symmetric", &s->symmetric));
    s->group_size = -1;
    if (!channel)
        QEP_TRY(qep_packed_int(p, w, "group_size", &s->group_size));
    if (s->bits < 2 || s->bits > 8 || (type && strcmp(type, "int") != 0) ||
        (s->group_size != -1 && s->group_size < 1) ||
        (!channel && !(strategy && strcmp(strategy, "group") == 0)) ||
        (order && strcmp(order, "static") != 0 && strcmp(order, "weight") != 0))
        return qep_fail(QEP_E_INPUT, "%s: quantization_config: config_groups: %s: cannot be read; "
                        "supported: integers of 2 to 8 bits, strategy group or channel, groups in "
                        "the order of the columns", p->source, name);
    return QEP_OK;
}

static qep_status read_group(const qep_packed *p, qep_ct_config *c, const char *name,
                             const qep_json *o)
{
    const qep_json *w = qep_json_get(o, "weights");

    if (is_null(w) || !is_null(qep_json_get(o, "input_activations")))
        return qep_fail(QEP_E_INPUT, "%s: quantization_config: config_groups: %s: only weights that "
                        "are quantized alone can be read", p->source, name);
    c->groups = qep_realloc(c->groups, "packed.linears", c->n_groups + 1, sizeof *c->groups);
    QEP_TRY(read_weights(p, name, w, &c->groups[c->n_groups]));
    c->n_groups++;
    return add_targets(p, c, qep_json_get(o, "targets"), "targets", c->n_groups - 1);
}

qep_status qep_ct_config_read(const qep_packed *p, qep_ct_config **out)
{
    const qep_json *q = p->quantization, *groups = qep_json_get(q, "config_groups");
    const char *format = qep_json_string(qep_json_get(q, "format")), *name;
    qep_ct_config *c = qep_alloc("packed.linears", 1, sizeof *c);
    qep_json *value;

    *out = c;
    if (!format || strcmp(format, "pack-quantized") != 0)
        return qep_fail(QEP_E_INPUT, "%s: quantization_config: format \"%s\" cannot be read; "
                        "supported: pack-quantized", p->source, format ? format : "");
    if (!groups || qep_json_type(groups) != QEP_JSON_OBJECT || qep_json_size(groups) == 0)
        return qep_packed_bad_key(p, "config_groups", "an object");
    if (!is_null(qep_json_get(q, "ignore")))
        QEP_TRY(add_targets(p, c, qep_json_get(q, "ignore"), "ignore", -1));
    for (void *it = NULL; (it = qep_json_next(groups, it, &name, &value)) != NULL;)
        QEP_TRY(read_group(p, c, name, value));
    return QEP_OK;
}

void qep_ct_config_free(qep_ct_config *c)
{
    if (!c)
        return;
    for (int64_t i = 0; i < c->n_targets; i++) {
        qep_packed_pattern_close(c->targets[i].pattern);
        qep_free(c->targets[i].name);
    }
    qep_free(c->targets);
    qep_free(c->groups);
    qep_free(c);
}

static qep_status names_it(const target *t, const char *module, bool *yes)
{
    if (t->pattern)
        return qep_packed_pattern_match(t->pattern, module, yes);
    *yes = strcmp(t->name, module) == 0;
    return QEP_OK;
}

qep_status qep_ct_settings_of(const qep_ct_config *c, const char *module, qep_ct_settings *s,
                              bool *yes)
{
    int64_t group = -1;
    bool named;

    *yes = false;
    for (int64_t i = 0; i < c->n_targets; i++) {
        const target *t = &c->targets[i];

        if (t->group >= 0 && group >= 0) /* the first group has it, unless it is in "ignore" */
            continue;
        QEP_TRY(names_it(t, module, &named));
        if (named && t->group < 0)
            return QEP_OK;
        if (named)
            group = t->group;
    }
    for (int64_t i = 0; i < c->n_targets && group < 0; i++)
        if (c->targets[i].group >= 0 && strcmp(c->targets[i].name, "Linear") == 0)
            group = c->targets[i].group;
    *yes = group >= 0;
    if (*yes)
        *s = c->groups[group];
    return QEP_OK;
}
