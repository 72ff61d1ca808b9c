/* Globs with * and ?, and the nearest name to a misspelt one. SPDX-License-Identifier: Apache-2.0
 */
#include "config_priv.h"

#include <string.h>

/* Linear scan with one point of return: the last * takes one character more when the rest does not
 * fit. */
bool qep_glob(const char *pattern, const char *name)
{
    const char *star = NULL, *retry = NULL;
    while (*name) {
        if (*pattern == '*') {
            star = pattern++;
            retry = name;
        } else if (*pattern == '?' || *pattern == *name) {
            pattern++;
            name++;
        } else if (star) {
            pattern = star + 1;
            name = ++retry;
        } else {
            return false;
        }
    }
    while (*pattern == '*') pattern++;
    return *pattern == '\0';
}

enum { word_cap = 40 };

/* Levenshtein distance, with a swap of neighbours as one step; only the first word_cap characters
 * count. */
static int distance(const char *a, const char *b)
{
    int na = (int)strnlen(a, word_cap), nb = (int)strnlen(b, word_cap);
    int row[3][word_cap + 1];
    for (int j = 0; j <= nb; j++) row[0][j] = j;
    for (int i = 1; i <= na; i++) {
        int *now = row[i % 3];
        const int *up = row[(i + 2) % 3], *up2 = row[(i + 1) % 3];
        now[0] = i;
        for (int j = 1; j <= nb; j++) {
            int d = up[j - 1] + (a[i - 1] != b[j - 1]);
            if (up[j] + 1 < d) d = up[j] + 1;
            if (now[j - 1] + 1 < d) d = now[j - 1] + 1;
            bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped && up2[j - 2] + 1 < d) d = up2[j - 2] + 1;
            now[j] = d;
        }
    }
    return row[na % 3][nb];
}

const char *qep_nearest(const char *word, const char *const *names)
{
    const char *best = NULL;
    int best_d = (int)strnlen(word, word_cap) / 2 + 1; /* more than half wrong: no likeness */
    for (; *names; names++) {
        int d = distance(word, *names);
        if (d < best_d) {
            best_d = d;
            best = *names;
        }
    }
    return best;
}
