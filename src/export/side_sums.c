/* Checksums of the small files that were copied beside the tensors: members of "files" in qep_mpi.json. Local: one rank's work.
 * SPDX-License-Identifier: Apache-2.0 */
#include "export_priv.h"

#include <errno.h>
#include <string.h>

/* Of a whole file, as a tensor's: the chunks' hashes, each keyed by its place. */
static qep_status sum_file(const char *path, char hex[QEP_SUM_TEXT])
{
    char *buf = qep_alloc("export.side", QEP_SUM_CHUNK, 1);
    FILE *f = fopen(path, "rb");
    uint64_t sum[2] = {0, 0}, hash[2];
    int64_t at = 0, n = 0;

    while (f && (n = (int64_t)fread(buf, 1, QEP_SUM_CHUNK, f)) > 0) {
        qep_sums_hash(buf, n, at, hash);
        for (int k = 0; k < 2; k++)
            sum[k] += hash[k];
        at += n;
    }
    qep_status st = !f || ferror(f) ? qep_fail(QEP_E_IO, "cannot read %s: %s", path, strerror(errno)) : QEP_OK;
    if (f)
        fclose(f);
    qep_free(buf);
    qep_sums_text(sum, hex);
    return st;
}

qep_status qep_side_sums(const qep_export *e, const qep_side *side, qep_json *files)
{
    qep_status st = QEP_OK;

    for (int64_t i = 0; i < side->n && st == QEP_OK; i++) {
        const char *name = side->names[i];
        char hex[QEP_SUM_TEXT];

        if (!qep_json_is_text(name)) {
            qep_warn("%s is copied, but its checksum is not kept: its name is no UTF-8", name);
            continue;
        }
        char *path = qep_output_path(e, name, QEP_PARTIAL);
        st = sum_file(path, hex);
        qep_free(path);
        qep_json_set(files, name, qep_json_new_string(hex));
    }
    return st;
}

static const char wanted[] = " (if that was wanted, take it out of \"files\" there)";

static qep_status check_file(const char *dir, const char *name, const char *want, const char *sums)
{
    char *path = qep_path_join(dir, name), hex[QEP_SUM_TEXT];
    qep_status st = qep_file_exists(path) ? sum_file(path, hex)
                                          : qep_fail(QEP_E_INPUT, "%s is missing: %s lists it as a file of the model%s", path, sums, wanted);

    if (st == QEP_OK && strcmp(hex, want) != 0)
        st = qep_fail(QEP_E_INPUT, "%s was changed or damaged: its checksum is %s, %s says %s%s", path, hex,
                      sums, want, wanted);
    qep_free(path);
    return st;
}

qep_status qep_side_sums_check(const char *dir, const qep_json *files, const char *sums)
{
    const char *name;
    qep_json *value;

    if (files && qep_json_type(files) != QEP_JSON_OBJECT)
        return qep_fail(QEP_E_INPUT, "%s: \"files\" is no object", sums);
    if (!files)
        qep_info("%s lists no small files: nothing is known of the tokenizer's", sums);
    for (void *it = qep_json_next(files, NULL, &name, &value); it; it = qep_json_next(files, it, &name, &value)) {
        const char *want = qep_json_string(value);

        if (!want || strchr(name, '/'))
            return qep_fail(QEP_E_INPUT, "%s: \"%s\" in \"files\" is no file beside it with a checksum", sums, name);
        QEP_TRY(check_file(dir, name, want, sums));
    }
    return QEP_OK;
}
