/* Paths as text. SPDX-License-Identifier: Apache-2.0 */
#include "qep/base.h"

#include <string.h>

char *qep_path_join(const char *dir, const char *name)
{
    if (dir[0] == '\0' || name[0] == '/') return qep_strdup("base.path", name);
    const char *slash = dir[strlen(dir) - 1] == '/' ? "" : "/";
    return qep_strf("base.path", "%s%s%s", dir, slash, name);
}

char *qep_path_dir(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash) return qep_strdup("base.path", ".");
    while (slash > path && slash[-1] == '/') slash--;
    int64_t n = slash == path ? 1 : slash - path; /* "/x" lies in "/" */
    char *dir = qep_alloc("base.path", n + 1, 1);
    memcpy(dir, path, (size_t)n);
    return dir;
}

const char *qep_path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}
