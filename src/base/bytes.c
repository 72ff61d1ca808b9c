/* base: large blocks of bytes by all threads: one thread alone reaches a fraction of the memory's speed. SPDX-License-Identifier: Apache-2.0 */
#include "qep/base.h"

#include <string.h>

enum { PART = 1 << 20 }; /* bytes: worth a thread's while */

void qep_copy(void *restrict to, const void *restrict from, int64_t bytes)
{
#pragma omp parallel for schedule(static) if (bytes > PART)
    for (int64_t at = 0; at < bytes; at += PART) memcpy((char *)to + at, (const char *)from + at, (size_t)qep_min_i64(PART, bytes - at));
}

void qep_clear(void *p, int64_t bytes)
{
#pragma omp parallel for schedule(static) if (bytes > PART)
    for (int64_t at = 0; at < bytes; at += PART) memset((char *)p + at, 0, (size_t)qep_min_i64(PART, bytes - at));
}
