/* Numbers, sizes, durations and paths as text. SPDX-License-Identifier: Apache-2.0 */
#include "config_priv.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool qep_read_i64(const char *s, int64_t *out)
{
    const char *p = s + (*s == '-' || *s == '+');
    if (!*p) return false;
    for (const char *q = p; *q; q++) {
        if (!is_digit(*q)) return false;
    }
    errno = 0;
    long long v = strtoll(s, NULL, 10);
    if (errno == ERANGE) return false;
    *out = (int64_t)v;
    return true;
}

/* strtod alone would also take nan, inf, hexadecimal numbers and leading blanks. */
bool qep_read_real(const char *s, double *out)
{
    if (!*s || strspn(s, "0123456789.eE+-") != strlen(s)) return false;
    char *end;
    double v = strtod(s, &end);
    if (*end || !isfinite(v)) return false;
    *out = v + 0.0; /* -0 becomes 0 */
    return true;
}

bool qep_read_size(const char *s, int64_t *out)
{
    size_t n = strlen(s);
    if (n == 0) return false;
    static const char units[] = "KMGT";
    int64_t factor = 1;
    const char *unit = strchr(units, s[n - 1]);
    char *digits = qep_slice(s, s + n - (unit ? 1 : 0));
    for (int64_t i = unit ? unit - units + 1 : 0; i > 0; i--) factor *= 1000;
    int64_t v;
    bool ok = qep_read_i64(digits, &v) && qep_mul_i64(v, factor, out);
    qep_free(digits);
    return ok;
}

/* Two digits 00 .. 59 that end at ':' or at the end. */
static bool sixty(const char *s, double *v)
{
    if (!is_digit(s[0]) || !is_digit(s[1]) || (s[2] && s[2] != ':')) return false;
    *v = (s[0] - '0') * 10 + (s[1] - '0');
    return *v < 60.0;
}

bool qep_read_duration(const char *s, double *out)
{
    const char *colon = strchr(s, ':');
    if (!colon) return qep_read_real(s, out) && *out >= 0.0 && *out <= 1e12;
    char *head = qep_slice(s, colon);
    int64_t lead;
    bool ok = is_digit(head[0]) && qep_read_i64(head, &lead) && lead <= INT64_C(100000000);
    qep_free(head);
    double a, b;
    if (!ok || !sixty(colon + 1, &a)) return false;
    const char *rest = colon + 3;
    if (!*rest) {
        *out = (double)lead * 60.0 + a;
        return true;
    }
    if (!sixty(rest + 1, &b) || rest[3]) return false;
    *out = (double)lead * 3600.0 + a * 60.0 + b;
    return true;
}

qep_status qep_parse_duration(const char *text, double *seconds)
{
    if (qep_read_duration(text, seconds)) return QEP_OK;
    return qep_fail(QEP_E_CONFIG, "%s is not a duration; write H:MM:SS, MM:SS or seconds", text);
}

void qep_real_text(double v, char *buf, size_t cap)
{
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(buf, cap, "%.*g", digits, v);
        if (strtod(buf, NULL) >= v && strtod(buf, NULL) <= v) return;
    }
}

/* A path relative to "" or "." is relative to the working directory. */
static char *absolute_dir(const char *dir)
{
    if (dir[0] == '/') return qep_strdup("config.path", dir);
    int64_t cap = 256;
    char *cwd = qep_alloc("config.path", cap, 1);
    while (!getcwd(cwd, (size_t)cap)) {
        if (errno != ERANGE) { /* the directory is gone: the relative name must do */
            qep_free(cwd);
            return qep_strdup("config.path", dir[0] ? dir : ".");
        }
        cap *= 2;
        cwd = qep_realloc(cwd, "config.path", cap, 1);
    }
    if (dir[0] == '\0' || strcmp(dir, ".") == 0) return cwd;
    char *joined = qep_path_join(cwd, dir);
    qep_free(cwd);
    return joined;
}

char *qep_path_absolute(const char *dir, const char *path)
{
    if (path[0] == '/') return qep_strdup("config.path", path);
    while (path[0] == '.' && path[1] == '/') {
        path += 2;
        while (path[0] == '/') path++;
    }
    char *base = absolute_dir(dir);
    bool same = path[0] == '\0' || strcmp(path, ".") == 0;
    char *full = same ? qep_strdup("config.path", base) : qep_path_join(base, path);
    qep_free(base);
    return full;
}
