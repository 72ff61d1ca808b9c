/* Cases of the collectives; compiled once with the default chunk and once with a tiny one.
 * SPDX-License-Identifier: Apache-2.0 */
#include "qep_test.h"
#include "qep/par.h"

static qep_comm *world;

static const int64_t sizes[] = {0, 1, 7, 8, 47, 48, 49, 96, 97, 1009, 70001};
enum { N_SIZES = sizeof sizes / sizeof *sizes };

/* A byte and a word that know where they come from. */
static unsigned char byte_of(int64_t a, int64_t b, int64_t i)
{
    const int64_t key[3] = {a, b, i};
    return (unsigned char)qep_hash64(key, sizeof key, 1);
}

static int64_t word_of(int64_t a, int64_t b, int64_t i)
{
    const int64_t key[3] = {a, b, i};
    return (int64_t)qep_hash64(key, sizeof key, 2);
}

static bool bytes_are(const unsigned char *x, int64_t a, int64_t b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (x[i] != byte_of(a, b, i)) return false;
    return true;
}

static void numbers_of_ranks(void **state)
{
    (void)state;
    int P = qep_size(world), r = qep_rank(world);
    assert_all(world, r >= 0 && r < P);
    const char *env = getenv("QEP_RANKS_PER_NODE");
    int k = env ? atoi(env) : P; /* the tests run on one machine */
    if (k > P) k = P;
    assert_all(world, qep_n_nodes(world) == (P + k - 1) / k);
    int n = qep_n_nodes(world), last = P - (n - 1) * k;
    assert_all(world, qep_node_size(world) == (qep_node_id(world) == n - 1 ? last : k));
    bool same = true;
    for (int q = 0, round = 0, node = 0; q < P; q++, node++) { /* over the nodes in turn; the last one may be full before the others */
        if (node == (round < last ? n : n - 1)) round++, node = 0;
        same = same && qep_node_of(world, q) == node;
        if (q == r) same = same && qep_node_id(world) == node && qep_node_rank(world) == round;
    }
    assert_all(world, same);
    assert_all(world, qep_host(world)[0] != '\0');
    assert_all(world, qep_par_library()[0] != '\0' && !strchr(qep_par_library(), '\n'));
}

static void partition_covers(void **state)
{
    (void)state;
    for (int64_t n = 0; n < 40; n++) {
        for (int64_t parts = 1; parts < 13; parts++) {
            int64_t at = 0, first = 0;
            for (int64_t p = 0; p < parts; p++) {
                int64_t begin = -1, count = -1;
                qep_partition(n, parts, p, &begin, &count);
                if (p == 0) first = count;
                assert_int_equal(begin, at);
                assert_true(count <= first && count >= first - 1);
                at += count;
            }
            assert_int_equal(at, n);
        }
    }
    int64_t begin = 0, count = 0;
    qep_partition(INT64_C(3000000000007), 4, 3, &begin, &count);
    assert_int_equal(begin + count, INT64_C(3000000000007));
}

/* true when the text of the error record is the same on all ranks */
static bool same_record(void)
{
    uint64_t h = qep_hash64(qep_error_text(), strlen(qep_error_text()), 3) ^
                 qep_hash64(qep_error_where(), strlen(qep_error_where()), 4);
    int64_t v[2] = {(int64_t)h, ~(int64_t)h};
    qep_max_i64_all(world, v, 2);
    return v[0] == (int64_t)h && v[1] == ~(int64_t)h;
}

static void agreement(void **state)
{
    (void)state;
    int P = qep_size(world), r = qep_rank(world);
    qep_error_clear();
    assert_all(world, qep_agree_all(world, QEP_OK) == QEP_OK);
    assert_all(world, qep_error_text()[0] == '\0');
    for (int bad = 0; bad < P; bad++) { /* `bad` and all ranks behind it fail, each in its own way */
        qep_status mine = QEP_OK;
        if (r >= bad) mine = qep_fail(r == bad ? QEP_E_INPUT : QEP_E_IO, "cause %d", r);
        assert_all(world, qep_agree_all(world, mine) == QEP_E_INPUT);
        char want[32];
        snprintf(want, sizeof want, "cause %d", bad);
        assert_all(world, strstr(qep_error_text(), want) != NULL);
        assert_all(world, (bad > 0) == (strncmp(qep_error_text(), "rank ", 5) == 0));
        assert_all(world, strstr(qep_error_where(), "collect_cases.h:") != NULL);
        assert_all(world, same_record());
        /* agreeing once more on the agreed status changes nothing */
        char before[128];
        snprintf(before, sizeof before, "%s", qep_error_text());
        assert_all(world, qep_agree_all(world, QEP_E_INPUT) == QEP_E_INPUT);
        assert_all(world, strcmp(before, qep_error_text()) == 0);
        qep_error_clear();
    }
}

