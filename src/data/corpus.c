/* The sequences of a run and my share of them. SPDX-License-Identifier: Apache-2.0 */
#include "data_priv.h"

#include <string.h>

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

/* NULL for a choice of a task. */
static qep_source *source_of(const qep_seq *q, const qep_files *calibration, const qep_files *evaluation)
{
    if (q->kind == QEP_SEQ_TASKS) return NULL;
    return (q->kind == QEP_SEQ_EVALUATION ? evaluation : calibration)->s[q->set];
}

/* n ids of a document that this rank tokenizes for itself. */
static qep_status read_document(qep_text *t, const qep_seq *q, int32_t *dst)
{
    int32_t *ids;
    int64_t n;
    QEP_TRY(qep_text_encode(t, q->row, &ids, &n));
    QEP_REQUIRE(q->first + q->length <= n);
    memcpy(dst, ids + q->first, (size_t)q->length * sizeof *dst);
    qep_free(ids);
    return QEP_OK;
}

/* Sequences whose ids need no other rank. */
static qep_status read_shares(qep_corpus *k, int64_t vocab, const qep_files *calibration, const qep_files *evaluation, const qep_tasks *tasks)
{
    for (int64_t i = 0; i < k->n_mine; i++) {
        const qep_seq *q = &k->seqs[number_of(k, i)];
        const qep_source *s = source_of(q, calibration, evaluation);
        if (!s) memcpy(k->ids[i], tasks->at[q->set].ids + q->first, (size_t)q->length * sizeof **k->ids);
        if (!s) continue;
        if (s->view == QEP_VIEW_ARRAY) QEP_TRY(qep_source_read(source_of(q, calibration, evaluation), q->row, q->first, q->length, vocab, k->ids[i]));
        if (s->view == QEP_VIEW_DOCUMENTS) QEP_TRY(read_document(s->text, q, k->ids[i]));
    }
    return QEP_OK;
}

/* The rank that owns each sequence, [n]. */
static void owners_of(qep_comm *c, const qep_corpus *k, int *owner)
{
    for (int rank = 0; rank < qep_size(c); rank++)
        for (int kind = 0; kind < QEP_N_SEQ_KINDS; kind++) {
            qep_corpus_part p;
            qep_corpus_share(k, (qep_seq_kind)kind, qep_size(c), rank, &p);
            for (int64_t i = 0; i < p.count; i++) owner[p.begin + i] = rank;
        }
}

/* The corpus is a line of tokens too, whose documents are the sequences: each rank's ids are one piece. */
void qep_corpus_fetch_all(qep_comm *c, const qep_corpus *k, int64_t first, int64_t n, int32_t *dst)
{
    const int P = qep_size(c), me = qep_rank(c);
    int64_t *table = qep_alloc("data.fetch", 3 * P, sizeof *table), *want = table + P; /* want: first and number of each rank */
    qep_fetch *list = qep_alloc("data.fetch", P, sizeof *list);
    qep_line l = {.n_docs = k->n, .begin = qep_alloc("data.fetch", k->n + 1, sizeof *l.begin), .owner = qep_alloc("data.fetch", k->n, sizeof *l.owner),
                  .place = qep_alloc("data.fetch", k->n, sizeof *l.place), .ids = k->n_mine > 0 ? k->ids[0] : NULL};
    owners_of(c, k, l.owner);
    for (int64_t i = 0; i < k->n; i++) {
        l.begin[i + 1] = l.begin[i] + k->seqs[i].length;
        l.place[i] = table[l.owner[i]];
        table[l.owner[i]] += k->seqs[i].length;
    }
    want[2 * me] = first;
    want[2 * me + 1] = n;
    qep_sum_i64_all(c, want, 2 * P);
    for (int q = 0; q < P; q++) {
        const int64_t at = l.begin[want[2 * q]];
        list[q] = (qep_fetch){at, l.begin[want[2 * q] + want[2 * q + 1]] - at, q, q == me ? dst : NULL};
    }
    qep_line_fetch_all(c, &l, list, P);
    qep_free(l.begin);
    qep_free(l.owner);
    qep_free(l.place);
    qep_free(list);
    qep_free(table);
}

/* Windows of texts that lie spread over the ranks: source by source. */
static void fetch_lines_all(qep_comm *c, qep_corpus *k, const qep_files *calibration, const qep_files *evaluation)
{
    qep_fetch *list = qep_alloc("data.fetch", k->n, sizeof *list);
    int *owner = qep_alloc("data.fetch", k->n, sizeof *owner);
    int32_t **dst = qep_alloc("data.fetch", k->n, sizeof *dst);
    owners_of(c, k, owner);
    for (int64_t i = 0; i < k->n_mine; i++) dst[number_of(k, i)] = k->ids[i];
    for (int64_t f = 0; f < calibration->n + evaluation->n; f++) {
        const bool ev = f >= calibration->n;
        const qep_source *s = ev ? evaluation->s[f - calibration->n] : calibration->s[f];
        int64_t n = 0;
        if (s->view != QEP_VIEW_LINE && s->view != QEP_VIEW_WINDOWS) continue;
        for (int64_t i = 0; i < k->n; i++) {
            const qep_seq *q = &k->seqs[i];
            if (source_of(q, calibration, evaluation) != s) continue;
            const int64_t first = q->first + (s->view == QEP_VIEW_WINDOWS ? s->line.begin[q->row] : 0);
            list[n++] = (qep_fetch){first, q->length, owner[i], dst[i]};
        }
        qep_line_fetch_all(c, &s->line, list, n);
    }
    qep_free(dst);
    qep_free(owner);
    qep_free(list);
}

