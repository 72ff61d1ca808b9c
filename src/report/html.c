/* The report as one HTML file. SPDX-License-Identifier: Apache-2.0 */
#include "report_priv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char style[] =
    "body{font:15px/1.45 system-ui,sans-serif;color:#1c2733;background:#fff;max-width:900px;margin:0 auto;padding:16px}"
    "h1{font-size:1.5em;margin:.2em 0}h2{font-size:1.15em;margin:1.6em 0 .4em;border-bottom:1px solid #b8c4d0}"
    "h3{font-size:1em;margin:1em 0 .3em}p{margin:.4em 0;color:#3b4a59}"
    ".scroll{overflow-x:auto;background:linear-gradient(to right,#fff 40%,#fff0) 0 0/40px 100%,linear-gradient(to left,#fff 40%,#fff0) 100% 0/40px 100%,"
    "linear-gradient(to right,#0003,#0000) 0 0/12px 100%,linear-gradient(to left,#0003,#0000) 100% 0/12px 100%;background-repeat:no-repeat;"
    "background-attachment:local,local,scroll,scroll}" /* a shadow where there is more to see */
    "table{border-collapse:collapse;margin:.4em 0;font-variant-numeric:tabular-nums}"
    "th,td{padding:3px 12px 3px 0;text-align:right;border-bottom:1px solid #dde4ea;white-space:nowrap}th{white-space:normal;vertical-align:bottom}"
    "th:first-child,td:first-child{text-align:left}th{font-weight:600;border-bottom:1px solid #67788a}"
    ".facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:8px;margin:12px 0}"
    ".facts div{border:1px solid #b8c4d0;border-radius:4px;padding:6px 10px}.facts b{display:block;font-size:1.25em}"
    ".facts span{color:#3b4a59;font-size:.85em}"
    "svg{width:100%;min-width:640px;height:auto;font:12px system-ui,sans-serif}svg text{fill:#1c2733}svg .end{text-anchor:end}svg .mid{text-anchor:middle}"
    "svg .in{text-anchor:middle;font-size:10.5px;fill:#000}svg text.in[fill='#fff']{fill:#fff}svg .grid{stroke:#ccd5de}"
    ".pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,330px),1fr));gap:14px 8px}.pair svg{min-width:0}"
    "pre{font-size:12.5px;overflow-x:auto;background:#f4f7f9;border:1px solid #dde4ea;padding:8px}code{overflow-wrap:anywhere}"
    "@media(max-width:600px){body{padding:10px}table{font-size:12.5px}th,td{padding-right:7px}.facts{grid-template-columns:repeat(auto-fit,minmax(105px,1fr))}"
    ".facts b{font-size:1em}}"
    "@media print{body{max-width:none;padding:0;font-size:11pt}h2,h3,h2+p{break-after:avoid}svg,table{break-inside:avoid}svg{min-width:0}"
    "rect,circle,path{print-color-adjust:exact;-webkit-print-color-adjust:exact}.scroll{overflow:visible;background:none}"
    "details:not([open])>*:not(summary){display:none}}";

void qep_html_escape(FILE *f, const char *text)
{
    for (const char *p = text; *p; p++) {
        switch (*p) {
        case '&': fputs("&amp;", f); break;
        case '<': fputs("&lt;", f); break;
        case '>': fputs("&gt;", f); break;
        case '"': fputs("&quot;", f); break;
        default: fputc(*p, f);
        }
    }
}

static void fact(FILE *f, const char *value, const char *label)
{
    if (!*value || strcmp(value, "-") == 0) return;
    fputs("<div><b>", f);
    qep_html_escape(f, value);
    fputs("</b><span>", f);
    qep_html_escape(f, label);
    fputs("</span></div>\n", f);
}

static void fact_number(FILE *f, double v, int digits, const char *label)
{
    char text[32];
    fact(f, qep_report_number(v, digits, text, sizeof text), label);
}

