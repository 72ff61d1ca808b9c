/* Loss, divergence and distance of one sequence.
 * SPDX-License-Identifier: Apache-2.0 */
#include "qep/eval.h"

int64_t qep_eval_bytes(const qep_arch *a, bool with_q)
{
    return (int64_t)sizeof(float) * QEP_EVAL_CHUNK * (a->vocab + a->hidden) * (with_q ? 2 : 1);
}

/* Logits of tokens [t0, t0 + n) of one stream. scratch: normed rows [n, hidden]. */
static void chunk_logits(const qep_head *h, const qep_arch *a, qep_stream s, const float *x, int64_t t0, int64_t n,
                         float *scratch, float *logits, qep_work *w)
{
    qep_head_norm(h, s, x + t0 * a->hidden, n, scratch);
    qep_head_logits(h, s, scratch, n, logits, w);
}

/* Nothing is more likely than the target, nothing before it as likely. */
static bool is_top(const float *logits, int64_t vocab, int64_t target)
{
    bool top = logits[target] == logits[target]; /* not NaN */
    for (int64_t i = 0; i < vocab; i++) top = top && (i < target ? logits[i] < logits[target] : !(logits[i] > logits[target]));
    return top;
}

void qep_eval_sequence(const qep_head *h, const qep_arch *a, const int32_t *ids, int64_t first, int64_t T, const float *x_fp,
                       const float *x_q, qep_work *w, float *logits, qep_eval_figures *out)
{
    float *p = logits, *q = p + QEP_EVAL_CHUNK * a->vocab;
    float *normed = x_q ? q + QEP_EVAL_CHUNK * a->vocab : q;
    double nll_p[QEP_EVAL_CHUNK], nll_q[QEP_EVAL_CHUNK], kl[QEP_EVAL_CHUNK];
    bool same[QEP_EVAL_CHUNK], top_p[QEP_EVAL_CHUNK], top_q[QEP_EVAL_CHUNK];
    *out = (qep_eval_figures){.predicted = (double)(T - first)};
    for (int64_t t0 = first - 1; t0 < T - 1; t0 += QEP_EVAL_CHUNK) {
        int64_t n = qep_min_i64(QEP_EVAL_CHUNK, T - 1 - t0);
        chunk_logits(h, a, QEP_STREAM_FP, x_fp, t0, n, normed, p, w);
        if (x_q) chunk_logits(h, a, QEP_STREAM_Q, x_q, t0, n, normed, q, w);
#pragma omp parallel for
        for (int64_t t = 0; t < n; t++) {
            const float *lp = p + t * a->vocab, *lq = q + t * a->vocab;
            nll_p[t] = qep_nll_row(lp, a->vocab, ids[t0 + t + 1]);
            top_p[t] = is_top(lp, a->vocab, ids[t0 + t + 1]);
            if (!x_q) continue;
            top_q[t] = is_top(lq, a->vocab, ids[t0 + t + 1]);
            nll_q[t] = qep_nll_row(lq, a->vocab, ids[t0 + t + 1]);
            kl[t] = qep_kl_row(lp, lq, a->vocab, &same[t]);
        }
        for (int64_t t = 0; t < n; t++) {
            out->nll_fp += nll_p[t];
            out->top_fp += top_p[t];
            if (!x_q) continue;
            out->top_q += top_q[t];
            out->nll_q += nll_q[t];
            out->kl += kl[t];
            out->same_top += same[t];
        }
    }
}

void qep_eval_distance(const float *a, const float *b, int64_t n, double *diff, double *ref)
{
    double d = 0, r = 0;
    for (int64_t i = 0; i < n; i++) {
        double x = (double)a[i], e = x - (double)b[i];
        d += e * e;
        r += x * x;
    }
    *diff = d;
    *ref = r;
}
