/* Publishing: all files complete under .partial names; the former output steps aside; then the new
 * files are renamed, config.json last, so that a directory with its config.json is a finished model. SPDX-License-Identifier: Apache-2.0 */
#include "gguf_priv.h"

#include <string.h>

static qep_status write_text(const qep_export *e, const char *name, const char *text)
{
    char *path = qep_output_path(e, name, QEP_PARTIAL);
    qep_status st = qep_file_write(path, text, (int64_t)strlen(text));

    qep_free(path);
    return st;
}

/* The checksums of the tensors, and of the small files as they have been copied. */
static qep_status write_sums(const qep_export *e, const qep_side *side)
{
    qep_json *files = qep_json_new_object();
    qep_status st = qep_side_sums(e, side, files);
    char *text;

    qep_json_set(e->sums, "files", files);
    QEP_TRY(st);
    text = qep_json_text(e->sums, true);
    st = write_text(e, QEP_SUMS_NAME, text);
    qep_free(text);
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
    QEP_TRY(write_sums(e, side));
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
    QEP_TRY(qep_rename_final(e, QEP_SUMS_NAME));
    for (int64_t i = 0; i < side->n; i++)
        QEP_TRY(qep_rename_final(e, side->names[i]));
    QEP_TRY(qep_fsync_dir(e->output_dir));
    QEP_TRY(qep_rename_final(e, QEP_CONFIG_NAME));
    return qep_fsync_dir(e->output_dir);
}

/* After a failure: what was renamed becomes .partial again, and the former output comes back. */
static void take_back(const qep_export *e, const qep_side *side)
{
    static const char *const names[] = {QEP_CONFIG_NAME, QEP_INDEX_NAME, QEP_QUANTIZE_NAME,
                                        QEP_SUMS_NAME};
    qep_status st = qep_unpublish(e);

    for (size_t i = 0; i < sizeof names / sizeof *names && st == QEP_OK; i++)
        st = qep_remove_published(e, names[i]);
    for (int64_t i = 0; i < side->n && st == QEP_OK; i++)
        st = qep_remove_published(e, side->names[i]);
    if (st == QEP_OK)
        st = qep_put_back_old(e);
    if (st != QEP_OK)
        qep_warn("the former files in %s could not all be put back; they are there as NAME%s",
                 e->output_dir, QEP_OLD);
}

static qep_status replace(const qep_export *e, const qep_side *side)
{
    qep_status st = qep_set_aside(e, side);

    if (st == QEP_OK)
        st = rename_everything(e, side);
    if (st != QEP_OK) {
        char *text = qep_strdup("export.path", qep_error_text());

        take_back(e, side);
        st = qep_fail(st, "%s", text); /* the first failure is the one to tell */
        qep_free(text);
        return st;
    }
    return qep_remove_old(e);
}

static qep_status publish(const qep_export *e)
{
    qep_side side = {0};
    qep_status st;

    QEP_TRY(qep_side_list(e, &side));
    QEP_GO(st, write_small(e, &side));
    st = replace(e, &side);

done:
    qep_side_free(&side);
    return st;
}

qep_status qep_export_publish_all(qep_comm *c, qep_export *e)
{
    QEP_REQUIRE(e->writer);
    qep_part_begin("sync");
    QEP_TRY(qep_agree_all(c, qep_st_writer_close(&e->writer)));
    qep_part_end();
    qep_part_begin("checksums");
    QEP_TRY(qep_sums_make_all(c, e));
    qep_part_end();
    qep_gguf_tell_rounding_all(c, e);
    return qep_agree_all(c, qep_rank(c) == 0 ? QEP_ALONE("publish", publish(e)) : QEP_OK);
}
