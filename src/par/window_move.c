/* Data into every node's window: between nodes only the nodes' first ranks talk.
 * SPDX-License-Identifier: Apache-2.0 */
#include "window_priv.h"
#include <string.h>

static void require_inside(const qep_window *w, int64_t begin, int64_t count)
{
    QEP_REQUIRE(begin >= 0 && count >= 0 && begin <= w->bytes && count <= w->bytes - begin);
}

/* Bytes [begin, begin + count) of node `from`'s window go to all other nodes' windows. */
static void spread(qep_window *w, int from, int64_t begin, int64_t count)
{
    qep_comm *c = w->comm;
    if (c->n_nodes > 1 && c->node_rank == 0)
        qep_par_bcast(c, c->leaders, from, w->data + begin, count);
}

void qep_window_bcast_all(qep_window *w, int root, const void *src, int64_t offset, int64_t bytes)
{
    qep_comm *c = w->comm;
    QEP_REQUIRE(root >= 0 && root < c->size);
    require_inside(w, offset, bytes);
    const int from = c->node_of[root];
    if (c->rank == root && bytes > 0) memcpy(w->data + offset, src, (size_t)bytes);
    if (c->n_nodes > 1 && c->node_id == from) qep_window_sync_all(w); /* before its leader reads */
    spread(w, from, offset, bytes);
    qep_window_sync_all(w);
}

/* The ranges of one rank of each node, or none: all at once when so many nodes have one that a ring is faster than a broadcast of each. */
static void gather(qep_window *w, const int64_t *begin, const int64_t *count)
{
    const int n = w->comm->n_nodes;
    int64_t first = INT64_MAX, end = 0;
    int givers = 0;
    for (int k = 0; k < n; k++) {
        if (count[k] == 0) continue;
        givers++;
        first = qep_min_i64(first, begin[k]);
        end = qep_max_i64(end, begin[k] + count[k]);
    }
    if (qep_window_gathers(givers, n) && end - first <= INT32_MAX) {
        if (w->comm->node_rank == 0) qep_par_gather_nodes(w->comm, w->data, first, begin, count);
        return;
    }
    for (int k = 0; k < n; k++) spread(w, k, begin[k], count[k]);
}

/* The next range that is not empty of each node, if it has one. next[n_nodes]: where its list of ranks goes on. Returns whether any node has one. */
static bool next_ranges(const qep_comm *c, const int64_t *begin, const int64_t *count, int64_t *next, int64_t *b, int64_t *size)
{
    bool any = false;
    for (int k = 0; k < c->n_nodes; k++) {
        while (next[k] < c->node_begin[k + 1] && count[c->member[next[k]]] == 0) next[k]++;
        const int r = next[k] < c->node_begin[k + 1] ? c->member[next[k]++] : -1;
        b[k] = r < 0 ? 0 : begin[r];
        size[k] = r < 0 ? 0 : count[r];
        any = any || r >= 0;
    }
    return any;
}

void qep_window_merge_all(qep_window *w, const int64_t *begin, const int64_t *count)
{
    const qep_comm *c = w->comm;
    for (int r = 0; r < c->size; r++) require_inside(w, begin[r], count[r]);
    qep_window_sync_all(w);
    if (c->n_nodes == 1) return;
    int64_t *b = qep_alloc("par.merge", 3 * (int64_t)c->n_nodes, sizeof *b), *size = b + c->n_nodes, *next = size + c->n_nodes;
    for (int k = 0; k < c->n_nodes; k++) next[k] = c->node_begin[k];
    while (next_ranges(c, begin, count, next, b, size)) gather(w, b, size);
    qep_free(b);
    qep_window_sync_all(w);
}
