/* Named allocation: zeroed, aligned, counted. SPDX-License-Identifier: Apache-2.0 */
#include "base_priv.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    ALIGN = 64,
    MAX_NAMES = 512
};
#ifdef __SANITIZE_ADDRESS__ /* which could not see any more that a freed block is used */
static const int64_t PAGES_FROM = INT64_MAX;
#else
static const int64_t PAGES_FROM = 16 << 20; /* bytes of the smallest block of whole pages */
#endif

/* Lies in the ALIGN bytes in front of the block. */
typedef struct block_head {
    uint64_t magic;   /* tells a block of ours from any other pointer */
    void *raw;        /* owned: what calloc returned; of a large block NULL */
    qep_pages *pages; /* owned: of a large block, else NULL */
    int64_t bytes;    /* as asked for */
    int64_t room;     /* what it takes */
    int32_t name;     /* index into names */
} block_head;

static const uint64_t live_magic = UINT64_C(0x7165705F6C697665);

static pthread_mutex_t mem_lock = PTHREAD_MUTEX_INITIALIZER;
static qep_mem_entry names[MAX_NAMES]; /* the last row takes the names that no longer fit */
static int name_count;
static int64_t sum_now, sum_peak, live_blocks;

static int64_t room_live, noted; /* of blocks in use, and what somebody else has; bytes */
static int64_t room_peak;        /* of both together */

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
    char used[32], host[65] = "?";
    (void)gethostname(host, sizeof host - 1);
    qep_last_words("qep_mpi: rank %d on %s: out of memory: %s needs %" PRId64 " x %zu bytes, %s are in use by this rank. Use more nodes or fewer ranks per "
                   "node; --dry-run prints the memory plan.", qep_message_rank(), host, name, count, size,
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

/* Under the lock: kept pages never make the process larger than it has been. */
static void keep_below_peak(void)
{
    room_peak = qep_max_i64(room_peak, room_live + noted);
    const int64_t over = room_live + noted + qep_pages_kept() - room_peak;
    if (over > 0) qep_pages_release(over);
}

void qep_mem_release_kept(void)
{
    pthread_mutex_lock(&mem_lock);
    qep_pages_release(qep_pages_kept());
    pthread_mutex_unlock(&mem_lock);
}

/* Zeros, of a large block: those that the system brings with fresh pages stay untouched until they are used. NULL: there is no memory. */
static char *get_pages(int64_t total, block_head *h)
{
    int64_t used = 0;
    pthread_mutex_lock(&mem_lock);
    h->pages = qep_pages_get(total, &used);
    if (h->pages) {
        h->room = qep_pages_bytes(h->pages);
        room_live += h->room;
        keep_below_peak();
    }
    pthread_mutex_unlock(&mem_lock);
    if (!h->pages) return NULL;
    qep_clear(qep_pages_start(h->pages), qep_min_i64(used, total));
    return qep_pages_start(h->pages);
}

static char *get_small(int64_t total, block_head *h)
{
    h->raw = calloc(1, (size_t)total);
    if (!h->raw) return NULL;
    h->room = total;
    pthread_mutex_lock(&mem_lock);
    room_live += total;
    keep_below_peak();
    pthread_mutex_unlock(&mem_lock);
    return h->raw;
}

static char *get_block(int64_t total, block_head *h)
{
    char *(*get)(int64_t, block_head *) = total >= PAGES_FROM ? get_pages : get_small;
    char *raw = get(total, h);
    if (raw) return raw;
    qep_mem_release_kept();
    return get(total, h);
}

void *qep_alloc(const char *name, int64_t count, size_t size)
{
    int64_t bytes, total;
    if (count < 0) QEP_BUG("qep_alloc(\"%s\", %" PRId64 "): negative count", name, count);
    if (size > INT64_MAX || !qep_mul_i64(count, (int64_t)size, &bytes) ||
        !qep_add_i64(bytes, 2 * ALIGN, &total)) {
        out_of_memory(name, count, size);
    }
    block_head head = {.magic = live_magic, .bytes = bytes};
    char *raw = qep_fault_alloc(name) ? NULL : get_block(total, &head);
    if (!raw) out_of_memory(name, count, size);
    size_t to_boundary = (ALIGN - (uintptr_t)raw % ALIGN) % ALIGN;
    char *p = raw + to_boundary + ALIGN;
    head.name = count_block(name, bytes);
    *(block_head *)(void *)(p - ALIGN) = head;
    return p;
}

void *qep_realloc(void *p, const char *name, int64_t count, size_t size)
{
    void *q = qep_alloc(name, count, size);
    if (!p) return q;
    qep_copy(q, p, qep_min_i64(head_of(p)->bytes, head_of(q)->bytes));
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
    void *raw = h->raw;
    if (h->pages) qep_pages_put(h->pages);
    pthread_mutex_unlock(&mem_lock);
    free(raw);
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
    keep_below_peak();
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
