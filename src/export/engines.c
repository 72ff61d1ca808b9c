/* Which programs load which results: the table, the same in README, and what it says of an output
 * before the work starts. SPDX-License-Identifier: Apache-2.0 */
#include "export_priv.h"

#include <stdlib.h>
#include <string.h>

/* One group per row and widths that are powers of two in this range; to = 0: any width. */
typedef struct group_range {
    int from, to;
} group_range;

typedef enum experts_taken {
    NO_EXPERTS,
    GATE_EXPERTS, /* those with parts gate_proj, up_proj, down_proj */
    ALL_EXPERTS
} experts_taken;

enum { SYM = 1, ASYM = 2, BOTH = 3 };
#define B(n) (1u << (n))
#define ANY {0, 0}

typedef struct engine_row {
    const char *format, *engine;
    unsigned bits;       /* bit n: n bits */
    int grids;           /* SYM, ASYM */
    int act_cols;        /* groups in processing order: the weight's columns must be multiples of; 0: it does not take them */
    group_range groups;
    int rows, cols;      /* the weight's must be multiples of */
    experts_taken experts;
    int hidden, inter;   /* of experts: the model's width, and gate's rows, must be multiples of; inter of group_size too; 0: any */
    bool overrides;      /* single modules that are quantized in another way, or not at all */
} engine_row;

/* Sources: formats.md 3.7, 4.4, 5 and the loaders' code named there; what GPTQModel 7.7 takes: SUPPORTS_GROUP_SIZE of its torch kernels. tests/clients opens transformers, GPTQModel
 * and llama.cpp, mixtures of experts and settings of single modules too: optimum 2.3, by which transformers loads gptq, does not look at "dynamic". */
static const engine_row table[] = {
    {"gptq", "transformers + GPTQModel", B(2) | B(3) | B(4) | B(8), BOTH, 1, {16, 1024}, 32, 32, NO_EXPERTS, 0, 0, false},
    {"gptq", "GPTQModel.load", B(2) | B(3) | B(4) | B(8), BOTH, 1, {16, 1024}, 32, 32, GATE_EXPERTS, 0, 0, true},
    {"gptq", "vLLM", B(4) | B(8), SYM, 128, {32, 128}, 64, 32, ALL_EXPERTS, 128, 64, true},
    {"gptq", "SGLang", B(4) | B(8), SYM, 128, {32, 128}, 64, 128, ALL_EXPERTS, 128, 64, true},
    {"gptq_v2", "transformers + GPTQModel", B(2) | B(3) | B(4) | B(8), BOTH, 1, {16, 1024}, 32, 32, NO_EXPERTS, 0, 0, false},
    {"gptq_v2", "GPTQModel.load", B(2) | B(3) | B(4) | B(8), BOTH, 1, {16, 1024}, 32, 32, GATE_EXPERTS, 0, 0, true},
    {"compressed-tensors", "transformers", B(2) | B(3) | B(4) | B(8), BOTH, 0, ANY, 1, 1, ALL_EXPERTS, 0, 0, true},
    {"compressed-tensors", "vLLM", B(4), BOTH, 0, {32, 128}, 64, 32, ALL_EXPERTS, 0, 0, true},
    {"compressed-tensors", "vLLM", B(8), SYM, 0, {32, 128}, 64, 32, ALL_EXPERTS, 0, 0, true},
    {"compressed-tensors", "vLLM (humming, 2026)", B(2) | B(3), SYM, 0, {32, 128}, 64, 32, NO_EXPERTS, 0, 0, true},
    {"compressed-tensors", "vLLM (humming, 2026)", B(4) | B(8), BOTH, 0, {32, 128}, 64, 32, ALL_EXPERTS, 0, 0, true},
    {"compressed-tensors", "SGLang", B(4) | B(8), SYM, 0, {32, 128}, 64, 128, ALL_EXPERTS, 0, 0, true},
    {"awq", "transformers + GPTQModel", B(4), BOTH, 0, {16, 128}, 32, 32, NO_EXPERTS, 0, 0, true},
    {"awq", "vLLM", B(4), BOTH, 0, {32, 128}, 64, 32, ALL_EXPERTS, 0, 0, true},
    {"awq", "SGLang", B(4), BOTH, 0, {32, 128}, 64, 128, ALL_EXPERTS, 0, 0, true},
    {"gguf", "llama.cpp", B(2) | B(3) | B(4) | B(8), BOTH, 1, ANY, 1, 32, ALL_EXPERTS, 0, 0, true},
};
enum { N_ROWS = sizeof table / sizeof *table };

static bool takes_group(const engine_row *row, const qep_settings *s, int64_t cols)
{
    int64_t width = qep_settings_width(s, cols);

    return row->groups.to == 0 || width == cols ||
           (width >= row->groups.from && width <= row->groups.to && (width & (width - 1)) == 0);
}

