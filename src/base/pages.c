/* Pages of large blocks. What the system gives back and maps anew costs a fault and clearing for each page, at a fraction of the memory's speed; in a virtual
 * machine that hands free memory to its host, at a fiftieth of it. So a freed region's pages are kept, and the next region is put together of them,
 * whatever its size: the system moves page tables, not contents. Huge pages stay whole, as everything is a multiple of one.
 * Not for several threads at a time. SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* MREMAP_DONTUNMAP, syscall */
#include "base_priv.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

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
static bool refused; /* this system moves no pages: only requests of the same size get kept ones */

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

/* The smallest piece makes room for a larger one. */
static void keep(piece p)
{
    if (n_kept == MAX_KEPT) {
        int least = 0;
        for (int i = 1; i < n_kept; i++)
            if (kept[i].bytes < kept[least].bytes) least = i;
        const piece out = kept[least].bytes < p.bytes ? kept[least] : p;
        (void)munmap(out.at, (size_t)out.bytes);
        if (out.at == p.at) return;
        drop_kept(least, out.bytes);
    }
    kept[n_kept++] = p;
    kept_bytes += p.bytes;
}

/* Pages to addresses that are only reserved. Not by the library's mremap: what MPI's libraries for InfiniBand put in its place loses the destination in some
 * versions (UCX before 1.15). They remember which addresses they have registered, and see the old ones go by the munmap. */
static bool move(char *from, char *to, int64_t bytes)
{
#if defined(SYS_mremap) && defined(MREMAP_DONTUNMAP)
    if (qep_fault("pages.move")) return false;
    if (syscall(SYS_mremap, from, (size_t)bytes, (size_t)bytes, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to) != (long)(intptr_t)to) return false;
    (void)munmap(from, (size_t)bytes);
    return true;
#else
    (void)from, (void)to, (void)bytes;
    return false;
#endif
}

/* The range gets kept pages from its start on; *used: bytes. false: the system refuses, and the range is given up. */
static bool take_kept(qep_pages *p, char *range, int64_t *used)
{
    for (*used = 0; *used < p->bytes && n_kept > 0;) {
        const int i = best_kept(p->bytes - *used);
        const int64_t n = qep_min_i64(kept[i].bytes, p->bytes - *used);
        if (!move(kept[i].at + kept[i].bytes - n, range + *used, n)) {
            /* where the pages were to go to, some systems have unmapped the reservation, and somebody else may be: those addresses are left alone */
            if (*used + n < p->bytes) (void)munmap(range + *used + n, (size_t)(p->bytes - *used - n));
            while (p->n_pieces > 0) keep(p->pieces[--p->n_pieces]);
            *used = 0;
            refused = true;
            return false;
        }
        p->pieces[p->n_pieces++] = (piece){range + *used, n};
        drop_kept(i, n);
        *used += n;
    }
    return true;
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
    *used = 0;
    char *range = reserve(p->bytes);
    if (range && !refused && !take_kept(p, range, used)) range = reserve(p->bytes);
    if (range && map_fresh(p, range + *used, p->bytes - *used)) return p;
    if (range) (void)munmap(range + *used, (size_t)(p->bytes - *used));
    qep_pages_put(p);
    return NULL;
}

void qep_pages_put(qep_pages *p)
{
    for (int i = 0; i < p->n_pieces; i++) keep(p->pieces[i]);
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
