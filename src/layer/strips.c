/* Strips of a set: who owns which rows, reading them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "layer_priv.h"

#include <string.h>

qep_strip qep_set_strip(const qep_set *s, int64_t i)
{
    for (int m = 0; m < s->n_members; m++) {
        if (!s->in[m]) continue;
        int64_t n = qep_ceil_div(s->members[m].rows, QEP_STRIP);
        if (i < n) {
            int64_t row0 = i * QEP_STRIP;
            return (qep_strip){m, row0, qep_min_i64(QEP_STRIP, s->members[m].rows - row0)};
        }
        i -= n;
    }
    QEP_BUG("strip beyond the set");
}

void qep_set_open(qep_set *s)
{
    const qep_layer_job *j = s->job;
    s->cols = s->lead->cols;
    s->groups = qep_n_groups(&s->lead->spec, s->cols);
    for (int m = 0; m < s->n_members; m++)
        if (s->in[m]) {
            s->total_rows += s->members[m].rows;
            s->total_strips += qep_ceil_div(s->members[m].rows, QEP_STRIP);
        }
    qep_partition(s->total_strips, qep_size(j->comm), qep_rank(j->comm), &s->first, &s->count);
    int64_t rows = s->count * QEP_STRIP;
    s->strips = qep_alloc("layer.rows", s->count, sizeof *s->strips);
    for (int64_t i = 0; i < s->count; i++) s->strips[i] = qep_set_strip(s, s->first + i);
    s->w = qep_alloc("layer.rows", rows * s->cols, sizeof *s->w);
    s->target = qep_alloc("layer.rows", rows * s->cols, sizeof *s->target);
    s->codes = qep_alloc("layer.rows", rows * s->cols, 1);
    s->zeros = qep_alloc("layer.rows", rows * s->groups, 1);
    s->scales = qep_alloc("layer.rows", rows * s->groups, sizeof *s->scales);
    s->g_idx = qep_alloc("layer.rows", s->cols, sizeof *s->g_idx);
}

void qep_set_close(qep_set *s)
{
    qep_free(s->strips);
    qep_free(s->w);
    qep_free(s->target);
    qep_free(s->wc);
    qep_free(s->y);
    qep_free(s->values);
    qep_free(s->codes);
    qep_free(s->zeros);
    qep_free(s->scales);
    qep_free(s->g_idx);
}

static qep_status read_strip(void *ctx, int64_t i, int thread)
{
    const qep_set *s = ctx;
    const qep_strip *t = &s->strips[i];
    (void)thread;
    return qep_st_read_rows_f32(s->job->files, s->members[t->member].weight, t->row0, t->n, qep_set_row(s, s->w, i));
}

qep_status qep_set_read(qep_set *s)
{
    return qep_each(s->count, QEP_FILE_THREADS, read_strip, s);
}

void qep_set_clear_dead(const qep_set *s, float *rows)
{
    if (s->n_dead == 0) return;
    for (int64_t r = 0; r < s->count * QEP_STRIP; r++)
        for (int64_t c = 0; c < s->cols; c++)
            if (s->dead[c]) rows[r * s->cols + c] = 0;
}
