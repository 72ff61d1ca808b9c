/* Named allocation. SPDX-License-Identifier: Apache-2.0 */
#include "qep_die.h"
#include <unistd.h>

static qep_mem_entry entry_of(const char *name)
{
    static qep_mem_entry rows[600];
    int n = qep_mem_table(rows, 600);
    for (int i = 0; i < n; i++) {
        if (strcmp(rows[i].name, name) == 0) return rows[i];
    }
    return (qep_mem_entry){.now = -1, .peak = -1};
}

static bool all_zero(const char *p, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (p[i]) return false;
    }
    return true;
}

static void blocks_are_zeroed_and_aligned(void **state)
{
    (void)state;
    const int64_t sizes[] = {0, 1, 63, 64, 65, 4096, 100003, 3000017, (16 << 20) + 1, 40 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (int round = 0; round < 3; round++) { /* dirty memory comes back clean */
            char *p = qep_alloc("test.zero", sizes[i], 1);
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % 64, 0);
            assert_true(all_zero(p, sizes[i]));
            memset(p, 0xAB, (size_t)sizes[i]);
            qep_free(p);
        }
    }
    qep_free(NULL);
    assert_int_equal(qep_mem_blocks(), 0);
}

static int64_t resident_bytes(void)
{
    long total = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%ld %ld", &total, &resident), 2);
    (void)fclose(f);
    return (int64_t)resident * sysconf(_SC_PAGESIZE);
}

#ifdef __SANITIZE_ADDRESS__ /* it holds back what was freed, beyond any peak */
enum { COMPARABLE = false };
#else
enum { COMPARABLE = true };
#endif

/* Freed large blocks are kept, but never make the process larger than its peak. */
static void kept_blocks_stay_below_the_peak(void **state)
{
    (void)state;
    const int64_t big = (int64_t)96 << 20;
    char *a = qep_alloc("test.kept", big, 1);
    memset(a, 1, (size_t)big);
    const int64_t most = resident_bytes();
    assert_true(most >= big);
    for (int round = 0; round < 16; round++) {
        qep_free(a);
        if (round == 8) qep_mem_note("test.noted", (int64_t)1 << 30); /* a peak that somebody else has made */
        const int64_t size = big - round % 8 * ((int64_t)11 << 20);    /* some fit into what is kept, some do not */
        a = qep_alloc("test.kept", size, 1);
        assert_true(all_zero(a, size));
        memset(a, 1, (size_t)size);
        if (COMPARABLE) assert_true(resident_bytes() <= most + (8 << 20));
    }
    qep_free(a);
    qep_mem_note("test.noted", -((int64_t)1 << 30));
    qep_mem_release_kept();
    if (COMPARABLE && !(resident_bytes() < most - big / 2)) fail_msg("%lld of %lld bytes are left", (long long)resident_bytes(), (long long)most);
}

/* Blocks that are put together of others' pages: zeros at first, nobody else's, and no more memory than the most that was in use at a time. */
static void take_and_free_blocks(bool measured)
{
    enum { LIVE = 4, ROUNDS = 80, LEAST = 16 << 20, MORE = 5 << 20 };
    char *block[LIVE] = {NULL};
    int64_t size[LIVE] = {0}, now = 0, most = 0;
    const int64_t before = resident_bytes();
    uint32_t x = 1;
    for (int round = 0; round < ROUNDS; round++) {
        x = x * 1664525 + 1013904223;
        const int i = (int)(x >> 16) % LIVE;
        for (int64_t k = 0; k < size[i]; k += 4095) assert_int_equal(block[i][k], 'a' + i);
        qep_free(block[i]);
        now -= size[i];
        size[i] = LEAST + (int64_t)(x >> 20) % 7 * MORE + round;
        now += size[i];
        most = qep_max_i64(most, now);
        block[i] = qep_alloc("test.any", size[i], 1);
        assert_int_equal((uintptr_t)block[i] % 64, 0);
        assert_true(all_zero(block[i], size[i]));
        memset(block[i], 'a' + i, (size_t)size[i]);
        if (measured && !(resident_bytes() - before <= most + LIVE * (4 << 20)))
            fail_msg("round %d: %lld bytes where %lld were in use at most", round, (long long)(resident_bytes() - before), (long long)most);
    }
    for (int i = 0; i < LIVE; i++) qep_free(block[i]);
    qep_mem_release_kept();
    assert_int_equal(qep_mem_blocks(), 0);
}

static void kept_pages_serve_any_size(void **state)
{
    (void)state;
    take_and_free_blocks(COMPARABLE);
}

/* Where the system refuses to move pages, in the midst of it and from then on. */
static void no_pages_are_moved(void **state)
{
    (void)state;
    setenv("QEP_FAULT", "pages.move:3", 1);
    qep_fault_init(0);
    take_and_free_blocks(false);
    unsetenv("QEP_FAULT");
    qep_fault_init(0);
    take_and_free_blocks(false);
}

static void realloc_keeps_and_zeroes(void **state)
{
    (void)state;
    char *p = qep_realloc(NULL, "test.re", 10, 1);
    memset(p, 7, 10);
    p = qep_realloc(p, "test.re", 300, 1);
    for (int i = 0; i < 10; i++) assert_int_equal(p[i], 7);
    assert_true(all_zero(p + 10, 290));
    assert_int_equal(entry_of("test.re").now, 300);
    p = qep_realloc(p, "test.re2", 4, 1);
    for (int i = 0; i < 4; i++) assert_int_equal(p[i], 7);
    assert_int_equal(entry_of("test.re").now, 0);
    assert_int_equal(entry_of("test.re2").now, 4);
    assert_int_equal(qep_mem_blocks(), 1);
    qep_free(p);
    assert_int_equal(qep_mem_blocks(), 0);
}

