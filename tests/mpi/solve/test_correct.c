/* The correction against the published code's results, its objective, and its corner cases.
 * SPDX-License-Identifier: Apache-2.0 */
#include "solve_cases.h"
#include "qep/safetensors.h"

enum { STRIP = QEP_SOLVE_STRIP };

/* A layer of the golden set, whole on every rank; all owned. */
typedef struct layer {
    int64_t rows, d;
    double *H, *C;
    float *W;
    qep_st_set *results;
} layer;

/* NULL when the shared folder is absent. qep_free. */
static qep_st_set *open_golden(const char *name)
{
    const char *shared = getenv("QEP_SHARED");
    char *path = qep_strf("test", "%s/golden/%s", shared != NULL ? shared : "../shared", name);
    qep_st_set *set = NULL;
    if (qep_file_exists(path)) {
        assert_ok(qep_st_open_file(path, &set));
    } else {
        print_message("skipped: %s is absent\n", path);
    }
    qep_free(path);
    return set;
}

static void *read_all(const qep_st_set *set, const char *name, qep_dtype type, int64_t shape[2])
{
    const qep_st_tensor *t = qep_st_find(set, name);
    assert_non_null(t);
    assert_true(t->dtype == type && t->rank == 2);
    shape[0] = t->shape[0];
    shape[1] = t->shape[1];
    void *data = qep_alloc("test", t->bytes, 1);
    assert_ok(qep_st_read(set, t, 0, t->bytes, data));
    return data;
}

static bool load_layer(const char *name, layer *l)
{
    char *file = qep_strf("test", "case__%s.safetensors", name);
    qep_st_set *set = open_golden(file);
    qep_free(file);
    if (set == NULL) return false;
    int64_t shape[2];
    l->H = read_all(set, "H", QEP_F64, shape);
    l->C = read_all(set, "C", QEP_F64, shape);
    l->W = read_all(set, "W", QEP_F32, shape);
    l->rows = shape[0];
    l->d = shape[1];
    qep_st_close(&set);
    file = qep_strf("test", "qep__%s__corrections.safetensors", name);
    l->results = open_golden(file);
    qep_free(file);
    return l->results != NULL;
}

static void free_layer(layer *l)
{
    qep_free(l->H), qep_free(l->C), qep_free(l->W);
    qep_st_close(&l->results);
}

/* The published code's normalization, 2 / sequences, and its dead channels: H_ii = 1 and no weight. */
static void normalize(layer *l)
{
    for (int64_t i = 0; i < l->d * l->d; i++) l->H[i] *= 0.5, l->C[i] *= 0.5;
    for (int64_t c = 0; c < l->d; c++) {
        if (l->H[c * l->d + c] != 0.0) continue;
        l->H[c * l->d + c] = 1.0;
        for (int64_t i = 0; i < l->rows; i++) l->W[i * l->d + c] = 0.0F;
    }
}

/* Corrected weight, whole on every rank (qep_free). Strips are dealt in turn. total_rows chooses the way. */
static double *correct(const layer *l, double alpha, double damping, int64_t total_rows, bool in_place)
{
    const int64_t d = l->d, owners = qep_dmat_owners_rule(d, 32, qep_size(world), 0);
    const int64_t n_strips = qep_ceil_div(l->rows, STRIP), size = STRIP * d;
    qep_dmat *H = scatter(l->H, d, 32, owners), *C = scatter(l->C, d, 32, owners), *L = NULL;
    qep_window *w = qep_window_create_all(world, "test.window", qep_stream_bytes(d));
    qep_ladder ladder = {.damping = damping};
    assert_ok(qep_factor_all(H, &ladder, w, &L));
    int64_t mine = 0;
    double *alphas = qep_alloc("test", n_strips, sizeof *alphas), *whole = qep_alloc("test", l->rows * d, sizeof *whole);
    float *rows = qep_alloc("test", n_strips * size, sizeof *rows), *out = qep_alloc("test", n_strips * size, sizeof *out);
    for (int64_t s = qep_rank(world); s < n_strips; s += qep_size(world), mine++) {
        const int64_t used = qep_min_i64(STRIP, l->rows - s * STRIP);
        memcpy(rows + mine * size, l->W + s * size, (size_t)(used * d) * sizeof *rows);
        alphas[mine] = alpha;
    }
    float *to = in_place ? rows : out;
    qep_correct_rows_all(C, L, total_rows, mine, alphas, rows, NULL, 0.0, to, NULL, w);
    for (int64_t s = qep_rank(world), k = 0; s < n_strips; s += qep_size(world), k++)
        for (int64_t i = 0; i < size && s * size + i < l->rows * d; i++) whole[s * size + i] = (double)to[k * size + i];
    qep_sum_f64_all(world, whole, l->rows * d);
    qep_free(alphas), qep_free(rows), qep_free(out);
    qep_window_destroy_all(&w);
    qep_dmat_destroy_all(&H), qep_dmat_destroy_all(&C), qep_dmat_destroy_all(&L);
    return whole;
}

