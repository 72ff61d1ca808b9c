/* Over how many ranks a serving engine can split an output (tensor parallelism): q k v, gate and up are
 * cut by rows, o and down by columns, where a group must stay whole (formats.md 3.7, T9).
 * SPDX-License-Identifier: Apache-2.0 */
#include "gguf_priv.h"

enum { MOST_RANKS = 64, UNIT = 32 /* rows, columns: the words of every packed format are whole */ };

/* The linear's input is what the ranks have cut: it is cut by columns. */
static bool cut_by_columns(const char *module)
{
    static const char *const tails[] = {".o_proj", ".down_proj", ".out_proj", ".fc2", ".w2"};

    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++)
        if (qep_ends_with(module, tails[i]))
            return true;
    return false;
}

/* k and v heads fewer than ranks are repeated. */
static int64_t row_parts(const qep_export *e, const char *module, int64_t ranks)
{
    bool kv = qep_ends_with(module, ".k_proj") || qep_ends_with(module, ".v_proj");

    return kv && e->n_kv_heads > 0 ? qep_min_i64(ranks, e->n_kv_heads) : ranks;
}

/* What stands against `ranks` in this linear; false: nothing. */
static bool linear_objects(const qep_export *e, const qep_export_linear *l, int64_t ranks,
                           char *why, size_t cap)
{
    qep_settings s = qep_settings_of(l);
    bool columns = cut_by_columns(l->module);
    int64_t extent = columns ? l->cols : l->rows, width = qep_settings_width(&s, l->cols);
    int64_t parts = columns ? ranks : row_parts(e, l->module, ranks);
    int64_t unit = !e->format->packed || !l->quantized ? 1 : UNIT;

    if (columns && l->quantized && e->format->packed && width < l->cols && !s.desc_act)
        unit = width;
    if (parts == 1 || (extent % parts == 0 && extent / parts % unit == 0))
        return false;
    snprintf(why, cap, "%s has %lld %s, which are not %lld x a multiple of %lld", l->module,
             (long long)extent, columns ? "columns" : "rows", (long long)parts, (long long)unit);
    return true;
}

static bool heads_object(const qep_export *e, int64_t ranks, char *why, size_t cap)
{
    int64_t kv = e->n_kv_heads;

    if (e->n_heads == 0 ||
        (e->n_heads % ranks == 0 && (kv % ranks == 0 || ranks % qep_max_i64(kv, 1) == 0)))
        return false;
    snprintf(why, cap, "%lld heads (%lld kv) do not divide", (long long)e->n_heads, (long long)kv);
    return true;
}

bool qep_serving_fits(const qep_export *e, int64_t ranks, char *why, size_t cap)
{
    if (heads_object(e, ranks, why, cap))
        return false;
    for (int64_t i = 0; i < e->n_linears; i++)
        if (!qep_is_part(e->linears[i].module, "lm_head", "") &&
            linear_objects(e, &e->linears[i], ranks, why, cap))
            return false;
    return true;
}

void qep_serving_describe(const qep_export *e)
{
    char sizes[160] = "1", why[256], first[256] = "";
    size_t at = 1;
    int64_t failed = 0;

    for (int64_t t = 2; t <= MOST_RANKS && at + 8 < sizeof sizes; t++) {
        if (qep_serving_fits(e, t, why, sizeof why))
            at += (size_t)snprintf(sizes + at, sizeof sizes - at, " %lld", (long long)t);
        else if (failed == 0 && (t & (t - 1)) == 0) {
            failed = t;
            snprintf(first, sizeof first, "%s", why);
        }
    }
    if (failed > 0)
        qep_info("  tensor parallel on %s ranks of a serving engine; not on %lld: %s", sizes,
                 (long long)failed, first);
    else
        qep_info("  tensor parallel on %s ranks of a serving engine", sizes);
}

void qep_export_describe(const qep_export *e)
{
    qep_engines_describe(e);
    if (e->format == &qep_format_gguf)
        qep_gguf_describe(e);
    else
        qep_serving_describe(e);
    if (e->head_untied)
        qep_warn("lm_head was tied to the embedding and is quantized: it is written on its own "
                 "(tie_word_embeddings = false); some engines do not load a quantized lm_head");
    else if (e->head_quantized)
        qep_warn("lm_head is quantized: some engines do not load a quantized lm_head");
    else if (e->tied)
        qep_info("  lm_head is the embedding (tied) and stays as it is");
}