/* Why the engine does not take a linear of these settings and this shape; NULL: it does. */
static const char *format_objection(const engine_row *row, const qep_export_linear *l)
{
    qep_settings s = qep_settings_of(l);

    if (!(row->bits & B(s.bits)))
        return "the number of bits";
    if (!(row->grids & (s.sym ? SYM : ASYM)))
        return s.sym ? "the symmetric grid" : "the asymmetric grid";
    if (s.desc_act && row->act_cols == 0)
        return "the act_order without static_groups";
    if (s.desc_act && l->cols % row->act_cols != 0)
        return "the act_order without static_groups and the number of columns";
    if (!takes_group(row, &s, l->cols))
        return "the group_size";
    if (l->rows % row->rows != 0 || l->cols % row->cols != 0)
        return "the shape";
    return NULL;
}

/* The sizes of an expert as the kernels for mixtures want them. */
static bool takes_sizes(const engine_row *row, const qep_export_linear *l)
{
    bool down = qep_ends_with(l->module, ".down_proj") || qep_ends_with(l->module, ".w2");
    int64_t hidden = down ? l->rows : l->cols, inter = down ? l->cols : l->rows;

    return row->hidden == 0 ||
           (hidden % row->hidden == 0 && inter % qep_max_i64(row->inter, l->spec.group_size) == 0);
}

/* The same for a linear of an expert, whose names and numbers loaders treat in their own ways. */
static const char *objection(const engine_row *row, const qep_export_linear *l)
{
    size_t expert = qep_mixture_length(l->module);
    bool taken = expert == 0 || row->experts == ALL_EXPERTS ||
                 (row->experts == GATE_EXPERTS && qep_ends_with(l->module + expert, "_proj"));
    const char *why = taken ? format_objection(row, l) : "the experts";

    return !why && expert > 0 && !takes_sizes(row, l) ? "the sizes of the experts" : why;
}

/* The same for all rows of the engine that `row` belongs to: the objection of the last of them. */
static const char *engine_objects(const engine_row *row, const qep_export_linear *l)
{
    const char *why = NULL;

    for (int i = 0; i < N_ROWS; i++) {
        if (strcmp(table[i].format, row->format) != 0 || strcmp(table[i].engine, row->engine) != 0)
            continue;
        why = objection(&table[i], l);
        if (!why)
            return NULL;
    }
    return why;
}

static bool first_of_engine(int i)
{
    for (int k = 0; k < i; k++)
        if (strcmp(table[k].format, table[i].format) == 0 &&
            strcmp(table[k].engine, table[i].engine) == 0)
            return false;
    return true;
}

/* It differs from what holds for the others. */
static bool is_override(const qep_settings *common, const qep_export_linear *l)
{
    qep_settings s = qep_settings_of(l);

    return l->quantized ? !qep_settings_same(&s, common, l->cols) : strcmp(l->module, "lm_head") != 0;
}

/* Why the engine of `row` does not take a linear among those with common settings; NULL: it does. */
static const char *output_objects(const engine_row *row, const qep_settings *common, const qep_export_linear *l)
{
    const char *why = l->quantized ? engine_objects(row, l) : NULL;

    return !why && !row->overrides && is_override(common, l) ? "the own settings" : why;
}

/* The first linear of the output that the engine of `row` does not take, why, and how many there are; NULL: none. */
static const qep_export_linear *first_refused(const qep_export *e, const engine_row *row, const char **why, int64_t *n)
{
    qep_settings common = qep_settings_common(e->linears, e->n_linears);
    const qep_export_linear *first = NULL;

    *n = 0;
    for (int64_t i = 0; i < e->n_linears; i++) {
        const char *text = output_objects(row, &common, &e->linears[i]);

        if (text && (*n)++ == 0) {
            first = &e->linears[i];
            *why = text;
        }
    }
    return first;
}

/* The whole output could be written in this format. */
static bool can_be_written(const qep_export *e, const char *name)
{
    qep_export_request rq = {.format = name, .linears = e->linears, .n_linears = e->n_linears};
    const qep_format *f;
    bool good = qep_format_find(name, &f) == QEP_OK && qep_export_rules(&rq, f) == QEP_OK;

    if (!good)
        qep_error_clear();
    return good;
}

/* A format in which the engine of `row` loads the same codes; NULL: there is none. */
static const char *other_format(const qep_export *e, const engine_row *row)
{
    const char *why;
    int64_t n;

    for (int i = 0; i < N_ROWS; i++)
        if (first_of_engine(i) && strcmp(table[i].engine, row->engine) == 0 && strcmp(table[i].format, row->format) != 0 &&
            !first_refused(e, &table[i], &why, &n) && can_be_written(e, table[i].format))
            return table[i].format;
    return NULL;
}

