/* --check DIR: a finished output read like a stranger would.
 * SPDX-License-Identifier: Apache-2.0 */
#include "run_priv.h"

#include <inttypes.h>
#include <string.h>

/* digest of DIR/summary.json, NULL when there is none; qep_free. */
static char *expected_digest(const char *dir)
{
    char *path = qep_path_join(dir, "summary.json"), *out = NULL;
    qep_json *o = NULL;
    if (qep_file_exists(path) && qep_json_load(path, QEP_E_INPUT, &o) == QEP_OK) {
        const char *d = qep_json_string(qep_json_get(o, "digest"));
        if (d) out = qep_strdup("run.check", d);
    }
    qep_error_clear();
    qep_json_free(&o);
    qep_free(path);
    return out;
}

qep_status qep_run_verify_all(qep_comm *c, const char *dir, uint64_t digest[2], int64_t *count)
{
    int64_t n = 0;
    char hex[40];
    QEP_TRY(qep_export_check_all(c, dir, digest, &n));
    *count = n;
    if (n == 0) {
        qep_info("%s: all tensors are there and finite; nothing is packed, so there is no digest to compare", dir);
        return QEP_OK;
    }
    snprintf(hex, sizeof hex, "%016" PRIx64 "%016" PRIx64, digest[0], digest[1]);
    char *want = expected_digest(dir);
    bool wrong = want && strcmp(want, hex) != 0;
    qep_status st = wrong ? qep_fail(QEP_E_INPUT, "%s: the codes, scales and zeros give digest %s, summary.json says %s: the files were "
                                                  "changed or damaged", dir, hex, want)
                          : QEP_OK;
    if (st == QEP_OK)
        qep_info("%s: %lld quantized linears are sound, digest %s%s; all other tensors are there and finite", dir, (long long)n, hex,
                 want ? " as in summary.json" : " (no summary.json to compare with)");
    qep_free(want);
    return qep_agree_all(c, st);
}

qep_status qep_run_check_all(qep_comm *c, const char *dir)
{
    uint64_t digest[2];
    int64_t n;
    return qep_run_verify_all(c, dir, digest, &n);
}
