/* summary.json, qep_mpi.ini and report.html of a finished run.
 * SPDX-License-Identifier: Apache-2.0 */
#include "plan_priv.h"

#include "qep/report.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* {"min","mean","max"} over ranks of one phase. */
static qep_json *spread_all(qep_comm *c, double mine)
{
    double lo = mine, hi = mine, sum = mine;
    qep_min_f64_all(c, &lo, 1);
    qep_max_f64_all(c, &hi, 1);
    qep_sum_f64_all(c, &sum, 1);
    qep_json *o = qep_json_new_object();
    qep_json_set(o, "min", qep_json_new_real(lo));
    qep_json_set(o, "mean", qep_json_new_real(sum / qep_size(c)));
    qep_json_set(o, "max", qep_json_new_real(hi));
    return o;
}

static qep_json *seconds_json_all(qep_run *r)
{
    qep_json *o = qep_json_new_object();
    for (int p = 0; p < QEP_N_PHASES; p++) qep_json_set(o, qep_phase_name((qep_phase)p), spread_all(r->comm, r->phase[p].seconds));
    qep_json_set(o, "total", spread_all(r->comm, r->seconds_before + qep_now_s() - r->start_s));
    return o;
}

static qep_json *evaluation_json(const qep_run *r)
{
    qep_json *o = qep_json_new_object();
    for (int64_t s = 0; s < r->corpus->n_sets; s++) {
        const qep_eval_figures *f = &r->figures[s];
        qep_json *e = qep_json_new_object();
        qep_json_set(e, "tokens", qep_json_new_int((int64_t)f->predicted));
        qep_json_set(e, "perplexity_original", qep_json_new_real(exp(f->nll_fp / f->predicted)));
        if (r->quantizes) {
            qep_json_set(e, "perplexity_quantized", qep_json_new_real(exp(f->nll_q / f->predicted)));
            qep_json_set(e, "kl_divergence", qep_json_new_real(f->kl / f->predicted));
            qep_json_set(e, "top1_agreement", qep_json_new_real(f->same_top / f->predicted));
        }
        qep_json_set(o, r->corpus->set_names[s], e);
    }
    return o;
}

/* A figure before and after; null when not known. */
static qep_json *pair_json(const double v[2])
{
    qep_json *o = qep_json_new_object();
    qep_json_set(o, "before", qep_json_new_real(v[0]));
    qep_json_set(o, "after", qep_json_new_real(v[1]));
    return o;
}

static qep_json *norm_json(const qep_norm_fit *f)
{
    qep_json *o = qep_json_new_object();
    qep_json_set(o, "kept", qep_json_new_bool(f->kept));
    qep_json_set(o, "kl_calibration", pair_json(f->calibration));
    qep_json_set(o, "kl_validation", pair_json(f->held));
    qep_json_set(o, "evaluations", qep_json_new_int(f->evaluations));
    return o;
}

/* Squared distance of the residual streams after each block, |X_m - Xq_m|_F^2 (QEP paper, Eq. 2), or its share of |X_m|_F^2. */
static qep_json *growth_json(const qep_run *r, bool relative)
{
    qep_json *o = qep_json_new_object(), *blocks = qep_json_new_array();
    for (int64_t b = 0; b < r->model->arch.n_blocks; b++) qep_json_append(blocks, qep_json_new_int(b));
    qep_json_set(o, "blocks", blocks);
    for (int k = 0; k < QEP_N_SEQ_KINDS; k++) {
        if (r->corpus->part[k].total_tokens == 0) continue;
        qep_json *v = qep_json_new_array();
        for (int64_t b = 0; b < r->model->arch.n_blocks; b++) {
            const double *g = r->growth + (b * QEP_N_SEQ_KINDS + k) * 2;
            qep_json_append(v, qep_json_new_real(relative ? g[0] / g[1] : g[0]));
        }
        qep_json_set(o, qep_seq_kind_name((qep_seq_kind)k), v);
    }
    return o;
}

/* What went in: a hash of all ids, how BOS came into them, sequences by kind. */
static qep_json *tokens_json(const qep_run *r)
{
    const qep_corpus *c = r->corpus;
    qep_json *o = qep_json_new_object();
    char hex[40];
    snprintf(hex, sizeof hex, "%016" PRIx64 "%016" PRIx64, c->digest[0], c->digest[1]);
    qep_json_set(o, "digest", qep_json_new_string(hex));
    if (c->bos_calibration) qep_json_set(o, "bos_calibration", qep_json_new_string(c->bos_calibration));
    if (c->bos_evaluation) qep_json_set(o, "bos_evaluation", qep_json_new_string(c->bos_evaluation));
    for (int k = 0; k < QEP_N_SEQ_KINDS; k++) qep_json_set(o, qep_seq_kind_name((qep_seq_kind)k), qep_json_new_int(c->count[k]));
    return o;
}