static const double grid[6][2] = {{0.25, 0.01}, {0.5, 0.01}, {1.0, 0.01}, {0.25, 1.0}, {0.5, 1.0}, {1.0, 1.0}};
static const char *const names[] = {"tall", "wide", "dead", "dup"};

static double error_of(const layer *l, int k, int64_t total_rows, bool in_place)
{
    char name[64];
    int64_t shape[2];
    snprintf(name, sizeof name, "Wstar64_a%g_l%g", grid[k][0], grid[k][1]);
    float *stored = read_all(l->results, name, QEP_F32, shape);
    assert_true(shape[0] == l->rows && shape[1] == l->d);
    double *want = qep_alloc("test", l->rows * l->d, sizeof *want);
    for (int64_t i = 0; i < l->rows * l->d; i++) want[i] = (double)stored[i];
    double *got = correct(l, grid[k][0], grid[k][1], total_rows, in_place);
    const double err = relative(got, want, l->rows * l->d);
    qep_free(stored), qep_free(want), qep_free(got);
    return err;
}

static void test_golden(void **state)
{
    (void)state;
    for (int c = 0; c < 4; c++) {
        layer l = {0};
        if (load_layer(names[c], &l)) {
            normalize(&l);
            double worst = 0.0;
            for (int k = 0; k < 6; k++) {
                worst = worse(worst, error_of(&l, k, l.d + 1, false)); /* M once */
                worst = worse(worst, error_of(&l, k, 1, true));        /* rows */
            }
            assert_le_f(worst, 1e-6);
        }
        free_layer(&l);
    }
}

/* J(W + G) - J(W) = -2 tr(W C G^T) + tr(G (H) G^T) with G = V - W. */
static double gain(const layer *l, const double *V)
{
    const int64_t d = l->d;
    double sum = 0.0, *g = qep_alloc("test", d, sizeof *g);
    for (int64_t r = 0; r < l->rows; r++) {
        for (int64_t i = 0; i < d; i++) g[i] = V[r * d + i] - (double)l->W[r * d + i];
        for (int64_t j = 0; j < d; j++) {
            double wc = 0.0, gh = 0.0;
            for (int64_t i = 0; i < d; i++) {
                wc += (double)l->W[r * d + i] * l->C[i * d + j];
                gh += g[i] * l->H[i * d + j];
            }
            sum += (gh - 2.0 * wc) * g[j];
        }
    }
    qep_free(g);
    return sum;
}

/* J(W*(alpha, lambda)) <= J(W) for alpha in [0, 2] and any lambda. */
static void test_objective(void **state)
{
    (void)state;
    for (int c = 0; c < 3; c++) { /* dup is singular without damping */
        layer l = {0};
        if (load_layer(names[c], &l)) {
            normalize(&l);
            static const double alpha[] = {0.25, 1.0, 1.9}, damping[] = {1e-4, 0.1, 10.0};
            for (int a = 0; a < 3; a++)
                for (int k = 0; k < 3; k++) {
                    double *V = correct(&l, alpha[a], damping[k], 1, false);
                    const double change = gain(&l, V);
                    qep_free(V);
                    if (!(change < 0.0)) fail_msg("%s alpha %g damping %g: J grows by %g", names[c], alpha[a], damping[k], change);
                }
        }
        free_layer(&l);
    }
}

static double small(int64_t n, int64_t i, int64_t j)
{
    return 0.1 * unsymmetric(n, i, j);
}

/* One run over two strips per rank of a synthetic group; NaN in the rows of a strip that is left alone. */
static void run_mixed(int64_t d, int64_t total_rows, bool in_place, float *out)
{
    qep_dmat *L = make(d, 16, qep_size(world), definite), *C = make(d, 16, qep_size(world), small);
    qep_window *w = qep_window_create_all(world, "test.window", qep_stream_bytes(d));
    const int64_t n = 2 * STRIP * d;
    const double alpha[2] = {0.0, 0.5};
    float *rows = qep_alloc("test", n, sizeof *rows);
    int64_t minor = 0;
    for (int64_t i = 0; i < n; i++) rows[i] = i == 3 ? NAN : (float)noise(i, qep_rank(world));
    qep_dmat_cholesky_all(L, w, &minor);
    qep_correct_rows_all(C, L, total_rows, 2, alpha, rows, NULL, 0.0, in_place ? rows : out, NULL, w);
    if (in_place) memcpy(out, rows, (size_t)n * sizeof *out);
    qep_free(rows);
    qep_window_destroy_all(&w);
    qep_dmat_destroy_all(&C), qep_dmat_destroy_all(&L);
}

