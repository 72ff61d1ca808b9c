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

static void put_group(const char *folder, const char *limit_name, const char *limit, const char *used_name, const char *used, const char *stat)
{
    char name[256];
    snprintf(name, sizeof name, "sys%s/%s", folder, limit_name), put(name, limit);
    snprintf(name, sizeof name, "sys%s/%s", folder, used_name), put(name, used);
    snprintf(name, sizeof name, "sys%s/memory.stat", folder), put(name, stat);
}

static void version_2(void **state)
{
    (void)state;
    put("proc", "0::/job/step/task\n");
    put_group("/job/step/task", "memory.max", "max\n", "memory.current", "50\n", "anon 40\ninactive_file 10\n");
    assert_int_equal(qep_mem_cgroup(proc, sys), -1); /* no limit anywhere */
    put_group("/job", "memory.max", "1000\n", "memory.current", "700\n", "anon 500\ninactive_file 150\nactive_file 50\n");
    assert_int_equal(qep_mem_cgroup(proc, sys), 500); /* the job's, what files have read does not count */
    put_group("/job/step", "memory.max", "300\n", "memory.current", "60\n", "anon 60\n");
    assert_int_equal(qep_mem_cgroup(proc, sys), 240); /* the step's is less */
    put_group("/job/step", "memory.max", "300\n", "memory.current", "360\n", "inactive_file 0\n");
    assert_int_equal(qep_mem_cgroup(proc, sys), 0);
}

static void version_1(void **state)
{
    (void)state;
    put("proc", "9:name=systemd:/x\n5:cpu,cpuacct:/x\n4:hugetlb,memory:/slurm/job\n0::/\n");
    put_group("/memory/slurm/job", "memory.limit_in_bytes", "9223372036854771712\n", "memory.usage_in_bytes", "7\n", "total_inactive_file 1\n");
    assert_int_equal(qep_mem_cgroup(proc, sys), -1); /* the largest multiple of a page: no limit */
    put_group("/memory/slurm", "memory.limit_in_bytes", "4096\n", "memory.usage_in_bytes", "100\n", "inactive_file 3\ntotal_inactive_file 4\ntotal_active_file 5\n");
    assert_int_equal(qep_mem_cgroup(proc, sys), 4005);
}

/* A container shows its own group as the root of all. */
static void own_root(void **state)
{
    (void)state;
    put("proc", "0::/\n");
    put_group("", "memory.max", "77\n", "memory.current", "7\n", "");
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
