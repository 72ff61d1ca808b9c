/* Opening and reading plain files. SPDX-License-Identifier: Apache-2.0 */
#include "text_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

qep_status qep_open_fail(const char *path, int err)
{
    char why[128];
    if (strerror_r(err, why, sizeof why) != 0) why[0] = '\0';
    return qep_fail(err == ENOENT || err == ENOTDIR ? QEP_E_INPUT : QEP_E_IO, "cannot open %s: %s",
                    path, why);
}

qep_status qep_open(const char *path, int *fd)
{
    do {
        *fd = open(path, O_RDONLY | O_CLOEXEC);
    } while (*fd < 0 && errno == EINTR);
    return *fd < 0 ? qep_open_fail(path, errno) : QEP_OK;
}

qep_status qep_pread(const char *path, int fd, void *dst, int64_t n, int64_t at)
{
    char *p = dst;
    while (n > 0) {
        const ssize_t got = pread(fd, p, (size_t)qep_min_i64(n, INT_MAX / 2), (off_t)at);
        if (got < 0 && errno == EINTR) continue;
        if (got == 0) return qep_fail(QEP_E_INPUT, "%s: the file ends too early; copy it again", path);
        if (got < 0) {
            char why[128];
            if (strerror_r(errno, why, sizeof why) != 0) why[0] = '\0';
            return qep_fail(QEP_E_IO, "cannot read %s: %s", path, why);
        }
        p += got;
        n -= got;
        at += got;
    }
    return QEP_OK;
}