static qep_json *command_json(const qep_run *r)
{
    char *text = qep_strf("run.report", "qep_mpi %s", r->args.config);
    for (int i = 0; i < r->args.n_sets; i++) {
        char *longer = qep_strf("run.report", "%s --set %s", text, r->args.sets[i]);
        qep_free(text);
        text = longer;
    }
    qep_json *o = qep_json_new_string(text);
    qep_free(text);
    return o;
}

/* What stands on top of the report: the general settings; overrides may change them for single modules. */
static qep_json *headline_json(const qep_run *r)
{
    const qep_linear_config *l = &r->cfg->linear;
    bool none = strcmp(l->method, "none") == 0, corrected = !none && strcmp(l->correction, "none") != 0;
    char *method = none ? qep_strdup("run.report", "evaluation only")
                        : qep_strf("run.report", "%s%s%s, %lld bit", corrected ? l->correction : "", corrected ? " + " : "", l->method,
                                   (long long)l->bits);
    qep_json *o = qep_json_new_object();
    qep_json_set(o, "model", qep_json_new_string(r->cfg->model_path));
    qep_json_set(o, "family", qep_json_new_string(r->model->arch.family));
    qep_json_set(o, "method", qep_json_new_string(method));
    if (r->output) qep_json_set(o, "format", qep_json_new_string(r->cfg->format));
    qep_free(method);
    return o;
}

static qep_json *libraries_json(void)
{
    const char *lines[] = {qep_par_library(), qep_dmat_library(), qep_store_library(), qep_linalg_describe()};
    qep_json *o = qep_json_new_array();
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) qep_json_append(o, qep_json_new_string(lines[i]));
    return o;
}

static qep_json *summary_all(qep_run *r)
{
    qep_json *o = qep_json_new_object();
    int64_t peak = qep_mem_peak(), modules = 0;
    uint64_t digest[2];
    char hex[40];
    qep_max_i64_all(r->comm, &peak, 1);
    qep_run_total_digest_all(r, digest);
    snprintf(hex, sizeof hex, "%016" PRIx64 "%016" PRIx64, digest[0], digest[1]);
    for (int64_t i = 0; i < r->n_linears; i++) modules += r->records[i].done;
    qep_json_set(o, "version", qep_json_new_string(qep_version));
    qep_json_set(o, "build", qep_json_new_string(qep_build_id));
    qep_json_set(o, "libraries", libraries_json());
    qep_json_set(o, "command", command_json(r));
    qep_json_set(o, "headline", headline_json(r));
    qep_json_set(o, "config", qep_json_new_string(r->cfg->source));
    qep_json_set(o, "identity", qep_json_new_string(r->stamp));
    qep_json_set(o, "ranks", qep_json_new_int(qep_size(r->comm)));
    qep_json_set(o, "nodes", qep_json_new_int(qep_n_nodes(r->comm)));
    qep_json_set(o, "threads", qep_json_new_int(r->threads));
    qep_json_set(o, "seconds", seconds_json_all(r));
    qep_json_set(o, "parts", qep_run_parts_json_all(r));
    qep_json_set(o, "one_rank", qep_run_one_rank_json());
    qep_json_set(o, "peak_bytes", qep_json_new_int(peak));
    qep_json_set(o, "memory", qep_run_memory_json_all(r));
    qep_json_set(o, "traffic", qep_plan_traffic_json_all(r));
    if (r->output) qep_json_set(o, "bits_per_weight", qep_json_new_real(qep_export_bits_per_weight(r->output)));
    qep_json_set(o, "modules", qep_json_new_int(modules));
    qep_json_set(o, "tokens", tokens_json(r));
    qep_json_set(o, "evaluation", evaluation_json(r));
    if (r->norm_fit.evaluations > 0) qep_json_set(o, "final_norm", norm_json(&r->norm_fit));
    if (r->tasks) qep_json_set(o, "tasks", qep_run_tasks_json(r));
    if (r->quantizes) {
        qep_json_set(o, "error_growth", growth_json(r, true));
        qep_json_set(o, "error_growth_absolute", growth_json(r, false));
        qep_json_set(o, "digest", qep_json_new_string(hex));
    }
    return o;
}

