/* Memory by name for one rank: the sizes that the modules will allocate, and the largest sum that lives at one time.
 * SPDX-License-Identifier: Apache-2.0 */
#include "plan_priv.h"

#include <string.h>

typedef struct tally {
    qep_memory_plan *plan;
    int64_t stage[QEP_PLAN_STAGES]; /* bytes alive in each stage */
} tally;

/* Adds an allocation that lives through `stages`; the table keeps the largest seen under a name. */
static void add(tally *t, const char *name, int64_t bytes, unsigned stages, bool per_node)
{
    if (bytes <= 0) return;
    for (int s = 0; s < QEP_PLAN_STAGES; s++)
        if (stages >> s & 1) t->stage[s] += bytes;
    qep_memory_plan *p = t->plan;
    int i = 0;
    while (i < p->n && strcmp(p->items[i].name, name) != 0) i++;
    if (i == p->n) {
        QEP_REQUIRE(p->n < QEP_PLAN_MAX_ITEMS);
        p->items[p->n++] = (qep_plan_item){name, 0, per_node};
    }
    p->items[i].rank_bytes = qep_max_i64(p->items[i].rank_bytes, bytes);
}

static int64_t tokens_of(const qep_run *r, qep_seq_kind kind, int rank)
{
    qep_corpus_part p;
    qep_corpus_share(r->corpus, kind, r->ranks, rank, &p);
    return p.tokens;
}

/* Tokens by expert, of all sequences; and the router's answer for one. */
static int64_t routes_bytes(const qep_run *r, int rank)
{
    const qep_arch *a = &r->model->arch;
    qep_corpus_part p;
    qep_corpus_share(r->corpus, QEP_SEQ_CALIBRATION, r->ranks, rank, &p);
    return (a->top_k * (p.tokens + 2 * r->corpus->max_length) + p.count * (a->n_experts + 1)) * 4 + a->n_experts * 8;
}

/* What lives from start to end. */
static void add_lasting(tally *t, const qep_run *r, int rank, bool keep_act)
{
    const qep_arch *a = &r->model->arch;
    int64_t grouped = tokens_of(r, QEP_SEQ_CALIBRATION, rank) + tokens_of(r, QEP_SEQ_VALIDATION, rank), f = (int64_t)sizeof(float);
    int64_t tokens = grouped + tokens_of(r, QEP_SEQ_EVALUATION, rank) + tokens_of(r, QEP_SEQ_TASKS, rank);
    int64_t widest = qep_run_widest_act(a);
    int64_t streams = r->quantizes ? 2 : 1, longest = r->corpus->max_length, fp, q;
    add(t, "data.ids", tokens * (int64_t)sizeof(int32_t), QEP_STAGE_ALL, false);
    add(t, "streams.fp", tokens * a->hidden * f, QEP_STAGE_ALL, false);
    add(t, "run.sequence", streams * longest * (a->hidden + widest) * f, QEP_STAGE_ALL, false);
    add(t, "packed.rows", qep_packed_scratch(r->model->packed), QEP_STAGE_ALL, false);
    add(t, "model.work", qep_work_bytes(a, r->compute, longest), QEP_STAGE_ALL, false);
    if (a->n_experts > 0) add(t, "model.pairs", longest * (int64_t)sizeof(int32_t), QEP_STAGE_ALL, false);
    if (r->quantizes) {
        if (a->n_experts > 0) add(t, "run.routes", routes_bytes(r, rank), QEP_STAGE_ALL, false);
        add(t, "experts.stream", qep_run_experts_stream(r), QEP_STAGE_ALL, false);
        add(t, "export.copy", QEP_EXPORT_COPY_BYTES, QEP_STAGE_COPY, false);
        add(t, "streams.q", tokens * a->hidden * f, QEP_STAGE_ALL, false);
        add(t, "streams.act", 2 * grouped * qep_run_kept_act(a, keep_act) * f, QEP_STAGE_ALL, false);
    }
    if (qep_run_leads_node(r, rank)) {
        qep_block_bytes(a, r->compute, &fp, &q);
        add(t, "model.block.fp", fp, QEP_STAGE_ALL, true);
        if (r->quantizes) add(t, "model.block.q", q, QEP_STAGE_ALL, true);
        add(t, "solve.stream", qep_run_stream_bytes(r, keep_act), QEP_STAGE_ALL, true);
    }
}

/* Those who share a group's work: all ranks, or, for experts that are apart, one. */
typedef struct workers {
    int ranks, rank; /* this one among them */
    int64_t groups;  /* of each: experts of a batch */
} workers;

static workers workers_of(const qep_run *r, int64_t cols, bool expert, int rank)
{
    const int ranks = r->ranks;
    if (!expert || !qep_run_experts_apart(r, cols)) return (workers){ranks, rank, 1};
    return (workers){1, 0, qep_ceil_div(qep_run_experts_batch(r, cols), ranks)};
}

