/* What is known of each linear: figures, the line in the log, modules.csv.
 * SPDX-License-Identifier: Apache-2.0 */
#include "run_priv.h"

#include <math.h>
#include <stdlib.h>

static const double unknown = (double)NAN;

void qep_run_error_sums_all(const qep_run *r, int n, const double *diff, const double *ref, qep_error_sums (*sums)[2])
{
    static const qep_seq_kind kinds[2] = {QEP_SEQ_CALIBRATION, QEP_SEQ_VALIDATION};
    for (int m = 0; m < n; m++)
        for (int k = 0; k < 2; k++) {
            sums[m][k].diff = qep_eval_ordered_sum_all(r->comm, r->corpus, diff + m * r->n_mine, kinds[k], -1);
            sums[m][k].ref = qep_eval_ordered_sum_all(r->comm, r->corpus, ref + m * r->n_mine, kinds[k], -1);
        }
}

/* Where the streams are equal it is 0 but for rounding. */
static double with_gap(const qep_error_sums *s, double gap, double tokens)
{
    const double error = (s->diff + gap * tokens) / s->ref;
    return error < 0 ? 0 : error;
}

/* The error after rounding is measured in the forward pass. The others follow from it by the statistics; without C the one before is known
 * only when the method itself is plain rounding. */
static qep_errors errors_of(const qep_error_sums *s, const struct qep_layer_gap *gap, double tokens, bool plain)
{
    if (!(s->ref > 0)) return (qep_errors){unknown, unknown, unknown, unknown};
    const double after = s->diff / s->ref;
    return (qep_errors){.uncorrected = with_gap(s, gap->uncorrected, tokens),
                        .before = plain ? after : with_gap(s, gap->before, tokens),
                        .corrected = with_gap(s, gap->corrected, tokens),
                        .after = after};
}

static void set_errors(qep_run *r, int64_t i, const qep_error_sums *sums)
{
    qep_record *rec = &r->records[i];
    const qep_export_linear *l = &r->linears[i];
    bool plain = l->spec.method == &qep_method_rtn && l->spec.clip == QEP_CLIP_NONE && !qep_layer_corrects(&r->linear_cfg[i]);
    static const struct qep_layer_gap none = {(double)NAN, (double)NAN, (double)NAN};
    const bool own = !(rec->borrowed > 0); /* a borrowed H says nothing of these tokens */
    rec->error = errors_of(&sums[0], own ? &rec->layer.gap : &none, (double)rec->tokens, plain);
    rec->held = errors_of(&sums[1], own ? &rec->layer.held_gap : &none, (double)r->corpus->kind_tokens[QEP_SEQ_VALIDATION], plain);
    rec->done = true;
}

/* What had to be mended, or could not be. */
static void log_repairs(const qep_record *rec, const qep_export_linear *l)
{
    if (rec->layer.n_dead > 0)
        qep_info("  %s: %lld of %lld input channels carry no signal; their weights are set to 0", l->module, (long long)rec->layer.n_dead,
                 (long long)l->cols);
    if (rec->layer.n_cut > 0)
        qep_warn("%s: %lld scales do not fit f16 and were cut to 65504 or raised to 6.1e-05: the weights are too large or too small to be stored "
                 "so; an [override] with method = none keeps them", l->module, (long long)rec->layer.n_cut);
    if (rec->error.after > 1 && !(rec->layer.residual > 0)) /* one that is aimed at the stream's error is meant to give something else */
        qep_warn("%s: what it gives on the calibration data is farther from the original than zeros would be (error %.3g); an [override] with "
                 "method = none or more bits helps", l->module, rec->error.after);
}

