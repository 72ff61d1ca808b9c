/* What control groups leave a process, on trees of files as the kernel shows them. SPDX-License-Identifier: Apache-2.0 */
#include "qep_test.h"

static char dir[64], proc[96], sys[96];

static void put(const char *name, const char *text)
{
    char *path = qep_path_join(dir, name), *parent = qep_path_dir(path);
    assert_ok(qep_dir_make(parent));
    assert_ok(qep_file_write(path, text, (int64_t)strlen(text)));
    qep_free(parent);
    qep_free(path);
}

static const char *const v2[2] = {"memory.max", "memory.current"}, *const v1[2] = {"memory.limit_in_bytes", "memory.usage_in_bytes"};

static void put_group(const char *const names[2], const char *folder, const char *limit, const char *used, const char *stat)
{
    const char *files[3] = {names[0], names[1], "memory.stat"}, *texts[3] = {limit, used, stat};
    char name[256];
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "sys%s/%s", folder, files[i]);
        put(name, texts[i]);
    }
}

static void version_2(void **state)
{
    (void)state;
    put("proc", "0::/job/step/task\n");
    put_group(v2, "/job/step/task", "max\n", "50\n", "anon 40\ninactive_file 10\n");
    assert_int_equal(qep_mem_cgroup(proc, sys), -1); /* no limit anywhere */
    put_group(v2, "/job", "1000\n", "700\n", "anon 500\ninactive_file 150\nactive_file 50\n");
    assert_int_equal(qep_mem_cgroup(proc, sys), 500); /* the job's, what files have read does not count */
    put_group(v2, "/job/step", "300\n", "60\n", "anon 60\n");
    assert_int_equal(qep_mem_cgroup(proc, sys), 240); /* the step's is less */
    put_group(v2, "/job/step", "300\n", "360\n", "inactive_file 0\n");
    assert_int_equal(qep_mem_cgroup(proc, sys), 0);
}

static void version_1(void **state)
{
    (void)state;
    put("proc", "9:name=systemd:/x\n5:cpu,cpuacct:/x\n4:hugetlb,memory:/slurm/job\n0::/\n");
    put_group(v1, "/memory/slurm/job", "9223372036854771712\n", "7\n", "total_inactive_file 1\n");
    assert_int_equal(qep_mem_cgroup(proc, sys), -1); /* the largest multiple of a page: no limit */
    put_group(v1, "/memory/slurm", "4096\n", "100\n", "inactive_file 3\ntotal_inactive_file 4\ntotal_active_file 5\n");
    assert_int_equal(qep_mem_cgroup(proc, sys), 4005);
}

/* A container shows its own group as the root of all. */
static void own_root(void **state)
{
    (void)state;
    put("proc", "0::/\n");
    put_group(v2, "", "77\n", "7\n", "");
    assert_int_equal(qep_mem_cgroup(proc, sys), 70);
    put("proc", "nonsense\n:\n::\n0::\n");
    assert_int_equal(qep_mem_cgroup(proc, sys), 70);
    put("proc", "");
    assert_int_equal(qep_mem_cgroup(proc, sys), -1);
    assert_int_equal(qep_mem_cgroup("/nonexistent", sys), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(version_2), cmocka_unit_test(version_1), cmocka_unit_test(own_root)};
    snprintf(dir, sizeof dir, "/tmp/qep_test_memory_XXXXXX");
    if (!mkdtemp(dir)) return 1;
    snprintf(proc, sizeof proc, "%s/proc", dir);
    snprintf(sys, sizeof sys, "%s/sys", dir);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command) != 0 || failed;
}
