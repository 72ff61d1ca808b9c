/* Products of panels: equal bits on every unit, packed or not, and by a plain loop of fused multiply-adds.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "qep/linalg.h"
#include "qep/tensor.h"
#include "qep_test.h"

enum { R = QEP_PANEL_ROWS };

#define REAL float
#define FMA fmaf
#define NAME(x) x##_f32
#define PANEL(x) qep_panel_##x##_f32
#include "panel_cases.h"
#undef REAL
#undef FMA
#undef NAME
#undef PANEL
#define REAL double
#define FMA fma
#define NAME(x) x##_f64
#define PANEL(x) qep_panel_##x##_f64
#include "panel_cases.h"

/* Rows of three matrices in turn: as one matrix that has them so. */
static void pack_woven(void **state)
{
    (void)state;
    enum { MATRICES = 3, LD = 40 };
    static const int64_t rows[] = {1, 7, 32}, cols[] = {0, 1, 6, 13, 36};
    qep_rng rng;
    qep_rng_seed(&rng, 5);
    for (int k = 0; k < 15; k++) {
        const int64_t m = rows[k / 5], n = cols[k % 5];
        const size_t size = (size_t)qep_panel_packed(MATRICES * m, n) * sizeof(float);
        float *b = random_f32(&rng, MATRICES * m * LD), *want = random_f32(&rng, qep_panel_packed(MATRICES * m, n)), *got = random_f32(&rng, qep_panel_packed(MATRICES * m, n));
        qep_panel_pack_f32(want, b, LD, MATRICES * m, n, 0, 1);
        for (int64_t which = 0; which < MATRICES; which++)
            for (int part = 0; part < 2; part++) qep_panel_pack_woven_f32(got, b + which * LD, MATRICES * LD, m, n, which, MATRICES, part, 2);
        assert_memory_equal(got, want, size);
        qep_free(b), qep_free(want), qep_free(got);
    }
}

int main(void)
{
    printf("# best unit of this machine: %s\n", (const char *[]){"plain", "AVX2", "AVX-512"}[qep_panel_best_unit()]);
    const struct CMUnitTest tests[] = {cmocka_unit_test(equal_bits_f32), cmocka_unit_test(add_in_parts_f32), cmocka_unit_test(pack_turned_f32), cmocka_unit_test(turned_f32),
                                       cmocka_unit_test(equal_bits_f64), cmocka_unit_test(add_in_parts_f64), cmocka_unit_test(pack_turned_f64), cmocka_unit_test(turned_f64),
                                       cmocka_unit_test(pack_woven)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