static void headline(FILE *f, const qep_report *r)
{
    const qep_json *s = r->summary;
    char text[64], took[32];
    double total = qep_report_real(s, "seconds/total/max"), peak = qep_report_real(s, "peak_bytes");
    fputs("<h1>qep_mpi report</h1>\n<p><code>", f);
    qep_html_escape(f, qep_report_word(s, "command"));
    fputs("</code></p>\n<div class=\"facts\">\n", f);
    fact(f, qep_report_word(s, "headline/method"), "method");
    fact_number(f, qep_report_real(s, "bits_per_weight"), 4, "bits per quantized weight");
    fact_number(f, qep_report_real(s, "modules"), 8, "quantized linears");
    fact(f, qep_report_word(s, "headline/format"), "format");
    fact(f, qep_report_word(s, "headline/family"), "family of the model");
    fact_number(f, qep_report_real(s, "ranks"), 9, "ranks");
    fact_number(f, qep_report_real(s, "threads"), 9, "threads of a rank");
    if (isfinite(total)) fact(f, qep_format_seconds(total, took, sizeof took), "wall time, all jobs");
    if (isfinite(peak)) fact(f, qep_format_bytes((int64_t)peak, text, sizeof text), "peak memory of a rank");
    fputs("</div>\n", f);
    if (*qep_report_word(s, "headline/model")) {
        fputs("<p>Model <code>", f);
        qep_html_escape(f, qep_report_word(s, "headline/model"));
        fputs("</code></p>\n", f);
    }
}

static void cell(FILE *f, double v, int digits)
{
    char text[32];
    fprintf(f, "<td>%s</td>", qep_report_number(v, digits, text, sizeof text));
}

static void evaluation(FILE *f, const qep_json *sets)
{
    void *it = NULL;
    const char *name;
    qep_json *e;
    if (qep_json_size(sets) == 0) return;
    fputs("<h2>Perplexity</h2>\n<div class=\"scroll\"><table><tr><th>data set</th><th>predictions</th><th>original</th><th>quantized</th>"
          "<th>change</th><th>KL, nats</th><th>same top token</th></tr>\n", f);
    while ((it = qep_json_next(sets, it, &name, &e)) != NULL) {
        double fp = qep_report_real(e, "perplexity_original"), q = qep_report_real(e, "perplexity_quantized");
        double top = qep_report_real(e, "top1_agreement");
        fputs("<tr><td>", f);
        qep_html_escape(f, name);
        fputs("</td>", f);
        cell(f, qep_report_real(e, "tokens"), 9);
        cell(f, fp, 5);
        cell(f, q, 5);
        if (isfinite(q)) fprintf(f, "<td>%+.2f %%</td>", 100 * (q / fp - 1));
        else fputs("<td>-</td>", f);
        cell(f, qep_report_real(e, "kl_divergence"), 4);
        if (isfinite(top)) fprintf(f, "<td>%.2f %%</td>", 100 * top);
        else fputs("<td>-</td>", f);
        fputs("</tr>\n", f);
    }
    fputs("</table></div>\n", f);
}

/* What the figures were measured on: BOS and the hash of the ids. */
static void tokens(FILE *f, const qep_json *t)
{
    static const char *const kinds[][2] = {{"bos_calibration", "calibration"}, {"bos_evaluation", "evaluation"}};
    for (int i = 0; i < 2; i++) {
        if (!*qep_report_word(t, kinds[i][0])) continue;
        fprintf(f, "<p>BOS, %s: ", kinds[i][1]);
        qep_html_escape(f, qep_report_word(t, kinds[i][0]));
        fputs("</p>\n", f);
    }
    if (!*qep_report_word(t, "digest")) return;
    fputs("<p>Token ids <code>", f);
    qep_html_escape(f, qep_report_word(t, "digest"));
    fputs("</code></p>\n", f);
}

static void final_norm(FILE *f, const qep_json *n)
{
    static const char *const on[][2] = {{"kl_calibration", "calibration tokens"}, {"kl_validation", "held-out sequences"}};
    if (!n) return;
    fprintf(f, "<h2>Final norm</h2>\n<p>Its weight fitted to the original model's probabilities; %s.</p>\n<div class=\"scroll\"><table><tr><th>KL, nats</th>"
               "<th>before</th><th>after</th></tr>\n", qep_json_bool(qep_json_get(n, "kept")) ? "kept" : "not kept");
    for (int i = 0; i < 2; i++) {
        const qep_json *pair = qep_json_get(n, on[i][0]);
        fprintf(f, "<tr><td>%s</td>", on[i][1]);
        cell(f, qep_report_real(pair, "before"), 4);
        cell(f, qep_report_real(pair, "after"), 4);
        fputs("</tr>\n", f);
    }
    fputs("</table></div>\n", f);
}

/* The tasks before `end` have this member. */
static bool in_earlier(const qep_json *all, const qep_json *end, const char *key)
{
    void *it = NULL;
    const char *name;
    qep_json *t;
    while ((it = qep_json_next(all, it, &name, &t)) != NULL && t != end)
        if (qep_json_get(t, key)) return true;
    return false;
}

