/* nn: each kernel against its plain twin or the formula in doubles, and equal bits for any number of threads.
 * SPDX-License-Identifier: Apache-2.0 */
#include "qep/nn.h"
#include "qep_test.h"

static float *random_f32(uint64_t seed, int64_t n, double size)
{
    qep_rng r;
    qep_rng_seed(&r, seed);
    float *x = qep_alloc("test", n, sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(size * qep_rng_normal(&r));
    return x;
}

static float *copy_of(const float *x, int64_t n)
{
    float *y = qep_alloc("test", n, sizeof *y);
    if (n > 0) memcpy(y, x, (size_t)n * sizeof *x);
    return y;
}

static double worst_difference(const float *a, const float *b, int64_t n)
{
    double worst = 0;
    for (int64_t i = 0; i < n; i++) {
        double e = fabs((double)a[i] - (double)b[i]);
        if (!(e <= worst)) worst = e;
    }
    return worst;
}

static void rmsnorm_matches(void **state)
{
    (void)state;
    static const int64_t sizes[][2] = {{0, 8}, {1, 1}, {3, 15}, {5, 16}, {7, 17}, {2, 288}, {3, 4099}};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        int64_t T = sizes[s][0], C = sizes[s][1];
        float *x = random_f32(1, T * C, 3), *w = random_f32(2, C, 1), *want = copy_of(x, T * C);
        qep_rmsnorm_ref(want, x, w, T, C, 1e-5);
        qep_rmsnorm(x, x, w, T, C, 1e-5); /* in place */
        for (int64_t i = 0; i < T * C; i++)
            assert_le_f(fabs(x[i] - want[i]), 3e-7 * fabs(want[i]));
        qep_free(x), qep_free(w), qep_free(want);
    }
    float x[] = {3, 4}, w[] = {1, 2}, out[2];
    qep_rmsnorm(out, x, w, 1, 2, 0); /* mean of squares 12.5 */
    assert_le_f(fabs(out[0] - 3 / sqrt(12.5)), 1e-7);
    assert_le_f(fabs(out[1] - 8 / sqrt(12.5)), 2e-7);
}

static double llama3_inverse(const qep_rope *r, int64_t i)
{
    double inv = pow(r->theta, -2.0 * (double)i / (double)r->dim), wave = 2 * acos(-1.0) / inv;
    double L = (double)r->original_max_position;
    if (wave < L / r->high_freq_factor) return inv;
    if (wave > L / r->low_freq_factor) return inv / r->factor;
    double s = (L / wave - r->low_freq_factor) / (r->high_freq_factor - r->low_freq_factor);
    return (1 - s) * inv / r->factor + s * inv;
}

static void rope_tables(void **state)
{
    (void)state;
    enum { T = 9, HALF = 32, POS0 = 100 };
    qep_rope r = {.type = QEP_ROPE_DEFAULT, .theta = 5e5, .dim = 2 * HALF, .factor = 8, .low_freq_factor = 1,
                  .high_freq_factor = 4, .original_max_position = 8192};
    float c[T * HALF], s[T * HALF];
    int changed = 0, blended = 0;
    for (int type = QEP_ROPE_DEFAULT; type <= QEP_ROPE_LLAMA3; type++) {
        r.type = (qep_rope_type)type;
        qep_rope_table(&r, POS0, T, POS0 + T, c, s);
        for (int t = 0; t < T; t++) {
            for (int i = 0; i < HALF; i++) {
                double base = pow(5e5, -2.0 * i / (2 * HALF));
                double inv = type == QEP_ROPE_DEFAULT ? base : type == QEP_ROPE_LINEAR ? base / 8 : llama3_inverse(&r, i);
                if (type == QEP_ROPE_LLAMA3) changed += inv != base, blended += inv != base && inv > base / 7.9;
                assert_le_f(fabs(c[t * HALF + i] - cos((POS0 + t) * inv)), 1e-7);
                assert_le_f(fabs(s[t * HALF + i] - sin((POS0 + t) * inv)), 1e-7);
            }
        }
    }
    assert_true(changed > 0 && blended > 0 && changed < T * HALF && blended < changed); /* all three ranges of llama3 */
}

