/* Block and head over pretended nodes of one rank each; QEP_RANKS_PER_NODE from outside wins.
 * SPDX-License-Identifier: Apache-2.0 */
#include "block_cases.h"

__attribute__((constructor)) static void settings(void)
{
    setenv("QEP_RANKS_PER_NODE", "1", 0);
}
