/* What every test includes: cmocka with consensus asserts for several ranks. SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_TEST_H
#define QEP_TEST_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include <cmocka.h>
#include "qep/base.h"

/* NaN-safe: fails unless err <= tol. */
#define assert_le_f(err, tol)                                                           \
    do {                                                                                \
        double e_ = (double)(err), t_ = (double)(tol);                                  \
        if (!(e_ <= t_)) fail_msg("%s = %g > %s = %g", #err, e_, #tol, t_);              \
    } while (0)
/* A qep_status that must be QEP_OK; prints the error record. */
#define assert_ok(expr)                                                                 \
    do {                                                                                \
        qep_status s_ = (expr);                                                         \
        if (s_ != QEP_OK) fail_msg("%s: %s [%s]", #expr, qep_error_text(), qep_error_where()); \
    } while (0)
/* A status that must be `want`, with a message that contains `text`. */
#define assert_fails(expr, want, text)                                                  \
    do {                                                                                \
        qep_status s_ = (expr);                                                         \
        if (s_ != (want)) fail_msg("%s: status %d, wanted %d (%s)", #expr, (int)s_, (int)(want), qep_error_text()); \
        if (!strstr(qep_error_text(), (text))) fail_msg("%s: message \"%s\" lacks \"%s\"", #expr, qep_error_text(), text); \
    } while (0)
/* Several ranks: all fail together when cond is false on any. c: qep_comm *. Needs qep/par.h. */
#define assert_all(c, cond)                                                             \
    do {                                                                                \
        bool ok_ = (cond);                                                              \
        if (!ok_) fprintf(stderr, "rank %d: %s:%d: %s\n", qep_rank(c), __FILE__, __LINE__, #cond); \
        if (qep_any_all((c), !ok_)) fail_msg("%s on some rank", #cond);                 \
    } while (0)

/* 0 when every test passed, else 1 (never a count). */
#define QEP_TEST_MAIN(tests) int main(void) { return cmocka_run_group_tests((tests), NULL, NULL) != 0; }
/* For several ranks: starts par, silences stdout of ranks > 0, defines the global `world`. */
#define QEP_TEST_MAIN_MPI(tests)                                                        \
    int main(int argc, char **argv) {                                                   \
        world = qep_par_start(&argc, &argv);                                            \
        if (qep_rank(world) != 0 && !freopen("/dev/null", "w", stdout)) return 1;       \
        int failed = cmocka_run_group_tests((tests), NULL, NULL);                       \
        int64_t f = failed != 0;                                                        \
        qep_max_i64_all(world, &f, 1);                                                  \
        qep_par_end(&world);                                                            \
        return f != 0;                                                                  \
    }
#endif