/* Strips of a stacked group that the rank owns. */
static int64_t strips_of(const qep_run *r, const int64_t *members, int n, workers w)
{
    int64_t total = 0, begin, count;
    for (int i = 0; i < n; i++)
        if (r->linears[members[i]].quantized) total += qep_ceil_div(r->linears[members[i]].rows, QEP_STRIP);
    qep_partition(total, w.ranks, w.rank, &begin, &count);
    return count;
}

/* The set that needs most: all members, or the tallest of those that are handled one by one. */
static qep_layer_shape shape_of(const qep_run *r, const int64_t *members, int n, workers w, bool want_c)
{
    const qep_export_linear *first = &r->linears[members[0]];
    qep_layer_shape s = {.cols = first->cols, .ranks = w.ranks, .threads = r->threads, .with_c = want_c};
    bool alone = false;
    for (int i = 0; i < n; i++) alone = alone || r->linears[members[i]].spec.method->drive == QEP_DRIVE_ROTATED;
    if (!alone) s.strips = strips_of(r, members, n, w);
    for (int i = 0; i < n; i++) {
        if (!r->linears[members[i]].quantized) continue;
        s.rows = alone ? qep_max_i64(s.rows, r->linears[members[i]].rows) : s.rows + r->linears[members[i]].rows;
        if (alone) s.strips = qep_max_i64(s.strips, strips_of(r, &members[i], 1, w));
    }
    return s;
}

/* Members with different settings are handled one after the other, and C is copied for the later ones. */
static bool mixed(const qep_run *r, const int64_t *members, int n)
{
    bool differ = false;
    for (int i = 1; i < n; i++)
        differ = differ || !qep_layer_same(&r->linear_cfg[members[0]], &r->linears[members[0]].spec, &r->linear_cfg[members[i]],
                                           &r->linears[members[i]].spec);
    return differ && qep_layer_needs_c(&r->linear_cfg[members[n - 1]]);
}

/* Of a group's matrices. */
static int64_t matrix_bytes(const qep_run *r, int64_t d, workers w)
{
    const int64_t block = r->cfg->solver_block;
    return qep_dmat_local_bytes(d, block, qep_dmat_owners_rule(d, block, w.ranks, r->cfg->grid), w.rank);
}

/* Messages of the sums of a round of experts, or of a group. */
static void add_sums(tally *t, const qep_run *r, const qep_stats_plan *p, bool apart, workers w)
{
    const int64_t ranks = r->ranks;
    int64_t longest;
    if (apart) {
        const int64_t n = qep_min_i64(w.groups * ranks, qep_stats_many_at_once(p, QEP_EXPERTS_ROOM));
        longest = qep_ceil_div(n, ranks) * qep_stats_many_sums(p);
    } else {
        const int64_t owners = qep_dmat_owners_rule(p->d, p->block, ranks, r->cfg->grid);
        const int64_t most_rows = qep_ceil_div(qep_ceil_div(p->d, p->block), owners) * p->block; /* of an owner */
        longest = qep_max_i64(qep_min_i64(most_rows, p->d), qep_stats_gamma_most(p, r->ranks)) * qep_min_i64(p->panel, p->d);
    }
    add(t, "par.sum", qep_sum_bytes(r->comm, qep_run_n_nodes(r), longest), QEP_STAGE_STATISTICS, false);
}

/* The inputs of one sequence, or of all of the rank's; held-out ones come after the others. Apart: of one, and where experts want the H of all tokens,
 * of all without C. */
static int64_t tap_bytes(const qep_run *r, const qep_stats_plan *p, bool held, bool apart, int rank)
{
    const int64_t longest = r->corpus->max_length;
    int64_t most = 0;
    for (int k = 0; k <= (held ? 1 : 0); k++) {
        qep_stats_plan kept = *p;
        qep_corpus_part part;
        qep_corpus_share(r->corpus, k == 0 ? QEP_SEQ_CALIBRATION : QEP_SEQ_VALIDATION, r->ranks, rank, &part);
        if (apart) most = qep_max_i64(most, qep_stats_tap_bytes(p, qep_min_i64(part.count, 1), longest, r->threads));
        kept.want_c = p->want_c && !apart;
        most = qep_max_i64(most, qep_stats_tap_bytes(&kept, qep_stats_sets(p, part.count, longest, r->threads), longest, r->threads));
    }
    return most;
}

/* Rows times a matrix, and solved. */
static void add_products(tally *t, int64_t d, const qep_layer_shape *shape, bool f64, unsigned stages)
{
    add(t, "solve.pieces", qep_rows_pieces_bytes(d, shape->strips, f64), stages, false);
    add(t, "solve.turned", qep_rows_turned_bytes(d, shape->strips, shape->threads, f64), stages, false);
}