static void log_record(const qep_run *r, int64_t i)
{
    const qep_record *rec = &r->records[i];
    const qep_export_linear *l = &r->linears[i];
    char before[32] = "-", after[32] = "-";
    if (!isnan(rec->error.before)) snprintf(before, sizeof before, "%.3e", rec->error.before);
    if (!isnan(rec->error.after)) snprintf(after, sizeof after, "%.3e", rec->error.after);
    qep_info("  %-36s %s %d bit [%lld x %lld]  error %s -> %s  %.2f s%s", l->module, r->linear_cfg[i].method, l->spec.bits,
             (long long)l->rows, (long long)l->cols, before, after, rec->layer.seconds,
             rec->layer.fallback ? "  (damping raised)" : "");
    if (rec->layer.fallback)
        qep_warn("%s: a factor failed; damping raised to %g after %d attempts", l->module,
                 isnan(rec->layer.damping) ? rec->layer.correction_damping : rec->layer.damping, rec->layer.attempts);
    if (rec->borrowed > 0)
        qep_info("  %s: %lld calibration tokens for %lld columns; %.0f %% of its H is that of all the layer's tokens", l->module,
                 (long long)rec->tokens, (long long)l->cols, 100 * rec->borrowed);
    log_repairs(rec, l);
}

void qep_run_record_errors_all(qep_run *r, const int64_t *members, int n, qep_error_sums (*sums)[2])
{
    for (int m = 0; m < n; m++) {
        if (!r->linears[members[m]].quantized) continue;
        set_errors(r, members[m], sums[m]);
        log_record(r, members[m]);
    }
}

/* A number, or an empty field when it is not known. */
static void put_number(FILE *f, int digits, double v)
{
    fputc(',', f);
    if (isfinite(v)) fprintf(f, "%.*g", digits, v);
}

static void put_line(FILE *f, const qep_run *r, int64_t i)
{
    const qep_record *rec = &r->records[i];
    const qep_export_linear *l = &r->linears[i];
    const qep_linear_config *c = &r->linear_cfg[i];
    bool q = qep_layer_corrects(c);
    fprintf(f, "%s,%s%s,%d,%lld,%lld,%lld,%lld", l->module, q ? "qep+" : "", c->method, l->spec.bits, (long long)l->spec.group_size,
            (long long)l->rows, (long long)l->cols, (long long)rec->tokens);
    put_number(f, 6, rec->layer.alpha);
    put_number(f, 6, rec->layer.correction_damping);
    put_number(f, 6, rec->layer.damping);
    fprintf(f, ",%d", rec->layer.attempts);
    put_number(f, 9, rec->error.before);
    put_number(f, 9, rec->error.after);
    put_number(f, 9, rec->layer.max_scale);
    put_number(f, 4, rec->layer.seconds);
    fprintf(f, ",%d", rec->layer.fallback || rec->borrowed > 0);
    put_number(f, 6, rec->layer.residual);
    put_number(f, 9, rec->error.corrected);
    put_number(f, 9, rec->held.before);
    put_number(f, 9, rec->held.corrected);
    put_number(f, 9, rec->held.after);
    put_number(f, 3, rec->layer.scale_ratio);
    put_number(f, 9, rec->error.uncorrected);
    put_number(f, 9, rec->held.uncorrected);
    fputc('\n', f);
}

/* The whole table anew: small, and never half a line on disk. Until the result is published, an earlier one keeps its table. */
static qep_status write_csv(const qep_run *r, bool published)
{
    char *text = NULL, *path = qep_path_join(r->cfg->output_path, "modules.csv");
    char *partial = qep_strf("run.csv", "%s.partial", path);
    size_t size = 0;
    qep_status st;
    FILE *f = open_memstream(&text, &size);
    if (!f) QEP_GO(st, qep_fail(QEP_E_RESOURCE, "no memory for modules.csv"));
    fprintf(f, "module,method,bits,group_size,rows,cols,tokens,alpha,correction_damping,damping,attempts,error_before,"
               "error_after,max_scale,seconds,fallback,residual,error_corrected,error_before_heldout,error_corrected_heldout,error_after_heldout,scale_ratio,"
               "error_uncorrected,error_uncorrected_heldout\n");
    for (int64_t i = 0; i < r->n_linears; i++)
        if (r->records[i].done) put_line(f, r, i);
    fclose(f);
    QEP_GO(st, qep_file_write(published ? path : partial, text, (int64_t)size));
    if (published) st = qep_file_remove(partial);
done:
    free(text);
    qep_free(partial);
    qep_free(path);
    return st;
}

qep_status qep_run_write_csv_all(qep_run *r, bool published)
{
    return qep_agree_all(r->comm, qep_rank(r->comm) == 0 ? QEP_ALONE("csv", write_csv(r, published)) : QEP_OK);
}
