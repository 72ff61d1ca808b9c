/* quant: random orthogonal matrices with the structure of a Kronecker product between two
 * permutations (QuIP, Chee et al., arXiv 2307.13304). SPDX-License-Identifier: Apache-2.0 */
#include "quant_priv.h"

#include "qep/linalg.h"

#include <string.h>

#define ROTATION "quantize.rotation"

/* A factor and its transpose. */
typedef struct factor {
    int64_t n;
    double *m[2]; /* owned: [n, n], and transposed */
} factor;

struct qep_rotation {
    int64_t n;
    factor a, b;
    int32_t *in, *out; /* owned: permutations before and after the product */
};

/* Prime factors of n in rising order go to the two sides in turn. */
static void two_sides(int64_t n, int64_t side[2])
{
    int turn = 0;
    side[0] = side[1] = 1;
    for (int64_t p = 2; n > 1; p++) {
        if (p * p > n) p = n; /* what is left is prime */
        for (; n % p == 0; n /= p, turn = 1 - turn) side[turn] *= p;
    }
}

int64_t qep_rotation_largest(int64_t n)
{
    int64_t side[2];
    two_sides(n, side);
    return qep_max_i64(side[0], side[1]);
}

int64_t qep_rotation_bytes(int64_t n)
{
    int64_t side[2];
    two_sides(n, side);
    const int64_t reals = 2 * (side[0] * side[0] + side[1] * side[1]);
    return (int64_t)sizeof(qep_rotation) + reals * (int64_t)sizeof(double) + 2 * n * (int64_t)sizeof(int32_t);
}

/* v is made orthogonal to the rows q[0 .. i) and of length 1. Twice is enough. */
static void orthonormalize(double *v, const double *q, int64_t i, int64_t n, double *coefficient)
{
    for (int pass = 0; pass < 2 && i > 0; pass++) {
        qep_gemm_f64(true, 1, i, n, 1.0, v, n, q, n, 0.0, coefficient, i);
        qep_gemm_f64(false, 1, n, i, -1.0, coefficient, i, q, n, 1.0, v, n);
    }
    double norm = 0.0;
    for (int64_t k = 0; k < n; k++) norm += v[k] * v[k];
    norm = sqrt(norm);
    for (int64_t k = 0; k < n; k++) v[k] /= norm;
}

/* Gram-Schmidt on rows of normal numbers: Haar distributed, since the triangular factor has a
 * positive diagonal (Mezzadri 2007, arXiv math-ph/0609050). */
static factor random_factor(int64_t n, qep_rng *rng)
{
    factor f = {.n = n};
    for (int t = 0; t < 2; t++) f.m[t] = qep_alloc(ROTATION, n * n, sizeof(double));
    double *q = f.m[0], *coefficient = f.m[1];
    for (int64_t i = 0; i < n; i++) {
        for (int64_t k = 0; k < n; k++) q[i * n + k] = qep_rng_normal(rng);
        orthonormalize(q + i * n, q, i, n, coefficient);
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < n; k++) f.m[1][k * n + i] = q[i * n + k];
    return f;
}

static int32_t *random_permutation(int64_t n, qep_rng *rng)
{
    int32_t *p = qep_alloc(ROTATION, n, sizeof *p);
    for (int64_t i = 0; i < n; i++) {
        const int64_t j = (int64_t)(qep_rng_uniform(rng) * (double)(i + 1));
        p[i] = p[j];
        p[j] = (int32_t)i;
    }
    return p;
}

qep_rotation *qep_rotation_create(int64_t n, uint64_t seed)
{
    QEP_REQUIRE(n >= 1 && n <= INT32_MAX);
    qep_rotation *r = qep_alloc(ROTATION, 1, sizeof *r);
    int64_t side[2];
    qep_rng rng;
    two_sides(n, side);
    qep_rng_seed(&rng, seed);
    r->n = n;
    r->a = random_factor(side[0], &rng);
    r->b = random_factor(side[1], &rng);
    r->in = random_permutation(n, &rng);
    r->out = random_permutation(n, &rng);
    return r;
}

void qep_rotation_destroy(qep_rotation **r)
{
    if (!*r) return;
    for (int t = 0; t < 2; t++) {
        qep_free((*r)->a.m[t]);
        qep_free((*r)->b.m[t]);
    }
    qep_free((*r)->in);
    qep_free((*r)->out);
    qep_free(*r);
    *r = NULL;
}

/* y[i] = x[p[i]], or y[p[i]] = x[i]; rows of QEP_STRIP values. */
static void permute_rows(double *y, const double *x, const int32_t *p, int64_t n, bool inverse)
{
    for (int64_t i = 0; i < n; i++) {
        const int64_t to = inverse ? p[i] : i, from = inverse ? i : p[i];
        memcpy(y + to * QEP_STRIP, x + from * QEP_STRIP, QEP_STRIP * sizeof *y);
    }
}

void qep_rotation_apply(const qep_rotation *r, bool transposed, double *x, double *scratch)
{
    const int64_t p = r->a.n, q = r->b.n, width = q * QEP_STRIP;
    const double *a = r->a.m[transposed], *b = r->b.m[transposed];
    permute_rows(scratch, x, transposed ? r->out : r->in, r->n, transposed);
    qep_gemm_f64(false, p, width, p, 1.0, a, p, scratch, width, 0.0, x, width);
    for (int64_t i = 0; i < p; i++)
        qep_gemm_f64(false, q, QEP_STRIP, q, 1.0, b, q, x + i * width, QEP_STRIP, 0.0, scratch + i * width,
                     QEP_STRIP);
    permute_rows(x, scratch, transposed ? r->in : r->out, r->n, transposed);
}
