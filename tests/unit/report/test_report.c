/* The report: content, both forms, broken input. SPDX-License-Identifier: Apache-2.0 */
#include "qep/report.h"
#include "qep_test.h"

#include <string.h>

static const char summary_text[] =
    "{\"version\": \"9.9\", \"build\": \"abc & <def>\", \"libraries\": [\"MPI <1>\", \"BLAS 2\", 3], \"command\": \"qep_mpi a<b>.ini\", \"headline\": {\"method\": \"qep + gptq, 3 bit\", \"family\": \"llama\"},"
    " \"ranks\": 4, \"threads\": 2, \"seconds\": {\"forward\": {\"min\": 1, \"mean\": 1.5, \"max\": 2}, \"total\": {\"min\": 3, \"mean\": 3, \"max\": 3}},"
    " \"parts\": {\"forward\": {\"linears\": 0.75, \"a<b\": 0.375}}, \"one_rank\": {\"publish\": 0.03125, \"modules.csv\": 0.0625},"
    " \"peak_bytes\": 1048576, \"memory\": {\"rank0\": {\"stats.tap\": {\"planned\": 1000, \"measured\": 900}}}, \"bits_per_weight\": 3.125, \"modules\": 3,"
    " \"evaluation\": {\"wiki\": {\"tokens\": 1000, \"perplexity_original\": 10, \"perplexity_quantized\": 12.5, \"kl_divergence\": 0.0625,"
    " \"top1_agreement\": 0.5}}, \"tasks\": {\"arc\": {\"kind\": \"arc_easy\", \"rule\": \"a & b\", \"examples\": 12, \"accuracy_original\": 0.625},"
    " \"lam\": {\"kind\": \"lambada\", \"rule\": \"a & b\", \"examples\": 5, \"perplexity_original\": 12.75}},"
    " \"final_norm\": {\"kept\": true, \"kl_calibration\": {\"before\": 0.0375, \"after\": 0.03125}, \"kl_validation\": {\"before\": null, \"after\": null}},"
    " \"error_growth\": {\"blocks\": [0, 1], \"calibration\": [0.001, 0.002], \"evaluation\": [0.003, 0.03]},"
    " \"error_growth_absolute\": {\"blocks\": [0, 1], \"calibration\": [12, 345.5], \"validation\": [1, 2], \"evaluation\": [3, 4], \"tasks\": [5, 67.25]},"
    " \"tokens\": {\"digest\": \"ffee\", \"bos_calibration\": \"one in front of <each> document\", \"bos_evaluation\": \"none\"}, \"digest\": \"00ff\"}";

static const char csv_text[] = "module,method,bits,group_size,rows,cols,error_before,error_after,seconds,fallback\n"
                               "model.layers.0.self_attn.q_proj,qep+gptq,3,128,8,8,0.02,0.01,0.5,0\n"
                               "model.layers.1.mlp.experts.0.up_proj,qep+gptq,3,-1,8,8,0.04,0.02,0.5,1\n"
                               "model.layers.1.mlp.experts.1.up_proj,qep+gptq,3,-1,8,8,,0.04,0.5,0\n"
                               "lm_head,rtn,8,-1,8,8,,0.0001,0.5,0\n";

static qep_report *make(const char *summary, const char *csv)
{
    qep_json *s = NULL;
    qep_report *r = NULL;
    assert_int_equal(qep_json_parse(summary, (int64_t)strlen(summary), "summary", QEP_E_INPUT, &s), QEP_OK);
    assert_int_equal(qep_report_parse(s, csv, "modules.csv", "[run]\nthreads = <4>\n", &r), QEP_OK);
    qep_json_free(&s);
    return r;
}

