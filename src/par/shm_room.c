/* Is there room for shared memory? Shared windows live in a memory file system. Where that is full or
 * limited (containers give 64 MiB), the mapping succeeds all the same and the first write ends in SIGBUS
 * without a word. So: ask the file system and the kernel before, and touch all pages with a call that
 * reports the failure after. SPDX-License-Identifier: Apache-2.0 */
#define _DEFAULT_SOURCE /* madvise */
#include "par_priv.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* Open MPI's osc/sm puts the backing file there unless this MCA parameter says otherwise (mpirun --mca
 * arrives in the environment); when it cannot write there it takes its session directory, which the
 * touching of the pages covers. */
static const char *backing_directory(void)
{
    const char *dir = getenv("OMPI_MCA_osc_sm_backing_directory");
    return dir && *dir ? dir : "/dev/shm";
}

/* Bytes that the kernel says can be had without swapping; -1 when unknown. */
static int64_t memory_available(void)
{
    FILE *f = fopen("/proc/meminfo", "r");
    if (!f) return -1;
    char line[128];
    const char key[] = "MemAvailable:";
    int64_t bytes = -1;
    while (bytes < 0 && fgets(line, sizeof line, f))
        if (strncmp(line, key, sizeof key - 1) == 0)
            bytes = strtoll(line + sizeof key - 1, NULL, 10) * 1024;
    fclose(f);
    return bytes;
}

qep_status qep_par_shm_room(const qep_comm *c, const char *name, int64_t bytes)
{
    char want[32], have[32];
    qep_format_bytes(bytes, want, sizeof want);
    if (qep_fault("par.window"))
        return qep_fail(QEP_E_RESOURCE, "host %s: no shared memory for \"%s\" (%s, %lld bytes): fault injected",
                        c->host, name, want, (long long)bytes);
    int64_t memory = memory_available();
    if (memory >= 0 && memory < bytes)
        return qep_fail(QEP_E_RESOURCE,
                        "host %s: \"%s\" needs %s (%lld bytes) of memory shared by the ranks of the node, but "
                        "only %s are available; use nodes with more memory",
                        c->host, name, want, (long long)bytes,
                        qep_format_bytes(memory, have, sizeof have));
    const char *dir = backing_directory();
    struct statvfs fs;
    if (statvfs(dir, &fs) != 0) return QEP_OK; /* MPI finds another place, or says why not */
    const uint64_t unit = fs.f_frsize > 0 ? fs.f_frsize : fs.f_bsize;
    if ((uint64_t)bytes / unit < (uint64_t)fs.f_bavail) return QEP_OK;
    return qep_fail(QEP_E_RESOURCE,
                    "host %s: \"%s\" needs %s (%lld bytes) of shared memory, but %s has only %s free; enlarge it "
                    "(mount -o remount,size=..., docker --shm-size=...), remove leftovers of killed jobs there, "
                    "or name a larger memory file system: mpirun --mca osc_sm_backing_directory DIR",
                    c->host, name, want, (long long)bytes, dir,
                    qep_format_bytes((int64_t)((uint64_t)fs.f_bavail * unit), have, sizeof have));
}

qep_status qep_par_shm_populate(const qep_comm *c, const char *name, void *data, int64_t bytes)
{
#ifdef MADV_POPULATE_WRITE /* Linux 5.14; elsewhere the check before must do */
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    char *from = (char *)data - (uintptr_t)data % page; /* the mapping begins on a page, at or before data */
    size_t length = (size_t)((char *)data - from) + (size_t)bytes;
    if (bytes > 0 && madvise(from, length, MADV_POPULATE_WRITE) != 0 && errno != EINVAL)
        return qep_fail(QEP_E_RESOURCE,
                        "host %s: shared memory for \"%s\" ran out while touching %lld bytes of it: %s; enlarge %s "
                        "or use nodes with more memory",
                        c->host, name, (long long)bytes, strerror(errno), backing_directory());
#else
    (void)c, (void)name, (void)data, (void)bytes;
#endif
    return QEP_OK;
}
