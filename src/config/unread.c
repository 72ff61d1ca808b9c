/* Settings of [quantization] that change nothing because no method of the run reads them, and of [correction] where nothing is corrected.
 * SPDX-License-Identifier: Apache-2.0 */
#include "config_priv.h"

/* A bit per row of the table of methods: those of [quantization] and of all overrides. */
static uint64_t methods_of(const qep_config *c)
{
    uint64_t used = 0;
    for (int64_t i = -1; i < c->n_overrides; i++) {
        const qep_linear_config l = qep_linear_under(c, i);
        for (int k = 0; qep_method_at(k); k++)
            if (qep_same(qep_method_at(k)->name, l.method) && qep_method_at(k)->drive != QEP_DRIVE_NONE) used |= UINT64_C(1) << k;
    }
    return used;
}

/* What a method without groups or clip search must be told (check.c refuses other values). */
static bool is_checked(const char *key)
{
    return qep_same(key, "bits") || qep_same(key, "symmetric") || qep_same(key, "group_size") || qep_same(key, "clip");
}

/* Some method reads the key, but none of those that are used. */
static bool is_unread(const qep_key *k, uint64_t used)
{
    bool somewhere = false;
    if (!k->linear || !qep_same(k->section, "quantization") || is_checked(k->name)) return false;
    for (int i = 0; qep_method_at(i); i++) {
        if (!qep_method_reads(qep_method_at(i), k->name)) continue;
        if (used >> i & 1u) return false;
        somewhere = true;
    }
    return somewhere;
}

/* ", name = value" unless the value is the default. */
static void add_changed(const qep_key *k, const qep_config *c, qep_text *t)
{
    qep_text value = {0};
    qep_key_print(k, c, &c->linear, &value);
    if (!qep_same(value.s, k->def)) qep_text_add(t, "%s%s = %s", t->n ? ", " : "", k->name, value.s);
    qep_free(value.s);
}

static void add_quantization(const qep_config *c, qep_text *line)
{
    const uint64_t used = methods_of(c);
    const char *before = " not read by method = ";
    qep_text keys = {0};
    for (int i = 0; used && i < qep_n_keys; i++)
        if (is_unread(&qep_keys[i], used)) add_changed(&qep_keys[i], c, &keys);
    if (!keys.s) return;
    qep_text_add(line, "[quantization] %s:", keys.s);
    for (int i = 0; qep_method_at(i); i++) {
        if (!(used >> i & 1u)) continue;
        qep_text_add(line, "%s%s", before, qep_method_at(i)->name);
        before = ", ";
    }
    qep_text_add(line, "; nothing is changed by it");
    qep_free(keys.s);
}

static bool corrects_anywhere(const qep_config *c)
{
    bool any = false;
    for (int64_t i = -1; i < c->n_overrides; i++) any = any || qep_same(qep_linear_under(c, i).correction, "qep");
    return any;
}

static void add_correction(const qep_config *c, qep_text *line)
{
    qep_text keys = {0};
    for (int i = 0; !corrects_anywhere(c) && i < qep_n_keys; i++)
        if (qep_same(qep_keys[i].section, "correction") && !qep_same(qep_keys[i].name, "method")) add_changed(&qep_keys[i], c, &keys);
    if (!keys.s) return;
    qep_text_add(line, "%s[correction] %s: not read with method = none; nothing is changed by it", line->s ? "\n" : "", keys.s);
    qep_free(keys.s);
}

char *qep_config_unread(const qep_config *c)
{
    qep_text line = {0};
    add_quantization(c, &line);
    add_correction(c, &line);
    return line.s;
}
