/* --check DIR: a finished output read like a stranger would.
 * SPDX-License-Identifier: Apache-2.0 */
#include "run_priv.h"

#include <inttypes.h>
#include <math.h>
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
    if (digest[0] == 0 && digest[1] == 0) {
        qep_info("%s: the blocks of %lld quantized linears are sound, all other tensors are there and finite; of some linears the file keeps code - zero "
                 "alone, or rounded values, so there is no digest to compare", dir, (long long)n);
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

/* --- perplexity from the files ------------------------------------------------------------------- */

/* The stored settings, as an evaluation of what is in DIR: nothing is quantized, nothing written. */
static void evaluation_args(const char *dir, const char *ini, qep_args *a)
{
    static const char *const sets[] = {"quantization.method=none", "quantization.lm_head=no", "quantization.final_norm=no", "quantization.compat=none", "correction.method=none",
                                       "calibration.validation=0", "evaluation.tasks=", "run.walltime=none", "run.log_level=warn"};
    *a = (qep_args){.config = ini};
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) a->sets[a->n_sets++] = sets[i];
    a->sets[a->n_sets++] = qep_strf("run.check", "model.path=%s", dir);
    a->sets[a->n_sets++] = qep_strf("run.check", "output.path=%s/unused", dir);
}

static void evaluation_args_free(qep_args *a)
{
    qep_free((char *)(uintptr_t)a->sets[a->n_sets - 1]);
    qep_free((char *)(uintptr_t)a->sets[a->n_sets - 2]);
}

/* All evaluation files are still where they were (FILE.h5:/dataset: the file). */
static bool data_is_there(const qep_config *cfg, const char *dir)
{
    for (int64_t i = 0; i < cfg->n_evaluation; i++) {
        char *path = qep_strdup("run.check", cfg->evaluation[i].path), *set = strstr(path, ".h5:");
        if (set) set[3] = '\0';
        bool there = qep_file_exists(path);
        if (!there) qep_info("%s: the evaluation data %s is not there any more; perplexity is not evaluated", dir, path);
        qep_free(path);
        if (!there) return false;
    }
    if (cfg->n_evaluation == 0) qep_info("%s: the run had no evaluation data; perplexity is not evaluated", dir);
    return cfg->n_evaluation > 0;
}

/* Root looks whether an evaluation can be made, and says why not. */
static bool can_evaluate(const qep_args *a, const char *dir)
{
    char *text = NULL;
    int64_t bytes = 0;
    qep_config *cfg = NULL;
    bool can = false;
    if (!qep_file_exists(a->config))
        qep_info("%s has no qep_mpi.ini: perplexity is not evaluated", dir);
    else if (qep_file_read(a->config, 16 << 20, QEP_E_CONFIG, &text, &bytes) != QEP_OK ||
             qep_config_parse(text, a->config, a->sets, a->n_sets, &cfg) != QEP_OK)
        qep_info("%s: perplexity is not evaluated: %s", dir, qep_error_text());
    else
        can = data_is_there(cfg, dir);
    qep_error_clear();
    qep_config_destroy(&cfg);
    qep_free(text);
    return can;
}

/* The same codes give the same figures up to rounding on another kind of CPU. */
static const double same_perplexity = 2e-3;

/* Against summary.json, of root. */
static qep_status compare_figures(const qep_run *r, const char *dir, const qep_json *summary)
{
    for (int64_t s = 0; s < r->corpus->n_sets; s++) {
        const char *name = r->corpus->set_names[s];
        const qep_json *said = qep_json_get(qep_json_get(qep_json_get(summary, "evaluation"), name), "perplexity_quantized");
        double now = exp(r->figures[s].nll_fp / r->figures[s].predicted), then = said ? qep_json_real(said) : (double)NAN;
        if (said && !(fabs(now - then) <= same_perplexity * then))
            return qep_fail(QEP_E_INPUT, "%s: %s: the files give perplexity %.6f, summary.json says %.6f", dir, name, now, then);
        if (said)
            qep_log(QEP_LOG_INFO, "%s: %s: perplexity from the files %.6f, summary.json %.6f", dir, name, now, then);
        else
            qep_log(QEP_LOG_INFO, "%s: %s: perplexity from the files %.6f", dir, name, now);
    }
    return QEP_OK;
}

static qep_status run_through_all(qep_run *r)
{
    QEP_TRY(qep_run_open_all(r));
    qep_run_start_streams_all(r);
    QEP_TRY(qep_run_embed_all(r));
    for (int64_t b = 0; b < r->model->arch.n_blocks; b++) QEP_TRY(qep_run_block_all(r, b));
    return qep_run_head_all(r);
}

static qep_status evaluate_all(qep_comm *c, const char *dir)
{
    char *ini = qep_path_join(dir, "qep_mpi.ini"), *path = qep_path_join(dir, "summary.json");
    qep_json *summary = NULL;
    qep_args args;
    qep_status st = QEP_OK;
    evaluation_args(dir, ini, &args);
    qep_run r = {.comm = c, .args = args, .start_s = qep_now_s()};
    if (!qep_any_all(c, qep_rank(c) == 0 && can_evaluate(&args, dir))) goto done;
    QEP_GO(st, run_through_all(&r));
    qep_log_start(qep_rank(c) == 0, QEP_LOG_INFO);
    if (qep_rank(c) == 0) {
        if (!qep_file_exists(path) || qep_json_load(path, QEP_E_INPUT, &summary) != QEP_OK) qep_error_clear();
        st = compare_figures(&r, dir, summary);
    }
    st = qep_agree_all(c, st);
done:
    qep_run_close_all(&r);
    qep_json_free(&summary);
    evaluation_args_free(&args);
    qep_free(path);
    qep_free(ini);
    return st;
}

qep_status qep_run_check_all(qep_comm *c, const char *dir)
{
    uint64_t digest[2];
    int64_t n;
    QEP_TRY(qep_run_verify_all(c, dir, digest, &n));
    return evaluate_all(c, dir);
}
