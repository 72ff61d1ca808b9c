/* Lists of numbers and ranges: "0-9, 12". SPDX-License-Identifier: Apache-2.0 */
#include "config_priv.h"

#include <string.h>

bool qep_read_range(const char *text, int64_t *from, int64_t *to)
{
    const char *dash = strchr(text, '-');
    char *head = qep_slice(text, dash ? dash : text + strlen(text));
    bool ok = qep_read_i64(head, from) && *from >= 0;
    qep_free(head);
    *to = *from;
    return ok && (!dash || (qep_read_i64(dash + 1, to) && *to >= *from));
}

/* The i-th range of a list that has been parsed; false behind the last. */
static bool range_at(const char *ranges, int64_t i, int64_t *from, int64_t *to)
{
    for (; i > 0 && ranges; i--) {
        ranges = strchr(ranges, ',');
        if (ranges) ranges += 2;
    }
    if (!ranges) return false;
    const char *comma = strchr(ranges, ',');
    char *one = qep_slice(ranges, comma ? comma : ranges + strlen(ranges));
    const bool ok = qep_read_range(one, from, to);
    qep_free(one);
    return ok;
}

bool qep_ranges_hold(const char *ranges, int64_t n)
{
    int64_t from, to;
    if (qep_same(ranges, "all")) return true;
    for (int64_t i = 0; range_at(ranges, i, &from, &to); i++) {
        if (from <= n && n <= to) return true;
    }
    return false;
}

int64_t qep_ranges_last(const char *ranges)
{
    int64_t from, to, last = -1;
    for (int64_t i = 0; range_at(ranges, i, &from, &to); i++) last = qep_max_i64(last, to);
    return last;
}