/* Frequencies that transformers 5.23's ROPE_INIT_FUNCTIONS give for a head of 16 and theta 1e4 (LlamaConfig with these rope_parameters). */
static void rope_scalings(void **state)
{
    (void)state;
    enum { HALF = 8 };
    const qep_rope dynamic = {.type = QEP_ROPE_DYNAMIC, .theta = 1e4, .dim = 16, .factor = 2, .original_max_position = 128};
    const qep_rope yarn = {.type = QEP_ROPE_YARN, .theta = 1e4, .dim = 16, .factor = 4, .beta_fast = 32, .beta_slow = 1, .truncate = true,
                           .attention_factor = 1.138629436111989, .original_max_position = 32};
    const qep_rope fine = {.type = QEP_ROPE_YARN, .theta = 1e4, .dim = 16, .factor = 4, .beta_fast = 16, .beta_slow = 2,
                           .attention_factor = 1.138629436111989, .original_max_position = 512};
    const qep_rope longer = {.type = QEP_ROPE_LONGROPE, .theta = 1e4, .dim = 16, .attention_factor = 1.1832159566199232,
                             .original_max_position = 32, .divisor = {{1.0F, 1.1F, 1.2F, 1.3F, 1.4F, 1.5F, 1.6F, 1.7F},
                                                                      {2.0F, 2.5F, 3.0F, 3.5F, 4.0F, 4.5F, 5.0F, 5.5F}}};
    const struct {
        const qep_rope *rope;
        int64_t length, class;
        double size, inverse[HALF];
    } rows[] = {
        {&dynamic, 100, 0, 1, {1.0, 0.3162278, 0.1, 0.03162278, 0.01, 0.003162278, 0.001, 0.0003162278}},
        {&dynamic, 300, 300, 1, {1.0, 0.262445, 0.06887737, 0.01807652, 0.004744092, 0.001245063, 0.0003267606, 8.575668e-05}},
        {&yarn, 100, 0, 1.138629436, {1.0, 0.1976424, 0.025, 0.007905695, 0.0025, 0.0007905695, 0.00025, 7.905695e-05}},
        {&fine, 100, 0, 1.138629436, {1.0, 0.3162278, 0.0756644, 0.01079611, 0.0025, 0.0007905695, 0.00025, 7.905695e-05}},
        {&longer, 32, 0, 1.183215957, {1.0, 0.2874798, 0.08333334, 0.02432521, 0.007142857, 0.002108185, 0.000625, 0.0001860163}},
        {&longer, 33, 1, 1.183215957, {0.5, 0.1264911, 0.03333334, 0.009035079, 0.0025, 0.0007027284, 0.0002, 5.749596e-05}},
    };
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        float c[2 * HALF], s[2 * HALF]; /* positions 0 and 1: the second holds the frequencies themselves */
        qep_rope_table(rows[k].rope, 0, 2, rows[k].length, c, s);
        assert_int_equal(qep_rope_length_class(rows[k].rope, rows[k].length), rows[k].class);
        for (int i = 0; i < HALF; i++) {
            assert_le_f(fabs(atan2((double)s[HALF + i], (double)c[HALF + i]) / rows[k].inverse[i] - 1), 3e-6);
            assert_le_f(fabs(hypot((double)s[HALF + i], (double)c[HALF + i]) - rows[k].size), 1e-6);
            assert_le_f(fabs((double)c[i] - rows[k].size), 1e-6);
        }
    }
}

