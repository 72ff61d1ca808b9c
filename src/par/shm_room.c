/* Is there room for shared memory? Shared windows live in a memory file system. Where that is
 * full or limited (containers give 64 MiB), the mapping succeeds all the same and the first
 * write ends in SIGBUS without a word. So: ask the file system and the kernel before, and touch
 * all pages with a call that reports the failure after.
 * SPDX-License-Identifier: Apache-2.0 */
#define _DEFAULT_SOURCE /* madvise */
#include "par_priv.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { SLACK = 256 << 10 }; /* bytes for MPI's own state beside the data */

/* Open MPI's osc/sm puts the backing file there unless this MCA parameter says otherwise (mpirun
 * --mca arrives in the environment); when it cannot write there it takes its session directory,
 * which the touching of the pages covers. */
static const char *backing_directory(void)
{
    const char *dir = getenv("OMPI_MCA_osc_sm_backing_directory");
    return dir && *dir ? dir : "/dev/shm";
}

/* The message of every lack: who, what, how much; `why` continues the sentence. */
static qep_status too_little(const qep_comm *c, const char *name, int64_t bytes, const char *why)
{
    char want[32];
    return qep_fail(QEP_E_RESOURCE,
                    "host %s: \"%s\" needs %s (%lld bytes) of memory shared by the node's ranks, "
                    "but %s",
                    c->host, name, qep_format_bytes(bytes, want, sizeof want), (long long)bytes,
                    why);
}

qep_status qep_par_shm_room(const qep_comm *c, const char *name, int64_t bytes)
{
    char why[512], have[32];
    if (qep_fault("par.window")) return too_little(c, name, bytes, "a fault was injected");
    int64_t memory = qep_mem_available();
    if (memory >= 0 && memory < bytes) {
        snprintf(why, sizeof why, "only %s are available there; use nodes with more memory",
                 qep_format_bytes(memory, have, sizeof have));
        return too_little(c, name, bytes, why);
    }
    const char *dir = backing_directory();
    struct statvfs fs;
    if (statvfs(dir, &fs) != 0) return QEP_OK; /* MPI finds another place, or says why not */
    const uint64_t unit = fs.f_frsize > 0 ? fs.f_frsize : fs.f_bsize;
    if (((uint64_t)bytes + SLACK) / unit < (uint64_t)fs.f_bavail) return QEP_OK;
    snprintf(why, sizeof why,
             "%s has only %s free; enlarge it (mount -o remount,size=..., docker "
             "--shm-size=...), remove leftovers of killed jobs there, or name a larger memory "
             "file system: mpirun --mca osc_sm_backing_directory DIR",
             dir, qep_format_bytes((int64_t)((uint64_t)fs.f_bavail * unit), have, sizeof have));
    return too_little(c, name, bytes, why);
}

qep_status qep_par_shm_populate(const qep_comm *c, const char *name, int64_t bytes, void *part,
                                int64_t part_bytes)
{
#ifdef MADV_POPULATE_WRITE /* Linux 5.14; elsewhere the check before must do */
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t skip = (uintptr_t)part % page; /* mappings begin on a page, at or before part */
    size_t length = (size_t)part_bytes + skip;
    if (part_bytes > 0 && madvise((char *)part - skip, length, MADV_POPULATE_WRITE) != 0 &&
        errno != EINVAL) {
        char why[512];
        snprintf(why, sizeof why,
                 "its pages could not be had (%s); enlarge %s or use nodes with more memory",
                 errno == EFAULT ? "file system full" : strerror(errno), backing_directory());
        return too_little(c, name, bytes, why);
    }
#else
    (void)c, (void)name, (void)bytes, (void)part, (void)part_bytes;
#endif
    return QEP_OK;
}
