/* What memory the machine has to give. SPDX-License-Identifier: Apache-2.0 */
#include "qep/base.h"

#include <stdlib.h>
#include <string.h>

int64_t qep_mem_available(void)
{
    FILE *f = fopen("/proc/meminfo", "r");
    if (!f) return -1;
    char line[128];
    const char key[] = "MemAvailable:";
    int64_t bytes = -1;
    while (bytes < 0 && fgets(line, sizeof line, f))
        if (strncmp(line, key, sizeof key - 1) == 0) bytes = strtoll(line + sizeof key - 1, NULL, 10) * 1024;
    fclose(f);
    return bytes;
}
