/* The final norm's weight, fitted to the original model's probabilities on the calibration tokens behind the last block: the logits are linear in it, so
 * the divergence is convex in it (but for a cap), and no storage changes. SPDX-License-Identifier: Apache-2.0 */
#include "run_priv.h"

#include <math.h>
#include <string.h>

enum {
    TOKENS_PER_CHANNEL = 64, /* calibration tokens that count, for each channel of the norm: fewer overfit, more cost time */
    EVALUATIONS = 8          /* of the divergence and its slope; four to six are the rule */
};
static const double first_step = 0.02, tolerance = 1e-3;

typedef struct fit_ctx {
    qep_run *r;
    const qep_head *head;
    const float *old;         /* [hidden] the model's weight */
    float *w, *stored;        /* [hidden] the weight at hand; its elements in the output */
    float *scratch;
    double *rows;             /* [my sequences of a kind, 1 + hidden]: divergence and its slope */
    double *sum;              /* [1 + hidden]: mean per token */
    double *squares;          /* [1 + hidden]: sums of the squared slopes; then the units, behind the first */
    double *x;                /* [hidden]: relative change of each channel's weight, in its unit */
    bool known;               /* the units are */
} fit_ctx;

/* Every step-th calibration token counts. */
static int64_t step_of(const qep_run *r)
{
    return qep_max_i64(1, r->corpus->kind_tokens[QEP_SEQ_CALIBRATION] / (TOKENS_PER_CHANNEL * r->model->arch.hidden));
}

bool qep_run_fits_norm(const qep_run *r)
{
    const char *want = r->cfg->final_norm;
    if (!r->quantizes || r->corpus->count[QEP_SEQ_CALIBRATION] == 0 || strcmp(want, "no") == 0) return false;
    return strcmp(want, "yes") == 0 || !qep_run_as_published(r);
}

/* Mean divergence per token on the sequences of a kind, with c->w; c->sum + 1: the mean of its slopes, when wanted. */
static double divergence_all(fit_ctx *c, qep_seq_kind kind, int64_t step, bool want_slope)
{
    qep_run *r = c->r;
    const qep_arch *a = &r->model->arch;
    const int64_t n = r->corpus->part[kind].count, first = kind == QEP_SEQ_CALIBRATION ? 0 : r->n_calibration;
    const int64_t width = want_slope ? 1 + a->hidden : 1;
    int64_t tokens = 0;
    for (int64_t i = 0; i < n; i++) {
        const int64_t at = r->seq_offset[first + i] * a->hidden;
        const qep_eval_slope_of s = {c->head, a, r->work, c->w, r->x_fp + at, r->x_q + at, r->seq_tokens[first + i], step};
        qep_eval_slope(&s, c->scratch, c->rows + i * width, want_slope ? c->rows + i * width + 1 : NULL);
        tokens += qep_ceil_div(s.T, step);
    }
    qep_sum_i64_all(r->comm, &tokens, 1);
    qep_column_sums_all(r->comm, n, r->corpus->count[kind], width, c->rows, c->sum);
    for (int64_t k = 0; k < width && tokens > 0; k++) c->sum[k] /= (double)tokens;
    return c->sum[0];
}

static double *units_of(const fit_ctx *c)
{
    return c->squares + 1;
}

/* Channels move in units that make their curvatures alike: near the optimum the Hessian is the covariance of the slopes (Fisher), of whose diagonal the
 * sequences' slopes give an idea. Mean 1. */
static void find_units_all(fit_ctx *c)
{
    const qep_run *r = c->r;
    const int64_t d = r->model->arch.hidden, n = r->n_calibration;
    double *unit = units_of(c), mean = 0, sum = 0;
    for (int64_t k = 0; k < n * (1 + d); k++) {
        const double v = k % (1 + d) > 0 ? c->rows[k] * (double)c->old[k % (1 + d) - 1] : 0;
        c->rows[k] = v * v;
    }
    qep_column_sums_all(r->comm, n, r->corpus->count[QEP_SEQ_CALIBRATION], 1 + d, c->rows, c->squares);
    for (int64_t k = 0; k < d; k++) mean += unit[k] / (double)d;
    for (int64_t k = 0; k < d; k++) {
        unit[k] = mean > 0 ? 1 / sqrt(unit[k] + 0.01 * mean) : 1;
        sum += unit[k] / (double)d;
    }
    for (int64_t k = 0; k < d; k++) unit[k] /= sum;
}

static void set_weight(fit_ctx *c, const double *x)
{
    for (int64_t k = 0; k < c->r->model->arch.hidden; k++) c->w[k] = (float)((double)c->old[k] * (1 + units_of(c)[k] * x[k]));
}

