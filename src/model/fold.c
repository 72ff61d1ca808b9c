/* New weights for norms: scales of a group's input channels folded into the norm before it; the final norm. SPDX-License-Identifier: Apache-2.0 */
#include "model_priv.h"

#include <math.h>

/* v as the type holds it. */
static float rounded(qep_dtype type, float v)
{
    uint64_t stored = 0;
    float back = 0.0F;
    qep_from_f32(&stored, type, &v, 1);
    qep_to_f32(&back, &stored, type, 1);
    return back;
}

/* The norm multiplies by this plus what is stored. */
static float base_of(const qep_model *m)
{
    return m->arch.norm_plus_one ? 1.0F : 0.0F;
}

qep_status qep_model_fold_norm(const qep_model *m, int64_t block, int g, float *scale,
                               const qep_st_tensor **t, float *stored)
{
    const float base = base_of(m);
    *t = qep_model_norm_tensor(m, block, g == 0 ? QEP_NORM_ATTN_IN : QEP_NORM_MLP_IN);
    QEP_TRY(qep_st_read_rows_f32(m->files, *t, 0, m->arch.hidden, stored));
    for (int64_t c = 0; c < m->arch.hidden; c++) {
        const float w = base + stored[c], v = rounded((*t)->dtype, w / scale[c] - base), divided = base + v;
        /* a norm of 0, or one that the type cannot hold divided, stays */
        const bool holds = divided != 0.0F && isfinite(divided);
        stored[c] = holds ? v : stored[c];
        scale[c] = holds ? w / divided : 1.0F;
    }
    return QEP_OK;
}

void qep_model_round_final_norm(const qep_model *m, float *w, float *stored)
{
    const float base = base_of(m);
    for (int64_t c = 0; c < m->arch.hidden; c++) {
        stored[c] = rounded(m->final_norm->dtype, w[c] - base);
        w[c] = base + stored[c];
    }
}
