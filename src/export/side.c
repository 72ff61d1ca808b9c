/* Small files that belong to a model (tokenizer, generation settings, licence ...): copied as
 * bytes, never written anew (formats.md 9). SPDX-License-Identifier: Apache-2.0 */
#include "export_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUFFER_BYTES = 1 << 20 };

/* Weights in any format, what a run in the source directory has left, what the output makes. */
static bool skipped(const char *name)
{
    static const char *const tails[] = {".bin",  ".bin.index.json", ".pth", ".pt", ".gguf", ".h5",
                                        ".onnx", ".msgpack",        ".ot",  ".tmp", ".h5.prev", QEP_PARTIAL,
                                        QEP_OLD};
    static const char *const names[] = {QEP_CONFIG_NAME, QEP_QUANTIZE_NAME, QEP_SUMS_NAME,
                                        "qep_mpi.log",   "qep_mpi.ini",     "modules.csv",
                                        "summary.json",  "report.html",     "tasks.csv",
                                        "qep_mpi.lock",  "STOP"};

    if (qep_ends_with(name, QEP_PARTIAL) || qep_ends_with(name, QEP_OLD))
        return true;
    if (name[0] == '.' || strstr(name, ".safetensors"))
        return true;
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++)
        if (qep_ends_with(name, tails[i]))
            return true;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

qep_status qep_side_list(const qep_export *e, qep_side *out)
{
    DIR *d = opendir(e->source_dir);

    *out = (qep_side){0};
    if (!d)
        return qep_fail(QEP_E_IO, "cannot list the model directory %s: %s", e->source_dir,
                        strerror(errno));
    for (struct dirent *f = readdir(d); f; f = readdir(d)) {
        char *path;
        struct stat sb;

        if (skipped(f->d_name))
            continue;
        path = qep_path_join(e->source_dir, f->d_name);
        if (stat(path, &sb) != 0) {
            qep_warn("%s is not copied to the output: %s", path, strerror(errno));
        } else if (S_ISREG(sb.st_mode)) {
            out->names = qep_realloc(out->names, "export.side", out->n + 1, sizeof *out->names);
            out->names[out->n++] = qep_strdup("export.side", f->d_name);
            out->bytes += (int64_t)sb.st_size;
        }
        qep_free(path);
    }
    closedir(d);
    if (out->n > 0)
        qsort(out->names, (size_t)out->n, sizeof *out->names, by_name);
    return QEP_OK;
}

void qep_side_free(qep_side *s)
{
    for (int64_t i = 0; i < s->n; i++)
        qep_free(s->names[i]);
    qep_free(s->names);
    *s = (qep_side){0};
}

static qep_status put_failed(const char *path, int e)
{
    return qep_fail(e == ENOSPC || e == EDQUOT ? QEP_E_RESOURCE : QEP_E_IO, "cannot write %s: %s",
                    path, strerror(e));
}

static qep_status put_all(int fd, const char *path, const char *data, int64_t n)
{
    if (qep_fault("export.side"))
        return put_failed(path, EIO);
    for (int64_t at = 0; at < n;) {
        ssize_t put = write(fd, data + at, (size_t)(n - at));

        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return put_failed(path, errno);
        at += put;
    }
    return QEP_OK;
}

static qep_status copy_data(int in, const char *from, int out, const char *to)
{
    char *buf = qep_alloc("export.side", BUFFER_BYTES, 1);
    qep_status st = QEP_OK;

    for (;;) {
        ssize_t got = read(in, buf, BUFFER_BYTES);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            st = qep_fail(QEP_E_IO, "cannot read %s: %s", from, strerror(errno));
        if (got <= 0)
            break;
        QEP_GO(st, put_all(out, to, buf, got));
    }
    if (st == QEP_OK && (fchmod(out, 0644) != 0 || fsync(out) != 0))
        st = put_failed(to, errno);

done:
    qep_free(buf);
    return st;
}

qep_status qep_side_copy(const qep_export *e, const char *name)
{
    char *from = qep_path_join(e->source_dir, name);
    char *to = qep_output_path(e, name, QEP_PARTIAL);
    int in = open(from, O_RDONLY | O_CLOEXEC), out = -1;
    qep_status st = QEP_OK;

    if (in < 0) {
        st = qep_fail(QEP_E_IO, "cannot open %s: %s", from, strerror(errno));
        goto done;
    }
    out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (out < 0) {
        st = put_failed(to, errno);
        goto done;
    }
    st = copy_data(in, from, out, to);
    if (close(out) != 0 && st == QEP_OK)
        st = put_failed(to, errno);

done:
    if (in >= 0)
        close(in);
    qep_free(to);
    qep_free(from);
    return st;
}
