/* The record of errors against |W X - V Xq|^2 summed token by token in f64, for every way in which a correction leaves what the record needs.
 * SPDX-License-Identifier: Apache-2.0 */
#include "../../../src/layer/layer_priv.h"
#include "../solve/solve_cases.h"

enum { MEMBERS = 2, DEAD = 3 };
static const int64_t heights[MEMBERS] = {70, 33};

/* Tokens of a group, whole on every rank; channel DEAD may have no signal in Xq. */
typedef struct tokens {
    int64_t n, d;
    double *x, *xq; /* owned: [n, d] */
} tokens;

static tokens make_tokens(int64_t n, int64_t d, int64_t seed, bool dead)
{
    tokens t = {n, d, qep_alloc("test", n * d, sizeof(double)), qep_alloc("test", n * d, sizeof(double))};
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < d; c++) { /* one strong direction, channels of different sizes */
            const double common = noise(i, seed), size = c % 17 == 0 ? 8.0 : 1.0 / (double)(1 + c % 5);
            t.x[i * d + c] = size * (common + noise(i * d + c, seed + 1));
            t.xq[i * d + c] = dead && c == DEAD ? 0.0 : 0.9 * t.x[i * d + c] + size * (0.05 * common + 0.2 * noise(i * d + c, seed + 2));
        }
    return t;
}

static void free_tokens(tokens *t)
{
    qep_free(t->x), qep_free(t->xq);
}

/* H, and C with delta. */
static qep_dmat *sum_all(const tokens *t, bool delta)
{
    double *a = qep_alloc("test", t->d * t->d, sizeof *a);
    for (int64_t i = 0; i < t->n; i++)
        for (int64_t r = 0; r < t->d; r++) {
            const double q = t->xq[i * t->d + r], left = (delta ? t->x[i * t->d + r] - q : q) / (double)t->n;
            for (int64_t c = 0; c < t->d; c++) a[r * t->d + c] += left * t->xq[i * t->d + c];
        }
    qep_dmat *m = scatter(a, t->d, 16, qep_dmat_owners_rule(t->d, 16, qep_size(world), 0));
    qep_free(a);
    return m;
}

/* J(V) of the members, [MEMBERS], from V's rows of my strips. */
static void errors_all(const qep_set *s, const tokens *t, const float *v, double *J)
{
    for (int m = 0; m < MEMBERS; m++) J[m] = 0;
    for (int64_t i = 0; i < s->count; i++)
        for (int64_t r = 0; r < s->strips[i].n; r++)
            for (int64_t k = 0; k < t->n; k++) {
                double e = 0;
                for (int64_t c = 0; c < t->d; c++) {
                    const int64_t at = (i * QEP_STRIP + r) * t->d + c;
                    e += (double)s->w[at] * t->x[k * t->d + c] - (double)v[at] * t->xq[k * t->d + c];
                }
                J[s->strips[i].member] += e * e / (double)t->n;
            }
    qep_sum_f64_all(world, J, MEMBERS);
}

/* W, or the target, rounded to nearest. */
static float *rounded(const qep_set *s, float *of)
{
    float *v = qep_alloc("test", s->count * QEP_STRIP * s->cols, sizeof *v);
    for (int64_t i = 0; i < s->count; i++) {
        qep_qstrip out = {qep_alloc("test", QEP_STRIP * s->cols, 1), qep_alloc("test", QEP_STRIP * s->groups, sizeof(float)),
                          qep_alloc("test", QEP_STRIP * s->groups, 1)};
        qep_rtn_strip(&s->lead->spec, qep_set_row(s, of, i), NULL, s->cols, &out);
        for (int64_t k = 0; k < QEP_STRIP * s->cols; k++) {
            const int64_t g = k / s->cols * s->groups + s->g_idx[k % s->cols];
            qep_set_row(s, v, i)[k] = qep_grid_value(out.codes[k], out.scales[g], out.zeros[g]);
        }
        qep_free(out.codes), qep_free(out.scales), qep_free(out.zeros);
    }
    return v;
}

static double off(double got, double want, double scale)
{
    return fabs(got - want) / scale;
}

/* Largest difference of a gap, as a share of J(W) or, where that is larger, J(Q). */
static double check_gap_all(const qep_set *s, const tokens *t, const struct qep_layer_gap *gap, int64_t stride)
{
    double J[4][MEMBERS], worst = 0;
    float *result = rounded(s, s->target), *plain = rounded(s, s->w);
    const float *const v[4] = {s->w, result, plain, s->target};
    for (int k = 0; k < 4; k++) errors_all(s, t, v[k], J[k]);
    qep_free(result), qep_free(plain);
    for (int m = 0; m < MEMBERS; m++) {
        const struct qep_layer_gap *g = (const void *)((const char *)gap + m * stride);
        const double scale = fmax(J[0][m], J[1][m]);
        worst = worse(worst, off(g->uncorrected, J[0][m] - J[1][m], scale));
        worst = worse(worst, off(g->before, J[2][m] - J[1][m], scale));
        if (qep_layer_corrects(&s->lead->cfg)) worst = worse(worst, off(g->corrected, J[3][m] - J[1][m], scale));
        else worst = worse(worst, isnan(g->corrected) ? 0 : 1);
    }
    return worst;
}

