/* Causal attention, 64 queries of one head at a time: a panel whose lanes are the queries (linalg.h), so that scores, softmax and values need no row sums
 * and no turning. A head's keys and values are packed once for all its queries. A strip takes all keys from the first that its first query sees up to
 * its last query; strips are independent, and an entry is one chain of fused multiply-adds over channels or keys in rising order.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <omp.h>

#include "nn_priv.h"

enum {
    R = QEP_PANEL_ROWS,
    N = QEP_PANEL_COLS,
    KEYS = 21 * N,          /* whose weights and values stay in the caches near a core */
    STRIPS_OF_THREAD = 16    /* of the heads that are packed at a time, at least: strips are of unequal length */
};

/* One call. Floats of the scratch: of a packed head's keys and values, and of a thread. */
typedef struct attention {
    const qep_attention_form *form;
    int64_t T, H, KV, D;
    int64_t heads; /* kv heads that are packed at a time */
    int64_t keys, values, strip;
    float *scratch;
} attention;

static attention attention_of(int64_t T, int64_t H, int64_t KV, int64_t D)
{
    const int64_t strips = qep_max_i64(1, qep_ceil_div(T, R) * (H / KV));
    return (attention){.T = T, .H = H, .KV = KV, .D = D,
                       .heads = qep_min_i64(KV, qep_ceil_div(STRIPS_OF_THREAD * qep_linalg_threads(), strips)),
                       .keys = qep_round_up(qep_panel_packed(D, T), R),
                       .values = qep_round_up(qep_panel_packed(T, D), R),
                       .strip = (qep_round_up(T, N) + N + D + qep_round_up(D, N)) * R};
}

/* Fewer strips of a shorter sequence may have more heads packed. */
int64_t qep_attention_scratch(int64_t T, int64_t H, int64_t KV, int64_t D)
{
    int64_t most = 0;
    for (int64_t t = T; t >= 0; t = t > 0 ? (t - 1) / R * R : -1) {
        const attention a = attention_of(t, H, KV, D);
        most = qep_max_i64(most, a.heads * (a.keys + a.values) + qep_linalg_threads() * a.strip);
    }
    return most;
}

static float *keys_of(const attention *a, int64_t head)
{
    return a->scratch + head % a->heads * (a->keys + a->values);
}

static float *values_of(const attention *a, int64_t head)
{
    return keys_of(a, head) + a->keys;
}

/* First key that query i sees. */
static int64_t first_key(const qep_attention_form *f, int64_t i)
{
    return f->window > 0 ? qep_max_i64(i + 1 - f->window, 0) : 0;
}

/* Scores of keys [k0, k0 + n): none where a lane's query, q0 the first lane's, does not see the key. */
static void mask(const qep_attention_form *f, float *s, int64_t q0, int64_t k0, int64_t n)
{
    const int64_t all_from = first_key(f, q0 + R - 1);
    for (int64_t k = k0; k < k0 + n; k++) {
        if (k >= all_from && k <= q0) continue;
        for (int64_t r = 0; r < R; r++)
            if (k > q0 + r || k < first_key(f, q0 + r)) s[(k - k0) * R + r] = -INFINITY;
    }
}

QEP_FOR_EACH_CPU
static void find_largest(float *restrict top, const float *restrict s, int64_t keys)
{
    for (int64_t k = 0; k < keys; k++)
        for (int64_t r = 0; r < R; r++) top[r] = s[k * R + r] > top[r] ? s[k * R + r] : top[r];
}

/* s = exp(s - top); its sums over a few keys are added to the total. */
QEP_FOR_EACH_CPU
static void exponentials(float *restrict s, const float *restrict top, int64_t keys, double *restrict total)
{
    float sum[R] = {0};
    for (int64_t k = 0; k < keys; k++)
        for (int64_t r = 0; r < R; r++) {
            const float e = qep_exp_neg(s[k * R + r] - top[r]);
            s[k * R + r] = e;
            sum[r] += e;
        }
    for (int64_t r = 0; r < R; r++) total[r] += (double)sum[r];
}

