/* Status codes: exit code and text of each. SPDX-License-Identifier: Apache-2.0 */
#include "qep/base.h"

typedef struct status_row {
    int exit_code;
    const char *text;
} status_row;

static const status_row rows[] = {
#define QEP_X(name, code, text) [name] = {(code), (text)},
    QEP_STATUS_LIST(QEP_X)
#undef QEP_X
};

/* A value outside the list can only come from a bug: it is reported as one. */
static const status_row *row_of(qep_status st)
{
    size_t i = (size_t)st;
    return &rows[i < sizeof rows / sizeof *rows ? i : (size_t)QEP_E_INTERNAL];
}

int qep_status_exit_code(qep_status st)
{
    return row_of(st)->exit_code;
}

const char *qep_status_text(qep_status st)
{
    return row_of(st)->text;
}
