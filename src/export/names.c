/* Names of tensors and modules. SPDX-License-Identifier: Apache-2.0 */
#include "export_priv.h"

#include <string.h>

bool qep_ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s), k = strlen(tail);

    return n >= k && strcmp(s + n - k, tail) == 0;
}

bool qep_is_part(const char *name, const char *module, const char *suffix)
{
    size_t n = strlen(module);

    return strncmp(name, module, n) == 0 && strcmp(name + n, suffix) == 0;
}

const qep_st_tensor *qep_planned_part(const qep_st_layout *l, const char *module,
                                      const char *suffix)
{
    char *name = qep_strf("export.name", "%s%s", module, suffix);
    const qep_st_tensor *t = qep_st_layout_find(l, name);

    qep_free(name);
    return t;
}