static void task_row(FILE *f, const qep_json *all, const char *key)
{
    void *it = NULL;
    const char *name;
    qep_json *t;
    fputs("<tr><td>", f);
    for (const char *p = key; *p; p++) fputc(*p == '_' ? ' ' : *p, f);
    fputs("</td>", f);
    while ((it = qep_json_next(all, it, &name, &t)) != NULL) {
        if (!*qep_report_word(t, key)) {
            cell(f, qep_report_real(t, key), 4);
            continue;
        }
        fputs("<td>", f);
        qep_html_escape(f, qep_report_word(t, key));
        fputs("</td>", f);
    }
    fputs("</tr>\n", f);
}

/* A column per task, a row per figure that any of them has. The rule is one for all. */
static void tasks(FILE *f, const qep_json *all)
{
    void *it = NULL, *row;
    const char *name, *key, *rule = "";
    qep_json *t, *v;
    if (qep_json_size(all) == 0) return;
    fputs("<h2>Choice tasks</h2>\n<div class=\"scroll\"><table><tr><th>task</th>", f);
    while ((it = qep_json_next(all, it, &name, &t)) != NULL) {
        fputs("<th>", f);
        qep_html_escape(f, name);
        fputs("</th>", f);
        rule = qep_report_word(t, "rule");
    }
    fputs("</tr>\n", f);
    while ((it = qep_json_next(all, it, &name, &t)) != NULL)
        for (row = NULL; (row = qep_json_next(t, row, &key, &v)) != NULL;)
            if (strcmp(key, "rule") != 0 && !in_earlier(all, t, key)) task_row(f, all, key);
    fputs("</table></div>\n", f);
    if (!*rule) return;
    fputs("<p>Scored as ", f);
    qep_html_escape(f, rule);
    fputs("</p>\n", f);
}

static void heat_maps(FILE *f, const qep_report_heat *h)
{
    if (h->n_linears == 0) return;
    fputs("<h2>Error of each module</h2>\n<p>Relative output error on the calibration data, |W X - Q X&#770;|&#178; / |W X|&#178;; darker is larger, one logarithmic "
          "scale for both. Experts of a block are averaged.</p>\n", f);
    if (qep_report_heat_known(h, h->before)) {
        fputs("<h3>Weights rounded to nearest</h3>\n", f);
        qep_svg_heat(f, h, h->before, "error of plain rounding by block and linear");
    }
    fputs("<h3>As stored</h3>\n", f);
    qep_svg_heat(f, h, h->after, "error of the stored weights by block and linear");
}

/* Relative and absolute beside each other; below each other where the page is narrow. */
static void growth(FILE *f, const qep_json *s)
{
    const qep_json *relative = qep_report_at(s, "error_growth");
    if (qep_json_size(relative) == 0) return;
    fputs("<h2>Growth of the error</h2>\n<p>Of the residual stream after each block. Absolute: the paper's &#916;, summed over all tokens of a kind.</p>\n"
          "<div class=\"pair\">\n", f);
    if (!qep_svg_growth(f, relative, "relative, |x - x&#770;|&#178; / |x|&#178;")) fputs("<p>The two streams are equal: nothing to draw.</p>\n", f);
    (void)qep_svg_growth(f, qep_report_at(s, "error_growth_absolute"), "absolute, |x - x&#770;|&#178;");
    fputs("</div>\n", f);
}

static void modules_table(FILE *f, const qep_report *r)
{
    char text[32];
    if (r->n_modules == 0) return;
    fputs("<h2>Modules</h2>\n<details><summary>", f);
    fprintf(f, "%lld linears</summary>\n<div class=\"scroll\"><table><tr><th>module</th><th>method</th><th>bits</th><th>group</th><th>error, rounded</th>"
               "<th>error, stored</th><th>seconds</th></tr>\n", (long long)r->n_modules);
    for (int64_t i = 0; i < r->n_modules; i++) {
        const qep_report_module *m = &r->modules[i];
        fputs("<tr><td>", f);
        qep_html_escape(f, m->name);
        fputs("</td><td>", f);
        qep_html_escape(f, m->method);
        fprintf(f, "%s</td><td>%.0f</td><td>%s</td>", m->fallback > 0 ? " (repaired)" : "", m->bits,
                qep_report_group_text(m->group_size, text, sizeof text));
        cell(f, m->error_before, 4);
        cell(f, m->error_after, 4);
        cell(f, m->seconds, 3);
        fputs("</tr>\n", f);
    }
    fputs("</table></div></details>\n", f);
}

