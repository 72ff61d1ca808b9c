/* Runs every target over its corpus, former findings among it: replay CORPUS. TAP. SPDX-License-Identifier: Apache-2.0 */
#include "targets.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

/* Each input also without its last bytes and with one bit changed: the neighbourhood of what once went wrong. */
static void run_around(const fuzz_target *t, uint8_t *data, size_t n)
{
    t->run(data, n);
    for (size_t i = 1; i < 8 && i < n; i++) t->run(data, n * i / 8);
    for (size_t i = 0; i < 8 && n > 0; i++) {
        uint8_t *at = &data[n * i / 8], was = *at;
        *at = (uint8_t)(was ^ (1u << i));
        t->run(data, n);
        *at = was;
    }
}

static int run_file(const fuzz_target *t, const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data = malloc(1 << 20);
    if (!f || !data) return 0;
    size_t n = fread(data, 1, 1 << 20, f);
    fclose(f);
    run_around(t, data, n);
    free(data);
    return 1;
}

int main(int argc, char **argv)
{
    int number = 0, failed = 0;
    fuzz_start();
    for (const fuzz_target *t = fuzz_targets; argc > 1 && t->name; t++) {
        char path[4096];
        int files = 0;
        snprintf(path, sizeof path, "%s/%s", argv[1], t->name);
        DIR *d = opendir(path);
        for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
            if (e->d_name[0] == '.') continue;
            snprintf(path, sizeof path, "%s/%s/%.255s", argv[1], t->name, e->d_name);
            printf("# %s\n", path);
            fflush(stdout); /* the one that crashes is named */
            files += run_file(t, path);
        }
        if (d) closedir(d);
        failed += files == 0;
        printf("%s %d - %s: %d inputs and their neighbours\n", files > 0 ? "ok" : "not ok", ++number, t->name, files);
    }
    printf("1..%d\n", number);
    return failed || number == 0;
}
