/* Statistics against direct f64 sums; the same bits for every split of the sequences, panel, spread and number of
 * threads. SPDX-License-Identifier: Apache-2.0 */
#include "solve_cases.h"

enum { N_SEQ = 7 };
static const int64_t lengths[N_SEQ] = {5, 1, 17, 24, 3, 20, 11};

/* The calibration set of a test and the part of it that is mine. */
typedef struct samples {
    int64_t d, n_mine, mine[N_SEQ];
    double spread;       /* channel c is about 2^(spread * sin) large */
    int64_t bad_seq;     /* this sequence has a bad value in delta; -1: none */
    float bad;           /* which; 0: NaN */
    int64_t bad_rho;     /* this one an infinity in the residual streams */
    int64_t every;       /* only each so-many-th sequence has tokens; 0: all */
} samples;

/* A window that others have used. */
static qep_window *used_window(int64_t bytes)
{
    qep_window *w = qep_window_create_all(world, "test.room", bytes);
    if (qep_node_rank(world) == 0) memset(qep_window_data(w), 0xa5, (size_t)bytes);
    return w;
}

static qep_status stats_all(const qep_stats_plan *p, const qep_tap_source *src, qep_stats *out)
{
    qep_window *w = used_window(qep_stats_window_bytes(p));
    const qep_status st = qep_stats_all(world, p, src, w, out);
    qep_window_destroy_all(&w);
    return st;
}

static qep_status stats_many_all(const qep_stats_part *parts, int64_t n, int64_t room)
{
    const int64_t most = n > 0 ? qep_min_i64(n, qep_stats_many_at_once(&parts->plan, room)) : 0;
    qep_window *w = used_window(most > 0 ? qep_stats_many_bytes(&parts->plan, most) : 1);
    const qep_status st = qep_stats_many_all(world, parts, n, room, w);
    qep_window_destroy_all(&w);
    return st;
}

static double channel_size(const samples *s, int64_t c)
{
    if (s->d > 2 && c == s->d / 2) return 0.0; /* dead */
    return exp2(s->spread * sin((double)c));
}

static float value_xq(const samples *s, int64_t g, int64_t t, int64_t c)
{
    return (float)(channel_size(s, c) * noise(g * 4096 + t, c));
}

static float value_delta(const samples *s, int64_t g, int64_t t, int64_t c)
{
    if (g == s->bad_seq && t == 0 && c == s->d - 1) return s->bad != 0.0F ? s->bad : NAN;
    return (float)(0.01 * channel_size(s, c) * (noise(g * 4096 + t, c + 7777) + 0.3 * noise(g * 4096 + t, c)));
}

static int64_t tap_tokens(void *ctx, int64_t i)
{
    const samples *s = ctx;
    return s->every > 0 && s->mine[i] % s->every != 0 ? 0 : lengths[s->mine[i]];
}

static void tap_get(void *ctx, int64_t i, float *xq, float *delta)
{
    const samples *s = ctx;
    const int64_t g = s->mine[i];
    for (int64_t t = 0; t < lengths[g]; t++)
        for (int64_t c = 0; c < s->d; c++) {
            xq[t * s->d + c] = value_xq(s, g, t, c);
            if (delta != NULL) delta[t * s->d + c] = value_delta(s, g, t, c);
        }
}

/* Difference of the residual streams: rows of their own, more than the group has channels. */
static int64_t rows_of(int64_t d)
{
    return d + 70;
}

static float value_rho(const samples *s, int64_t g, int64_t t, int64_t row)
{
    if (g == s->bad_rho && t == 0 && row == 3) return INFINITY;
    return (float)(0.02 * exp2(s->spread * cos((double)row)) * noise(g * 4096 + t, row + 31337));
}

static void tap_residual(void *ctx, int64_t i, float *rho)
{
    const samples *s = ctx;
    const int64_t g = s->mine[i], rows = rows_of(s->d);
    for (int64_t t = 0; t < lengths[g]; t++)
        for (int64_t k = 0; k < rows; k++) rho[t * rows + k] = value_rho(s, g, t, k);
}

/* Gamma, whole on every rank. qep_free. */
static double *gathered_gamma(const qep_stats_plan *p, const double *mine)
{
    double *sum = qep_alloc("test", p->gamma_rows * p->d, sizeof *sum);
    int64_t first, count;
    qep_partition(qep_ceil_div(p->gamma_rows, QEP_SOLVE_STRIP), qep_size(world), qep_rank(world), &first, &count);
    for (int64_t k = 0; k < count * QEP_SOLVE_STRIP * p->d; k++) {
        const int64_t at = first * QEP_SOLVE_STRIP * p->d + k;
        if (at < p->gamma_rows * p->d) sum[at] = mine[k];
        else if (mine[k] != 0.0) sum[0] = NAN; /* padding must be 0 */
    }
    qep_sum_f64_all(world, sum, p->gamma_rows * p->d);
    return sum;
}

