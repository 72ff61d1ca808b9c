/* The process grid of BLACS. One is opened for each factorization and closed after it (0.2 ms on 4
 * ranks, against a cubic number of operations), so nothing of BLACS outlives a call.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dmat_priv.h"
#include "qep/par_mpi.h"
#include "scalapack_priv.h"

void qep_grid_open_all(qep_comm *c, int64_t n_owners, qep_grid *g)
{
    const int rank = qep_rank(c);
    MPI_Comm_split(qep_comm_mpi(c), rank < n_owners ? 0 : MPI_UNDEFINED, rank, &g->comm);
    if (g->comm == MPI_COMM_NULL) return;
    g->handle = Csys2blacs_handle(g->comm);
    g->context = g->handle; /* in: the communicator, out: the grid */
    Cblacs_gridinit(&g->context, "Row", qep_int(n_owners), 1);
}

void qep_grid_close(qep_grid *g)
{
    if (g->comm == MPI_COMM_NULL) return;
    Cblacs_gridexit(g->context);
    Cfree_blacs_system_handle(g->handle);
    MPI_Comm_free(&g->comm);
}

const char *qep_dmat_library(void)
{
    static char text[80]; /* the same on every call */
    int major = 0, minor = 0, patch = 0;
    pilaver_(&major, &minor, &patch);
    snprintf(text, sizeof text, "ScaLAPACK (its pilaver says %d.%d.%d)", major, minor, patch);
    return text;
}
