/* The mixture of experts of a block. Every expert is two groups of its own: gate and up, then down, with the tokens that the router of the
 * quantized stream sends to it; of the full-precision stream the same tokens stand beside them, wherever its own router sent them. Tokens
 * that only the full-precision stream sends to an expert do not enter its statistics. At the end each stream goes on by its own routing.
 *
 * Experts go in batches. Apart: expert k of a batch belongs to rank k mod P, which gets its sums, factors and quantizes it alone; the ranks
 * exchange messages for the batch as a whole: sums, weights, records, errors. Together (wide experts, see qep_run_experts_apart): a batch is
 * one expert, worked on by all ranks. The bits are the same: nothing that is computed depends on the number of ranks that compute it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "experts_priv.h"

#include <assert.h>
#include <string.h>

enum { APART_COLS = 4096 }; /* a matrix of 128 MiB: a few of them have room on one rank */

bool qep_run_experts_apart(const qep_run *r, int64_t cols)
{
    return r->apart && cols <= APART_COLS;
}

int64_t qep_run_experts_batch(const qep_run *r, int64_t cols)
{
    const int64_t ranks = r->ranks;
    if (!qep_run_experts_apart(r, cols)) return 1;
    const qep_stats_plan p = qep_run_stats_plan(r, cols, 1, true, r->keep_act);
    const int64_t turns = qep_max_i64(1, qep_stats_many_at_once(&p, QEP_EXPERTS_ROOM) / ranks);
    return qep_min_i64(r->model->arch.n_experts, turns * ranks);
}

int64_t qep_run_experts_stream(const qep_run *r)
{
    const qep_arch *a = &r->model->arch;
    int64_t bytes = 0;
    for (int64_t b = 0; b < a->n_blocks && r->apart; b++)
        for (int k = qep_arch_expert_linear(a, 0, 0); k < qep_arch_n_linears(a, b) && qep_arch_sparse(a, b); k++) {
            const qep_export_linear *l = &r->linears[qep_run_linear_index(r, b, k)];
            if (l->quantized && qep_run_experts_apart(r, l->cols)) bytes = qep_max_i64(bytes, qep_layer_stream_bytes(&l->spec, l->cols));
        }
    return bytes;
}

/* --- the quantized weights -------------------------------------------------------------- */

static int linear_of(const qep_expert *e, int member)
{
    return qep_arch_expert_linear(&e->x->r->model->arch, e->number, qep_experts_part(e->x) + member);
}

static void sink_put(void *ctx, int member, int64_t row0, int64_t n, const float *values)
{
    const qep_expert *e = ctx;
    qep_block_put_rows(e->x->r->block, linear_of(e, member), row0, n, values);
}

static void sink_share_all(void *ctx, int member, const int64_t *begin, const int64_t *count)
{
    const qep_expert *e = ctx;
    if (!e->x->apart) qep_block_share_all(e->x->r->block, linear_of(e, member), begin, count); /* apart: after the batch */
}

/* Those of the batch to all nodes: one expert of each rank at a time. */
static void share_weights_all(const qep_experts *x, const qep_expert *batch, int64_t n)
{
    const int64_t ranks = qep_size(x->r->comm);
    int64_t *number = qep_alloc("run.experts", ranks, sizeof *number);
    for (int64_t first = 0; first < n; first += ranks) {
        for (int64_t q = 0; q < ranks; q++) number[q] = first + q < n ? batch[first + q].number : -1;
        qep_block_share_experts_all(x->r->block, x->g, number);
    }
    qep_free(number);
}

/* --- a batch ------------------------------------------------------------------------------ */

static qep_status quantize(qep_expert *e)
{
    const qep_layer_sink sink = {e, sink_put, sink_share_all};
    const qep_stats held = {NULL, NULL, NULL};
    const qep_run_members m = {.index = e->members, .n = e->n, .sink = &sink, .sums = &e->sums, .held = &held, .means = e->means,
                               .alone = e->x->apart};
    return qep_run_members_all(e->x->r, &m);
}

