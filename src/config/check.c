/* What no single key can tell: missing keys and combinations that cannot work.
 * SPDX-License-Identifier: Apache-2.0 */
#include "config_priv.h"

#include <stdarg.h>
#include <stdio.h>

/* Place of section.key as it was set; section may be an override's (at >= 0). */
static qep_place place_of(const qep_origin *o, const char *section, const char *key, int64_t at)
{
    int row = qep_key_find(at >= 0 ? "override" : section, key);
    QEP_REQUIRE(row >= 0);
    int from = at >= 0 ? o->over[at * qep_n_keys + row] : o->keys[row];
    return (qep_place){o->source, from > 0 ? from : 0, from < 0 ? o->sets[-from - 1] : NULL,
                       section, key};
}

static qep_status need(const qep_origin *o, const char *section, const char *key, bool there,
                       const char *why)
{
    if (there) return QEP_OK;
    qep_place p = place_of(o, section, key, -1);
    return qep_place_fail(&p, "%s; add it to [%s] or give --set %s.%s=...", why, section, section,
                          key);
}

static bool corrects(const qep_linear_config *l)
{
    return !qep_same(l->method, "none") && qep_same(l->correction, "qep") && (l->alpha != 0 || l->residual > 0);
}

/* --- what a method cannot do ------------------------------------------------------------- */

/* A setting that the method does not go with. key: of [quantization], or "correction". */
typedef struct conflict {
    const char *key; /* NULL: there is none */
    char why[400];
} conflict;

static void say(conflict *f, const char *key, const char *fmt, ...) QEP_PRINTF(3, 4);
static void say(conflict *f, const char *key, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    f->key = key;
    vsnprintf(f->why, sizeof f->why, fmt, args);
    va_end(args);
}

static conflict find_conflict(const qep_linear_config *l)
{
    static const char *const clips[] = {"none", "mse", "hessian"};
    const qep_method *m = qep_method_find(l->method);
    const char *key = m->moves_key;
    conflict f = {.key = NULL};
    if (!(m->bits >> l->bits & 1u))
        say(&f, "bits", "method = %s has no codes of %d bits", m->name, (int)l->bits);
    if (!(l->symmetric ? m->symmetric : m->asymmetric))
        say(&f, "symmetric", "method = %s has only %ssymmetric grids", m->name, l->symmetric ? "a" : "");
    if (qep_same(l->grid, "signed") && !l->symmetric)
        say(&f, "grid", "grid = signed is a symmetric grid; set symmetric = yes");
    if (qep_same(l->grid, "free") && l->symmetric)
        say(&f, "grid", "grid = free needs zero points, which a symmetric grid has not; set grid = zero or signed, or symmetric = no");
    if (!m->groups && l->group_size != -1)
        say(&f, "group_size", "method = %s has no groups; set group_size = -1%s", m->name,
            m->dense_only ? " and [output] format = dense, the only one that holds its result" : "");
    for (unsigned i = 0; i < sizeof clips / sizeof clips[0]; i++) {
        if (!qep_same(l->clip, clips[i]) || m->clips >> i & 1u) continue;
        if (i == QEP_CLIP_HESSIAN && !(m->needs & QEP_NEEDS_H))
            say(&f, "clip", "clip = hessian cannot be used with method = %s, which forms no Hessian: "
                            "use clip = mse (or none), or method = gptq", m->name);
        else
            say(&f, "clip", "method = %s has no clip = %s", m->name, l->clip);
    }
    if (corrects(l) && qep_method_needs(m, &l->options) & QEP_NEEDS_C)
        say(&f, "correction", "method = %s itself corrects for the error of the layers before; "
                              "correction.method = qep in front of it would count that error twice: "
                              "set correction.method = none%s%s%s", m->name, key ? ", or " : "", key ? key : "", key ? " = 0" : "");
    return f;
}

/* at: the override that the settings stand under, -1 for [quantization]. */
static qep_status check_linear(const qep_config *c, const qep_origin *o, int64_t at)
{
    const qep_override *ov = at >= 0 ? &c->overrides[at] : NULL;
    qep_linear_config l = qep_linear_under(c, at);
    conflict f = find_conflict(&l);
    if (!f.key) return QEP_OK;
    char *section = ov ? qep_strf("config.text", "override %s", ov->name) : NULL;
    qep_place p;
    if (!ov && qep_same(f.key, "correction"))
        p = place_of(o, "correction", "method", at);
    else
        p = place_of(o, section ? section : "quantization", f.key, at);
    if (p.line == 0 && !p.set) p = place_of(o, section ? section : "quantization", "method", at);
    qep_status st = qep_place_fail(&p, "%s", f.why);
    qep_free(section);
    return st;
}

