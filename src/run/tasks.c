/* [evaluation] tasks: their choices ride along as sequences; at the end each gets a log-likelihood under both models.
 * SPDX-License-Identifier: Apache-2.0 */
#include "run_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Which versions of the harness score so (read in its wheels 0.4.9, 0.4.10, 0.4.11 and 0.4.13): the same for all where a tokenizer puts no BOS. */
static const char *rule_of(const qep_task_rules *rules)
{
    const bool adds = qep_tokenizer_adds_bos(rules->tokenizer);
    if (rules->front >= 0) return "lm-evaluation-harness 0.4, zero-shot, but with a BOS token, which the tokenizer would not put in front";
    if (!adds) return "lm-evaluation-harness 0.3 to 0.4.13, zero-shot, no BOS token, as the tokenizer has it";
    return rules->special ? "lm-evaluation-harness 0.4.10 to 0.4.13, zero-shot, BOS token in front, as the tokenizer has it"
                          : "lm-evaluation-harness 0.3 to 0.4.9 (but for Gemma, which has BOS there), zero-shot, no BOS token";
}

static qep_status make_rules(qep_run *r, const qep_tokenizer *t, qep_task_rules *rules)
{
    const qep_arch *a = &r->model->arch;
    *rules = (qep_task_rules){.tokenizer = t, .limit = r->cfg->task_examples, .max_tokens = a->max_position + 1, .vocab = a->vocab};
    if (!qep_tokenizer_bos_rule(t, r->cfg->tasks_bos, &rules->special, &rules->front))
        return qep_fail(QEP_E_CONFIG, "evaluation.tasks_bos = yes, but the tokenizer of %s has no BOS token; use auto or no", r->model->path);
    r->tasks_rule = rule_of(rules);
    return QEP_OK;
}

static qep_status open_all(qep_run *r, const qep_tokenizer *t)
{
    const qep_config *cfg = r->cfg;
    qep_task_rules rules;
    QEP_TRY(qep_agree_all(r->comm, make_rules(r, t, &rules)));
    const char **names = qep_alloc("run.tasks", 2 * cfg->n_tasks, sizeof *names), **files = names + cfg->n_tasks;
    for (int64_t i = 0; i < cfg->n_tasks; i++) {
        names[i] = cfg->tasks[i].name;
        files[i] = cfg->tasks[i].path;
    }
    qep_status st = qep_tasks_open_all(r->comm, &rules, names, files, cfg->n_tasks, &r->tasks);
    qep_free(names);
    return st;
}

qep_status qep_run_open_tasks_all(qep_run *r)
{
    qep_tokenizer *t = NULL;
    if (r->cfg->n_tasks == 0) return QEP_OK;
    qep_status st = qep_tokenizer_open(r->model->path, &t);
    if (st != QEP_OK) qep_context(st, "evaluation.tasks needs the model's tokenizer");
    st = qep_agree_all(r->comm, st);
    if (st == QEP_OK) st = open_all(r, t);
    qep_tokenizer_close(&t);
    if (st != QEP_OK) return st;
    r->task_figures = qep_alloc("run.tasks", r->tasks->n, sizeof *r->task_figures);
    for (int64_t i = 0; i < r->tasks->n; i++)
        for (int s = 0; s < 1 + r->quantizes; s++)
            r->task_figures[i].answers[s] = qep_alloc("run.tasks", r->tasks->at[i].n_choices, sizeof(qep_task_answer));
    return QEP_OK;
}

void qep_run_close_tasks(qep_run *r)
{
    for (int64_t i = 0; r->task_figures && i < r->tasks->n; i++)
        for (int s = 0; s < 2; s++) qep_free(r->task_figures[i].answers[s]);
    qep_free(r->task_figures);
    qep_tasks_destroy(&r->tasks);
}

/* Position of my first task sequence among mine. */
static int64_t first_task_sequence(const qep_run *r)
{
    return r->n_mine - r->corpus->part[QEP_SEQ_TASKS].count;
}

int64_t qep_run_first_predicted(const qep_run *r, int64_t i)
{
    const int64_t task = i - first_task_sequence(r);
    if (task < 0) return 1;
    const qep_seq *q = &r->corpus->seqs[r->corpus->part[QEP_SEQ_TASKS].begin + task];
    return r->tasks->at[q->set].choices[q->row].context;
}

/* Values of all task sequences, picked from the figures at `offset`. */
static void gather_all(const qep_run *r, const qep_eval_figures *mine, size_t offset, double *all)
{
    double *v = qep_alloc("run.errors", r->n_mine, sizeof *v);
    for (int64_t i = 0; i < r->n_mine; i++) memcpy(&v[i], (const char *)&mine[i] + offset, sizeof *v);
    qep_eval_gather_all(r->comm, r->corpus, v, QEP_SEQ_TASKS, all);
    qep_free(v);
}

