/* The collectives as a job uses them: default chunk, real nodes. SPDX-License-Identifier: Apache-2.0 */
#include "collect_cases.h"
