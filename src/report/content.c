/* The content of a report: fields of summary.json, lines of modules.csv.
 * SPDX-License-Identifier: Apache-2.0 */
#include "report_priv.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const qep_json *qep_report_at(const qep_json *o, const char *path)
{
    char name[64];
    while (o && *path) {
        size_t n = strcspn(path, "/");
        QEP_REQUIRE(n < sizeof name);
        memcpy(name, path, n);
        name[n] = '\0';
        o = qep_json_get(o, name);
        path += n + (path[n] == '/');
    }
    return o;
}

double qep_report_real(const qep_json *o, const char *path)
{
    const qep_json *v = qep_report_at(o, path);
    return v && qep_json_is_number(v) ? qep_json_real(v) : (double)NAN;
}

const char *qep_report_word(const qep_json *o, const char *path)
{
    const qep_json *v = qep_report_at(o, path);
    const char *s = v ? qep_json_string(v) : NULL;
    return s ? s : "";
}

double qep_report_share(double seconds, double whole)
{
    return whole > 0 ? 100 * seconds / whole : (double)NAN;
}

double qep_report_sum(const qep_json *o)
{
    void *it = NULL;
    const char *name;
    qep_json *v;
    double sum = 0;
    while ((it = qep_json_next(o, it, &name, &v)) != NULL) sum += qep_json_is_number(v) ? qep_json_real(v) : 0;
    return sum;
}

void qep_report_each_part(const qep_json *summary, qep_report_part *visit, FILE *f)
{
    void *it = NULL, *row;
    const char *phase, *name;
    qep_json *o, *v;
    const qep_json *seconds = qep_report_at(summary, "seconds");
    while ((it = qep_json_next(qep_report_at(summary, "parts"), it, &phase, &o)) != NULL) {
        const double whole = qep_report_real(qep_report_at(seconds, phase), "mean");
        for (row = NULL; (row = qep_json_next(o, row, &name, &v)) != NULL;) visit(f, phase, name, qep_report_real(o, name), whole);
        if (isfinite(whole)) visit(f, phase, "everything else", fmax(whole - qep_report_sum(o), 0), whole);
    }
}

const char *qep_report_number(double v, int digits, char *buf, size_t cap)
{
    double a = fabs(v);
    if (!isfinite(v)) {
        snprintf(buf, cap, "-");
    } else if (v == rint(v) && a < 1e15) {
        snprintf(buf, cap, "%.0f", v);
    } else if (a < 1e-3 || a >= 1e7) {
        snprintf(buf, cap, "%.*e", qep_int(qep_max_i64(digits - 1, 0)), v);
    } else {
        int64_t decimals = digits - 1 - (int64_t)floor(log10(a));
        snprintf(buf, cap, "%.*f", qep_int(qep_max_i64(decimals, 0)), v);
    }
    return buf;
}

const char *qep_report_group_text(double group_size, char *buf, size_t cap)
{
    if (!isfinite(group_size)) snprintf(buf, cap, "-");
    else if (group_size < 0) snprintf(buf, cap, "row");
    else snprintf(buf, cap, "%.0f", group_size);
    return buf;
}

/* --- modules.csv ---------------------------------------------------------------------------------- */

enum { MAX_FIELDS = 64 };

typedef struct fields {
    char *line;               /* the line's copy, cut at the commas */
    const char *at[MAX_FIELDS];
    int n;
} fields;

/* Cuts one line (no quotes: names of modules have no commas). */
static void cut(const char *begin, size_t n, fields *f)
{
    f->line = qep_alloc("report.csv", (int64_t)n + 1, 1);
    memcpy(f->line, begin, n);
    f->n = 0;
    char *p = f->line;
    while (f->n < MAX_FIELDS) {
        f->at[f->n++] = p;
        p += strcspn(p, ",\r");
        if (*p != ',') {
            *p = '\0';
            return;
        }
        *p++ = '\0';
    }
}

static int column(const fields *header, const char *name)
{
    for (int i = 0; i < header->n; i++)
        if (strcmp(header->at[i], name) == 0) return i;
    return -1;
}

static double number(const fields *f, int at)
{
    if (at < 0 || at >= f->n || f->at[at][0] == '\0') return (double)NAN;
    char *end = NULL;
    double v = strtod(f->at[at], &end);
    return *end == '\0' ? v : (double)NAN;
}

