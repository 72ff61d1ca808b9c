/* Accuracy and its companions. SPDX-License-Identifier: Apache-2.0 */
#include "tasks_priv.h"

#include <math.h>

/* Number of the best choice of example e, the first of equal ones. */
static int64_t best_of(const qep_task *t, const qep_task_answer *answers, int64_t e, bool norm)
{
    int64_t best = 0;
    double most = -INFINITY;
    for (int64_t i = t->choice_at[e]; i < t->choice_at[e + 1]; i++) {
        const double v = answers[i].loglikelihood / (norm ? (double)t->choices[i].chars : 1.0);
        if (!(v > most)) continue;
        most = v;
        best = i - t->choice_at[e];
    }
    return best;
}

/* lambada has one choice: what counts is whether it is the model's own. */
static int64_t answer_of(const qep_task *t, const qep_task_answer *answers, int64_t e)
{
    return t->word ? answers[t->choice_at[e]].greedy : best_of(t, answers, e, false);
}

static void set_share(int64_t right, int64_t n, double *share, double *stderr_)
{
    *share = (double)right / (double)n;
    *stderr_ = n > 1 ? sqrt(*share * (1 - *share) / (double)(n - 1)) : (double)NAN;
}

void qep_task_score_of(const qep_task *t, const qep_task_answer *answers, qep_task_score *out, int64_t *chosen)
{
    int64_t right = 0, right_norm = 0;
    double sum = 0;
    *out = (qep_task_score){.acc_norm = NAN, .acc_norm_stderr = NAN, .perplexity = NAN};
    for (int64_t e = 0; e < t->n_examples; e++) {
        const int64_t answer = answer_of(t, answers, e);
        right += answer == (t->word ? 1 : t->gold[e]);
        right_norm += !t->word && best_of(t, answers, e, true) == t->gold[e];
        sum += answers[t->choice_at[e]].loglikelihood;
        if (chosen) chosen[e] = answer;
    }
    set_share(right, t->n_examples, &out->acc, &out->acc_stderr);
    if (t->word)
        out->perplexity = exp(-sum / (double)t->n_examples);
    else
        set_share(right_norm, t->n_examples, &out->acc_norm, &out->acc_norm_stderr);
}

double qep_task_agreement(const qep_task *t, const qep_task_answer *a, const qep_task_answer *b)
{
    int64_t same = 0;
    for (int64_t e = 0; e < t->n_examples; e++) same += answer_of(t, a, e) == answer_of(t, b, e);
    return (double)same / (double)t->n_examples;
}
