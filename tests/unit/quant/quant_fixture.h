/* Layers for the tests of quant: random rows and Hessians, the factor R, a naive GPTQ in U-form,
 * goldens. SPDX-License-Identifier: Apache-2.0 */
#ifndef QUANT_FIXTURE_H
#define QUANT_FIXTURE_H

#include "qep_test.h"
#include "qep/linalg.h"
#include "qep/quant.h"

#define UNUSED __attribute__((unused))

static UNUSED void *test_alloc(int64_t n, size_t size)
{
    return qep_alloc("test", n > 0 ? n : 1, size);
}

/* R with R R^T = h, R upper: Cholesky of the reversed matrix, reversed back. */
static UNUSED double *factor_r(const double *h, int64_t d)
{
    double *a = test_alloc(d * d, sizeof *a), *r = test_alloc(d * d, sizeof *r);
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j < d; j++) a[i * d + j] = h[(d - 1 - i) * d + d - 1 - j];
    assert_int_equal(qep_cholesky_f64(d, a, d), 0);
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = i; j < d; j++) r[i * d + j] = a[(d - 1 - i) * d + d - 1 - j];
    qep_free(a);
    return r;
}

/* U = R^-1. */
static UNUSED double *inverse_upper(const double *R, int64_t d)
{
    double *u = test_alloc(d * d, sizeof *u);
    for (int64_t j = 0; j < d; j++)
        for (int64_t i = j; i >= 0; i--) {
            double sum = i == j;
            for (int64_t k = i + 1; k <= j; k++) sum -= R[i * d + k] * u[k * d + j];
            u[i * d + j] = sum / R[i * d + i];
        }
    return u;
}

/* ((m U^T) o SU) U, triple loops. */
static UNUSED double *masked(const double *m, const double *U, int64_t d)
{
    double *x = test_alloc(d * d, sizeof *x), *p = test_alloc(d * d, sizeof *p);
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = i + 1; j < d; j++)
            for (int64_t k = j; k < d; k++) x[i * d + j] += m[i * d + k] * U[j * d + k];
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = i + 1; j < d; j++)
            for (int64_t k = i + 1; k <= j; k++) p[i * d + j] += x[i * d + k] * U[k * d + j];
    qep_free(x);
    return p;
}

/* H of d correlated channels, m tokens, damped by 1 % of the mean diagonal. */
static UNUSED double *random_hessian(qep_rng *rng, int64_t d, int64_t m)
{
    double *x = test_alloc(d * m, sizeof *x), *h = test_alloc(d * d, sizeof *h), mean = 0.0;
    for (int64_t t = 0; t < m; t++) {
        double common = qep_rng_normal(rng);
        for (int64_t i = 0; i < d; i++)
            x[i * m + t] = (qep_rng_normal(rng) + 0.7 * common) * (1.0 + 3.0 * ((i * 7) % 11 == 3));
    }
    qep_gemm_f64(true, d, d, m, 1.0, x, m, x, m, 0.0, h, d);
    for (int64_t i = 0; i < d; i++) mean += h[i * d + i] / (double)d;
    for (int64_t i = 0; i < d; i++) h[i * d + i] += 0.01 * mean;
    qep_free(x);
    return h;
}

static UNUSED float *random_strip(qep_rng *rng, int64_t cols)
{
    float *w = test_alloc(QEP_STRIP * cols, sizeof *w);
    for (int64_t i = 0; i < QEP_STRIP * cols; i++) w[i] = (float)(0.05 * qep_rng_normal(rng));
    for (int64_t k = 0; k < cols; k++) w[cols + k] = fabsf(w[cols + k]); /* row 1: all positive */
    for (int64_t k = 0; k < cols; k++) w[2 * cols + k] = 0.0f;           /* row 2: nothing */
    return w;
}

/* Permutation by falling diagonal of h. */
static UNUSED int32_t *falling_order(const double *h, int64_t d)
{
    int32_t *perm = test_alloc(d, sizeof *perm);
    for (int64_t i = 0; i < d; i++) {
        int64_t j = i;
        for (; j > 0 && h[perm[j - 1] * (d + 1)] < h[i * (d + 1)]; j--) perm[j] = perm[j - 1];
        perm[j] = (int32_t)i;
    }
    return perm;
}

static UNUSED double *permuted(const double *h, int64_t d, const int32_t *perm)
{
    double *p = test_alloc(d * d, sizeof *p);
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j < d; j++)
            p[i * d + j] = perm ? h[perm[i] * d + perm[j]] : h[i * d + j];
    return p;
}

