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

/* pages.c: regions of whole huge pages, of what was freed and of the system's. The caller sees to it that no two threads are in them at a time. */
typedef struct qep_pages qep_pages;
/* At least `bytes`, of which the first *used hold what somebody left, the rest zeros. NULL: there is no memory. Owned: qep_pages_put, which keeps the pages. */
qep_pages *qep_pages_get(int64_t bytes, int64_t *used);
void qep_pages_put(qep_pages *p);
void *qep_pages_start(const qep_pages *p);
int64_t qep_pages_bytes(const qep_pages *p);
int64_t qep_pages_kept(void);             /* bytes */
void qep_pages_release(int64_t bytes);    /* so much of what is kept, or all, goes back to the system */

/* Rank for messages, as told by qep_set_abort_hook; 0 before. */
int qep_message_rank(void);

#endif
