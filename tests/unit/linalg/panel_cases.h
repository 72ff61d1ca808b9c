/* Cases of test_panel.c for one element type: REAL, FMA, NAME(x), PANEL(x). SPDX-License-Identifier: Apache-2.0 */
static REAL *NAME(random)(qep_rng *r, int64_t n)
{
    REAL *x = qep_alloc("test", n, sizeof *x);
    for (int64_t i = 0; i < n; i++) x[i] = (REAL)qep_rng_normal(r);
    return x;
}

static void NAME(plain)(REAL *c, REAL keep, const REAL *a, int64_t k, const REAL *b, int64_t ldb, int64_t cols)
{
    for (int64_t j = 0; j < cols; j++)
        for (int l = 0; l < R; l++) {
            REAL sum = keep == 0 ? 0 : keep * c[j * R + l];
            for (int64_t i = 0; i < k; i++) sum = FMA(a[i * R + l], b[i * ldb + j], sum);
            c[j * R + l] = sum;
        }
}

/* Columns: nothing, one, both sides of a panel of 6 and of chunks of 48, 96 and 192. Nothing behind the last one is touched. */
static void NAME(equal_bits)(void **state)
{
    (void)state;
    static const int64_t cols[] = {0, 1, 5, 6, 7, 12, 61, 191, 192, 193, 400}, rows[] = {0, 1, 2, 31, 32, 63, 64, 65, 127, 128, 129, 256, 257, 600};
    qep_rng rng;
    qep_rng_seed(&rng, 3);
    for (int c = 0; c < 11; c++)
        for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
            const int64_t n = cols[c], m = rows[k], ldb = n + 3;
            REAL *b = NAME(random)(&rng, m * ldb), *a = NAME(random)(&rng, m * R), *start = NAME(random)(&rng, (n + 8) * R);
            REAL *want = qep_alloc("test", (n + 8) * R, sizeof *want), *got = qep_alloc("test", (n + 8) * R, sizeof *got);
            REAL *packed = qep_alloc("test", qep_panel_packed(m, n), sizeof *packed);
            const REAL keep = (REAL[]){1, (REAL)0.9, 0}[k % 3];
            if (keep == 0 && n > 0) start[n * R - 1] = (REAL)NAN; /* is not read */
            memcpy(want, start, (size_t)((n + 8) * R) * sizeof *want);
            NAME(plain)(want, keep, a, m, b, ldb, n);
            for (int part = 0; part < 3; part++) PANEL(pack)(packed, b, ldb, m, n, part, 3);
            for (int unit = QEP_PANEL_PLAIN; unit <= (int)qep_panel_best_unit(); unit++)
                for (int p = 0; p < 2; p++) {
                    memcpy(got, start, (size_t)((n + 8) * R) * sizeof *got);
                    PANEL(update_by)((qep_panel_unit)unit, got, keep, a, m, p ? packed : b, p ? 0 : ldb, n);
                    assert_memory_equal(got, want, (size_t)((n + 8) * R) * sizeof *got);
                }
            memcpy(got, start, (size_t)((n + 8) * R) * sizeof *got);
            PANEL(update)(got, keep, a, m, packed, 0, n);
            assert_memory_equal(got, want, (size_t)((n + 8) * R) * sizeof *got);
            void *owned[] = {a, b, start, want, got, packed};
            for (size_t i = 0; i < 6; i++) qep_free(owned[i]);
        }
    assert_int_equal(qep_mem_blocks(), 0);
}

/* A few of a packed matrix's rows, after those before them, are the same chain. */
static void NAME(add_in_parts)(void **state)
{
    (void)state;
    enum { M = 300, CUT = 131 };
    qep_rng rng;
    qep_rng_seed(&rng, 6);
    for (int64_t n = 1; n < 30; n += 9) {
        REAL *b = NAME(random)(&rng, M * n), *a = NAME(random)(&rng, M * R), *want = NAME(random)(&rng, n * R);
        REAL *got = qep_alloc("test", n * R, sizeof *got), *packed = qep_alloc("test", qep_panel_packed(M, n), sizeof *packed);
        memcpy(got, want, (size_t)(n * R) * sizeof *got);
        NAME(plain)(want, 1, a, M, b, n, n);
        PANEL(pack)(packed, b, n, M, n, 0, 1);
        PANEL(add)(got, a, CUT, packed, M, n);
        PANEL(add)(got, a + CUT * R, M - CUT, packed + CUT * QEP_PANEL_COLS, M, n);
        assert_memory_equal(got, want, (size_t)(n * R) * sizeof *got);
        qep_free(a), qep_free(b), qep_free(want), qep_free(got), qep_free(packed);
    }
    assert_int_equal(qep_mem_blocks(), 0);
}

/* The panels of a transpose are those of the transposed matrix. */
static void NAME(pack_turned)(void **state)
{
    (void)state;
    qep_rng rng;
    qep_rng_seed(&rng, 5);
    for (int64_t cols = 0; cols < 200; cols += 7)
        for (int64_t rows = 0; rows < 20; rows += 9) {
            REAL *b = NAME(random)(&rng, cols * (rows + 2)), *t = qep_alloc("test", rows * cols, sizeof *t);
            REAL *got = NAME(random)(&rng, qep_panel_packed(rows, cols)), *want = NAME(random)(&rng, qep_panel_packed(rows, cols));
            for (int64_t i = 0; i < rows; i++)
                for (int64_t j = 0; j < cols; j++) t[i * cols + j] = b[j * (rows + 2) + i];
            PANEL(pack)(want, t, cols, rows, cols, 0, 1);
            for (int part = 0; part < 2; part++) PANEL(pack_turned)(got, b, rows + 2, rows, cols, part, 2);
            assert_memory_equal(got, want, (size_t)qep_panel_packed(rows, cols) * sizeof *got);
            qep_free(b), qep_free(t), qep_free(got), qep_free(want);
        }
    assert_int_equal(qep_mem_blocks(), 0);
}

/* Turned and turned back, all rows and some, with rows that lie farther apart; what lies between them stays, and so does what is behind the last. */
static void NAME(turned)(void **state)
{
    (void)state;
    qep_rng rng;
    qep_rng_seed(&rng, 4);
    for (int64_t n = 0; n < 40; n += n == 0 ? 1 : 13)
        for (int64_t some = R; some >= 0; some -= 21) {
            const int64_t ld = n + 3;
            REAL *rows = NAME(random)(&rng, R * ld), *panel = NAME(random)(&rng, (n + 1) * R), *back = qep_alloc("test", R * ld, sizeof *back);
            const REAL behind = panel[n * R];
            memcpy(back, rows, (size_t)(R * ld) * sizeof *back);
            PANEL(from_rows)(panel, rows, some, ld, n);
            for (int64_t r = 0; r < R; r++)
                for (int64_t c = 0; c < n; c++) {
                    assert_true(panel[c * R + r] == (r < some ? rows[r * ld + c] : 0));
                    if (r < some) back[r * ld + c] = 0;
                }
            PANEL(to_rows)(back, some, ld, panel, n);
            assert_memory_equal(back, rows, (size_t)(R * ld) * sizeof *back);
            assert_true(panel[n * R] == behind);
            qep_free(rows), qep_free(panel), qep_free(back);
        }
    assert_int_equal(qep_mem_blocks(), 0);
}
