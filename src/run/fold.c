/* Where AWQ's scales of a group's input channels go in packed formats: into the norm in front of it, or into the rows of the linear that feeds
 * it. Dense output needs neither: its values hold the scales. SPDX-License-Identifier: Apache-2.0 */
#include "plan_priv.h"

#include <string.h>

static bool is_scaled(const qep_run *r, int64_t linear)
{
    return r->linears[linear].spec.method->drive == QEP_DRIVE_SCALED;
}

bool qep_run_awq_as_published(const qep_run *r, int64_t linear)
{
    return qep_run_as_published(r) && is_scaled(r, linear);
}

/* Where a linear stands. */
typedef struct place {
    int64_t block; /* -1: lm_head */
    int g;
    bool expert;
} place;

static place place_of(const qep_run *r, int64_t linear)
{
    int k = 0;
    place p = {.block = qep_run_block_of(r, linear, &k)};
    if (p.block < 0) return p;
    p.g = qep_arch_linear(&r->model->arch, p.block, k).group;
    p.expert = p.g >= 2 && qep_arch_sparse(&r->model->arch, p.block);
    return p;
}

/* What the outputs that are the input channels of group g (1, 3) of a block are rows of; a linear may hold others as well. */
static const qep_role_rows *feeder_rows(const qep_run *r, int g)
{
    return &r->model->arch.parts[g == 1 ? QEP_ROLE_V : QEP_ROLE_UP];
}

static int64_t feeder(const qep_run *r, int64_t block, int g)
{
    return qep_run_linear_index(r, block, feeder_rows(r, g)->linear);
}

static qep_fold_kind none(const char **why, const char *reason)
{
    *why = reason;
    return QEP_FOLD_NONE;
}

static qep_fold_kind into_norm(const qep_run *r, place p, const int64_t *members, int n, const char **why)
{
    if (p.expert) return none(why, "the router and the other experts share its norm");
    if (!r->model->arch.norms[p.g == 0 ? QEP_NORM_ATTN_IN : QEP_NORM_MLP_IN].name) return none(why, "there is no norm in front of it");
    for (int i = 0; i < n; i++)
        if (!is_scaled(r, members[i]) || (i > 0 && !qep_layer_same(&r->linear_cfg[members[0]], &r->linears[members[0]].spec,
                                                                 &r->linear_cfg[members[i]], &r->linears[members[i]].spec)))
            return none(why, "the linears that share its norm are not all awq with the same settings");
    return QEP_FOLD_NORM;
}

static qep_fold_kind into_rows(const qep_run *r, place p, int64_t linear, const char **why)
{
    if (p.expert) return none(why, "scales are not folded into experts");
    const qep_role_rows *rows = feeder_rows(r, p.g);
    const int64_t feed = feeder(r, p.block, p.g);
    if (rows->rows != r->linears[linear].cols)
        return none(why, "each key/value head feeds several of its input heads (grouped-query attention), so its channels have no rows of their own");
    if (rows->rows != r->linears[feed].rows) return none(why, "the linear that feeds it is stored stacked with others");
    if (r->linears[feed].bias) return none(why, "the linear that feeds it has a bias");
    if (!is_scaled(r, feed)) return none(why, "the linear that feeds it is not awq");
    return QEP_FOLD_ROWS;
}

qep_fold_kind qep_run_fold_kind(const qep_run *r, const int64_t *members, int n, const char **why)
{
    const place p = place_of(r, members[0]);
    bool any = false;
    *why = NULL;
    for (int i = 0; i < n; i++) any = any || is_scaled(r, members[i]);
    if (!any) return QEP_FOLD_NONE;
    if (qep_run_as_published(r) && p.block >= 0 && p.g == 1 && feeder_rows(r, 1)->rows != r->linears[members[0]].cols)
        return none(why, "the published code skips it with grouped-query attention (compat = paper)");
    if (!qep_export_is_packed(r->output)) return QEP_FOLD_VALUES;
    if (p.block < 0) return none(why, "the final norm is not folded");
    return p.g % 2 == 0 ? into_norm(r, p, members, n, why) : into_rows(r, p, members[0], why);
}

/* Rows that group g + 1 of the same block will divide, or -1. */
static int64_t wanted_next(const qep_run *r, const int64_t *members)
{
    const char *why;
    const place p = place_of(r, members[0]);
    if (p.block < 0 || p.g % 2 != 0 || p.expert) return -1;
    const int64_t next = qep_run_linear_index(r, p.block, r->model->arch.group_first[p.g + 1]);
    return qep_run_fold_kind(r, &next, 1, &why) == QEP_FOLD_ROWS ? feeder(r, p.block, p.g + 1) : -1;
}

