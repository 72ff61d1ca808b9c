/* The log: lines for people on stdout (errors on stderr) and, with time stamps, in a file. Only the root rank writes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base_priv.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static bool log_on;
static qep_log_level log_level = QEP_LOG_INFO;
static FILE *log_stream;
static char log_early[1 << 15]; /* lines written before the file is known: the plan stands in front of the log */
static size_t log_early_bytes;
static bool log_file_given_up;

void qep_log_start(bool root, qep_log_level level)
{
    pthread_mutex_lock(&log_lock);
    log_on = root;
    log_level = level;
    pthread_mutex_unlock(&log_lock);
}

qep_status qep_log_file(const char *path)
{
    if (!log_on) return QEP_OK;
    FILE *f = fopen(path, "a");
    if (!f) {
        char why[128];
        return qep_fail(QEP_E_IO, "cannot open the log file %s: %s", path,
                        qep_errno_text(errno, why, sizeof why));
    }
    setvbuf(f, NULL, _IOLBF, BUFSIZ);
    pthread_mutex_lock(&log_lock);
    FILE *old = log_stream;
    log_stream = f;
    if (!old && log_early_bytes > 0) fprintf(f, "%s", log_early);
    log_early_bytes = 0;
    pthread_mutex_unlock(&log_lock);
    if (old) fclose(old);
    return QEP_OK;
}

void qep_log_close(void)
{
    pthread_mutex_lock(&log_lock);
    if (log_stream) fclose(log_stream);
    log_stream = NULL;
    log_early_bytes = 0;
    log_on = log_file_given_up = false;
    pthread_mutex_unlock(&log_lock);
}

qep_log_level qep_log_get_level(void)
{
    return log_level;
}

static const char *mark_of(qep_log_level level)
{
    switch (level) {
    case QEP_LOG_ERROR: return "error: ";
    case QEP_LOG_WARN: return "warning: ";
    case QEP_LOG_DEBUG: return "debug: ";
    default: return "";
    }
}

/* Writes each line of text behind stamp and mark; false when the stream refused. */
static bool write_lines(FILE *out, const char *stamp, const char *mark, const char *text)
{
    bool ok = true;
    const char *line = text;
    for (;;) {
        const char *end = strchr(line, '\n');
        int len = (int)(end ? end - line : (ptrdiff_t)strlen(line)); /* at most QEP_MESSAGE_CAP */
        ok = fprintf(out, "%s%s%.*s\n", stamp, mark, len, line) >= 0 && ok;
        if (!end || end[1] == '\0') break;
        line = end + 1;
    }
    return fflush(out) == 0 && ok;
}

/* Keeps lines for the file that is to be opened; what does not fit is on stdout only. */
static void keep_early(const char *stamp, const char *mark, const char *text)
{
    FILE *f = fmemopen(log_early + log_early_bytes, sizeof log_early - log_early_bytes, "w");
    if (!f) return;
    if (write_lines(f, stamp, mark, text)) log_early_bytes += (size_t)ftell(f);
    fclose(f);
    log_early[log_early_bytes] = '\0';
}

static void time_stamp(char *buf, size_t cap)
{
    time_t now = time(NULL);
    struct tm tm;
    bool ok = localtime_r(&now, &tm) && strftime(buf, cap, "%Y-%m-%d %H:%M:%S  ", &tm) > 0;
    if (!ok) buf[0] = '\0';
}

void qep_log(qep_log_level level, const char *fmt, ...)
{
    if (!log_on || level > log_level) return;
    char text[QEP_MESSAGE_CAP];
    va_list ap;
    va_start(ap, fmt);
    qep_vformat(text, sizeof text, fmt, ap);
    va_end(ap);
    char stamp[64];
    time_stamp(stamp, sizeof stamp);
    pthread_mutex_lock(&log_lock);
    (void)write_lines(level == QEP_LOG_ERROR ? stderr : stdout, "", mark_of(level), text);
    if (!log_stream && !log_file_given_up) keep_early(stamp, mark_of(level), text);
    if (log_stream && !write_lines(log_stream, stamp, mark_of(level), text)) {
        /* A full disk must not end a run of hours for the sake of its log. */
        char why[128];
        printf("warning: cannot write the log file: %s; going on without it\n",
               qep_errno_text(errno, why, sizeof why));
        fflush(stdout);
        fclose(log_stream);
        log_stream = NULL;
        log_file_given_up = true;
    }
    pthread_mutex_unlock(&log_lock);
}

void qep_last_words(const char *fmt, ...)
{
    char text[QEP_MESSAGE_CAP], stamp[64];
    va_list ap;
    va_start(ap, fmt);
    qep_vformat(text, sizeof text, fmt, ap);
    va_end(ap);
    (void)write_lines(stderr, "", "", text);
    if (pthread_mutex_trylock(&log_lock) != 0) return;
    time_stamp(stamp, sizeof stamp);
    if (log_on && log_stream) (void)write_lines(log_stream, stamp, mark_of(QEP_LOG_ERROR), text);
    pthread_mutex_unlock(&log_lock);
}
