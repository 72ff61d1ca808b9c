/* The plan.
 * SPDX-License-Identifier: Apache-2.0 */
#include "run_priv.h"
qep_status qep_run_plan_all(qep_run *r)
{
    r->keep_act = true;
    return QEP_OK;
}