/* Scores of all keys from k0 on, whole panels, for the queries in panel q; the largest of each lane. */
static void score(const attention *a, float *s, float *top, const float *q, const float *keys, int64_t q0, int64_t k0, int64_t n)
{
    for (int64_t r = 0; r < R; r++) top[r] = -INFINITY;
    for (int64_t c = 0; c < n; c += KEYS) {
        const int64_t some = qep_min_i64(KEYS, n - c);
        float *to = s + c * R;
        qep_panel_update_f32(to, 0.0F, q, a->D, keys + (k0 + c) * a->D, 0, some);
        if (a->form->cap > 0.0F) qep_cap_row(to, some * R, a->form->cap);
        mask(a->form, to, q0, k0 + c, some);
        find_largest(top, to, some);
    }
}

/* out <- the keys' values, weighted by the softmax of the n scores. */
static void weigh(const attention *a, float *out, float *s, const float *top, const float *values, int64_t k0, int64_t n)
{
    const int64_t width = qep_round_up(a->D, N);
    double total[R] = {0};
    memset(out, 0, (size_t)(width * R) * sizeof *out);
    for (int64_t c = 0; c < n; c += KEYS) {
        const int64_t some = qep_min_i64(KEYS, n - c);
        exponentials(s + c * R, top, some, total);
        qep_panel_add_f32(out, s + c * R, some, values + (k0 + c) * N, a->T, width);
    }
    float inverse[R];
    for (int64_t r = 0; r < R; r++) inverse[r] = (float)(1.0 / total[r]);
    for (int64_t d = 0; d < a->D; d++)
        for (int64_t r = 0; r < R; r++) out[d * R + r] *= inverse[r];
}

/* Queries from q0 on, n <= 64, of head h. */
static void attend_strip(const attention *a, float *out, const float *q, int64_t h, int64_t q0, int64_t n)
{
    const int64_t kv = h / (a->H / a->KV), ld = a->H * a->D, k0 = first_key(a->form, q0) / N * N, end = q0 + n;
    float *query = a->scratch + a->heads * (a->keys + a->values) + omp_get_thread_num() * a->strip;
    float *result = query + a->D * R, *s = result + qep_round_up(a->D, N) * R, top[R];
    qep_panel_from_rows_f32(query, q + q0 * ld + h * a->D, n, ld, a->D);
    for (int64_t i = 0; i < a->D * R; i++) query[i] *= a->form->scale;
    score(a, s, top, query, keys_of(a, kv), q0, k0, qep_round_up(end - k0, N));
    weigh(a, result, s, top, values_of(a, kv), k0, end - k0);
    qep_panel_to_rows_f32(out + q0 * ld + h * a->D, n, ld, result, a->D);
}

void qep_attention(float *out, const float *q, const float *k, const float *v, int64_t T, int64_t H, int64_t KV, int64_t D, qep_attention_form form, float *scratch)
{
    if (T == 0 || H == 0 || D == 0) return;
    QEP_REQUIRE(KV > 0 && H % KV == 0);
    attention a = attention_of(T, H, KV, D);
    a.form = &form;
    a.scratch = scratch;
    const int64_t strips = qep_ceil_div(T, R), share = H / KV, parts = qep_linalg_threads();
#pragma omp parallel num_threads(qep_linalg_threads())
    for (int64_t first = 0; first < KV; first += a.heads) {
        const int64_t n = qep_min_i64(a.heads, KV - first);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < n * parts; i++) {
            const int64_t kv = first + i / parts;
            const int part = (int)(i % parts);
            qep_panel_pack_turned_f32(keys_of(&a, kv), k + kv * D, KV * D, D, T, part, (int)parts);
            qep_panel_pack_f32(values_of(&a, kv), v + kv * D, KV * D, T, D, part, (int)parts);
        }
        /* the longest strips first, so that no thread starts one at the end */
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < strips * n * share; i++) {
            const int64_t q0 = (strips - 1 - i / (n * share)) * R;
            attend_strip(&a, out, q, first * share + i % (n * share), q0, qep_min_i64(R, T - q0));
        }
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
