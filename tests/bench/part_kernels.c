/* Forward, one stream: the products of each linear group and the kernels between them, over all my
 * sequences.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "bench.h"

typedef struct kernel_case {
    int group;
    int64_t cols, rows; /* of the group's stacked linears */
    int64_t n;          /* tokens of mine */
    float *x, *y, *z;   /* [n, widest], kernels read x and z and write y */
    float *w;           /* [rows, cols] */
    uint16_t *x16, *w16;
    float *scratch;     /* attention */
    float *cos_, *sin_; /* rope */
} kernel_case;

static const qep_arch *arch_of(const bench *b)
{
    return &b->model->arch;
}

/* --- products ---------------------------------------------------- */

static qep_status run_products(bench *b, void *ctx, bool bf16)
{
    const kernel_case *k = ctx;
    const qep_arch *a = arch_of(b);
    const int64_t T = b->opt.tokens;
    for (int64_t s = 0; s < b->n_seq; s++)
        for (int64_t i = 0, row0 = 0; i < a->group_count[k->group]; i++) {
            const int64_t rows = a->linears[a->group_first[k->group] + i].rows,
                          x0 = s * T * k->cols, w0 = row0 * k->cols;
            float *y = k->y + s * T * k->rows + row0 * T;
            if (bf16)
                qep_linear_bf16(y, rows, k->x16 + x0, k->cols, k->w16 + w0, T, k->cols, rows);
            else
                qep_linear_f32(y, rows, k->x + x0, k->cols, k->w + w0, T, k->cols, rows, false);
            row0 += rows;
        }
    return QEP_OK;
}

static qep_status products_f32(bench *b, void *ctx)
{
    return run_products(b, ctx, false);
}

static qep_status products_bf16(bench *b, void *ctx)
{
    return run_products(b, ctx, true);
}

static uint16_t *as_bf16(const float *x, int64_t n)
{
    uint16_t *y = qep_alloc("bench", n, sizeof *y);
    qep_from_f32(y, QEP_BF16, x, n);
    return y;
}

static qep_status time_products_all(bench *b, int group, const char *name)
{
    const qep_arch *a = arch_of(b);
    kernel_case k = {
        .group = group, .cols = qep_group_cols(a, group), .n = b->n_seq * b->opt.tokens};
    if (!bench_wants(b, name)) return QEP_OK;
    for (int i = 0; i < a->group_count[group]; i++)
        k.rows += a->linears[a->group_first[group] + i].rows;
    k.x = bench_noise(k.n * k.cols, 1.0, 1);
    k.w = bench_noise(k.rows * k.cols, 0.02, 2);
    k.x16 = as_bf16(k.x, k.n * k.cols);
    k.w16 = as_bf16(k.w, k.rows * k.cols);
    k.y = qep_alloc("bench", k.n * k.rows, sizeof *k.y);
    const double work = 2.0 * (double)b->total_tokens * (double)k.cols * (double)k.rows;
    qep_status st = QEP_OK;
    if (b->opt.f32)
        QEP_GO(st, bench_time_all(b, &(bench_part){name, "f32", work, BENCH_GEMM_F32, NULL,
                                                   products_f32, &k}));
    if (b->opt.bf16)
        QEP_GO(st, bench_time_all(b, &(bench_part){name, "bf16", work, BENCH_GEMM_BF16, NULL,
                                                   products_bf16, &k}));
done:
    qep_free(k.x);
    qep_free(k.w);
    qep_free(k.x16);
    qep_free(k.w16);
    qep_free(k.y);
    return st;
}

/* --- attention and rope ------------------------------------------ */

static qep_status attention(bench *b, void *ctx)
{
    const kernel_case *k = ctx;
    const qep_arch *a = arch_of(b);
    const int64_t T = b->opt.tokens, D = a->head_dim, q = a->n_heads * D, kv = a->n_kv_heads * D;
    const qep_attention_form form = {.scale = (float)(1.0 / sqrt((double)D))};
    for (int64_t s = 0; s < b->n_seq; s++) {
        const float *in = k->x + s * T * (q + 2 * kv);
        qep_attention(k->y + s * T * q, in, in + T * q, in + T * (q + kv), T, a->n_heads,
                      a->n_kv_heads, D, form, k->scratch);
    }
    return QEP_OK;
}

