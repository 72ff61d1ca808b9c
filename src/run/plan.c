/* The plan: what will be computed, how much memory, disk and time it takes; refused here when it cannot work.
 * SPDX-License-Identifier: Apache-2.0 */
#include "plan_priv.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

int qep_run_n_nodes(const qep_run *r)
{
    return r->per_node > 0 ? (int)qep_ceil_div(r->ranks, r->per_node) : qep_n_nodes(r->comm);
}

int qep_run_node_of(const qep_run *r, int rank)
{
    if (r->per_node == 0) return qep_node_of(r->comm, rank);
    const int nodes = qep_run_n_nodes(r), whole = nodes * (r->ranks - (nodes - 1) * r->per_node); /* the last node may have fewer: ranks before it is full */
    return rank < whole ? rank % nodes : (rank - whole) % (nodes - 1);
}

bool qep_run_leads_node(const qep_run *r, int rank)
{
    return rank < qep_run_n_nodes(r);
}

int64_t qep_plan_node_peak(const qep_run *r, bool keep_act)
{
    int64_t sum = 0;
    for (int rank = 0; rank < r->ranks; rank++) {
        if (qep_run_node_of(r, rank) != (r->per_node > 0 ? 0 : qep_node_id(r->comm))) continue;
        qep_memory_plan p;
        qep_plan_memory(r, rank, keep_act, &p);
        sum += p.peak;
    }
    return sum;
}

/* activations = auto keeps the FFN's inputs when every node has room for them. Collective. */
static void choose_activations_all(qep_run *r, int64_t available)
{
    const char *want = r->cfg->activations;
    bool fits = available < 0 || qep_plan_node_peak(r, true) < available - available / 10;
    r->keep_act = strcmp(want, "auto") == 0 ? fits : strcmp(want, "keep") == 0;
    r->keep_act = !qep_any_all(r->comm, !r->keep_act);
}

bool qep_plan_may_part(const qep_run *r)
{
    return r->quantizes && r->model->arch.n_sparse > 0 && r->cfg->grid == 0;
}

/* Experts are worked on by one rank each, when every node has room for their matrices. Collective. */
static void choose_experts_all(qep_run *r, int64_t available)
{
    r->apart = qep_plan_may_part(r);
    choose_activations_all(r, available);
    if (!qep_any_all(r->comm, r->apart && available >= 0 && qep_plan_node_peak(r, r->keep_act) > available)) return;
    r->apart = false;
    choose_activations_all(r, available);
}

/* H's rows stay on every node while codes are polished, when every node has room for them beside what was chosen. Collective. */
static void choose_keep_h_all(qep_run *r, int64_t available)
{
    r->keep_h = true;
    r->keep_h = !qep_any_all(r->comm, available >= 0 && qep_plan_node_peak(r, r->keep_act) > available - available / 10);
}

static qep_status check_memory_all(qep_run *r, int64_t available, int64_t peak)
{
    char need[32], have[32];
    qep_status st = QEP_OK;
    if (available >= 0 && peak > available)
        st = qep_fail(QEP_E_RESOURCE,
                      "node %s needs %s of memory for its %d ranks and has %s available; use more nodes, fewer ranks with more threads, "
                      "or fewer calibration.samples%s", qep_host(r->comm), qep_format_bytes(peak, need, sizeof need), qep_node_size(r->comm),
                      qep_format_bytes(available, have, sizeof have), r->keep_act ? ", or run.activations = recompute" : "");
    return qep_agree_all(r->comm, st);
}

/* ScaLAPACK, which factors where the bits may depend on ranks, counts the elements of a rank's part in 32 bits. */
static qep_status check_solver(const qep_run *r)
{
    if (r->cfg->reproducible) return QEP_OK;
    for (int64_t i = 0; i < r->n_linears; i++) {
        int64_t d = r->linears[i].cols, block = r->cfg->solver_block;
        if (!r->linears[i].quantized || !qep_layer_needs_h(&r->linear_cfg[i])) continue;
        int64_t owners = qep_dmat_owners_rule(d, block, r->ranks, r->cfg->grid);
        int64_t rows = qep_ceil_div(qep_ceil_div(d, block), owners) * block;
        if (rows * qep_round_up(d, block) > INT32_MAX)
            return qep_fail(QEP_E_RESOURCE, "%s: %lld of the %lld rows of its Hessian on one rank are more than ScaLAPACK can count; use more "
                                            "ranks, or run.reproducible = yes", r->linears[i].module, (long long)rows, (long long)d);
    }
    return QEP_OK;
}

static int64_t file_bytes(const char *path, const char *suffix)
{
    char *name = qep_strf("plan.path", "%s%s", path, suffix);
    struct stat sb;
    int64_t bytes = stat(name, &sb) == 0 ? (int64_t)sb.st_size : 0;
    qep_free(name);
    return bytes;
}