/* Bytes of an entry of the correction: where all members have one setting and W M is formed by one M for all rows (qep_correct_rows_all) none, W M is kept for
 * the figures, or f32 if channels may be dead with compat = paper; else f64 at most. */
static int64_t correction_size(const qep_run *r, const int64_t *members, int n)
{
    int64_t rows = 0, first = -1;
    bool differ = false;
    for (int i = 0; i < n; i++) {
        const int64_t k = members[i];
        if (!r->linears[k].quantized) continue;
        if (first < 0) first = k;
        differ = differ || !qep_layer_same(&r->linear_cfg[first], &r->linears[first].spec, &r->linear_cfg[k], &r->linears[k].spec);
        rows += r->linears[k].rows;
    }
    if (first < 0 || differ || !qep_correct_by_matrix(rows, r->linears[first].cols, qep_layer_needs_gamma(&r->linear_cfg[first]))) return (int64_t)sizeof(double);
    return r->linears[first].spec.paper ? (int64_t)sizeof(float) : 0;
}

/* What lives while a group is worked on. An expert's H may be made up with second moments of all the layer's tokens: one more matrix. */
static void add_group(tally *t, const qep_run *r, const int64_t *members, int n, bool expert, int rank, bool keep_act)
{
    bool want_h = false, want_c = false;
    const qep_qspec *spec = NULL;
    const qep_linear_config *cfg = NULL;
    int64_t d = r->linears[members[0]].cols, block = r->cfg->solver_block;
    for (int i = 0; i < n; i++) {
        if (!r->linears[members[i]].quantized) continue;
        spec = &r->linears[members[i]].spec;
        cfg = &r->linear_cfg[members[i]];
        want_h = want_h || qep_layer_needs_h(&r->linear_cfg[members[i]]);
        want_c = want_c || qep_layer_needs_c(&r->linear_cfg[members[i]]);
    }
    if (!spec) return;
    const workers w = workers_of(r, d, expert, rank);
    qep_layer_shape shape = shape_of(r, members, n, w, want_c);
    qep_layer_bytes b = qep_layer_plan(cfg, spec, &shape);
    unsigned solving = QEP_STAGE_CORRECT | QEP_STAGE_QUANTIZE | QEP_STAGE_POLISH | QEP_STAGE_FIGURES | QEP_STAGE_WRITE;
    add(t, "layer.rows", b.rows, solving, false);
    add(t, "quantize.strips", b.strips, QEP_STAGE_QUANTIZE, false);
    add(t, "layer.kept", qep_run_fold_bytes(r, members, rank), QEP_STAGE_STATISTICS | solving, false);
    add(t, "layer.search", b.search, QEP_STAGE_QUANTIZE, false);
    if (qep_run_judges(r, members, n)) add(t, "run.judge", qep_run_judge_bytes(r, rank), QEP_STAGE_QUANTIZE, false);
    add(t, "layer.rotate", b.rotate, QEP_STAGE_QUANTIZE, false);
    add(t, "quantize.rotation", b.rotation, QEP_STAGE_QUANTIZE, false);
    if (strcmp(r->cfg->format, "dense") == 0) add(t, "export.rows", b.writing, QEP_STAGE_WRITE, false);
    add(t, "layer.fit", b.fit, QEP_STAGE_CORRECT, false);
    add(t, "quantize.polish", b.polish, QEP_STAGE_POLISH, false);
    if (r->keep_h && qep_layer_polishes(cfg, spec) && !(expert && qep_run_experts_apart(r, d)) && qep_run_leads_node(r, rank))
        add(t, "quantize.h", qep_dmat_kept_bytes(d), QEP_STAGE_POLISH | QEP_STAGE_FIGURES, true);
    add(t, "layer.figures", b.wc, QEP_STAGE_CORRECT | QEP_STAGE_QUANTIZE | QEP_STAGE_POLISH, false);
    add(t, "layer.figures", b.wc + b.figures, QEP_STAGE_FIGURES, false);
    const unsigned products = (b.search > 0 ? QEP_STAGE_QUANTIZE : 0) | QEP_STAGE_POLISH | QEP_STAGE_FIGURES;
    if (want_c || b.search > 0 || qep_layer_polishes(cfg, spec))
        add_products(t, d, &shape, false, products);
    if (!want_h) return;
    const int64_t owners = qep_dmat_owners_rule(d, block, w.ranks, r->cfg->grid), matrix = matrix_bytes(r, d, w), all = w.groups * matrix;
    qep_stats_plan sp = qep_run_group_plan(r, members, n, false, keep_act), hp = qep_run_group_plan(r, members, n, true, keep_act);
    bool held = want_c && !expert && hp.total_tokens > 0;
    if (b.rotate > 0) add(t, "solve.rotated", 2 * matrix, QEP_STAGE_QUANTIZE, false);
    const int64_t searched = !expert && qep_run_searches_apart(r, members, n) ? matrix : 0;
    add(t, "solve.h", all + (!expert ? searched : n > 1 ? matrix : all), QEP_STAGE_STATISTICS | solving, false);
    add(t, "solve.factor", matrix, QEP_STAGE_CORRECT | QEP_STAGE_QUANTIZE, false);
    add(t, "solve.p", b.matrices * matrix, QEP_STAGE_QUANTIZE, false);
    add(t, "dmat.exchange", 4 * block * (d + 1) * (int64_t)sizeof(double), QEP_STAGE_QUANTIZE, false); /* and two addresses for each row */
    if (mixed(r, members, n)) add(t, "stats.C.copy", matrix, solving, false);
    add(t, "dmat.factor", qep_dmat_factor_bytes(d, block, owners, w.rank), QEP_STAGE_CORRECT | QEP_STAGE_QUANTIZE, false);
    if (want_c) {
        add(t, "solve.c", all, QEP_STAGE_STATISTICS | solving, false);
        add_products(t, d, &shape, qep_layer_corrects(cfg), QEP_STAGE_CORRECT);
        add(t, "solve.rows", shape.strips * QEP_STRIP * d * correction_size(r, members, n), QEP_STAGE_CORRECT, false);
    }
    add_sums(t, r, &sp, expert && qep_run_experts_apart(r, d), w);
    if (held) {
        add(t, "held.h", matrix, QEP_STAGE_STATISTICS | solving, false);
        add(t, "held.c", matrix, QEP_STAGE_STATISTICS | solving, false);
        if (hp.gamma_rows > 0) add(t, "held.gamma", qep_stats_gamma_bytes(&hp, r->ranks, rank), QEP_STAGE_STATISTICS | solving, false);
    }
    if (sp.gamma_rows > 0) add(t, "stats.gamma", qep_stats_gamma_bytes(&sp, r->ranks, rank), QEP_STAGE_STATISTICS | solving, false);
    add(t, "stats.tap", tap_bytes(r, &sp, held, expert && qep_run_experts_apart(r, d), rank), QEP_STAGE_STATISTICS, false);
}