/* kind 0: all on rank 0; 1: all on the last rank, backwards; 2: dealt in turn; 3: contiguous slices */
static void split(samples *s, int kind)
{
    const int64_t rank = qep_rank(world), size = qep_size(world);
    s->n_mine = 0;
    for (int64_t k = 0; k < N_SEQ; k++) {
        const int64_t g = kind == 1 ? N_SEQ - 1 - k : k;
        int64_t begin = 0, count = 0;
        qep_partition(N_SEQ, size, rank, &begin, &count);
        const bool mine[4] = {rank == 0, rank == size - 1, g % size == rank, g >= begin && g < begin + count};
        if (mine[kind]) s->mine[s->n_mine++] = g;
    }
}

static qep_stats_plan plan_of(int64_t d, qep_compute compute, bool want_c)
{
    qep_stats_plan p = {.d = d, .compute = compute, .want_c = want_c, .panel = 512, .block = 64, .n_owners = 1};
    for (int g = 0; g < N_SEQ; g++) p.total_tokens += lengths[g];
    p.n_owners = qep_dmat_owners_rule(d, p.block, qep_size(world), 0);
    return p;
}

static qep_tap_source source_of(samples *s)
{
    return (qep_tap_source){.ctx = s, .n_seq = s->n_mine, .max_tokens = 24, .tokens = tap_tokens, .get = tap_get, .residual = tap_residual};
}

/* Direct sums per token: H, C and the diagonal of delta delta^T (for the scale of C's errors). */
static void direct(const samples *s, double *H, double *C, double *D)
{
    const int64_t d = s->d;
    double *x = qep_alloc("test", 2 * d, sizeof *x), *e = x + d, total = 0.0;
    for (int64_t g = 0; g < N_SEQ; g++)
        for (int64_t t = 0; t < lengths[g]; t++, total += 1.0) {
            for (int64_t c = 0; c < d; c++) x[c] = value_xq(s, g, t, c), e[c] = value_delta(s, g, t, c);
            for (int64_t i = 0; i < d; i++) {
                D[i] += e[i] * e[i];
                for (int64_t j = 0; j < d; j++) H[i * d + j] += x[i] * x[j], C[i * d + j] += e[i] * x[j];
            }
        }
    for (int64_t i = 0; i < d * d; i++) H[i] /= total, C[i] /= total;
    for (int64_t i = 0; i < d; i++) D[i] /= total;
    qep_free(x);
}

/* Entries whose error is above tol times the sizes of their two channels, and dead ones that are not exactly 0. */
static int64_t count_bad(const double *a, const double *want, const double *row, int64_t row_step, const double *H,
                         int64_t d, double tol)
{
    int64_t bad = 0;
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j < d; j++)
            bad += !(fabs(a[i * d + j] - want[i * d + j]) <= tol * sqrt(row[i * row_step]) * sqrt(H[j * d + j]));
    return bad;
}

/* Entries of Gamma whose error is above tol times the sizes of their row and channel. */
static int64_t check_gamma(const samples *s, const double *gamma, const double *H, double tol)
{
    const int64_t d = s->d, rows = rows_of(d);
    int64_t bad = 0;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < d; j++) {
            double sum = 0.0, square = 0.0, total = 0.0;
            for (int64_t g = 0; g < N_SEQ; g++)
                for (int64_t t = 0; t < lengths[g]; t++, total += 1.0) {
                    const double rho = value_rho(s, g, t, i);
                    sum += rho * value_xq(s, g, t, j);
                    square += rho * rho;
                }
            bad += !(fabs(gamma[i * d + j] - sum / total) <= tol * sqrt(square / total) * sqrt(H[j * d + j]));
        }
    return bad;
}

