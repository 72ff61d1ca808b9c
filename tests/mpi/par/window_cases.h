/* Cases of the shared windows; compiled for the real node and for pretended ones.
 * SPDX-License-Identifier: Apache-2.0 */
#include "qep_test.h"
#include "qep/par.h"

static qep_comm *world;

static unsigned char byte_of(int64_t a, int64_t i)
{
    const int64_t key[2] = {a, i};
    return (unsigned char)qep_hash64(key, sizeof key, 5);
}

static int64_t noted(const char *name)
{
    static qep_mem_entry table[64];
    int n = qep_mem_table(table, 64);
    for (int i = 0; i < n && i < 64; i++)
        if (strcmp(table[i].name, name) == 0) return table[i].now;
    return 0;
}

static void fresh_window(void **state)
{
    (void)state;
    const int64_t sizes[] = {0, 1, 63, 64, 65, 4096, 100003};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        qep_window *w = qep_window_create_all(world, "test.window", sizes[k]);
        unsigned char *x = qep_window_data(w);
        bool zero = true;
        for (int64_t i = 0; i < sizes[k]; i++) zero = zero && x[i] == 0;
        assert_all(world, zero && qep_window_bytes(w) == sizes[k] && (uintptr_t)x % 64 == 0);
        int64_t mine = noted("test.window");
        if (sizes[k] > 0) assert_all(world, qep_node_rank(world) == 0 ? mine >= sizes[k] : mine == 0);
        memset(x, 0xff, qep_node_rank(world) == 0 ? (size_t)sizes[k] : 0); /* the next must be clean again */
        qep_window_sync_all(w);
        qep_window_destroy_all(&w);
        assert_all(world, w == NULL && noted("test.window") == 0);
    }
}

static void node_sees_writes(void **state)
{
    (void)state;
    int n = qep_node_size(world), me = qep_node_rank(world);
    qep_window *w = qep_window_create_all(world, "test.window", 8 * qep_size(world));
    volatile int64_t *x = qep_window_data(w);
    for (int64_t round = 1; round < 200; round++) {
        x[me] = round * 1000 + me;
        qep_window_sync_all(w);
        bool ok = true;
        for (int q = 0; q < n; q++) ok = ok && x[q] == round * 1000 + q;
        assert_all(world, ok); /* also keeps the ranks together: nobody writes round + 1 before */
    }
    qep_window_destroy_all(&w);
}

static void nodes_are_apart(void **state)
{
    (void)state;
    qep_window *w = qep_window_create_all(world, "test.window", 8);
    int64_t *x = qep_window_data(w);
    if (qep_node_rank(world) == 0) *x = 70 + qep_node_id(world);
    qep_window_sync_all(w);
    assert_all(world, *x == 70 + qep_node_id(world));
    qep_window_destroy_all(&w);
}

static void broadcast(void **state)
{
    (void)state;
    enum { N = 5003 };
    const int64_t cut[][2] = {{0, 0}, {0, 1}, {0, N}, {1, N - 1}, {100, 47}, {100, 48}, {100, 49}, {N, 0}};
    unsigned char *src = qep_alloc("test", N, 1);
    qep_window *w = qep_window_create_all(world, "test.window", N);
    const unsigned char *x = qep_window_data(w);
    unsigned char *want = qep_alloc("test", N, 1);
    for (int root = 0; root < qep_size(world); root++) {
        for (size_t k = 0; k < sizeof cut / sizeof *cut; k++) {
            int64_t from = cut[k][0], n = cut[k][1], key = root * 10 + (int64_t)k;
            for (int64_t i = 0; i < n; i++) src[i] = want[from + i] = byte_of(key, i);
            qep_window_bcast_all(w, root, qep_rank(world) == root ? src : NULL, from, n);
            assert_all(world, memcmp(x, want, N) == 0);
        }
    }
    qep_free(want);
    qep_free(src);
    qep_window_destroy_all(&w);
}

/* how the window is cut among P ranks: evenly in order, in reverse order (nothing adjacent), one rank only,
 * odd ranks nothing, nothing at all */
static void cut_of(int kind, int P, int64_t n, int64_t *begin, int64_t *count)
{
    for (int r = 0; r < P; r++) {
        qep_partition(n, P, kind == 1 ? P - 1 - r : r, &begin[r], &count[r]);
        if ((kind == 2 && r != P / 2) || (kind == 3 && r % 2) || kind == 4) count[r] = 0;
        if (kind == 5 && count[r] > 1) begin[r]++, count[r]--; /* a gap before each */
    }
}

static void merge(void **state)
{
    (void)state;
    enum { N = 1009 };
    int P = qep_size(world), me = qep_rank(world);
    int64_t *begin = qep_alloc("test", 2 * P, sizeof *begin), *count = begin + P;
    qep_window *w = qep_window_create_all(world, "test.window", N);
    unsigned char *x = qep_window_data(w), *want = qep_alloc("test", N, 1);
    for (int kind = 0; kind < 6; kind++) {
        cut_of(kind, P, N, begin, count);
        for (int r = 0; r < P; r++)
            for (int64_t i = 0; i < count[r]; i++) want[begin[r] + i] = byte_of(kind * 100 + r, i);
        for (int64_t i = 0; i < count[me]; i++) x[begin[me] + i] = byte_of(kind * 100 + me, i);
        qep_window_merge_all(w, begin, count);
        assert_all(world, memcmp(x, want, N) == 0);
    }
    qep_free(want);
    qep_free(begin);
    qep_window_destroy_all(&w);
}

static void several_windows(void **state)
{
    (void)state;
    int64_t blocks = qep_mem_blocks();
    qep_window *a = qep_window_create_all(world, "test.a", 1000), *b = qep_window_create_all(world, "test.b", 3000);
    unsigned char src[1000];
    memset(src, 1, sizeof src);
    qep_window_bcast_all(a, 0, src, 0, 1000);
    memset(src, 2, sizeof src);
    qep_window_bcast_all(b, qep_size(world) - 1, src, 2000, 1000);
    const unsigned char *x = qep_window_data(a), *y = qep_window_data(b);
    assert_all(world, x[0] == 1 && x[999] == 1 && y[1999] == 0 && y[2000] == 2 && y[2999] == 2);
    qep_window_destroy_all(&a);
    assert_all(world, y[2999] == 2);
    qep_window_destroy_all(&b);
    assert_all(world, qep_mem_blocks() == blocks);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(fresh_window), cmocka_unit_test(node_sees_writes), cmocka_unit_test(nodes_are_apart),
    cmocka_unit_test(broadcast),    cmocka_unit_test(merge),            cmocka_unit_test(several_windows),
};

QEP_TEST_MAIN_MPI(tests)
