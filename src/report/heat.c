/* Errors of the modules as a table of linears by blocks, and its picture.
 * SPDX-License-Identifier: Apache-2.0 */
#include "report_priv.h"

#include <math.h>
#include <string.h>

static int64_t row_of(const qep_report_heat *h, const char *linear)
{
    for (int64_t i = 0; i < h->n_linears; i++)
        if (strcmp(h->linears[i], linear) == 0) return i;
    return -1;
}

static void add_value(double *sum, int64_t *count, double v)
{
    if (!isfinite(v)) return;
    *sum += v;
    (*count)++;
}

/* Sums become means; cells without a value NAN. */
static void finish(qep_report_heat *h, double *values, const int64_t *count)
{
    for (int64_t k = 0; k < h->n_linears * h->n_blocks; k++) {
        values[k] = count[k] > 0 ? values[k] / (double)count[k] : (double)NAN;
        if (!(values[k] > 0)) continue;
        h->lo = h->lo > 0 ? fmin(h->lo, values[k]) : values[k];
        h->hi = fmax(h->hi, values[k]);
    }
}

void qep_report_heat_make(qep_report *r)
{
    qep_report_heat *h = &r->heat;
    h->linears = qep_alloc("report.heat", r->n_modules, sizeof *h->linears);
    for (int64_t i = 0; i < r->n_modules; i++) {
        const qep_report_module *m = &r->modules[i];
        if (m->block < 0) continue;
        if (row_of(h, m->linear) < 0) h->linears[h->n_linears++] = m->linear;
        h->n_blocks = qep_max_i64(h->n_blocks, m->block + 1);
    }
    int64_t n = h->n_linears * h->n_blocks;
    int64_t *count = qep_alloc("report.heat", 2 * n, sizeof *count);
    h->before = qep_alloc("report.heat", n, sizeof *h->before);
    h->after = qep_alloc("report.heat", n, sizeof *h->after);
    for (int64_t i = 0; i < r->n_modules; i++) {
        const qep_report_module *m = &r->modules[i];
        if (m->block < 0) continue;
        int64_t k = row_of(h, m->linear) * h->n_blocks + m->block;
        add_value(&h->before[k], &count[k], m->error_before);
        add_value(&h->after[k], &count[n + k], m->error_after);
    }
    finish(h, h->before, count);
    finish(h, h->after, count + n);
    qep_free(count);
}

bool qep_report_heat_known(const qep_report_heat *h, const double *values)
{
    for (int64_t k = 0; k < h->n_linears * h->n_blocks; k++)
        if (isfinite(values[k])) return true;
    return false;
}

void qep_report_heat_free(qep_report_heat *h)
{
    qep_free(h->after);
    qep_free(h->before);
    qep_free(h->linears);
    *h = (qep_report_heat){0};
}

/* --- the picture ---------------------------------------------------------------------------------------- */

enum { TOP = 26, ROW = 24, WIDTH = 860, KEY = 34, CHARACTER = 7 }; /* CHARACTER: width of one in a name, at most */

/* Room for the longest name. */
static int64_t left_of(const qep_report_heat *h)
{
    int64_t n = 0;
    for (int64_t i = 0; i < h->n_linears; i++) n = qep_max_i64(n, (int64_t)strlen(h->linears[i]));
    return qep_min_i64(qep_max_i64(n * CHARACTER + 14, 100), WIDTH / 2);
}

/* 0 (smallest error) .. 1 (largest), on a logarithmic scale. */
static double shade(const qep_report_heat *h, double v)
{
    if (!(h->hi > h->lo) || !(v > 0)) return 0;
    return log(v / h->lo) / log(h->hi / h->lo);
}

/* Light to dark in one hue: the order of the values survives a black and white print. */
static void fill(FILE *f, double s)
{
    static const double light[3] = {240, 246, 252}, dark[3] = {12, 44, 92};
    int c[3];
    for (int i = 0; i < 3; i++) c[i] = (int)lround(light[i] + s * (dark[i] - light[i]));
    fprintf(f, "fill=\"#%02x%02x%02x\"", (unsigned)c[0], (unsigned)c[1], (unsigned)c[2]);
}

static void cell(FILE *f, const qep_report_heat *h, const double *values, int64_t i, int64_t b, int64_t left, double width)
{
    double v = values[i * h->n_blocks + b], x = (double)left + (double)b * width, y = TOP + (double)i * ROW;
    char text[32];
    if (!isfinite(v)) return;
    double s = shade(h, v);
    fprintf(f, "<g><title>block %lld ", (long long)b);
    qep_html_escape(f, h->linears[i]);
    fprintf(f, ": %s</title><rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%d\" ", qep_report_number(v, 3, text, sizeof text), x, y,
            width - (width > 8 ? 1 : 0), ROW - 1);
    fill(f, s);
    fputs("/>", f);
    if (width >= 44)
        fprintf(f, "<text x=\"%.2f\" y=\"%.2f\" class=\"in\" fill=\"%s\">%s</text>", x + width / 2, y + ROW * 0.66, s > 0.58 ? "#fff" : "#000",
                qep_report_number(v, 3, text, sizeof text));
    fputs("</g>\n", f);
}

/* The scale under the cells: five steps with their values. */
static void key(FILE *f, const qep_report_heat *h, double y)
{
    char text[32];
    for (int k = 0; k < 5; k++) {
        double s = k / 4.0, x = 14 + k * 115.0;
        fprintf(f, "<rect x=\"%.1f\" y=\"%.1f\" width=\"26\" height=\"14\" stroke=\"#567\" stroke-width=\".5\" ", x, y);
        fill(f, s);
        double v = h->lo * pow(h->hi / h->lo, s);
        fprintf(f, "/><text x=\"%.1f\" y=\"%.1f\">%s</text>\n", x + 32, y + 11, qep_report_number(v, 3, text, sizeof text));
    }
}

void qep_svg_heat(FILE *f, const qep_report_heat *h, const double *values, const char *title)
{
    const int64_t left = left_of(h);
    double width = fmin(64, (double)(WIDTH - left) / (double)h->n_blocks), bottom = TOP + (double)h->n_linears * ROW;
    int64_t step = qep_max_i64(1, qep_ceil_div(h->n_blocks, (int64_t)((double)(WIDTH - left) / fmax(width, 26.0))));
    fprintf(f, "<div class=\"scroll\"><svg viewBox=\"0 0 %d %.0f\" role=\"img\" aria-label=\"", WIDTH, bottom + KEY);
    qep_html_escape(f, title);
    fputs("\">\n", f);
    for (int64_t b = 0; b < h->n_blocks; b += step)
        fprintf(f, "<text x=\"%.2f\" y=\"%d\" class=\"mid\">%lld</text>\n", (double)left + ((double)b + 0.5) * width, TOP - 8, (long long)b);
    for (int64_t i = 0; i < h->n_linears; i++) {
        fprintf(f, "<text x=\"%lld\" y=\"%.2f\" class=\"end\">", (long long)left - 8, TOP + (double)i * ROW + ROW * 0.66);
        qep_html_escape(f, h->linears[i]);
        fputs("</text>\n", f);
        for (int64_t b = 0; b < h->n_blocks; b++) cell(f, h, values, i, b, left, width);
    }
    if (h->hi > h->lo) key(f, h, bottom + 12);
    fputs("</svg></div>\n", f);
}
