/* The same over pretended nodes of two ranks, with small messages. Both settings can be overridden from outside.
 * SPDX-License-Identifier: Apache-2.0 */
#include "test_stats.c"

__attribute__((constructor)) static void settings(void)
{
    setenv("QEP_PAR_CHUNK", "65536", 0);
    setenv("QEP_RANKS_PER_NODE", "2", 0);
}