static void rope_rotates(void **state)
{
    (void)state;
    /* D > dim: the rest of a head is untouched */
    static const int64_t sizes[][4] = {{0, 2, 8, 8}, {1, 1, 2, 2}, {5, 3, 48, 48}, {7, 2, 96, 24}};
    for (size_t q = 0; q < sizeof sizes / sizeof sizes[0]; q++) {
        int64_t T = sizes[q][0], H = sizes[q][1], D = sizes[q][2], dim = sizes[q][3], n = T * H * D;
        qep_rope r = {.type = QEP_ROPE_DEFAULT, .theta = 1e4, .dim = dim};
        float *x = random_f32(3, n, 1), *want = copy_of(x, n), *old = copy_of(x, n);
        float *c = qep_alloc("test", T * dim / 2, sizeof *c), *s = qep_alloc("test", T * dim / 2, sizeof *s);
        qep_rope_table(&r, 0, T, T, c, s);
        qep_rope_apply(x, c, s, T, H, D, dim);
        qep_rope_apply_ref(want, c, s, T, H, D, dim);
        assert_le_f(worst_difference(x, want, n), 5e-7);
        for (int64_t i = 0; i < n; i++)
            if (i % D >= dim || i < H * D) assert_true(x[i] == old[i]); /* position 0 is no rotation */
        qep_free(x), qep_free(want), qep_free(old), qep_free(c), qep_free(s);
    }
    /* by hand: a quarter turn of the pair (1, 2) */
    float x[] = {1, 2}, c[] = {0}, s[] = {1};
    qep_rope_apply(x, c, s, 1, 1, 2, 2);
    assert_true(x[0] == -2.0F && x[1] == 1.0F);
}

/* T, H, KV, D: a strip is 64 queries */
static const int64_t attention_sizes[][4] = {{0, 2, 1, 8},    {1, 1, 1, 1},    {2, 4, 2, 3},    {17, 6, 6, 48}, {63, 2, 1, 16}, {64, 9, 9, 7},
                                             {65, 4, 4, 6},   {127, 2, 1, 16}, {128, 2, 2, 16}, {129, 4, 1, 64}, {257, 3, 1, 32}, {331, 8, 2, 16}};
#define N_ATTENTION ((int)(sizeof attention_sizes / sizeof attention_sizes[0]))

static void check_attention(int64_t T, int64_t H, int64_t KV, int64_t D, qep_attention_form form, double size, double tolerance)
{
    float *q = random_f32(4, T * H * D, size), *k = random_f32(5, T * KV * D, size), *v = random_f32(6, T * KV * D, 1);
    float *out = qep_alloc("test", T * H * D, sizeof *out), *want = qep_alloc("test", T * H * D, sizeof *want);
    int64_t room = qep_attention_scratch(T, H, KV, D);
    float *scratch = qep_alloc("test", room + 1, sizeof *scratch);
    scratch[room] = 42.0F;
    for (int64_t i = 0; i < room; i++)
        scratch[i] = NAN;
    form.scale = (float)(1 / sqrt((double)D));
    qep_attention(out, q, k, v, T, H, KV, D, form, scratch);
    qep_attention_ref(want, q, k, v, T, H, KV, D, form);
    assert_le_f(worst_difference(out, want, T * H * D), tolerance);
    assert_true(scratch[room] == 42.0F);
    for (int64_t i = 0; i < qep_min_i64(T, 1) * H * D; i++) /* the first token sees itself only */
        assert_le_f(fabs(out[i] - v[i / D / (H / KV) * D + i % D]), 1e-6);
    qep_free(q), qep_free(k), qep_free(v), qep_free(out), qep_free(want), qep_free(scratch);
}

static void attention_matches(void **state)
{
    (void)state;
    for (int i = 0; i < N_ATTENTION; i++) {
        const int64_t *s = attention_sizes[i];
        check_attention(s[0], s[1], s[2], s[3], (qep_attention_form){0}, 1, 2e-6);
        /* windows of one key, within a block, across blocks, longer than any sequence; capped scores */
        static const int64_t windows[] = {1, 3, 130, 1000};
        for (size_t w = 0; w < sizeof windows / sizeof windows[0]; w++)
            check_attention(s[0], s[1], s[2], s[3], (qep_attention_form){.window = windows[w]}, 1, 2e-6);
        check_attention(s[0], s[1], s[2], s[3], (qep_attention_form){.cap = 1.5F, .window = 20}, 2, 4e-6);
        /* scores of some hundreds: only differences from the largest are representable */
        check_attention(s[0], s[1], s[2], s[3], (qep_attention_form){0}, 10, 2e-4);
    }
}

