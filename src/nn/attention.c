/* Causal attention in blocks of queries. A block of QUERIES queries of one head takes all keys up
 * to its last query: scores by one product, softmax per row, values by a second product. Blocks are
 * independent and their shapes follow from T alone. SPDX-License-Identifier: Apache-2.0 */
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

/* s[i] = exp(s[i] - max) for n visible keys, 0 for the masked up to `keys`; returns 1 / sum. */
QEP_FOR_EACH_CPU
static float softmax_row(float *restrict s, int64_t n, int64_t keys)
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
    memset(s + n, 0, (size_t)(keys - n) * sizeof *s);
    return (float)(1.0 / sum);
}

/* Queries [q0, q0 + rows) of a head against keys [0, q0 + rows). lq, lk: floats between tokens. */
static void attend_block(float *out, const float *q, const float *k, const float *v, int64_t q0,
                         int64_t rows, int64_t D, int64_t lq, int64_t lk, float scale,
                         float *scores)
{
    const int64_t keys = q0 + rows, ld = qep_round_up(keys, QEP_LANES);
    float inverse[QUERIES];
    qep_gemm_f32(true, rows, keys, D, scale, q + q0 * lq, lq, k, lk, 0.0F, scores, ld);
    for (int64_t i = 0; i < rows; i++)
        inverse[i] = softmax_row(scores + i * ld, q0 + i + 1, keys);
    qep_gemm_f32(false, rows, D, keys, 1.0F, scores, ld, v, lk, 0.0F, out + q0 * lq, lq);
    for (int64_t i = 0; i < rows; i++) {
        float *row = out + (q0 + i) * lq;
        for (int64_t d = 0; d < D; d++)
            row[d] *= inverse[i];
    }
}

void qep_attention(float *out, const float *q, const float *k, const float *v, int64_t T, int64_t H,
                   int64_t KV, int64_t D, float scale, float *scratch)
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
                     D, H * D, KV * D, scale, scratch + omp_get_thread_num() * per_thread);
    }
}

/* Largest head of the reference. */
#define REF_HEAD 1024

/* One query against keys 0 .. t in f64: first the largest score, then the weighted values. */
static void attend_one_ref(float *out, const float *q, const float *k, const float *v, int64_t t,
                           int64_t D, int64_t lk, double scale)
{
    double top = -INFINITY, sum = 0, value[REF_HEAD] = {0};
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t j = 0; j <= t; j++) {
            double s = 0;
            for (int64_t d = 0; d < D; d++)
                s += (double)q[d] * (double)k[j * lk + d];
            if (pass == 0) {
                top = fmax(top, s * scale);
                continue;
            }
            double weight = exp(s * scale - top);
            sum += weight;
            for (int64_t d = 0; d < D; d++)
                value[d] += weight * (double)v[j * lk + d];
        }
    }
    for (int64_t d = 0; d < D; d++)
        out[d] = (float)(value[d] / sum);
}

void qep_attention_ref(float *out, const float *q, const float *k, const float *v, int64_t T,
                       int64_t H, int64_t KV, int64_t D, float scale)
{
    QEP_REQUIRE(D <= REF_HEAD);
    for (int64_t t = 0; t < T; t++) {
        for (int64_t h = 0; h < H; h++) {
            int64_t kv = h / (H / KV);
            attend_one_ref(out + (t * H + h) * D, q + (t * H + h) * D, k + kv * D, v + kv * D, t, D,
                           KV * D, (double)scale);
        }
    }
}
