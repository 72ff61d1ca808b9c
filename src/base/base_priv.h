/* What the files of base share among themselves. SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_BASE_PRIV_H
#define QEP_BASE_PRIV_H

#include <stdarg.h>

#include "qep/base.h"

/* Longest message of the error record and of one log call, with its NUL. */
enum { QEP_MESSAGE_CAP = 16384 };

/* vsnprintf for messages: a cut text ends in "...", control characters become '?'. */
void qep_vformat(char *buf, size_t cap, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));
/* Text of an errno value, safe in threads. Returns buf. */
const char *qep_errno_text(int err, char *buf, size_t cap);
/* qep_fault of the site "alloc.NAME". */
bool qep_fault_alloc(const char *name);
/* Rank for messages, as told by qep_set_abort_hook; 0 before. */
int qep_message_rank(void);

#endif
