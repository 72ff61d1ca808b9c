/* A stream that is no longer finite ends the run where it happens, with the place: figures and weights behind it would mean nothing.
 * SPDX-License-Identifier: Apache-2.0 */
#include "run_priv.h"

#include <math.h>

/* My sequence i in the numbering that does not depend on ranks: of all sequences of its kind. */
static int64_t number_in_kind(const qep_run *r, int64_t i, qep_seq_kind *kind)
{
    int64_t mine = i, first = 0;
    int k = 0;
    for (; mine >= r->corpus->part[k].count; k++) {
        mine -= r->corpus->part[k].count;
        first += r->corpus->count[k];
    }
    *kind = (qep_seq_kind)k;
    return r->corpus->part[k].begin - first + mine;
}

static qep_status check_stream(const qep_run *r, const float *x, const char *whose, const char *advice)
{
    const int64_t d = r->model->arch.hidden;
    for (int64_t i = 0; x && i < r->n_mine; i++) {
        const int64_t at = qep_find_nonfinite_f32(x + r->seq_offset[i] * d, r->seq_tokens[i] * d);
        qep_seq_kind kind;
        if (at < 0) continue;
        const int64_t number = number_in_kind(r, i, &kind);
        return qep_fail(QEP_E_NUMERIC, "the residual stream of the %s model is not finite behind this block (%s sequence %lld, token %lld, channel %lld). %s",
                        whose, qep_seq_kind_name(kind), (long long)number, (long long)(at / d), (long long)(at % d), advice);
    }
    return QEP_OK;
}

qep_status qep_run_check_streams_all(const qep_run *r)
{
    qep_status st = check_stream(r, r->x_fp, "original", "It overflows here: check this block's weights for values that are far too large");
    if (st == QEP_OK)
        st = check_stream(r, r->x_q, "quantized", "The original's is: see the errors of the linears above; more bits, or an [override] with method = none "
                                                  "for the worst of them, helps");
    return qep_agree_all(r->comm, st);
}

qep_status qep_run_check_figures(const qep_run *r)
{
    for (int s = 0; s < r->corpus->n_sets; s++) {
        const qep_eval_figures *f = &r->figures[s];
        const bool original = isfinite(f->nll_fp), quantized = isfinite(f->nll_q) && isfinite(f->kl);
        if (original && quantized) continue;
        return qep_fail(QEP_E_NUMERIC, "evaluation set %s: the logits of the %s model are not finite. The streams are: check %s and the final norm for "
                                       "values that are far too large", r->cfg->evaluation[s].name, original ? "quantized" : "original",
                        r->model->arch.tied ? "the embedding, which is the head too," : "lm_head");
    }
    return QEP_OK;
}
