/* The output directory before the work: may it be used, is there room; making, finding again and
 * discarding the .partial files. SPDX-License-Identifier: Apache-2.0 */
#include "export_priv.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static qep_status check_is_other(const qep_export *e)
{
    struct stat a, b;

    if (stat(e->source_dir, &a) == 0 && stat(e->output_dir, &b) == 0 && a.st_dev == b.st_dev &&
        a.st_ino == b.st_ino)
        return qep_fail(QEP_E_CONFIG, "output.path %s is the model's own directory; choose another "
                        "path", e->output_dir);
    return QEP_OK;
}

static bool is_index(const char *name)
{
    return strcmp(name, QEP_INDEX_NAME) == 0 || strcmp(name, QEP_QUANTIZE_NAME) == 0;
}

/* A file of a model that must not be replaced without being asked. What our own publishing had
 * renamed before it was cut short is not another model. */
static bool is_foreign(const qep_export *e, const char *name, bool cut)
{
    if (strcmp(name, QEP_CONFIG_NAME) == 0)
        return true;
    if (is_index(name))
        return !cut;
    if (!qep_ends_with(name, ".safetensors") && !qep_ends_with(name, ".gguf"))
        return false;
    for (int i = 0; cut && i < qep_st_layout_n_files(e->layout); i++)
        if (strcmp(name, qep_st_layout_file(e->layout, i)) == 0)
            return !qep_shard_is_final(e, i);
    return true;
}

static qep_status check_content(const qep_export *e)
{
    bool cut = qep_publish_was_cut(e);
    qep_status st = QEP_OK;
    DIR *d = opendir(e->output_dir);

    if (!d && errno == ENOENT)
        return QEP_OK;
    if (!d)
        return qep_fail(QEP_E_IO, "cannot list the output directory %s: %s", e->output_dir,
                        strerror(errno));
    for (struct dirent *f = readdir(d); f && st == QEP_OK; f = readdir(d))
        if (is_foreign(e, f->d_name, cut))
            st = qep_fail(QEP_E_CONFIG, "%s/%s exists: set [output] overwrite = yes or choose "
                          "another path", e->output_dir, f->d_name);
    closedir(d);
    return st;
}

/* Bytes on the disk of shards that a former run of this plan has reserved. */
static int64_t reserved_bytes(const qep_export *e)
{
    bool cut = qep_publish_was_cut(e);
    int64_t bytes = 0;

    for (int i = 0; i < qep_st_layout_n_files(e->layout); i++) {
        const char *name = qep_st_layout_file(e->layout, i);
        char *partial = qep_output_path(e, name, QEP_PARTIAL);
        char *path = qep_output_path(e, name, "");
        struct stat sb;

        if (stat(partial, &sb) == 0 || (cut && qep_shard_is_final(e, i) && stat(path, &sb) == 0))
            bytes += qep_min_i64((int64_t)sb.st_blocks * 512,
                                 qep_st_layout_file_bytes(e->layout, i));
        qep_free(path);
        qep_free(partial);
    }
    return bytes;
}

static qep_status check_space(const qep_export *e, const char *dir)
{
    struct statvfs fs;
    qep_side side = {0};
    int64_t need, room;
    char need_text[32], room_text[32];

    QEP_TRY(qep_side_list(e, &side));
    need = qep_export_disk_bytes(e) + side.bytes - reserved_bytes(e);
    qep_side_free(&side);
    if (statvfs(dir, &fs) != 0)
        return qep_fail(QEP_E_IO, "cannot ask for the free space of %s: %s", dir, strerror(errno));
    if (!qep_mul_i64((int64_t)fs.f_bavail, (int64_t)fs.f_frsize, &room) || need <= room)
        return QEP_OK;
    return qep_fail(QEP_E_RESOURCE, "%s needs %s (%lld bytes) more, but %s (%lld bytes) are free "
                    "on its file system; free space or choose another output.path", e->output_dir,
                    qep_format_bytes(need, need_text, sizeof need_text), (long long)need,
                    qep_format_bytes(room, room_text, sizeof room_text), (long long)room);
}

static qep_status look(const qep_export *e, bool create)
{
    qep_status st = QEP_OK;
    char *dir = qep_dir_existing(e->output_dir);
    struct stat sb;

    if (!qep_dir_exists(e->output_dir) && stat(e->output_dir, &sb) == 0) {
        st = qep_fail(QEP_E_CONFIG, "output.path %s is a file, not a directory", e->output_dir);
        goto done;
    }
    QEP_GO(st, check_is_other(e));
    if (access(dir, W_OK | X_OK) != 0) {
        st = qep_fail(QEP_E_IO, "cannot write to %s%s: %s; choose another output.path", dir,
                      strcmp(dir, e->output_dir) == 0 ? "" : ", where output.path would be made",
                      strerror(errno));
        goto done;
    }
    if (!e->overwrite)
        QEP_GO(st, check_content(e));
    QEP_GO(st, check_space(e, dir));
    if (create)
        st = qep_dir_make(e->output_dir);

done:
    qep_free(dir);
    return st;
}

