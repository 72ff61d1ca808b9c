/* Plots of the report: growth of the error, time per phase, memory. Series differ by dashes and marks as well as by colour, bars by
 * their labels, so that they can be told apart in black and white. SPDX-License-Identifier: Apache-2.0 */
#include "report_priv.h"

#include <math.h>
#include <string.h>

enum { WIDTH = 860, MAX_SERIES = 4 };

/* --- error growth --------------------------------------------------------------------------------- */

enum { PLOT = 430, LEFT = 62, RIGHT = 12, TOP = 26, BOTTOM = 262, HEIGHT = 332 }; /* two stand beside each other; the curves between TOP and BOTTOM */

typedef struct series {
    const char *name;
    const qep_json *values;
} series;

typedef struct axes {
    int64_t n;       /* points */
    double lo, hi;   /* 1, 2 or 5 times a power of ten, around the values */
} axes;

static double x_at(const axes *a, int64_t i)
{
    return LEFT + 6 + (a->n > 1 ? (double)i / (double)(a->n - 1) : 0.5) * (PLOT - LEFT - RIGHT - 12);
}

static double y_at(const axes *a, double v)
{
    return TOP + (BOTTOM - TOP) * (1 - log10(v / a->lo) / log10(a->hi / a->lo));
}

/* The next value of the scale 1 2 5 10 20 50 ... that is not above v (up = false) or not below it. */
static double tick(double v, bool up)
{
    static const double steps[] = {1, 2, 5, 10};
    double base = pow(10, floor(log10(v)));
    for (int k = 0; k < 3; k++) {
        if (up && v <= steps[k] * base * 1.0000001) return steps[k] * base;
        if (!up && v < steps[k + 1] * base * 0.9999999) return steps[k] * base;
    }
    return 10 * base;
}

/* The lists of positive numbers among the members, and the axes that hold them. */
static int collect(const qep_json *growth, series *out, axes *a)
{
    void *it = NULL;
    const char *name;
    qep_json *v;
    int n = 0;
    *a = (axes){0, INFINITY, 0};
    while ((it = qep_json_next(growth, it, &name, &v)) != NULL && n < MAX_SERIES) {
        if (qep_json_type(v) != QEP_JSON_ARRAY || strcmp(name, "blocks") == 0) continue;
        out[n++] = (series){name, v};
        a->n = qep_max_i64(a->n, qep_json_size(v));
        for (int64_t i = 0; i < qep_json_size(v); i++) {
            double x = qep_json_real(qep_json_at(v, i));
            if (!(x > 0)) continue;
            a->lo = fmin(a->lo, x);
            a->hi = fmax(a->hi, x);
        }
    }
    if (!(a->hi > 0)) return 0;
    a->lo = tick(a->lo, false);
    a->hi = fmax(tick(a->hi, true), a->lo * 2);
    return n;
}

static void grid(FILE *f, const axes *a)
{
    bool sparse = a->hi / a->lo > 3000; /* powers of ten only */
    for (double v = a->lo; v <= a->hi * 1.001; v = tick(v * 1.5, true)) {
        char text[32];
        if (sparse && fabs(log10(v) - rint(log10(v))) > 0.01) continue;
        fprintf(f, "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" class=\"grid\"/>", LEFT, PLOT - RIGHT, y_at(a, v), y_at(a, v));
        fprintf(f, "<text x=\"%d\" y=\"%.1f\" class=\"end\">%s</text>\n", LEFT - 8, y_at(a, v) + 4, qep_report_number(v, 1, text, sizeof text));
    }
    int64_t step = qep_max_i64(1, qep_ceil_div(a->n, 12));
    for (int64_t i = 0; i < a->n; i += step)
        fprintf(f, "<text x=\"%.1f\" y=\"%d\" class=\"mid\">%lld</text>\n", x_at(a, i), BOTTOM + 18, (long long)i);
    fprintf(f, "<text x=\"%d\" y=\"%d\" class=\"mid\">block</text>\n", (LEFT + PLOT - RIGHT) / 2, BOTTOM + 34);
}

