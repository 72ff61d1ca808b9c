/* Which rotary embedding the model has, and whether it depends on length. SPDX-License-Identifier: Apache-2.0 */
#include "run_priv.h"

#include <inttypes.h>

static const char *name_of(qep_rope_type type)
{
    static const char *const names[] = {[QEP_ROPE_DEFAULT] = "default", [QEP_ROPE_LINEAR] = "linear", [QEP_ROPE_LLAMA3] = "llama3",
                                        [QEP_ROPE_DYNAMIC] = "dynamic", [QEP_ROPE_YARN] = "yarn",     [QEP_ROPE_LONGROPE] = "longrope"};
    return names[type];
}

/* blocks: which ones, as a sentence goes on. */
static void describe(const qep_run *r, const qep_rope *rope, const char *blocks)
{
    const char *const name = name_of(rope->type);
    int64_t beyond = 0;
    if (rope->type != QEP_ROPE_DYNAMIC && rope->type != QEP_ROPE_LONGROPE) {
        qep_info("rotary embedding%s: %s, theta %g; the same for sequences of any length", blocks, name, rope->theta);
        return;
    }
    for (int64_t i = 0; i < r->corpus->n; i++) beyond += r->corpus->seqs[i].length > rope->original_max_position;
    qep_info("rotary embedding%s: %s, theta %g; depends on length: each sequence is taken at its own, up to %" PRId64 " tokens here; %" PRId64
             " of %" PRId64 " sequences are longer than %" PRId64 " and get the %s",
             blocks, name, rope->theta, r->corpus->max_length, beyond, r->corpus->n, rope->original_max_position,
             rope->type == QEP_ROPE_DYNAMIC ? "theta of their length" : "long factors, the others the short ones");
}

void qep_run_describe_rope(const qep_run *r)
{
    const qep_arch *a = &r->model->arch;
    describe(r, &a->rope, a->two_ropes ? " of full attention" : "");
    if (a->two_ropes) describe(r, &a->rope_local, " of sliding windows");
}
