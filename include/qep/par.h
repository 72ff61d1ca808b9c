/* par: the only door to MPI besides dmat and store.
 * Communicators, agreement on errors, large-count collectives, memory shared by the ranks of a node,
 * even partition. Functions ending in _all are collective: every rank of the communicator calls them in the
 * same order, and a returned status is equal on all ranks. Sizes in bytes or elements, 64 bits; transfers are
 * chunked inside. MPI errors end the job (message with rank and host). SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_PAR_H
#define QEP_PAR_H

#include "qep/base.h"

typedef struct qep_comm qep_comm;

/* Starts MPI (FUNNELED) and creates the job's communicator with its split into nodes. Its ranks are those of WORLD numbered over the nodes in turn: the
 * first ranks of all nodes, then their second ones, and so on (on one node: as in WORLD).
 * QEP_RANKS_PER_NODE=k in the environment pretends that k consecutive ranks share a node (tests).
 * QEP_PAR_CHUNK=bytes sets the most bytes of one MPI call (default 8 MiB; tests make it tiny). Rank 0's values hold.
 * Installs the abort hook of base and calls qep_fault_init. A wrong value: message, the job ends with exit code 1. */
qep_comm *qep_par_start(int *argc, char ***argv);
/* Frees the communicator and ends MPI. Collective. */
void qep_par_end(qep_comm **comm);
/* The communicator of this rank alone: what is collective over it is local. Borrowed, lives as long as c; c itself when c has one rank. */
qep_comm *qep_comm_alone(qep_comm *c);
const char *qep_par_library(void); /* MPI library version, one line */

int qep_rank(const qep_comm *c);
int qep_size(const qep_comm *c);
int qep_node_rank(const qep_comm *c);  /* my number inside my node */
int qep_node_size(const qep_comm *c);
int qep_node_id(const qep_comm *c);    /* 0 .. n_nodes-1, in order of their lowest rank */
int qep_n_nodes(const qep_comm *c);
int qep_node_of(const qep_comm *c, int rank); /* of rank < n_nodes: rank */
const char *qep_host(const qep_comm *c); /* my host's name */

/* Contiguous, even: part `part` of n items over `parts` (first n % parts get one more). */
void qep_partition(int64_t n, int64_t parts, int64_t part, int64_t *begin, int64_t *count);

/* The agreed status: that of the lowest failing rank, whose message every rank then holds; QEP_OK when none failed.
 * Collective; the way every local step between two collectives is closed. */
QEP_MUST_CHECK qep_status qep_agree_all(qep_comm *c, qep_status local);

void qep_barrier_all(qep_comm *c);
void qep_bcast_all(qep_comm *c, int root, void *buf, int64_t bytes);
/* *text (qep_alloc'ed "text", NUL-terminated) of root to all; on the others *text is replaced. */
void qep_bcast_text_all(qep_comm *c, int root, char **text, int64_t *bytes);
void qep_sum_f64_all(qep_comm *c, double *x, int64_t n); /* order of additions not fixed: only for values where at most one rank is non-zero, or figures not in results */
void qep_sum_i64_all(qep_comm *c, int64_t *x, int64_t n);
void qep_sum_u64_all(qep_comm *c, uint64_t *x, int64_t n); /* modulo 2^64 */
void qep_max_i64_all(qep_comm *c, int64_t *x, int64_t n);
/* Maxima and minima of floats: a NaN on any rank arrives on all. */
void qep_max_f32_all(qep_comm *c, float *x, int64_t n);
void qep_max_f64_all(qep_comm *c, double *x, int64_t n);
void qep_min_f64_all(qep_comm *c, double *x, int64_t n);
bool qep_any_all(qep_comm *c, bool mine);
/* Concatenates every rank's bytes on root in rank order: *out (qep_alloc "gather") and *total on root, NULL/0 elsewhere. */
void qep_gather_all(qep_comm *c, int root, const void *mine, int64_t bytes, void **out, int64_t *total);
/* Each rank sends send[displ[q] .. + count[q]) to rank q, bytes; receives into recv at rdispl. Arrays of size P. */
void qep_exchange_all(qep_comm *c, const void *send, const int64_t *count, const int64_t *displ,
                      void *recv, const int64_t *rcount, const int64_t *rdispl);