static bool is_mine(const qep_expert *e)
{
    return !e->x->apart || e->owner == qep_rank(e->x->r->comm);
}

/* What the owners recorded of their experts, to everybody: one rank's bytes plus zeros. */
static void share_records_all(const qep_experts *x, const qep_expert *batch, int64_t n)
{
    enum { WORDS = sizeof(qep_layer_record) / sizeof(int64_t) };
    static_assert(WORDS * sizeof(int64_t) == sizeof(qep_layer_record), "a record is a whole number of words");
    const int64_t members = batch[0].n;
    int64_t *words = qep_alloc("run.experts", n * members * WORDS, sizeof *words);
    for (int64_t i = 0; i < n * members; i++)
        if (is_mine(&batch[i / members]))
            memcpy(words + i * WORDS, &x->r->records[batch[i / members].members[i % members]].layer, sizeof(qep_layer_record));
    qep_sum_i64_all(x->r->comm, words, n * members * WORDS);
    for (int64_t i = 0; i < n * members; i++)
        memcpy(&x->r->records[batch[i / members].members[i % members]].layer, words + i * WORDS, sizeof(qep_layer_record));
    qep_free(words);
}

/* The errors of one expert's linears on my sequences, into rows of n_mine. */
static void measure(const qep_expert *e, double *diff, double *ref)
{
    const qep_run *r = e->x->r;
    for (int64_t i = 0; i < r->n_calibration; i++) {
        qep_out_error err[2] = {{0}};
        const float *fp, *q;
        const int64_t tokens = qep_expert_input(e, i, &fp, &q);
        qep_block_expert_errors(r->block, e->number, e->x->g, tokens, fp, q, err, r->work);
        for (int m = 0; m < e->n; m++) {
            diff[m * r->n_mine + i] = err[m].diff;
            ref[m * r->n_mine + i] = err[m].ref;
        }
    }
}

/* Error figures over the experts' tokens; held-out tokens are not counted. */
static void measure_all(const qep_experts *x, const qep_expert *batch, int64_t n)
{
    qep_run *r = x->r;
    const qep_timing t0 = qep_phase_begin(QEP_PHASE_FORWARD);
    const int64_t members = batch[0].n, rows = n * members;
    double *values = qep_alloc("run.errors", 2 * rows * r->n_mine, sizeof *values);
    double *total = qep_alloc("run.errors", 2 * rows, sizeof *total);
    for (int64_t k = 0; k < n; k++)
        measure(&batch[k], values + k * members * r->n_mine, values + (rows + k * members) * r->n_mine);
    qep_eval_ordered_sums_all(r->comm, r->corpus, values, 2 * rows, r->n_mine, QEP_SEQ_CALIBRATION, -1, total);
    for (int64_t k = 0; k < n; k++) {
        qep_error_sums sums[2][2] = {{{0, 0}}};
        for (int64_t m = 0; m < members; m++) sums[m][0] = (qep_error_sums){total[k * members + m], total[rows + k * members + m]};
        for (int64_t m = 0; m < members; m++) {
            r->records[batch[k].members[m]].tokens = x->tokens[batch[k].number];
            r->records[batch[k].members[m]].borrowed = batch[k].borrowed;
        }
        qep_run_record_errors_all(r, batch[k].members, batch[k].n, sums);
    }
    qep_free(total);
    qep_free(values);
    qep_phase_end(r, QEP_PHASE_FORWARD, &t0);
}

static qep_status quantize_all(const qep_experts *x, qep_expert *batch, int64_t n)
{
    qep_status st = QEP_OK;
    for (int64_t k = 0; k < n && st == QEP_OK; k++)
        if (is_mine(&batch[k])) st = quantize(&batch[k]);
    if (!x->apart) return st;
    const qep_timing t0 = qep_phase_begin(QEP_PHASE_WRITE);
    st = qep_agree_all(x->r->comm, st);
    if (st == QEP_OK) {
        share_weights_all(x, batch, n);
        share_records_all(x, batch, n);
    }
    qep_phase_end(x->r, QEP_PHASE_WRITE, &t0);
    return st;
}

