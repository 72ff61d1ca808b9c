/* A linear group, set by set: members with equal settings are handled together.
 * SPDX-License-Identifier: Apache-2.0 */
#include "layer_priv.h"

#include <math.h>
#include <string.h>

enum { MAX_MEMBERS = 16 };

static qep_status quantize_set_all(qep_set *s, qep_layer_record *records)
{
    const qep_layer_job *j = s->job;
    qep_set_open(s);
    const qep_meter t0 = qep_meter_now();
    const char *outer = qep_parts_of("correction");
    qep_status st;
    qep_part_begin("weights");
    QEP_GO(st, qep_agree_all(j->comm, qep_set_read(s)));
    qep_part_end();
    QEP_GO(st, qep_set_correct_all(s));
    qep_meter_add(j->correct, &t0);
    const qep_meter t1 = qep_meter_now();
    (void)qep_parts_of("quantize");
    QEP_GO(st, qep_set_quantize_all(s));
    qep_part_begin("polish");
    qep_set_polish_all(s);
    qep_part_end();
    qep_part_begin("record");
    qep_set_figures_all(s, records);
    qep_part_end();
    qep_meter_add(j->quantize, &t1);
    const qep_meter t2 = qep_meter_now();
    (void)qep_parts_of("write");
    QEP_GO(st, qep_set_write_all(s));
    qep_meter_add(j->write, &t2);
    const double took = qep_now_s() - t0.seconds;
    for (int m = 0; m < s->n_members; m++) {
        if (!s->in[m]) continue;
        qep_layer_record *r = &records[m];
        bool corrected = qep_layer_corrects(&s->lead->cfg);
        r->alpha = corrected ? s->alpha : (double)NAN;
        r->residual = qep_layer_needs_gamma(&s->lead->cfg) ? s->residual : (double)NAN;
        r->correction_damping = corrected ? s->correction_damping : (double)NAN;
        r->damping = qep_method_reads(s->lead->spec.method, "damping") ? s->damping : (double)NAN;
        r->attempts = s->attempts;
        r->fallback = s->fallback;
        r->n_dead = s->n_dead;
        r->scale_ratio = s->scale_ratio;
        r->seconds = took * (double)s->members[m].rows / (double)s->total_rows;
    }
done:
    (void)qep_parts_of(outer);
    if (j->H) qep_dmat_drop_rows_all(j->H);
    qep_set_close(s);
    return st;
}

/* Runs the set that `lead` belongs to; C is copied when a later set needs it too. */
static qep_status run_set_all(const qep_layer_job *job, const qep_layer_member *members, int n, int lead, bool *done,
                              const uint8_t *dead, int64_t n_dead, qep_layer_record *records)
{
    bool in[MAX_MEMBERS] = {false}, more = false;
    for (int m = lead; m < n; m++) {
        if (done[m]) continue;
        in[m] = m == lead || qep_layer_same(&members[lead].cfg, &members[lead].spec, &members[m].cfg, &members[m].spec);
        done[m] = in[m];
        if (!in[m]) more = true;
    }
    qep_layer_job own = *job;
    qep_dmat *copy = NULL;
    if (more && job->C) {
        copy = qep_dmat_create_all(job->comm, "stats.C.copy", qep_dmat_n(job->C), qep_dmat_block(job->C), qep_dmat_n_owners(job->C));
        qep_dmat_copy(copy, job->C);
        own.C = copy;
    }
    qep_set s = {.job = &own, .members = members, .in = in, .n_members = n, .lead = &members[lead], .dead = dead, .n_dead = n_dead,
                 .scale_ratio = (double)NAN};
    qep_status st = quantize_set_all(&s, records);
    qep_dmat_destroy_all(&copy);
    return st;
}

qep_status qep_layer_quantize_all(const qep_layer_job *job, const qep_layer_member *members, int n, qep_layer_record *records)
{
    QEP_REQUIRE(n > 0 && n <= MAX_MEMBERS);
    bool done[MAX_MEMBERS];
    uint8_t *dead = NULL;
    int64_t n_dead = 0;
    qep_status st = QEP_OK;
    for (int m = 0; m < n; m++) done[m] = members[m].spec.method->drive == QEP_DRIVE_NONE;
    if (job->H) {
        double mean;
        const qep_meter t0 = qep_meter_now();
        dead = qep_alloc("layer.dead", members[0].cols, 1);
        qep_dead_all(job->H, members[0].spec.paper ? 1 / job->published_h : 0, dead, &n_dead, &mean);
        qep_meter_add(job->correct, &t0);
    }
    for (int m = 0; m < n && st == QEP_OK; m++)
        if (!done[m]) st = run_set_all(job, members, n, m, done, dead, n_dead, records);
    qep_free(dead);
    return st;
}