/* Scratch of the longest sequence serves all shorter ones. */
static void attention_of_shorter_sequences(void **state)
{
    (void)state;
    enum { T = 1024, H = 4, KV = 4, D = 16 };
    const int64_t room = qep_attention_scratch(T, H, KV, D);
    float *x = random_f32(10, T * H * D, 1), *out = qep_alloc("test", T * H * D, sizeof *out);
    float *scratch = qep_alloc("test", room + 64, sizeof *scratch);
    for (int64_t t = 1; t <= T; t += t < 64 ? 21 : 64) {
        for (int64_t i = 0; i < 64; i++) scratch[room + i] = 42.0F;
        qep_attention(out, x, x, x, t, H, KV, D, (qep_attention_form){.scale = 0.25F}, scratch);
        for (int64_t i = 0; i < 64; i++) assert_true(scratch[room + i] == 42.0F);
        assert_true(room >= qep_attention_scratch(t, H, KV, D));
    }
    qep_free(x), qep_free(out), qep_free(scratch);
}

static void attention_is_causal(void **state)
{
    (void)state;
    enum { T = 200, D = 16, CUT = 131 };
    float *q = random_f32(7, T * D, 1), *k = random_f32(8, T * D, 1), *v = random_f32(9, T * D, 1);
    float *a = qep_alloc("test", T * D, sizeof *a), *b = qep_alloc("test", T * D, sizeof *b);
    float *scratch = qep_alloc("test", qep_attention_scratch(T, 1, 1, D), sizeof *scratch);
    qep_attention(a, q, k, v, T, 1, 1, D, (qep_attention_form){.scale = 0.25F}, scratch);
    for (int i = CUT * D; i < T * D; i++)
        k[i] = 100, v[i] = 1e6F;
    qep_attention(b, q, k, v, T, 1, 1, D, (qep_attention_form){.scale = 0.25F}, scratch);
    assert_memory_equal(a, b, (size_t)CUT * D * sizeof *a);
    assert_true(memcmp(a + CUT * D, b + CUT * D, D * sizeof *a) != 0);
    k[5 * D] = NAN; /* a broken key must show in every later query */
    qep_attention(b, q, k, v, T, 1, 1, D, (qep_attention_form){.scale = 0.25F}, scratch);
    for (int t = 5; t < T; t++)
        assert_true(isnan(b[t * D]));
    assert_false(isnan(b[4 * D]));
    qep_free(q), qep_free(k), qep_free(v), qep_free(a), qep_free(b), qep_free(scratch);
}

static void swiglu_is_exact_enough(void **state)
{
    (void)state;
    enum { N = 349001 };
    float *g = qep_alloc("test", N, sizeof *g), *u = random_f32(10, N, 1), *out = qep_alloc("test", N, sizeof *out);
    for (int i = 0; i < N; i++)
        g[i] = -87.0F + (float)i * 5e-4F;
    qep_glu(QEP_ACT_SILU, out, g, u, N);
    double worst = 0;
    for (int i = 0; i < N; i++) {
        double want = (double)g[i] / (1 + exp(-(double)g[i])) * (double)u[i];
        double e = fabs(out[i] - want) / (fabs(want) + 1.2e-38); /* below that f32 is subnormal */
        if (!(e <= worst)) worst = e;
    }
    assert_le_f(worst, 4e-7);
    qep_glu(QEP_ACT_SILU, g, g, u, N); /* out may be gate */
    assert_memory_equal(g, out, N * sizeof *g);
    qep_free(g), qep_free(u), qep_free(out);
}

static void swiglu_edges(void **state)
{
    (void)state;
    float g[] = {0, -0.0F, -200, 200, INFINITY, NAN, 1}, u[] = {2, 2, 2, 2, 2, 2, 3}, out[7], want[7];
    qep_glu(QEP_ACT_SILU, out, g, u, 7);
    qep_glu_ref(QEP_ACT_SILU, want, g, u, 7);
    assert_true(out[0] == 0 && out[1] == 0 && out[3] == 400 && out[4] == INFINITY && isnan(out[5]));
    assert_true(out[2] <= 0 && out[2] > -1e-30F);
    assert_le_f(fabs(out[6] - want[6]), 4e-7);
    static const int64_t sizes[] = {0, 1, 15, 16, 17, 16383, 16384, 16385};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        int64_t n = sizes[s];
        float *a = random_f32(11, n, 4), *b = random_f32(12, n, 1), *x = qep_alloc("test", n + 1, sizeof *x);
        x[n] = 42;
        qep_glu(QEP_ACT_SILU, x, a, b, n);
        for (int64_t i = 0; i < n; i++)
            assert_le_f(fabs(x[i] - a[i] / (1 + exp(-(double)a[i])) * b[i]), 4e-7 * fabs(x[i]));
        assert_true(x[n] == 42);
        qep_free(a), qep_free(b), qep_free(x);
    }
}

