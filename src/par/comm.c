/* Who am I: questions to a communicator, and the figures of this module's own traffic.
 * SPDX-License-Identifier: Apache-2.0 */
#include "par_priv.h"
#include "qep/par_mpi.h"
#include <string.h>

/* Belongs to the process, as MPI itself does; only figures for the report, no result depends on
 * it. */
static struct {
    int64_t bytes, messages;
    char library[MPI_MAX_LIBRARY_VERSION_STRING];
} process;

void qep_par_sent(int64_t bytes)
{
    process.bytes += bytes;
    process.messages++;
}

qep_meter qep_meter_now(void)
{
    return (qep_meter){qep_now_s(), process.bytes, process.messages};
}

void qep_meter_add(qep_meter *phase, const qep_meter *begin)
{
    const qep_meter now = qep_meter_now();
    phase->seconds += now.seconds - begin->seconds;
    phase->bytes += now.bytes - begin->bytes;
    phase->messages += now.messages - begin->messages;
}

int64_t qep_par_chunk(const qep_comm *c)
{
    return c->chunk;
}

const char *qep_par_library(void)
{
    int len = 0;
    MPI_Get_library_version(process.library, &len);
    process.library[strcspn(process.library, "\r\n")] = '\0';
    return process.library;
}

MPI_Comm qep_comm_mpi(const qep_comm *c)
{
    return c->job;
}

int qep_rank(const qep_comm *c)
{
    return c->rank;
}

int qep_size(const qep_comm *c)
{
    return c->size;
}

int qep_node_rank(const qep_comm *c)
{
    return c->node_rank;
}

int qep_node_size(const qep_comm *c)
{
    return c->node_size;
}

int qep_node_id(const qep_comm *c)
{
    return c->node_id;
}

int qep_n_nodes(const qep_comm *c)
{
    return c->n_nodes;
}

int qep_node_of(const qep_comm *c, int rank)
{
    QEP_REQUIRE(rank >= 0 && rank < c->size);
    return c->node_of[rank];
}

const char *qep_host(const qep_comm *c)
{
    return c->host;
}