static void log_figures(const qep_run *r)
{
    for (int64_t s = 0; s < r->corpus->n_sets; s++) {
        const qep_eval_figures *f = &r->figures[s];
        double n = f->predicted;
        if (r->quantizes)
            qep_info("%s: perplexity %.4f -> %.4f, KL %.5f, same top token %.2f %% (%lld predictions)", r->corpus->set_names[s],
                     exp(f->nll_fp / n), exp(f->nll_q / n), f->kl / n, 100 * f->same_top / n, (long long)n);
        else
            qep_info("%s: perplexity %.4f (%lld predictions)", r->corpus->set_names[s], exp(f->nll_fp / n), (long long)n);
    }
}

/* A text file of the output directory. */
static qep_status write_file(const qep_run *r, const char *name, const char *text)
{
    char *path = qep_path_join(r->cfg->output_path, name);
    qep_status st = qep_file_write(path, text, (int64_t)strlen(text));
    qep_free(path);
    return st;
}

/* One beside a result that is replaced goes with it. */
static qep_status remove_tasks(const qep_run *r)
{
    if (!r->cfg->overwrite) return QEP_OK;
    char *path = qep_path_join(r->cfg->output_path, "tasks.csv");
    qep_status st = qep_file_remove(path);
    qep_free(path);
    return st;
}

static qep_status write_tasks(const qep_run *r)
{
    if (!r->tasks) return remove_tasks(r);
    char *text = qep_run_tasks_csv(r);
    qep_status st = write_file(r, "tasks.csv", text);
    qep_free(text);
    return st;
}

static qep_status write_html(const qep_run *r, const qep_json *summary, const char *ini)
{
    char *csv_path = qep_path_join(r->cfg->output_path, "modules.csv"), *csv = NULL, *html = NULL;
    qep_report *report = NULL;
    qep_status st;
    int64_t bytes;
    QEP_GO(st, qep_file_read(csv_path, INT64_MAX, QEP_E_IO, &csv, &bytes));
    QEP_GO(st, qep_report_parse(summary, csv, csv_path, ini, &report));
    html = qep_report_html(report);
    st = write_file(r, "report.html", html);
done:
    qep_free(html);
    qep_report_destroy(&report);
    qep_free(csv);
    qep_free(csv_path);
    return st;
}

static qep_status write_tables(const qep_run *r, const qep_json *summary)
{
    char *ini = qep_config_dump(r->cfg);
    qep_status st = write_file(r, "qep_mpi.ini", ini);
    if (st == QEP_OK) st = write_tasks(r);
    if (st == QEP_OK) st = write_html(r, summary, ini);
    qep_free(ini);
    return st;
}

/* summary.json is last: it says that the run is complete, and what the tables took. */
static qep_status write_files(const qep_run *r, qep_json *summary)
{
    QEP_TRY(QEP_ALONE("report", write_tables(r, summary)));
    qep_json_set(summary, "one_rank", qep_run_one_rank_json());
    char *json = qep_json_text(summary, true), *text = qep_strf("run.report", "%s\n", json);
    qep_status st = write_file(r, "summary.json", text);
    qep_free(text);
    qep_free(json);
    return st;
}

qep_status qep_run_report_all(qep_run *r)
{
    qep_json *o = summary_all(r);
    qep_status st = qep_agree_all(r->comm, qep_rank(r->comm) == 0 ? write_files(r, o) : QEP_OK);
    if (st == QEP_OK) {
        log_figures(r);
        qep_run_log_tasks(r);
        if (r->quantizes) qep_info("digest %s", qep_json_string(qep_json_get(o, "digest")));
    }
    qep_json_free(&o);
    return st;
}

/* summary.json of this very run is there, and so is config.json: the work was done by an earlier job. (Publishing moves a former
 * summary.json out of the way before it renames anything.) */
static bool finished(const qep_run *r)
{
    char *path = qep_path_join(r->cfg->output_path, "summary.json");
    char *model = qep_path_join(r->cfg->output_path, "config.json");
    qep_json *o = NULL;
    bool same = false;
    if (qep_file_exists(path) && (!r->quantizes || qep_file_exists(model)) && qep_json_load(path, QEP_E_INPUT, &o) == QEP_OK) {
        const char *saved = qep_json_string(qep_json_get(o, "identity"));
        same = saved && strcmp(saved, r->stamp) == 0;
    }
    qep_error_clear();
    qep_json_free(&o);
    qep_free(model);
    qep_free(path);
    return same;
}

bool qep_run_finished_all(qep_run *r)
{
    return qep_any_all(r->comm, qep_rank(r->comm) == 0 && finished(r));
}