static int64_t peak_of(const tally *t)
{
    int64_t top = 0;
    for (int s = 0; s < QEP_PLAN_STAGES; s++) top = qep_max_i64(top, t->stage[s]);
    return top;
}

void qep_plan_memory(const qep_run *r, int rank, bool keep_act, qep_memory_plan *out)
{
    const qep_arch *a = &r->model->arch;
    *out = (qep_memory_plan){.n = 0};
    tally lasting = {.plan = out};
    add_lasting(&lasting, r, rank, keep_act);
    out->peak = peak_of(&lasting);
    for (int64_t b = 0; b < a->n_blocks; b++)
        for (int g = 0; g < QEP_N_GROUPS; g++) {
            int64_t members[QEP_MAX_MEMBERS];
            tally t = lasting;
            int n = qep_run_plan_members(r, b, g, members);
            add_group(&t, r, members, n, g >= 2 && qep_arch_sparse(a, b), rank, keep_act);
            out->peak = qep_max_i64(out->peak, peak_of(&t));
        }
    bool head = r->cfg->lm_head && r->linears[r->n_linears - 1].quantized;
    bool fits = qep_run_fits_norm(r);
    if (!head && !fits && r->corpus->n_sets == 0 && !r->tasks) return;
    tally t = lasting;
    int64_t last = r->n_linears - 1;
    add(&t, "eval.logits", qep_max_i64(qep_eval_bytes(a, r->quantizes), fits ? qep_eval_slope_bytes(a) : 0), QEP_STAGE_ALL, false);
    if (qep_run_leads_node(r, rank)) {
        add(&t, "model.head", qep_head_bytes(a, r->compute, QEP_STREAM_FP), QEP_STAGE_ALL, true);
        if (head) add(&t, "model.head.q", qep_head_bytes(a, r->compute, QEP_STREAM_Q), QEP_STAGE_ALL, true);
    }
    if (fits) {
        qep_corpus_part mine, held;
        qep_corpus_share(r->corpus, QEP_SEQ_CALIBRATION, r->ranks, rank, &mine);
        qep_corpus_share(r->corpus, QEP_SEQ_VALIDATION, r->ranks, rank, &held);
        add(&t, "run.norm", qep_run_norm_bytes(r, qep_max_i64(mine.count, held.count)), QEP_STAGE_COPY, false);
        add(&t, "solve.minimize", qep_minimize_bytes(a->hidden), QEP_STAGE_COPY, false);
    }
    if (head) add_group(&t, r, &last, 1, false, rank, keep_act);
    out->peak = qep_max_i64(out->peak, peak_of(&t));
}