typedef struct figures_case {
    const char *name;
    int64_t d;
    const char *correction;
    double alpha, residual, damping;
    bool paper, dead, y; /* y: by the correction's Y, not by W C */
} figures_case;

static void run_set_all(const figures_case *c, qep_set *s, qep_layer_record *records, const double *gamma)
{
    qep_set_open(s);
    for (int64_t i = 0; i < s->count; i++)
        for (int64_t k = 0; k < s->strips[i].n * c->d; k++) qep_set_row(s, s->w, i)[k] = (float)noise((s->first + i) * QEP_STRIP * c->d + k, 7);
    qep_layer_job job = *s->job;
    job.gamma = gamma;
    s->job = &job;
    assert_ok(qep_set_correct_all(s));
    assert_all(world, (s->y != NULL) == c->y && (s->wc != NULL) == !c->y);
    assert_ok(qep_set_quantize_all(s));
    qep_set_figures_all(s, records);
}

static void check_case(const figures_case *c)
{
    tokens t = make_tokens(4 * c->d, c->d, 1, c->dead), h = make_tokens(2 * c->d, c->d, 50, c->dead);
    qep_linear_config cfg = {.method = "rtn", .bits = 4, .group_size = 16, .clip = "none", .grid = "zero", .clip_steps = 1, .correction = c->correction,
                             .alpha = c->alpha, .residual = c->residual, .correction_damping = c->damping};
    qep_layer_member members[MEMBERS];
    qep_layer_record records[MEMBERS] = {{0}};
    const bool in[MEMBERS] = {true, true};
    for (int m = 0; m < MEMBERS; m++) members[m] = (qep_layer_member){.index = m, .rows = heights[m], .cols = c->d, .cfg = cfg, .spec = qep_layer_spec(&cfg, 0)};
    for (int m = 0; m < MEMBERS; m++) members[m].spec.paper = c->paper;
    qep_stats held = {sum_all(&h, false), sum_all(&h, true), NULL};
    qep_layer_job job = {.comm = world, .H = sum_all(&t, false), .C = sum_all(&t, true), .held = &held, .published_h = 1, .published_type = QEP_BF16};
    job.stream = qep_window_create_all(world, "test.window", qep_layer_stream_bytes(&members[0].spec, c->d));
    qep_set s = {.job = &job, .members = members, .in = in, .n_members = MEMBERS, .lead = &members[0]};
    uint8_t *dead = qep_alloc("test", c->d, 1);
    double mean, *gamma = qep_alloc("test", 4 * QEP_STRIP * c->d, sizeof *gamma);
    qep_dead_all(job.H, c->paper ? 1 : 0, dead, &s.n_dead, &mean);
    s.dead = dead;
    assert_int_equal(s.n_dead, c->dead);
    for (int64_t k = 0; k < 4 * QEP_STRIP * c->d; k++) gamma[k] = c->dead && k % c->d == DEAD ? 0.0 : 0.1 * noise(k, qep_rank(world));
    run_set_all(c, &s, records, gamma);
    const double own = check_gap_all(&s, &t, &records[0].gap, sizeof *records), other = check_gap_all(&s, &h, &records[0].held_gap, sizeof *records);
    print_message("%s: %.2g, held out %.2g\n", c->name, own, other);
    assert_all(world, own <= 1e-5 && other <= 1e-5);
    qep_set_close(&s);
    qep_free(gamma), qep_free(dead);
    qep_window_destroy_all(&job.stream);
    qep_dmat_destroy_all(&job.H), qep_dmat_destroy_all(&job.C);
    qep_dmat_destroy_all(&held.H), qep_dmat_destroy_all(&held.C);
    free_tokens(&t), free_tokens(&h);
}

static void test_figures(void **state)
{
    (void)state;
    static const figures_case cases[] = {
        {"Y", 48, "qep", 1.0, 0.0, 0.01, false, true, true},
        {"Y, half of it, little damping", 48, "qep", 0.5, 0.0, 1e-4, false, true, true},
        {"Y, much damping", 96, "qep", 1.5, 0.0, 1.0, false, true, true},
        {"Y, fitted", 48, "qep", QEP_ALPHA_AUTO, 0.0, 0.01, false, false, true},
        {"as published", 48, "qep", 0.5, 0.0, 0.01, true, false, true},
        {"as published, a dead channel", 48, "qep", 1.0, 0.0, 0.01, true, true, false},
        {"rows", 128, "qep", 1.0, 0.0, 0.01, false, true, false},
        {"rows as published", 128, "qep", 1.0, 0.0, 0.01, true, false, false},
        {"rows as published, a dead channel", 128, "qep", 1.0, 0.0, 0.01, true, true, false},
        {"residual", 48, "qep", 0.5, 0.25, 0.01, false, true, false},
        {"residual alone", 128, "qep", 0.0, 0.25, 0.01, false, true, false},
        {"no correction", 48, "none", 1.0, 0.0, 0.01, false, true, false},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) check_case(&cases[k]);
}

static int group(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_figures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return run_solve_tests(argc, argv, group);
}