static void seconds_row(FILE *f, const char *first, const char *second, double seconds, double whole)
{
    char text[32];
    fputs("<tr><td>", f);
    qep_html_escape(f, first);
    if (second) {
        fputs("</td><td>", f);
        qep_html_escape(f, second);
    }
    fputs("</td>", f);
    cell(f, seconds, 3);
    fprintf(f, "<td>%s %%</td></tr>\n", qep_report_number(qep_report_share(seconds, whole), 3, text, sizeof text));
}

/* Parts of the phases, and what of each is in none of them. */
static void parts(FILE *f, const qep_json *s)
{
    if (qep_json_size(qep_report_at(s, "parts")) == 0) return;
    fputs("<details><summary>parts of the phases</summary>\n<div class=\"scroll\"><table><tr><th>phase</th><th>part</th><th>seconds</th>"
          "<th>of the phase</th></tr>\n", f);
    qep_report_each_part(s, seconds_row, f);
    fputs("</table></div></details>\n", f);
}

static void one_rank(FILE *f, const qep_json *s)
{
    void *it = NULL;
    const char *name;
    qep_json *v;
    const qep_json *all = qep_report_at(s, "one_rank");
    const double whole = qep_report_real(s, "seconds/total/max");
    if (qep_json_size(all) == 0) return;
    fputs("<h2>What one rank does alone</h2>\n<p>While all others wait for rank 0; everything else is done by all ranks together.</p>\n"
          "<div class=\"scroll\"><table><tr><th>what</th><th>seconds</th><th>of the run</th></tr>\n", f);
    while ((it = qep_json_next(all, it, &name, &v)) != NULL) seconds_row(f, name, NULL, qep_report_real(all, name), whole);
    seconds_row(f, "together", NULL, qep_report_sum(all), whole);
    fputs("</table></div>\n", f);
}

static void resources(FILE *f, const qep_json *s)
{
    const qep_json *seconds = qep_report_at(s, "seconds"), *memory = qep_report_at(s, "memory/rank0");
    if (qep_json_size(seconds) > 0) {
        fputs("<h2>Time per phase</h2>\n<p>Seconds of the last job: mean over the ranks (bar), fastest to slowest rank (line).</p>\n", f);
        qep_svg_phases(f, seconds);
    }
    parts(f, s);
    one_rank(f, s);
    if (qep_json_size(memory) > 0) {
        fputs("<h2>Memory of rank 0</h2>\n<p>Largest measured (filled) and planned (hollow), by name of the allocation.</p>\n", f);
        qep_svg_memory(f, memory);
    }
}

static void versions(FILE *f, const qep_report *r)
{
    const qep_json *libs = qep_report_at(r->summary, "libraries");
    fputs("<h2>Settings and versions</h2>\n<p>qep_mpi ", f);
    qep_html_escape(f, qep_report_word(r->summary, "version"));
    fputs(" (", f);
    qep_html_escape(f, qep_report_word(r->summary, "build"));
    fputs(")</p>\n", f);
    for (int64_t i = 0; i < qep_json_size(libs); i++) {
        const char *line = qep_json_string(qep_json_at(libs, i));
        fputs("<p>", f);
        qep_html_escape(f, line ? line : "");
        fputs("</p>\n", f);
    }
    if (*qep_report_word(r->summary, "digest")) fprintf(f, "<p>digest <code>%s</code></p>\n", qep_report_word(r->summary, "digest"));
    if (!r->settings) return;
    fputs("<details><summary>the complete settings (qep_mpi.ini)</summary>\n<pre>", f);
    qep_html_escape(f, r->settings);
    fputs("</pre></details>\n", f);
}

char *qep_report_html(const qep_report *r)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    QEP_REQUIRE(f != NULL);
    fprintf(f, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
               "<title>qep_mpi report</title><style>%s</style></head><body>\n", style);
    headline(f, r);
    evaluation(f, qep_report_at(r->summary, "evaluation"));
    tokens(f, qep_report_at(r->summary, "tokens"));
    final_norm(f, qep_report_at(r->summary, "final_norm"));
    tasks(f, qep_report_at(r->summary, "tasks"));
    heat_maps(f, &r->heat);
    growth(f, r->summary);
    resources(f, r->summary);
    modules_table(f, r);
    versions(f, r);
    fputs("</body></html>\n", f);
    fclose(f);
    char *out = qep_strdup("report.html", text);
    free(text);
    return out;
}