typedef struct result {
    int64_t rows, cols, groups;
    uint8_t *codes, *zeros;
    float *scales;
    int32_t *g_idx;
    double *loss;
} result;

static UNUSED result new_result(const qep_qspec *s, int64_t rows, int64_t cols)
{
    int64_t groups = qep_n_groups(s, cols);
    return (result){.rows = rows, .cols = cols, .groups = groups,
                    .codes = test_alloc(rows * cols, 1), .zeros = test_alloc(rows * groups, 1),
                    .scales = test_alloc(rows * groups, sizeof(float)),
                    .g_idx = test_alloc(cols, sizeof(int32_t)),
                    .loss = test_alloc(rows, sizeof(double))};
}

static UNUSED void free_result(result *x)
{
    void *owned[] = {x->codes, x->zeros, x->scales, x->g_idx, x->loss};
    for (size_t i = 0; i < 5; i++) qep_free(owned[i]);
}

static UNUSED double value_at(const result *x, int64_t r, int64_t c)
{
    int64_t g = r * x->groups + x->g_idx[c];
    return (double)qep_grid_value(x->codes[r * x->cols + c], x->scales[g], x->zeros[g]);
}

static UNUSED int64_t count_flips(const uint8_t *a, const uint8_t *b, int64_t n)
{
    int64_t flips = 0;
    for (int64_t i = 0; i < n; i++) flips += a[i] != b[i];
    return flips;
}

/* Rows row0 .. of m as f32 from column row0 on, NaN behind the last column. */
static UNUSED float *streamed_rows(const double *m, int64_t cols, int64_t row0, int64_t n, int64_t ld)
{
    float *r = test_alloc(n * ld, sizeof *r);
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < ld; c++)
            r[i * ld + c] = row0 + c < cols ? (float)m[(row0 + i) * cols + row0 + c] : NAN;
    return r;
}

/* R's rows from the step's first column on, there and back in blocks of 40, for methods that draw all weights to come back. */
static UNUSED void pull_strip(const qep_qspec *s, qep_gptq *g, int64_t cols, int64_t row0, const double *R)
{
    for (int back = 0; back < 2 && qep_gptq_pulls(s); back++)
        for (int64_t k = 0; k < qep_ceil_div(cols - row0, 40); k++) {
            const int64_t from = row0 + 40 * (back ? qep_ceil_div(cols - row0, 40) - 1 - k : k);
            qep_gptq_pull(g, back, from, qep_min_i64(40, cols - from), R + from * (cols + 1), cols);
        }
}

/* What a step is given of a method's matrix P: S = P R, and in the published codes P itself. */
static UNUSED double *move_of(const qep_qspec *s, const double *P, const double *R, int64_t cols)
{
    double *S = test_alloc(cols * cols, sizeof *S);
    for (int64_t i = 0; i < cols; i++)
        for (int64_t k = 0; k < cols; k++) {
            if (s->paper) S[i * cols + k] = P[i * cols + k];
            for (int64_t j = k; j < cols && !s->paper; j++) S[i * cols + j] += P[i * cols + k] * R[k * cols + j];
        }
    return S;
}

/* One strip (w [QEP_STRIP, cols], original order) through all steps; out has QEP_STRIP rows. The
 * rows of R and of the matrices (from P) reach the kernel as a streamed factor would: only the rows a step
 * asks for, everything else NaN. */
