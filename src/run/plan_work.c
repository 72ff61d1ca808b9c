/* Work and time: flops by part, and the rates of this machine measured in a fraction of a second.
 * Counting (multiply-add = 2): linear forward 2 x weights x tokens per stream, attention 4 T d causal half; statistics, factors, correction,
 * rounding, polishing and figures as their calls (plan_calls.c), with all the sweeps that are allowed. SPDX-License-Identifier: Apache-2.0 */
#include "plan_priv.h"

#include <math.h>

#define PRESUMED 2e10 /* flops per second of a slow core */

/* Flops per second of one rank at y[256, 1024] = x[256, 1024] w^T, repeated for so many seconds. */
static double measured_rate(qep_compute compute, double seconds)
{
    enum { T = 256, N = 1024 };
    float *x = qep_alloc("plan.rate", T * N, sizeof *x), *w = qep_alloc("plan.rate", N * N, sizeof *w);
    float *y = qep_alloc("plan.rate", T * N, sizeof *y);
    double t0 = 0, flops = 0;
    for (int i = 0; i < 1000; i++) {
        if (i == 1) t0 = qep_now_s(); /* the first call warms up */
        if (compute == QEP_COMPUTE_F32)
            qep_linear_f32(y, N, x, N, w, T, N, N, false);
        else
            qep_linear_bf16(y, N, (const uint16_t *)(const void *)x, N, (const uint16_t *)(const void *)w, T, N, N);
        if (i == 0) continue;
        flops += 2.0 * T * N * N;
        if (qep_now_s() - t0 > seconds) break;
    }
    double rate = flops / (qep_now_s() - t0);
    qep_free(y);
    qep_free(w);
    qep_free(x);
    return rate;
}

void qep_plan_measure_rates(const qep_run *r, double seconds, double *rates)
{
    rates[QEP_RATE_F32] = measured_rate(QEP_COMPUTE_F32, seconds);
    rates[QEP_RATE_FAST] = r->compute == QEP_COMPUTE_F32 ? rates[QEP_RATE_F32] : measured_rate(r->compute, seconds);
    rates[QEP_RATE_F64] = rates[QEP_RATE_F32] / 2;
}

int qep_run_plan_members(const qep_run *r, int64_t block, int g, int64_t *members)
{
    const qep_arch *a = &r->model->arch;
    const bool experts = g >= 2 && qep_arch_sparse(a, block);
    const int first = experts ? qep_arch_expert_linear(a, 0, g == 2 ? 0 : 2) : a->group_first[g];
    const int n = !experts ? a->group_count[g] : g == 2 ? 2 : 1;
    for (int i = 0; i < n; i++) members[i] = qep_run_linear_index(r, block, first + i);
    return n;
}

/* Products of one rotated value: QuIP's two factors. */
static int64_t sides(int64_t n)
{
    int64_t p = qep_rotation_largest(n);
    return p + n / p;
}

/* Where the flops of a group's calls go. */
typedef struct work_sum {
    qep_work_plan *plan;
    double rate[QEP_N_RATES]; /* flops at each rate */
    double groups, tokens;    /* so many groups like this one; share of the calibration's tokens that each sees */
} work_sum;

static void add_call(void *ctx, const qep_call *c)
{
    work_sum *t = ctx;
    const double flops = c->flops * t->groups * (c->phase == QEP_PHASE_STATISTICS ? t->tokens : 1);
    double *part = c->kind == QEP_CALL_CHOLESKY             ? &t->plan->factor
                   : c->phase == QEP_PHASE_STATISTICS ? &t->plan->statistics
                   : c->phase == QEP_PHASE_CORRECTION ? &t->plan->correction
                                                      : &t->plan->quantize;
    *part += flops;
    t->rate[c->rate] += flops;
}

