/* quant: FOEM as its authors' code has it (Xingyu-Zheng/FOEM, LLM/weight-only; compat = paper). There H does not cancel: behind every column of a block
 *   W_>=i <- W_>=i - e_i U_i,>=i + a w_i P_i,>=i - b (W_>=i - W*_>=i) (U^T U)_>=i,>=i
 * inside the block, U being the block's own part, with the weights before the update on the right and column i among them; and behind a block, for all
 * columns after it, with the weights before the block,
 *   W_> <- W_> - E U + a W P - b (W_> - W*_>) (H_> + mu I)^-1,
 * whose W P takes what the block has become by then: rounded, and drawn back once. b has the dimension of H.
 *
 * In R-form: W_> = T_> + A_> U_>> and (H_> + mu I)^-1 = U_>>^T U_>>, so the columns behind the block need (M_> + A_> U_>>) U_>>^T taken off A: two triangular
 * solves with R's rows passing by, one each way. A block's own U is formed; E becomes err = E U - A U, which for plain GPTQ is W* - Q.
 * About 2/3 n d^3 / block_size products more than GPTQ. SPDX-License-Identifier: Apache-2.0 */
#include "gptq_priv.h"

#include <string.h>

int64_t qep_foem_inner(int64_t n)
{
    return 2 * n * n + 4 * n * QEP_STRIP;
}

/* y <- y + f x, one column of a panel. */
static inline void add(double *restrict y, double f, const double *restrict x)
{
    for (int i = 0; i < QEP_STRIP; i++) y[i] += f * x[i];
}

static inline void scale(double *y, double f)
{
    for (int i = 0; i < QEP_STRIP; i++) y[i] *= f;
}

/* --- behind the step ---------------------------------------------------------------------------- */

/* x R = A: row j of R, columns j .. cols - 1. */
static void forward(double *x, const double *r, int64_t n)
{
    scale(x, 1.0 / r[0]);
    for (int64_t k = 1; k < n; k++) add(x + k * QEP_STRIP, -r[k], x);
}

/* y R^T = x. */
static void backward(double *y, const double *r, int64_t n)
{
    for (int64_t k = 1; k < n; k++) add(y, -r[k], y + k * QEP_STRIP);
    scale(y, 1.0 / r[0]);
}

void qep_gptq_pull(qep_gptq *g, bool back, int64_t row0, int64_t n, const double *r, int64_t ldr)
{
    const int64_t c0 = g->next_step * g->width, c1 = qep_min_i64(c0 + g->width, g->cols);
    for (int64_t l = 0; l < n; l++) {
        const int64_t i = back ? n - 1 - l : l, j = row0 + i;
        const double *row = r + i * ldr + i;
        double *x = g->pull + j * QEP_STRIP;
        if (j < (back ? c1 : c0)) continue;
        if (!back && j == c0)
            for (int64_t k = c0 * QEP_STRIP; k < g->cols * QEP_STRIP; k++) g->pull[k] = (double)g->acc[k];
        if (!back) {
            forward(x, row, g->cols - j);
            continue;
        }
        for (int k = 0; g->move && k < QEP_STRIP; k++) x[k] += (double)g->move[j * QEP_STRIP + k];
        backward(x, row, g->cols - j);
    }
}

void qep_foem_pulled(struct qep_gptq *g, int64_t c1)
{
    const double beta = g->spec.options.foem_beta;
    for (int64_t k = c1 * QEP_STRIP; k < g->cols * QEP_STRIP; k++) g->acc[k] = (float)((double)g->acc[k] - beta * g->pull[k]);
}

/* --- inside a block ----------------------------------------------------------------------------- */

typedef struct block {
    int64_t n;
    double *U;      /* [n, n] */
    double *w;      /* panel [n]: the block's weights */
    double *start;  /* panel [n]: A U */
    double *e;      /* panel [n]: E */
    double *v;      /* panel [n]: scratch */
} block;

