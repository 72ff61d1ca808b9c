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

int main(void)
{
    printf("# best unit of this machine: %s\n", (const char *[]){"plain", "AVX2", "AVX-512"}[qep_panel_best_unit()]);
    const struct CMUnitTest tests[] = {cmocka_unit_test(equal_bits_f32), cmocka_unit_test(add_in_parts_f32), cmocka_unit_test(pack_turned_f32), cmocka_unit_test(turned_f32),
                                       cmocka_unit_test(equal_bits_f64), cmocka_unit_test(add_in_parts_f64), cmocka_unit_test(pack_turned_f64), cmocka_unit_test(turned_f64)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
