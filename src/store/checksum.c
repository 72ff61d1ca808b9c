/* Checksum of a dataset that does not depend on which rank held which rows.
 * SPDX-License-Identifier: Apache-2.0 */
#include "store_priv.h"

qep_store_sums qep_store_row_sums(const void *data, int64_t row_bytes, int64_t row0, int64_t n)
{
    qep_store_sums s = {.v = {0, (uint64_t)n, 0}};
    const char *row = data;

    for (int64_t i = 0; i < n; i++, row += row_bytes) {
        s.v[0] += qep_hash64(row, (size_t)row_bytes, (uint64_t)(row0 + i));
        s.v[2] += (uint64_t)(row0 + i);
    }
    return s;
}

bool qep_store_covers(const qep_store_sums *all, int64_t rows)
{
    uint64_t r = (uint64_t)rows;
    uint64_t numbers = r % 2 == 0 ? r / 2 * (r - 1) : (r - 1) / 2 * r; /* 0 + 1 + ... mod 2^64 */

    return all->v[1] == r && all->v[2] == numbers;
}
