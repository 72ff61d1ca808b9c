/* The former output while a new one is published: its files step aside as NAME.old, come back when
 * publishing fails, and go when it has succeeded. At every moment the former or the new model is
 * there in full. SPDX-License-Identifier: Apache-2.0 */
#include "export_priv.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

/* True for a name that publishing replaces or makes obsolete: everything that a loader looks at,
 * and the summary that says what the directory holds. */
static bool steps_aside(const qep_export *e, const qep_side *side, const char *name)
{
    static const char *const names[] = {QEP_CONFIG_NAME, QEP_INDEX_NAME, QEP_QUANTIZE_NAME,
                                        QEP_SUMS_NAME, "summary.json"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    for (int64_t i = 0; i < side->n; i++)
        if (strcmp(name, side->names[i]) == 0)
            return true;
    for (int i = 0; i < qep_st_layout_n_files(e->layout); i++)
        if (strcmp(name, qep_st_layout_file(e->layout, i)) == 0)
            return true;
    return qep_ends_with(name, ".safetensors") || qep_ends_with(name, ".gguf");
}

/* Names in the output directory: the .old ones, or those that step aside; qep_side_free. */
static qep_status list_dir(const qep_export *e, const qep_side *side, bool old, qep_side *out)
{
    DIR *d = opendir(e->output_dir);

    *out = (qep_side){0};
    if (!d)
        return errno == ENOENT ? QEP_OK
                               : qep_fail(QEP_E_IO, "cannot list the output directory %s: %s",
                                          e->output_dir, strerror(errno));
    for (struct dirent *f = readdir(d); f; f = readdir(d)) {
        bool is_old = qep_ends_with(f->d_name, QEP_OLD);

        if (old ? !is_old : is_old || !steps_aside(e, side, f->d_name))
            continue;
        out->names = qep_realloc(out->names, "export.side", out->n + 1, sizeof *out->names);
        out->names[out->n++] = qep_strdup("export.side", f->d_name);
    }
    closedir(d);
    return QEP_OK;
}

qep_status qep_set_aside(const qep_export *e, const qep_side *side)
{
    qep_side found;
    qep_status st;

    QEP_TRY(list_dir(e, side, false, &found));
    st = QEP_OK;
    for (int64_t i = 0; i < found.n && st == QEP_OK; i++) {
        char *from = qep_output_path(e, found.names[i], "");
        char *to = qep_output_path(e, found.names[i], QEP_OLD);

        /* an .old file is of a publishing that was cut short: NAME is then part of the new output */
        if (!qep_file_exists(to))
            st = qep_rename_file(from, to);
        qep_free(to);
        qep_free(from);
    }
    qep_side_free(&found);
    return st == QEP_OK ? qep_fsync_dir(e->output_dir) : st;
}

/* Every NAME.old becomes NAME again, or is removed. */
static qep_status each_old(const qep_export *e, bool put_back)
{
    qep_side found, none = {0};
    qep_status st;

    QEP_TRY(list_dir(e, &none, true, &found));
    st = QEP_OK;
    for (int64_t i = 0; i < found.n && st == QEP_OK; i++) {
        char *old = qep_output_path(e, found.names[i], "");
        char *path = qep_strdup("export.path", old);

        path[strlen(path) - strlen(QEP_OLD)] = '\0';
        st = put_back ? qep_rename_file(old, path) : qep_file_remove(old);
        qep_free(path);
        qep_free(old);
    }
    if (found.n > 0 && st == QEP_OK)
        st = qep_fsync_dir(e->output_dir);
    qep_side_free(&found);
    return st;
}

qep_status qep_put_back_old(const qep_export *e)
{
    return each_old(e, true);
}

qep_status qep_remove_old(const qep_export *e)
{
    return each_old(e, false);
}
