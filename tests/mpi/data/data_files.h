/* Files for the tests of data: a directory that rank 0 makes and removes, .npy files from C arrays.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DATA_FILES_H
#define DATA_FILES_H
#include "qep_test.h"
#include "qep/data.h"
#include <dirent.h>
#include <unistd.h>

static qep_comm *world;
static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/qep_data_XXXXXX");
    bool ok = qep_rank(world) != 0 || mkdtemp(dir) != NULL;
    qep_bcast_all(world, 0, dir, sizeof dir);
    return qep_any_all(world, !ok) ? -1 : 0;
}

static int remove_dir(void **state)
{
    (void)state;
    qep_barrier_all(world);
    if (qep_rank(world) == 0) {
        DIR *d = opendir(dir);
        for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
            char *path = qep_path_join(dir, e->d_name);
            if (e->d_name[0] != '.') (void)unlink(path);
            qep_free(path);
        }
        if (d) closedir(d);
        (void)rmdir(dir);
    }
    qep_barrier_all(world);
    return 0;
}

/* magic, version, header text (padded by the caller or not), raw items. Rank 0 writes, all wait. */
static void write_npy(const char *name, int version, const char *header, const void *items,
                      int64_t bytes)
{
    if (qep_rank(world) == 0) {
        int64_t n = (int64_t)strlen(header), at = version == 1 ? 10 : 12;
        unsigned char *file = qep_alloc("test", at + n + bytes, 1);
        memcpy(file, "\x93NUMPY", 6);
        file[6] = (unsigned char)version;
        for (int64_t i = 8; i < at; i++) file[i] = (unsigned char)(n >> (8 * (i - 8)));
        memcpy(file + at, header, (size_t)n);
        if (bytes) memcpy(file + at + n, items, (size_t)bytes);
        char *path = qep_path_join(dir, name);
        assert_ok(qep_file_write(path, file, at + n + bytes));
        qep_free(path);
        qep_free(file);
    }
    qep_barrier_all(world);
}

/* int32 ids; rows 0: one-dimensional. */
static void write_ids(const char *name, int64_t rows, int64_t cols, const int32_t *ids)
{
    char header[128];
    if (rows)
        snprintf(header, sizeof header,
                 "{'descr': '<i4', 'fortran_order': False, 'shape': (%d, %d), }", (int)rows,
                 (int)cols);
    else
        snprintf(header, sizeof header,
                 "{'descr': '<i4', 'fortran_order': False, 'shape': (%d,), }", (int)cols);
    write_npy(name, 1, header, ids, (rows ? rows : 1) * cols * 4);
}
#endif