static const char *const tint[MAX_SERIES] = {"#0c4a8c", "#b2410e", "#2f7d32", "#6a3d9a"};
static const char *const dash[MAX_SERIES] = {"none", "7 4", "2 3", "9 3 2 3"};

/* The mark of a series, its tag left open: filled and hollow circles, filled and hollow squares. hidden: there for its title only. */
static void mark(FILE *f, int k, double x, double y, bool hidden)
{
    if (k < 2) fprintf(f, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\"", x, y);
    else fprintf(f, "<rect x=\"%.1f\" y=\"%.1f\" width=\"6\" height=\"6\"", x - 3, y - 3);
    if (hidden) fputs(" opacity=\"0\"", f);
    else fprintf(f, " fill=\"%s\" stroke=\"%s\"", k % 2 ? "#fff" : tint[k], tint[k]);
}

/* Of many blocks some have a mark, in turn with the other series. */
static void curve(FILE *f, const axes *a, const series *s, int k)
{
    const int64_t step = a->n > 20 ? qep_ceil_div(a->n, 9) : 1;
    bool open = false;
    fprintf(f, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"2\" stroke-dasharray=\"%s\" d=\"", tint[k], dash[k]);
    for (int64_t i = 0; i < qep_json_size(s->values); i++) {
        double v = qep_json_real(qep_json_at(s->values, i));
        if (v > 0) fprintf(f, "%s%.1f %.1f ", open ? "L" : "M", x_at(a, i), y_at(a, v));
        open = v > 0;
    }
    fputs("\"/>\n", f);
    for (int64_t i = 0; i < qep_json_size(s->values); i++) {
        double v = qep_json_real(qep_json_at(s->values, i));
        char text[32];
        if (!(v > 0)) continue;
        mark(f, k, x_at(a, i), y_at(a, v), i % step != k * step / MAX_SERIES);
        fputs("><title>", f);
        qep_html_escape(f, s->name);
        fprintf(f, ", block %lld: %s</title></%s>\n", (long long)i, qep_report_number(v, 3, text, sizeof text), k < 2 ? "circle" : "rect");
    }
}

/* Under the curves. */
static void key(FILE *f, const char *name, int k)
{
    int x = LEFT + k % 2 * 180, y = BOTTOM + 48 + 18 * (k / 2);
    fprintf(f, "<line x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\" stroke=\"%s\" stroke-width=\"2\" stroke-dasharray=\"%s\"/>", x, x + 40, y, y,
            tint[k], dash[k]);
    mark(f, k, x + 20, y, false);
    fprintf(f, "/><text x=\"%d\" y=\"%d\">", x + 48, y + 4);
    qep_html_escape(f, name);
    fputs("</text>\n", f);
}

bool qep_svg_growth(FILE *f, const qep_json *growth, const char *title)
{
    series s[MAX_SERIES];
    axes a;
    int n = collect(growth, s, &a);
    if (n == 0) return false;
    fprintf(f, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"growth of the error over blocks, %s\">\n", PLOT, HEIGHT, title);
    fprintf(f, "<text x=\"%d\" y=\"14\">%s</text>\n", LEFT, title);
    grid(f, &a);
    for (int k = 0; k < n; k++) {
        curve(f, &a, &s[k], k);
        key(f, s[k].name, k);
    }
    fputs("</svg>\n", f);
    return true;
}

/* --- bars ------------------------------------------------------------------------------------------- */

enum { NAME = 150, BAR = 22, VALUE = 190 };

static double bar_scale(double top)
{
    return top > 0 ? (WIDTH - NAME - VALUE) / top : 0;
}

static void bar(FILE *f, int64_t row, const char *name, double length, const char *colour, double height)
{
    fprintf(f, "<text x=\"%d\" y=\"%.1f\" class=\"end\">", NAME - 8, (double)row * BAR + 15);
    qep_html_escape(f, name);
    fprintf(f, "</text><rect x=\"%d\" y=\"%.1f\" width=\"%.2f\" height=\"%.1f\" fill=\"%s\" stroke=\"#0c2c5c\" stroke-width=\".6\"/>", NAME,
            (double)row * BAR + (BAR - height) / 2, fmax(length, 0.5), height, colour);
}