/* --- sums over the nodes, under way while the caller computes ----------------------------- */

/* In memory of this node's ranks (a window): what they have added up for all ranks. Rank q's part: count[q] elements at displ[q] (arrays of size P; counts
 * equal on all ranks). */
typedef struct qep_node_sum {
    int64_t *data;
    const int64_t *count, *displ;
} qep_node_sum;
typedef struct qep_sum qep_sum;
/* Begins n sums, whose node's parts are complete (a qep_window_sync_all lies behind it). At the end every rank's part, on its own node, is the sum over all
 * nodes (exact: independent of the number of ranks and nodes and of order), and its parts for ranks of other nodes are zeros. Until then nobody touches the
 * memory; the arrays are borrowed. All ranks begin and end the same sums in the same order; of all calls between the two, none may exchange messages.
 * Owned by the caller: qep_sum_end. On one node there is nothing to do. */
qep_sum *qep_sum_begin(qep_comm *c, const qep_node_sum *sums, int n);
void qep_sum_poll(qep_sum *s); /* lets messages go on; by the thread that started MPI */
void qep_sum_end(qep_sum **s);
/* Scratch "par.sum" while the longest part has `longest` elements (for the plan), and elements of one of its messages. */
int64_t qep_sum_bytes(const qep_comm *c, int64_t nodes, int64_t longest);
int64_t qep_sum_step(const qep_comm *c, int64_t longest);

/* --- memory shared by the ranks of a node ------------------------------------------------ */

typedef struct qep_window qep_window;
/* `bytes` (equal on all ranks), zeroed, 64-byte aligned, once per node. Noted in the memory table under `name` on
 * the node's first rank only (name: string literal). Collective. No memory: the job ends with exit code 3.
 * Fault site "par.window". */
qep_window *qep_window_create_all(qep_comm *c, const char *name, int64_t bytes);
void qep_window_destroy_all(qep_window **w);
void *qep_window_data(qep_window *w);
int64_t qep_window_bytes(const qep_window *w);
/* Barrier of the node with memory fence: what any rank of the node wrote before, all see after. */
void qep_window_sync_all(qep_window *w);
/* root's private buffer src[0..bytes) arrives at `offset` in every node's window, and is visible when it returns.
 * src is read on root only. The caller makes sure nobody still reads that part (a preceding sync or bcast). */
void qep_window_bcast_all(qep_window *w, int root, const void *src, int64_t offset, int64_t bytes);
/* Rank r has written bytes [begin[r], begin[r] + count[r]) of its node's window (arrays of size P, equal on all
 * ranks, count may be 0, ranges disjoint); afterwards every node's window holds all ranges. Syncs before it, and, on several nodes, after it.
 * Between nodes go the first ranges of all nodes at once, then the second ones, and so on: it is fast when they are of the same size. */
void qep_window_merge_all(qep_window *w, const int64_t *begin, const int64_t *count);

/* Ranges of so many of n nodes travel as one ring (n - 1 steps with one range each), not as a broadcast of each (about twice its bytes). */
static inline bool qep_window_gathers(int64_t givers, int64_t n)
{
    return n > 1 && 2 * givers >= n - 1;
}

/* Most bytes of one MPI call (QEP_PAR_CHUNK): how a transfer is cut into messages. */
int64_t qep_par_chunk(const qep_comm *c);

/* Time of a phase, and what this rank sent through this module: payload handed to MPI, a broadcast counted once on its root, a
 * reduction once on every rank. Not counted: barriers, ScaLAPACK's and HDF5's own messages. */
typedef struct qep_meter {
    double seconds;
    int64_t bytes, messages;
} qep_meter;
qep_meter qep_meter_now(void);
void qep_meter_add(qep_meter *phase, const qep_meter *begin); /* phase += now - begin */

#endif
