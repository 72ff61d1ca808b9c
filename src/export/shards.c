/* Files under their .partial and their final names. SPDX-License-Identifier: Apache-2.0 */
#include "export_priv.h"

#include <errno.h>
#include <string.h>

char *qep_output_path(const qep_export *e, const char *name, const char *suffix)
{
    return qep_strf("export.path", "%s/%s%s", e->output_dir, name, suffix);
}

static bool same_tensor(const qep_st_tensor *a, const qep_st_tensor *b)
{
    bool same = a->dtype == b->dtype && a->rank == b->rank && a->offset == b->offset &&
                a->bytes == b->bytes;

    for (int i = 0; same && i < a->rank; i++)
        same = a->shape[i] == b->shape[i];
    return same;
}

static bool same_file(const qep_st_layout *l, int i, const qep_st_set *s)
{
    const char *stamp = qep_json_string(qep_json_get(qep_st_metadata(s, 0), QEP_ST_STAMP_KEY));
    int64_t planned = 0;

    if (!stamp || strcmp(stamp, qep_st_layout_stamp(l)) != 0)
        return false;
    if (qep_st_file_bytes(s, 0) != qep_st_layout_file_bytes(l, i))
        return false;
    for (int64_t k = 0; k < qep_st_layout_count(l); k++) {
        const qep_st_tensor *t = qep_st_layout_at(l, k);
        const qep_st_tensor *seen = t->shard == i ? qep_st_find(s, t->name) : NULL;

        if (t->shard != i)
            continue;
        planned++;
        if (!seen || !same_tensor(t, seen))
            return false;
    }
    return planned == qep_st_count(s);
}

bool qep_shard_is_final(const qep_export *e, int i)
{
    char *path = qep_output_path(e, qep_st_layout_file(e->layout, i), "");
    qep_st_set *s = NULL;
    bool same = false;

    if (qep_file_exists(path) && qep_st_open_file(path, &s) == QEP_OK)
        same = same_file(e->layout, i, s);
    qep_error_clear(); /* a file that is not sound is simply not ours */
    qep_st_close(&s);
    qep_free(path);
    return same;
}

bool qep_publish_was_cut(const qep_export *e)
{
    char *path = qep_output_path(e, QEP_CONFIG_NAME, QEP_PARTIAL);
    bool cut = qep_file_exists(path);

    qep_free(path);
    return cut;
}

qep_status qep_rename_file(const char *from, const char *to)
{
    bool fault = qep_fault("export.rename");

    if (!fault && rename(from, to) == 0)
        return QEP_OK;
    return qep_fail(QEP_E_IO, "cannot rename %s to %s: %s", from, qep_path_base(to),
                    strerror(fault ? EIO : errno));
}

qep_status qep_rename_final(const qep_export *e, const char *name)
{
    char *from = qep_output_path(e, name, QEP_PARTIAL), *to = qep_output_path(e, name, "");
    qep_status st = qep_rename_file(from, to);

    qep_free(from);
    qep_free(to);
    return st;
}

qep_status qep_unpublish(const qep_export *e)
{
    qep_status st = QEP_OK;
    bool any = false;

    for (int i = 0; i < qep_st_layout_n_files(e->layout) && st == QEP_OK; i++) {
        const char *name = qep_st_layout_file(e->layout, i);
        char *partial = qep_output_path(e, name, QEP_PARTIAL);
        char *path = qep_output_path(e, name, "");

        if (!qep_file_exists(partial) && qep_shard_is_final(e, i)) {
            st = qep_rename_file(path, partial);
            any = true;
        }
        qep_free(path);
        qep_free(partial);
    }
    return any && st == QEP_OK ? qep_fsync_dir(e->output_dir) : st;
}