static void check_accuracy(int64_t d, double spread, qep_compute compute, double tol)
{
    samples s = {.d = d, .spread = spread, .bad_seq = -1, .bad_rho = -1};
    split(&s, 2);
    qep_stats_plan p = plan_of(d, compute, true);
    qep_tap_source src = source_of(&s);
    p.gamma_rows = rows_of(d);
    qep_stats out;
    assert_ok(stats_all(&p, &src, &out));
    double *want_H = qep_alloc("test", d * d, sizeof *want_H), *want_C = qep_alloc("test", d * d, sizeof *want_C);
    double *want_D = qep_alloc("test", d, sizeof *want_D), *h = gathered(out.H), *c = gathered(out.C);
    double *gamma = gathered_gamma(&p, out.gamma);
    direct(&s, want_H, want_C, want_D);
    const int64_t bad_h = count_bad(h, want_H, want_H, d + 1, want_H, d, tol);
    const int64_t bad_c = count_bad(c, want_C, want_D, 1, want_H, d, tol);
    const int64_t bad_gamma = check_gamma(&s, gamma, want_H, tol);
    int64_t skew = 0;
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j < d; j++) skew += !(h[i * d + j] == h[j * d + i]);
    qep_free(want_H), qep_free(want_C), qep_free(want_D), qep_free(h), qep_free(c), qep_free(gamma);
    qep_stats_free_all(&out);
    assert_all(world, bad_gamma == 0);
    assert_all(world, bad_h == 0);
    assert_all(world, bad_c == 0);
    assert_all(world, skew == 0);
}

static void test_accuracy(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 2, 17, 64, 100, 512, 513};
    for (int k = 0; k < 7; k++) check_accuracy(sizes[k], 3.0, QEP_COMPUTE_F32, 1e-6);
    check_accuracy(64, 3.0, QEP_COMPUTE_BF16, 0x1p-7);
    check_accuracy(100, 100.0, QEP_COMPUTE_F32, 1e-6); /* squares beyond f32 in both directions */
    check_accuracy(100, 100.0, QEP_COMPUTE_BF16, 0x1p-7);
}

static void get_integers(void *ctx, int64_t i, float *xq, float *delta)
{
    const samples *s = ctx;
    for (int64_t k = 0; k < lengths[s->mine[i]] * s->d; k++) {
        xq[k] = (float)(k % 11 - 5) * (k % s->d == 1 ? 4096.0F : 1.0F);
        delta[k] = (float)(k % 5 - 2);
    }
}

/* Products of small whole numbers: every step is exact but the last division. */
static void test_exact(void **state)
{
    (void)state;
    enum { D = 37 };
    samples s = {.d = D, .bad_seq = -1, .bad_rho = -1};
    split(&s, 3);
    qep_stats_plan p = plan_of(D, QEP_COMPUTE_F32, true);
    qep_tap_source src = source_of(&s);
    src.get = get_integers;
    qep_stats out;
    assert_ok(stats_all(&p, &src, &out));
    assert_null(out.gamma);
    double *want = qep_alloc("test", 2 * D * D, sizeof *want), *h = gathered(out.H), *c = gathered(out.C);
    float x[24 * D], e[24 * D];
    int64_t bad = 0;
    s.n_mine = 1;
    for (s.mine[0] = 0; s.mine[0] < N_SEQ; s.mine[0]++) {
        get_integers(&s, 0, x, e);
        for (int64_t t = 0; t < lengths[s.mine[0]]; t++)
            for (int64_t i = 0; i < D * D; i++) {
                want[i] += (double)x[t * D + i / D] * (double)x[t * D + i % D];
                want[D * D + i] += (double)e[t * D + i / D] * (double)x[t * D + i % D];
            }
    }
    const double total = (double)p.total_tokens;
    for (int64_t i = 0; i < D * D; i++) bad += !(h[i] == want[i] / total) + !(c[i] == want[D * D + i] / total);
    qep_free(want), qep_free(h), qep_free(c);
    qep_stats_free_all(&out);
    assert_all(world, bad == 0);
}

static void get_moved(void *ctx, int64_t i, float *xq, float *delta)
{
    const samples *s = ctx;
    tap_get(ctx, i, xq, delta);
    for (int64_t k = 1; k < lengths[s->mine[i]] * s->d; k += s->d) xq[k] = ldexpf(xq[k], 60);
}

