/* A layer of experts at work. SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_EXPERTS_PRIV_H
#define QEP_EXPERTS_PRIV_H

#include "run_priv.h"

/* Of one block, in group 2 or 3. */
typedef struct qep_experts {
    qep_run *r;
    int64_t block;
    int g;
    bool apart;       /* an expert is worked on by one rank, many of them side by side; else by all ranks, one after the other */
    int32_t *sent;    /* [my calibration tokens, top_k]: tokens of each sequence, ordered by the expert that the quantized stream sends them to */
    int32_t *first;   /* [my calibration sequences, n_experts + 1]: where an expert's begin among those of the sequence */
    int64_t *tokens;  /* [n_experts]: of all ranks */
    qep_dmat *pool;   /* H0 of group 2, the same for all experts: of the job or, apart, whole on every rank; NULL until it is needed */
} qep_experts;

/* One expert of a batch: also the context of its taps and of its sink. */
typedef struct qep_expert {
    const qep_experts *x;
    int64_t number;
    bool everyone;      /* all tokens, whatever the routing */
    int owner;          /* rank that works on it; only apart */
    int64_t members[2]; /* indices into r->linears: gate, up, or down */
    int n;
    bool want_h, want_c;
    double borrowed;    /* share of H0 in H */
    qep_stats sums;     /* its own: on the owner, or of the job */
    double *means;      /* borrowed, [cols]; NULL: not wanted */
} qep_expert;

int64_t qep_experts_cols(const qep_experts *x);
/* Number 0, 1, 2 (gate, up, down) of the group's first linear. */
int qep_experts_part(const qep_experts *x);

/* --- tokens (experts_taps.c) ---------------------------------------------------------- */

/* Where the quantized stream sends my calibration tokens, and how many of all ranks' each expert gets. */
void qep_experts_route_all(qep_experts *x);
void qep_experts_forget(qep_experts *x);
/* The group's input for the expert's tokens of my sequence i; returns how many. Valid until the next call. */
int64_t qep_expert_input(const qep_expert *e, int64_t i, const float **fp, const float **q);
/* The taps of the expert's calibration tokens, or of everyone's. e must stay where it is. */
qep_tap_source qep_expert_taps(qep_expert *e);

/* --- statistics (experts_stats.c) ------------------------------------------------------- */

/* x->pool, when some expert is going to borrow from it. Group 2. */
QEP_MUST_CHECK qep_status qep_experts_pool_all(qep_experts *x);
/* sums, borrowed and means of the n experts of a batch. means: scratch [n, cols]. */
QEP_MUST_CHECK qep_status qep_experts_statistics_all(const qep_experts *x, qep_expert *batch, int64_t n, double *means);

#endif