static void agreement_on_every_status(void **state)
{
    (void)state;
    for (int s = QEP_E_CONFIG; s <= QEP_E_STOPPED; s++) {
        int last = qep_size(world) - 1;
        qep_status mine = qep_rank(world) == last ? qep_fail((qep_status)s, "x") : QEP_OK;
        assert_all(world, qep_agree_all(world, mine) == (qep_status)s);
    }
    qep_error_clear();
}

static void any_rank(void **state)
{
    (void)state;
    assert_all(world, !qep_any_all(world, false));
    for (int q = 0; q < qep_size(world); q++)
        assert_all(world, qep_any_all(world, qep_rank(world) == q));
}

static void broadcast(void **state)
{
    (void)state;
    for (int root = 0; root < qep_size(world); root++) {
        for (int k = 0; k < N_SIZES; k++) {
            int64_t n = sizes[k];
            unsigned char *x = qep_alloc("test", n + 1, 1);
            x[n] = 99;
            for (int64_t i = 0; i < n && qep_rank(world) == root; i++) x[i] = byte_of(root, n, i);
            qep_bcast_all(world, root, x, n);
            assert_all(world, bytes_are(x, root, n, n) && x[n] == 99);
            qep_free(x);
        }
    }
}

static void broadcast_text(void **state)
{
    (void)state;
    const char *const texts[] = {"", "a", "key = value with \xc3\xa4\n[section]\nmore = 0123456789012345678901234567890\n"};
    for (int root = 0; root < qep_size(world); root++) {
        for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
            bool mine = qep_rank(world) == root;
            char *text = mine || k == 1 ? qep_strdup("text", mine ? texts[k] : "old") : NULL;
            int64_t bytes = -1;
            qep_bcast_text_all(world, root, &text, &bytes);
            assert_all(world, bytes == (int64_t)strlen(texts[k]) && strcmp(text, texts[k]) == 0);
            qep_free(text);
        }
    }
}

static void integer_sums(void **state)
{
    (void)state;
    int P = qep_size(world), r = qep_rank(world);
    for (int k = 0; k < N_SIZES; k++) {
        int64_t n = sizes[k] / 8 + sizes[k] % 8;
        int64_t *x = qep_alloc("test", n + 1, sizeof *x), *m = qep_alloc("test", n + 1, sizeof *m);
        uint64_t *u = qep_alloc("test", n + 1, sizeof *u);
        for (int64_t i = 0; i < n; i++) {
            x[i] = word_of(r, n, i) >> 8; /* no overflow with up to 128 ranks */
            m[i] = word_of(r, n, i);
            u[i] = (uint64_t)word_of(r, n, i);
        }
        qep_sum_i64_all(world, x, n);
        qep_sum_u64_all(world, u, n);
        qep_max_i64_all(world, m, n);
        bool ok = x[n] == 0 && u[n] == 0 && m[n] == 0;
        for (int64_t i = 0; i < n; i++) {
            int64_t sum = 0, max = INT64_MIN;
            uint64_t usum = 0;
            for (int q = 0; q < P; q++) {
                sum += word_of(q, n, i) >> 8;
                usum += (uint64_t)word_of(q, n, i);
                if (word_of(q, n, i) > max) max = word_of(q, n, i);
            }
            ok = ok && x[i] == sum && u[i] == usum && m[i] == max;
        }
        assert_all(world, ok);
        qep_free(x);
        qep_free(m);
        qep_free(u);
    }
}

static void real_reductions(void **state)
{
    (void)state;
    enum { N = 31 };
    int P = qep_size(world), r = qep_rank(world);
    double sum[N], max[N], min[N];
    float maxf[N];
    for (int i = 0; i < N; i++) {
        sum[i] = i % P == r ? 0.1 * i : 0.0;
        max[i] = (double)((r + i) % P) - 0.5;
        min[i] = -max[i];
        maxf[i] = (float)max[i];
        if (i == 7 && r == P - 1) max[i] = min[i] = maxf[i] = NAN;
        if (i == 8 && r == 0) max[i] = min[i] = maxf[i] = NAN;
    }
    qep_sum_f64_all(world, sum, N);
    qep_max_f64_all(world, max, N);
    qep_min_f64_all(world, min, N);
    qep_max_f32_all(world, maxf, N);
    bool ok = true;
    for (int i = 0; i < N; i++) {
        bool nan = i == 7 || i == 8;
        double want = P - 1.5;
        ok = ok && sum[i] == 0.1 * i;
        ok = ok && (nan ? isnan(max[i]) && isnan(min[i]) && isnan(maxf[i])
                        : max[i] == want && min[i] == -want && maxf[i] == (float)want);
    }
    assert_all(world, ok);
}

