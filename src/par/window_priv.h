/* par, private: a window. SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_PAR_WINDOW_PRIV_H
#define QEP_PAR_WINDOW_PRIV_H

#include "par_priv.h"

struct qep_window {
    qep_comm *comm;   /* borrowed */
    const char *name; /* borrowed, a string literal */
    int64_t bytes;
    char *data;
    MPI_Win win; /* MPI_WIN_NULL on a node of one rank: then data is ordinary memory, owned */
};

#endif
