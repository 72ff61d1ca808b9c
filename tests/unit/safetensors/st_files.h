/* A scratch directory and hand-made safetensors files for the tests of this module.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ST_FILES_H
#define ST_FILES_H

#include "qep_test.h"
#include "qep/safetensors.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

static char scratch[256]; /* made for each test, removed after it */

static inline int make_scratch(void **state)
{
    const char *tmp = getenv("TMPDIR");

    (void)state;
    snprintf(scratch, sizeof scratch, "%s/qep_st_XXXXXX", tmp ? tmp : "/tmp");
    return mkdtemp(scratch) ? 0 : -1;
}

static inline int remove_scratch(void **state)
{
    DIR *d = opendir(scratch);
    char path[1024];

    (void)state;
    for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
        snprintf(path, sizeof path, "%s/%s", scratch, e->d_name);
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            (void)remove(path);
    }
    if (d)
        closedir(d);
    return rmdir(scratch);
}

#define SCRATCH_TEST(f) cmocka_unit_test_setup_teardown(f, make_scratch, remove_scratch)

/* scratch/name; the buffers rotate. */
static inline const char *in_scratch(const char *name)
{
    static char path[4][1024];
    static int turn;

    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", scratch, name);
    return path[turn];
}

static inline void put_bytes(const char *path, const void *data, size_t bytes)
{
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, bytes, f), bytes);
    assert_int_equal(fclose(f), 0);
}

/* Length field, header as it is, data. */
static inline void put_st(const char *path, const char *header, const void *data, size_t bytes)
{
    FILE *f = fopen(path, "wb");
    uint64_t h = strlen(header);

    assert_non_null(f);
    assert_int_equal(fwrite(&h, 1, 8, f), 8);
    assert_int_equal(fwrite(header, 1, h, f), h);
    assert_int_equal(fwrite(data, 1, bytes, f), bytes);
    assert_int_equal(fclose(f), 0);
}

static const unsigned char zeros[4096];

#endif
