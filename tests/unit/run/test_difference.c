/* The difference of a group's inputs in the two streams: exact in f32; with compat = paper and bf16 that of the rounded ones, as the published codes subtract.
 * SPDX-License-Identifier: Apache-2.0 */
#include "qep_test.h"

#include "../../../src/run/run_priv.h"

static void rounded_or_not(void **state)
{
    (void)state;
    enum { N = 3000 };
    float fp[N], q[N], d[N];
    qep_rng rng;
    qep_rng_seed(&rng, 3);
    for (int i = 0; i < N; i++) {
        fp[i] = (float)qep_rng_normal(&rng);
        q[i] = fp[i] * (1.0f + 1e-4f * (float)qep_rng_normal(&rng)); /* mostly the same bf16 number */
    }
    for (int v = 0; v < 4; v++) {
        qep_config cfg = {.compat = v % 2 ? "paper" : "none"};
        const qep_run r = {.cfg = &cfg, .compute = v / 2 ? QEP_COMPUTE_BF16 : QEP_COMPUTE_F32};
        int zeros = 0;
        qep_run_difference(&r, fp, q, N, d);
        for (int i = 0; i < N; i++) {
            const float x = qep_bf16_to_f32(qep_f32_to_bf16(fp[i])), y = qep_bf16_to_f32(qep_f32_to_bf16(q[i]));
            assert_true(d[i] == (v == 3 ? x - y : fp[i] - q[i]));
            zeros += d[i] == 0.0f;
        }
        assert_true(v == 3 ? zeros > N / 2 : zeros < N / 100);
        float in_place[N];
        memcpy(in_place, fp, sizeof in_place);
        qep_run_difference(&r, in_place, q, N, in_place);
        assert_memory_equal(in_place, d, sizeof d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(rounded_or_not)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
