/* The sequences of a run and my share of them. SPDX-License-Identifier: Apache-2.0 */
#include "data_priv.h"

#include <string.h>

typedef struct files {
    qep_source **s;
    int64_t n;
} files;

static void close_files(files *f)
{
    for (int64_t i = 0; i < f->n; i++) qep_source_close(&f->s[i]);
    qep_free(f->s);
    *f = (files){0};
}

static qep_status open_files(const qep_config *cfg, bool evaluation, files *f)
{
    f->n = evaluation ? cfg->n_evaluation : cfg->n_calibration_data;
    f->s = qep_alloc("data.files", f->n, sizeof *f->s);
    for (int64_t i = 0; i < f->n; i++) {
        const char *path = evaluation ? cfg->evaluation[i].path : cfg->calibration_data[i];
        qep_status st = qep_source_open(path, &f->s[i]);
        if (st != QEP_OK)
            return qep_context(st, "%s.data", evaluation ? "evaluation" : "calibration");
    }
    return QEP_OK;
}

/* First sequence of rank `rank` among seqs [first, end): the one whose middle is the first at or
 * behind rank / ranks of all tokens. *before: tokens in front of it. */
static int64_t run_begin(const qep_corpus *k, int64_t first, int64_t end, int64_t total,
                         int64_t ranks, int64_t rank, int64_t *before)
{
    const double target = 2.0 * (double)total / (double)ranks * (double)rank;
    int64_t i = first, sum = 0;
    for (; i < end && (rank == ranks || (double)(2 * sum + k->seqs[i].length) < target); i++)
        sum += k->seqs[i].length;
    *before = sum;
    return i;
}

void qep_corpus_share(const qep_corpus *k, qep_seq_kind kind, int64_t ranks, int64_t rank,
                      qep_corpus_part *out)
{
    QEP_REQUIRE(ranks > 0 && rank >= 0 && rank < ranks);
    const int64_t total = k->kind_tokens[kind];
    int64_t behind, first = 0;
    for (int i = 0; i < (int)kind; i++) first += k->count[i];
    const int64_t end = first + k->count[kind];
    *out = (qep_corpus_part){.total_tokens = total};
    out->begin = run_begin(k, first, end, total, ranks, rank, &out->token_begin);
    out->count = run_begin(k, first, end, total, ranks, rank + 1, &behind) - out->begin;
    out->tokens = behind - out->token_begin;
}

const char *qep_seq_kind_name(qep_seq_kind kind)
{
    static const char *const names[QEP_N_SEQ_KINDS] = {"calibration", "validation", "evaluation",
                                                        "tasks"};
    return names[kind];
}

/* Number in seqs of my i-th sequence. */
static int64_t number_of(const qep_corpus *k, int64_t i)
{
    int kind = 0;
    for (; i >= k->part[kind].count; kind++) i -= k->part[kind].count;
    return k->part[kind].begin + i;
}

/* Takes my shares of the list; room for their ids in one piece. */
static void take_shares(qep_corpus *k, int64_t ranks, int64_t rank)
{
    int64_t tokens = 0;
    for (int kind = 0; kind < QEP_N_SEQ_KINDS; kind++) {
        qep_corpus_share(k, (qep_seq_kind)kind, ranks, rank, &k->part[kind]);
        k->n_mine += k->part[kind].count;
        tokens += k->part[kind].tokens;
    }
    k->ids = qep_alloc("data.ids", k->n_mine, sizeof *k->ids);
    int32_t *slab = tokens ? qep_alloc("data.ids", tokens, sizeof *slab) : NULL;
    for (int64_t i = 0; i < k->n_mine; i++) {
        k->ids[i] = slab;
        slab += k->seqs[number_of(k, i)].length;
    }
}

static qep_status read_shares(qep_corpus *k, int64_t vocab, const files *calibration,
                              const files *evaluation, const qep_tasks *tasks)
{
    for (int64_t i = 0; i < k->n_mine; i++) {
        const qep_seq *q = &k->seqs[number_of(k, i)];
        if (q->kind == QEP_SEQ_TASKS) {
            memcpy(k->ids[i], tasks->at[q->set].ids + q->first,
                   (size_t)q->length * sizeof **k->ids);
            continue;
        }
        qep_source *s = (q->kind == QEP_SEQ_EVALUATION ? evaluation : calibration)->s[q->set];
        QEP_TRY(qep_source_read(s, q->row, q->first, q->length, vocab, k->ids[i]));
    }
    return QEP_OK;
}

/* The sum over sequences of a hash of number, kind, set and ids: the same for every split. */
static void add_digest(qep_comm *c, qep_corpus *k)
{
    for (int64_t i = 0; i < k->n_mine; i++) {
        const int64_t number = number_of(k, i);
        const qep_seq *q = &k->seqs[number];
        const int64_t place[4] = {number, (int64_t)q->kind, q->set, q->length};
        for (uint64_t d = 0; d < 2; d++) {
            uint64_t seed = qep_hash64(place, sizeof place, d + 1);
            k->digest[d] += qep_hash64(k->ids[i], (size_t)q->length * sizeof **k->ids, seed);
        }
    }
    qep_sum_u64_all(c, k->digest, 2);
}

static void name_sets(qep_corpus *k, const qep_config *cfg)
{
    k->n_sets = cfg->n_evaluation;
    k->set_names = qep_alloc("data.names", k->n_sets, sizeof *k->set_names);
    for (int64_t i = 0; i < k->n_sets; i++)
        k->set_names[i] = qep_strdup("data.names", cfg->evaluation[i].name);
}

qep_status qep_corpus_open_all(qep_comm *c, const qep_config *cfg, int64_t vocab,
                               bool need_calibration, const qep_tasks *tasks, qep_corpus **out)
{
    *out = NULL;
    qep_corpus *k = qep_alloc("data.corpus", 1, sizeof *k);
    files calibration = {0}, evaluation = {0};
    qep_status st = QEP_OK;
    if (need_calibration && cfg->n_calibration_data == 0) {
        st = qep_fail(QEP_E_CONFIG,
                      "calibration.data is missing; this run needs calibration tokens");
    }
    if (st == QEP_OK) st = open_files(cfg, false, &calibration);
    if (st == QEP_OK) st = open_files(cfg, true, &evaluation);
    if (st == QEP_OK) st = qep_corpus_plan(cfg, calibration.s, evaluation.s, tasks, k);
    QEP_GO(st, qep_agree_all(c, st));
    name_sets(k, cfg);
    take_shares(k, qep_size(c), qep_rank(c));
    QEP_GO(st, qep_agree_all(c, read_shares(k, vocab, &calibration, &evaluation, tasks)));
    add_digest(c, k);
    *out = k;
    k = NULL;
done:
    close_files(&calibration);
    close_files(&evaluation);
    qep_corpus_destroy(&k);
    return st;
}

void qep_corpus_destroy(qep_corpus **kp)
{
    qep_corpus *k = *kp;
    if (!k) return;
    if (k->n_mine > 0) qep_free(k->ids[0]); /* the piece that holds all */
    qep_free(k->ids);
    for (int64_t i = 0; i < k->n_sets; i++) qep_free(k->set_names[i]);
    qep_free(k->set_names);
    qep_free(k->seqs);
    qep_free(k);
    *kp = NULL;
}
