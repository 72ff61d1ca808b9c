/* How many threads a rank uses.
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "run_priv.h"

#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

/* Configured, else OMP_NUM_THREADS, else the cores this rank may use: those it is bound to, or its share of the node. */
int qep_run_threads(qep_comm *c, int64_t configured)
{
    if (configured > 0) return qep_int(configured);
    const char *env = getenv("OMP_NUM_THREADS");
    if (env && *env) {
        long v = strtol(env, NULL, 10);
        if (v > 0 && v < 4096) return (int)v;
    }
    cpu_set_t set;
    int mine = 1;
    if (sched_getaffinity(0, sizeof set, &set) == 0) mine = CPU_COUNT(&set);
    bool bound = mine < (int)sysconf(_SC_NPROCESSORS_ONLN);
    return bound ? mine : (int)qep_max_i64(1, mine / qep_node_size(c));
}