static void test_corners(void **state)
{
    (void)state;
    static const int64_t sizes[] = {5, 130};
    for (int k = 0; k < 2; k++) {
        const int64_t d = sizes[k], half = STRIP * d;
        float *a = qep_alloc("test", 2 * half, sizeof *a), *b = qep_alloc("test", 2 * half, sizeof *b);
        run_mixed(d, 1, false, a);
        run_mixed(d, 1, true, b);
        assert_all(world, memcmp(a, b, (size_t)(2 * half) * sizeof *a) == 0);
        int64_t bad = 0, moved = 0;
        for (int64_t i = 0; i < half; i++) bad += i == 3 ? !isnan(a[i]) : !(a[i] == (float)noise(i, qep_rank(world)));
        for (int64_t i = half; i < 2 * half; i++) moved += a[i] != (float)noise(i, qep_rank(world));
        assert_all(world, bad == 0 && moved > half / 2);
        run_mixed(d, d + 1, false, b); /* the other way gives the same up to rounding */
        for (int64_t i = half; i < 2 * half; i++) bad += !(fabsf(a[i] - b[i]) <= 1e-6F);
        qep_free(a), qep_free(b);
        assert_all(world, bad == 0);
    }
}

/* The two terms together are the sum of the two alone, and the residual term alone solves Gamma = G (H + lambda I); W C is left whatever the terms. */
static void check_residual(int64_t d)
{
    qep_dmat *H = make(d, 16, qep_size(world), definite), *C = make(d, 16, qep_size(world), small), *L = NULL;
    qep_window *w = qep_window_create_all(world, "test.window", qep_stream_bytes(d));
    const int64_t n = STRIP * d;
    qep_ladder ladder = {.damping = 0.01};
    assert_ok(qep_factor_all(H, &ladder, w, &L));
    float *rows = qep_alloc("test", n, sizeof *rows), *out = qep_alloc("test", 3 * n, sizeof *out), *wc = qep_alloc("test", 3 * n, sizeof *wc);
    double *gamma = qep_alloc("test", n, sizeof *gamma), *y = qep_alloc("test", n, sizeof *y), *back = qep_alloc("test", n, sizeof *back);
    for (int64_t i = 0; i < n; i++) rows[i] = (float)noise(i, qep_rank(world)), gamma[i] = noise(i, 99 + qep_rank(world));
    const double half = 0.5, none = 0.0;
    qep_correct_rows_all(C, L, 1, 1, &half, rows, gamma, 0.25, out, wc, w);
    qep_correct_rows_all(C, L, d + 1, 1, &none, rows, gamma, 0.25, out + n, wc + n, w);
    qep_correct_rows_all(C, L, 1, 1, &half, rows, NULL, 0.0, out + 2 * n, wc + 2 * n, w);
    assert_all(world, memcmp(wc, wc + n, (size_t)n * sizeof *wc) == 0 && memcmp(wc, wc + 2 * n, (size_t)n * sizeof *wc) == 0);
    qep_correction_sides_all(C, 1, rows, gamma, 0.5, y, w);
    qep_rows_solve_all(L, 1, y, w);
    double worst = 0.0, scale = 0.0;
    for (int64_t i = 0; i < n; i++) {
        const double both = (double)out[i] - (double)rows[i], a = (double)out[n + i] - (double)rows[i];
        worst = worse(worst, fabs(both - a - ((double)out[2 * n + i] - (double)rows[i])));
        worst = worse(worst, fabs(both - 0.5 * y[i]));
        scale = fmax(scale, fabs(both));
        out[i] = (float)(a / 0.25); /* G */
    }
    qep_rows_times_f64_all(H, 1, out, back, w);
    double *diag = qep_alloc("test", d, sizeof *diag), mean = 0.0, off = 0.0;
    qep_dmat_diag_all(H, diag);
    for (int64_t i = 0; i < d; i++) mean += diag[i] / (double)d;
    for (int64_t i = 0; i < n; i++) off = worse(off, fabs(back[i] + 0.01 * mean * (double)out[i] - gamma[i]));
    memset(back, 0, (size_t)n * sizeof *back);
    qep_rows_times_f64_all(C, 1, rows, back, w);
    for (int64_t i = 0; i < n; i++) off = worse(off, (float)back[i] == wc[i] ? 0.0 : 1.0);
    qep_free(diag), qep_free(rows), qep_free(gamma), qep_free(out), qep_free(wc), qep_free(y), qep_free(back);
    qep_window_destroy_all(&w);
    qep_dmat_destroy_all(&H), qep_dmat_destroy_all(&C), qep_dmat_destroy_all(&L);
    assert_all(world, worst <= 1e-5 * fmax(1.0, scale));
    assert_all(world, off <= 1e-4);
}

static void test_residual(void **state)
{
    (void)state;
    check_residual(5);
    check_residual(130);
}

static int group(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden), cmocka_unit_test(test_objective),
                                       cmocka_unit_test(test_corners), cmocka_unit_test(test_residual)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return run_solve_tests(argc, argv, group);
}
