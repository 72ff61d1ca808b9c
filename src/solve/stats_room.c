/* Sums that the ranks of a node form together: each product of a tile is added under a lock, and as they are whole numbers no order shows.
 * SPDX-License-Identifier: Apache-2.0 */
#include "stats_priv.h"
#include <sched.h>

enum { LOCKS = 1024, LINE = 64 /* bytes: one lock in each */, PATIENCE = 64 };

int64_t qep_stats_room_bytes(int64_t sums)
{
    return (int64_t)LOCKS * LINE + qep_round_up(sums * (int64_t)sizeof(int64_t), LINE);
}

qep_stats_room qep_stats_room_open_all(const qep_comm *c, qep_window *w, int64_t sums)
{
    const int64_t bytes = qep_stats_room_bytes(sums);
    int64_t begin, count;
    char *data = qep_window_data(w);
    QEP_REQUIRE(qep_window_bytes(w) >= bytes);
    qep_window_sync_all(w); /* nobody reads what stood there */
    qep_partition(bytes / LINE, qep_node_size(c), qep_node_rank(c), &begin, &count);
    qep_clear(data + begin * LINE, count * LINE);
    qep_window_sync_all(w);
    return (qep_stats_room){w, (atomic_int *)data, (int64_t *)(data + (int64_t)LOCKS * LINE)};
}

atomic_int *qep_stats_lock(const qep_stats_room *r, const int64_t *tile)
{
    const uint64_t number = (uint64_t)(tile - r->sums) / QEP_STATS_TILE * UINT64_C(0x9e3779b97f4a7c15);
    atomic_int *lock = r->locks + (int64_t)(number >> 54) * (LINE / (int64_t)sizeof *lock);
    for (int tries = 1; atomic_exchange_explicit(lock, 1, memory_order_acquire) != 0; tries++)
        if (tries % PATIENCE == 0) sched_yield(); /* its holder may be waiting for our core */
    return lock;
}

void qep_stats_unlock(atomic_int *lock)
{
    atomic_store_explicit(lock, 0, memory_order_release);
}
