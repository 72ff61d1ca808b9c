/* The generator against Python 3's random module. SPDX-License-Identifier: Apache-2.0 */
#include "qep_test.h"
#include "qep/data.h"

static qep_comm *world;

/* [random.randint(a, b) for _ in range(8)] after random.seed(seed), Python 3.11; seeds of one and
 * two words, ranges of one and two words. */
static void ranges(void **state)
{
    (void)state;
    static const struct {
        uint64_t seed;
        int64_t a, b, v[8];
    } row[] = {
        {0, 0, 99, {49, 97, 53, 5, 33, 65, 62, 51}},
        {0, 0, 1000000, {885440, 403958, 794772, 933488, 441001, 42450, 271493, 536110}},
        {42, 5, 5, {5, 5, 5, 5, 5, 5, 5, 5}},
        {7, -3, 3, {-1, -2, 0, 2, -3, -3, 3, 1}},
        {0,
         0,
         4294967295,
         {3626764237, 1806341205, 2195908194, 2046968324, 3900315155, 2167613558, 1210484339,
          3246154361}},
        {1,
         0,
         4294967294,
         {577090037, 2444712010, 3639700191, 3445702192, 3280387012, 271041745, 1095513148,
          506456969}},
        {123456789012,
         10,
         2147483648,
         {809632455, 1399324925, 44444386, 565729018, 301518287, 897482954, 429686751, 315811763}},
        {4294967296U,
         0,
         2147483647,
         {485306839, 1508871100, 1794561286, 71624475, 98019085, 1423829729, 1940533316, 60122280}},
        {1099511627783U, 0, 9, {9, 9, 7, 4, 9, 2, 8, 6}},
        {9000000000000000000U,
         0,
         1099511627776,
         {590332653897, 772166586678, 772121045609, 767474275820, 643231842493, 776656512195,
          849442480420, 74676292479}},
        {5U,
         1,
         4611686018427387904,
         {2356064425258417222, 3306906422018949274, 2297105310323561333, 478261842605716054,
          1446698121926109756, 3429188471858335991, 3511871918638589353, 940547825265273193}},
        {4294967295U, 0, 6, {5, 4, 1, 1, 4, 4, 2, 4}},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        qep_mt19937 r;
        qep_mt_seed(&r, row[i].seed);
        for (int j = 0; j < 8; j++) {
            int64_t v = qep_mt_randint(&r, row[i].a, row[i].b);
            if (v != row[i].v[j])
                fail_msg("row %d, draw %d: %lld, Python %lld", (int)i, j, (long long)v,
                         (long long)row[i].v[j]);
        }
    }
}

/* Far into the sequence, over several refills of the state: the 2,000th draw and the sum of all. */
static void long_sequence(void **state)
{
    (void)state;
    qep_mt19937 r;
    int64_t sum = 0, last = 0;
    qep_mt_seed(&r, 3);
    for (int i = 0; i < 2000; i++) sum += last = qep_mt_randint(&r, 0, 97951);
    assert_int_equal(last, 97736);
    assert_int_equal(sum, 97179309);
}

int main(int argc, char **argv)
{
    world = qep_par_start(&argc, &argv);
    if (qep_rank(world) != 0 && !freopen("/dev/null", "w", stdout)) return 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(ranges), cmocka_unit_test(long_sequence)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    int64_t f = failed != 0;
    qep_max_i64_all(world, &f, 1);
    qep_par_end(&world);
    return f != 0;
}