static void names_are_counted(void **state)
{
    (void)state;
    int64_t before = qep_mem_now();
    void *a = qep_alloc("test.a", 100, 8);
    void *b = qep_alloc("test.a", 50, 4);
    void *c = qep_alloc("test.c", 10, 1);
    assert_int_equal(qep_mem_now() - before, 1010);
    assert_int_equal(entry_of("test.a").now, 1000);
    qep_free(a);
    assert_int_equal(entry_of("test.a").now, 200);
    assert_int_equal(entry_of("test.a").peak, 1000);
    assert_true(qep_mem_peak() >= before + 1010);
    qep_free(b);
    qep_free(c);
    assert_int_equal(qep_mem_now(), before);
    int64_t peak = qep_mem_peak();
    qep_mem_note("test.window", 5 * peak);
    assert_int_equal(qep_mem_now(), before + 5 * peak);
    assert_int_equal(qep_mem_peak(), before + 5 * peak);
    qep_mem_note("test.window", -5 * peak);
    assert_int_equal(entry_of("test.window").now, 0);
    assert_int_equal(entry_of("test.window").peak, 5 * peak);
    assert_int_equal(qep_mem_blocks(), 0);
}

static void table_is_sorted_and_bounded(void **state)
{
    (void)state;
    qep_mem_entry rows[3];
    qep_mem_note("test.z", 0);
    qep_mem_note("test.m", 0);
    qep_mem_note("aaa", 0);
    int n = qep_mem_table(rows, 3);
    assert_true(n >= 3);
    assert_string_equal(rows[0].name, "aaa");
    assert_true(strcmp(rows[0].name, rows[1].name) < 0 && strcmp(rows[1].name, rows[2].name) < 0);
    assert_int_equal(qep_mem_table(NULL, 0), n);
}

static void threads_share_the_table(void **state)
{
    (void)state;
    int64_t before = qep_mem_now();
#pragma omp parallel for num_threads(4) schedule(dynamic)
    for (int i = 0; i < 4000; i++) {
        char *p = qep_alloc(i % 2 ? "test.odd" : "test.even", 1 + i % 97, 3);
        p = qep_realloc(p, "test.moved", 200, 1);
        qep_free(p);
    }
    assert_int_equal(qep_mem_blocks(), 0);
    assert_int_equal(qep_mem_now(), before);
    assert_int_equal(entry_of("test.odd").now, 0);
}

static void strings(void **state)
{
    (void)state;
    char *a = qep_strdup("test.s", "");
    char *b = qep_strf("test.s", "%s-%d%%", "x", 12);
    assert_string_equal(a, "");
    assert_string_equal(b, "x-12%");
    qep_free(a);
    qep_free(b);
    char *big = qep_strf("test.s", "%50000d", 1);
    assert_int_equal(strlen(big), 50000);
    qep_free(big);
}

static void more_names_than_rows_are_still_counted(void **state)
{
    (void)state;
    int64_t before = qep_mem_now();
    for (int i = 0; i < 700; i++) {
        char name[32];
        snprintf(name, sizeof name, "test.many.%d", i);
        qep_mem_note(name, 1);
    }
    assert_int_equal(qep_mem_now(), before + 700);
    assert_true(entry_of("(other)").now > 0);
}

static void ask_too_much(void *arg)
{
    (void)arg;
    (void)qep_alloc("test.huge", INT64_MAX / 4, 8);
}

static void ask_more_than_there_is(void *arg)
{
    (void)arg;
    (void)qep_alloc("test.huge", INT64_C(1) << 58, 8);
}

static void ask_negative(void *arg)
{
    (void)arg;
    (void)qep_alloc("test.negative", -1, 8);
}

static void free_inside(void *arg)
{
    (void)arg;
    static _Alignas(64) char not_ours[256];
    qep_free(not_ours + 128);
}

static void misuse_ends_the_job(void **state)
{
    (void)state;
    assert_dies(ask_too_much, NULL, 3, "test.huge needs");
    assert_dies(ask_negative, NULL, 70, "test.negative");
    assert_dies(free_inside, NULL, 70, "was not allocated by qep_alloc");
#ifndef __SANITIZE_ADDRESS__ /* there the allocator itself ends the process */
    assert_dies(ask_more_than_there_is, NULL, 3, "out of memory: test.huge");
#else
    (void)ask_more_than_there_is;
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_zeroed_and_aligned),
        cmocka_unit_test(kept_blocks_stay_below_the_peak),
        cmocka_unit_test(kept_pages_serve_any_size),
        cmocka_unit_test(realloc_keeps_and_zeroes),
        cmocka_unit_test(names_are_counted),
        cmocka_unit_test(table_is_sorted_and_bounded),
        cmocka_unit_test(threads_share_the_table),
        cmocka_unit_test(strings),
        cmocka_unit_test(misuse_ends_the_job),
        cmocka_unit_test(more_names_than_rows_are_still_counted),
        cmocka_unit_test(no_pages_are_moved), /* from then on */
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
