/* Conversions to and from f32: every half value, every rounding tie, arrays equal to scalars.
 * SPDX-License-Identifier: Apache-2.0 */
#include "qep/tensor.h"
#include "qep_die.h"

static uint32_t bits_of(float v)
{
    uint32_t b;
    memcpy(&b, &v, sizeof b);
    return b;
}

static float float_of(uint32_t b)
{
    float v;
    memcpy(&v, &b, sizeof v);
    return v;
}

static void bf16_is_the_upper_half(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float v = qep_bf16_to_f32((uint16_t)h);
        assert_int_equal(bits_of(v), h << 16);
        uint32_t want = isnan(v) ? h | 0x40u : h;
        assert_int_equal(qep_f32_to_bf16(v), want);
    }
}

/* Between neighbours h and h + 1: below the middle goes down, above goes up, the middle goes to the even one. */
static void bf16_ties_go_to_even(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        if ((h & 0x7FFFu) >= 0x7F80u) continue;
        uint32_t b = h << 16;
        assert_int_equal(qep_f32_to_bf16(float_of(b + 0x7FFFu)), h);
        assert_int_equal(qep_f32_to_bf16(float_of(b + 0x8000u)), h + (h & 1u));
        assert_int_equal(qep_f32_to_bf16(float_of(b + 0x8001u)), h + 1);
    }
    assert_int_equal(qep_f32_to_bf16(float_of(0x7F7FFFFFu)), 0x7F80); /* the largest f32 becomes Inf */
    assert_int_equal(qep_f32_to_bf16(float_of(0x7F800001u)), 0x7FC0); /* this NaN must not become Inf */
    assert_int_equal(qep_f32_to_bf16(float_of(0xFFFFFFFFu)), 0xFFFF);
}

/* The value from the definition of the format. */
static double f16_value(uint32_t h)
{
    int exponent = (int)(h >> 10 & 31u);
    double mantissa = (double)(h & 1023u);
    double v = exponent ? ldexp(1024.0 + mantissa, exponent - 25) : ldexp(mantissa, -24);
    return h & 0x8000u ? -v : v;
}

static void f16_every_value(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float v = qep_f16_to_f32((uint16_t)h);
        if ((h & 0x7FFFu) > 0x7C00u) {
            assert_true(isnan(v));
            assert_int_equal(qep_f32_to_f16(v), h | 0x200u);
            continue;
        }
        if ((h & 0x7FFFu) == 0x7C00u) {
            assert_true(isinf(v) && !signbit(v) == !(h & 0x8000u));
        } else {
            assert_true((double)v == f16_value(h) && !signbit(v) == !(h & 0x8000u));
        }
        assert_int_equal(qep_f32_to_f16(v), h);
    }
}

/* For all neighbours: just below the middle, the middle, just above (the middle is exact in f32). */
static void f16_ties_go_to_even(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        if ((h & 0x7FFFu) >= 0x7C00u) continue;
        bool last = (h & 0x7FFFu) == 0x7BFFu; /* its upper neighbour, 65536, is stored as Inf */
        double next = last ? copysign(65536.0, f16_value(h)) : f16_value(h + 1);
        float middle = (float)((f16_value(h) + next) / 2.0);
        assert_int_equal(qep_f32_to_f16(nextafterf(middle, 0.0f)), h);
        assert_int_equal(qep_f32_to_f16(middle), h + (h & 1u));
        assert_int_equal(qep_f32_to_f16(nextafterf(middle, copysignf(INFINITY, middle))), h + 1);
    }
    assert_int_equal(qep_f32_to_f16(1e30f), 0x7C00);
    assert_int_equal(qep_f32_to_f16(-1e30f), 0xFC00);
    assert_int_equal(qep_f32_to_f16(float_of(1)), 0);
    assert_int_equal(qep_f32_to_f16(float_of(0x80000001u)), 0x8000);
    assert_true(isnan(qep_f16_to_f32(qep_f32_to_f16(float_of(0x7F800001u)))));
}

/* Inputs of all kinds: random bits, neighbourhoods of all ties, special values. */
static int64_t make_inputs(float *x, int64_t cap)
{
    qep_rng r;
    qep_rng_seed(&r, 5);
    int64_t n = 0;
    for (uint32_t h = 0; h < 65536; h++) {
        uint32_t b = bits_of(qep_f16_to_f32((uint16_t)h));
        for (uint32_t d = 0; d < 3; d++) x[n++] = float_of(b + 0x0FFFu + d);
        for (uint32_t d = 0; d < 3; d++) x[n++] = float_of((h << 16) + 0x7FFFu + d);
    }
    while (n < cap) x[n++] = float_of((uint32_t)qep_rng_u64(&r));
    return n;
}

/* Arrays (vector code) and scalars (integer code) must give the same bits, NaNs included. */
static void arrays_equal_scalars(void **state)
{
    (void)state;
    const int64_t n = 1000003;
    float *x = qep_alloc("test.x", n, sizeof *x);
    uint16_t *h = qep_alloc("test.h", n, sizeof *h);
    assert_int_equal(make_inputs(x, n), n);
    qep_from_f32(h, QEP_F16, x, n);
    for (int64_t i = 0; i < n; i++) {
        if (h[i] != qep_f32_to_f16(x[i])) fail_msg("f16 of %08x: %04x", (unsigned)bits_of(x[i]), (unsigned)h[i]);
    }
    qep_from_f32(h, QEP_BF16, x, n);
    for (int64_t i = 0; i < n; i++) {
        if (h[i] != qep_f32_to_bf16(x[i])) fail_msg("bf16 of %08x: %04x", (unsigned)bits_of(x[i]), (unsigned)h[i]);
    }
    qep_round_bf16(x, x, n);
    for (int64_t i = 0; i < n; i++) assert_int_equal(bits_of(x[i]), (uint32_t)h[i] << 16);
    for (int64_t i = 0; i < 65536; i++) h[i] = (uint16_t)i;
    qep_to_f32(x, h, QEP_F16, 65536);
    for (int64_t i = 0; i < 65536; i++) assert_int_equal(bits_of(x[i]), bits_of(qep_f16_to_f32((uint16_t)i)));
    qep_to_f32(x, h, QEP_BF16, 65536);
    for (int64_t i = 0; i < 65536; i++) assert_int_equal(bits_of(x[i]), (uint32_t)i << 16);
    qep_free(x);
    qep_free(h);
}