void qep_run_score_tasks_all(qep_run *r, const qep_eval_figures *mine)
{
    static const size_t nll_at[2] = {offsetof(qep_eval_figures, nll_fp), offsetof(qep_eval_figures, nll_q)};
    static const size_t top_at[2] = {offsetof(qep_eval_figures, top_fp), offsetof(qep_eval_figures, top_q)};
    if (!r->tasks) return;
    double *nll = qep_alloc("run.errors", 2 * r->tasks->n_sequences, sizeof *nll), *top = nll + r->tasks->n_sequences;
    for (int s = 0; s < 1 + r->quantizes; s++) {
        gather_all(r, mine, nll_at[s], nll);
        gather_all(r, mine, top_at[s], top);
        for (int64_t i = 0, at = 0; i < r->tasks->n; i++) {
            const qep_task *t = &r->tasks->at[i];
            for (int64_t c = 0; c < t->n_choices; c++, at++)
                r->task_figures[i].answers[s][c] =
                    (qep_task_answer){.loglikelihood = -nll[at], .greedy = (int64_t)top[at] == t->choices[c].length - t->choices[c].context};
        }
    }
    qep_free(nll);
}

static void set_score(qep_json *o, const qep_task *t, const qep_task_answer *answers, const char *model)
{
    qep_task_score s;
    qep_task_score_of(t, answers, &s, NULL);
    const struct {
        const char *name;
        double value;
        bool there;
    } figures[] = {{"accuracy", s.acc, true},           {"stderr", s.acc_stderr, true},
                   {"acc_norm", s.acc_norm, !t->word},  {"acc_norm_stderr", s.acc_norm_stderr, !t->word},
                   {"perplexity", s.perplexity, t->word}};
    for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++) {
        char key[64];
        snprintf(key, sizeof key, "%s_%s", figures[i].name, model);
        if (figures[i].there) qep_json_set(o, key, qep_json_new_real(figures[i].value));
    }
}

qep_json *qep_run_tasks_json(const qep_run *r)
{
    qep_json *o = qep_json_new_object();
    for (int64_t i = 0; r->tasks && i < r->tasks->n; i++) {
        const qep_task *t = &r->tasks->at[i];
        qep_task_answer *const *a = r->task_figures[i].answers;
        qep_json *e = qep_json_new_object();
        qep_json_set(e, "kind", qep_json_new_string(t->kind));
        qep_json_set(e, "rule", qep_json_new_string(r->tasks_rule));
        qep_json_set(e, "examples", qep_json_new_int(t->n_examples));
        set_score(e, t, a[0], "original");
        if (a[1]) set_score(e, t, a[1], "quantized");
        if (a[1]) qep_json_set(e, "agreement", qep_json_new_real(qep_task_agreement(t, a[0], a[1])));
        qep_json_set(o, t->name, e);
    }
    return o;
}

/* One line per choice. */
static void add_lines(FILE *f, const qep_task *t, const qep_task_figures *g)
{
    for (int64_t e = 0; e < t->n_examples; e++)
        for (int64_t c = t->choice_at[e]; c < t->choice_at[e + 1]; c++) {
            const qep_task_choice *k = &t->choices[c];
            fprintf(f, "%s,%lld,%lld,%lld,%lld,%lld,%lld", t->name, (long long)e, (long long)(c - t->choice_at[e]), (long long)t->gold[e],
                    (long long)k->context, (long long)(k->length - k->context), (long long)k->chars);
            for (int s = 0; s < 2; s++) {
                const qep_task_answer *a = g->answers[s];
                if (a) fprintf(f, ",%.9g,%d", a[c].loglikelihood, a[c].greedy);
                else fprintf(f, ",,");
            }
            fputc('\n', f);
        }
}

char *qep_run_tasks_csv(const qep_run *r)
{
    char *text = NULL, *out;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    QEP_REQUIRE(f);
    fputs("task,example,choice,gold,context_tokens,tokens,characters,loglikelihood_original,greedy_original,loglikelihood_quantized,greedy_quantized\n", f);
    for (int64_t i = 0; r->tasks && i < r->tasks->n; i++) add_lines(f, &r->tasks->at[i], &r->task_figures[i]);
    QEP_REQUIRE(fclose(f) == 0);
    out = qep_strdup("run.report", text);
    free(text);
    return out;
}

void qep_run_log_tasks(const qep_run *r)
{
    for (int64_t i = 0; r->tasks && i < r->tasks->n; i++) {
        const qep_task *t = &r->tasks->at[i];
        qep_task_answer *const *a = r->task_figures[i].answers;
        qep_task_score p, q;
        qep_task_score_of(t, a[0], &p, NULL);
        if (!a[1]) {
            qep_info("%s (%s): accuracy %.2f +- %.2f %% (%lld examples)", t->name, t->kind, 100 * p.acc, 100 * p.acc_stderr, (long long)t->n_examples);
            continue;
        }
        qep_task_score_of(t, a[1], &q, NULL);
        qep_info("%s (%s): accuracy %.2f -> %.2f +- %.2f %%, the same answer in %.2f %% (%lld examples)", t->name, t->kind, 100 * p.acc, 100 * q.acc,
                 100 * q.acc_stderr, 100 * qep_task_agreement(t, a[0], a[1]), (long long)t->n_examples);
    }
}
