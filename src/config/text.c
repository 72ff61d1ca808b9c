/* Text that grows while it is printed, and equal texts. SPDX-License-Identifier: Apache-2.0 */
#include "config_priv.h"

#include <stdarg.h>
#include <string.h>

void qep_text_add(qep_text *t, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int need = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    QEP_REQUIRE(need >= 0);
    if (t->n + need + 1 > t->cap) {
        t->cap = 2 * (t->n + need) + 256;
        t->s = qep_realloc(t->s, "config.text", t->cap, 1);
    }
    vsnprintf(t->s + t->n, (size_t)(t->cap - t->n), fmt, again);
    va_end(again);
    t->n += need;
}

bool qep_same(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}
