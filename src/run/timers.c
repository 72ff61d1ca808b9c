/* Phases and their parts: names, seconds, and what they become in summary.json.
 * SPDX-License-Identifier: Apache-2.0 */
#include "run_priv.h"

const char *qep_phase_name(qep_phase p)
{
    static const char *const names[QEP_N_PHASES] = {"open", "load", "forward", "statistics", "correction", "quantize",
                                                    "write", "checkpoint", "evaluation", "publish"};
    return names[p];
}

qep_timing qep_phase_begin(qep_phase p)
{
    return (qep_timing){qep_meter_now(), qep_parts_of(qep_phase_name(p))};
}

void qep_phase_end(qep_run *r, qep_phase p, const qep_timing *t)
{
    qep_meter_add(&r->phase[p], &t->begin);
    (void)qep_parts_of(t->outer);
}

/* Rank 0's names, "phase\tpart\n" each: other ranks may know fewer parts, or have met them in another order. */
static char *names_all(qep_comm *c)
{
    char *text = qep_strdup("run.parts", "");
    for (int i = 0; qep_rank(c) == 0 && qep_part_at(i); i++) {
        char *longer = qep_strf("run.parts", "%s%s\t%s\n", text, qep_part_at(i)->of, qep_part_at(i)->name);
        qep_free(text);
        text = longer;
    }
    int64_t bytes = (int64_t)strlen(text);
    qep_bcast_text_all(c, 0, &text, &bytes);
    return text;
}

/* The object of one phase: means over the ranks; NULL when no part of it is timed. */
static qep_json *phase_json_all(qep_comm *c, const char *phase, const char *names)
{
    qep_json *o = NULL;
    for (const char *line = names; *line;) {
        char of[64], name[64];
        int length = 0;
        QEP_REQUIRE(sscanf(line, "%63[^\t]\t%63[^\n]%n", of, name, &length) == 2);
        line += length + 1;
        if (strcmp(of, phase) != 0) continue;
        double sum = qep_part_seconds(of, name);
        qep_sum_f64_all(c, &sum, 1);
        if (!o) o = qep_json_new_object();
        qep_json_set(o, name, qep_json_new_real(sum / qep_size(c)));
    }
    return o;
}

qep_json *qep_run_parts_json_all(const qep_run *r)
{
    qep_json *o = qep_json_new_object();
    char *names = names_all(r->comm);
    for (int p = 0; p < QEP_N_PHASES; p++) {
        qep_json *parts = phase_json_all(r->comm, qep_phase_name((qep_phase)p), names);
        if (parts) qep_json_set(o, qep_phase_name((qep_phase)p), parts);
    }
    qep_free(names);
    return o;
}

qep_json *qep_run_one_rank_json(void)
{
    qep_json *o = qep_json_new_object();
    for (int i = 0; qep_part_at(i); i++)
        if (strcmp(qep_part_at(i)->of, QEP_ONE_RANK) == 0) qep_json_set(o, qep_part_at(i)->name, qep_json_new_real(qep_part_at(i)->seconds));
    return o;
}
