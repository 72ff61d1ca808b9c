/* tasks: questions whose answer is chosen by log-likelihood. Files of examples (jsonl) -> token sequences, and scores from the log-likelihoods of the
 * continuations. Prompts, the cut between context and continuation and the figures are those of lm-evaluation-harness (EleutherAI), versions 0.3 and 0.4, tasks
 * arc_easy, piqa, lambada_openai and storycloze, no examples in front (zero-shot). The kind of a file is told by the fields of its first object:
 *
 *   arc         choices [texts], query, gold            "Question: QUERY\nAnswer:"    + " CHOICE"
 *   piqa        goal, sol1, sol2, and label; or labels  "Question: GOAL\nAnswer:"     + " SOL"
 *               (0, 1), one a line, in NAME-labels.lst beside NAME.jsonl
 *   storycloze  InputSentence1..4, RandomFifthSentence- "S1 S2 S3 S4"                 + " QUIZ"
 *               Quiz1, 2, AnswerRightEnding (1, 2)
 *   lambada     text                                    all but the last word         + " WORD"
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_TASKS_H
#define QEP_TASKS_H

#include "qep/par.h"
#include "qep/tokenizer.h"

/* One continuation behind its context: one sequence. */
typedef struct qep_task_choice {
    int64_t first, length; /* tokens [first, first + length) of the task's ids */
    int64_t context;       /* of these, given; 1 <= context < length */
    int64_t chars;         /* characters of the continuation without the blank in front: what acc_norm divides by */
} qep_task_choice;

typedef struct qep_task {
    char *name;
    const char *kind;
    bool word;                           /* lambada: one continuation per example, right when each of its tokens is the most likely one */
    int64_t n_examples, n_choices;
    int64_t *choice_at;                  /* [n_examples + 1]: an example's first choice; its last is before the next one's */
    int64_t *gold;                       /* [n_examples]: number of the right choice in its example */
    qep_task_choice *choices;            /* [n_choices] */
    int32_t *ids; int64_t n_ids;         /* "tasks.ids" */
} qep_task;

typedef struct qep_tasks {
    qep_task *at; int64_t n;
    int64_t n_sequences;                 /* choices of all tasks */
} qep_tasks;

/* How examples become tokens. The harness's versions differ in BOS: from 0.4.10 on it encodes as the tokenizer does by itself, with BOS where the template has
 * it (0.4.13: but for prompts that begin with the text of BOS); 0.4.9 and before put none, but for models with "gemma" in their type (read in 0.4.9). */
typedef struct qep_task_rules {
    const qep_tokenizer *tokenizer;
    bool special;       /* the tokenizer puts its BOS and EOS around a context, and around context and continuation */
    int32_t front;      /* put in front of both besides; -1: nothing (qep_tokenizer_bos_rule) */
    int64_t limit;      /* the first examples of each file only; 0: all */
    int64_t max_tokens; /* longer sequences lose tokens at the start, BOS too, as in the harness */
    int64_t vocab;      /* ids at or above are an error */
} qep_task_rules;

/* Root reads FILES[i] (and labels), all parse the same bytes. QEP_E_INPUT with file, line and reason: no examples, not an object, missing field, gold
 * out of range, number of labels, a context or continuation without a token, a token the model does not have. Collective. */
QEP_MUST_CHECK qep_status qep_tasks_open_all(qep_comm *c, const qep_task_rules *rules, const char *const *names, const char *const *files, int64_t n,
                                             qep_tasks **out);
void qep_tasks_destroy(qep_tasks **t);
/* The ids are no longer needed: their memory goes. */
void qep_tasks_drop_ids(qep_tasks *t);

/* --- scores ---------------------------------------------------------------------------------------- */

/* Of one continuation under one model. */
typedef struct qep_task_answer {
    double loglikelihood; /* sum over its tokens, nats */
    bool greedy;          /* each token is the most likely one */
} qep_task_answer;

typedef struct qep_task_score {
    double acc, acc_stderr;           /* share of examples with the right choice; sample standard deviation / sqrt(examples): NAN for one example */
    double acc_norm, acc_norm_stderr; /* the same by log-likelihood per character; NAN for lambada */
    double perplexity;                /* lambada: exp of the mean negative log-likelihood of a last word; else NAN */
} qep_task_score;

/* answers [n_choices]. chosen [n_examples] (may be NULL) gets the choice with the largest log-likelihood, the first of equal ones; lambada: 1 when right. */
void qep_task_score_of(const qep_task *t, const qep_task_answer *answers, qep_task_score *out, int64_t *chosen);
/* Share of examples that both models answer alike. */
double qep_task_agreement(const qep_task *t, const qep_task_answer *a, const qep_task_answer *b);

#endif
