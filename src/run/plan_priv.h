/* The plan's parts. SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_PLAN_PRIV_H
#define QEP_PLAN_PRIV_H

#include "run_priv.h"

/* --- memory -------------------------------------------------------------------------- */

enum { QEP_PLAN_MAX_ITEMS = 64, QEP_PLAN_STAGES = 7 };
typedef enum qep_plan_stage { /* bits: what an item lives through */
    QEP_STAGE_STATISTICS = 1, QEP_STAGE_CORRECT = 2, QEP_STAGE_QUANTIZE = 4, QEP_STAGE_FIGURES = 8,
    QEP_STAGE_COPY = 16, QEP_STAGE_WRITE = 32, QEP_STAGE_POLISH = 64, QEP_STAGE_ALL = 127
} qep_plan_stage;
typedef struct qep_plan_item {
    const char *name;   /* of the allocation, as in the memory table of base */
    int64_t rank_bytes; /* held by this rank (first rank of a node: shared windows too) */
    bool per_node;      /* a shared window: counted on the node's first rank */
} qep_plan_item;
typedef struct qep_memory_plan {
    qep_plan_item items[QEP_PLAN_MAX_ITEMS];
    int n;
    int64_t peak;       /* bytes of this rank: largest sum of what lives at the same time */
} qep_memory_plan;
/* Of rank `rank`, with or without FFN activations kept. Local. */
void qep_plan_memory(const qep_run *r, int rank, bool keep_act, qep_memory_plan *out);

/* Linears of group g of a block, as numbers; of the first expert in groups 2 and 3 of a block with experts. Returns how many. */
int qep_run_plan_members(const qep_run *r, int64_t block, int g, int64_t *members);

/* --- work ---------------------------------------------------------------------------- */

typedef struct qep_work_plan {
    double forward, statistics, factor, correction, quantize, evaluation; /* flops of the whole run, all ranks (stack_limits 6's counting) */
    double seconds;     /* estimate from rates measured at start */
} qep_work_plan;
void qep_plan_work_all(qep_run *r, qep_work_plan *out);

#endif
