/* Sizes, formats for people, clock, hash, fault injection, version. SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <omp.h>
#include "qep_die.h"

static void checked_arithmetic(void **state)
{
    (void)state;
    int64_t r;
    assert_true(qep_mul_i64(INT64_C(3037000499), INT64_C(3037000499), &r));
    assert_int_equal(r, INT64_C(9223372030926249001));
    assert_false(qep_mul_i64(INT64_C(3037000500), INT64_C(3037000500), &r));
    assert_true(qep_mul_i64(0, INT64_MAX, &r) && r == 0);
    assert_false(qep_mul_i64(-1, 5, &r));
    assert_false(qep_mul_i64(5, -1, &r));
    assert_true(qep_add_i64(INT64_MAX - 1, 1, &r) && r == INT64_MAX);
    assert_false(qep_add_i64(INT64_MAX, 1, &r));
    assert_false(qep_add_i64(-1, 1, &r));
    assert_int_equal(qep_ceil_div(0, 7), 0);
    assert_int_equal(qep_ceil_div(7, 7), 1);
    assert_int_equal(qep_ceil_div(8, 7), 2);
    assert_int_equal(qep_ceil_div(INT64_MAX, 2), INT64_MAX / 2 + 1);
    assert_int_equal(qep_round_up(0, 64), 0);
    assert_int_equal(qep_round_up(64, 64), 64);
    assert_int_equal(qep_round_up(65, 64), 128);
    assert_int_equal(qep_int(INT_MAX), INT_MAX);
    assert_int_equal(qep_int(INT_MIN), INT_MIN);
    assert_int_equal(qep_min_i64(-3, 2), -3);
    assert_int_equal(qep_max_i64(-3, 2), 2);
}

static void narrow(void *v)
{
    (void)qep_int(*(int64_t *)v);
}

static void divide_by(void *v)
{
    (void)qep_ceil_div(5, *(int64_t *)v);
}

static void round_up_most(void *v)
{
    (void)qep_round_up(INT64_MAX, *(int64_t *)v);
}

static void misuse_of_sizes_is_a_bug(void **state)
{
    (void)state;
    int64_t big = (int64_t)INT_MAX + 1, small = (int64_t)INT_MIN - 1, zero = 0, ten = 10;
    assert_dies(narrow, &big, 70, "2147483648");
    assert_dies(narrow, &small, 70, "-2147483649");
    assert_dies(divide_by, &zero, 70, "violated");
    assert_dies(round_up_most, &ten, 70, "overflows");
}

static void durations_for_people(void **state)
{
    (void)state;
    const struct { double s; const char *text; } want[] = {
        {0.0, "0.0 s"}, {0.26, "0.3 s"}, {9.94, "9.9 s"}, {9.96, "10 s"}, {41.2, "41 s"}, {59.4, "59 s"},
        {59.7, "1 min 00 s"}, {125.0, "2 min 05 s"}, {3599.7, "1 h 00 min"}, {11040.0, "3 h 04 min"},
        {14399.0, "4 h 00 min"}, {86399.0, "1 d 00 h"}, {97000.0, "1 d 03 h"}, {-1.0, "?"}, {NAN, "?"},
        {INFINITY, "?"},
    };
    char buf[32];
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        assert_string_equal(qep_format_seconds(want[i].s, buf, sizeof buf), want[i].text);
    }
}

static void bytes_for_people(void **state)
{
    (void)state;
    const struct { int64_t bytes; const char *text; } want[] = {
        {0, "0 B"}, {1023, "1023 B"}, {1024, "1.00 KiB"}, {1536, "1.50 KiB"}, {1048575, "1.00 MiB"},
        {1342177280, "1.25 GiB"}, {-2048, "-2.00 KiB"}, {INT64_MAX, "8.00 EiB"}, {INT64_MIN, "-8.00 EiB"},
    };
    char buf[32];
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        assert_string_equal(qep_format_bytes(want[i].bytes, buf, sizeof buf), want[i].text);
    }
}

static void clocks_go_forward(void **state)
{
    (void)state;
    double a = qep_now_s();
    double b = qep_now_s();
    assert_le_f(a, b);
    assert_true(qep_wall_time_s() > INT64_C(1600000000));
}

/* The values are part of what checkpoints and digests store: they must never change. */
static void hash_values_are_fixed(void **state)
{
    (void)state;
    assert_true(qep_hash64("", 0, 0) == UINT64_C(0xE4D5852DCFEC47F5));
    assert_true(qep_hash64("a", 1, 0) == UINT64_C(0x6468D95444760613));
    assert_true(qep_hash64("the quick brown fox", 19, 42) == UINT64_C(0x54460ECC33E8661B));
}

/* Two seeds in one pass give what they give one by one. */
static void hash_pair(void **state)
{
    (void)state;
    unsigned char data[67];
    const uint64_t seed[2] = {3, UINT64_MAX};
    for (size_t i = 0; i < sizeof data; i++) data[i] = (unsigned char)(i * 91 + 5);
    for (size_t n = 0; n <= sizeof data; n++) {
        uint64_t out[2];
        qep_hash64_pair(data, n, seed, out);
        for (int k = 0; k < 2; k++) assert_true(out[k] == qep_hash64(data, n, seed[k]));
    }
}