qep_status qep_export_check_dir_all(qep_comm *c, qep_export *e, bool overwrite, bool create)
{
    e->overwrite = overwrite;
    return qep_agree_all(c, qep_rank(c) == 0 ? QEP_ALONE("directory", look(e, create)) : QEP_OK);
}

/* All .partial files existed when the checkpoint was sealed, and only publishing renames them. A shard
 * whose .partial is missing and whose final file carries this run's stamp gets its .partial name
 * back; any other file under that name belongs to somebody else and is left alone. */
static qep_status find_again(const qep_export *e)
{
    QEP_TRY(qep_unpublish(e));
    if (!qep_st_layout_files_match(e->layout, e->output_dir, QEP_PARTIAL))
        return qep_fail(QEP_E_CHECKPOINT, "the %s files in %s are missing, cut short or belong to "
                        "another run, so the checkpoint cannot be resumed; start anew with --restart no",
                        QEP_PARTIAL, e->output_dir);
    return QEP_OK;
}

qep_status qep_export_open_all(qep_comm *c, qep_export *e, bool resume)
{
    qep_status st = QEP_OK;

    QEP_REQUIRE(!e->writer);
    if (qep_rank(c) == 0)
        st = QEP_ALONE("files", resume ? find_again(e)
                                              : qep_st_layout_create_files(e->layout, e->output_dir,
                                                                           QEP_PARTIAL));
    QEP_TRY(qep_agree_all(c, st));
    st = qep_agree_all(c, qep_st_writer_open(e->layout, e->output_dir, QEP_PARTIAL, &e->writer));
    if (st != QEP_OK)
        (void)!qep_st_writer_close(&e->writer);
    return st;
}

qep_status qep_export_sync(qep_export *e)
{
    QEP_REQUIRE(e->writer);
    return qep_st_writer_sync(e->writer);
}

/* model*.safetensors.partial of any plan: another shard_size gives other names. */
static bool is_our_partial(const char *name)
{
    return strncmp(name, "model", 5) == 0 && (qep_ends_with(name, ".safetensors" QEP_PARTIAL) ||
                                              qep_ends_with(name, ".gguf" QEP_PARTIAL));
}

static qep_status remove_partial(const qep_export *e, const char *name)
{
    char *path = qep_output_path(e, name, QEP_PARTIAL);
    qep_status st = qep_file_remove(path);

    qep_free(path);
    return st;
}

static qep_status remove_shards(const qep_export *e)
{
    qep_status st = QEP_OK;
    DIR *d = opendir(e->output_dir);

    if (!d)
        return errno == ENOENT ? QEP_OK
                               : qep_fail(QEP_E_IO, "cannot list the output directory %s: %s",
                                          e->output_dir, strerror(errno));
    for (struct dirent *f = readdir(d); f && st == QEP_OK; f = readdir(d)) {
        char *path = qep_output_path(e, f->d_name, "");

        if (is_our_partial(f->d_name))
            st = qep_file_remove(path);
        qep_free(path);
    }
    closedir(d);
    return st;
}

/* A small file that publishing has renamed: its .partial is gone, and what is under its name is
 * new unless nothing was renamed at all. */
qep_status qep_remove_published(const qep_export *e, const char *name)
{
    char *partial = qep_output_path(e, name, QEP_PARTIAL), *path = qep_output_path(e, name, "");
    qep_status st = qep_file_exists(partial) ? QEP_OK : qep_file_remove(path);

    qep_free(path);
    qep_free(partial);
    return st;
}

static qep_status discard(const qep_export *e)
{
    static const char *const names[] = {QEP_INDEX_NAME, QEP_QUANTIZE_NAME, QEP_SUMS_NAME,
                                        QEP_CONFIG_NAME};
    qep_side side = {0};
    qep_status st = QEP_OK;

    if (!qep_dir_exists(e->output_dir))
        return QEP_OK;
    if (qep_publish_was_cut(e)) {
        QEP_TRY(qep_unpublish(e));
        QEP_TRY(qep_remove_published(e, QEP_INDEX_NAME));
        QEP_TRY(qep_remove_published(e, QEP_QUANTIZE_NAME));
        QEP_TRY(qep_remove_published(e, QEP_SUMS_NAME));
    }
    QEP_TRY(qep_put_back_old(e));
    QEP_TRY(remove_shards(e));
    QEP_TRY(qep_side_list(e, &side));
    for (int64_t i = 0; i < side.n && st == QEP_OK; i++)
        st = remove_partial(e, side.names[i]);
    qep_side_free(&side);
    for (size_t i = 0; i < sizeof names / sizeof *names && st == QEP_OK; i++)
        st = remove_partial(e, names[i]);
    return st;
}

qep_status qep_export_discard_all(qep_comm *c, qep_export *e)
{
    (void)!qep_st_writer_close(&e->writer);
    qep_barrier_all(c); /* nobody writes any more */
    return qep_agree_all(c, qep_rank(c) == 0 ? QEP_ALONE("directory", discard(e)) : QEP_OK);
}
