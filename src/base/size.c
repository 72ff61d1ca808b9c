/* Checked sizes. SPDX-License-Identifier: Apache-2.0 */
#include "qep/base.h"

#include <inttypes.h>
#include <limits.h>

bool qep_mul_i64(int64_t a, int64_t b, int64_t *out)
{
    return a >= 0 && b >= 0 && !__builtin_mul_overflow(a, b, out);
}

bool qep_add_i64(int64_t a, int64_t b, int64_t *out)
{
    return a >= 0 && b >= 0 && !__builtin_add_overflow(a, b, out);
}

int qep_int(int64_t v)
{
    if (v < INT_MIN || v > INT_MAX) QEP_BUG("%" PRId64 " does not fit an int", v);
    return (int)v;
}

int64_t qep_ceil_div(int64_t a, int64_t b)
{
    QEP_REQUIRE(a >= 0 && b > 0);
    return a / b + (a % b != 0);
}

int64_t qep_round_up(int64_t a, int64_t b)
{
    int64_t up;
    if (!qep_mul_i64(qep_ceil_div(a, b), b, &up)) {
        QEP_BUG("%" PRId64 " rounded up to a multiple of %" PRId64 " overflows", a, b);
    }
    return up;
}