/* Every tag that is opened is closed, in order; void elements and the doctype apart. */
static void check_tags(const char *html)
{
    static const char *const open_ended[] = {"!DOCTYPE", "meta", NULL};
    char stack[64][16];
    int depth = 0;
    for (const char *p = strchr(html, '<'); p; p = strchr(p + 1, '<')) {
        bool closing = p[1] == '/';
        const char *name = p + 1 + closing, *end = strchr(p, '>');
        size_t n = strcspn(name, " >/");
        assert_non_null(end);
        bool skip = end[-1] == '/';
        for (int i = 0; open_ended[i]; i++) skip = skip || (n == strlen(open_ended[i]) && strncmp(name, open_ended[i], n) == 0);
        if (skip) continue;
        assert_true(n > 0 && n < sizeof stack[0]);
        if (closing) {
            assert_true(depth > 0);
            depth--;
            assert_int_equal(strlen(stack[depth]), n);
            assert_memory_equal(stack[depth], name, n);
        } else {
            assert_true(depth < 64);
            memcpy(stack[depth], name, n);
            stack[depth++][n] = '\0';
        }
    }
    assert_int_equal(depth, 0);
}

static void has(const char *text, const char *part)
{
    if (!strstr(text, part)) fail_msg("\"%s\" is missing", part);
}

static void html_holds_everything(void **state)
{
    (void)state;
    qep_report *r = make(summary_text, csv_text);
    char *html = qep_report_html(r);
    check_tags(html);
    static const char *const parts[] = {"qep_mpi a&lt;b&gt;.ini", "abc &amp; &lt;def&gt;", "threads = &lt;4&gt;", "<p>MPI &lt;1&gt;</p>", "+25.00 %", "0.06250", "50.00 %", "3.125",
                                        "block 0 self_attn.q_proj: 0.0200", "block 1 mlp.experts.*.up_proj: 0.0300", /* mean of 0.02 and 0.04 */
                                        "block 1 mlp.experts.*.up_proj: 0.0400", /* before: the one that is known */
                                        "<tr><td>forward</td><td>linears</td><td>0.750</td><td>50 %</td></tr>", "<td>a&lt;b</td><td>0.375</td>",
                                        "<td>everything else</td><td>0.375</td><td>25 %</td>", "What one rank does alone", "<tr><td>publish</td><td>0.0312</td><td>1.04 %</td></tr>",
                                        "<tr><td>together</td><td>0.0938</td><td>3.12 %</td></tr>",
                                        "evaluation, block 1: 0.0300", "1.50 s (1 .. 2)", "900 B of 1000 B", "00ff", "arc_easy", "0.6250", "(repaired)", "Scored as a &amp; b",
                                        "<th>arc</th><th>lam</th>", "<tr><td>examples</td><td>12</td><td>5</td></tr>", "<tr><td>accuracy original</td><td>0.6250</td><td>-</td></tr>",
                                        "<tr><td>perplexity original</td><td>-</td><td>12.75</td></tr>",
                                        "tasks, block 1: 67.2", "calibration, block 1: 346", "absolute, |x", "BOS, calibration: one in front of &lt;each&gt; document",
                                        "BOS, evaluation: none", "ffee", "lm_head", "<td>0.03750</td><td>0.03125</td>", "; kept"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) has(html, parts[i]);
    assert_null(strstr(html, "http")); /* nothing comes from a network */
    assert_null(strstr(html, "<script"));
    assert_null(strstr(html, "nan"));
    qep_free(html);
    qep_report_destroy(&r);
    assert_int_equal(qep_mem_blocks(), 0);
}

static void text_holds_everything(void **state)
{
    (void)state;
    qep_report *r = make(summary_text, csv_text);
    char *text = qep_report_text(r);
    static const char *const parts[] = {"qep_mpi a<b>.ini", "+25.00%", "0.06250", "50.00%", "mlp.experts.*.up_proj", "0.0300", "arc_easy", "0.6250",
                                        "forward", "1.500", "forward      linears                  0.7500        50%", "everything else          0.3750        25%",
                                        "what one rank does alone", "publish                 0.03125", "together                0.09375", "digest 00ff", "token ids:        ffee", "abc & <def>\nMPI <1>\nBLAS 2\n", "[run]\nthreads = <4>\n",
                                        "stats.tap                  1000 B        900 B", "4 ranks x 2 threads",
                                        "Delta", "     346", "BOS, calibration: one in front of <each> document", "BOS, evaluation:  none",
                                        "KL 0.03750 -> 0.03125 on the calibration tokens, - -> - held out; kept"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) has(text, parts[i]);
    assert_null(strstr(text, "nan"));
    qep_free(text);
    qep_report_destroy(&r);
}

