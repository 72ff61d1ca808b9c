/* One sequence through the linears of a group and what follows them, in both streams. Products in
 * the compute type with f32 results; biases, rotary embedding, attention, activation and residual
 * sums in f32.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model_priv.h"

enum { LANES = 8 };

/* Roles of each group. */
static const int first_role[QEP_N_GROUPS] = {QEP_ROLE_Q, QEP_ROLE_O, QEP_ROLE_GATE, QEP_ROLE_DOWN},
                 n_roles[QEP_N_GROUPS] = {3, 1, 2, 1};

/* Products of one tile of a stream into the list: y[i] is [n, rows of the group's role i], one after the other from `at`. Returns their number. */
static int list_linears(const qep_block *b, int g, int s, const float *in, int64_t n, float *at, float **y, qep_linear *list, qep_work *w)
{
    const qep_arch *a = &b->model->arch;
    const void *x = qep_work_input(w, s, in, n * qep_group_cols(a, g));
    for (int i = 0; i < n_roles[g]; i++) {
        const qep_role_rows *p = &a->parts[first_role[g] + i];
        y[i] = at;
        at += n * p->rows;
        list[i] = qep_weight_linear(&b->linears[s][p->linear], p->row0, p->rows, x, n, y[i]);
    }
    return n_roles[g];
}

/* Of both streams, each with `room` floats for its products. */
static void run_linears(const qep_block *b, int g, const float *const in[2], int64_t n, int64_t room, float *y[2][3], qep_work *w)
{
    qep_linear list[QEP_MAX_LINEARS];
    int n_list = 0;
    qep_part_begin("linears");
    for (int s = 0; s < 2; s++)
        if (in[s]) n_list += list_linears(b, g, s, in[s], n, w->y + s * room, y[s], list + n_list, w);
    qep_linears(list, n_list);
    qep_part_end();
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
void qep_add_error(const float *fp, const float *q, int64_t n, int64_t rows, double *scratch,
                   qep_out_error *err)
{
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < n; t++) token_sums(fp + t * rows, q + t * rows, rows, scratch + 2 * t);
    for (int64_t t = 0; t < n; t++) {
        err->diff += scratch[2 * t];
        err->ref += scratch[2 * t + 1];
    }
}

/* The norm of queries or keys, of each head or of all of a token's heads together. */
static void norm_heads(const qep_block *b, qep_norm_place place, float *y, int64_t n)
{
    const qep_arch *a = &b->model->arch;
    const int64_t size = a->norms[place].size;
    if (b->norms[place]) qep_rmsnorm(y, y, b->norms[place], n / size, size, a->eps);
}

static void attend(const qep_block *b, int64_t T, float *const *y, float *act, qep_work *w)
{
    const qep_arch *a = &b->model->arch;
    float *q = y[0], *k = y[1], *v = y[2];
    const int64_t D = a->head_dim, H = a->n_heads, KV = a->n_kv_heads;
    const bool sliding = qep_arch_slides(a, b->index);
    const qep_rotary *r = qep_work_rotary(w, sliding, T);
    norm_heads(b, QEP_NORM_Q, q, T * H * D);
    norm_heads(b, QEP_NORM_K, k, T * KV * D);
    qep_rope_apply(q, r->cos_, r->sin_, T, H, D, r->rope->dim);
    qep_rope_apply(k, r->cos_, r->sin_, T, KV, D, r->rope->dim);
    const qep_attention_form form = {.scale = (float)a->score_scale,
                                     .cap = (float)a->score_cap,
                                     .window = sliding ? a->window : 0};
    qep_part_begin("attention");
    qep_attention(act, q, k, v, T, H, KV, D, form, w->attention);
    qep_part_end();
}

/* From the products to what the group leaves behind. x, act: of the tile's first token. */
static void finish(const qep_block *b, int g, int64_t n, float *const *y, float *x, float *act,
                   qep_work *w)
{
    const qep_arch *a = &b->model->arch;
    for (int i = 0; i < n_roles[g]; i++) {
        const qep_role_rows *p = &a->parts[first_role[g] + i];
        const float *bias = b->biases[p->linear];
        if (bias) qep_add_bias(y[i], bias + p->row0, n, p->rows);
    }
    if (g == 0) {
        attend(b, n, y, act, w);
    } else if (g == 2) {
        qep_glu(a->act, act, y[0], y[1], n * a->inter);
    } else {
        const float *norm = b->norms[g == 1 ? QEP_NORM_ATTN_OUT : QEP_NORM_MLP_OUT];
        if (norm) qep_rmsnorm(y[0], y[0], norm, n, a->hidden, a->eps);
        qep_add(x, y[0], n * a->hidden);
    }
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
    const qep_role_rows *parts = &a->parts[first_role[g]];
    const int members = a->group_count[g];
    int64_t rows = 0;
    for (int i = 0; i < n_roles[g]; i++) rows += parts[i].rows;
    const bool compare = in_fp && in_q && err;
    qep_out_error sum[QEP_MAX_MEMBERS] = {{0.0, 0.0}};
    for (int64_t t = 0; t < T; t += tile) {
        const int64_t n = qep_min_i64(tile, T - t);
        float *y[2][3];
        const float *const from[2] = {in[0] ? in[0] + t * cols : NULL, in[1] ? in[1] + t * cols : NULL};
        run_linears(b, g, from, n, tile * rows, y, w);
        qep_part_begin("errors");
        for (int i = 0; compare && i < n_roles[g]; i++)
            qep_add_error(y[0][i], y[1][i], n, parts[i].rows, w->token_sums,
                      &sum[parts[i].linear - a->group_first[g]]);
        qep_part_end();
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
