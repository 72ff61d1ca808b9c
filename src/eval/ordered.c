/* Sums over sequences that do not depend on who owns them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "qep/eval.h"

double qep_eval_ordered_sum_all(qep_comm *c, const qep_corpus *corpus, const double *mine, qep_seq_kind kind, int set)
{
    double *all = qep_alloc("eval.ordered", corpus->n, sizeof *all);
    int64_t at = 0;
    for (int k = 0; k < QEP_N_SEQ_KINDS; k++)
        for (int64_t i = 0; i < corpus->part[k].count; i++) all[corpus->part[k].begin + i] = mine[at++];
    qep_sum_f64_all(c, all, corpus->n); /* one rank's value plus zeros: exact */
    double sum = 0;
    for (int64_t i = 0; i < corpus->n; i++)
        if (corpus->seqs[i].kind == kind && (set < 0 || corpus->seqs[i].set == set)) sum += all[i];
    qep_free(all);
    return sum;
}