/* A run that only evaluates has no modules, growth or digest; an empty summary is no reason to fail either. */
static void little_is_enough(void **state)
{
    (void)state;
    static const char *const few[] = {"{}", "{\"evaluation\": {\"a\": {\"tokens\": 5, \"perplexity_original\": 3}}}",
                                      "{\"error_growth\": {\"blocks\": [0], \"calibration\": [0]}}", "{\"seconds\": {}, \"memory\": 3, \"tasks\": [], \"final_norm\": {}}",
                                      "{\"parts\": {\"forward\": {\"linears\": 1}, \"load\": 3}, \"one_rank\": {\"publish\": \"?\"}}"};
    for (size_t i = 0; i < sizeof few / sizeof *few; i++) {
        qep_report *r = make(few[i], i % 2 ? NULL : "module\n");
        char *html = qep_report_html(r), *text = qep_report_text(r);
        check_tags(html);
        assert_null(strstr(html, "nan"));
        assert_null(strstr(text, "nan"));
        assert_null(strstr(text, "BOS"));
        if (strstr(few[i], "growth")) has(html, "nothing to draw");
        qep_free(text);
        qep_free(html);
        qep_report_destroy(&r);
    }
}

/* Many blocks: cells without numbers, every one with its title; the scale keeps its order. */
static void many_blocks(void **state)
{
    (void)state;
    enum { N = 126 };
    char *csv = qep_alloc("test", 200 * N, 1);
    size_t at = (size_t)sprintf(csv, "module,error_after\n");
    for (int b = 0; b < N; b++) at += (size_t)sprintf(csv + at, "model.layers.%d.mlp.down_proj,%g\n", b, 1e-6 * (b + 1));
    char *growth = qep_strdup("test", "{\"error_growth\": {\"tasks\": [1");
    for (int b = 1; b < N; b++) {
        char *longer = qep_strf("test", "%s, %d", growth, b + 1);
        qep_free(growth);
        growth = longer;
    }
    char *summary = qep_strf("test", "%s]}}", growth);
    qep_report *r = make(summary, csv);
    char *html = qep_report_html(r), part[64];
    check_tags(html);
    for (int b = 0; b < N; b++) {
        snprintf(part, sizeof part, "block %d mlp.down_proj: ", b);
        has(html, part);
    }
    for (int b = 0; b < N; b++) {
        snprintf(part, sizeof part, "tasks, block %d: %d<", b, b + 1);
        has(html, part);
    }
    int hidden = 0;
    for (const char *p = html; (p = strstr(p, "opacity=\"0\"")) != NULL; p++) hidden++;
    assert_int_equal(hidden, N - 9); /* nine marks to be seen, titles at all */
    assert_null(strstr(html, "class=\"in\""));
    qep_free(summary);
    qep_free(growth);
    qep_free(html);
    qep_report_destroy(&r);
    qep_free(csv);
}

static void broken_tables(void **state)
{
    (void)state;
    static const struct {
        const char *csv, *why;
    } bad[] = {{"a,b\n1,2\n", "modules.csv:1: no column"}, {"module,bits\nx,3\ny\n", "modules.csv:3: 1 fields"}, {"", NULL}};
    qep_json *s = qep_json_new_object();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        qep_report *r = NULL;
        qep_status st = qep_report_parse(s, bad[i].csv, "modules.csv", NULL, &r);
        assert_int_equal(st, bad[i].why ? QEP_E_INPUT : QEP_OK);
        if (bad[i].why) has(qep_error_text(), bad[i].why);
        qep_report_destroy(&r);
    }
    qep_json_free(&s);
    qep_report *r = NULL;
    assert_int_equal(qep_report_load("/nonexistent", &r), QEP_E_INPUT);
    has(qep_error_text(), "/nonexistent/summary.json");
    assert_int_equal(qep_mem_blocks(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(html_holds_everything), cmocka_unit_test(text_holds_everything),
                                       cmocka_unit_test(little_is_enough), cmocka_unit_test(many_blocks), cmocka_unit_test(broken_tables)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
