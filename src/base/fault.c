/* Fault injection for tests: QEP_FAULT="site:n[@rank],...". SPDX-License-Identifier: Apache-2.0 */
#include "base_priv.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FAULTS = 16 };

typedef struct fault {
    char site[48];
    long at;    /* the call that fails, 1-based */
    long calls; /* so far */
} fault;

static pthread_mutex_t fault_lock = PTHREAD_MUTEX_INITIALIZER;
static fault table[MAX_FAULTS];
static int fault_count;
static const fault *armed; /* NULL: nothing to inject */

/* Reads a number in [min, INT_MAX] at *p and moves *p behind it. */
static bool take_number(const char **p, long min, long *out)
{
    char *end;
    if (**p < '0' || **p > '9') return false;
    errno = 0;
    *out = strtol(*p, &end, 10);
    *p = end;
    return errno == 0 && *out >= min && *out <= INT_MAX;
}

/* One "site:n[@rank]" at *p; false when it is not that. */
static bool take_fault(const char **p, fault *f, long *rank)
{
    size_t n = strcspn(*p, ":,@");
    if (n == 0 || n >= sizeof f->site || (*p)[n] != ':') return false;
    *f = (fault){0};
    memcpy(f->site, *p, n);
    *p += n + 1;
    *rank = 0;
    if (!take_number(p, 1, &f->at)) return false;
    if (**p == '@') {
        (*p)++;
        if (!take_number(p, 0, rank)) return false;
    }
    return **p == ',' || **p == '\0';
}

void qep_fault_init(int rank)
{
    fault_count = 0;
    armed = NULL;
    const char *spec = getenv("QEP_FAULT");
    if (!spec || !*spec) return;
    for (const char *p = spec;; p++) {
        fault f;
        long on_rank;
        if (!take_fault(&p, &f, &on_rank) || fault_count == MAX_FAULTS) {
            fprintf(stderr,
                    "qep_mpi: rank %d: QEP_FAULT=\"%s\" is not a list of at most %d site:n[@rank]\n",
                    rank, spec, MAX_FAULTS);
            qep_end_job(qep_status_exit_code(QEP_E_CONFIG));
        }
        if (on_rank == rank) table[fault_count++] = f;
        if (*p == '\0') break;
    }
    if (fault_count > 0) armed = table;
}

bool qep_fault(const char *site)
{
    if (!armed) return false;
    bool hit = false;
    pthread_mutex_lock(&fault_lock);
    for (int i = 0; i < fault_count; i++) {
        if (strcmp(table[i].site, site) == 0 && ++table[i].calls == table[i].at) hit = true;
    }
    pthread_mutex_unlock(&fault_lock);
    return hit;
}

bool qep_fault_alloc(const char *name)
{
    char site[sizeof table[0].site];
    if (!armed) return false;
    snprintf(site, sizeof site, "alloc.%s", name);
    return qep_fault(site);
}
