/* Planned against measured memory, for summary.json.
 * SPDX-License-Identifier: Apache-2.0 */
#include "plan_priv.h"

#include <string.h>

enum { MAX_NAMES = 256 };

static int64_t measured(const qep_mem_entry *table, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (strcmp(table[i].name, name) == 0) return table[i].peak;
    return 0;
}

/* Planned and measured bytes of rank 0 by name; names that the plan does not know are added up under "other". */
static qep_json *by_name(const qep_memory_plan *plan)
{
    qep_mem_entry *table = qep_alloc("report.memory", MAX_NAMES, sizeof *table);
    int n = (int)qep_min_i64(MAX_NAMES, qep_mem_table(table, MAX_NAMES));
    qep_json *o = qep_json_new_object();
    int64_t other = 0;
    for (int i = 0; i < n; i++) {
        char text[32];
        other += table[i].peak;
        qep_debug("memory: %-18s %12s at most", table[i].name, qep_format_bytes(table[i].peak, text, sizeof text));
    }
    for (int i = 0; i < plan->n; i++) {
        qep_json *e = qep_json_new_object();
        int64_t bytes = measured(table, n, plan->items[i].name);
        other -= bytes;
        qep_json_set(e, "planned", qep_json_new_int(plan->items[i].rank_bytes));
        qep_json_set(e, "measured", qep_json_new_int(bytes));
        qep_json_set(o, plan->items[i].name, e);
    }
    qep_json *e = qep_json_new_object();
    qep_json_set(e, "planned", qep_json_new_int(0));
    qep_json_set(e, "measured", qep_json_new_int(other));
    qep_json_set(o, "other", e);
    qep_free(table);
    return o;
}

/* Peaks of all ranks, in rank order. */
static qep_json *peaks_all(qep_run *r)
{
    int64_t mine[2] = {r->planned_peak, qep_mem_peak()}, total, *all = NULL;
    void *gathered = NULL;
    qep_json *list = qep_json_new_array();
    qep_gather_all(r->comm, 0, mine, sizeof mine, &gathered, &total);
    all = gathered;
    for (int64_t i = 0; i * (int64_t)sizeof mine < total; i++) {
        qep_json *e = qep_json_new_object();
        qep_json_set(e, "planned", qep_json_new_int(all[2 * i]));
        qep_json_set(e, "measured", qep_json_new_int(all[2 * i + 1]));
        qep_json_append(list, e);
    }
    qep_free(gathered);
    return list;
}

qep_json *qep_run_memory_json_all(qep_run *r)
{
    qep_memory_plan plan;
    qep_plan_memory(r, 0, r->keep_act, &plan);
    qep_json *o = qep_json_new_object();
    qep_json_set(o, "peaks", peaks_all(r));
    qep_json_set(o, "rank0", by_name(&plan));
    return o;
}