/* A channel times a power of two, which is so scaled before the products and not behind them: its row and column of H times as much, bit for bit. */
static void check_moved(qep_compute compute)
{
    enum { D = 37 };
    samples s = {.d = D, .spread = 1.0, .bad_seq = -1, .bad_rho = -1};
    split(&s, 3);
    const qep_stats_plan p = plan_of(D, compute, true);
    qep_tap_source src = source_of(&s);
    qep_stats plain, moved;
    assert_ok(stats_all(&p, &src, &plain));
    src.get = get_moved;
    assert_ok(stats_all(&p, &src, &moved));
    double *h = gathered(plain.H), *c = gathered(plain.C), *h60 = gathered(moved.H), *c60 = gathered(moved.C);
    int64_t bad = 0;
    for (int i = 0; i < D; i++)
        for (int j = 0; j < D; j++) {
            bad += h60[i * D + j] != ldexp(h[i * D + j], 60 * ((i == 1) + (j == 1)));
            bad += c60[i * D + j] != ldexp(c[i * D + j], j == 1 ? 60 : 0);
        }
    qep_free(h), qep_free(c), qep_free(h60), qep_free(c60);
    qep_stats_free_all(&plain);
    qep_stats_free_all(&moved);
    assert_all(world, bad == 0);
}

static void test_moved(void **state)
{
    (void)state;
    check_moved(QEP_COMPUTE_F32);
    check_moved(QEP_COMPUTE_BF16);
}

static void digests(samples *s, const qep_stats_plan *p, uint64_t got[3])
{
    qep_tap_source src = source_of(s);
    qep_stats out;
    assert_ok(stats_all(p, &src, &out));
    got[0] = digest(out.H);
    got[1] = p->want_c ? digest(out.C) : 0;
    got[2] = 0;
    assert_true(p->want_c == (out.C != NULL));
    if (p->gamma_rows > 0) {
        double *gamma = gathered_gamma(p, out.gamma);
        got[2] = qep_hash64(gamma, (size_t)(p->gamma_rows * p->d) * sizeof *gamma, 0);
        qep_free(gamma);
    }
    qep_stats_free_all(&out);
}

static void check_same(samples *s, const qep_stats_plan *p, const uint64_t want[3])
{
    uint64_t got[3];
    digests(s, p, got);
    assert_all(world, got[0] == want[0]);
    assert_all(world, got[1] == (p->want_c ? want[1] : 0));
    assert_all(world, got[2] == (p->gamma_rows > 0 ? want[2] : 0));
}

/* All sequences on one rank, whose longest could be so long that it keeps none: each panel asks for them again. */
static void check_not_kept(samples *s, const qep_stats_plan *p, const uint64_t want[3])
{
    split(s, 0);
    qep_tap_source src = source_of(s);
    src.max_tokens = 1 << 17;
    assert_true(p->panel < p->d && (s->n_mine == 0 || qep_stats_sets(p, s->n_mine, src.max_tokens, 2) == 1));
    qep_stats out;
    assert_ok(stats_all(p, &src, &out));
    assert_all(world, digest(out.H) == want[0]);
    assert_all(world, digest(out.C) == want[1]);
    qep_stats_free_all(&out);
}

static void check_bits(int64_t d, double spread, qep_compute compute)
{
    samples s = {.d = d, .spread = spread, .bad_seq = -1, .bad_rho = -1};
    uint64_t want[3];
    split(&s, 0);
    qep_stats_plan p = plan_of(d, compute, true);
    p.gamma_rows = rows_of(d);
    digests(&s, &p, want);
    assert_true(want[0] != want[1]);
    for (int kind = 0; kind < 4; kind++)
        for (int threads = 1; threads <= 2; threads++) {
            split(&s, kind);
            qep_linalg_start(threads);
            check_same(&s, &p, want);
        }
    qep_linalg_start(1);
    qep_stats_plan other = p;
    other.gamma_rows = 0;
    if (d > p.panel) check_not_kept(&s, &other, want);
    other = p;
    other.panel = 1024;
    other.block = 32;
    other.n_owners = 1;
    check_same(&s, &other, want);
    other.want_c = false;
    check_same(&s, &other, want);
    other.gamma_rows = 0;
    check_same(&s, &other, want);
}

static void test_bits(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 17, 100, 640};
    for (int k = 0; k < 4; k++) check_bits(sizes[k], 3.0, QEP_COMPUTE_F32);
    check_bits(17, 3.0, QEP_COMPUTE_BF16);
    check_bits(513, 3.0, QEP_COMPUTE_BF16);
    check_bits(513, 60.0, QEP_COMPUTE_BF16);
    check_bits(100, 60.0, QEP_COMPUTE_F32); /* some channels are scaled before the products, some behind */
    check_bits(100, 60.0, QEP_COMPUTE_BF16);
}

static void expect_failure(samples *s, const qep_stats_plan *p, const char *text)
{
    qep_tap_source src = source_of(s);
    qep_stats out;
    assert_fails(stats_all(p, &src, &out), QEP_E_NUMERIC, text);
    assert_true(out.H == NULL && out.C == NULL && out.gamma == NULL);
    qep_error_clear();
}

