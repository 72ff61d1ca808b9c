/* One sequence through the linears of a group and what follows them, in both streams. Products in
 * the compute type with f32 results; biases, rotary embedding, attention, activation and residual
 * sums in f32.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model_priv.h"

#include <math.h>

enum { LANES = 8 };

/* Products of one tile of one stream: y[i] is [n, rows of member i], one after the other from `at`.
 */
static void run_linears(const qep_block *b, int g, int s, const float *in, int64_t n, float *at,
                        float **y, qep_work *w)
{
    const qep_arch *a = &b->model->arch;
    const void *x = qep_work_input(w, in, n * qep_group_cols(a, g));
    for (int i = 0; i < a->group_count[g]; i++) {
        const qep_weight *linear = &b->linears[s][a->group_first[g] + i];
        y[i] = at;
        at += n * linear->rows;
        qep_weight_product(linear, x, n, y[i]);
    }
}

/* sums[0] = sum (a - b)^2, sums[1] = sum a^2 over one token's outputs, in an order fixed by n. */
static void token_sums(const float *a, const float *b, int64_t n, double *sums)
{
    double diff[LANES] = {0.0}, ref[LANES] = {0.0};
    int64_t c = 0;
    for (; c + LANES <= n; c += LANES) {
        for (int l = 0; l < LANES; l++) {
            const double v = (double)a[c + l], d = v - (double)b[c + l];
            diff[l] += d * d;
            ref[l] += v * v;
        }
    }
    for (; c < n; c++) {
        const double v = (double)a[c], d = v - (double)b[c];
        diff[0] += d * d;
        ref[0] += v * v;
    }
    for (int l = 1; l < LANES; l++) {
        diff[0] += diff[l];
        ref[0] += ref[l];
    }
    sums[0] = diff[0];
    sums[1] = ref[0];
}

/* Tokens in parallel, their sums one after the other: the same bits for any number of threads. */
static void add_error(const float *fp, const float *q, int64_t n, int64_t rows, double *scratch,
                      qep_out_error *err)
{
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < n; t++) token_sums(fp + t * rows, q + t * rows, rows, scratch + 2 * t);
    for (int64_t t = 0; t < n; t++) {
        err->diff += scratch[2 * t];
        err->ref += scratch[2 * t + 1];
    }
}

static void attend(const qep_arch *a, int64_t T, float *const *y, float *act, qep_work *w)
{
    float *q = y[0], *k = y[1], *v = y[2];
    const int64_t D = a->head_dim, dim = a->rope.dim;
    qep_rope_apply(q, w->rope_cos, w->rope_sin, T, a->n_heads, D, dim);
    qep_rope_apply(k, w->rope_cos, w->rope_sin, T, a->n_kv_heads, D, dim);
    const float scale = (float)(1.0 / sqrt((double)D));
    qep_attention(act, q, k, v, T, a->n_heads, a->n_kv_heads, D, scale, w->attention);
}

/* From the products to what the group leaves behind. x, act: of the tile's first token. */
static void finish(const qep_block *b, int g, int64_t n, float *const *y, float *x, float *act,
                   qep_work *w)
{
    const qep_arch *a = &b->model->arch;
    for (int i = 0; i < a->group_count[g]; i++) {
        const int role = a->group_first[g] + i;
        if (b->biases[role]) qep_add_bias(y[i], b->biases[role], n, a->linears[role].rows);
    }
    if (g == 0)
        attend(a, n, y, act, w);
    else if (g == 2)
        qep_swiglu(act, y[0], y[1], n * a->inter);
    else
        qep_add(x, y[0], n * a->hidden);
}

void qep_block_advance(const qep_block *b, int g, int64_t T, const float *in_fp, const float *in_q,
                       float *x_fp, float *x_q, float *act_fp, float *act_q, qep_out_error *err,
                       qep_work *w)
{
    QEP_REQUIRE(b->index >= 0 && T <= w->max_tokens && w->compute == b->compute &&
                (!in_q || b->with_q));
    const qep_arch *a = &b->model->arch;
    const float *const in[2] = {in_fp, in_q};
    float *const x[2] = {x_fp, x_q}, *const act[2] = {act_fp, act_q};
    const int64_t cols = qep_group_cols(a, g), act_cols = qep_group_act_cols(a, g),
                  tile = qep_work_tile(g, T);
    const int members = a->group_count[g];
    int64_t rows = 0;
    for (int i = 0; i < members; i++) rows += a->linears[a->group_first[g] + i].rows;
    const bool compare = in_fp && in_q && err;
    qep_out_error sum[QEP_MAX_MEMBERS] = {{0.0, 0.0}};
    for (int64_t t = 0; t < T; t += tile) {
        const int64_t n = qep_min_i64(tile, T - t);
        float *y[2][QEP_MAX_MEMBERS];
        for (int s = 0; s < 2; s++) {
            if (in[s]) run_linears(b, g, s, in[s] + t * cols, n, w->y + s * tile * rows, y[s], w);
        }
        for (int i = 0; compare && i < members; i++)
            add_error(y[0][i], y[1][i], n, a->linears[a->group_first[g] + i].rows, w->token_sums,
                      &sum[i]);
        for (int s = 0; s < 2; s++) {
            if (!in[s]) continue;
            float *x_tile = act_cols ? NULL : x[s] + t * a->hidden;
            float *act_tile = act_cols ? act[s] + t * act_cols : NULL;
            finish(b, g, n, y[s], x_tile, act_tile, w);
        }
    }
    for (int i = 0; compare && i < members; i++) {
        err[i].diff += sum[i].diff;
        err[i].ref += sum[i].ref;
    }
}