static qep_status rope(bench *b, void *ctx)
{
    const kernel_case *k = ctx;
    const qep_arch *a = arch_of(b);
    const int64_t T = b->opt.tokens, D = a->head_dim, q = a->n_heads * D, kv = a->n_kv_heads * D;
    for (int64_t s = 0; s < b->n_seq; s++) {
        float *in = k->x + s * T * (q + 2 * kv);
        qep_rope_apply(in, k->cos_, k->sin_, T, a->n_heads, D, a->rope.dim);
        qep_rope_apply(in + T * q, k->cos_, k->sin_, T, a->n_kv_heads, D, a->rope.dim);
    }
    return QEP_OK;
}

static qep_status time_attention_all(bench *b)
{
    const qep_arch *a = arch_of(b);
    const int64_t T = b->opt.tokens, D = a->head_dim, q = a->n_heads * D, kv = a->n_kv_heads * D;
    kernel_case k = {.n = b->n_seq * T};
    k.x = bench_noise(k.n * (q + 2 * kv), 1.0, 3);
    k.y = qep_alloc("bench", k.n * q, sizeof *k.y);
    k.scratch = qep_alloc("bench", qep_attention_scratch(T, a->n_heads, a->n_kv_heads, D), sizeof *k.scratch);
    k.cos_ = qep_alloc("bench", T * (a->rope.dim / 2), sizeof *k.cos_);
    k.sin_ = qep_alloc("bench", T * (a->rope.dim / 2), sizeof *k.sin_);
    qep_rope_table(&a->rope, 0, T, T, k.cos_, k.sin_);
    /* causal: half of the two products over all pairs of tokens */
    const double pairs = 2.0 * (double)b->total_tokens * (double)T * (double)q;
    const double bytes = 8.0 * (double)b->total_tokens * (double)(q + kv);
    qep_status st;
    QEP_GO(st, bench_time_all(
                   b, &(bench_part){"forward: rope", "f32", bytes, BENCH_MEMORY, NULL, rope, &k}));
    QEP_GO(st, bench_time_all(b, &(bench_part){"forward: attention", "f32", pairs, BENCH_GEMM_F32,
                                               NULL, attention, &k}));
done:
    qep_free(k.x);
    qep_free(k.y);
    qep_free(k.scratch);
    qep_free(k.cos_);
    qep_free(k.sin_);
    return st;
}

/* --- element by element ------------------------------------------ */

static qep_status norm(bench *b, void *ctx)
{
    const kernel_case *k = ctx;
    const qep_arch *a = arch_of(b);
    qep_rmsnorm(k->y, k->x, k->z, k->n, a->hidden, a->eps);
    return QEP_OK;
}

static qep_status add(bench *b, void *ctx)
{
    const kernel_case *k = ctx;
    qep_add(k->y, k->x, k->n * arch_of(b)->hidden);
    return QEP_OK;
}

static qep_status act(bench *b, void *ctx)
{
    const kernel_case *k = ctx;
    qep_glu(QEP_ACT_SILU, k->y, k->x, k->z, k->n * arch_of(b)->inter);
    return QEP_OK;
}

static qep_status time_elements_all(bench *b)
{
    const qep_arch *a = arch_of(b);
    const int64_t n = b->n_seq * b->opt.tokens, widest = qep_max_i64(a->hidden, a->inter);
    kernel_case k = {
        .n = n, .x = bench_noise(n * widest, 1.0, 4), .z = bench_noise(n * widest, 1.0, 5)};
    k.y = qep_alloc("bench", n * widest, sizeof *k.y);
    const double hidden = (double)b->total_tokens * (double)a->hidden,
                 inter = (double)b->total_tokens * (double)a->inter;
    qep_status st;
    QEP_GO(st, bench_time_all(b, &(bench_part){"forward: norm", "f32", 8 * hidden, BENCH_MEMORY,
                                               NULL, norm, &k}));
    QEP_GO(st, bench_time_all(b, &(bench_part){"forward: residual", "f32", 12 * hidden,
                                               BENCH_MEMORY, NULL, add, &k}));
    QEP_GO(st, bench_time_all(b, &(bench_part){"forward: act", "f32", 12 * inter, BENCH_MEMORY,
                                               NULL, act, &k}));
done:
    qep_free(k.x);
    qep_free(k.y);
    qep_free(k.z);
    return st;
}

qep_status bench_kernels_all(bench *b)
{
    static const char *const names[QEP_N_GROUPS] = {"forward: qkv", "forward: o",
                                                    "forward: gate_up", "forward: down"};
    if (!bench_wants_section(b, "forward")) return QEP_OK;
    QEP_TRY(time_elements_all(b));
    QEP_TRY(time_attention_all(b));
    for (int g = 0; g < QEP_N_GROUPS; g++) QEP_TRY(time_products_all(b, g, names[g]));
    return QEP_OK;
}