static void gather(void **state)
{
    (void)state;
    int P = qep_size(world), r = qep_rank(world);
    for (int root = 0; root < P; root++) {
        for (int64_t unit = 0; unit < 130; unit += 43) { /* rank q sends q * unit bytes + 1, rank 1 nothing */
            int64_t n = r == 1 ? 0 : r * unit + 1, total = -1, want = 0;
            unsigned char *mine = qep_alloc("test", n, 1);
            for (int64_t i = 0; i < n; i++) mine[i] = byte_of(r, unit, i);
            void *out = &total;
            qep_gather_all(world, root, n ? mine : NULL, n, &out, &total);
            bool ok = r == root ? out != NULL : out == NULL;
            for (int q = 0; q < P && r == root; q++) {
                int64_t nq = q == 1 ? 0 : q * unit + 1;
                ok = ok && want + nq <= total && bytes_are((unsigned char *)out + want, q, unit, nq);
                want += nq;
            }
            assert_all(world, ok && total == want);
            qep_free(out);
            qep_free(mine);
        }
    }
}

/* Length of the message from a to b: all kinds, among them none. */
static int64_t length_of(int a, int b, int64_t unit)
{
    return (a + 2 * b) % 3 == 1 ? 0 : unit * (1 + a) + b;
}

static void exchange(void **state)
{
    (void)state;
    int P = qep_size(world), r = qep_rank(world);
    for (int64_t unit = 0; unit < 120; unit += 47) {
        int64_t *v = qep_alloc("test", 4 * P, sizeof *v);
        int64_t *count = v, *displ = v + P, *rcount = v + 2 * P, *rdispl = v + 3 * P, ns = 0, nr = 0;
        for (int q = P - 1; q >= 0; q--) { /* backwards in send, with a gap of 3 bytes in recv */
            count[q] = length_of(r, q, unit);
            displ[q] = ns;
            ns += count[q];
            rcount[q] = length_of(q, r, unit);
            rdispl[q] = nr;
            nr += rcount[q] + 3;
        }
        unsigned char *send = qep_alloc("test", ns, 1), *recv = qep_alloc("test", nr, 1);
        memset(recv, 0xee, (size_t)nr);
        for (int q = 0; q < P; q++)
            for (int64_t i = 0; i < count[q]; i++) send[displ[q] + i] = byte_of(r * 100 + q, unit, i);
        qep_exchange_all(world, send, count, displ, recv, rcount, rdispl);
        bool ok = true;
        for (int q = 0; q < P; q++) {
            ok = ok && bytes_are(recv + rdispl[q], q * 100 + r, unit, rcount[q]);
            for (int i = 0; i < 3; i++) ok = ok && recv[rdispl[q] + rcount[q] + i] == 0xee;
        }
        assert_all(world, ok);
        qep_free(send);
        qep_free(recv);
        qep_free(v);
    }
}

/* counts: even, ragged with zeros, all on the last rank, nothing at all */
static int64_t owned(int kind, int q, int P)
{
    switch (kind) {
    case 0: return 13;
    case 1: return q % 2 ? 0 : 5 + 61 * q;
    case 2: return q == P - 1 ? 1009 : 0;
    default: return 0;
    }
}

/* Elements of a sum in all, descending by rank, with a gap of 2. */
static int64_t lay_out(int kind, int64_t *count, int64_t *displ)
{
    int64_t n = 0;
    for (int q = qep_size(world) - 1; q >= 0; q--) {
        count[q] = owned(kind, q, qep_size(world));
        displ[q] = n;
        n += count[q] + 2;
    }
    return n;
}

/* What the node should have at the end where rank q's part is, and in the gap behind it. */
static bool part_is(const qep_node_sum *s, int kind, int q)
{
    const int node = qep_node_id(world);
    bool ok = true;
    for (int64_t i = s->displ[q]; i < s->displ[q] + s->count[q] + 2; i++) {
        uint64_t want = 0;
        if (i >= s->displ[q] + s->count[q]) want = (uint64_t)word_of(node, kind, i);
        else if (qep_node_of(world, q) == node)
            for (int k = 0; k < qep_n_nodes(world); k++) want += (uint64_t)word_of(k, kind, i); /* wraps around */
        ok = ok && (uint64_t)s->data[i] == want;
    }
    return ok;
}

