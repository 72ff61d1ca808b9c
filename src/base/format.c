/* Text for people: messages, errno, durations, byte counts. SPDX-License-Identifier: Apache-2.0 */
#include "base_priv.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Ends a text that was cut with "..."; never leaves half a UTF-8 character before it. */
static void mark_cut(char *buf, size_t cap)
{
    if (cap < 4) return;
    size_t at = cap - 4;
    while (at > 0 && ((unsigned char)buf[at] & 0xC0u) == 0x80u) at--;
    memcpy(buf + at, "...", 4);
}

static void make_printable(char *s)
{
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7F) *s = '?';
    }
}

void qep_vformat(char *buf, size_t cap, const char *fmt, va_list ap)
{
    int n = vsnprintf(buf, cap, fmt, ap);
    if (n < 0) {
        snprintf(buf, cap, "(a message that cannot be formatted: %s)", fmt);
    } else if ((size_t)n >= cap) {
        mark_cut(buf, cap);
    }
    make_printable(buf);
}

const char *qep_errno_text(int err, char *buf, size_t cap)
{
    if (strerror_r(err, buf, cap) != 0) snprintf(buf, cap, "errno %d", err);
    return buf;
}

/* Rounds to the unit that is shown before it splits, so that 59.7 s is "1 min 00 s". */
const char *qep_format_seconds(double s, char *buf, size_t cap)
{
    if (!(s >= 0.0) || s > 1e15) {
        snprintf(buf, cap, "?");
        return buf;
    }
    int64_t sec = llround(s);
    int64_t min = llround(s / 60.0);
    int64_t hour = llround(s / 3600.0);
    if (s < 9.95) {
        snprintf(buf, cap, "%.1f s", s);
    } else if (sec < 60) {
        snprintf(buf, cap, "%" PRId64 " s", sec);
    } else if (sec < 3600) {
        snprintf(buf, cap, "%" PRId64 " min %02" PRId64 " s", sec / 60, sec % 60);
    } else if (min < 24 * 60) {
        snprintf(buf, cap, "%" PRId64 " h %02" PRId64 " min", min / 60, min % 60);
    } else {
        snprintf(buf, cap, "%" PRId64 " d %02" PRId64 " h", hour / 24, hour % 24);
    }
    return buf;
}

const char *qep_format_bytes(int64_t bytes, char *buf, size_t cap)
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double v = fabs((double)bytes);
    size_t u = 0;
    /* 1023.995 would be shown as "1024.00" */
    while (v >= (u == 0 ? 1024.0 : 1023.995) && u + 1 < sizeof unit / sizeof *unit) {
        v /= 1024.0;
        u++;
    }
    const char *sign = bytes < 0 ? "-" : "";
    snprintf(buf, cap, u == 0 ? "%s%.0f %s" : "%s%.2f %s", sign, v, unit[u]);
    return buf;
}
