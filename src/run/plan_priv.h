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
    double forward, statistics, factor, correction, quantize, evaluation; /* flops of the whole run, all ranks: a multiplication and its addition are two */
    double seconds;     /* estimate from rates measured at start */
} qep_work_plan;
void qep_plan_work_all(qep_run *r, qep_work_plan *out);

typedef enum qep_rate { QEP_RATE_FAST, QEP_RATE_F32, QEP_RATE_F64, QEP_N_RATES } qep_rate; /* FAST: the forward pass's type */
/* Of one rank, flops per second, each measured for so many seconds. */
#define QEP_PLAN_MEASURED 0.05
void qep_plan_measure_rates(const qep_run *r, double seconds, double *rates);

int64_t qep_plan_checkpoint_bytes(const qep_run *r); /* of one */
bool qep_plan_may_part(const qep_run *r); /* experts can be worked on by one rank each, where there is room */
void qep_plan_log_experts(const qep_run *r); /* how those of a layer are dealt with, in the groups of gate and up, and of down */
/* For the memory's line: what becomes of H while codes are polished; nothing when none are. */
const char *qep_plan_h_words(const qep_run *r);
/* Sum of the planned peaks of the ranks of rank 0's node; this rank's node in a plan for this job. */
int64_t qep_plan_node_peak(const qep_run *r, bool keep_act);

/* --- calls: one block of a run, step by step, as all ranks make them -------------------------- */

typedef enum qep_call_kind {
    QEP_CALL_WORK,     /* flops */
    QEP_CALL_REDUCE,   /* row_bytes of every rank, reduced over all of them for all */
    QEP_CALL_SUM,      /* rows of every rank, added up on the rows' owners: inside the nodes where they are, then over the nodes (qep_sum_begin) */
    QEP_CALL_ROWS,     /* rows from their owners into every node's window (qep_dmat_fetch_rows_all) */
    QEP_CALL_STRIPS,   /* rows of one linear from their ranks into every node's window (qep_window_merge_all) */
    QEP_CALL_TURN,     /* the upper triangle from the lower one (qep_dmat_symmetrize_all) */
    QEP_CALL_PERMUTE,  /* rows and columns in another order (qep_dmat_permute_all) */
    QEP_CALL_CHOLESKY  /* flops; without run.reproducible: of p?potrf, and its own messages, which nobody counts */
} qep_call_kind;
/* Who has how much of a call's work: tokens of the kinds of sequences, strips of a set's rows, rows of a matrix. */
typedef enum qep_share { QEP_SHARE_GROUPED, QEP_SHARE_CALIBRATION, QEP_SHARE_VALIDATION, QEP_SHARE_EVALUATION, QEP_SHARE_STRIPS, QEP_SHARE_ROWS, QEP_N_SHARES } qep_share;
typedef struct qep_call {
    qep_call_kind kind;
    qep_phase phase;
    double flops;      /* of all ranks */
    qep_rate rate;
    qep_share share;
    int64_t n;         /* order of the matrix; strips of the set */
    int64_t row0, rows; /* which rows; STRIPS: first strip of the linear, its rows; CHOLESKY: those from row0 on are at work */
    int64_t row_bytes;
    int64_t block, owners; /* rows are dealt in blocks to the first `owners` ranks; owners 0: strips of 64 rows, evenly to all */
    bool flip;         /* ROWS: read backwards; PERMUTE: plain reversal, not an order of the data */
} qep_call;
typedef void qep_call_visit(void *ctx, const qep_call *c);
/* How many calibration tokens each expert of a layer gets, which only the run will know: all the same; or, as bounds of what is sent, none any, and
 * all some, but too few, so that all borrow. No difference where every token goes to all experts. Only the statistics depend on it. */
typedef enum qep_plan_routing { QEP_ROUTING_EVEN, QEP_ROUTING_LEAST, QEP_ROUTING_MOST } qep_plan_routing;
/* The calls of block b by the methods gptq, rtn and their kin (awq's and quip's own steps are left out). Collective calls and
 * flops only: no reading, no writing, no checkpoint. Local. */