/* The next experts from number *next on that are quantized, at most `most`. */
static int64_t open_batch(const qep_experts *x, int64_t *next, int64_t most, qep_expert *batch)
{
    const qep_run *r = x->r;
    int64_t n = 0;
    for (; *next < r->model->arch.n_experts && n < most; (*next)++) {
        qep_expert e = {.x = x, .number = *next, .owner = (int)(n % qep_size(r->comm)), .n = x->g == 2 ? 2 : 1};
        bool any = false;
        for (int i = 0; i < e.n; i++) {
            e.members[i] = qep_run_linear_index(r, x->block, linear_of(&e, i));
            any = any || r->linears[e.members[i]].quantized;
        }
        if (!any) continue;
        qep_run_needs(r, e.members, e.n, &e.want_h, &e.want_c);
        batch[n++] = e;
    }
    return n;
}

static qep_status batch_all(const qep_experts *x, qep_expert *batch, int64_t n)
{
    double *means = qep_alloc("run.experts", n * qep_experts_cols(x), sizeof *means);
    qep_status st = qep_experts_statistics_all(x, batch, n, means);
    if (st == QEP_OK) st = quantize_all(x, batch, n);
    for (int64_t k = 0; k < n; k++) qep_stats_free_all(&batch[k].sums);
    qep_free(means);
    if (st == QEP_OK) measure_all(x, batch, n);
    return st;
}

static qep_status group_all(qep_experts *x)
{
    qep_run *r = x->r;
    x->apart = qep_run_experts_apart(r, qep_experts_cols(x));
    const int64_t most = qep_run_experts_batch(r, qep_experts_cols(x));
    qep_expert *batch = qep_alloc("run.experts", most, sizeof *batch);
    qep_status st = x->g == 2 ? qep_experts_pool_all(x) : QEP_OK;
    for (int64_t next = 0; st == QEP_OK;) {
        const int64_t n = open_batch(x, &next, most, batch);
        if (n == 0) break;
        st = batch_all(x, batch, n);
        if (st == QEP_OK) st = qep_run_obey_all(r, x->block);
    }
    qep_free(batch);
    qep_dmat_destroy_all(&x->pool);
    return st;
}

void qep_run_experts_sequence(qep_run *r, int64_t i)
{
    int64_t T = r->seq_tokens[i], at = r->seq_offset[i] * r->model->arch.hidden;
    qep_block_norm(r->block, 2, r->x_fp + at, T, r->in_fp);
    qep_block_experts(r->block, QEP_STREAM_FP, r->in_fp, T, r->x_fp + at, r->work);
    if (!r->x_q) return;
    qep_block_norm(r->block, 2, r->x_q + at, T, r->in_q);
    qep_block_experts(r->block, QEP_STREAM_Q, r->in_q, T, r->x_q + at, r->work);
}

qep_status qep_run_experts_all(qep_run *r, int64_t b)
{
    qep_experts x = {.r = r, .block = b};
    qep_status st = QEP_OK;
    if (!r->quantizes) return QEP_OK;
    qep_timing t0 = qep_phase_begin(QEP_PHASE_FORWARD);
    qep_experts_route_all(&x);
    qep_phase_end(r, QEP_PHASE_FORWARD, &t0);
    for (x.g = 2; x.g <= 3 && st == QEP_OK; x.g++) st = group_all(&x);
    qep_experts_forget(&x);
    t0 = qep_phase_begin(QEP_PHASE_FORWARD);
    for (int64_t i = 0; i < r->n_grouped && st == QEP_OK; i++) qep_run_experts_sequence(r, i);
    qep_phase_end(r, QEP_PHASE_FORWARD, &t0);
    return st;
}