static void gelu_matches(void **state)
{
    (void)state;
    enum { N = 40001 };
    float *g = qep_alloc("test", N, sizeof *g), *u = random_f32(10, N, 1), *out = qep_alloc("test", N, sizeof *out);
    float *want = qep_alloc("test", N, sizeof *want);
    for (int i = 0; i < N; i++) g[i] = -10.0F + (float)i * 5e-4F;
    qep_glu(QEP_ACT_GELU_TANH, out, g, u, N);
    qep_glu_ref(QEP_ACT_GELU_TANH, want, g, u, N);
    for (int i = 0; i < N; i++) {
        const double e = fabs((double)out[i] - (double)want[i]), y = fabs((double)want[i]);
        assert_le_f(e, (fabs((double)g[i]) < 4 ? 3e-6 : 1e-4) * y + 1e-30);
    }
    float edge[] = {0, -1e30F, 1e30F, NAN}, ones[] = {1, 1, 1, 1};
    qep_glu(QEP_ACT_GELU_TANH, edge, edge, ones, 4);
    assert_true(edge[0] == 0 && edge[1] <= 0 && edge[1] > -1e-30F && edge[2] == 1e30F && isnan(edge[3]));
    qep_free(g), qep_free(u), qep_free(out), qep_free(want);
}

static void softcap_matches(void **state)
{
    (void)state;
    enum { N = 40003 };
    static const float caps[] = {1.0F, 30.0F, 50.0F};
    for (int k = 0; k < 3; k++) {
        float *x = random_f32(13, N, 2 * (double)caps[k]), *want = copy_of(x, N);
        qep_softcap(x, N, caps[k]);
        qep_softcap_ref(want, N, caps[k]);
        assert_le_f(worst_difference(x, want, N), 3e-7 * (double)caps[k]);
        qep_free(x), qep_free(want);
    }
    float small[] = {1e-6F, 0, -0.05F, INFINITY, -INFINITY, NAN};
    qep_softcap(small, 6, 50);
    assert_true(small[0] == 1e-6F && small[1] == 0 && small[3] == 50 && small[4] == -50 && isnan(small[5]));
    assert_le_f(fabs((double)small[2] + 50 * tanh(0.001)), 1e-8);
}

static void routes_by_hand(void **state)
{
    (void)state;
    /* equal logits: the lower number first; the second token's probabilities are e^2, e^1, e^0, e^0 over their sum */
    const float logits[] = {1, 1, 1, 1, 0, 2, 0, 1};
    int32_t expert[4];
    float weight[4];
    qep_route(expert, weight, logits, 2, 4, 2, true);
    assert_true(expert[0] == 0 && expert[1] == 1 && expert[2] == 1 && expert[3] == 3);
    assert_true(weight[0] == 0.5F && weight[1] == 0.5F);
    const double e = exp(1.0), all = e * e + e + 2;
    assert_le_f(fabs((double)weight[2] - e / (e + 1)), 1e-7);
    assert_le_f(fabs((double)weight[3] - 1 / (e + 1)), 1e-7);
    qep_route(expert, weight, logits, 2, 4, 2, false);
    assert_true(weight[0] == 0.25F);
    assert_le_f(fabs((double)weight[2] - e * e / all), 1e-7);
    assert_le_f(fabs((double)weight[3] - e / all), 1e-7);
}

static void additions(void **state)
{
    (void)state;
    float y[] = {1, 2, 3, 4, 5, 6}, bias[] = {10, 20, 30}, z[] = {1, 1, 1, 1, 1, 1};
    qep_add_bias(y, bias, 2, 3);
    qep_add(y, z, 6);
    const float want[] = {12, 23, 34, 15, 26, 37};
    assert_memory_equal(y, want, sizeof y);
    qep_add(y, z, 0);
    qep_add_bias(y, bias, 0, 3);
    assert_memory_equal(y, want, sizeof y);
}