/* The sum over sequences of a hash of number, kind, evaluation set or task, and ids: the same for every split, and for every file the ids come from. */
static void add_digest(qep_comm *c, qep_corpus *k)
{
    for (int64_t i = 0; i < k->n_mine; i++) {
        const int64_t number = number_of(k, i);
        const qep_seq *q = &k->seqs[number];
        const int64_t place[4] = {number, (int64_t)q->kind, q->kind == QEP_SEQ_EVALUATION || q->kind == QEP_SEQ_TASKS ? q->set : 0, q->length};
        for (uint64_t d = 0; d < 2; d++) {
            uint64_t seed = qep_hash64(place, sizeof place, d + 1);
            k->digest[d] += qep_hash64(k->ids[i], (size_t)q->length * sizeof **k->ids, seed);
        }
    }
    qep_sum_u64_all(c, k->digest, 2);
}

/* How BOS came into the ids of calibration and validation, or of the evaluation sets, in words; NULL: there are none. */
static char *bos_text(const qep_config *cfg, const qep_text_rules *rules, const qep_files *f, bool evaluation)
{
    int64_t texts = 0;
    for (int64_t i = 0; i < f->n; i++) texts += f->s[i]->n_documents > 0;
    if (f->n == 0) return NULL;
    if (texts == 0) return qep_strdup("data.names", "token ids as given, nothing is added");
    const bool no = strcmp(cfg->bos, "no") == 0, one = !no && (rules->front >= 0 || qep_tokenizer_adds_bos(rules->tokenizer));
    const char *word = one ? evaluation ? "one in front of each set" : "one in front of each document" : no ? "none" : "none, as the tokenizer has it";
    const bool eos = !evaluation && qep_calibration_eos(cfg, rules) >= 0;
    return qep_strf("data.names", "%s%s%s", word, eos ? "; EOS behind each document" : "", texts < f->n ? "; token ids as given" : "");
}

static void name_sets(qep_corpus *k, const qep_config *cfg)
{
    k->n_sets = cfg->n_evaluation;
    k->set_names = qep_alloc("data.names", k->n_sets, sizeof *k->set_names);
    for (int64_t i = 0; i < k->n_sets; i++)
        k->set_names[i] = qep_strdup("data.names", cfg->evaluation[i].name);
}

/* The list of sequences, and my ids. */
static qep_status fill_all(qep_comm *c, const qep_config *cfg, int64_t vocab, const qep_text_rules *rules, const qep_tasks *tasks, qep_corpus *k)
{
    qep_files calibration = {0}, evaluation = {0};
    qep_status st;
    QEP_GO(st, qep_files_open_all(c, cfg, false, rules, &calibration));
    QEP_GO(st, qep_files_open_all(c, cfg, true, rules, &evaluation));
    QEP_GO(st, qep_agree_all(c, qep_corpus_plan_all(c, cfg, calibration.s, evaluation.s, tasks, k)));
    name_sets(k, cfg);
    k->documents = qep_alloc("data.names", calibration.n, sizeof *k->documents);
    for (int64_t i = 0; i < calibration.n; i++) k->documents[i] = calibration.s[i]->n_documents;
    take_shares(k, qep_size(c), qep_rank(c));
    QEP_GO(st, qep_agree_all(c, read_shares(k, vocab, &calibration, &evaluation, tasks)));
    fetch_lines_all(c, k, &calibration, &evaluation);
    add_digest(c, k);
    k->bos_calibration = bos_text(cfg, rules, &calibration, false);
    k->bos_evaluation = bos_text(cfg, rules, &evaluation, true);
done:
    qep_files_close_all(&calibration);
    qep_files_close_all(&evaluation);
    return st;
}

qep_status qep_corpus_open_all(qep_comm *c, const qep_config *cfg, int64_t vocab,
                               bool need_calibration, const qep_tasks *tasks, qep_corpus **out)
{
    *out = NULL;
    qep_corpus *k = qep_alloc("data.corpus", 1, sizeof *k);
    qep_tokenizer *tokenizer = NULL;
    qep_text_rules rules;
    qep_status st = QEP_OK;
    if (need_calibration && cfg->n_calibration_data == 0)
        QEP_GO(st, qep_fail(QEP_E_CONFIG, "calibration.data is missing; this run needs calibration tokens"));
    QEP_GO(st, qep_text_rules_all(c, cfg, vocab, &tokenizer, &rules));
    QEP_GO(st, fill_all(c, cfg, vocab, &rules, tasks, k));
    *out = k;
    k = NULL;
done:
    qep_tokenizer_close(&tokenizer);
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
    qep_free(k->documents);
    qep_free(k->bos_calibration);
    qep_free(k->bos_evaluation);
    qep_free(k->seqs);
    qep_free(k);
    *kp = NULL;
}
