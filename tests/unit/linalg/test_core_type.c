/* The way out of a slow OPENBLAS_CORETYPE, and of an OpenBLAS that does not know the CPU. The test starts itself again as a child that does what main would do; the
 * child's exit status says what it saw. SPDX-License-Identifier: Apache-2.0 */
#include <sys/wait.h>
#include <unistd.h>

#include "qep/linalg.h"
#include "qep_test.h"

/* Bits of the child's exit status. */
enum { SAW_WARNING = 1, WAS_RESTARTED = 2, HAS_VARIABLE = 4, LOST_ARGUMENTS = 8, WRONG_PRODUCT = 16, LOST_NAME = 32 };

static char *self;

/* ps, top and pkill know the process by the program's name, also when it was started again. */
static bool has_its_name(void)
{
    char name[64] = "";
    FILE *f = fopen("/proc/self/comm", "r");
    if (f == NULL) return false;
    bool read = fgets(name, sizeof name, f) != NULL;
    fclose(f);
    return read && strcmp(name, "test_core_type\n") == 0;
}

static int child(int argc, char **argv)
{
    qep_linalg_fix_core_type(argv);
    qep_linalg_start(1);
    /* a use of BLAS: the linker leaves libraries out that nothing calls */
    float a = 2, b = 3, c = 0;
    qep_gemm_f32(false, 1, 1, 1, 1, &a, 1, &b, 1, 0, &c, 1);
    if (c != 6) return WRONG_PRODUCT;
    return (qep_linalg_warning() != NULL ? SAW_WARNING : 0) | (getenv("QEP_REEXEC") != NULL ? WAS_RESTARTED : 0) |
           (getenv("OPENBLAS_CORETYPE") != NULL ? HAS_VARIABLE : 0) |
           (argc == 3 && strcmp(argv[2], "an argument") == 0 ? 0 : LOST_ARGUMENTS) | (has_its_name() ? 0 : LOST_NAME);
}

/* Runs the child with these variables (NULL: unset) and returns its exit status. */
static int run_child(const char *core_type, const char *reexec)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char name[] = "test_core_type", role[] = "child", other[] = "an argument";
        char *const args[] = {name, role, other, NULL};
        unsetenv("OPENBLAS_CORETYPE");
        unsetenv("QEP_REEXEC");
        if (core_type != NULL) setenv("OPENBLAS_CORETYPE", core_type, 1);
        if (reexec != NULL) setenv("QEP_REEXEC", reexec, 1);
        execv(self, args);
        _exit(100);
    }
    int status = 0;
    assert_true(waitpid(pid, &status, 0) == pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* An OpenBLAS that does not know this CPU takes its oldest kernels; it then gets the name of a core with the CPU's vectors. */
static bool knows_the_cpu(void)
{
    return (run_child(NULL, "2") & SAW_WARNING) == 0;
}

static void without_the_variable(void **state)
{
    (void)state;
    assert_int_equal(run_child(NULL, NULL), knows_the_cpu() ? 0 : WAS_RESTARTED | HAS_VARIABLE);
}

static void a_slow_core_is_dropped(void **state)
{
    (void)state;
    /* with the guard set the child keeps the slow core, and says so where the CPU could do better */
    const char *slow = "Nehalem";
    int kept = run_child(slow, "1");
    if ((kept & SAW_WARNING) == 0) {
        print_message("# skipped: the BLAS is not an OpenBLAS that obeys OPENBLAS_CORETYPE\n");
        skip();
    }
    assert_int_equal(kept, SAW_WARNING | WAS_RESTARTED | HAS_VARIABLE);
    assert_int_equal(run_child(slow, NULL), WAS_RESTARTED | (knows_the_cpu() ? 0 : HAS_VARIABLE));
}

static void a_good_core_stays(void **state)
{
    (void)state;
    /* the widest vectors of this CPU: forcing wider ones would end in an illegal instruction */
    bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                __builtin_cpu_supports("avx512vl");
    int status = run_child(wide ? "SkylakeX" : "Haswell", NULL);
    if ((status & SAW_WARNING) != 0) skip();
    assert_int_equal(status, HAS_VARIABLE);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_the_variable),
        cmocka_unit_test(a_slow_core_is_dropped),
        cmocka_unit_test(a_good_core_stays),
    };
    self = argv[0];
    if (argc > 1) return child(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
