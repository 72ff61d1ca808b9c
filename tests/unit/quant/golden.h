/* Reading the golden layers ($QEP_SHARED/golden/README.md). SPDX-License-Identifier: Apache-2.0 */
#ifndef GOLDEN_H
#define GOLDEN_H

#include "quant_fixture.h"

#include "qep/safetensors.h"

static char *shared_dir; /* NULL: no goldens here */

static UNUSED const char *golden_path(char *buf, size_t cap, const char *name)
{
    snprintf(buf, cap, "%s/golden/%s", shared_dir, name);
    return buf;
}

static UNUSED qep_st_set *open_golden(const char *name)
{
    char path[512];
    qep_st_set *s = NULL;
    assert_ok(qep_st_open_file(golden_path(path, sizeof path, name), &s));
    return s;
}

/* Raw data of a tensor; shape may be NULL. NULL when the file has none of that name. */
static UNUSED void *golden(const qep_st_set *s, const char *name, int64_t shape[2])
{
    const qep_st_tensor *t = qep_st_find(s, name);
    if (!t) return NULL;
    void *data = test_alloc(t->bytes, 1);
    assert_ok(qep_st_read(s, t, 0, t->bytes, data));
    for (int i = 0; shape && i < 2 && i < t->rank; i++) shape[i] = t->shape[i];
    return data;
}

/* Where the goldens are: $QEP_SHARED or beside the repository. */
static UNUSED void find_goldens(void)
{
    const char *dir = getenv("QEP_SHARED");
    if (!dir) dir = "../shared";
    char probe[512];
    snprintf(probe, sizeof probe, "%s/golden", dir);
    if (qep_dir_exists(probe)) shared_dir = qep_strdup("test", dir);
    else printf("# no golden vectors in %s: skipped\n", probe);
}

#endif
