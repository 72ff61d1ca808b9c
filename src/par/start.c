/* Start and end of MPI, and the emergency exit. The only file that names MPI_COMM_WORLD.
 * SPDX-License-Identifier: Apache-2.0 */
#include "par_priv.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>

enum { DEFAULT_CHUNK = 8 << 20 }; /* bytes; Open MPI 4.1 is fastest with 4 to 16 MiB per call */

/* Waits until the launcher has read what this process wrote into its pipe, for at most a second. MPICH's mpiexec ends the moment it hears of
 * MPI_Abort, and the message that is still in the pipe, the only word on what went wrong, would go with it. */
static void wait_until_read(int pipe_end)
{
    struct stat s;
    if (fstat(pipe_end, &s) != 0 || !S_ISFIFO(s.st_mode)) return;
    const struct timespec pause = {.tv_nsec = 1000000};
    for (int i = 0, unread = 0; i < 1000 && ioctl(pipe_end, FIONREAD, &unread) == 0 && unread > 0; i++) nanosleep(&pause, NULL);
}

void qep_par_abort(int exit_code)
{
    int started = 0, ended = 0;
    MPI_Initialized(&started);
    MPI_Finalized(&ended);
    if (started && !ended) {
        wait_until_read(1);
        wait_until_read(2);
        MPI_Abort(MPI_COMM_WORLD, exit_code);
    }
    _Exit(exit_code);
}

/* A positive number from the environment; fallback when unset or empty. */
static int64_t env_positive(const char *name, int64_t fallback)
{
    const char *s = getenv(name);
    if (!s || !*s) return fallback;
    char *end = NULL;
    errno = 0;
    long long v = strtoll(s, &end, 10);
    if (errno || *end || v <= 0) {
        fprintf(stderr, "qep_mpi: environment variable %s = \"%s\": wanted a whole number > 0\n",
                name, s);
        qep_par_abort(qep_status_exit_code(QEP_E_CONFIG));
    }
    return v;
}

/* Rank 0's settings hold for all: an mpirun need not pass the environment on to other nodes.
 * QEP_RANKS_PER_NODE: see par.h. QEP_PAR_CHUNK: bytes in one MPI call, default 8 MiB; tests make
 * it tiny to reach the code of transfers larger than one chunk. */
static void read_settings(qep_comm *c, int64_t *ranks_per_node)
{
    int64_t v[2] = {0, DEFAULT_CHUNK};
    if (c->rank == 0) {
        v[0] = qep_min_i64(env_positive("QEP_RANKS_PER_NODE", c->size), c->size);
        v[1] = qep_min_i64(env_positive("QEP_PAR_CHUNK", DEFAULT_CHUNK), 1 << 30);
    }
    MPI_Bcast(v, 2, MPI_INT64_T, 0, c->job);
    *ranks_per_node = v[0];
    c->chunk = v[1];
}

static void list_members(qep_comm *c)
{
    c->index_of = qep_alloc("par.comm", c->size, sizeof *c->index_of);
    c->member = qep_alloc("par.comm", c->size, sizeof *c->member);
    c->node_begin = qep_alloc("par.comm", c->n_nodes + 1, sizeof *c->node_begin);
    int n = 0;
    for (int node = 0; node < c->n_nodes; node++) {
        c->node_begin[node] = n;
        for (int r = 0; r < c->size; r++) {
            if (c->node_of[r] != node) continue;
            c->index_of[r] = n - c->node_begin[node];
            c->member[n++] = r;
        }
    }
    c->node_begin[c->n_nodes] = n;
}

/* Node communicator, the nodes in order of their lowest rank, and the job's ranks numbered anew, over the nodes in turn: what is dealt to the
 * first few ranks lies on as many nodes as there are. */
