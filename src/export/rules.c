/* What a format can hold, checked before any work (formats.md 3.1, 3.7).
 * SPDX-License-Identifier: Apache-2.0 */
#include "export_priv.h"

#include <string.h>

/* Largest power of two that divides cols, at most `most`. */
static int64_t dividing_group(int64_t cols, int64_t most)
{
    int64_t g = 1;

    while (2 * g <= most && cols % (2 * g) == 0)
        g *= 2;
    return g;
}

static qep_status check_linear(const qep_export_request *rq, const qep_format *f,
                               const qep_export_linear *l)
{
    const qep_qspec *s = &l->spec;
    long long rows = l->rows, cols = l->cols;
    char text[512];

    if (s->bits != 2 && s->bits != 3 && s->bits != 4 && s->bits != 8)
        return qep_fail(QEP_E_CONFIG, "%s: bits = %d cannot be stored; choose 2, 3, 4 or 8",
                        l->module, s->bits);
    if (s->group_size != -1 && (s->group_size < 1 || l->cols % s->group_size != 0))
        return qep_fail(QEP_E_CONFIG, "%s: group_size %lld does not divide its %lld columns (the "
                        "weight is [%lld, %lld]); choose a group_size that does, for example %lld, "
                        "or -1 for one group per row; an [override ...] with match = %s can set it "
                        "for this module alone, or leave it unquantized with method = none",
                        l->module, (long long)s->group_size, cols, rows, cols,
                        (long long)dividing_group(l->cols, qep_max_i64(s->group_size, 32)),
                        l->module);
    if (f->packed && s->method && s->method->dense_only)
        return qep_fail(QEP_E_CONFIG, "%s: method = %s cannot be stored in the %s format: %s; write "
                        "[output] format = dense", l->module, s->method->name, f->name,
                        s->method->dense_only);
    if (f->check)
        QEP_TRY(f->check(rq, l));
    if (f->packed && !qep_engines_take(f->name, l))
        return qep_fail(QEP_E_CONFIG, "%s: no known engine loads %d bits, %s, group_size %lld%s in "
                        "the %s format; %s", l->module, s->bits,
                        s->symmetric ? "symmetric" : "asymmetric", (long long)s->group_size,
                        qep_settings_of(l).desc_act ? ", act_order" : "", f->name,
                        qep_engines_instead(l, text, sizeof text));
    return QEP_OK;
}

/* Linears that the engines run as one matrix: "q", "k", "v" and "gate", "up" (Mixtral: "w1", "w3") of one parent.
 * 0: the linear is on its own. */
static int fused_set(const char *module, int64_t *parent)
{
    static const struct {
        const char *tail;
        int set;
    } sets[] = {{".q_proj", 1}, {".k_proj", 1}, {".v_proj", 1}, {".gate_proj", 2}, {".up_proj", 2}, {".w1", 3}, {".w3", 3}};

    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        if (qep_ends_with(module, sets[i].tail)) {
            *parent = (int64_t)(strlen(module) - strlen(sets[i].tail));
            return sets[i].set;
        }
    return 0;
}

static bool fused_with(const char *a, const char *b)
{
    int64_t pa = 0, pb = 0;
    int sa = fused_set(a, &pa), sb = fused_set(b, &pb);

    return sa != 0 && sa == sb && pa == pb && strncmp(a, b, (size_t)pa) == 0;
}

static bool same_width(const qep_settings *x, const qep_settings *y, int64_t cols)
{
    return qep_settings_width(x, cols) == qep_settings_width(y, cols);
}

/* The first setting in which two linears differ. The parts of an expert have other numbers of columns: one group per row in one of them is what the other's width may mean. */
static const char *difference(const qep_export_linear *a, const qep_export_linear *b)
{
    qep_settings x = qep_settings_of(a), y = qep_settings_of(b);

    if (x.bits != y.bits)
        return "bits";
    if (!same_width(&x, &y, a->cols) && !same_width(&x, &y, b->cols))
        return "group_size";
    if (x.sym != y.sym)
        return "symmetric";
    return x.desc_act != y.desc_act ? "act_order" : NULL;
}

static qep_status check_pair(const qep_export_linear *a, const qep_export_linear *b)
{
    const char *what;

    if (a->quantized != b->quantized)
        return qep_fail(QEP_E_CONFIG, "%s is quantized, %s is not: inference engines run both as "
                        "one fused matrix and refuse a mixture; give both the same method, or "
                        "write [output] format = dense",
                        a->quantized ? a->module : b->module, a->quantized ? b->module : a->module);
    what = a->quantized ? difference(a, b) : NULL;
    if (what)
        return qep_fail(QEP_E_CONFIG, "%s and %s have different %s: inference engines (vLLM; llama.cpp "
                        "the experts) have both in one matrix and need equal settings; let one [override ...] "
                        "match both, or write [output] format = dense", a->module, b->module, what);
    return QEP_OK;
}

static bool same_parent(const char *a, const char *b)
{
    const char *dot = strrchr(a, '.');

    return dot && strncmp(a, b, (size_t)(dot - a) + 1) == 0 && !strchr(b + (dot - a) + 1, '.');
}

/* Members of a fused set have one parent, whose linears follow one another. */
static qep_status check_fused(const qep_export_linear *l, int64_t n)
{
    for (int64_t i = 0; i + 1 < n; i++)
        for (int64_t j = i + 1; j < n && same_parent(l[i].module, l[j].module); j++)
            if (fused_with(l[i].module, l[j].module))
                QEP_TRY(check_pair(&l[i], &l[j]));
    return QEP_OK;
}

/* All experts of a layer are one tensor there, or one for each part of an expert, which follow one another. */
static qep_status check_mixtures(const qep_export_linear *l, int64_t n, bool by_part)
{
    enum { PARTS = 3 };
    int64_t first = 0;

    for (int64_t i = 1; i < n; i++) {
        size_t length = qep_mixture_length(l[i].module);

        if (length == 0 || qep_mixture_length(l[first].module) != length ||
            strncmp(l[first].module, l[i].module, length) != 0)
            first = i;
        else
            QEP_TRY(check_pair(&l[by_part ? first + (i - first) % PARTS : first], &l[i]));
    }
    return QEP_OK;
}

qep_status qep_export_rules(const qep_export_request *rq, const qep_format *f)
{
    int64_t quantized = 0;

    for (int64_t i = 0; i < rq->n_linears; i++) {
        if (!rq->linears[i].quantized)
            continue;
        quantized++;
        QEP_TRY(check_linear(rq, f, &rq->linears[i]));
    }
    if (quantized == 0)
        return qep_fail(QEP_E_CONFIG, "no linear of the model is quantized: there is nothing to "
                        "write; set quantization.method to something other than none");
    if (f->fuses)
        QEP_TRY(check_fused(rq->linears, rq->n_linears));
    return f->fuses || f->stacks ? check_mixtures(rq->linears, rq->n_linears, f->stacks) : QEP_OK;
}
