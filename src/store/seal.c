/* Makes a finished file durable and publishes it in one step; drops an unfinished one.
 * SPDX-License-Identifier: Apache-2.0 */
#include "store_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* False when HDF5 could not write what it still had: then it keeps the file for ever. */
static bool close_file(qep_store *s)
{
    bool closed = H5Fclose(s->file) >= 0;

    if (!closed)
        qep_set_stuck();
    s->file = -1;
    return closed;
}

/* The mark of completeness comes last; flush and close check that everything left the process. */
static qep_status complete(qep_store *s)
{
    qep_status st = QEP_OK;
    /* both calls are collective: every rank makes both, whatever the first one says */
    bool marked = qep_store_set_u64(s->file, "complete", 1);
    bool flushed = H5Fflush(s->file, H5F_SCOPE_GLOBAL) >= 0;

    if (!marked || !flushed)
        st = qep_store_fail(QEP_E_IO, "cannot complete %s; is the disk full?", s->tmp);
    if (!close_file(s) && st == QEP_OK)
        st = qep_store_fail(QEP_E_IO, "cannot close %s", s->tmp);
    return st;
}

/* H5Fclose does not wait for the disk. */
static qep_status sync_file(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    qep_status st = QEP_OK;

    if (fd < 0 || fsync(fd) != 0)
        st = qep_fail(QEP_E_IO, "fsync of %s failed: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return st;
}

/* PATH also becomes PATH.prev. By a hard link PATH never vanishes; where the file system has no
 * links, by a rename: then only PATH.prev is there for a moment, which a restart takes. */
static qep_status keep_previous(const char *path, const char *prev)
{
    if (!qep_file_exists(path))
        return QEP_OK;
    QEP_TRY(qep_file_remove(prev));
    if (link(path, prev) == 0 || rename(path, prev) == 0)
        return QEP_OK;
    return qep_fail(QEP_E_IO, "cannot keep %s as %s: %s", path, prev, strerror(errno));
}

/* Root's part, after all ranks have closed the file. */
static qep_status publish(const qep_store *s, int keep)
{
    qep_status st = QEP_OK;
    char *prev = qep_strf("store", "%s.prev", s->path), *dir = qep_path_dir(s->path);

    if (keep >= 2)
        QEP_GO(st, keep_previous(s->path, prev));
    if (qep_fault("store.seal"))
        QEP_GO(st, qep_fail(QEP_E_IO, "cannot publish %s: injected fault", s->path));
    if (rename(s->tmp, s->path) != 0)
        QEP_GO(st, qep_fail(QEP_E_IO, "cannot rename %s to %s: %s", s->tmp, s->path,
                            strerror(errno)));
    QEP_GO(st, qep_fsync_dir(dir));
    if (keep < 2)
        st = qep_file_remove(prev);

done:
    qep_free(prev);
    qep_free(dir);
    return st;
}

static qep_status check_sealable(const qep_store *s)
{
    if (s->failed)
        return qep_fail(QEP_E_IO, "%s: an earlier write failed", s->tmp);
    if (qep_fault("store.seal"))
        return qep_fail(QEP_E_IO, "cannot complete %s: injected fault", s->tmp);
    return QEP_OK;
}

qep_status qep_store_seal_all(qep_store **store, int keep)
{
    qep_store *s = *store;
    qep_status st = QEP_OK;

    QEP_REQUIRE(s->tmp);
    QEP_GO(st, qep_agree_all(s->comm, check_sealable(s)));
    QEP_GO(st, qep_agree_all(s->comm, complete(s)));
    QEP_GO(st, qep_agree_all(s->comm, sync_file(s->tmp))); /* each node's own pages */
    st = qep_agree_all(s->comm, qep_rank(s->comm) == 0 ? QEP_ALONE("checkpoint", publish(s, keep)) : QEP_OK);

done:
    qep_store_close_all(store); /* removes what was not published */
    return st;
}

void qep_store_close_all(qep_store **store)
{
    qep_store *s = *store;

    if (!s)
        return;
    if (s->file >= 0)
        (void)close_file(s);
    qep_barrier_all(s->comm); /* nobody writes any more */
    if (s->tmp) {
        if (qep_rank(s->comm) == 0)
            (void)unlink(s->tmp); /* gone already when it was published */
        qep_barrier_all(s->comm); /* to every rank it is gone when this returns */
    }
    qep_free(s->tmp);
    qep_free(s->path);
    qep_free(s);
    *store = NULL;
}

static qep_status take_previous(const char *path)
{
    char *prev = qep_strf("store", "%s.prev", path), *dir = qep_path_dir(path);
    qep_status st = rename(prev, path) == 0 ? qep_fsync_dir(dir) : qep_fail(QEP_E_IO, "cannot rename %s to %s: %s", prev, path, strerror(errno));

    qep_free(prev);
    qep_free(dir);
    return st;
}

qep_status qep_store_take_previous_all(qep_comm *c, const char *path)
{
    return qep_agree_all(c, qep_rank(c) == 0 ? QEP_ALONE("checkpoint", take_previous(path)) : QEP_OK);
}

static qep_status remove_files(const char *path)
{
    static const char *const suffix[] = {".tmp", ".prev", ""};
    qep_status st = QEP_OK;

    for (int i = 0; i < 3 && st == QEP_OK; i++) {
        char *name = qep_strf("store", "%s%s", path, suffix[i]);

        st = qep_file_remove(name);
        qep_free(name);
    }
    return st;
}

qep_status qep_store_remove_all(qep_comm *c, const char *path)
{
    return qep_agree_all(c, qep_rank(c) == 0 ? QEP_ALONE("checkpoint", remove_files(path)) : QEP_OK);
}
