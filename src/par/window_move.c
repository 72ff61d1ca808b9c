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

void qep_window_merge_all(qep_window *w, const int64_t *begin, const int64_t *count)
{
    qep_comm *c = w->comm;
    for (int r = 0; r < c->size; r++) require_inside(w, begin[r], count[r]);
    qep_window_sync_all(w);
    for (int r = 0; r < c->size;) {
        int64_t n = count[r];
        int next = r + 1; /* a node's consecutive ranks mostly hold adjacent ranges: one transfer */
        while (next < c->size && c->node_of[next] == c->node_of[r] &&
               (count[next] == 0 || begin[next] == begin[r] + n))
            n += count[next++];
        spread(w, c->node_of[r], begin[r], n);
        r = next;
    }
    qep_window_sync_all(w);
}
