/* --report DIR: the tables of a finished run on standard output.
 * SPDX-License-Identifier: Apache-2.0 */
#include "qep/report.h"
#include "run_priv.h"

static qep_status show(const char *dir)
{
    qep_report *r = NULL;
    QEP_TRY(qep_report_load(dir, &r));
    char *text = qep_report_text(r);
    fputs(text, stdout);
    qep_free(text);
    qep_report_destroy(&r);
    return QEP_OK;
}

qep_status qep_run_show_all(qep_comm *c, const char *dir)
{
    return qep_agree_all(c, qep_rank(c) == 0 ? show(dir) : QEP_OK);
}
