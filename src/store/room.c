/* Room on the disk for what HDF5 is going to write. When the disk fills while the ranks write HDF5's metadata together, the rank that sees it
 * leaves the collective call and the others wait for it for ever; so the space is had before, by a call that fails on root alone.
 * SPDX-License-Identifier: Apache-2.0 */
#include "store_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* HDF5's own behind one dataset: object headers, attributes, the table of a group. */
enum { METADATA = 64 << 10 };

static qep_status reserve(qep_store *s, int64_t bytes)
{
    /* HDF5's own before and behind the new dataset, which may begin at the next multiple */
    int64_t end = s->end + METADATA + (bytes >= QEP_STORE_ALIGNMENT ? QEP_STORE_ALIGNMENT : 0) + bytes + METADATA;
    char text[32];
    int fd, e = 0;

    if (qep_fault("store.room"))
        return qep_fail(QEP_E_IO, "no room for %s: injected fault", s->tmp);
    if (end <= s->room)
        return QEP_OK;
    fd = open(s->tmp, O_WRONLY | O_CLOEXEC);
    e = fd < 0 ? errno : qep_file_reserve(fd, s->room, end - s->room);
    if (fd >= 0)
        close(fd);
    if (e != 0)
        return qep_fail(QEP_E_IO, "no room for %s (%s): %s; free space or quota", s->tmp, qep_format_bytes(end, text, sizeof text), strerror(e));
    s->room = end;
    return QEP_OK;
}

qep_status qep_store_make_room_all(qep_store *s, int64_t bytes)
{
    return qep_agree_all(s->comm, qep_rank(s->comm) == 0 ? QEP_ALONE("checkpoint", reserve(s, bytes)) : QEP_OK);
}