/* "model.layers.3.mlp.experts.7.up_proj" is block 3, "mlp.experts.*.up_proj". */
static void place(qep_report_module *m)
{
    const char *rest = NULL;
    m->block = -1;
    for (const char *p = strchr(m->name, '.'); p && !rest; p = strchr(p + 1, '.')) {
        char *end = NULL;
        if (!isdigit((unsigned char)p[1])) continue;
        m->block = strtoll(p + 1, &end, 10);
        if (*end == '.') rest = end + 1;
    }
    m->linear = qep_strdup("report.modules", rest ? rest : m->name);
    if (!rest) m->block = -1;
    char *to = m->linear;
    for (const char *p = m->linear; *p;) {
        bool number_part = rest && isdigit((unsigned char)*p) && (p == m->linear || p[-1] == '.');
        size_t n = number_part ? strspn(p, "0123456789") : 0;
        if (n > 0 && (p[n] == '.' || p[n] == '\0')) {
            *to++ = '*';
            p += n;
        } else {
            *to++ = *p++;
        }
    }
    *to = '\0';
}

static qep_status add_line(qep_report *r, const fields *header, const fields *f, const char *source, int64_t line)
{
    if (f->n != header->n)
        return qep_fail(QEP_E_INPUT, "%s:%lld: %d fields, the first line has %d", source, (long long)line, f->n, header->n);
    int method = column(header, "method");
    r->modules = qep_realloc(r->modules, "report.modules", r->n_modules + 1, sizeof *r->modules);
    qep_report_module *m = &r->modules[r->n_modules++];
    *m = (qep_report_module){.name = qep_strdup("report.modules", f->at[column(header, "module")]),
                             .method = qep_strdup("report.modules", method < 0 ? "" : f->at[method]),
                             .bits = number(f, column(header, "bits")),
                             .group_size = number(f, column(header, "group_size")),
                             .error_before = number(f, column(header, "error_before")),
                             .error_after = number(f, column(header, "error_after")),
                             .seconds = number(f, column(header, "seconds")),
                             .fallback = number(f, column(header, "fallback"))};
    place(m);
    return QEP_OK;
}

static qep_status read_modules(qep_report *r, const char *csv, const char *source)
{
    fields header = {0};
    qep_status st = QEP_OK;
    int64_t line = 0;
    for (const char *p = csv; *p && st == QEP_OK;) {
        size_t n = strcspn(p, "\n");
        fields f = {0};
        line++;
        cut(p, n, line == 1 ? &header : &f);
        if (line == 1 && column(&header, "module") < 0)
            st = qep_fail(QEP_E_INPUT, "%s:1: no column \"module\"", source);
        else if (line > 1 && n > 0)
            st = add_line(r, &header, &f, source, line);
        qep_free(f.line);
        p += n + (p[n] == '\n');
    }
    qep_free(header.line);
    return st;
}

/* --- the whole ------------------------------------------------------------------------------------ */

qep_status qep_report_parse(const qep_json *summary, const char *modules_csv, const char *csv_source, const char *settings, qep_report **out)
{
    qep_report *r = qep_alloc("report", 1, sizeof *r);
    r->summary = qep_json_copy(summary);
    if (settings) r->settings = qep_strdup("report", settings);
    qep_status st = modules_csv ? read_modules(r, modules_csv, csv_source) : QEP_OK;
    if (st == QEP_OK) qep_report_heat_make(r);
    if (st != QEP_OK) qep_report_destroy(&r);
    *out = r;
    return st;
}

/* Text of a file that may be missing: then NULL. */
static qep_status read_if_there(const char *path, char **text)
{
    int64_t bytes;
    *text = NULL;
    return qep_file_exists(path) ? qep_file_read(path, INT64_MAX, QEP_E_IO, text, &bytes) : QEP_OK;
}

qep_status qep_report_load(const char *dir, qep_report **out)
{
    char *path = qep_path_join(dir, "summary.json"), *csv_path = qep_path_join(dir, "modules.csv");
    char *ini_path = qep_path_join(dir, "qep_mpi.ini"), *csv = NULL, *ini = NULL;
    qep_json *summary = NULL;
    qep_status st;
    *out = NULL;
    if (!qep_file_exists(path)) QEP_GO(st, qep_fail(QEP_E_INPUT, "%s: not there; a report is made from the directory of a finished run", path));
    QEP_GO(st, qep_json_load(path, QEP_E_INPUT, &summary));
    QEP_GO(st, read_if_there(csv_path, &csv));
    QEP_GO(st, read_if_there(ini_path, &ini));
    st = qep_report_parse(summary, csv, csv_path, ini, out);
done:
    qep_json_free(&summary);
    qep_free(ini);
    qep_free(csv);
    qep_free(ini_path);
    qep_free(csv_path);
    qep_free(path);
    return st;
}

void qep_report_destroy(qep_report **r)
{
    if (!*r) return;
    for (int64_t i = 0; i < (*r)->n_modules; i++) {
        qep_free((*r)->modules[i].name);
        qep_free((*r)->modules[i].method);
        qep_free((*r)->modules[i].linear);
    }
    qep_report_heat_free(&(*r)->heat);
    qep_free((*r)->modules);
    qep_free((*r)->settings);
    qep_json_free(&(*r)->summary);
    qep_free(*r);
    *r = NULL;
}
