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

/* all[rows, sequences of the kind] from mine [rows, ld]; returns the number of the kind's first sequence. */
static int64_t gather_rows_all(qep_comm *c, const qep_corpus *corpus, const double *mine, int64_t rows, int64_t ld, qep_seq_kind kind, double *all)
{
    int64_t at, first, n = corpus->count[kind];
    begin_of(corpus, kind, &at, &first);
    for (int64_t k = 0; k < rows * n; k++) all[k] = 0;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < corpus->part[kind].count; i++) all[r * n + corpus->part[kind].begin - first + i] = mine[r * ld + at + i];
    qep_sum_f64_all(c, all, rows * n); /* one rank's value plus zeros: exact */
    return first;
}

void qep_eval_gather_all(qep_comm *c, const qep_corpus *corpus, const double *mine, qep_seq_kind kind, double *all)
{
    (void)gather_rows_all(c, corpus, mine, 1, 0, kind, all);
}

void qep_eval_ordered_sums_all(qep_comm *c, const qep_corpus *corpus, const double *mine, int64_t rows, int64_t ld, qep_seq_kind kind,
                               int set, double *sum)
{
    int64_t n = corpus->count[kind];
    double *all = qep_alloc("eval.ordered", rows * n, sizeof *all);
    int64_t first = gather_rows_all(c, corpus, mine, rows, ld, kind, all);
    for (int64_t r = 0; r < rows; r++) {
        sum[r] = 0;
        for (int64_t i = 0; i < n; i++)
            if (set < 0 || corpus->seqs[first + i].set == set) sum[r] += all[r * n + i];
    }
    qep_free(all);
}

double qep_eval_ordered_sum_all(qep_comm *c, const qep_corpus *corpus, const double *mine, qep_seq_kind kind, int set)
{
    double sum;
    qep_eval_ordered_sums_all(c, corpus, mine, 1, 0, kind, set, &sum);
    return sum;
}