/* vLLM casts scales, which all packed formats store as F16, to the type that it serves in, the model's own (formats.md 11, T2). */
#define SCALES_CHANGE ", with the F16 scales cast to BF16: not exactly what is evaluated here, unless it serves with --dtype float16"
static bool scales_change(const qep_export *e, const engine_row *row)
{
    return strncmp(row->engine, "vLLM", 4) == 0 && e->dense_dtype == QEP_BF16;
}

static void describe_engine(const qep_export *e, const engine_row *row)
{
    const char *why, *other;
    int64_t n;
    const qep_export_linear *first = first_refused(e, row, &why, &n);

    if (!first) {
        qep_info("  %s loads it%s", row->engine, scales_change(e, row) ? SCALES_CHANGE : "");
        return;
    }
    other = other_format(e, row);
    qep_info("  %s does not load it because of %s of %s%s%s%s", row->engine, why, first->module,
             n > 1 ? " and others" : "", other ? "; it loads [output] format = " : "", other ? other : "");
}

void qep_engines_describe(const qep_export *e)
{
    if (!e->format->packed)
        return;
    qep_info("output format %s:", e->format->name);
    for (int i = 0; i < N_ROWS; i++)
        if (strcmp(table[i].format, e->format->name) == 0 && first_of_engine(i))
            describe_engine(e, &table[i]);
}

bool qep_engines_take(const char *format, const qep_export_linear *l)
{
    for (int i = 0; i < N_ROWS; i++)
        if (strcmp(table[i].format, format) == 0 && !format_objection(&table[i], l))
            return true;
    return false;
}

const char *qep_engines_instead(const qep_export_linear *l, char *text, size_t cap)
{
    size_t at = (size_t)snprintf(text, cap, "it can be stored as");
    const engine_row *last = NULL;

    for (int i = 0; i < N_ROWS && at < cap; i++) {
        const engine_row *r = &table[i];
        bool more = last && strcmp(last->format, r->format) == 0;

        if (objection(r, l) || (more && strcmp(last->engine, r->engine) == 0))
            continue;
        if (more)
            at += (size_t)snprintf(text + at, cap - at, ", %s", r->engine);
        else
            at += (size_t)snprintf(text + at, cap - at, "%s %s (%s", last ? ")," : "", r->format, r->engine);
        last = r;
    }
    if (at < cap && last)
        snprintf(text + at, cap - at, ")");
    if (!last)
        snprintf(text, cap, "no engine is known that loads it in any packed format; [output] "
                 "format = dense loads everywhere");
    return text;
}

/* --- the table as text -------------------------------------------------------------------- */

static void put_bits(char *out, size_t cap, unsigned bits)
{
    size_t at = 0;

    for (int n = 1; n <= 8; n++)
        if (bits & B(n))
            at += (size_t)snprintf(out + at, cap - at, "%s%d", at > 0 ? " " : "", n);
}

static void put_groups(char *out, size_t cap, const group_range *g)
{
    if (g->to == 0)
        snprintf(out, cap, "any");
    else
        snprintf(out, cap, "-1 %d .. %d", g->from, g->to);
}

static void put_act_order(char *out, size_t cap, const engine_row *r)
{
    if (r->act_cols > 1)
        snprintf(out, cap, "cols %d", r->act_cols);
    else
        snprintf(out, cap, "%s", r->act_cols == 1 ? "yes" : "static");
}

static void put_experts(char *out, size_t cap, const engine_row *r)
{
    static const char *const taken[] = {"no", "not w1", "yes"};

    if (r->hidden > 0)
        snprintf(out, cap, "%d, %d", r->hidden, r->inter);
    else
        snprintf(out, cap, "%s", taken[r->experts]);
}

char *qep_export_engines_text(void)
{
    static const char *const grids[] = {"", "sym", "asym", "both"};
    char *text = qep_strf("export.text", "%-19s %-8s %-5s %-13s %-9s %-10s %-7s %-9s %s\n", "format", "bits",
                          "grid", "group_size", "act_order", "rows, cols", "experts", "overrides", "engine");

    for (int i = 0; i < N_ROWS; i++) {
        const engine_row *r = &table[i];
        char bits[20], groups[24], shape[24], act[24], sizes[24], *longer;

        put_bits(bits, sizeof bits, r->bits);
        put_groups(groups, sizeof groups, &r->groups);
        snprintf(shape, sizeof shape, "%d, %d", r->rows, r->cols);
        put_act_order(act, sizeof act, r);
        put_experts(sizes, sizeof sizes, r);
        longer = qep_strf("export.text", "%s%-19s %-8s %-5s %-13s %-9s %-10s %-7s %-9s %s\n", text, r->format,
                          bits, grids[r->grids], groups, act, shape, sizes, r->overrides ? "yes" : "no", r->engine);
        qep_free(text);
        text = longer;
    }
    return text;
}