static qep_status check_override(const qep_config *c, const qep_origin *o, int64_t at)
{
    const qep_override *ov = &c->overrides[at];
    char *section = qep_strf("config.text", "override %s", ov->name);
    qep_place p = {o->source, ov->line, NULL, section, NULL};
    qep_status st = QEP_OK;
    if (!ov->match) {
        st = qep_place_fail(&p, "match is missing; add match = GLOB, for example model.layers.0.*");
    } else if (!ov->set) {
        st = qep_place_fail(
            &p, "the section changes nothing; add a setting such as bits = 8, or remove it");
    } else {
        st = check_linear(c, o, at);
    }
    qep_free(section);
    return st;
}

static bool needs_tokens(const qep_config *c, const qep_linear_config *l)
{
    if (qep_same(c->final_norm, "yes") && !qep_same(l->method, "none")) return true;
    return qep_method_needs(qep_method_find(l->method), &l->options) != 0 || corrects(l);
}

static qep_status check_calibration(const qep_config *c, const qep_origin *o)
{
    if (c->n_calibration_data > 0) return QEP_OK;
    bool needed = false;
    for (int64_t i = -1; i < c->n_overrides; i++) {
        qep_linear_config l = qep_linear_under(c, i);
        needed = needed || needs_tokens(c, &l);
    }
    return need(o, "calibration", "data", !needed,
                "missing: this method, correction.method = qep or quantization.final_norm = yes needs calibration tokens (only "
                "rtn without them does not)");
}

static qep_status check_compat(const qep_config *c, const qep_origin *o)
{
    if (!qep_same(c->compat, "paper") || qep_same(c->format, "dense")) return QEP_OK;
    qep_place p = place_of(o, "quantization", "compat", -1);
    return qep_place_fail(&p,
                          "compat = paper keeps f32 scales, which no packed format can hold; set "
                          "[output] format = dense, or compat = none");
}

/* alpha = auto is fitted on held-out sequences. */
static qep_status check_fit(const qep_config *c, const qep_origin *o)
{
    bool fits = false;
    for (int64_t i = -1; i < c->n_overrides; i++) {
        qep_linear_config l = qep_linear_under(c, i);
        fits = fits || (corrects(&l) && l.alpha == QEP_ALPHA_AUTO);
    }
    if (!fits || c->validation > 0) return QEP_OK;
    qep_place p = place_of(o, "calibration", "validation", -1);
    return qep_place_fail(&p, "alpha = auto is fitted on held-out sequences: set [calibration] validation above 0, or alpha to a number");
}

qep_status qep_config_check(const qep_config *c, const qep_origin *o)
{
    QEP_TRY(need(o, "model", "path", c->model_path != NULL, "missing: the directory of the model"));
    QEP_TRY(need(o, "output", "path", c->output_path != NULL,
                 "missing: the directory for the result (log, tables and summary go there too)"));
    if (qep_same(c->model_path, c->output_path)) {
        qep_place p = place_of(o, "output", "path", -1);
        return qep_place_fail(
            &p, "%s is the model's own directory; choose another one, the model is not overwritten",
            c->output_path);
    }
    QEP_TRY(check_compat(c, o));
    QEP_TRY(check_linear(c, o, -1));
    for (int64_t i = 0; i < c->n_overrides; i++) QEP_TRY(check_override(c, o, i));
    QEP_TRY(check_fit(c, o));
    return check_calibration(c, o);
}

static qep_status check_exclude(const qep_config *c, const char *list, const char *const *modules, int64_t n)
{
    int length;
    const char *stray = qep_exclude_stray(list, modules, n, &length);
    if (!stray) return QEP_OK;
    return qep_fail(QEP_E_CONFIG,
                    "%s: correction.exclude: \"%.*s\" is the end of no linear's name in this model; they are named like %s",
                    c->source, length, stray, n > 0 ? modules[0] : "(there are none)");
}

qep_status qep_config_check_modules(const qep_config *c, const char *const *modules, int64_t n)
{
    QEP_TRY(check_exclude(c, c->linear.exclude, modules, n));
    for (int64_t i = 0; i < c->n_overrides; i++) {
        const qep_override *ov = &c->overrides[i];
        bool found = false;
        for (int64_t j = 0; j < n && !found; j++) found = qep_glob(ov->match, modules[j]);
        if (found) continue;
        char *section = qep_strf("config.text", "override %s", ov->name);
        qep_place p = {c->source, ov->line, NULL, section, "match"};
        qep_status st =
            qep_place_fail(&p, "%s matches no linear of this model; they are named like %s",
                           ov->match, n > 0 ? modules[0] : "(there are none)");
        qep_free(section);
        return st;
    }
    for (int64_t j = 0; j < n; j++) {
        qep_linear_config l;
        qep_config_linear(c, modules[j], &l);
        conflict f = find_conflict(&l);
        if (f.key) return qep_fail(QEP_E_CONFIG, "%s: the settings of %s together: %s", c->source, modules[j], f.why);
    }
    return QEP_OK;
}