void qep_plan_block_calls(const qep_run *r, int64_t b, qep_plan_routing routing, qep_call_visit *visit, void *ctx);
/* Of its experts alone, behind groups 0 and 1 (plan_experts.c); flops of a token in one stream, router and top_k experts. */
void qep_plan_experts_calls(const qep_run *r, int64_t b, qep_plan_routing routing, qep_call_visit *visit, void *ctx);
double qep_plan_experts_flops(const qep_run *r);
int64_t qep_plan_expert_tokens(const qep_run *r); /* calibration tokens of each when they are spread evenly */
/* Of one statistics pass by all ranks. */
void qep_plan_statistics_calls(const qep_run *r, const qep_stats_plan *p, qep_call_visit *visit, void *ctx);
/* Flops of the linears of group g, and of the attention behind the first, for one token. */
double qep_plan_token_flops(const qep_run *r, int g);
/* The statistics and the quantization of a group alone, with all the calibration's tokens; expert: one of an expert, without held-out sums. */
void qep_plan_group_calls(const qep_run *r, const int64_t *members, int n, bool expert, qep_call_visit *visit, void *ctx);
/* Rows of rank q with a number below `end`. */
int64_t qep_call_rows_below(const qep_run *r, const qep_call *c, int64_t q, int64_t end);
/* Its share of the work: of rank `rank`, 0 .. 1. */
double qep_call_share(const qep_run *r, const qep_call *c, int rank);

/* What par counts of a call on one rank, and what of it goes to another node. */
typedef struct qep_call_traffic {
    int64_t bytes, messages, far_bytes, far_messages;
} qep_call_traffic;
qep_call_traffic qep_call_count(const qep_run *r, const qep_call *c, int rank);

/* --- another machine (--ranks ... with --dry-run) --------------------------------------------- */

typedef struct qep_machine {
    double latency, bandwidth;     /* seconds of a message between nodes; bytes per second of a node */
    double rates[QEP_N_RATES];     /* flops per second of a rank */
    double storage;                /* bytes per second of the file system, all nodes; 0: not looked at */
} qep_machine;
/* Seconds of the messages of a call. */
double qep_call_seconds(const qep_run *r, const qep_machine *m, const qep_call *c);
typedef struct qep_phase_time {
    double work, uneven, messages, storage; /* seconds: the ranks' mean, what most of the work takes longer, ... */
    int64_t idle;                           /* most ranks without work in some step */
} qep_phase_time;
/* All blocks and the evaluation, on r->ranks ranks, r->per_node on a node; phase [QEP_N_PHASES]. Local. */
void qep_plan_times(const qep_run *r, const qep_machine *m, qep_phase_time *phase);
double qep_plan_block_seconds(const qep_run *r, const qep_machine *m); /* the first block alone */
double qep_plan_node_bandwidth(void); /* of a rank inside its node, bytes per second */
/* The first block's calls as time-independent traces for SimGrid (smpirun -replay), in files dir/0, dir/1, ... by rank (by node, on more than
 * 1,024 ranks). */
QEP_MUST_CHECK qep_status qep_plan_trace(const qep_run *r, const qep_machine *m, const char *dir);
/* The plan for the machine of the options: time by phase, efficiency, memory per node, idle ranks; logged. Collective. */
QEP_MUST_CHECK qep_status qep_plan_elsewhere_all(qep_run *r);

/* --- the count ----------------------------------------------------------------------------- */

/* {"statistics": {"planned": {"bytes": {"min","mean","max"}, "messages": ...}, "measured": ...}, ...} over the ranks, for summary.json, of the blocks done
 * in this job. Where experts get the tokens that a router sends them, "planned" spreads these evenly, and the statistics have bounds "least" and "most".
 * Collective. */
qep_json *qep_plan_traffic_json_all(qep_run *r);

#endif