static void test_not_finite(void **state)
{
    (void)state;
    samples s = {.d = 33, .spread = 1.0, .bad_rho = -1};
    split(&s, 2);
    qep_stats_plan p = plan_of(33, QEP_COMPUTE_F32, true);
    for (s.bad_seq = 0; s.bad_seq < N_SEQ; s.bad_seq++) expect_failure(&s, &p, "token 0, channel 32");
    p.compute = QEP_COMPUTE_BF16;
    s.bad_seq = 2;
    s.bad = 0x1.FFp127F; /* rounds to Inf */
    expect_failure(&s, &p, "token 0, channel 32");
    s.bad = 0x1.FEFFFEp127F; /* does not */
    const qep_tap_source src = source_of(&s);
    qep_stats out;
    assert_ok(stats_all(&p, &src, &out));
    qep_stats_free_all(&out);
    p.compute = QEP_COMPUTE_F32;
    s.bad_seq = -1;
    p.gamma_rows = rows_of(33);
    for (s.bad_rho = 0; s.bad_rho < N_SEQ; s.bad_rho++) expect_failure(&s, &p, "residual streams is not finite");
}

/* Group k of many: other inputs, and from the third on not of all sequences. */
static samples group_of_many(int64_t d, int k, int kind)
{
    samples s = {.d = d, .spread = 1.0 + 25.0 * k, .bad_seq = -1, .bad_rho = -1, .every = k < 2 ? 0 : k};
    split(&s, kind);
    return s;
}

static qep_stats_plan plan_of_many(int64_t d, qep_compute compute, bool want_c, int k)
{
    qep_stats_plan p = plan_of(d, compute, want_c);
    for (int g = 0; g < N_SEQ; g++)
        if (k >= 2 && g % k != 0) p.total_tokens -= lengths[g];
    return p;
}

/* Hash of a matrix that one rank has whole. */
static uint64_t digest_alone(qep_dmat *m)
{
    uint64_t sum = 0;
    for (int64_t i = 0; m && i < qep_dmat_n(m); i++) sum += qep_hash64(qep_dmat_row(m, i), (size_t)qep_dmat_n(m) * sizeof(double), (uint64_t)i);
    qep_sum_u64_all(world, &sum, 1);
    return sum;
}

enum { MANY = 4 };

/* Messages of this rank. */
static int64_t check_many(int64_t d, qep_compute compute, bool want_c, int64_t n, int64_t room)
{
    samples s[MANY];
    qep_stats_part parts[MANY];
    qep_stats out[MANY], want;
    int64_t bad = 0;
    for (int k = 0; k < n; k++) {
        s[k] = group_of_many(d, k, 3);
        parts[k] = (qep_stats_part){plan_of_many(d, compute, want_c, k), source_of(&s[k]), (k + 1) % qep_size(world), &out[k]};
    }
    const qep_meter before = qep_meter_now();
    assert_ok(stats_many_all(parts, n, room));
    const qep_meter after = qep_meter_now();
    for (int k = 0; k < n; k++) {
        samples other = group_of_many(d, k, 2);
        const qep_tap_source src = source_of(&other);
        const qep_stats_plan p = plan_of_many(d, compute, want_c, k);
        assert_ok(stats_all(&p, &src, &want));
        bad += (out[k].H != NULL) != (parts[k].owner == qep_rank(world));
        bad += digest_alone(out[k].H) != digest(want.H);
        if (want_c) bad += digest_alone(out[k].C) != digest(want.C);
        else bad += out[k].C != NULL;
        qep_stats_free_all(&want);
        qep_stats_free_all(&out[k]);
    }
    assert_all(world, bad == 0);
    return after.messages - before.messages;
}

static void test_many(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 33, 530};
    for (int k = 0; k < 3; k++) {
        check_many(sizes[k], QEP_COMPUTE_F32, k % 2 == 0, MANY, 1);       /* one by one */
        check_many(sizes[k], QEP_COMPUTE_BF16, k % 2 != 0, MANY, 1 << 24);
    }
    /* few bytes: as many messages for all as for one */
    const int64_t one = check_many(11, QEP_COMPUTE_F32, true, 1, 1 << 24), all = check_many(11, QEP_COMPUTE_F32, true, MANY, 1 << 24);
    assert_all(world, all <= one + 2 * qep_size(world)); /* one group's sums go to one rank, those of many to all */
    check_many(33, QEP_COMPUTE_F32, true, 0, 1 << 24);
}