/* x_from.. <- x U_from..,from.. of the panel. */
static void times_u(const block *b, double *x, int64_t from)
{
    for (int64_t k = b->n - 1; k >= from; k--) {
        scale(x + k * QEP_STRIP, b->U[k * b->n + k]);
        for (int64_t l = from; l < k; l++) add(x + k * QEP_STRIP, b->U[l * b->n + k], x + l * QEP_STRIP);
    }
}

/* x_from.. <- x U_from..,from..^T. */
static void times_u_transposed(const block *b, double *x, int64_t from)
{
    for (int64_t k = from; k < b->n; k++) {
        scale(x + k * QEP_STRIP, b->U[k * b->n + k]);
        for (int64_t l = k + 1; l < b->n; l++) add(x + k * QEP_STRIP, b->U[k * b->n + l], x + l * QEP_STRIP);
    }
}

static block open_block(struct qep_gptq *g, int64_t c0, int64_t n, const float *r, int64_t ldr)
{
    double *R = g->inner, *U = R + n * n, *panel = U + n * n;
    const block b = {n, U, panel, panel + n * QEP_STRIP, panel + 2 * n * QEP_STRIP, panel + 3 * n * QEP_STRIP};
    memset(U, 0, (size_t)(n * n) * sizeof *U);
    for (int64_t i = 0; i < n; i++) {
        U[i * (n + 1)] = 1.0;
        for (int64_t k = i; k < n; k++) R[i * n + k] = (double)r[i * ldr + k];
    }
    qep_trsm_right_f64(false, false, n, n, R, n, U, n);
    for (int64_t k = 0; k < n * QEP_STRIP; k++) b.start[k] = (double)g->acc[c0 * QEP_STRIP + k];
    times_u(&b, b.start, 0);
    for (int64_t k = 0; k < n * QEP_STRIP; k++) {
        const int64_t at = c0 * QEP_STRIP + k;
        b.w[k] = (double)g->target[at] + (g->move ? (double)g->move[at] : 0.0) + b.start[k];
    }
    return b;
}

/* Column j is rounded; columns j .. n - 1 move. p: row j of P, or NULL. */
static void one_column(const block *b, qep_column *c, int64_t j, const float *p)
{
    const double alpha = c->options->foem_alpha, beta = c->options->foem_beta;
    double *w = b->w + j * QEP_STRIP, *e = b->e + j * QEP_STRIP, old[QEP_STRIP];
    for (int i = 0; i < QEP_STRIP; i++) c->w[i] = (float)w[i];
    qep_column_round(c);
    for (int i = 0; i < QEP_STRIP; i++) {
        old[i] = alpha * w[i];
        e[i] = (w[i] - (double)c->q[i]) * (double)c->r_jj;
    }
    for (int64_t k = 0; k < (b->n - j) * QEP_STRIP; k++) b->v[j * QEP_STRIP + k] = w[k] - (double)c->target[k];
    times_u_transposed(b, b->v, j);
    times_u(b, b->v, j);
    for (int64_t k = j; k < b->n; k++) {
        double *to = b->w + k * QEP_STRIP;
        add(to, -b->U[j * b->n + k], e);
        add(to, -beta, b->v + k * QEP_STRIP);
        if (p && k > j) add(to, (double)p[k], old);
    }
    if (p)
        for (int i = 0; i < QEP_STRIP; i++) c->out[0][i] = (float)(alpha * w[i]);
}

void qep_foem_block(struct qep_gptq *g, int64_t c0, int64_t n, const qep_gptq_block *own)
{
    float scratch[2 * QEP_STRIP];
    QEP_REQUIRE(g->joint == 1 && g->fade == 1.0f);
    const block b = open_block(g, c0, n, own->r, own->ldr);
    for (int64_t j = 0; j < n; j++) {
        qep_column c = qep_gptq_column(g, c0, n, 0, j, scratch);
        c.r_jj = own->r[j * (own->ldr + 1)];
        one_column(&b, &c, j, g->n_moves > 0 ? own->p[0] + j * own->ldp : NULL);
    }
    times_u(&b, b.e, 0);
    for (int64_t k = 0; k < n * QEP_STRIP; k++) g->err[k] = (float)(b.e[k] - b.start[k]);
}