static double log_sum_exp(const float *x, int64_t V)
{
    double top = -INFINITY, sum = 0;
    for (int64_t i = 0; i < V; i++)
        top = fmax(top, x[i]);
    for (int64_t i = 0; i < V; i++)
        sum += exp(x[i] - top);
    return top + log(sum);
}

static void losses_match_doubles(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 2, 15, 16, 17, 1009, 32000};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        int64_t V = sizes[s];
        float *p = random_f32(13, V, 4), *d = random_f32(14, V, 0.3), *q = copy_of(p, V);
        for (int64_t i = 0; i < V; i++)
            q[i] += d[i] + 7.0F; /* a common shift changes no probability */
        double lp = log_sum_exp(p, V), lq = log_sum_exp(q, V), want = 0;
        for (int64_t i = 0; i < V; i++)
            want += exp(p[i] - lp) * ((p[i] - lp) - (q[i] - lq));
        bool same;
        assert_le_f(fabs(qep_kl_row(p, q, V, &same) - want), 1e-7 + 1e-6 * want);
        assert_le_f(fabs(qep_kl_row(p, p, V, &same)), 1e-15);
        assert_true(same);
        for (int64_t t = 0; t < V; t += 1 + V / 7)
            assert_le_f(fabs(qep_nll_row(p, V, t) - (lp - p[t])), 3e-7);
        qep_free(p), qep_free(d), qep_free(q);
    }
}

/* Against the plain twin, and against the change of the divergence when a logit moves. */
static void slope_of_the_divergence(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 2, 7, 16, 1023, 1024, 2050};
    static const float caps[] = {0.0F, 6.0F};
    for (int k = 0; k < 14; k++) {
        const int64_t V = sizes[k / 2];
        const float cap = caps[k % 2];
        float *p = random_f32(51, V, 3), *q = random_f32(52, V, 3), *ref = random_f32(52, V, 3);
        for (int64_t i = 0; cap > 0.0F && i < V; i++) q[i] = ref[i] = cap * tanhf(q[i] / cap);
        bool same;
        const double kl = qep_kl_row(p, q, V, &same), got = qep_kl_slope_row(p, q, V, cap), want = qep_kl_slope_row_ref(p, ref, V, cap);
        assert_le_f(fabs(got - want), 1e-7 + 1e-6 * want);
        assert_le_f(fabs(got - kl), 1e-12);
        for (int64_t i = 0; i < V; i++) assert_le_f(fabs((double)q[i] - (double)ref[i]), 1e-6);
        qep_free(p), qep_free(q), qep_free(ref);
    }
    enum { V = 9, STEPS = 2 };
    for (int capped = 0; capped < 2; capped++)
        for (int i = 0; i < V; i++) {
            float *p = random_f32(53, V, 2), *raw = random_f32(54, V, 2), q[V], slope[V];
            const float cap = capped ? 5.0F : 0.0F;
            double at[STEPS];
            for (int s = 0; s < STEPS; s++) {
                for (int j = 0; j < V; j++) {
                    const float x = raw[j] + (j == i ? 1e-2F * (float)(2 * s - 1) : 0.0F);
                    q[j] = capped ? cap * tanhf(x / cap) : x;
                }
                at[s] = qep_kl_slope_row_ref(p, q, V, cap);
            }
            for (int j = 0; j < V; j++) slope[j] = capped ? cap * tanhf(raw[j] / cap) : raw[j];
            (void)qep_kl_slope_row(p, slope, V, cap);
            assert_le_f(fabs((at[1] - at[0]) / 2e-2 - (double)slope[i]), 2e-4);
            qep_free(p), qep_free(raw);
        }
}

