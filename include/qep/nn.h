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

typedef enum qep_rope_type {
    QEP_ROPE_DEFAULT,
    QEP_ROPE_LINEAR,   /* positions divided by factor */
    QEP_ROPE_LLAMA3,   /* slow pairs as linear, fast ones unchanged, a blend between */
    QEP_ROPE_DYNAMIC,  /* theta grows with the sequence beyond max_position ("NTK") */
    QEP_ROPE_YARN,     /* arXiv 2309.00071: like llama3 by pair number; cos and sin times attention_factor */
    QEP_ROPE_LONGROPE  /* arXiv 2402.13753: a divisor per pair, one list up to original_max_position, one beyond */
} qep_rope_type;
enum { QEP_ROPE_MAX_PAIRS = 256 };
typedef struct qep_rope {
    qep_rope_type type;
    double theta;
    int64_t dim;                 /* rotated channels of a head, even, at most 2 QEP_ROPE_MAX_PAIRS; the others stay as they are */
    double factor;               /* linear, llama3, dynamic, yarn */
    double low_freq_factor, high_freq_factor; /* llama3 */
    double beta_fast, beta_slow; /* yarn: rotations within original_max_position that bound the blend */
    bool truncate;               /* yarn: the bounds are whole pairs */
    double attention_factor;     /* yarn, longrope: factor of cos and sin */
    int64_t original_max_position; /* llama3, yarn, longrope; dynamic: max_position_embeddings */
    float divisor[2][QEP_ROPE_MAX_PAIRS]; /* longrope: [0] short, [1] long */
} qep_rope;
/* Tables of two lengths are the same exactly when this number is: 0 unless the type depends on length (dynamic: the length beyond
 * original_max_position; longrope: 1 beyond it). */
int64_t qep_rope_length_class(const qep_rope *r, int64_t T);
/* cos, sin: [T, dim/2], positions pos0 .. pos0+T-1, angles in f64 rounded to f32; dynamic and longrope take the
 * frequencies of a sequence of `length` tokens, the others do not look at it. */
void qep_rope_table(const qep_rope *r, int64_t pos0, int64_t T, int64_t length, float *cos_, float *sin_);
/* In place on x[T, heads, D]: pairs (i, i + dim/2) of each head ("rotate half"). */
void qep_rope_apply(float *x, const float *cos_, const float *sin_, int64_t T, int64_t heads, int64_t D, int64_t dim);
void qep_rope_apply_ref(float *x, const float *cos_, const float *sin_, int64_t T, int64_t heads, int64_t D, int64_t dim);

/* What one query sees and how: scores * scale, then cap * tanh(score / cap) where cap > 0 (Gemma-2), then the softmax in f32 over the last
 * `window` keys, the query's own included (0: all up to it). */
typedef struct qep_attention_form {
    float scale, cap;
    int64_t window;
} qep_attention_form;
/* Causal attention of one sequence. q[T, H, D], k, v[T, KV, D], out[T, H, D]; query head h reads kv head h / (H / KV).
 * Works in strips of 64 queries: scratch of qep_attention_scratch floats per call (all threads together) for T tokens or fewer: 64 T for each thread, and
 * 2 T D for each kv head that is packed at a time, as many as keep all threads busy; no T x T matrix. */
int64_t qep_attention_scratch(int64_t T, int64_t H, int64_t KV, int64_t D);
void qep_attention(float *out, const float *q, const float *k, const float *v, int64_t T, int64_t H, int64_t KV, int64_t D, qep_attention_form form, float *scratch);
void qep_attention_ref(float *out, const float *q, const float *k, const float *v, int64_t T, int64_t H, int64_t KV, int64_t D, qep_attention_form form);

/* out[n] = act(gate) * up; out may be gate. SiLU: g / (1 + e^-g); GELU in its tanh form: g / (1 + e^-2u), u = sqrt(2/pi) (g + 0.044715 g^3)
 * (arXiv 1606.08415). Vectorized exp, relative error of SiLU below 4e-7, of GELU below 3e-6 for |g| < 4. */
typedef enum qep_act { QEP_ACT_SILU, QEP_ACT_GELU_TANH } qep_act;
void qep_glu(qep_act act, float *out, const float *gate, const float *up, int64_t n);
void qep_glu_ref(qep_act act, float *out, const float *gate, const float *up, int64_t n);
/* x = cap * tanh(x / cap), cap > 0 (Gemma-2). Absolute error below 3e-7 * cap. */
void qep_softcap(float *x, int64_t n, float cap);
void qep_softcap_ref(float *x, int64_t n, float cap);
/* Routing of a mixture of experts: expert[T, k] the k largest of each token's E logits, largest first (lowest number first among equals), weight[T, k]
 * their probabilities under the softmax over all E; renormalize: divided by their sum. */
void qep_route(int32_t *expert, float *weight, const float *logits, int64_t T, int64_t E, int64_t k, bool renormalize);
void qep_add_bias(float *y, const float *bias, int64_t T, int64_t C);
void qep_add(float *x, const float *y, int64_t n); /* x += y */

/* One row of logits against its target: -log softmax[target], f64 sums. logits[V]. */
double qep_nll_row(const float *logits, int64_t V, int64_t target);
/* KL(p || q) of two rows of logits in nats, and whether both have the same argmax (lowest index wins). */
double qep_kl_row(const float *p, const float *q, int64_t V, bool *same_top);
/* KL(p || q) again, and q becomes its gradient with respect to what q was before the cap: (softmax(q) - softmax(p)) * (1 - (q / cap)^2), the second
 * factor only for cap > 0. */
double qep_kl_slope_row(const float *p, float *q, int64_t V, float cap);
double qep_kl_slope_row_ref(const float *p, float *q, int64_t V, float cap);

#endif
