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

/* The panels of a transpose are those of the transposed matrix. */
static void pack_turned(void **state)
{
    (void)state;
    qep_rng rng;
    qep_rng_seed(&rng, 5);
    for (int64_t cols = 0; cols < 30; cols += 7)
        for (int64_t rows = 0; rows < 20; rows += 9) {
            double *b = random_f64(&rng, cols * (rows + 2)), *t = qep_alloc("test", rows * cols, sizeof *t);
            double *got = random_f64(&rng, qep_panel_packed(rows, cols)), *want = random_f64(&rng, qep_panel_packed(rows, cols));
            for (int64_t i = 0; i < rows; i++)
                for (int64_t j = 0; j < cols; j++) t[i * cols + j] = b[j * (rows + 2) + i];
            qep_panel_pack_f64(want, t, cols, rows, cols, 0, 1);
            for (int part = 0; part < 2; part++) qep_panel_pack_turned_f64(got, b, rows + 2, rows, cols, part, 2);
            assert_memory_equal(got, want, (size_t)qep_panel_packed(rows, cols) * sizeof *got);
            qep_free(b), qep_free(t), qep_free(got), qep_free(want);
        }
    assert_int_equal(qep_mem_blocks(), 0);
}

int main(void)
{
    printf("# best unit of this machine: %s\n", (const char *[]){"plain", "AVX2", "AVX-512"}[qep_panel_best_unit()]);
    const struct CMUnitTest tests[] = {cmocka_unit_test(equal_bits_f32), cmocka_unit_test(turned_f32),
                                       cmocka_unit_test(equal_bits_f64), cmocka_unit_test(turned_f64), cmocka_unit_test(pack_turned)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
