/* How a job ends when it cannot go on: exit code and message. This program plays both parts: without an
 * argument it is the test (and never starts MPI), with one it is the job that goes wrong.
 * SPDX-License-Identifier: Apache-2.0 */
#include "qep_test.h"
#include "qep/par.h"
#include "qep/par_mpi.h"
#include <sys/wait.h>

static const char *self;
static char output[1 << 16];

/* Runs this program as a job on np ranks; returns its exit code, its output in `output`. */
static int job(int np, const char *environment, const char *mode)
{
    char line[1024];
    const char *launcher = getenv("QEP_MPIRUN");
    if (launcher == NULL) launcher = "mpirun --oversubscribe --bind-to none";
    if (np == 1) snprintf(line, sizeof line, "%s %s %s 2>&1", environment, self, mode);
    else snprintf(line, sizeof line, "%s %s -np %d %s %s 2>&1", environment, launcher, np, self, mode);
    FILE *p = popen(line, "r");
    assert_non_null(p);
    size_t n = fread(output, 1, sizeof output - 1, p);
    output[n] = '\0';
    int rc = pclose(p);
    return WIFEXITED(rc) ? WEXITSTATUS(rc) : -1;
}

static void expect(int np, const char *environment, const char *mode, int code, const char *text)
{
    int rc = job(np, environment, mode);
    if (rc != code) fail_msg("%s on %d: exit code %d, wanted %d:\n%s", mode, np, rc, code, output);
    if (!strstr(output, text)) fail_msg("%s on %d: no \"%s\" in:\n%s", mode, np, text, output);
}

static void good_job(void **state)
{
    (void)state;
    expect(1, "", "good", 0, "all is well");
    expect(2, "", "good", 0, "all is well");
    expect(3, "QEP_PAR_CHUNK=100", "good", 0, "all is well");
}

static void window_without_memory(void **state)
{
    (void)state;
    expect(1, "", "huge", 3, "weights");
    expect(2, "", "huge", 3, "\"block.weights\" needs");
    expect(2, "", "huge", 3, "1125899906842624 bytes"); /* 2^50 */
    expect(2, "QEP_FAULT=par.window:1", "good", 3, "\"small\" needs");
    expect(4, "QEP_RANKS_PER_NODE=2 QEP_FAULT=par.window:1@1", "good", 3, "rank 1 (");
}

static void mpi_error(void **state)
{
    (void)state;
    expect(1, "", "mpi", 70, "nvalid rank"); /* in the words of the MPI at hand: "MPI_ERR_RANK: invalid rank", "Invalid rank, ..." */
    expect(2, "", "mpi", 70, "qep_mpi: rank 1 (");
}

static void bug_and_private_memory(void **state)
{
    (void)state;
    expect(1, "", "bug", 70, "no such thing");
    expect(2, "", "bug", 70, "no such thing");
    expect(2, "", "alloc", 3, "too.much");
    expect(2, "", "unequal", 70, "violated");
}

static void wrong_environment(void **state)
{
    (void)state;
    const char *const bad[] = {"0", "-3", "x", "4k", "99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char line[128];
        snprintf(line, sizeof line, "QEP_PAR_CHUNK=%s", bad[i]);
        expect(1, line, "good", 1, "QEP_PAR_CHUNK = ");
    }
    expect(2, "QEP_RANKS_PER_NODE=no", "good", 1, "QEP_RANKS_PER_NODE = \"no\"");
}

static int go_wrong(int argc, char **argv)
{
    qep_comm *c = qep_par_start(&argc, &argv);
    const char *mode = argv[1];
    int last = qep_size(c) - 1;
    qep_window *w = NULL;
    if (strcmp(mode, "good") == 0) {
        w = qep_window_create_all(c, "small", 1000);
        qep_window_destroy_all(&w);
        if (qep_rank(c) == last && qep_mem_blocks() > 0) puts("all is well");
    } else if (strcmp(mode, "huge") == 0) {
        w = qep_window_create_all(c, "block.weights", INT64_C(1) << 50);
    } else if (strcmp(mode, "unequal") == 0) {
        w = qep_window_create_all(c, "small", 1000 + qep_rank(c));
    } else if (strcmp(mode, "mpi") == 0) {
        int x = 0;
        if (qep_rank(c) == last) MPI_Send(&x, 1, MPI_INT, 12345, 0, qep_comm_mpi(c));
    } else if (strcmp(mode, "bug") == 0) {
        if (qep_rank(c) == last) QEP_BUG("no such thing as %d", 42);
    } else if (strcmp(mode, "alloc") == 0) {
        if (qep_rank(c) == last) qep_free(qep_alloc("too.much", INT64_MAX / 16, 8));
    }
    qep_barrier_all(c);
    qep_par_end(&c);
    return qep_mem_blocks() != 0;
}

int main(int argc, char **argv)
{
    self = argv[0];
    if (argc > 1) return go_wrong(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_job),  cmocka_unit_test(window_without_memory),
        cmocka_unit_test(mpi_error), cmocka_unit_test(bug_and_private_memory),
        cmocka_unit_test(wrong_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