/* What the calls leave out: AWQ's searches, by H or by forward passes of the module; QuIP's loop, both sides of its transforms, there and back, and those of H. */
static void add_own_steps(const qep_run *r, int64_t linear, bool judged, work_sum *t)
{
    const qep_export_linear *l = &r->linears[linear];
    const double n = (double)l->rows, d = (double)l->cols;
    double flops = 0;
    if (l->spec.method->drive == QEP_DRIVE_SCALED && !judged) flops = 2 * QEP_AWQ_RATIOS * n * d * d;
    if (l->spec.method->drive == QEP_DRIVE_ROTATED)
        flops = d * d * d / 3 + n * d * d + 4 * n * d * (double)(sides(l->rows) + sides(l->cols)) + 4 * d * d * (double)sides(l->cols);
    t->plan->quantize += flops * t->groups;
    t->rate[QEP_RATE_F32] += flops * t->groups;
}

static void add_group_work(const qep_run *r, int64_t block, int g, work_sum *t)
{
    const qep_arch *a = &r->model->arch;
    const bool experts = g >= 2 && qep_arch_sparse(a, block); /* all are as large as the first, with an even share of the tokens */
    int64_t members[QEP_MAX_MEMBERS];
    const int n = qep_run_plan_members(r, block, g, members);
    const bool judged = qep_run_judges(r, members, n);
    bool any = false;
    t->groups = experts ? (double)a->n_experts : 1;
    t->tokens = experts ? (double)a->top_k / (double)a->n_experts : 1;
    for (int i = 0; i < n; i++) any = any || r->linears[members[i]].quantized;
    if (any) qep_plan_group_calls(r, members, n, experts, add_call, t);
    for (int i = 0; i < n; i++)
        if (r->linears[members[i]].quantized) add_own_steps(r, members[i], judged, t);
    if (!judged) return;
    const double flops = (QEP_AWQ_RATIOS + 1) * (double)qep_run_judged_tokens(r) * (qep_plan_token_flops(r, g) + qep_plan_token_flops(r, g + 1));
    t->plan->quantize += flops;
    t->rate[QEP_RATE_FAST] += flops;
}

/* Forward of one stream over `tokens` tokens in sequences of T. */
static double forward_flops(const qep_arch *a, double tokens, double T)
{
    double weights = 0, n = (double)a->n_blocks, dense = (n - (double)a->n_sparse) / n;
    for (int i = 0; i < a->n_linears; i++)
        weights += (double)a->linears[i].rows * (double)a->linears[i].cols * (a->linears[i].group < 2 ? 1.0 : dense);
    weights += (1 - dense) * (double)a->hidden * (double)(3 * a->top_k * a->expert_inter + a->n_experts);
    return (double)a->n_blocks * tokens * (2 * weights + 2 * T * (double)(a->n_heads * a->head_dim));
}

void qep_plan_work_all(qep_run *r, qep_work_plan *p)
{
    const qep_arch *a = &r->model->arch;
    const int64_t *n = r->corpus->kind_tokens;
    double tokens = (double)n[QEP_SEQ_CALIBRATION], evaluation = (double)(n[QEP_SEQ_EVALUATION] + n[QEP_SEQ_TASKS]);
    *p = (qep_work_plan){0};
    double T = r->corpus->n > 0 ? (double)r->corpus->tokens / (double)r->corpus->n : 0;
    double streams = r->quantizes ? 2 : 1;
    p->forward = streams * forward_flops(a, (r->quantizes ? tokens + (double)n[QEP_SEQ_VALIDATION] : 0) + evaluation, T);
    p->evaluation = (streams * evaluation + qep_run_norm_products(r)) * 2 * (double)a->vocab * (double)a->hidden;
    work_sum groups = {.plan = p};
    for (int64_t b = 0; b < a->n_blocks && r->quantizes; b++)
        for (int g = 0; g < QEP_N_GROUPS; g++) add_group_work(r, b, g, &groups);
    double rates[QEP_N_RATES], flops = p->forward + p->evaluation;
    for (int k = 0; k < QEP_N_RATES; k++) flops += groups.rate[k];
    qep_plan_measure_rates(r, fmin(QEP_PLAN_MEASURED, flops / r->ranks / r->threads / PRESUMED / 100), rates); /* a small job does not wait for it */
    qep_sum_f64_all(r->comm, rates, QEP_N_RATES); /* of the whole job */
    p->seconds = (p->forward + p->evaluation) / rates[QEP_RATE_FAST];
    for (int k = 0; k < QEP_N_RATES; k++) p->seconds += groups.rate[k] / rates[k];
}
