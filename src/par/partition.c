/* Even contiguous partition. SPDX-License-Identifier: Apache-2.0 */
#include "qep/par.h"

void qep_partition(int64_t n, int64_t parts, int64_t part, int64_t *begin, int64_t *count)
{
    QEP_REQUIRE(n >= 0 && parts > 0 && part >= 0 && part < parts);
    int64_t each = n / parts, more = n % parts;
    *begin = part * each + qep_min_i64(part, more);
    *count = each + (part < more ? 1 : 0);
}
