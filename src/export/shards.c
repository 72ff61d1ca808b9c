/* Files under their .partial and their final names. SPDX-License-Identifier: Apache-2.0 */
#include "export_priv.h"

#include <errno.h>
#include <string.h>

char *qep_output_path(const qep_export *e, const char *name, const char *suffix)
{
    return qep_strf("export.path", "%s/%s%s", e->output_dir, name, suffix);
}

bool qep_shard_is_final(const qep_export *e, int i)
{
    return qep_st_layout_file_matches(e->layout, i, e->output_dir, "");
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
