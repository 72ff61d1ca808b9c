/* What the two forms of the report share: the content, read from the run's files.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_REPORT_PRIV_H
#define QEP_REPORT_PRIV_H

#include "qep/report.h"

typedef struct qep_report_module { /* a line of modules.csv; NAN where the field is empty */
    char *name, *method;
    char *linear;                  /* name inside its block, numbers of experts replaced by "*"; the whole name outside of blocks */
    int64_t block;                 /* -1: outside of the blocks */
    double bits, group_size, error_before, error_after, seconds, fallback;
} qep_report_module;

/* Errors by linear (rows) and block (columns): the mean over the modules of a cell, NAN where there is none. */
typedef struct qep_report_heat {
    int64_t n_linears, n_blocks;
    const char **linears;          /* [n_linears], borrowed */
    double *before, *after;        /* [n_linears, n_blocks] */
    double lo, hi;                 /* over both, positive values only; lo = 0 when there are none */
} qep_report_heat;

struct qep_report {
    qep_json *summary;
    char *settings;                /* or NULL */
    qep_report_module *modules;
    int64_t n_modules;
    qep_report_heat heat;
};

/* NAN when the member is missing or no number. path: "memory.rank0"-like, members separated by '/'. */
const qep_json *qep_report_at(const qep_json *o, const char *path);
double qep_report_real(const qep_json *o, const char *path);
const char *qep_report_word(const qep_json *o, const char *path); /* "" when missing */

void qep_report_heat_make(qep_report *r);
bool qep_report_heat_known(const qep_report_heat *h, const double *values); /* some cell has a value */
void qep_report_heat_free(qep_report_heat *h);

/* A row of seconds: its share of `whole` in percent, NAN when one of them is not known. */
double qep_report_share(double seconds, double whole);
/* Sum of an object's numbers. */
double qep_report_sum(const qep_json *o);
/* Every part of the phases with its seconds, mean over the ranks, and what of a phase is in none of them; whole: the phase's seconds. */
typedef void qep_report_part(FILE *f, const char *phase, const char *name, double seconds, double whole);
void qep_report_each_part(const qep_json *summary, qep_report_part *visit, FILE *f);

/* "12.34", "1.2e-05", "128" (whole numbers as they are), "-" when not finite: `digits` significant ones. Returns buf. */
const char *qep_report_number(double v, int digits, char *buf, size_t cap);
/* "128", "row" for one group per row. Returns buf. */
const char *qep_report_group_text(double group_size, char *buf, size_t cap);

/* --- HTML ------------------------------------------------------------------------------------- */

void qep_html_escape(FILE *f, const char *text); /* & < > " */
/* Plots as <svg>, in a box that scrolls where the page is narrower than a plot can be read. */
void qep_svg_heat(FILE *f, const qep_report_heat *h, const double *values, const char *title);
/* summary's error_growth or error_growth_absolute, half as wide as the page; title: HTML. false: nothing was above zero, nothing drawn. */
bool qep_svg_growth(FILE *f, const qep_json *growth, const char *title);
void qep_svg_phases(FILE *f, const qep_json *seconds);  /* summary's seconds */
void qep_svg_memory(FILE *f, const qep_json *by_name);  /* summary's memory.rank0 */

#endif
