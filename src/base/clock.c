/* Clocks. SPDX-License-Identifier: Apache-2.0 */
#include "qep/base.h"

#include <time.h>

double qep_now_s(void)
{
    struct timespec t;
    QEP_REQUIRE(clock_gettime(CLOCK_MONOTONIC, &t) == 0);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int64_t qep_wall_time_s(void)
{
    return (int64_t)time(NULL);
}
