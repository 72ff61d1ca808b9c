/* The report for a terminal. SPDX-License-Identifier: Apache-2.0 */
#include "report_priv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void headline(FILE *f, const qep_report *r)
{
    const qep_json *s = r->summary;
    char a[64], b[64], c[64];
    double total = qep_report_real(s, "seconds/total/max"), peak = qep_report_real(s, "peak_bytes");
    fprintf(f, "%s\nqep_mpi %s", qep_report_word(s, "command"), qep_report_word(s, "version"));
    if (*qep_report_word(s, "headline/method")) fprintf(f, ", %s", qep_report_word(s, "headline/method"));
    fprintf(f, ", %s ranks x %s threads", qep_report_number(qep_report_real(s, "ranks"), 6, a, sizeof a),
            qep_report_number(qep_report_real(s, "threads"), 6, b, sizeof b));
    if (isfinite(total)) fprintf(f, ", %s", qep_format_seconds(total, a, sizeof a));
    if (isfinite(peak)) fprintf(f, ", peak %s a rank", qep_format_bytes((int64_t)peak, b, sizeof b));
    fputc('\n', f);
    if (isfinite(qep_report_real(s, "bits_per_weight")))
        fprintf(f, "%s linears, %s bits per quantized weight\n", qep_report_number(qep_report_real(s, "modules"), 9, a, sizeof a),
                qep_report_number(qep_report_real(s, "bits_per_weight"), 4, c, sizeof c));
}

static void evaluation(FILE *f, const qep_json *sets)
{
    void *it = NULL;
    const char *name;
    qep_json *e;
    if (qep_json_size(sets) == 0) return;
    fprintf(f, "\n%-20s %12s %12s %12s %9s %10s %9s\n", "perplexity", "predictions", "original", "quantized", "change", "KL, nats", "same top");
    while ((it = qep_json_next(sets, it, &name, &e)) != NULL) {
        double fp = qep_report_real(e, "perplexity_original"), q = qep_report_real(e, "perplexity_quantized");
        double top = qep_report_real(e, "top1_agreement");
        char a[32], b[32], c[32], d[32];
        fprintf(f, "%-20s %12s %12s %12s", name, qep_report_number(qep_report_real(e, "tokens"), 9, a, sizeof a),
                qep_report_number(fp, 5, b, sizeof b), qep_report_number(q, 5, c, sizeof c));
        if (isfinite(q)) fprintf(f, " %+8.2f%% %10s %8.2f%%\n", 100 * (q / fp - 1), qep_report_number(qep_report_real(e, "kl_divergence"), 4, d, sizeof d), 100 * top);
        else fprintf(f, " %9s %10s %9s\n", "-", "-", "-");
    }
}

/* What the figures were measured on. */
static void tokens(FILE *f, const qep_json *t)
{
    const char *calibration = qep_report_word(t, "bos_calibration"), *evaluation = qep_report_word(t, "bos_evaluation"), *ids = qep_report_word(t, "digest");
    if (*calibration || *evaluation || *ids) fputc('\n', f);
    if (*calibration) fprintf(f, "BOS, calibration: %s\n", calibration);
    if (*evaluation) fprintf(f, "BOS, evaluation:  %s\n", evaluation);
    if (*ids) fprintf(f, "token ids:        %s\n", ids);
}

static void final_norm(FILE *f, const qep_json *n)
{
    char a[32], b[32], c[32], d[32];
    if (!n) return;
    fprintf(f, "\nfinal norm fitted: KL %s -> %s on the calibration tokens, %s -> %s held out; %s\n",
            qep_report_number(qep_report_real(n, "kl_calibration/before"), 4, a, sizeof a),
            qep_report_number(qep_report_real(n, "kl_calibration/after"), 4, b, sizeof b),
            qep_report_number(qep_report_real(n, "kl_validation/before"), 4, c, sizeof c),
            qep_report_number(qep_report_real(n, "kl_validation/after"), 4, d, sizeof d), qep_json_bool(qep_json_get(n, "kept")) ? "kept" : "not kept");
}

static void tasks(FILE *f, const qep_json *all)
{
    void *it = NULL, *col;
    const char *name, *key;
    qep_json *t, *v;
    char text[32];
    if (qep_json_size(all) == 0) return;
    fputs("\ntasks\n", f);
    while ((it = qep_json_next(all, it, &name, &t)) != NULL) {
        fprintf(f, "  %s\n", name);
        for (col = NULL; (col = qep_json_next(t, col, &key, &v)) != NULL;)
            fprintf(f, "    %-28s %s\n", key, qep_json_string(v) ? qep_json_string(v) : qep_report_number(qep_report_real(t, key), 4, text, sizeof text));
    }
}

/* Blocks as columns in rows of `WIDE`, one line per linear. */
static void heat(FILE *f, const qep_report_heat *h, const double *values, const char *title)
{
    enum { WIDE = 8 };
    char text[32];
    if (!qep_report_heat_known(h, values)) return;
    fprintf(f, "\n%s\n", title);
    for (int64_t b0 = 0; b0 < h->n_blocks; b0 += WIDE) {
        int64_t b1 = qep_min_i64(b0 + WIDE, h->n_blocks);
        fprintf(f, "  %-24s", "block");
        for (int64_t b = b0; b < b1; b++) fprintf(f, " %8lld", (long long)b);
        for (int64_t i = 0; i < h->n_linears; i++) {
            fprintf(f, "\n  %-24s", h->linears[i]);
            for (int64_t b = b0; b < b1; b++) fprintf(f, " %8s", qep_report_number(values[i * h->n_blocks + b], 3, text, sizeof text));
        }
        fputc('\n', f);
    }
}

