/* Causal attention in blocks of queries. A block of QUERIES queries of one head takes all keys from
 * the first that its first query sees up to its last query: scores by one product, softmax per row,
 * values by a second product. Blocks are independent and their shapes follow from T and the window
 * alone. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <omp.h>

#include "nn_priv.h"

/* 128 x 2048 scores are 1 MiB, one core's L2; smaller blocks slow the products down. */
#define QUERIES 128

int64_t qep_attention_scratch(int64_t T, int64_t D)
{
    (void)D;
    return qep_linalg_threads() * qep_min_i64(QUERIES, T) * qep_round_up(T, QEP_LANES);
}

/* s[i] = exp(s[i] - max) for the n visible keys of a row; returns 1 / sum. */
QEP_FOR_EACH_CPU
static float softmax_row(float *restrict s, int64_t n)
{
    const float top = qep_largest(s, n);
    float lane[QEP_LANES] = {0};
    int64_t i = 0;
    for (; i + QEP_LANES <= n; i += QEP_LANES) {
        for (int64_t j = 0; j < QEP_LANES; j++) {
            float e = qep_exp_neg(s[i + j] - top);
            s[i + j] = e;
            lane[j] += e;
        }
    }
    for (int64_t j = 0; i < n; i++, j++) {
        s[i] = qep_exp_neg(s[i] - top);
        lane[j] += s[i];
    }
    double sum = 0;
    for (int64_t j = 0; j < QEP_LANES; j++)
        sum += (double)lane[j];
    return (float)(1.0 / sum);
}

/* First key that query i sees. */
static int64_t first_key(const qep_attention_form *f, int64_t i)
{
    return f->window > 0 ? qep_max_i64(i + 1 - f->window, 0) : 0;
}

/* Row of query i against keys [k0, k0 + keys): scores -> weights, 0 where masked; returns 1 / sum. */
static float weigh_row(const qep_attention_form *f, float *s, int64_t i, int64_t k0, int64_t keys)
{
    const int64_t from = first_key(f, i) - k0, n = i + 1 - k0 - from;
    if (f->cap > 0.0F) qep_cap_row(s + from, n, f->cap);
    const float inverse = softmax_row(s + from, n);
    memset(s, 0, (size_t)from * sizeof *s);
    memset(s + from + n, 0, (size_t)(keys - from - n) * sizeof *s);
    return inverse;
}

/* Queries [q0, q0 + rows) of a head against the keys they see. lq, lk: floats between tokens. */
static void attend_block(float *out, const float *q, const float *k, const float *v, int64_t q0,
                         int64_t rows, int64_t D, int64_t lq, int64_t lk,
                         const qep_attention_form *f, float *scores)
{
    const int64_t k0 = first_key(f, q0), keys = q0 + rows - k0, ld = qep_round_up(keys, QEP_LANES);
    float inverse[QUERIES];
    qep_gemm_f32(true, rows, keys, D, f->scale, q + q0 * lq, lq, k + k0 * lk, lk, 0.0F, scores, ld);
    for (int64_t i = 0; i < rows; i++)
        inverse[i] = weigh_row(f, scores + i * ld, q0 + i, k0, keys);
    qep_gemm_f32(false, rows, D, keys, 1.0F, scores, ld, v + k0 * lk, lk, 0.0F, out + q0 * lq, lq);
    for (int64_t i = 0; i < rows; i++) {
        float *row = out + (q0 + i) * lq;
        for (int64_t d = 0; d < D; d++)
            row[d] *= inverse[i];
    }
}

void qep_attention(float *out, const float *q, const float *k, const float *v, int64_t T, int64_t H,
                   int64_t KV, int64_t D, qep_attention_form form, float *scratch)
{
    if (T == 0 || H == 0 || D == 0) return;
    QEP_REQUIRE(KV > 0 && H % KV == 0);
    const int64_t block = qep_min_i64(QUERIES, T), blocks = qep_ceil_div(T, block), share = H / KV;
    const int64_t per_thread = block * qep_round_up(T, QEP_LANES);
#pragma omp parallel for schedule(dynamic, 1) num_threads(qep_linalg_threads())
    for (int64_t i = 0; i < blocks * H; i++) {
        /* the longest blocks first, so that no thread starts one at the end */
        int64_t q0 = (blocks - 1 - i / H) * block, h = i % H, kv = h / share;
        attend_block(out + h * D, q + h * D, k + kv * D, v + kv * D, q0, qep_min_i64(block, T - q0),
                     D, H * D, KV * D, &form, scratch + omp_get_thread_num() * per_thread);
    }
}

/* Largest head of the reference. */
#define REF_HEAD 1024

/* One query against the keys it sees, in f64: first the largest score, then the weighted values. */
static void attend_one_ref(float *out, const float *q, const float *k, const float *v, int64_t t,
                           int64_t D, int64_t lk, const qep_attention_form *f)
{
    double top = -INFINITY, sum = 0, value[REF_HEAD] = {0};
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t j = 0; j <= t; j++) {
            if (f->window > 0 && j <= t - f->window) continue;
            double s = 0, cap = (double)f->cap;
            for (int64_t d = 0; d < D; d++)
                s += (double)q[d] * (double)k[j * lk + d];
            s *= (double)f->scale;
            if (cap > 0) s = cap * tanh(s / cap);
            if (pass == 0) {
                top = fmax(top, s);
                continue;
            }
            double weight = exp(s - top);
            sum += weight;
            for (int64_t d = 0; d < D; d++)
                value[d] += weight * (double)v[j * lk + d];
        }
    }
    for (int64_t d = 0; d < D; d++)
        out[d] = (float)(value[d] / sum);
}

void qep_attention_ref(float *out, const float *q, const float *k, const float *v, int64_t T,
                       int64_t H, int64_t KV, int64_t D, qep_attention_form form)
{
    QEP_REQUIRE(D <= REF_HEAD);
    for (int64_t t = 0; t < T; t++) {
        for (int64_t h = 0; h < H; h++) {
            int64_t kv = h / (H / KV);
            attend_one_ref(out + (t * H + h) * D, q + (t * H + h) * D, k + kv * D, v + kv * D, t, D,
                           KV * D, &form);
        }
    }
}