static void split_into_nodes(qep_comm *c, int64_t ranks_per_node)
{
    MPI_Comm shared, launched = c->job;
    MPI_Comm_split_type(launched, MPI_COMM_TYPE_SHARED, c->rank, MPI_INFO_NULL, &shared);
    MPI_Comm_split(shared, qep_int(c->rank / ranks_per_node), c->rank, &c->node);
    MPI_Comm_free(&shared);
    MPI_Comm_rank(c->node, &c->node_rank);
    MPI_Comm_size(c->node, &c->node_size);
    MPI_Comm_split(launched, c->node_rank == 0 ? 0 : MPI_UNDEFINED, c->rank, &c->leaders);
    if (c->node_rank == 0) {
        MPI_Comm_rank(c->leaders, &c->node_id);
        MPI_Comm_size(c->leaders, &c->n_nodes);
    }
    MPI_Bcast(&c->node_id, 1, MPI_INT, 0, c->node);
    MPI_Bcast(&c->n_nodes, 1, MPI_INT, 0, c->node);
    MPI_Comm_split(launched, 0, qep_int((int64_t)c->node_rank * c->n_nodes + c->node_id), &c->job);
    MPI_Comm_free(&launched);
    MPI_Comm_rank(c->job, &c->rank);
    c->node_of = qep_alloc("par.comm", c->size, sizeof *c->node_of);
    MPI_Allgather(&c->node_id, 1, MPI_INT, c->node_of, 1, MPI_INT, c->job);
    list_members(c);
}

static void set_error_handlers(qep_comm *c)
{
    MPI_Comm_create_errhandler(qep_par_comm_error, &c->on_error);
    MPI_Win_create_errhandler(qep_par_win_error, &c->on_win_error);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, c->on_error);
    MPI_Comm_set_errhandler(MPI_COMM_SELF, c->on_error);
}

/* All that it holds is its own but the operations, which belong to the process. */
static qep_comm *make_alone(const qep_comm *c)
{
    qep_comm *a = qep_alloc("par.comm", 1, sizeof *a);
    *a = *c;
    MPI_Comm_dup(MPI_COMM_SELF, &a->job);
    MPI_Comm_set_errhandler(a->job, a->on_error);
    a->node = a->leaders = a->job;
    a->alone = a;
    a->rank = a->node_rank = a->node_id = 0;
    a->size = a->node_size = a->n_nodes = 1;
    a->node_of = qep_alloc("par.comm", 1, sizeof *a->node_of);
    a->index_of = a->member = a->node_begin = NULL; /* of several ranks only */
    return a;
}

static void free_alone(qep_comm **alone)
{
    qep_comm *a = *alone;
    if (!a) return;
    MPI_Comm_free(&a->job);
    qep_free(a->node_of);
    qep_free(a);
    *alone = NULL;
}

qep_comm *qep_comm_alone(qep_comm *c)
{
    return c->alone ? c->alone : c;
}

qep_comm *qep_par_start(int *argc, char ***argv)
{
    int provided = 0, rank = 0, len = 0;
    MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    qep_set_abort_hook(qep_par_abort, rank);
    if (provided < MPI_THREAD_FUNNELED) {
        fprintf(stderr, "qep_mpi: this MPI library cannot be used together with threads (it lacks "
                        "MPI_THREAD_FUNNELED); use one that was built with thread support\n");
        qep_par_abort(qep_status_exit_code(QEP_E_CONFIG));
    }

    qep_comm *c = qep_alloc("par.comm", 1, sizeof *c);
    set_error_handlers(c);
    MPI_Comm_dup(MPI_COMM_WORLD, &c->job);
    MPI_Comm_rank(c->job, &c->rank);
    MPI_Comm_size(c->job, &c->size);
    MPI_Get_processor_name(c->host, &len);
    int64_t ranks_per_node = 0;
    read_settings(c, &ranks_per_node);
    split_into_nodes(c, ranks_per_node);
    qep_set_abort_hook(qep_par_abort, c->rank);
    qep_fault_init(c->rank);
    MPI_Comm_set_errhandler(c->job, c->on_error);
    MPI_Comm_set_errhandler(c->node, c->on_error);
    if (c->leaders != MPI_COMM_NULL) MPI_Comm_set_errhandler(c->leaders, c->on_error);
    qep_par_ops_make(c);
    if (c->size > 1) c->alone = make_alone(c);
    return c;
}

void qep_par_end(qep_comm **comm)
{
    qep_comm *c = *comm;
    if (!c) return;
    MPI_Barrier(c->job); /* nobody tears down while another rank still prints its last words */
    free_alone(&c->alone);
    qep_par_ops_free(c);
    if (c->leaders != MPI_COMM_NULL) MPI_Comm_free(&c->leaders);
    MPI_Comm_free(&c->node);
    MPI_Comm_free(&c->job);
    MPI_Errhandler_free(&c->on_error);
    MPI_Errhandler_free(&c->on_win_error);
    qep_free(c->node_begin);
    qep_free(c->member);
    qep_free(c->index_of);
    qep_free(c->node_of);
    qep_free(c);
    *comm = NULL;
    MPI_Finalize();
}
