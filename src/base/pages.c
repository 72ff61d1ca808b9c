/* Pages of large blocks. What the system gives back and maps anew costs a fault and clearing for each page, at a fraction of the memory's speed; in a virtual
 * machine that hands free memory to its host, at a fiftieth of it. So a freed region's pages are kept, and the next region is put together of them,
 * whatever its size: mremap moves page tables, not contents, and what MPI libraries remember of addresses follows it as it follows munmap. Huge pages stay
 * whole, as everything is a multiple of one.
 * Not for several threads at a time. SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* mremap */
#include "base_priv.h"

#include <stdlib.h>
#include <sys/mman.h>

enum {
    HUGE_PAGE = 2 << 20, /* bytes */
    MAX_KEPT = 1024      /* pieces; each is a mapping of the process, of which a system allows 65,530 */
};

/* Lies in one mapping: the system moves no range across two. */
typedef struct piece {
    char *at;
    int64_t bytes;
} piece;

struct qep_pages {
    int64_t bytes;
    int n_pieces;
    piece pieces[];
};

static piece kept[MAX_KEPT];
static int n_kept;
static int64_t kept_bytes;

static void drop_kept(int i, int64_t bytes)
{
    kept_bytes -= bytes;
    kept[i].bytes -= bytes;
    if (kept[i].bytes == 0) kept[i] = kept[--n_kept];
}

/* The kept piece that `bytes` are best taken from: one of this size, else the largest below it, else the smallest above; -1: none is kept. */
static int best_kept(int64_t bytes)
{
    int below = -1, above = -1;
    for (int i = 0; i < n_kept; i++) {
        if (kept[i].bytes == bytes) return i;
        if (kept[i].bytes < bytes && (below < 0 || kept[i].bytes > kept[below].bytes)) below = i;
        if (kept[i].bytes > bytes && (above < 0 || kept[i].bytes < kept[above].bytes)) above = i;
    }
    return below >= 0 ? below : above;
}

/* A range of addresses without memory, on the boundary of a huge page; NULL: none. */
static char *reserve(int64_t bytes)
{
    char *all = mmap(NULL, (size_t)(bytes + HUGE_PAGE), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED) return NULL;
    const int64_t before = (int64_t)((HUGE_PAGE - (uintptr_t)all % HUGE_PAGE) % HUGE_PAGE);
    if (before > 0) (void)munmap(all, (size_t)before);
    (void)munmap(all + before + bytes, (size_t)(HUGE_PAGE - before));
    return all + before;
}

/* The range gets kept pages from its start on; bytes. */
static int64_t take_kept(qep_pages *p, char *range)
{
    int64_t used = 0;
    while (used < p->bytes && n_kept > 0) {
        const int i = best_kept(p->bytes - used);
        const int64_t n = qep_min_i64(kept[i].bytes, p->bytes - used);
        if (mremap(kept[i].at + kept[i].bytes - n, (size_t)n, (size_t)n, MREMAP_MAYMOVE | MREMAP_FIXED, range + used) == MAP_FAILED) break;
        p->pieces[p->n_pieces++] = (piece){range + used, n};
        drop_kept(i, n);
        used += n;
    }
    return used;
}

/* The rest of the range gets memory of its own. Huge pages are advice: what comes of it is the system's choice. */
static bool map_fresh(qep_pages *p, char *at, int64_t bytes)
{
    if (bytes == 0) return true;
    if (mmap(at, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) return false;
    (void)madvise(at, (size_t)bytes, MADV_HUGEPAGE);
    p->pieces[p->n_pieces++] = (piece){at, bytes};
    return true;
}

qep_pages *qep_pages_get(int64_t bytes, int64_t *used)
{
    if (bytes > INT64_MAX / 2) return NULL;
    qep_pages *p = malloc(sizeof *p + (size_t)(n_kept + 1) * sizeof *p->pieces);
    if (!p) return NULL;
    p->bytes = qep_round_up(bytes, HUGE_PAGE);
    p->n_pieces = 0;
    *used = p->bytes;
    const int same = best_kept(p->bytes);
    if (same >= 0 && kept[same].bytes == p->bytes) {
        p->pieces[p->n_pieces++] = kept[same];
        drop_kept(same, p->bytes);
        return p;
    }
    char *range = reserve(p->bytes);
    if (range) {
        *used = take_kept(p, range);
        if (map_fresh(p, range + *used, p->bytes - *used)) return p;
        (void)munmap(range + *used, (size_t)(p->bytes - *used));
    }
    qep_pages_put(p);
    return NULL;
}

void qep_pages_put(qep_pages *p)
{
    for (int i = 0; i < p->n_pieces; i++) {
        if (n_kept == MAX_KEPT) {
            (void)munmap(p->pieces[i].at, (size_t)p->pieces[i].bytes);
            continue;
        }
        kept[n_kept++] = p->pieces[i];
        kept_bytes += p->pieces[i].bytes;
    }
    free(p);
}

void *qep_pages_start(const qep_pages *p)
{
    return p->pieces[0].at;
}

int64_t qep_pages_bytes(const qep_pages *p)
{
    return p->bytes;
}

int64_t qep_pages_kept(void)
{
    return kept_bytes;
}

void qep_pages_release(int64_t bytes)
{
    for (int64_t left = qep_round_up(bytes, HUGE_PAGE); left > 0 && n_kept > 0;) {
        const int i = best_kept(left);
        const int64_t n = qep_min_i64(kept[i].bytes, left);
        (void)munmap(kept[i].at + kept[i].bytes - n, (size_t)n);
        drop_kept(i, n);
        left -= n;
    }
}
