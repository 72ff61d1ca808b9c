/* par, private: the communicator, and what the files of this module share.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_PAR_PRIV_H
#define QEP_PAR_PRIV_H

#include "qep/par.h"
#include <mpi.h>

struct qep_comm {
    MPI_Comm job;     /* the ranks of WORLD, numbered over the nodes in turn */
    MPI_Comm node;    /* the ranks that share memory with me, in order of their job rank */
    MPI_Comm leaders; /* first rank of every node, numbered by node id; MPI_COMM_NULL elsewhere */
    MPI_Op max_f32, max_f64, min_f64; /* a NaN on any rank gives NaN */
    MPI_Errhandler on_error, on_win_error;
    int rank, size;
    int node_rank, node_size, node_id, n_nodes;
    int *node_of; /* [size] */
    int *index_of, *member, *node_begin; /* [size] number of a rank inside its node; [size] ranks by node; [n_nodes + 1] where a node's begin */
    int64_t chunk; /* most bytes in one MPI call; equal on all ranks */
    char host[MPI_MAX_PROCESSOR_NAME];
    qep_comm *alone; /* owned: see qep_comm_alone; c itself in that one, which sends nothing; NULL in a job of one rank */
};

/* The one tag of this module's messages: its calls are collective and finish what they start,
 * and MPI keeps the order of messages between two ranks. */
enum { QEP_PAR_TAG = 71 };

/* Ends the job at once with this exit code. */
void qep_par_abort(int exit_code);

/* Error handlers of communicators and windows: print and end the job with 70. */
void qep_par_comm_error(MPI_Comm *comm, int *code, ...);
void qep_par_win_error(MPI_Win *win, int *code, ...);

void qep_par_ops_make(qep_comm *c);
void qep_par_ops_free(qep_comm *c);

/* Who sends, from node `node`, that node's sum for rank q of another, by number in the node. */
static inline int qep_par_collector(const qep_comm *c, int node, int q)
{
    return c->index_of[q] % (c->node_begin[node + 1] - c->node_begin[node]);
}

/* Counts one message of my sending. */
void qep_par_sent(int64_t bytes);

/* Chunked broadcast over one of the communicators of c. */
void qep_par_bcast(const qep_comm *c, MPI_Comm comm, int root, void *buf, int64_t bytes);
/* Chunked: every node's first rank has bytes [begin[node], begin[node] + count[node]) of data and gets those of the others, which are disjoint. All of
 * them begin at `first` or behind it and end before first + 2 GiB. Called by the nodes' first ranks. */
void qep_par_gather_nodes(const qep_comm *c, char *data, int64_t first, const int64_t *begin, const int64_t *count);

/* Is there room for a window of this size on my node? QEP_E_RESOURCE with the name, the bytes and
 * a way out. Called by one rank per node. */
QEP_MUST_CHECK qep_status qep_par_shm_room(const qep_comm *c, const char *name, int64_t bytes);
/* Touches the pages under one rank's part of a fresh window of `bytes`, so that a lack of memory
 * shows as a status instead of a SIGBUS at first use. */
QEP_MUST_CHECK qep_status qep_par_shm_populate(const qep_comm *c, const char *name, int64_t bytes,
                                               void *part, int64_t part_bytes);

#endif
