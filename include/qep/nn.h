/* nn: transformer kernels on plain arrays: norm, rope, attention, activation, loss. Each fast kernel has a plain
 * `_ref` twin used by the tests. No allocation but scratch passed by the caller, no MPI. Results do not depend on the
 * number of threads. SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_NN_H
#define QEP_NN_H

#include "qep/linalg.h"
#include "qep/tensor.h"

/* out[T, C] = w[c] * x[t, c] / sqrt(mean_c x^2 + eps). Sums in f64. out may be x. */
void qep_rmsnorm(float *out, const float *x, const float *w, int64_t T, int64_t C, double eps);
void qep_rmsnorm_ref(float *out, const float *x, const float *w, int64_t T, int64_t C, double eps);

typedef enum qep_rope_type { QEP_ROPE_DEFAULT, QEP_ROPE_LINEAR, QEP_ROPE_LLAMA3 } qep_rope_type;
typedef struct qep_rope {
    qep_rope_type type;
    double theta;
    int64_t dim;                 /* rotated channels of a head, even */
    double factor, low_freq_factor, high_freq_factor; /* linear: factor; llama3: all (formats.md 2.7) */
    int64_t original_max_position;
} qep_rope;
/* cos, sin: [T, dim/2], positions pos0 .. pos0+T-1, angles in f64 rounded to f32. */
void qep_rope_table(const qep_rope *r, int64_t pos0, int64_t T, float *cos_, float *sin_);
/* In place on x[T, heads, D]: pairs (i, i + dim/2) of each head ("rotate half"). */
void qep_rope_apply(float *x, const float *cos_, const float *sin_, int64_t T, int64_t heads, int64_t D, int64_t dim);
void qep_rope_apply_ref(float *x, const float *cos_, const float *sin_, int64_t T, int64_t heads, int64_t D, int64_t dim);

/* Causal attention of one sequence. q[T, H, D], k, v[T, KV, D], out[T, H, D]; query head h reads kv head h / (H / KV);
 * scores * scale, softmax in f32. Works in blocks of queries: scratch of qep_attention_scratch(T, D) floats per call
 * (all threads together), no T x T matrix. */
int64_t qep_attention_scratch(int64_t T, int64_t D);
void qep_attention(float *out, const float *q, const float *k, const float *v, int64_t T, int64_t H, int64_t KV, int64_t D, float scale, float *scratch);
void qep_attention_ref(float *out, const float *q, const float *k, const float *v, int64_t T, int64_t H, int64_t KV, int64_t D, float scale);

/* out[n] = silu(gate) * up; out may be gate. Vectorized exp, relative error below 4e-7. */
void qep_swiglu(float *out, const float *gate, const float *up, int64_t n);
void qep_swiglu_ref(float *out, const float *gate, const float *up, int64_t n);
void qep_add_bias(float *y, const float *bias, int64_t T, int64_t C);
void qep_add(float *x, const float *y, int64_t n); /* x += y */

/* One row of logits against its target: -log softmax[target], f64 sums. logits[V]. */
double qep_nll_row(const float *logits, int64_t V, int64_t target);
/* KL(p || q) of two rows of logits in nats, and whether both have the same argmax (lowest index wins). */
double qep_kl_row(const float *p, const float *q, int64_t V, bool *same_top);

#endif
