/* Preloaded (LD_PRELOAD) into one rank by tests/run/test_power.sh: keeps what a power failure would leave of a folder, and makes the clock jump.
 *
 *   QEP_SHADOW_OF   the folder (absolute), whose files count
 *   QEP_SHADOW      another folder, for the record:
 *     data/INODE    content of a file as of its last fsync
 *     names/DIR     "NAME INODE" of a directory's entries as of its last fsync; DIR with '/' as '+'
 *     events        a line for each fsync, rename, link and unlink there, in order
 *   QEP_CRASH_AT    the process ends by SIGKILL in front of this event (1-based)
 *   QEP_CLOCK_JUMPS time() and the real-time clock jump by days, forward and back, from call to call
 *
 * A file that is created or cut off has no content until it is synced: what may be there earlier is left out of the record, which is the
 * worst a file system may do. SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define REAL(result, name, ...) ((result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name))

static const char *shadow(void) { return getenv("QEP_SHADOW"); }

/* True for the folder itself and what lies in it. */
static int watched(const char *path)
{
    const char *root = getenv("QEP_SHADOW_OF");
    char full[PATH_MAX], dir[PATH_MAX];
    if (!root || !shadow() || !path) return 0;
    snprintf(dir, sizeof dir, "%s", path);
    if (!realpath(path, full)) { /* not there (any more): its folder decides */
        char *slash = strrchr(dir, '/');
        if (slash) *slash = '\0';
        if (!realpath(slash ? dir : ".", full)) return 0;
    }
    size_t n = strlen(root);
    return strncmp(full, root, n) == 0 && (full[n] == '/' || full[n] == '\0');
}

static int path_of(int fd, char *path)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    if (n < 0) return 0;
    path[n] = '\0';
    return 1;
}

static void event(const char *what, const char *path)
{
    static long count;
    const char *at = getenv("QEP_CRASH_AT");
    char name[PATH_MAX];
    if (at && ++count == atol(at)) raise(SIGKILL);
    snprintf(name, sizeof name, "%s/events", shadow());
    FILE *f = fopen(name, "a");
    if (!f) return;
    fprintf(f, "%s %s\n", what, path);
    fclose(f);
}

/* --- what is durable ------------------------------------------------------------------------------------------- */

static void record_data(int fd, ino_t inode)
{
    char name[PATH_MAX], part[1 << 16];
    snprintf(name, sizeof name, "%s/data/%llu", shadow(), (unsigned long long)inode);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd); /* readable even when fd is open for writing only */
    FILE *in = fopen(path, "rb"), *out = fopen(name, "wb");
    for (size_t n; in && out && (n = fread(part, 1, sizeof part, in)) > 0;) fwrite(part, 1, n, out);
    if (in) fclose(in);
    if (out) fclose(out);
}

static void record_names(const char *path)
{
    char name[PATH_MAX], flat[PATH_MAX];
    snprintf(flat, sizeof flat, "%s", path);
    for (char *p = flat; *p; p++)
        if (*p == '/') *p = '+';
    snprintf(name, sizeof name, "%s/names/%.3000s", shadow(), flat);
    DIR *d = opendir(path);
    FILE *out = fopen(name, "w");
    for (struct dirent *e; d && out && (e = readdir(d)) != NULL;)
        if (e->d_type == DT_REG) fprintf(out, "%s %llu\n", e->d_name, (unsigned long long)e->d_ino);
    if (d) closedir(d);
    if (out) fclose(out);
}

/* A file that begins empty: nothing of an earlier one with its inode counts. */
static void forget(int fd)
{
    struct stat sb;
    char name[PATH_MAX];
    if (fd < 0 || fstat(fd, &sb) != 0 || sb.st_size != 0 || !S_ISREG(sb.st_mode)) return;
    snprintf(name, sizeof name, "%s/data/%llu", shadow(), (unsigned long long)sb.st_ino);
    REAL(int, "unlink", const char *)(name);
}

/* --- calls ------------------------------------------------------------------------------------------------------- */

static int synced(int fd, const char *call)
{
    char path[PATH_MAX];
    struct stat sb;
    const int counts = shadow() && path_of(fd, path) && watched(path) && fstat(fd, &sb) == 0;
    if (counts) event(call, path);
    int result = REAL(int, call, int)(fd);
    if (!counts || result != 0) return result;
    if (S_ISDIR(sb.st_mode)) record_names(path);
    else record_data(fd, sb.st_ino);
    return result;
}

int fsync(int fd) { return synced(fd, "fsync"); }
int fdatasync(int fd) { return synced(fd, "fdatasync"); }

int rename(const char *from, const char *to)
{
    if (watched(to)) event("rename", to);
    return REAL(int, "rename", const char *, const char *)(from, to);
}

int link(const char *from, const char *to)
{
    if (watched(to)) event("link", to);
    return REAL(int, "link", const char *, const char *)(from, to);
}

int unlink(const char *path)
{
    if (watched(path)) event("unlink", path);
    return REAL(int, "unlink", const char *)(path);
}

static int opened(const char *call, const char *path, int flags, mode_t mode)
{
    int fd = REAL(int, call, const char *, int, mode_t)(path, flags, mode);
    if (flags & (O_CREAT | O_TRUNC) && shadow() && watched(path)) forget(fd);
    return fd;
}

#define OPEN(name)                                          \
    int name(const char *path, int flags, ...)              \
    {                                                       \
        va_list ap;                                         \
        va_start(ap, flags);                                \
        mode_t mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0; \
        va_end(ap);                                         \
        return opened(#name, path, flags, mode);            \
    }
OPEN(open)
OPEN(open64)

/* --- clock --------------------------------------------------------------------------------------------------------- */

static time_t jump(void)
{
    static unsigned calls;
    static const int days[] = {0, 3, -2, 40, -365, 1};
    return getenv("QEP_CLOCK_JUMPS") ? (time_t)86400 * days[calls++ % 6] : 0;
}

int clock_gettime(clockid_t clock, struct timespec *t)
{
    int result = REAL(int, "clock_gettime", clockid_t, struct timespec *)(clock, t);
    if (result == 0 && clock == CLOCK_REALTIME) t->tv_sec += jump();
    return result;
}

time_t time(time_t *out)
{
    time_t now = REAL(time_t, "time", time_t *)(NULL) + jump();
    if (out) *out = now;
    return now;
}
