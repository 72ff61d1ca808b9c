/* Figures of sequences, independent of who owns them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "qep/eval.h"

/* Position of a kind's first value in `mine`, and number of its first sequence. */
static void begin_of(const qep_corpus *corpus, qep_seq_kind kind, int64_t *mine, int64_t *seq)
{
    *mine = *seq = 0;
    for (int k = 0; k < (int)kind; k++) {
        *mine += corpus->part[k].count;
        *seq += corpus->count[k];
    }
}

void qep_eval_gather_all(qep_comm *c, const qep_corpus *corpus, const double *mine, qep_seq_kind kind, double *all)
{
    int64_t at, first;
    begin_of(corpus, kind, &at, &first);
    for (int64_t i = 0; i < corpus->count[kind]; i++) all[i] = 0;
    for (int64_t i = 0; i < corpus->part[kind].count; i++) all[corpus->part[kind].begin - first + i] = mine[at + i];
    qep_sum_f64_all(c, all, corpus->count[kind]); /* one rank's value plus zeros: exact */
}

double qep_eval_ordered_sum_all(qep_comm *c, const qep_corpus *corpus, const double *mine, qep_seq_kind kind, int set)
{
    int64_t at, first;
    double *all = qep_alloc("eval.ordered", corpus->count[kind], sizeof *all), sum = 0;
    begin_of(corpus, kind, &at, &first);
    qep_eval_gather_all(c, corpus, mine, kind, all);
    for (int64_t i = 0; i < corpus->count[kind]; i++)
        if (set < 0 || corpus->seqs[first + i].set == set) sum += all[i];
    qep_free(all);
    return sum;
}
