/* Independent steps, which may fail, on all threads.
 * SPDX-License-Identifier: Apache-2.0 */
#include "qep/tensor.h"

#include <omp.h>

int qep_each_threads(int64_t n, int64_t most)
{
    const int64_t threads = omp_in_parallel() ? 1 : omp_get_max_threads();
    return (int)qep_max_i64(qep_min_i64(qep_min_i64(threads, n), most), 1);
}

static qep_status one_after_another(int64_t n, qep_each_step step, void *ctx)
{
    for (int64_t i = 0; i < n; i++) QEP_TRY(step(ctx, i, 0));
    return QEP_OK;
}

/* The error record is one for all threads and holds the message of the last that failed: the lowest step is done again for its own. A fault that does not
 * come again (a test's) leaves the other message. */
qep_status qep_each(int64_t n, int64_t most, qep_each_step step, void *ctx)
{
    const int threads = qep_each_threads(n, most);
    if (threads == 1) return one_after_another(n, step, ctx);
    int64_t lowest = n;
    qep_status st = QEP_OK;
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int64_t i = 0; i < n; i++) {
        int64_t seen;
#pragma omp atomic read
        seen = lowest;
        if (i > seen) continue;
        const qep_status mine = step(ctx, i, omp_get_thread_num());
        if (mine == QEP_OK) continue;
#pragma omp critical(qep_each)
        if (i < lowest) {
            st = mine;
#pragma omp atomic write
            lowest = i;
        }
    }
    if (lowest == n) return QEP_OK;
    const qep_status again = step(ctx, lowest, 0);
    return again != QEP_OK ? again : st;
}