static void test_many_not_finite(void **state)
{
    (void)state;
    samples s[3];
    qep_stats_part parts[3];
    qep_stats out[3];
    for (int k = 0; k < 3; k++) {
        s[k] = group_of_many(33, 0, 2);
        parts[k] = (qep_stats_part){plan_of(33, QEP_COMPUTE_F32, true), source_of(&s[k]), 0, &out[k]};
    }
    s[2].bad_seq = 4;
    assert_fails(stats_many_all(parts, 3, 1 << 24), QEP_E_NUMERIC, "token 0, channel 32");
    for (int k = 0; k < 3; k++) assert_true(out[k].H == NULL && out[k].C == NULL);
    qep_error_clear();
}

static void test_bytes(void **state)
{
    (void)state;
    qep_stats_plan p = {.d = 1000, .total_tokens = 1, .want_c = true, .panel = 512, .block = 64, .n_owners = 2};
    const int64_t locks = qep_stats_many_bytes(&p, 0);
    assert_int_equal(qep_stats_window_bytes(&p), locks + 2 * 8 * 512 * 2 * 1000); /* two panels at a time */
    p.panel = 1024;
    assert_int_equal(qep_stats_window_bytes(&p), locks + 8 * 1000 * 2 * 1000);
    p.panel = 512;
    assert_int_equal(qep_stats_tap_bytes(&p, 1, 10, 3), 10 * 1000 * 8 + 3 * 512 * 512 * 4);
    assert_int_equal(qep_stats_tap_bytes(&p, 4, 10, 3), 4 * 10 * 1000 * 8 + 3 * 512 * 512 * 4);
    assert_int_equal(qep_stats_tap_bytes(&p, 0, 10, 3), 3 * 512 * 512 * 4);
    assert_int_equal(qep_stats_sets(&p, 4, QEP_STATS_KEPT / 48000, 1), 4); /* 3 d channels, whatever is wanted */
    assert_int_equal(qep_stats_sets(&p, 4, QEP_STATS_KEPT / 48000 + 1, 1), 1);
    assert_int_equal(qep_stats_sets(&p, 4, QEP_STATS_KEPT / 48000 + 1, 2), 4);
    assert_int_equal(qep_stats_sets(&p, 4, QEP_STATS_KEPT / 12000, QEP_STATS_KEEPERS), 4);
    assert_int_equal(qep_stats_sets(&p, 4, QEP_STATS_KEPT / 12000 + 1, 64), 1);
    assert_int_equal(qep_stats_sets(&p, 1, QEP_STATS_KEPT, 1), 1);
    assert_int_equal(qep_stats_sets(&p, 0, 10, 1), 0);
    p.compute = QEP_COMPUTE_BF16; /* kept in two bytes, beside one sequence in four */
    assert_int_equal(qep_stats_tap_bytes(&p, 4, 10, 3), 10 * 2000 * (4 * 2 + 4) + 3 * 512 * 512 * 4);
    p.compute = QEP_COMPUTE_F32;
    /* tiles of columns: of H from the diagonal on, 512 x 1000 + 488 x 488, and all of C */
    const int64_t sums = 512 * 1000 + 488 * 488 + 1000 * 1000;
    assert_int_equal(qep_stats_many_sums(&p), sums);
    assert_int_equal(qep_stats_many_bytes(&p, 3), locks + 8 * 3 * sums);
    assert_int_equal(qep_stats_many_at_once(&p, 3 * 8 * sums + 1), 3);
    assert_int_equal(qep_stats_many_at_once(&p, 1), 1);
    p.gamma_rows = 1300; /* 21 strips: 11 and 10 */
    assert_int_equal(qep_stats_window_bytes(&p), locks + 2 * 8 * 512 * (2 * 1000 + 1300));
    assert_int_equal(qep_stats_tap_bytes(&p, 1, 10, 3), 10 * (2000 + 1300) * 4 + 3 * 512 * 512 * 4);
    assert_int_equal(qep_stats_gamma_bytes(&p, 2, 1), 640 * 1000 * 8);
}

static int group(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_accuracy), cmocka_unit_test(test_exact), cmocka_unit_test(test_moved),
                                       cmocka_unit_test(test_bits), cmocka_unit_test(test_many), cmocka_unit_test(test_many_not_finite),
                                       cmocka_unit_test(test_not_finite), cmocka_unit_test(test_bytes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return run_solve_tests(argc, argv, group);
}
