/* Agreement of all ranks on the outcome of a local step.
 * SPDX-License-Identifier: Apache-2.0 */
#include "par_priv.h"
#include <string.h>

/* The error record of rank `from` and its status become everybody's. */
static qep_status spread(qep_comm *c, int from, qep_status local)
{
    int64_t head[3] = {0, 0, 0}; /* status, bytes of text and of where with their NULs */
    char *text = NULL, *where = NULL;
    if (c->rank == from) {
        const char *own = qep_error_text();
        text = from == 0 ? qep_strdup("par.agree", own)
                         : qep_strf("par.agree", "rank %d (%s): %s", from, c->host, own);
        where = qep_strdup("par.agree", qep_error_where());
        head[0] = local;
        head[1] = (int64_t)strlen(text) + 1;
        head[2] = (int64_t)strlen(where) + 1;
    }
    qep_bcast_all(c, from, head, sizeof head);
    if (c->rank != from) {
        text = qep_alloc("par.agree", head[1], 1);
        where = qep_alloc("par.agree", head[2], 1);
    }
    qep_bcast_all(c, from, text, head[1]);
    qep_bcast_all(c, from, where, head[2]);
    qep_status st = (qep_status)head[0];
    qep_error_set(st, text, where);
    qep_free(where);
    qep_free(text);
    return st;
}

qep_status qep_agree_all(qep_comm *c, qep_status local)
{
    if (c->alone == c) return local;
    int mine = local == QEP_OK ? c->size : c->rank, lowest = 0;
    MPI_Allreduce(&mine, &lowest, 1, MPI_INT, MPI_MIN, c->job);
    qep_par_sent((int64_t)sizeof mine);
    return lowest == c->size ? QEP_OK : spread(c, lowest, local);
}

bool qep_any_all(qep_comm *c, bool mine)
{
    if (c->alone == c) return mine;
    int in = mine, any = 0;
    MPI_Allreduce(&in, &any, 1, MPI_INT, MPI_MAX, c->job);
    qep_par_sent((int64_t)sizeof in);
    return any != 0;
}
