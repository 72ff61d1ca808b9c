/* report: tables and plots of a finished run from what the run leaves: summary.json, modules.csv, qep_mpi.ini. Two forms of the same
 * content: one self-contained HTML file (inline SVG, no script, no network; readable in print without colours) and plain text for a
 * terminal. No MPI; one process makes it. SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_REPORT_H
#define QEP_REPORT_H

#include "qep/json.h"

typedef struct qep_report qep_report;

/* summary: summary.json [copied]; modules_csv: text of modules.csv, NULL when there is none (nothing was quantized); settings: text of
 * qep_mpi.ini, NULL when there is none. csv_source: its name for messages. QEP_E_INPUT with source, line and reason when the table is broken; what
 * a summary does not hold is left out of the report. */
QEP_MUST_CHECK qep_status qep_report_parse(const qep_json *summary, const char *modules_csv, const char *csv_source, const char *settings,
                                           qep_report **out);
/* The same from the files of an output directory. QEP_E_INPUT when summary.json is missing or broken. */
QEP_MUST_CHECK qep_status qep_report_load(const char *dir, qep_report **out);
void qep_report_destroy(qep_report **r);

char *qep_report_html(const qep_report *r); /* qep_free */
char *qep_report_text(const qep_report *r); /* at most 100 columns but for long names; qep_free */

#endif