/* Sums of all kinds at the same time. */
static void sums_over_nodes(void **state)
{
    (void)state;
    enum { KINDS = 4 };
    const int P = qep_size(world);
    qep_window *w[KINDS];
    qep_node_sum sums[KINDS];
    int64_t *counts[KINDS];
    for (int kind = 0; kind < KINDS; kind++) {
        int64_t *count = counts[kind] = qep_alloc("test", 2 * P, sizeof *count), n = lay_out(kind, count, count + P);
        w[kind] = qep_window_create_all(world, "test.sum", n * (int64_t)sizeof n);
        sums[kind] = (qep_node_sum){qep_window_data(w[kind]), count, count + P};
        for (int64_t i = 0; i < n && qep_node_rank(world) == 0; i++) sums[kind].data[i] = word_of(qep_node_id(world), kind, i);
        qep_window_sync_all(w[kind]);
    }
    for (int n = 0; n <= KINDS; n += KINDS) { /* none, all */
        qep_sum *s = qep_sum_begin(world, sums, n);
        for (int i = 0; i < 3; i++) qep_sum_poll(s);
        qep_sum_end(&s);
        assert_all(world, s == NULL);
    }
    for (int kind = 0; kind < KINDS; kind++) {
        bool ok = true;
        qep_window_sync_all(w[kind]);
        for (int q = 0; q < P; q++) ok = ok && part_is(&sums[kind], kind, q);
        assert_all(world, ok);
        qep_free(counts[kind]);
        qep_window_destroy_all(&w[kind]);
    }
}

static void traffic_is_counted(void **state)
{
    (void)state;
    char buf[100] = {0};
    qep_meter phase = {0};
    const qep_meter begin = qep_meter_now();
    qep_bcast_all(world, 0, buf, sizeof buf);
    qep_meter_add(&phase, &begin);
    bool sends = qep_size(world) > 1 && qep_rank(world) == 0;
    int64_t chunk = getenv("QEP_PAR_CHUNK") ? atoi(getenv("QEP_PAR_CHUNK")) : 1 << 20;
    assert_all(world, phase.bytes == (sends ? 100 : 0));
    assert_all(world, phase.messages == (sends ? qep_ceil_div(100, chunk) : 0));
}

/* What is collective over a rank alone concerns nobody else and sends nothing. */
static void alone(void **state)
{
    (void)state;
    qep_comm *c = qep_comm_alone(world);
    int64_t rank = qep_rank(world), got = -1;
    const int64_t size = (int64_t)sizeof rank, zero = 0;
    bool ok = qep_size(c) == 1 && qep_rank(c) == 0 && qep_n_nodes(c) == 1 && qep_node_of(c, 0) == 0 && qep_comm_alone(c) == c;
    const qep_meter before = qep_meter_now();
    if (rank % 2 == 0) { /* the others do not take part */
        double x = (double)rank;
        qep_sum_f64_all(c, &x, 1);
        ok = ok && x == (double)rank && qep_any_all(c, rank > 0) == (rank > 0) && qep_agree_all(c, rank > 0 ? QEP_E_IO : QEP_OK) == (rank > 0 ? QEP_E_IO : QEP_OK);
        qep_exchange_all(c, &rank, &size, &zero, &got, &size, &zero);
        qep_window *w = qep_window_create_all(c, "test.alone", 100);
        qep_window_merge_all(w, &zero, &size);
        qep_barrier_all(c);
        ok = ok && got == rank && qep_window_bytes(w) == 100;
        qep_window_destroy_all(&w);
    }
    const qep_meter after = qep_meter_now();
    qep_error_clear();
    assert_all(world, ok && (qep_size(world) == 1 || (after.bytes == before.bytes && after.messages == before.messages)));
}

static void nothing_leaks(void **state)
{
    (void)state;
    int64_t before = qep_mem_blocks();
    agreement(state);
    broadcast_text(state);
    gather(state);
    exchange(state);
    sums_over_nodes(state);
    assert_all(world, qep_mem_blocks() == before);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(numbers_of_ranks),  cmocka_unit_test(partition_covers),
    cmocka_unit_test(agreement),         cmocka_unit_test(agreement_on_every_status),
    cmocka_unit_test(any_rank),          cmocka_unit_test(broadcast),
    cmocka_unit_test(broadcast_text),    cmocka_unit_test(integer_sums),
    cmocka_unit_test(real_reductions),   cmocka_unit_test(gather),
    cmocka_unit_test(exchange),          cmocka_unit_test(sums_over_nodes),
    cmocka_unit_test(traffic_is_counted), cmocka_unit_test(alone), cmocka_unit_test(nothing_leaks),
};

QEP_TEST_MAIN_MPI(tests)