static double value_all(void *ctx, const double *x, double *slope)
{
    fit_ctx *c = ctx;
    set_weight(c, x);
    const double kl = divergence_all(c, QEP_SEQ_CALIBRATION, step_of(c->r), true);
    if (!c->known) find_units_all(c); /* x is 0: no unit has counted yet */
    c->known = true;
    for (int64_t k = 0; k < c->r->model->arch.hidden; k++) slope[k] = c->sum[1 + k] * (double)c->old[k] * units_of(c)[k];
    return kl;
}

/* From the weight c->old to the best one, as the output holds it. */
static void fit_all(fit_ctx *c, qep_norm_fit *f)
{
    qep_run *r = c->r;
    const bool held = r->corpus->count[QEP_SEQ_VALIDATION] > 0;
    const qep_minimum m = {r->model->arch.hidden, value_all, c, first_step, tolerance, EVALUATIONS};
    double last;
    *f = (qep_norm_fit){.held = {(double)NAN, (double)NAN}};
    set_weight(c, c->x);
    if (held) f->held[0] = divergence_all(c, QEP_SEQ_VALIDATION, 1, false);
    f->evaluations = qep_minimize(&m, c->x, &f->calibration[0], &last);
    set_weight(c, c->x);
    qep_model_round_final_norm(r->model, c->w, c->stored);
    f->calibration[1] = divergence_all(c, QEP_SEQ_CALIBRATION, step_of(r), false);
    if (held) f->held[1] = divergence_all(c, QEP_SEQ_VALIDATION, 1, false);
    f->kept = f->calibration[1] < f->calibration[0] && (!held || f->held[1] < f->held[0]);
}

static qep_status keep_all(fit_ctx *c, qep_head *head)
{
    qep_run *r = c->r;
    qep_status st = QEP_OK;
    qep_head_set_norm_all(head, c->w);
    if (qep_rank(r->comm) == 0) st = QEP_ALONE("norms", qep_export_put_copied(r->output, r->model->final_norm, c->stored, r->model->arch.hidden));
    return qep_agree_all(r->comm, st);
}

static void log_fit(const qep_norm_fit *f)
{
    char held[64] = "no held-out sequences";
    if (isfinite(f->held[0])) snprintf(held, sizeof held, "held out %.5f -> %.5f", f->held[0], f->held[1]);
    qep_info("final norm fitted: KL on the calibration tokens %.5f -> %.5f, %s; %s", f->calibration[0], f->calibration[1], held,
             f->kept ? "kept" : "not kept: the model's own weight stays");
}

static int64_t numbers_of(const qep_run *r, int64_t sequences)
{
    return (sequences + 2) * (1 + r->model->arch.hidden) + r->model->arch.hidden;
}

qep_status qep_run_fit_norm_all(qep_run *r, qep_head *head, float *scratch)
{
    const int64_t d = r->model->arch.hidden, sequences = qep_max_i64(r->n_calibration, r->n_grouped - r->n_calibration);
    float *weights = qep_alloc("run.norm", 2 * d, sizeof *weights);
    double *numbers = qep_alloc("run.norm", numbers_of(r, sequences), sizeof *numbers);
    fit_ctx c = {.r = r, .head = head, .old = qep_head_norm_weight(head, QEP_STREAM_FP), .w = weights, .stored = weights + d, .scratch = scratch,
                 .rows = numbers, .sum = numbers + sequences * (1 + d)};
    c.squares = c.sum + 1 + d;
    c.x = c.squares + 1 + d;
    fit_all(&c, &r->norm_fit);
    log_fit(&r->norm_fit);
    qep_status st = r->norm_fit.kept ? keep_all(&c, head) : QEP_OK;
    qep_free(numbers);
    qep_free(weights);
    return st;
}

int64_t qep_run_norm_bytes(const qep_run *r, int64_t sequences)
{
    return numbers_of(r, sequences) * (int64_t)sizeof(double) + 2 * r->model->arch.hidden * (int64_t)sizeof(float);
}

double qep_run_norm_products(const qep_run *r)
{
    enum { USUAL = 5 }; /* evaluations with a slope */
    const double tokens = (double)r->corpus->kind_tokens[QEP_SEQ_CALIBRATION] / (double)step_of(r);
    if (!qep_run_fits_norm(r)) return 0;
    return (3 * USUAL + 2) * tokens + 2 * 2 * (double)r->corpus->kind_tokens[QEP_SEQ_VALIDATION];
}