static UNUSED void run_strip_dead(const qep_qspec *s, const float *w, int64_t cols, const int32_t *perm,
                                  const double *R, const double *const *P, const uint8_t *dead, result *out)
{
    float *rdiag = test_alloc(cols, sizeof *rdiag);
    for (int64_t j = 0; j < cols; j++) rdiag[j] = (float)R[j * cols + j];
    enum { BEHIND = 64 };
    const int64_t bytes = qep_gptq_bytes(s, cols);
    char *room = test_alloc(bytes + BEHIND, 1);
    memset(room + bytes, 0x5A, BEHIND); /* nobody's */
    qep_gptq *g = qep_gptq_create(s, w, cols, perm, rdiag, dead, room);
    float *beside = test_alloc(QEP_STRIP * cols, sizeof *beside); /* another strip, taken together with this one, and twice by itself: it changes nothing */
    for (int64_t k = 0; k < QEP_STRIP * cols; k++) beside[k] = 0.5f * w[QEP_STRIP * cols - 1 - k];
    char *room_beside[3];
    qep_gptq *strips[4] = {NULL, g};
    for (int i = 0; i < 3; i++) {
        room_beside[i] = test_alloc(bytes, 1);
        strips[i == 0 ? 0 : i + 1] = qep_gptq_create(s, beside, cols, perm, rdiag, dead, room_beside[i]);
    }
    float *packed = test_alloc(qep_gptq_packed_bytes(s, cols), 1);
    const int n_moves = qep_method_moves(s->method, &s->options, s->paper);
    double *moves[QEP_MAX_MOVES] = {NULL};
    for (int m = 0; m < n_moves; m++) moves[m] = move_of(s, P[m], R, cols);
    for (int64_t step = 0; step < qep_gptq_n_steps(s, cols); step++) {
        int64_t row0 = 0, n = 0;
        qep_gptq_step_rows(s, cols, step, &row0, &n);
        qep_gptq_block b = {.ldr = cols - row0 + 16, .ldp = cols - row0 + 16, .packed = packed};
        float *r = streamed_rows(R, cols, row0, n, b.ldr), *p[QEP_MAX_MOVES] = {NULL};
        b.r = r;
        for (int m = 0; m < n_moves; m++)
            b.p[m] = p[m] = streamed_rows(moves[m], cols, row0, qep_gptq_step_cols(s, cols, step), b.ldp);
        for (int i = 0; i < 4; i++) pull_strip(s, strips[i], cols, row0, R);
        for (int part = 0; part < 3; part++) qep_gptq_pack(s, cols, step, &b, packed, part, 3);
        qep_gptq_step(strips, 4, step, &b);
        qep_free(r);
        for (int m = 0; m < QEP_MAX_MOVES; m++) qep_free(p[m]);
    }
    for (int m = 0; m < QEP_MAX_MOVES; m++) qep_free(moves[m]);
    qep_free(packed);
    qep_qstrip q = {out->codes, out->scales, out->zeros};
    qep_gptq_finish(strips[2], &q, out->g_idx, out->loss);
    const uint64_t want = qep_hash64(out->codes, (size_t)(QEP_STRIP * cols), 0);
    qep_gptq_finish(strips[0], &q, out->g_idx, out->loss);
    assert_true(qep_hash64(out->codes, (size_t)(QEP_STRIP * cols), 0) == want);
    qep_gptq_finish(g, &q, out->g_idx, out->loss);
    qep_free(beside);
    for (int i = 0; i < 3; i++) qep_free(room_beside[i]);
    for (int64_t i = 0; i < BEHIND; i++) assert_int_equal(room[bytes + i], 0x5A);
    qep_free(room);
    qep_free(rdiag);
}

static UNUSED void run_strip(const qep_qspec *s, const float *w, int64_t cols, const int32_t *perm,
                             const double *R, const double *const *P, result *out)
{
    run_strip_dead(s, w, cols, perm, R, P, NULL, out);
}

/* Any number of rows, strip by strip; the last strip is padded with zero rows. */
static UNUSED void run_rows(const qep_qspec *s, const float *w, int64_t rows, int64_t cols, const int32_t *perm,
                            const double *R, const double *const *P, const uint8_t *dead, result *out)
{
    float *strip = test_alloc(QEP_STRIP * cols, sizeof *strip);
    result part = new_result(s, QEP_STRIP, cols);
    for (int64_t r0 = 0; r0 < rows; r0 += QEP_STRIP) {
        int64_t n = qep_min_i64(QEP_STRIP, rows - r0);
        memset(strip, 0, (size_t)(QEP_STRIP * cols) * sizeof *strip);
        memcpy(strip, w + r0 * cols, (size_t)(n * cols) * sizeof *strip);
        run_strip_dead(s, strip, cols, perm, R, P, dead, &part);
        memcpy(out->codes + r0 * cols, part.codes, (size_t)(n * cols));
        memcpy(out->scales + r0 * out->groups, part.scales,
               (size_t)(n * out->groups) * sizeof(float));
        memcpy(out->zeros + r0 * out->groups, part.zeros, (size_t)(n * out->groups));
        memcpy(out->loss + r0, part.loss, (size_t)n * sizeof(double));
        memcpy(out->g_idx, part.g_idx, (size_t)cols * sizeof(int32_t));
    }
    free_result(&part);
    qep_free(strip);
}

#endif