/* Short lengths at odd addresses: nothing outside is touched. */
static void short_and_unaligned_arrays(void **state)
{
    (void)state;
    const qep_dtype types[] = {QEP_F16, QEP_BF16, QEP_F32, QEP_F64};
    float x[40], back[41];
    for (int i = 0; i < 40; i++) x[i] = (float)(i - 17) * 0.25f; /* exact in every type */
    for (int t = 0; t < 4; t++) {
        size_t size = (size_t)qep_dtype_size(types[t]);
        for (int64_t n = 0; n <= 40; n++) {
            for (size_t shift = 0; shift < 3; shift++) {
                unsigned char raw[40 * 8 + 8];
                memset(raw, 0xEE, sizeof raw);
                qep_from_f32(raw + shift, types[t], x, n);
                for (size_t i = 0; i < shift; i++) assert_int_equal(raw[i], 0xEE);
                for (size_t i = shift + (size_t)n * size; i < sizeof raw; i++) assert_int_equal(raw[i], 0xEE);
                back[n] = 99.0f;
                qep_to_f32(back, raw + shift, types[t], n);
                assert_memory_equal(back, x, (size_t)n * sizeof *x);
                assert_true(back[n] == 99.0f);
            }
        }
    }
}

static void f64_is_rounded(void **state)
{
    (void)state;
    double d[] = {1.0 + ldexp(1.0, -24), 1.0 + 3.0 * ldexp(1.0, -24), 1e300, -1e-300, NAN, 1.0 / 3.0};
    float f[6];
    qep_to_f32(f, d, QEP_F64, 6);
    assert_true(f[0] == 1.0f && f[1] == 1.0f + ldexpf(1.0f, -22));
    assert_true(isinf(f[2]) && f[3] == 0.0f && signbit(f[3]) && isnan(f[4]) && f[5] == 1.0f / 3.0f);
}

static void scales_stay_usable(void **state)
{
    (void)state;
    const float least = 0x1p-14f, most = 65504.0f;
    assert_true(qep_f16_scale(0.0f) == least && qep_f16_scale(-1.0f) == least);
    assert_true(qep_f16_scale(-INFINITY) == least && qep_f16_scale(1e-30f) == least);
    assert_true(qep_f16_scale(least) == least && qep_f16_scale(nextafterf(least, 0.0f)) == least);
    assert_true(qep_f16_scale(1e30f) == most && qep_f16_scale(INFINITY) == most);
    assert_true(qep_f16_scale(65519.0f) == most && qep_f16_scale(65520.0f) == most && qep_f16_scale(most) == most);
    assert_true(isnan(qep_f16_scale(NAN)));
    assert_true(qep_f16_scale(0.1f) == qep_f16_to_f32(qep_f32_to_f16(0.1f)));
    for (uint32_t b = 1; b < 0x7F800000u; b += 40009) {
        float s = qep_f16_scale(float_of(b));
        assert_true(s >= least && s <= most && qep_f16_to_f32(qep_f32_to_f16(s)) == s && qep_f16_scale(s) == s);
    }
}

static void the_first_nonfinite_is_found(void **state)
{
    (void)state;
    enum { N = 3001 };
    static float x[N];
    const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    for (int i = 0; i < N; i++) x[i] = i % 2 ? 3.4e38f : -1e-45f;
    assert_int_equal(qep_find_nonfinite_f32(x, N), -1);
    assert_int_equal(qep_find_nonfinite_f32(x, 0), -1);
    for (int i = 0; i < N; i++) {
        float keep = x[i];
        x[i] = bad[i % 4];
        x[N - 1] = NAN;
        assert_int_equal(qep_find_nonfinite_f32(x, N), i);
        assert_int_equal(qep_find_nonfinite_f32(x, i), -1);
        assert_int_equal(qep_find_nonfinite_f32(x, i + 1), i);
        x[i] = keep;
        x[N - 1] = 1.0f;
    }
}

static void convert_integers(void *to)
{
    float x[4] = {0};
    int32_t i[4] = {0};
    if (to) {
        qep_to_f32(x, i, QEP_I32, 4);
    } else {
        qep_from_f32(i, QEP_F8_E4M3, x, 4);
    }
}

static void other_types_are_a_bug(void **state)
{
    (void)state;
    int yes = 1;
    assert_dies(convert_integers, &yes, 70, "I32 cannot be converted");
    assert_dies(convert_integers, NULL, 70, "cannot be converted to F8_E4M3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bf16_is_the_upper_half),
        cmocka_unit_test(bf16_ties_go_to_even),
        cmocka_unit_test(f16_every_value),
        cmocka_unit_test(f16_ties_go_to_even),
        cmocka_unit_test(arrays_equal_scalars),
        cmocka_unit_test(short_and_unaligned_arrays),
        cmocka_unit_test(f64_is_rounded),
        cmocka_unit_test(scales_stay_usable),
        cmocka_unit_test(the_first_nonfinite_is_found),
        cmocka_unit_test(other_types_are_a_bug),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
