/* Named allocation: zeroed, aligned, counted. SPDX-License-Identifier: Apache-2.0 */
#define _DEFAULT_SOURCE /* madvise */
#include "base_priv.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    ALIGN = 64,
    MAX_NAMES = 512,
    HUGE_PAGE = 2 << 20, /* bytes of a huge page */
    MAX_KEPT = 32        /* freed blocks that are kept for others */
};
#ifdef __SANITIZE_ADDRESS__ /* which could not see any more that a freed block is used */
static const int64_t KEEP_FROM = INT64_MAX;
#else
static const int64_t KEEP_FROM = 16 << 20; /* bytes of the smallest block that is kept */
#endif

/* Lies in the ALIGN bytes in front of the block. */
typedef struct block_head {
    uint64_t magic; /* tells a block of ours from any other pointer */
    void *raw;      /* what calloc returned */
    int64_t bytes;  /* as asked for */
    int64_t room;   /* of raw */
    int32_t name;   /* index into names */
} block_head;

static const uint64_t live_magic = UINT64_C(0x7165705F6C697665);

static pthread_mutex_t mem_lock = PTHREAD_MUTEX_INITIALIZER;
static qep_mem_entry names[MAX_NAMES]; /* the last row takes the names that no longer fit */
static int name_count;
static int64_t sum_now, sum_peak, live_blocks;

/* Large blocks that were freed. What the system gives back and maps anew costs a page fault and clearing per page, at a fraction of the memory's
 * speed where pages are small or the machine is a virtual one; every group of a model asks for the same sizes again. */
typedef struct kept_block {
    void *raw;
    int64_t room;
} kept_block;
static kept_block kept[MAX_KEPT];
static int kept_count;
static int64_t room_live, room_kept, noted; /* of blocks in use, of those, and what somebody else has; bytes */

static int name_index(const char *name)
{
    for (int i = 0; i < name_count; i++) {
        if (strncmp(names[i].name, name, sizeof names[i].name - 1) == 0) return i;
    }
    if (name_count == MAX_NAMES) return MAX_NAMES - 1;
    qep_mem_entry *e = &names[name_count];
    snprintf(e->name, sizeof e->name, "%s", name_count == MAX_NAMES - 1 ? "(other)" : name);
    return name_count++;
}

static void count_bytes(int i, int64_t delta)
{
    names[i].now += delta;
    names[i].peak = qep_max_i64(names[i].peak, names[i].now);
    sum_now += delta;
    sum_peak = qep_max_i64(sum_peak, sum_now);
}

static int count_block(const char *name, int64_t bytes)
{
    pthread_mutex_lock(&mem_lock);
    int i = name_index(name);
    count_bytes(i, bytes);
    live_blocks++;
    pthread_mutex_unlock(&mem_lock);
    return i;
}

static void out_of_memory(const char *name, int64_t count, size_t size) __attribute__((noreturn));
static void out_of_memory(const char *name, int64_t count, size_t size)
{
    char used[32];
    fprintf(stderr,
            "qep_mpi: rank %d: out of memory: %s needs %" PRId64 " x %zu bytes, "
            "%s are in use by this rank. Use more nodes or fewer ranks per node; "
            "--dry-run prints the memory plan.\n",
            qep_message_rank(), name, count, size,
            qep_format_bytes(qep_mem_now(), used, sizeof used));
    qep_end_job(qep_status_exit_code(QEP_E_RESOURCE));
}

static block_head *head_of(void *p)
{
    block_head *h = (block_head *)(void *)((char *)p - ALIGN);
    if (h->magic != live_magic) {
        QEP_BUG("%p was not allocated by qep_alloc, or was freed before", p);
    }
    return h;
}

/* A large block is cleared and mapped by the system in huge pages: 4 KiB at a time were six million page faults for one block of 7B. Advice only: what comes of it is the
 * system's choice, and a refusal changes nothing. */
static void ask_for_huge_pages(char *raw, int64_t bytes)
{
#ifdef MADV_HUGEPAGE
    const int64_t skip = (int64_t)((HUGE_PAGE - (uintptr_t)raw % HUGE_PAGE) % HUGE_PAGE);
    if (bytes - skip >= HUGE_PAGE) (void)madvise(raw + skip, (size_t)((bytes - skip) / HUGE_PAGE * HUGE_PAGE), MADV_HUGEPAGE);
#else
    (void)raw;
    (void)bytes;
#endif
}

/* The smallest kept block for `total` bytes that wastes at most an eighth, and its room; NULL: none. Under the lock. */
static void *take_kept(int64_t total, int64_t *room)
{
    int best = -1;
    for (int i = 0; i < kept_count; i++)
        if (kept[i].room >= total && kept[i].room - total <= total / 8 && (best < 0 || kept[i].room < kept[best].room)) best = i;
    if (best < 0) return NULL;
    void *raw = kept[best].raw;
    *room = kept[best].room;
    room_kept -= *room;
    kept[best] = kept[--kept_count];
    return raw;
}

