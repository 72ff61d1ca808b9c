/* The error record of the process, and the end of the job after a bug.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base_priv.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t record_lock = PTHREAD_MUTEX_INITIALIZER;
static char record_text[QEP_MESSAGE_CAP];
static char record_where[256];

static bool stuck;
static void (*abort_hook)(int exit_code);
static int message_rank;

/* snprintf of messages; no argument may lie in buf. */
static void put(char *buf, size_t cap, const char *fmt, ...) QEP_PRINTF(3, 4);
static void put(char *buf, size_t cap, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    qep_vformat(buf, cap, fmt, ap);
    va_end(ap);
}

qep_status qep_fail_at(const char *file, int line, qep_status st, const char *fmt, ...)
{
    /* Formatted outside the record: the arguments may be the record's own text. */
    char text[QEP_MESSAGE_CAP];
    va_list ap;
    va_start(ap, fmt);
    qep_vformat(text, sizeof text, fmt, ap);
    va_end(ap);
    pthread_mutex_lock(&record_lock);
    memcpy(record_text, text, strlen(text) + 1);
    put(record_where, sizeof record_where, "%s:%d", file, line);
    pthread_mutex_unlock(&record_lock);
    return st;
}

qep_status qep_context(qep_status st, const char *fmt, ...)
{
    if (st == QEP_OK) return st;
    char front[QEP_MESSAGE_CAP / 4];
    char old[QEP_MESSAGE_CAP];
    va_list ap;
    va_start(ap, fmt);
    qep_vformat(front, sizeof front, fmt, ap);
    va_end(ap);
    pthread_mutex_lock(&record_lock);
    memcpy(old, record_text, strlen(record_text) + 1);
    put(record_text, sizeof record_text, "%s: %s", front, old);
    pthread_mutex_unlock(&record_lock);
    return st;
}

const char *qep_error_text(void)
{
    return record_text;
}

const char *qep_error_where(void)
{
    return record_where;
}

void qep_error_set(qep_status st, const char *text, const char *where)
{
    if (st == QEP_OK) {
        qep_error_clear();
        return;
    }
    char copy[QEP_MESSAGE_CAP];
    char copy_where[sizeof record_where];
    put(copy, sizeof copy, "%s", text);
    put(copy_where, sizeof copy_where, "%s", where);
    pthread_mutex_lock(&record_lock);
    memcpy(record_text, copy, strlen(copy) + 1);
    memcpy(record_where, copy_where, strlen(copy_where) + 1);
    pthread_mutex_unlock(&record_lock);
}

void qep_error_clear(void)
{
    pthread_mutex_lock(&record_lock);
    record_text[0] = '\0';
    record_where[0] = '\0';
    pthread_mutex_unlock(&record_lock);
}

void qep_set_abort_hook(void (*hook)(int exit_code), int rank)
{
    abort_hook = hook;
    message_rank = rank;
}

int qep_message_rank(void)
{
    return message_rank;
}

void qep_set_stuck(void)
{
    stuck = true;
}

bool qep_stuck(void)
{
    return stuck;
}

void qep_end_job(int exit_code)
{
    fflush(NULL);
    if (abort_hook) abort_hook(exit_code);
    _Exit(exit_code);
}

void qep_bug_at(const char *file, int line, const char *fmt, ...)
{
    char text[QEP_MESSAGE_CAP];
    va_list ap;
    va_start(ap, fmt);
    qep_vformat(text, sizeof text, fmt, ap);
    va_end(ap);
    qep_last_words("qep_mpi: rank %d: internal error at %s:%d: %s", message_rank, file, line, text);
    qep_end_job(qep_status_exit_code(QEP_E_INTERNAL));
}
