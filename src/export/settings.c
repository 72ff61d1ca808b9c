/* Settings of a module as a gptq configuration knows them. SPDX-License-Identifier: Apache-2.0 */
#include "export_priv.h"

#include <string.h>

qep_settings qep_settings_of(const qep_export_linear *l)
{
    const qep_qspec *q = &l->spec;
    qep_settings s = {.bits = q->bits, .group_size = q->group_size, .sym = q->symmetric};

    /* Only groups that are formed in processing order give a g_idx other than k / group. */
    s.desc_act = qep_groups_follow_order(q) && qep_settings_width(&s, l->cols) < l->cols;
    return s;
}

int64_t qep_settings_width(const qep_settings *s, int64_t cols)
{
    return s->group_size == -1 ? cols : qep_min_i64(s->group_size, cols);
}

bool qep_settings_same(const qep_settings *a, const qep_settings *b, int64_t cols)
{
    return a->bits == b->bits && a->sym == b->sym && a->desc_act == b->desc_act &&
           qep_settings_width(a, cols) == qep_settings_width(b, cols);
}

static int64_t count_same(const qep_settings *s, const qep_export_linear *l, int64_t n)
{
    int64_t same = 0;

    for (int64_t i = 0; i < n; i++) {
        qep_settings own = qep_settings_of(&l[i]);

        same += l[i].quantized && qep_settings_same(s, &own, l[i].cols);
    }
    return same;
}

/* Nothing differs, not even the way of writing a width. */
static bool alike(const qep_settings *a, const qep_settings *b)
{
    return a->bits == b->bits && a->group_size == b->group_size && a->sym == b->sym && a->desc_act == b->desc_act;
}

/* Models have many linears and few settings: each is counted once. */
qep_settings qep_settings_common(const qep_export_linear *l, int64_t n)
{
    enum { MOST = 256 };
    qep_settings best = {0}, seen[MOST];
    int64_t most = 0, n_seen = 0;

    for (int64_t i = 0; i < n && n_seen < MOST; i++) {
        qep_settings s = qep_settings_of(&l[i]);
        int64_t same, k = 0;

        while (k < n_seen && !alike(&s, &seen[k]))
            k++;
        if (!l[i].quantized || k < n_seen)
            continue;
        seen[n_seen++] = s;
        same = count_same(&s, l, n);
        if (same > most) {
            most = same;
            best = s;
        }
    }
    return best;
}

/* --- as members of an object ------------------------------------------------------------------ */

/* "+:^model\.layers\.0\.mlp\.down_proj$": matches this module alone. */
static char *module_pattern(const char *sign, const char *module)
{
    size_t cap = 2 * strlen(module) + 8, at = 0;
    char *text = qep_alloc("export.config", (int64_t)cap, 1);

    at = (size_t)snprintf(text, cap, "%s:^", sign);
    for (const char *p = module; *p; p++) {
        if (*p == '.')
            text[at++] = '\\';
        text[at++] = *p;
    }
    text[at] = '$';
    return text;
}

static void add_pattern(qep_json *dynamic, const char *sign, const char *module, qep_json *value)
{
    char *key = module_pattern(sign, module);

    qep_json_set(dynamic, key, value);
    qep_free(key);
}

/* The module by its name in the files, and what it is a part of where that is run as one. */
static void add_entry(qep_json *dynamic, const char *sign, const char *module, qep_json *value)
{
    char *whole = qep_fused_name(module);

    if (whole)
        add_pattern(dynamic, sign, whole, qep_json_copy(value));
    add_pattern(dynamic, sign, module, value);
    qep_free(whole);
}

/* What differs from the common settings. */
static qep_json *own_settings(const qep_settings *s, const qep_settings *common, int64_t cols)
{
    qep_json *o = qep_json_new_object();

    if (s->bits != common->bits)
        qep_json_set(o, "bits", qep_json_new_int(s->bits));
    if (qep_settings_width(s, cols) != qep_settings_width(common, cols))
        qep_json_set(o, "group_size", qep_json_new_int(s->group_size));
    if (s->sym != common->sym)
        qep_json_set(o, "sym", qep_json_new_bool(s->sym));
    if (s->desc_act != common->desc_act)
        qep_json_set(o, "desc_act", qep_json_new_bool(s->desc_act));
    return o;
}

/* The first matching pattern holds, so what stays unquantized, routers of experts too, comes first. */
static qep_json *dynamic_json(const qep_export_request *rq, const qep_settings *common)
{
    qep_json *dynamic = qep_json_new_object(), *plain = qep_unquantized_modules(rq);

    for (int64_t i = 0; i < qep_json_size(plain); i++) {
        const char *module = qep_json_string(qep_json_at(plain, i));

        if (strcmp(module, "lm_head") != 0) /* it has a member of its own */
            add_entry(dynamic, "-", module, qep_json_new_object());
    }
    qep_json_free(&plain);
    for (int64_t i = 0; i < rq->n_linears; i++) {
        const qep_export_linear *l = &rq->linears[i];
        qep_settings s = qep_settings_of(l);

        if (l->quantized && !qep_settings_same(&s, common, l->cols))
            add_entry(dynamic, "+", l->module, own_settings(&s, common, l->cols));
    }
    return dynamic;
}

void qep_settings_put(const qep_export_request *rq, qep_json *q)
{
    qep_settings s = qep_settings_common(rq->linears, rq->n_linears);
    qep_json *dynamic = dynamic_json(rq, &s);

    qep_json_set(q, "bits", qep_json_new_int(s.bits));
    qep_json_set(q, "group_size", qep_json_new_int(s.group_size));
    qep_json_set(q, "sym", qep_json_new_bool(s.sym));
    qep_json_set(q, "desc_act", qep_json_new_bool(s.desc_act));
    qep_json_set(q, "lm_head", qep_json_new_bool(qep_head_quantized(rq)));
    if (qep_json_size(dynamic) > 0)
        qep_json_set(q, "dynamic", dynamic);
    else
        qep_json_free(&dynamic);
}
