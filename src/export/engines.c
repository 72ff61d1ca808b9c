/* Which programs load which results: the table, the same in README, and what it says of an output
 * before the work starts. SPDX-License-Identifier: Apache-2.0 */
#include "export_priv.h"

#include <stdlib.h>
#include <string.h>

typedef enum groups_taken {
    ANY_GROUP,
    FAST_GROUP, /* one per row, or 32, 64, 128 columns */
    BLOCK_GROUP /* one per row, or a multiple of 256 columns */
} groups_taken;

enum { SYM = 1, ASYM = 2, BOTH = 3 };
#define B(n) (1u << (n))

typedef struct engine_row {
    const char *format, *engine;
    unsigned bits;       /* bit n: n bits */
    int grids;           /* SYM, ASYM */
    bool act_order;      /* groups in processing order */
    groups_taken groups;
    int rows, cols;      /* the weight's must be multiples of */
    const char *source;  /* how it is known */
} engine_row;

/* Sources: formats.md 3.7, 4.4, 5 and the loaders' code named there; "run": opened by tests/clients. */
static const engine_row table[] = {
    {"gptq", "transformers + GPTQModel", B(2) | B(3) | B(4) | B(8), BOTH, true, ANY_GROUP, 32, 32, "loader's source"},
    {"gptq", "vLLM", B(4) | B(8), SYM, true, FAST_GROUP, 64, 32, "loader's source"},
    {"gptq", "SGLang", B(4) | B(8), SYM, true, FAST_GROUP, 64, 128, "loader's source"},
    {"gptq_v2", "transformers + GPTQModel", B(2) | B(3) | B(4) | B(8), BOTH, true, ANY_GROUP, 32, 32, "loader's source"},
    {"compressed-tensors", "transformers", B(2) | B(3) | B(4) | B(8), BOTH, false, ANY_GROUP, 1, 1, "loader's source"},
    {"compressed-tensors", "vLLM", B(4), BOTH, false, FAST_GROUP, 64, 32, "loader's source"},
    {"compressed-tensors", "vLLM", B(8), SYM, false, FAST_GROUP, 64, 32, "loader's source"},
    {"compressed-tensors", "vLLM (humming, 2026)", B(2) | B(3), SYM, false, FAST_GROUP, 64, 32, "loader's source"},
    {"compressed-tensors", "vLLM (humming, 2026)", B(4) | B(8), BOTH, false, FAST_GROUP, 64, 32, "loader's source"},
    {"compressed-tensors", "SGLang", B(4) | B(8), SYM, false, FAST_GROUP, 64, 128, "loader's source"},
    {"awq", "transformers + GPTQModel", B(4), BOTH, false, ANY_GROUP, 32, 32, "loader's source"},
    {"awq", "vLLM", B(4), BOTH, false, FAST_GROUP, 64, 32, "loader's source"},
    {"gguf", "llama.cpp", B(2) | B(3) | B(4) | B(8), BOTH, true, ANY_GROUP, 1, 32, "loader's source"},
    {"awq", "SGLang", B(4), BOTH, false, FAST_GROUP, 64, 128, "loader's source"},
};
enum { N_ROWS = sizeof table / sizeof *table };

static bool takes_group(const engine_row *row, const qep_settings *s, int64_t cols)
{
    int64_t width = qep_settings_width(s, cols);

    if (row->groups == ANY_GROUP || width == cols)
        return true;
    return row->groups == FAST_GROUP ? width == 32 || width == 64 || width == 128
                                     : width % 256 == 0;
}

/* Why the engine does not take this linear; NULL: it does. */
static const char *objection(const engine_row *row, const qep_export_linear *l)
{
    qep_settings s = qep_settings_of(l);

    if (!(row->bits & B(s.bits)))
        return "its number of bits";
    if (!(row->grids & (s.sym ? SYM : ASYM)))
        return s.sym ? "its symmetric grid" : "its asymmetric grid";
    if (s.desc_act && !row->act_order)
        return "act_order without static_groups";
    if (!takes_group(row, &s, l->cols))
        return "its group_size";
    if (l->rows % row->rows != 0 || l->cols % row->cols != 0)
        return "its shape";
    return NULL;
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

static void describe_engine(const qep_export *e, const engine_row *row)
{
    const qep_export_linear *first = NULL;
    const char *why = NULL;
    int64_t n = 0;

    for (int64_t i = 0; i < e->n_linears; i++) {
        const qep_export_linear *l = &e->linears[i];
        const char *text = l->quantized ? engine_objects(row, l) : NULL;

        if (text && n++ == 0) {
            first = l;
            why = text;
        }
    }
    if (n == 0)
        qep_info("  %s loads it (%s)", row->engine, row->source);
    else
        qep_info("  %s does not load it: %s of %s%s", row->engine, why, first->module,
                 n > 1 ? " and others" : "");
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
        if (strcmp(table[i].format, format) == 0 && !objection(&table[i], l))
            return true;
    return false;
}

const char *qep_engines_instead(const qep_export_linear *l, char *text, size_t cap)
{
    size_t at = (size_t)snprintf(text, cap, "it can be stored as");
    int n = 0;

    for (int i = 0; i < N_ROWS && at < cap; i++) {
        if (objection(&table[i], l))
            continue;
        at += (size_t)snprintf(text + at, cap - at, "%s %s (%s)", n++ > 0 ? "," : "",
                               table[i].format, table[i].engine);
    }
    if (n == 0)
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

char *qep_export_engines_text(void)
{
    static const char *const groups[] = {"any", "-1 32 64 128", "-1 256 512 .."};
    static const char *const grids[] = {"", "sym", "asym", "both"};
    char *text = qep_strf("export.text", "%-19s %-8s %-5s %-13s %-9s %-10s %s\n", "format", "bits",
                          "grid", "group_size", "act_order", "rows, cols", "engine");

    for (int i = 0; i < N_ROWS; i++) {
        const engine_row *r = &table[i];
        char bits[20], shape[24], *longer;

        put_bits(bits, sizeof bits, r->bits);
        snprintf(shape, sizeof shape, "%d, %d", r->rows, r->cols);
        longer = qep_strf("export.text", "%s%-19s %-8s %-5s %-13s %-9s %-10s %s\n", text, r->format,
                          bits, grids[r->grids], groups[r->groups], r->act_order ? "yes" : "static",
                          shape, r->engine);
        qep_free(text);
        text = longer;
    }
    return text;
}
