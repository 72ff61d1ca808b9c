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

size_t qep_mixture_length(const char *module)
{
    static const char experts[] = ".experts.";
    const char *at = strstr(module, experts);

    return at ? (size_t)(at - module) + sizeof experts - 2 : 0;
}

char *qep_fused_name(const char *module)
{
    static const char *const sets[][2] = {{".q_proj", ".qkv_proj"}, {".gate_proj", ".gate_up_proj"}};
    size_t n = qep_mixture_length(module);

    if (n > 0) {
        bool first = strcmp(module + n, ".0.gate_proj") == 0 || strcmp(module + n, ".0.w1") == 0;

        return first ? qep_strf("export.name", "%.*s", (int)n, module) : NULL;
    }
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        if (qep_ends_with(module, sets[i][0]))
            return qep_strf("export.name", "%.*s%s", (int)(strlen(module) - strlen(sets[i][0])), module, sets[i][1]);
    return NULL;
}

const qep_st_tensor *qep_planned_part(const qep_st_layout *l, const char *module,
                                      const char *suffix)
{
    char *name = qep_strf("export.name", "%s%s", module, suffix);
    const qep_st_tensor *t = qep_st_layout_find(l, name);

    qep_free(name);
    return t;
}
