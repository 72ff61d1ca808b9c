/* My strips into the output files, the digest and the quantized stream.
 * SPDX-License-Identifier: Apache-2.0 */
#include "layer_priv.h"

/* Digest of strip i, and its values for the quantized stream. Strips run in parallel: the digest is a sum modulo 2^64. */
static void hand_over_strip(const qep_set *s, int64_t i)
{
    const qep_layer_job *j = s->job;
    uint64_t sum[2] = {0, 0};
    float *values = qep_alloc("layer.rows", QEP_STRIP * s->cols, sizeof *values);
    const qep_strip *t = &s->strips[i];
    int64_t index = s->members[t->member].index;
    const uint8_t *codes = s->codes + i * QEP_STRIP * s->cols;
    const uint8_t *zeros = s->zeros + i * QEP_STRIP * s->groups;
    const float *scales = s->scales + i * QEP_STRIP * s->groups;
    for (int64_t r = 0; r < t->n; r++)
        qep_digest_row(sum, index, t->row0 + r, codes + r * s->cols, scales + r * s->groups,
                       zeros + r * s->groups, s->g_idx, s->cols, s->groups);
    if (s->values)
        qep_export_round(j->output, s->values + i * QEP_STRIP * s->cols, t->n * s->cols, values);
    else
        qep_export_values(j->output, index, t->n, codes, scales, zeros, s->g_idx, values);
    j->sink.put(j->sink.ctx, t->member, t->row0, t->n, values);
    qep_free(values);
#pragma omp critical(digest)
    {
        j->digest[0] += sum[0];
        j->digest[1] += sum[1];
    }
}

typedef struct runs {
    const qep_set *s;
    int64_t strips; /* of a run */
} runs;

/* The strips of one member are consecutive, and only a member's last strip is padded: rows go out many at a time. A run that begins with one member goes on with
 * the next. */
static qep_status write_rows(const qep_set *s, int64_t first, int64_t end, int64_t *next)
{
    const qep_strip *t = &s->strips[first];
    int64_t rows = 0, i = first;
    for (; i < end && s->strips[i].member == t->member; i++) rows += s->strips[i].n;
    *next = i;
    int64_t at = first * QEP_STRIP;
    if (s->values && !qep_export_is_packed(s->job->output))
        return qep_export_put_values(s->job->output, s->members[t->member].index, t->row0, rows, s->values + at * s->cols);
    return qep_export_put_rows(s->job->output, s->members[t->member].index, t->row0, rows, s->codes + at * s->cols,
                               s->scales + at * s->groups, s->zeros + at * s->groups, s->g_idx);
}

static qep_status write_run(void *ctx, int64_t run, int thread)
{
    const runs *r = ctx;
    const int64_t end = qep_min_i64((run + 1) * r->strips, r->s->count);
    (void)thread;
    for (int64_t i = run * r->strips; i < end;) QEP_TRY(write_rows(r->s, i, end, &i));
    return QEP_OK;
}

/* All threads write. Packed rows go into a few bytes of many places, so their runs stay long. A strip of dense output is one place of the file. */
static qep_status write_mine(const qep_set *s)
{
    const int64_t threads = qep_each_threads(s->count, QEP_FILE_THREADS);
    runs r = {s, qep_export_is_packed(s->job->output) ? qep_max_i64(4, qep_min_i64(qep_ceil_div(s->count, threads), QEP_WRITE_STRIPS / threads)) : 1};
    return qep_each(qep_ceil_div(s->count, r.strips), threads, write_run, &r);
}

/* Rows of member m that each rank has: a rank's strips of one member are consecutive. */
static void rows_of_ranks(const qep_set *s, int m, int64_t *begin, int64_t *count)
{
    int ranks = qep_size(s->job->comm);
    for (int r = 0; r < ranks; r++) {
        int64_t first, n;
        begin[r] = count[r] = 0;
        qep_partition(s->total_strips, ranks, r, &first, &n);
        for (int64_t i = first; i < first + n; i++) {
            qep_strip t = qep_set_strip(s, i);
            if (t.member != m) continue;
            if (count[r] == 0) begin[r] = t.row0;
            count[r] += t.n;
        }
    }
}

void qep_set_share_all(const qep_set *s)
{
    const int ranks = qep_size(s->job->comm);
    int64_t *begin = qep_alloc("layer.rows", 2 * (int64_t)ranks, sizeof *begin), *count = begin + ranks;
    for (int m = 0; m < s->n_members; m++) {
        if (!s->in[m]) continue;
        rows_of_ranks(s, m, begin, count);
        s->job->sink.share_all(s->job->sink.ctx, m, begin, count);
    }
    qep_free(begin);
}

qep_status qep_set_write_all(qep_set *s)
{
    const qep_layer_job *j = s->job;
    qep_part_begin("files");
    qep_status st = write_mine(s);
    qep_part_end();
    qep_part_begin("values");
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < s->count; i++) hand_over_strip(s, i);
    qep_part_end();
    st = qep_agree_all(j->comm, st);
    if (st != QEP_OK) return st;
    for (int m = 0; m < s->n_members; m++)
        if (s->in[m] && j->kept && s->members[m].index == j->keep) *j->kept = qep_set_keep(s, m);
    qep_set_share_all(s);
    return QEP_OK;
}