/* Mean over ranks as a bar, from the fastest to the slowest rank as a line. */
void qep_svg_phases(FILE *f, const qep_json *seconds)
{
    void *it = NULL;
    const char *name;
    qep_json *v;
    double top = 0;
    int64_t n = 0, row = 0;
    while ((it = qep_json_next(seconds, it, &name, &v)) != NULL)
        if (strcmp(name, "total") != 0) {
            top = fmax(top, qep_report_real(v, "max"));
            n++;
        }
    double scale = bar_scale(top);
    fprintf(f, "<div class=\"scroll\"><svg viewBox=\"0 0 %d %lld\" role=\"img\" aria-label=\"seconds per phase\">\n", WIDTH, (long long)(n * BAR));
    it = NULL;
    while ((it = qep_json_next(seconds, it, &name, &v)) != NULL) {
        if (strcmp(name, "total") == 0) continue;
        double lo = qep_report_real(v, "min"), mean = qep_report_real(v, "mean"), hi = qep_report_real(v, "max");
        char a[32], b[32], c[32];
        bar(f, row, name, mean * scale, "#9db9dd", 13);
        double y = (double)row * BAR + BAR / 2.0;
        fprintf(f, "<path d=\"M%.1f %.1fV%.1fM%.1f %.1fH%.1fM%.1f %.1fV%.1f\" stroke=\"#0c2c5c\" fill=\"none\"/>", NAME + lo * scale, y - 4, y + 4,
                NAME + lo * scale, y, NAME + hi * scale, NAME + hi * scale, y - 4, y + 4);
        fprintf(f, "<text x=\"%.1f\" y=\"%.1f\">%s s (%s .. %s)</text>\n", NAME + hi * scale + 8, (double)row * BAR + 15,
                qep_report_number(mean, 3, a, sizeof a), qep_report_number(lo, 3, b, sizeof b), qep_report_number(hi, 3, c, sizeof c));
        row++;
    }
    fputs("</svg></div>\n", f);
}

/* Planned (hollow) and measured (filled) bytes by name. */
void qep_svg_memory(FILE *f, const qep_json *by_name)
{
    void *it = NULL;
    const char *name;
    qep_json *v;
    double top = 0;
    int64_t n = 0, row = 0;
    while ((it = qep_json_next(by_name, it, &name, &v)) != NULL) {
        double planned = qep_report_real(v, "planned"), measured = qep_report_real(v, "measured");
        if (!(planned > 0) && !(measured > 0)) continue;
        top = fmax(top, fmax(planned, measured));
        n++;
    }
    double scale = bar_scale(top);
    fprintf(f, "<div class=\"scroll\"><svg viewBox=\"0 0 %d %lld\" role=\"img\" aria-label=\"memory by name\">\n", WIDTH, (long long)(n * BAR));
    it = NULL;
    while ((it = qep_json_next(by_name, it, &name, &v)) != NULL) {
        double planned = qep_report_real(v, "planned"), measured = qep_report_real(v, "measured");
        char a[32], b[32];
        if (!(planned > 0) && !(measured > 0)) continue;
        bar(f, row, name, planned * scale, "none", 16);
        fprintf(f, "<rect x=\"%d\" y=\"%.1f\" width=\"%.2f\" height=\"8\" fill=\"#5d86bd\"/>", NAME, (double)row * BAR + 7, fmax(measured * scale, 0.5));
        fprintf(f, "<text x=\"%.1f\" y=\"%.1f\">%s of %s</text>\n", NAME + fmax(planned, measured) * scale + 8, (double)row * BAR + 15,
                qep_format_bytes((int64_t)measured, a, sizeof a), qep_format_bytes((int64_t)planned, b, sizeof b));
        row++;
    }
    fputs("</svg></div>\n", f);
}
