/* Random numbers: published values, uniformity, moments. SPDX-License-Identifier: Apache-2.0 */
#include "qep/tensor.h"
#include "qep_test.h"

/* State {1, 2, 3, 4}: the first outputs of the reference implementation of xoshiro256**. */
static void xoshiro_matches_the_reference(void **state)
{
    (void)state;
    qep_rng r = {{1, 2, 3, 4}};
    const uint64_t want[] = {UINT64_C(11520), 0, UINT64_C(1509978240), UINT64_C(1215971899390074240),
                             UINT64_C(1216172134540287360), UINT64_C(607988272756665600),
                             UINT64_C(16172922978634559625), UINT64_C(8476171486693032832),
                             UINT64_C(10595114339597558777), UINT64_C(2904607092377533576)};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) assert_true(qep_rng_u64(&r) == want[i]);
}

/* The first outputs of splitmix64 from 0 are the state. */
static void seed_matches_splitmix64(void **state)
{
    (void)state;
    qep_rng r;
    qep_rng_seed(&r, 0);
    const uint64_t want[] = {UINT64_C(0xE220A8397B1DCDAF), UINT64_C(0x6E789E6AA1B965F4),
                             UINT64_C(0x06C45D188009454F), UINT64_C(0xF88BB8A8724C81EC)};
    for (int i = 0; i < 4; i++) assert_true(r.s[i] == want[i]);
}

static void seeds_give_own_repeatable_streams(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        qep_rng a, b, c;
        qep_rng_seed(&a, seed);
        qep_rng_seed(&b, seed);
        qep_rng_seed(&c, seed + 1);
        int same = 0;
        for (int i = 0; i < 20; i++) {
            uint64_t v = qep_rng_u64(&a);
            assert_true(v == qep_rng_u64(&b));
            same += v == qep_rng_u64(&c);
        }
        assert_int_equal(same, 0);
    }
}

static void uniform_is_uniform(void **state)
{
    (void)state;
    enum { N = 400000, BINS = 100 };
    int64_t bins[BINS] = {0};
    qep_rng r;
    qep_rng_seed(&r, 1);
    for (int i = 0; i < N; i++) {
        double u = qep_rng_uniform(&r);
        assert_true(u >= 0.0 && u < 1.0);
        bins[(int)(u * BINS)]++;
    }
    double chi2 = 0.0, mean = (double)N / BINS;
    for (int b = 0; b < BINS; b++) chi2 += ((double)bins[b] - mean) * ((double)bins[b] - mean) / mean;
    assert_le_f(chi2, 160.0); /* 99 degrees of freedom: mean 99, deviation 14 */
    assert_le_f(50.0, chi2);
}

static void normal_has_its_moments(void **state)
{
    (void)state;
    enum { N = 400000 };
    double m1 = 0, m2 = 0, m3 = 0, m4 = 0, lag = 0, last = 0;
    int64_t tail = 0;
    qep_rng r;
    qep_rng_seed(&r, 2);
    for (int i = 0; i < N; i++) {
        double z = qep_rng_normal(&r);
        m1 += z / N;
        m2 += z * z / N;
        m3 += z * z * z / N;
        m4 += z * z * z * z / N;
        lag += z * last / N;
        tail += fabs(z) > 1.959964;
        last = z;
    }
    assert_le_f(fabs(m1), 0.008);
    assert_le_f(fabs(m2 - 1.0), 0.012);
    assert_le_f(fabs(m3), 0.03);
    assert_le_f(fabs(m4 - 3.0), 0.1);
    assert_le_f(fabs(lag), 0.008);
    assert_le_f(fabs((double)tail / N - 0.05), 0.002);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(xoshiro_matches_the_reference),
        cmocka_unit_test(seed_matches_splitmix64),
        cmocka_unit_test(seeds_give_own_repeatable_streams),
        cmocka_unit_test(uniform_is_uniform),
        cmocka_unit_test(normal_has_its_moments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