static int popcount(uint64_t v)
{
    return __builtin_popcountll(v);
}

static void hash_spreads(void **state)
{
    (void)state;
    unsigned char data[64] = {0};
    uint64_t seen[65];
    for (size_t n = 0; n <= 64; n++) { /* zeros of every length differ */
        seen[n] = qep_hash64(data, n, 7);
        for (size_t m = 0; m < n; m++) assert_true(seen[m] != seen[n]);
    }
    for (size_t i = 0; i < sizeof data; i++) data[i] = (unsigned char)(i * 37 + 11);
    for (size_t n = 1; n <= sizeof data; n += 9) {
        uint64_t h = qep_hash64(data, n, 1);
        int total = 0;
        for (size_t bit = 0; bit < 8 * n; bit++) {
            data[bit / 8] ^= (unsigned char)(1u << bit % 8);
            int changed = popcount(h ^ qep_hash64(data, n, 1));
            data[bit / 8] ^= (unsigned char)(1u << bit % 8);
            assert_true(changed >= 8);
            total += changed;
        }
        double mean = (double)total / (double)(8 * n);
        assert_le_f(fabs(mean - 32.0), 6.0);
        assert_true(popcount(h ^ qep_hash64(data, n, 2)) >= 8);
    }
    uint64_t aligned[3], h0 = qep_hash64(data, 13, 3);
    memcpy((char *)aligned + 1, data, 13);
    assert_true(qep_hash64((char *)aligned + 1, 13, 3) == h0);
}

static void faults_hit_once(void **state)
{
    (void)state;
    unsetenv("QEP_FAULT");
    qep_fault_init(0);
    assert_false(qep_fault("a.read"));
    setenv("QEP_FAULT", "a.read:3,b.write:1@2,a.read:5,c:1@0", 1);
    qep_fault_init(0);
    const bool want[] = {false, false, true, false, true, false};
    for (int i = 0; i < 6; i++) assert_int_equal(qep_fault("a.read"), want[i]);
    assert_false(qep_fault("b.write"));
    assert_false(qep_fault("a"));
    assert_true(qep_fault("c"));
    qep_fault_init(2);
    assert_false(qep_fault("a.read"));
    assert_true(qep_fault("b.write"));
    assert_false(qep_fault("b.write"));
    unsetenv("QEP_FAULT");
    qep_fault_init(0);
}

static void start_with(void *spec)
{
    setenv("QEP_FAULT", spec, 1);
    qep_fault_init(0);
}

static void a_wrong_fault_is_told(void **state)
{
    (void)state;
    char wrong[][24] = {"a", "a:", "a:0", "a:x", "a:1@", "a:1@-1", ":1", "a:1,", "a:1;b:2", "a:99999999999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) assert_dies(start_with, wrong[i], 1, "QEP_FAULT");
    char right[] = "a:1@3,b:2";
    assert_dies(start_with, right, DIE_RETURNED, "");
}

static void version_is_known(void **state)
{
    (void)state;
    int major, minor, patch;
    assert_int_equal(sscanf(qep_version, "%d.%d.%d", &major, &minor, &patch), 3);
    assert_true(strlen(qep_build_id) > 10);
    assert_null(strchr(qep_build_id, '\n'));
}

/* Sizes around those of a thread's part, and nothing behind the end. */
static void bytes_by_all_threads(void **state)
{
    (void)state;
    enum { PART = 1 << 20, MOST = 3 * PART + 7, BEHIND = 64 };
    static const int64_t sizes[] = {0, 1, PART - 1, PART, PART + 1, MOST};
    unsigned char *from = qep_alloc("test", MOST, 1), *to = qep_alloc("test", MOST + BEHIND, 1);
    for (int64_t i = 0; i < MOST; i++) from[i] = (unsigned char)(i % 251 + 1);
    for (int k = 0; k < 12; k++) {
        const int64_t n = sizes[k / 2];
        omp_set_num_threads(k % 2 ? 3 : 1);
        memset(to, 0x5A, MOST + BEHIND);
        qep_copy(to, from, n);
        assert_memory_equal(to, from, (size_t)n);
        for (int i = 0; i < BEHIND; i++) assert_int_equal(to[n + i], 0x5A);
        qep_clear(to, n);
        for (int64_t i = 0; i < n; i++)
            if (to[i] != 0) fail_msg("byte %d of %d is not 0", (int)i, (int)n);
        for (int i = 0; i < BEHIND; i++) assert_int_equal(to[n + i], 0x5A);
    }
    omp_set_num_threads(1);
    qep_free(to);
    qep_free(from);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checked_arithmetic),
        cmocka_unit_test(misuse_of_sizes_is_a_bug),
        cmocka_unit_test(durations_for_people),
        cmocka_unit_test(bytes_for_people),
        cmocka_unit_test(clocks_go_forward),
        cmocka_unit_test(hash_values_are_fixed), cmocka_unit_test(hash_pair),
        cmocka_unit_test(hash_spreads),
        cmocka_unit_test(faults_hit_once),
        cmocka_unit_test(a_wrong_fault_is_told),
        cmocka_unit_test(version_is_known), cmocka_unit_test(bytes_by_all_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