int64_t qep_plan_checkpoint_bytes(const qep_run *r)
{
    return r->corpus->tokens * r->model->arch.hidden * (int64_t)sizeof(float) * (r->quantizes ? 2 : 1);
}

/* The folder that will be made must be under one that can be written; and room for the generations of checkpoints. Root looks. */
static qep_status check_disk(const qep_run *r)
{
    char *folder = qep_dir_existing(r->checkpoint), need[32], have[32];
    struct statvfs v;
    int64_t there = file_bytes(r->checkpoint, "") + file_bytes(r->checkpoint, ".prev"); /* generations that will be replaced */
    int64_t want = qep_max_i64(0, qep_plan_checkpoint_bytes(r) * (r->cfg->checkpoint_keep + 1) - there);
    bool fresh = there == 0; /* the output's files are still to be made, by default beside the checkpoint */
    if (r->output && fresh && strncmp(r->checkpoint, r->cfg->output_path, strlen(r->cfg->output_path)) == 0)
        want += qep_export_disk_bytes(r->output);
    qep_status st = QEP_OK;
    if (qep_dir_exists(r->checkpoint))
        st = qep_fail(QEP_E_CONFIG, "[checkpoint] path: %s is a directory", r->checkpoint);
    else if (access(folder, W_OK) != 0)
        st = qep_fail(QEP_E_IO, "cannot write to %s (for %s); choose another [checkpoint] or [output] path", folder, r->checkpoint);
    else if (r->cfg->checkpoint_every > 0 && statvfs(folder, &v) == 0 && (int64_t)(v.f_bavail * v.f_frsize) < want)
        st = qep_fail(QEP_E_RESOURCE, "checkpoints need %s in %s (with the output that goes there), where %s are free; choose another [checkpoint] path or set "
                                      "[checkpoint] every = never", qep_format_bytes(want, need, sizeof need), folder,
                      qep_format_bytes((int64_t)(v.f_bavail * v.f_frsize), have, sizeof have));
    qep_free(folder);
    return st;
}

const char *qep_plan_h_words(const qep_run *r)
{
    for (int64_t i = 0; i < r->n_linears; i++)
        if (r->linears[i].quantized && qep_layer_polishes(&r->linear_cfg[i], &r->linears[i].spec))
            return r->keep_h ? "; H once per node while codes are polished" : "; H streamed while codes are polished";
    return "";
}

static void log_memory(const qep_run *r, const qep_memory_plan *p, int64_t node)
{
    char a[32], b[32];
    qep_info("memory: %s on rank 0, %s on its node; FFN activations %s%s", qep_format_bytes(p->peak, a, sizeof a),
             qep_format_bytes(node, b, sizeof b), r->keep_act ? "kept" : "recomputed", qep_plan_h_words(r));
    for (int i = 0; i < p->n; i++)
        qep_info("  %-18s %12s%s", p->items[i].name, qep_format_bytes(p->items[i].rank_bytes, a, sizeof a),
                 p->items[i].per_node ? "  (once per node)" : "");
}

void qep_plan_log_experts(const qep_run *r)
{
    const qep_arch *a = &r->model->arch;
    const int64_t cols[2] = {a->hidden, a->expert_inter};
    for (int i = 0; i < 2 && r->quantizes && a->n_sparse > 0; i++) {
        const char *const part = i == 0 ? "gate, up" : "down";
        if (qep_run_experts_apart(r, cols[i]))
            qep_info("experts, %s: %lld of a layer in batches of %lld, each expert on one of %d ranks", part, (long long)a->n_experts,
                     (long long)qep_run_experts_batch(r, cols[i]), r->ranks);
        else
            qep_info("experts, %s: %lld of a layer one after the other, each on all ranks", part, (long long)a->n_experts);
    }
}

static void log_work(const qep_run *r, const qep_work_plan *w)
{
    char t[32], d[32], c[32];
    qep_info("work: forward %.3g, statistics %.3g, factors %.3g, correction %.3g, quantization %.3g, evaluation %.3g TFLOP; about %s",
             w->forward * 1e-12, w->statistics * 1e-12, w->factor * 1e-12, w->correction * 1e-12, w->quantize * 1e-12,
             w->evaluation * 1e-12, qep_format_seconds(w->seconds, t, sizeof t));
    qep_info("disk: output %s in %s, checkpoint %s x %lld",
             qep_format_bytes(r->output ? qep_export_disk_bytes(r->output) : 0, d, sizeof d), r->cfg->output_path,
             qep_format_bytes(qep_plan_checkpoint_bytes(r), c, sizeof c), (long long)r->cfg->checkpoint_keep);
}

static bool same_kind(const qep_run *r, int64_t i, int64_t j)
{
    return qep_layer_same(&r->linear_cfg[i], &r->linears[i].spec, &r->linear_cfg[j], &r->linears[j].spec);
}

