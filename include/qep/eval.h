/* eval: figures of a model on token sequences: negative log-likelihood, KL divergence, agreement, error growth.
 * Sums over sequences are made in the order of the sequences, so they do not depend on the number of ranks.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_EVAL_H
#define QEP_EVAL_H

#include "qep/data.h"
#include "qep/model.h"

/* Of one sequence. */
typedef struct qep_eval_figures {
    double predicted;        /* number of predictions */
    double nll_fp, nll_q;    /* sums, nats; nll_q and below only with a quantized stream */
    double kl;               /* sum of KL(full || quantized), nats */
    double same_top;         /* predictions with the same most likely token */
    double top_fp, top_q;    /* predictions whose token is the most likely one */
} qep_eval_figures;

enum { QEP_EVAL_CHUNK = 64 }; /* tokens per block of logits */
int64_t qep_eval_bytes(const qep_arch *a, bool with_q); /* scratch, "eval.logits" */

/* One sequence through final norm, head and loss; tokens [first, T) are predicted, first >= 1. x_fp [T, hidden]; x_q or NULL. Local. */
void qep_eval_sequence(const qep_head *h, const qep_arch *a, const int32_t *ids, int64_t first, int64_t T, const float *x_fp, const float *x_q,
                       qep_work *w, float *logits, qep_eval_figures *out);

/* KL(original || quantized) of one sequence, summed over its tokens 0, step, 2 step, ... (each is a prediction, whether its target is known or not), and
 * its slope with respect to w (slope.c). */
typedef struct qep_eval_slope_of {
    const qep_head *head;
    const qep_arch *arch;
    qep_work *work;
    const float *w;           /* [hidden]: weight of the quantized stream's final norm, as it multiplies */
    const float *x_fp, *x_q;  /* [T, hidden] */
    int64_t T, step;
} qep_eval_slope_of;
int64_t qep_eval_slope_bytes(const qep_arch *a); /* scratch, "eval.slope" */
/* *kl in nats; slope [hidden], f64 in a fixed order; NULL: not wanted. Local. */
void qep_eval_slope(const qep_eval_slope_of *s, float *scratch, double *kl, double *slope);

/* One value per sequence of the corpus, known to its owner (mine: my sequences, kind by kind), summed in order of the sequences over those of a kind and set
 * (set < 0: all sets). Same bits on every rank and for every number of ranks. Collective. */
/* sum[rows]: the same for rows of values, ld apart in mine, in the messages of one. */
void qep_eval_ordered_sums_all(qep_comm *c, const qep_corpus *corpus, const double *mine, int64_t rows, int64_t ld, qep_seq_kind kind, int set, double *sum);
double qep_eval_ordered_sum_all(qep_comm *c, const qep_corpus *corpus, const double *mine, qep_seq_kind kind, int set);
/* all [corpus->count[kind]]: the values of all sequences of a kind, in order, on every rank; mine as above. Collective. */
void qep_eval_gather_all(qep_comm *c, const qep_corpus *corpus, const double *mine, qep_seq_kind kind, double *all);

/* Squared Frobenius norms over one sequence: sum (a - b)^2 and sum a^2 of n entries, f64, fixed order. */
void qep_eval_distance(const float *a, const float *b, int64_t n, double *diff, double *ref);

#endif
