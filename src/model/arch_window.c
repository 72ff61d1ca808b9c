/* Which blocks attend within a window (formats.md 2.2, 2.4, 2.5).
 * SPDX-License-Identifier: Apache-2.0 */
#include "model_priv.h"

#include <inttypes.h>
#include <string.h>

static const int64_t max_window = INT64_C(1) << 40;

bool qep_arch_slides(const qep_arch *a, int64_t block)
{
    QEP_REQUIRE(block >= 0 && block < a->n_blocks);
    return a->sliding[block / 8] >> (block % 8) & 1;
}

static void set_sliding(qep_arch *a, int64_t block, bool slides)
{
    const uint8_t bit = (uint8_t)(1U << (block % 8));
    a->sliding[block / 8] = (uint8_t)(slides ? a->sliding[block / 8] | bit : a->sliding[block / 8] & ~bit);
}

/* a->window; 0 when there is none. An absent key means the family's default, null means none. */
static qep_status window_size(const qep_keys *k, const qep_family *f, qep_arch *a)
{
    const bool optional = f->window_rule == QEP_WINDOW_IF_USED || f->window_rule == QEP_WINDOW_LATE;
    const bool written = k->object && qep_json_get(k->object, "sliding_window");
    bool used;
    QEP_TRY(qep_key_bool(k, "use_sliding_window", !optional, &used));
    a->window = 0;
    if (!used || (written && !qep_key(k, "sliding_window"))) return QEP_OK;
    if (f->window_rule == QEP_WINDOW_NONE && written)
        return qep_fail(QEP_E_INPUT, "%s: key \"sliding_window\": %s models do not attend within a window; only null is supported",
                        k->source, f->model_type);
    if (!written && f->window == 0) return QEP_OK;
    return qep_key_size(k, "sliding_window", max_window, f->window, &a->window);
}

/* The pattern without layer_types. */
static qep_status by_rule(const qep_keys *k, const qep_family *f, qep_arch *a)
{
    int64_t pattern = 0, first = 0;
    if (f->window_rule == QEP_WINDOW_PATTERN) {
        QEP_TRY(qep_key_size(k, "_sliding_window_pattern", max_window, f->window_pattern, &pattern));
        QEP_TRY(qep_key_size(k, "sliding_window_pattern", max_window, pattern, &pattern));
    }
    if (f->window_rule == QEP_WINDOW_LATE && a->window > 0)
        QEP_TRY(qep_key_count(k, "max_window_layers", max_window, f->max_window_layers, &first));
    for (int64_t b = 0; b < a->n_blocks; b++)
        set_sliding(a, b, a->window > 0 && b >= first && (pattern == 0 || (b + 1) % pattern != 0));
    return QEP_OK;
}

/* layer_types decides where the family's blocks may differ, and must agree elsewhere. */
static qep_status by_list(const qep_keys *k, const qep_family *f, const qep_json *list, qep_arch *a)
{
    const bool decides = f->window_rule == QEP_WINDOW_LATE || f->window_rule == QEP_WINDOW_PATTERN;
    if (qep_json_type(list) != QEP_JSON_ARRAY || qep_json_size(list) != a->n_blocks)
        return qep_fail(QEP_E_INPUT, "%s: key \"layer_types\" must be a list of num_hidden_layers (%" PRId64 ") entries", k->source,
                        a->n_blocks);
    for (int64_t b = 0; b < a->n_blocks; b++) {
        const char *type = qep_json_string(qep_json_at(list, b));
        const bool slides = type && strcmp(type, "sliding_attention") == 0, full = type && strcmp(type, "full_attention") == 0;
        if (!slides && !full)
            return qep_fail(QEP_E_INPUT,
                            "%s: key \"layer_types\", entry %" PRId64 ": \"%s\"; supported are full_attention and sliding_attention",
                            k->source, b, type ? type : "?");
        if (slides && a->window == 0)
            return qep_fail(QEP_E_INPUT, "%s: key \"layer_types\", entry %" PRId64 ": sliding_attention, but the model has no sliding_window",
                            k->source, b);
        if (!decides && slides != qep_arch_slides(a, b))
            return qep_fail(QEP_E_INPUT, "%s: key \"layer_types\", entry %" PRId64 ": \"%s\"; all blocks of a %s model are alike", k->source, b,
                            type, f->model_type);
        set_sliding(a, b, slides);
    }
    return QEP_OK;
}

qep_status qep_arch_parse_window(const qep_keys *k, const qep_family *f, qep_arch *a)
{
    const qep_json *list = qep_key(k, "layer_types");
    bool both_ways;
    QEP_TRY(qep_key_bool(k, "use_bidirectional_attention", false, &both_ways));
    if (both_ways)
        return qep_fail(QEP_E_INPUT, "%s: key \"use_bidirectional_attention\": only causal models are supported", k->source);
    QEP_TRY(window_size(k, f, a));
    QEP_TRY(by_rule(k, f, a));
    return list ? by_list(k, f, list, a) : QEP_OK;
}
