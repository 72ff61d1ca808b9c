/* Publishing: all files complete under .partial names, then renamed, config.json last, so that a
 * directory with its config.json is a finished model. SPDX-License-Identifier: Apache-2.0 */
#include "export_priv.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

static qep_status write_text(const qep_export *e, const char *name, const char *text)
{
    char *path = qep_output_path(e, name, QEP_PARTIAL);
    qep_status st = qep_file_write(path, text, (int64_t)strlen(text));

    qep_free(path);
    return st;
}

/* Everything besides the shards; config.json.partial is the sign that all files are complete. */
static qep_status write_small(const qep_export *e, const qep_side *side)
{
    if (e->index_text)
        QEP_TRY(write_text(e, QEP_INDEX_NAME, e->index_text));
    if (e->quantize_text)
        QEP_TRY(write_text(e, QEP_QUANTIZE_NAME, e->quantize_text));
    for (int64_t i = 0; i < side->n; i++)
        QEP_TRY(qep_side_copy(e, side->names[i]));
    QEP_TRY(qep_fsync_dir(e->output_dir));
    return write_text(e, QEP_CONFIG_NAME, e->config_text);
}

static qep_status rename_everything(const qep_export *e, const qep_side *side)
{
    for (int i = 0; i < qep_st_layout_n_files(e->layout); i++)
        QEP_TRY(qep_rename_final(e, qep_st_layout_file(e->layout, i)));
    if (e->index_text)
        QEP_TRY(qep_rename_final(e, QEP_INDEX_NAME));
    if (e->quantize_text)
        QEP_TRY(qep_rename_final(e, QEP_QUANTIZE_NAME));
    for (int64_t i = 0; i < side->n; i++)
        QEP_TRY(qep_rename_final(e, side->names[i]));
    QEP_TRY(qep_fsync_dir(e->output_dir));
    QEP_TRY(qep_rename_final(e, QEP_CONFIG_NAME));
    return qep_fsync_dir(e->output_dir);
}

/* A file of the former output that would be taken for a part of the new one. */
static bool is_stale(const qep_export *e, const char *name)
{
    if (strcmp(name, QEP_INDEX_NAME) == 0)
        return !e->index_text;
    if (strcmp(name, QEP_QUANTIZE_NAME) == 0)
        return !e->quantize_text;
    if (!qep_ends_with(name, ".safetensors") && !qep_ends_with(name, ".safetensors" QEP_PARTIAL))
        return false;
    for (int i = 0; i < qep_st_layout_n_files(e->layout); i++)
        if (strcmp(name, qep_st_layout_file(e->layout, i)) == 0)
            return false;
    return true;
}

static qep_status remove_stale(const qep_export *e)
{
    qep_status st = QEP_OK;
    DIR *d = opendir(e->output_dir);

    if (!d)
        return qep_fail(QEP_E_IO, "cannot list the output directory %s: %s", e->output_dir,
                        strerror(errno));
    for (struct dirent *f = readdir(d); f && st == QEP_OK; f = readdir(d)) {
        char *path;

        if (!is_stale(e, f->d_name))
            continue;
        path = qep_output_path(e, f->d_name, "");
        st = qep_file_remove(path);
        qep_free(path);
    }
    closedir(d);
    return st == QEP_OK ? qep_fsync_dir(e->output_dir) : st;
}

static qep_status publish(const qep_export *e)
{
    qep_side side = {0};
    qep_status st;

    QEP_TRY(qep_side_list(e, &side));
    QEP_GO(st, write_small(e, &side));
    QEP_GO(st, rename_everything(e, &side));
    if (e->overwrite)
        st = remove_stale(e);

done:
    qep_side_free(&side);
    return st;
}

qep_status qep_export_publish_all(qep_comm *c, qep_export *e)
{
    QEP_REQUIRE(e->writer);
    QEP_TRY(qep_agree_all(c, qep_st_writer_close(&e->writer)));
    return qep_agree_all(c, qep_rank(c) == 0 ? publish(e) : QEP_OK);
}