/* Sequences of a kind: a row of blocks, wrapped. */
static void growth(FILE *f, const qep_json *g, const char *title)
{
    void *it = NULL;
    const char *name;
    qep_json *v;
    char text[32];
    if (qep_json_size(g) == 0) return;
    fprintf(f, "\ngrowth of the error, %s after each block\n", title);
    while ((it = qep_json_next(g, it, &name, &v)) != NULL) {
        if (strcmp(name, "blocks") == 0) continue;
        fprintf(f, "  %-14s", name);
        for (int64_t i = 0; i < qep_json_size(v); i++)
            fprintf(f, "%s %8s", i > 0 && i % 8 == 0 ? "\n                " : "", qep_report_number(qep_json_real(qep_json_at(v, i)), 3, text, sizeof text));
        fputc('\n', f);
    }
}

static void phases(FILE *f, const qep_json *seconds)
{
    void *it = NULL;
    const char *name;
    qep_json *v;
    char a[32], b[32], c[32];
    if (qep_json_size(seconds) == 0) return;
    fprintf(f, "\n%-20s %10s %10s %10s   over ranks, last job\n", "seconds", "min", "mean", "max");
    while ((it = qep_json_next(seconds, it, &name, &v)) != NULL)
        fprintf(f, "%-20s %10s %10s %10s\n", name, qep_report_number(qep_report_real(v, "min"), 4, a, sizeof a),
                qep_report_number(qep_report_real(v, "mean"), 4, b, sizeof b), qep_report_number(qep_report_real(v, "max"), 4, c, sizeof c));
}

static void seconds_line(FILE *f, const char *phase, const char *name, double seconds, double whole)
{
    char a[32], b[32];
    fprintf(f, "  %-12s %-20s %10s %9s%%\n", phase, name, qep_report_number(seconds, 4, a, sizeof a),
            qep_report_number(qep_report_share(seconds, whole), 3, b, sizeof b));
}

/* Parts of the phases, mean over the ranks; then what rank 0 does alone. */
static void parts(FILE *f, const qep_json *s)
{
    void *row = NULL;
    const char *name;
    qep_json *v;
    const qep_json *alone = qep_report_at(s, "one_rank");
    const double whole = qep_report_real(s, "seconds/total/max");
    if (qep_json_size(qep_report_at(s, "parts")) > 0) fprintf(f, "\n%-35s %10s %10s   mean over ranks\n", "parts of the phases", "seconds", "of it");
    qep_report_each_part(s, seconds_line, f);
    if (qep_json_size(alone) == 0) return;
    fprintf(f, "\n%-35s %10s %10s\n", "what one rank does alone", "seconds", "of the run");
    while ((row = qep_json_next(alone, row, &name, &v)) != NULL) seconds_line(f, "", name, qep_report_real(alone, name), whole);
    seconds_line(f, "", "together", qep_report_sum(alone), whole);
}

static void memory(FILE *f, const qep_json *by_name)
{
    void *it = NULL;
    const char *name;
    qep_json *v;
    if (qep_json_size(by_name) == 0) return;
    fprintf(f, "\n%-20s %12s %12s   largest at a time\n", "memory of rank 0", "planned", "measured");
    while ((it = qep_json_next(by_name, it, &name, &v)) != NULL) {
        fprintf(f, "%-20s", name);
        for (int i = 0; i < 2; i++) {
            double bytes = qep_report_real(v, i == 0 ? "planned" : "measured");
            char text[32] = "-";
            fprintf(f, " %12s", isfinite(bytes) ? qep_format_bytes((int64_t)bytes, text, sizeof text) : text);
        }
        fputc('\n', f);
    }
}

static void versions(FILE *f, const qep_json *s)
{
    const qep_json *libs = qep_report_at(s, "libraries");
    if (*qep_report_word(s, "build")) fprintf(f, "\nbuild %s\n", qep_report_word(s, "build"));
    for (int64_t i = 0; i < qep_json_size(libs); i++) {
        const char *line = qep_json_string(qep_json_at(libs, i));
        if (line) fprintf(f, "%s\n", line);
    }
    if (*qep_report_word(s, "digest")) fprintf(f, "\ndigest %s\n", qep_report_word(s, "digest"));
}

char *qep_report_text(const qep_report *r)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    QEP_REQUIRE(f != NULL);
    headline(f, r);
    evaluation(f, qep_report_at(r->summary, "evaluation"));
    tokens(f, qep_report_at(r->summary, "tokens"));
    final_norm(f, qep_report_at(r->summary, "final_norm"));
    tasks(f, qep_report_at(r->summary, "tasks"));
    if (r->heat.n_linears > 0) {
        heat(f, &r->heat, r->heat.before, "relative output error of weights rounded to nearest");
        heat(f, &r->heat, r->heat.after, "relative output error of the stored weights");
    }
    growth(f, qep_report_at(r->summary, "error_growth"), "|x - xq|^2 / |x|^2");
    growth(f, qep_report_at(r->summary, "error_growth_absolute"), "|x - xq|^2 (the paper's Delta)");
    phases(f, qep_report_at(r->summary, "seconds"));
    parts(f, r->summary);
    memory(f, qep_report_at(r->summary, "memory/rank0"));
    if (r->settings) fprintf(f, "\nthe complete settings (qep_mpi.ini)\n%s", r->settings);
    versions(f, r->summary);
    fclose(f);
    char *out = qep_strdup("report.text", text);
    free(text);
    return out;
}
