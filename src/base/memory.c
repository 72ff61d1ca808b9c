/* What memory the machine, or the job's share of it, has to give. SPDX-License-Identifier: Apache-2.0 */
#include "qep/base.h"

#include <stdlib.h>
#include <string.h>

enum { LINE = 4096 };

/* The number behind `key` at the start of a line of a small file, or with key "" the file's first; -1: there is none. */
static int64_t number_in(const char *path, const char *key)
{
    FILE *f = fopen(path, "r");
    if (!f) return -1;
    char line[256];
    const size_t n = strlen(key);
    int64_t value = -1;
    while (value < 0 && fgets(line, sizeof line, f)) {
        char *end = line;
        if (strncmp(line, key, n) != 0) continue;
        const long long v = strtoll(line + n, &end, 10);
        if (end != line + n) value = v;
    }
    fclose(f);
    return value;
}

/* How one version of control groups names things. */
typedef struct hierarchy {
    const char *controller, *folder, *limit, *used, *cache[2]; /* cache: what files have in memory, which the kernel takes back before it refuses any */
} hierarchy;

static const hierarchy v2 = {"", "", "memory.max", "memory.current", {"inactive_file ", "active_file "}},
                       v1 = {"memory", "/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", {"total_inactive_file ", "total_active_file "}};

/* The smaller one of two; -1 is no limit. */
static int64_t least_of(int64_t a, int64_t b)
{
    return a < 0 || (b >= 0 && b < a) ? b : a;
}

static int64_t number_of(const char *sys, const hierarchy *h, const char *group, const char *file, const char *key)
{
    char path[2 * LINE];
    (void)snprintf(path, sizeof path, "%s%s%s/%s", sys, h->folder, group, file);
    return number_in(path, key);
}

/* What the group at sys + h->folder + group leaves; -1: no limit. */
static int64_t room_of(const char *sys, const hierarchy *h, const char *group)
{
    const int64_t limit = number_of(sys, h, group, h->limit, "");
    if (limit < 0 || limit >= INT64_MAX / 2) return -1; /* "max", or v1's number for it; most groups: nothing else is read then */
    const int64_t used = number_of(sys, h, group, h->used, "");
    if (used < 0) return -1;
    int64_t room = limit - used;
    for (int i = 0; i < 2; i++) room += qep_max_i64(0, number_of(sys, h, group, "memory.stat", h->cache[i]));
    return qep_max_i64(0, room);
}

/* The least that a group or one above it leaves; -1: none has a limit. group is cut short. */
static int64_t least_room(const char *sys, const hierarchy *h, char *group)
{
    int64_t least = -1;
    for (;;) {
        least = least_of(least, room_of(sys, h, group));
        char *slash = strrchr(group, '/');
        if (!slash) return least;
        *slash = '\0';
    }
}

/* Whether a list "a,memory,b" names the controller; v2's list is empty. */
static bool names(const char *list, size_t n, const char *controller)
{
    const size_t len = strlen(controller);
    if (len == 0) return n == 0;
    for (const char *p = list, *end = list + n; p < end;) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        const size_t word = (size_t)((comma ? comma : end) - p);
        if (word == len && strncmp(p, controller, len) == 0) return true;
        p += word + 1;
    }
    return false;
}

int64_t qep_mem_cgroup(const char *proc, const char *sys)
{
    FILE *f = fopen(proc, "r"); /* lines "number:controllers:group" */
    if (!f) return -1;
    char line[LINE];
    int64_t least = -1;
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        const char *list = strchr(line, ':');
        char *group = list ? strchr(list + 1, ':') : NULL;
        if (!group) continue;
        const size_t n = (size_t)(group - list - 1);
        for (int i = 0; i < 2; i++) {
            const hierarchy *h = i == 0 ? &v2 : &v1;
            if (names(list + 1, n, h->controller)) least = least_of(least, least_room(sys, h, group + 1));
        }
    }
    fclose(f);
    return least;
}

int64_t qep_mem_available(void)
{
    const int64_t kib = number_in("/proc/meminfo", "MemAvailable:");
    return least_of(kib < 0 ? -1 : kib * 1024, qep_mem_cgroup("/proc/self/cgroup", "/sys/fs/cgroup"));
}