/* Under the lock. */
static void release_kept(void)
{
    while (kept_count > 0) free(kept[--kept_count].raw);
    room_kept = 0;
}

void qep_mem_release_kept(void)
{
    pthread_mutex_lock(&mem_lock);
    release_kept();
    pthread_mutex_unlock(&mem_lock);
}

/* Zeros. Kept blocks never make the process larger than it has been: they go back before it would be. */
static char *get_block(int64_t total, int64_t *room)
{
    pthread_mutex_lock(&mem_lock);
    *room = total;
    char *raw = total >= KEEP_FROM ? take_kept(total, room) : NULL;
    if (!raw && kept_count > 0 && room_live + room_kept + noted + total > sum_peak) release_kept();
    room_live += *room;
    pthread_mutex_unlock(&mem_lock);
    if (raw) return memset(raw, 0, (size_t)total);
    /* calloc rather than memset: the pages of a large block stay untouched until they are used. */
    raw = calloc(1, (size_t)total);
    if (!raw) {
        qep_mem_release_kept();
        raw = calloc(1, (size_t)total);
    }
    if (raw) ask_for_huge_pages(raw, total);
    return raw;
}

void *qep_alloc(const char *name, int64_t count, size_t size)
{
    int64_t bytes, total;
    if (count < 0) QEP_BUG("qep_alloc(\"%s\", %" PRId64 "): negative count", name, count);
    if (size > INT64_MAX || !qep_mul_i64(count, (int64_t)size, &bytes) ||
        !qep_add_i64(bytes, 2 * ALIGN, &total)) {
        out_of_memory(name, count, size);
    }
    int64_t room;
    char *raw = qep_fault_alloc(name) ? NULL : get_block(total, &room);
    if (!raw) out_of_memory(name, count, size);
    size_t to_boundary = (ALIGN - (uintptr_t)raw % ALIGN) % ALIGN;
    char *p = raw + to_boundary + ALIGN;
    block_head *h = (block_head *)(void *)(p - ALIGN);
    int row = count_block(name, bytes);
    *h = (block_head){.magic = live_magic, .raw = raw, .bytes = bytes, .room = room, .name = row};
    return p;
}

void *qep_realloc(void *p, const char *name, int64_t count, size_t size)
{
    void *q = qep_alloc(name, count, size);
    if (!p) return q;
    memcpy(q, p, (size_t)qep_min_i64(head_of(p)->bytes, head_of(q)->bytes));
    qep_free(p);
    return q;
}

void qep_free(void *p)
{
    if (!p) return;
    block_head *h = head_of(p);
    pthread_mutex_lock(&mem_lock);
    count_bytes(h->name, -h->bytes);
    live_blocks--;
    room_live -= h->room;
    h->magic = 0;
    const bool keep = h->room >= KEEP_FROM && kept_count < MAX_KEPT;
    if (keep) kept[kept_count++] = (kept_block){h->raw, h->room}, room_kept += h->room;
    pthread_mutex_unlock(&mem_lock);
    if (!keep) free(h->raw);
}

char *qep_strdup(const char *name, const char *s)
{
    size_t n = strlen(s) + 1;
    char *copy = qep_alloc(name, (int64_t)n, 1);
    memcpy(copy, s, n);
    return copy;
}

char *qep_strf(const char *name, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) QEP_BUG("qep_strf(\"%s\"): the format \"%s\" failed", name, fmt);
    char *s = qep_alloc(name, (int64_t)n + 1, 1);
    va_start(ap, fmt);
    (void)vsnprintf(s, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return s;
}

void qep_mem_note(const char *name, int64_t bytes_delta)
{
    pthread_mutex_lock(&mem_lock);
    count_bytes(name_index(name), bytes_delta);
    noted += bytes_delta;
    pthread_mutex_unlock(&mem_lock);
}

static int by_name(const void *a, const void *b)
{
    const qep_mem_entry *x = a;
    const qep_mem_entry *y = b;
    return strcmp(x->name, y->name);
}

int qep_mem_table(qep_mem_entry *out, int cap)
{
    qep_mem_entry sorted[MAX_NAMES];
    pthread_mutex_lock(&mem_lock);
    int n = name_count;
    memcpy(sorted, names, (size_t)n * sizeof *names);
    pthread_mutex_unlock(&mem_lock);
    qsort(sorted, (size_t)n, sizeof *sorted, by_name);
    int copied = n < cap ? n : cap;
    if (copied > 0) memcpy(out, sorted, (size_t)copied * sizeof *sorted);
    return n;
}

static int64_t read_counter(const int64_t *counter)
{
    pthread_mutex_lock(&mem_lock);
    int64_t v = *counter;
    pthread_mutex_unlock(&mem_lock);
    return v;
}

int64_t qep_mem_now(void)
{
    return read_counter(&sum_now);
}

int64_t qep_mem_peak(void)
{
    return read_counter(&sum_peak);
}

int64_t qep_mem_blocks(void)
{
    return read_counter(&live_blocks);
}
