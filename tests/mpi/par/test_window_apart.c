/* Shared windows over pretended nodes of one rank: with four of them ranges of few nodes are broadcast, ranges of many go around a ring.
 * Both settings can be overridden from outside. SPDX-License-Identifier: Apache-2.0 */
#include "window_cases.h"

__attribute__((constructor)) static void settings(void)
{
    setenv("QEP_PAR_CHUNK", "48", 0);
    setenv("QEP_RANKS_PER_NODE", "1", 0);
}
