/* The MPI communicator behind a qep_comm, for dmat and store only (lint checks).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_PAR_MPI_H
#define QEP_PAR_MPI_H

#include "qep/par.h"
#include <mpi.h>

MPI_Comm qep_comm_mpi(const qep_comm *c); /* borrowed */

#endif