static void top_choice_and_ties(void **state)
{
    (void)state;
    const float a[] = {1, 5, 5, 0}, b[] = {0, 9, 1, 1}, c[] = {1, 4, 6, 0}, even[] = {0, 0, 0, 0};
    bool same;
    assert_true(qep_kl_row(a, b, 4, &same) > 0 && same); /* the lowest index wins the tie in a */
    assert_true(qep_kl_row(a, c, 4, &same) > 0 && !same);
    assert_le_f(fabs(qep_nll_row(even, 4, 2) - log(4.0)), 1e-7);
    const float sure[] = {0, 1000, -1000};
    assert_le_f(fabs(qep_nll_row(sure, 3, 1)), 1e-12);
    assert_le_f(fabs(qep_nll_row(sure, 3, 2) - 2000), 1e-9);
    const float broken[] = {0, NAN, 1};
    assert_true(isnan(qep_nll_row(broken, 3, 0)));
}

/* All threaded kernels one after the other, each on the result before it. */
#define BITS_T 300
#define BITS_H 4
#define BITS_D 24
#define BITS_N ((int64_t)BITS_T * BITS_H * BITS_D)

static void everything(float *out)
{
    const int64_t C = BITS_H * BITS_D;
    qep_rope r = {.type = QEP_ROPE_DEFAULT, .theta = 1e4, .dim = BITS_D};
    float *x = random_f32(15, BITS_N, 1), *w = random_f32(16, C, 1), *kv = random_f32(17, BITS_N, 1);
    float *c = qep_alloc("test", BITS_T * BITS_D, sizeof *c), *s = qep_alloc("test", BITS_T * BITS_D, sizeof *s);
    float *scratch = qep_alloc("test", qep_attention_scratch(BITS_T, BITS_H, BITS_H, BITS_D), sizeof *scratch);
    qep_rmsnorm(x, x, w, BITS_T, C, 1e-5);
    qep_rope_table(&r, 3, BITS_T, BITS_T, c, s);
    qep_rope_apply(x, c, s, BITS_T, BITS_H, BITS_D, BITS_D);
    qep_attention(out, x, kv, kv, BITS_T, BITS_H, BITS_H, BITS_D, (qep_attention_form){.scale = 0.2F}, scratch);
    qep_glu(QEP_ACT_SILU, out, out, x, BITS_N);
    qep_add_bias(out, w, BITS_T, C);
    qep_add(out, kv, BITS_N);
    qep_free(x), qep_free(w), qep_free(kv), qep_free(c), qep_free(s), qep_free(scratch);
}

static void bits_do_not_depend_on_threads(void **state)
{
    (void)state;
    float *one = qep_alloc("test", BITS_N, sizeof *one), *many = qep_alloc("test", BITS_N, sizeof *many);
    qep_linalg_start(1);
    everything(one);
    for (int threads = 2; threads <= 4; threads++) {
        qep_linalg_start(threads);
        memset(many, 0xff, (size_t)BITS_N * sizeof *many);
        everything(many);
        assert_memory_equal(one, many, (size_t)BITS_N * sizeof *one);
    }
    qep_linalg_start(2);
    /* from inside a caller's parallel loop, each call with its own scratch */
    int wrong = 0;
#pragma omp parallel for reduction(+ : wrong)
    for (int i = 0; i < 4; i++) {
        float *mine = qep_alloc("test", BITS_N, sizeof *mine);
        everything(mine);
        wrong += memcmp(one, mine, (size_t)BITS_N * sizeof *one) != 0;
        qep_free(mine);
    }
    assert_int_equal(wrong, 0);
    qep_free(one), qep_free(many);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rmsnorm_matches),
        cmocka_unit_test(rope_tables),
        cmocka_unit_test(rope_scalings),
        cmocka_unit_test(rope_rotates),
        cmocka_unit_test(attention_matches),
        cmocka_unit_test(attention_of_shorter_sequences),
        cmocka_unit_test(attention_is_causal),
        cmocka_unit_test(swiglu_is_exact_enough),
        cmocka_unit_test(swiglu_edges),
        cmocka_unit_test(gelu_matches),
        cmocka_unit_test(softcap_matches),
        cmocka_unit_test(routes_by_hand),
        cmocka_unit_test(additions),
        cmocka_unit_test(losses_match_doubles),
        cmocka_unit_test(slope_of_the_divergence),
        cmocka_unit_test(top_choice_and_ties),
        cmocka_unit_test(bits_do_not_depend_on_threads),
    };
    qep_linalg_start(2);
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