static qep_status fold_norm_all(void *ctx, float *scale)
{
    const qep_run_fold *f = ctx;
    qep_run *r = f->r;
    float *stored = qep_alloc("run.fold", r->model->arch.hidden, sizeof *stored);
    const qep_st_tensor *norm = NULL;
    const place p = place_of(r, f->linear);
    qep_status st = qep_model_fold_norm(r->model, p.block, p.g, scale, &norm, stored);
    if (st == QEP_OK && qep_rank(r->comm) == 0) st = QEP_ALONE("norms", qep_export_put_copied(r->output, norm, stored, r->model->arch.hidden));
    qep_free(stored);
    return qep_agree_all(r->comm, st);
}

static qep_status fold_rows_all(void *ctx, float *scale)
{
    const qep_run_fold *f = ctx;
    qep_run *r = f->r;
    const place p = place_of(r, f->linear);
    double *max_scale = &r->records[feeder(r, p.block, p.g)].layer.max_scale;
    return qep_layer_kept_divide_all(r->kept, r->comm, r->output, scale, r->digest, max_scale);
}

bool qep_run_judges(const qep_run *r, const int64_t *members, int n)
{
    const char *why;
    const place p = place_of(r, members[0]);
    return qep_run_as_published(r) && p.block >= 0 && p.g % 2 == 0 && !p.expert && qep_run_fold_kind(r, members, n, &why) == QEP_FOLD_VALUES;
}

void qep_run_fold_begin_all(qep_run *r, const int64_t *members, int n, qep_run_fold *f, qep_layer_job *job)
{
    const char *why;
    const int64_t cols = r->linears[members[0]].cols;
    *f = (qep_run_fold){.r = r, .linear = members[0], .hooks.ctx = f};
    const qep_fold_kind kind = qep_run_fold_kind(r, members, n, &why);
    if (kind != QEP_FOLD_NONE) job->fold = &f->hooks;
    if (kind == QEP_FOLD_NORM) f->hooks.apply_all = fold_norm_all;
    if (qep_run_judges(r, members, n)) qep_run_judge_open(f, place_of(r, members[0]).g);
    if (kind == QEP_FOLD_ROWS) {
        f->bounds = qep_alloc("run.fold", 2 * cols, sizeof *f->bounds);
        qep_layer_kept_bounds_all(r->kept, r->comm, f->bounds, f->bounds + cols);
        f->hooks.least = f->bounds;
        f->hooks.most = f->bounds + cols;
        f->hooks.apply_all = fold_rows_all;
    }
    job->keep = wanted_next(r, members);
    job->kept = job->keep >= 0 ? &r->kept : NULL;
    f->last = job->keep < 0;
}

void qep_run_fold_end(qep_run_fold *f)
{
    qep_free(f->bounds);
    qep_run_judge_close(f);
    if (f->last) qep_layer_kept_free(&f->r->kept);
}

int64_t qep_run_fold_bytes(const qep_run *r, const int64_t *members, int rank)
{
    int64_t begin, count;
    const place p = place_of(r, members[0]);
    if (p.block < 0) return 0;
    /* from its own group to the next one's end */
    const int64_t first = qep_run_linear_index(r, p.block, r->model->arch.group_first[p.g / 2 * 2]), keep = p.expert ? -1 : wanted_next(r, &first);
    if (keep < 0) return 0;
    qep_partition(qep_ceil_div(r->linears[keep].rows, QEP_STRIP), r->ranks, rank, &begin, &count);
    return qep_layer_kept_bytes(&r->linears[keep].spec, count * QEP_STRIP, r->linears[keep].cols);
}

/* Says why a group's channels are not scaled, unless the last word said was the same. */
static void describe(const qep_run *r, const int64_t *members, int n, const char **said)
{
    const char *why;
    if (n == 0 || qep_run_fold_kind(r, members, n, &why) != QEP_FOLD_NONE || !why || why == *said) return;
    qep_warn("%s (and others like it): awq scales none of its input channels: %s; [output] format = dense can hold the scales",
             r->linears[members[0]].module, why);
    *said = why;
}

void qep_run_describe_folds(const qep_run *r)
{
    const int64_t head = r->n_linears - 1;
    const char *said = NULL;
    for (int64_t b = 0; b < r->model->arch.n_blocks; b++)
        for (int g = 0; g < QEP_N_GROUPS; g++) {
            int64_t members[QEP_MAX_MEMBERS];
            describe(r, members, qep_run_plan_members(r, b, g, members), &said);
        }
    if (r->cfg->lm_head && r->linears[head].quantized) describe(r, &head, 1, &said);
}
