/* Names of the timed phases.
 * SPDX-License-Identifier: Apache-2.0 */
#include "run_priv.h"

const char *qep_phase_name(qep_phase p)
{
    static const char *const names[QEP_N_PHASES] = {"open", "load", "forward", "statistics", "correction", "quantize",
                                                    "write", "checkpoint", "evaluation", "publish"};
    return names[p];
}
