/* L-BFGS: Nocedal, "Updating quasi-Newton matrices with limited storage", Math. Comp. 35 (1980).
 * SPDX-License-Identifier: Apache-2.0 */
#include "qep/solve.h"

#include <math.h>
#include <string.h>

enum { PAIRS = 8, HALVINGS = 8 };

typedef struct state {
    int64_t n;
    double *moves[PAIRS], *changes[PAIRS]; /* steps in x and what the slope did over them, oldest first */
    double curvature[PAIRS];               /* moves . changes */
    int pairs;
} state;

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

static void add(double *y, double f, const double *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] += f * x[i];
}

/* way = -(approximate inverse Hessian) slope: the two loops. */
static void direction(const state *s, const double *slope, double *way)
{
    double share[PAIRS];
    for (int64_t i = 0; i < s->n; i++) way[i] = -slope[i];
    for (int k = s->pairs - 1; k >= 0; k--) {
        share[k] = dot(s->moves[k], way, s->n) / s->curvature[k];
        add(way, -share[k], s->changes[k], s->n);
    }
    if (s->pairs > 0) {
        const double *last = s->changes[s->pairs - 1], scale = s->curvature[s->pairs - 1] / dot(last, last, s->n);
        for (int64_t i = 0; i < s->n; i++) way[i] *= scale;
    }
    for (int k = 0; k < s->pairs; k++) add(way, share[k] - dot(s->changes[k], way, s->n) / s->curvature[k], s->moves[k], s->n);
}

/* The pair (x1 - x0, slope1 - slope0) goes in, the oldest out. A pair without positive curvature is left out. */
static void remember(state *s, const double *x0, const double *x1, const double *slope0, const double *slope1)
{
    const bool full = s->pairs == PAIRS;
    const int at = full ? PAIRS - 1 : s->pairs;
    double *move = s->moves[full ? 0 : at], *change = s->changes[full ? 0 : at];
    double curvature = 0;
    for (int64_t i = 0; i < s->n; i++) curvature += (x1[i] - x0[i]) * (slope1[i] - slope0[i]);
    if (!(curvature > 0)) return;
    for (int k = 0; full && k + 1 < PAIRS; k++) {
        s->moves[k] = s->moves[k + 1];
        s->changes[k] = s->changes[k + 1];
        s->curvature[k] = s->curvature[k + 1];
    }
    for (int64_t i = 0; i < s->n; i++) {
        move[i] = x1[i] - x0[i];
        change[i] = slope1[i] - slope0[i];
    }
    s->moves[at] = move;
    s->changes[at] = change;
    s->curvature[at] = curvature;
    s->pairs = at + 1;
}

static double largest(const double *x, int64_t n)
{
    double top = 0;
    for (int64_t i = 0; i < n; i++) top = fmax(top, fabs(x[i]));
    return top;
}

/* Along way from x0, by halves, until the value falls as far as a ten-thousandth of the slope promises (Armijo). *f: value at x0, then at x. */
static bool search(const qep_minimum *m, const double *x0, const double *way, double downhill, double *x, double *f, double *slope, int *evaluations)
{
    double step = 1;
    for (int k = 0; k < HALVINGS && *evaluations < m->evaluations; k++, step /= 2) {
        memcpy(x, x0, (size_t)m->n * sizeof *x);
        add(x, step, way, m->n);
        const double now = m->value(m->ctx, x, slope);
        (*evaluations)++;
        if (now <= *f + 1e-4 * step * downhill) {
            *f = now;
            return true;
        }
    }
    memcpy(x, x0, (size_t)m->n * sizeof *x);
    return false;
}

int qep_minimize(const qep_minimum *m, double *x, double *first, double *last)
{
    state s = {.n = m->n};
    double *block = qep_alloc("solve.minimize", (2 * PAIRS + 4) * m->n, sizeof *block);
    double *x0 = block, *slope0 = x0 + m->n, *slope = slope0 + m->n, *way = slope + m->n;
    for (int k = 0; k < PAIRS; k++) {
        s.moves[k] = way + (1 + 2 * k) * m->n;
        s.changes[k] = s.moves[k] + m->n;
    }
    int evaluations = 1;
    double f = *first = m->value(m->ctx, x, slope);
    while (evaluations < m->evaluations && largest(slope, m->n) > 0) {
        const double before = f;
        memcpy(x0, x, (size_t)m->n * sizeof *x);
        memcpy(slope0, slope, (size_t)m->n * sizeof *slope);
        direction(&s, slope, way);
        const double far = largest(way, m->n), scale = s.pairs == 0 ? m->first_step / far : 1;
        for (int64_t i = 0; i < m->n; i++) way[i] *= scale;
        if (!search(m, x0, way, dot(slope0, way, m->n), x, &f, slope, &evaluations)) break;
        remember(&s, x0, x, slope0, slope);
        if (before - f < m->tolerance * f) break;
    }
    *last = f;
    qep_free(block);
    return evaluations;
}

int64_t qep_minimize_bytes(int64_t n)
{
    return (2 * PAIRS + 4) * n * (int64_t)sizeof(double);
}
