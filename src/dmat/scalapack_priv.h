/* dmat, private: the functions of BLACS and ScaLAPACK we call (the libraries bring no C header),
 * the process grid, and the one way to read INFO. Hidden lengths of CHARACTER arguments stand
 * last.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_SCALAPACK_PRIV_H
#define QEP_SCALAPACK_PRIV_H

#include "qep/par.h"
#include <mpi.h>

extern int Csys2blacs_handle(MPI_Comm comm);
extern void Cfree_blacs_system_handle(int handle);
extern void Cblacs_gridinit(int *context, const char *order, int n_prow, int n_pcol);
extern void Cblacs_gridexit(int context);
extern void pdpotrf_(const char *uplo, const int *n, double *a, const int *ia, const int *ja,
                     const int *desca, int *info, size_t uplo_len);
extern void pilaver_(int *major, int *minor, int *patch);

/* A column of processes: the first n_owners ranks of a communicator. */
typedef struct qep_grid {
    MPI_Comm comm; /* owned; MPI_COMM_NULL on ranks outside */
    int handle;    /* BLACS's number for comm */
    int context;   /* BLACS's number for the grid */
} qep_grid;

/* Collective over c; ranks outside get comm = MPI_COMM_NULL. */
void qep_grid_open_all(qep_comm *c, int64_t n_owners, qep_grid *g);
void qep_grid_close(qep_grid *g);

/* After a call with `info` preset to QEP_INFO_UNSET: a value below 0 (an argument is wrong, or
 * the routine did not run) is a bug of ours; a value above 0 is left to the caller. */
enum { QEP_INFO_UNSET = -100000 };
#define QEP_CHECK_INFO(routine, info)                                                      \
    do {                                                                                   \
        if ((info) < 0) QEP_BUG("%s refused its arguments: INFO = %d", (routine), (info)); \
    } while (0)

#endif