/* What will be done with the linears: one line per kind of settings, so that overrides and exclusions can be checked. */
static void log_kinds(const qep_run *r)
{
    for (int64_t i = 0; i < r->n_linears; i++) {
        const qep_linear_config *c = &r->linear_cfg[i];
        int64_t n = 1, first = i;
        for (int64_t j = 0; j < i && first == i; j++)
            if (same_kind(r, i, j)) first = j;
        if (first < i) continue;
        for (int64_t j = i + 1; j < r->n_linears; j++) n += same_kind(r, i, j);
        char strength[80] = "alpha and damping fitted";
        if (!qep_layer_fits(c)) snprintf(strength, sizeof strength, "alpha %g, damping %g", c->alpha, c->correction_damping);
        if (!r->linears[i].quantized)
            qep_info("%lld linears like %s: not quantized", (long long)n, r->linears[i].module);
        else if (!qep_layer_corrects(c))
            qep_info("%lld linears like %s: %s, %lld bits, group %lld, %s, not corrected", (long long)n, r->linears[i].module, c->method,
                     (long long)c->bits, (long long)c->group_size, c->symmetric ? "symmetric" : "asymmetric");
        else
            qep_info("%lld linears like %s: %s, %lld bits, group %lld, %s, corrected with %s, residual %g", (long long)n,
                     r->linears[i].module, c->method, (long long)c->bits, (long long)c->group_size,
                     c->symmetric ? "symmetric" : "asymmetric", strength, c->residual);
    }
}

static void log_task(const qep_run *r)
{
    const qep_arch *a = &r->model->arch;
    qep_info("model %s: %s, %lld blocks, hidden %lld, ffn %lld, %lld heads (%lld kv), vocabulary %lld", r->model->path, a->family,
             (long long)a->n_blocks, (long long)a->hidden, (long long)a->inter, (long long)a->n_heads, (long long)a->n_kv_heads,
             (long long)a->vocab);
    qep_run_describe_rope(r);
    const qep_corpus *c = r->corpus;
    qep_info("tokens: %lld calibration sequences, %lld tokens; %lld validation sequences, %lld tokens; %lld evaluation sequences in %lld sets",
             (long long)c->count[QEP_SEQ_CALIBRATION], (long long)c->kind_tokens[QEP_SEQ_CALIBRATION], (long long)c->count[QEP_SEQ_VALIDATION],
             (long long)c->kind_tokens[QEP_SEQ_VALIDATION], (long long)c->count[QEP_SEQ_EVALUATION], (long long)c->n_sets);
    if (r->tasks)
        qep_info("tasks: %lld files, %lld choices, %lld tokens; scored as %s", (long long)r->tasks->n,
                 (long long)c->count[QEP_SEQ_TASKS], (long long)c->kind_tokens[QEP_SEQ_TASKS], r->tasks_rule);
    char *windows = qep_corpus_windows(c, r->cfg, 144);
    if (c->n > 0) qep_info("token ids %016llx%016llx; a hash of all of them", (unsigned long long)c->digest[0], (unsigned long long)c->digest[1]);
    if (c->bos_calibration) qep_info("BOS, calibration: %s", c->bos_calibration);
    if (c->bos_evaluation) qep_info("BOS, evaluation: %s", c->bos_evaluation);
    if (c->n > 0) qep_info("%s", windows);
    qep_free(windows);
    log_kinds(r);
    if (r->output) qep_export_describe(r->output);
    if (r->output) qep_run_describe_folds(r);
    int64_t n = c->count[QEP_SEQ_CALIBRATION];
    if (n > 0 && n < r->ranks)
        qep_warn("%lld calibration sequences for %d ranks: %lld ranks have none and help only with rows and matrices; use fewer ranks "
                 "with more threads", (long long)n, r->ranks, (long long)(r->ranks - n));
}

qep_status qep_run_plan_all(qep_run *r)
{
    qep_memory_plan mine;
    qep_work_plan work;
    int64_t available = qep_mem_available();
    if (r->args.elsewhere.ranks > 0) {
        log_task(r);
        return qep_plan_elsewhere_all(r);
    }
    choose_experts_all(r, available);
    choose_keep_h_all(r, available);
    qep_plan_memory(r, qep_rank(r->comm), r->keep_act, &mine);
    r->planned_peak = mine.peak;
    int64_t node = qep_plan_node_peak(r, r->keep_act);
    log_task(r);
    log_memory(r, &mine, node);
    qep_plan_work_all(r, &work);
    r->expected_s = work.seconds;
    qep_plan_log_experts(r);
    log_work(r, &work);
    QEP_TRY(check_memory_all(r, available, node));
    QEP_TRY(check_solver(r));
    return qep_agree_all(r->comm, qep_rank(r->comm) == 0 ? QEP_ALONE("directory", check_disk(r)) : QEP_OK);
}
