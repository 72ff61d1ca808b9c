/* AWQ's scales judged as its published code does it (compat = paper): the full-precision stream goes through attention or MLP with the weights of a candidate,
 * and the squared distance of what comes out from what comes out with the target counts. The linear behind the group (o_proj, down_proj) still has its own
 * weights then. The published code looks at about 30,000 tokens; here at the first calibration sequences up to as many.
 * SPDX-License-Identifier: Apache-2.0 */
#include "run_priv.h"

enum { JUDGED_TOKENS = 32768 };

/* The first so many of all calibration sequences; at least one. */
static int64_t judged(const qep_run *r, int64_t *tokens)
{
    int64_t n = 0;
    *tokens = 0;
    while (n < r->corpus->count[QEP_SEQ_CALIBRATION] && (n == 0 || *tokens + r->corpus->seqs[n].length <= JUDGED_TOKENS)) *tokens += r->corpus->seqs[n++].length;
    return n;
}

int64_t qep_run_judged_tokens(const qep_run *r)
{
    int64_t tokens;
    (void)judged(r, &tokens);
    return tokens;
}

/* Those of them that are a rank's own: the first of its run. */
static int64_t judged_of(const qep_run *r, const qep_corpus_part *p, int64_t *tokens)
{
    int64_t all, n = qep_max_i64(0, qep_min_i64(judged(r, &all) - p->begin, p->count));
    *tokens = 0;
    for (int64_t i = 0; i < n; i++) *tokens += r->corpus->seqs[p->begin + i].length;
    return n;
}

/* What comes out of the module of group g for my sequence i: y[T, hidden]. */
static void module_output(qep_run *r, int g, int64_t i, float *y)
{
    const int64_t T = r->seq_tokens[i], hidden = r->model->arch.hidden;
    qep_block_norm(r->block, g, r->x_fp + r->seq_offset[i] * hidden, T, r->in_fp);
    qep_block_advance(r->block, g, T, NULL, r->in_fp, NULL, NULL, NULL, r->one_q, NULL, r->work);
    memset(y, 0, (size_t)(T * hidden) * sizeof *y);
    qep_block_advance(r->block, g + 1, T, NULL, r->one_q, NULL, y, NULL, NULL, NULL, r->work);
}

static void judge_all(void *ctx, int candidate, double *error)
{
    const qep_run_fold *f = ctx;
    qep_run *r = f->r;
    int64_t tokens, hidden = r->model->arch.hidden, at = 0;
    const int64_t n = judged_of(r, &r->corpus->part[QEP_SEQ_CALIBRATION], &tokens);
    double *diff = qep_alloc("run.errors", r->n_mine, sizeof *diff);
    for (int64_t i = 0; i < n; at += r->seq_tokens[i++] * hidden) {
        double size;
        module_output(r, f->judged, i, candidate < 0 ? f->reference + at : f->output);
        if (candidate >= 0) qep_eval_distance(f->reference + at, f->output, r->seq_tokens[i] * hidden, &diff[i], &size);
    }
    *error = qep_eval_ordered_sum_all(r->comm, r->corpus, diff, QEP_SEQ_CALIBRATION, -1); /* also behind the reference: nobody runs the linears any more */
    qep_free(diff);
}

void qep_run_judge_open(qep_run_fold *f, int g)
{
    const qep_run *r = f->r;
    int64_t tokens;
    (void)judged_of(r, &r->corpus->part[QEP_SEQ_CALIBRATION], &tokens);
    f->reference = qep_alloc("run.judge", tokens * r->model->arch.hidden, sizeof *f->reference);
    f->output = qep_alloc("run.judge", r->corpus->max_length * r->model->arch.hidden, sizeof *f->output);
    f->judged = g;
    f->hooks.judge_all = judge_all;
}

void qep_run_judge_close(qep_run_fold *f)
{
    qep_free(f->reference);
    qep_free(f->output);
}

int64_t qep_run_judge_bytes(const qep_run *r, int rank)
{
    qep_corpus_part p;
    int64_t tokens;
    qep_corpus_share(r->corpus, QEP_SEQ_CALIBRATION, r->ranks, rank, &p);
    (void)judged_of(r, &p, &tokens);
    return (tokens + r->corpus->max_length) * r->model->arch.hidden * (int64_t)sizeof(float);
}
