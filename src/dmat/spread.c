/* Block-cyclic arithmetic: which rank holds which row. SPDX-License-Identifier: Apache-2.0 */
#include "dmat_priv.h"

int64_t qep_spread_rows_below(qep_spread s, int64_t rank, int64_t end)
{
    if (rank >= s.n_owners) return 0;
    const int64_t full = end / s.block; /* whole blocks below `end` */
    const int64_t blocks = full / s.n_owners + (rank < full % s.n_owners ? 1 : 0);
    return blocks * s.block + (rank == full % s.n_owners ? end % s.block : 0);
}

int64_t qep_dmat_owners_rule(int64_t n, int64_t block, int64_t ranks, int64_t limit)
{
    int64_t owners = qep_max_i64(1, qep_min_i64(ranks, qep_ceil_div(n, block)));
    return limit > 0 ? qep_min_i64(owners, limit) : owners;
}
