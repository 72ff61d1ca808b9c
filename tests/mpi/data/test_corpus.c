/* Which sequences a run takes, and who owns which. SPDX-License-Identifier: Apache-2.0 */
#include "data_files.h"

enum { vocab = 1000 };

/* A configuration of the keys `rest` whose relative paths start in the test's directory; no held-out sequences unless it asks for them. */
static qep_config *configure(const char *rest)
{
    qep_config *cfg;
    char *text = qep_strf("test",
                          "[model]\npath = m\n[output]\npath = o\n[quantization]\nmethod = "
                          "rtn\n[correction]\nmethod = none\n%s",
                          rest);
    char *source = qep_path_join(dir, "run.ini");
    const char *none = "calibration.validation=0";
    assert_ok(qep_config_parse(text, source, &none, strstr(rest, "validation =") ? 0 : 1, &cfg));
    qep_free(text);
    qep_free(source);
    return cfg;
}

static qep_corpus *open_corpus(const char *rest)
{
    qep_corpus *k;
    qep_config *cfg = configure(rest);
    assert_ok(qep_corpus_open_all(world, cfg, vocab, false, NULL, &k));
    qep_config_destroy(&cfg);
    return k;
}

static void expect_failure(const char *rest, qep_status want, const char *say)
{
    qep_corpus *k = (qep_corpus *)&k;
    qep_config *cfg = configure(rest);
    assert_fails(qep_corpus_open_all(world, cfg, vocab, false, NULL, &k), want, say);
    assert_null(k);
    qep_config_destroy(&cfg);
}

/* id of the token at flat index i of file f: tells where it came from */
static int32_t token(int f, int64_t i)
{
    return (int32_t)((i + 300 * f) % vocab);
}

static int write_files(void **state)
{
    if (make_dir(state)) return -1;
    int32_t ids[700];
    for (int i = 0; i < 700; i++) ids[i] = token(0, i);
    write_ids("line.npy", 0, 700, ids); /* one-dimensional */
    for (int i = 0; i < 60; i++) ids[i] = token(1, i);
    write_ids("rows.npy", 10, 6, ids);
    ids[59] = vocab;
    write_ids("wild.npy", 10, 6, ids);
    write_ids("empty.npy", 0, 0, ids);
    return 0;
}

/* Every sequence's ids, on every rank, by an exchange of what each rank holds. */
static void check_ids(const qep_corpus *k, int (*file_of)(const qep_seq *), int64_t cols)
{
    int64_t *have = qep_alloc("test", k->n, sizeof *have), i = 0;
    bool right = true;
    for (int kind = 0; kind < QEP_N_SEQ_KINDS; kind++) {
        const qep_corpus_part *p = &k->part[kind];
        int64_t tokens = 0, before = 0;
        for (int64_t j = 0; j < p->count; j++, i++) {
            const qep_seq *q = &k->seqs[p->begin + j];
            have[p->begin + j]++;
            tokens += q->length;
            right = right && (int)q->kind == kind;
            int64_t width = file_of(q) == 1 ? cols : 0;
            for (int64_t t = 0; t < q->length; t++)
                right = right && k->ids[i][t] == token(file_of(q), q->row * width + q->first + t);
        }
        for (int64_t j = 0; j < p->begin; j++)
            if ((int)k->seqs[j].kind == kind) before += k->seqs[j].length;
        right = right && tokens == p->tokens && before == p->token_begin;
    }
    qep_sum_i64_all(world, have, k->n);
    for (int64_t j = 0; j < k->n; j++) right = right && have[j] == 1;
    qep_free(have);
    assert_all(world, right);
}

static int all_line(const qep_seq *q)
{
    (void)q;
    return 0;
}

static int all_rows(const qep_seq *q)
{
    (void)q;
    return 1;
}

static int by_kind(const qep_seq *q)
{
    return q->kind == QEP_SEQ_EVALUATION ? 1 - q->set : 0;
}

static void sequential_windows(void **state)
{
    (void)state;
    qep_corpus *k = open_corpus(
        "[calibration]\ndata = line.npy\nsamples = 7\nlength = 100\nselection = sequential\n");
    assert_int_equal(k->n, 7);
    assert_int_equal(k->count[QEP_SEQ_CALIBRATION], 7);
    assert_int_equal(k->kind_tokens[QEP_SEQ_CALIBRATION], 700);
    assert_int_equal(k->tokens, 700);
    assert_int_equal(k->max_length, 100);
    assert_int_equal(k->n_sets, 0);
    for (int i = 0; i < 7; i++) assert_int_equal(k->seqs[i].first, 100 * i);
    check_ids(k, all_line, 0);
    qep_corpus_destroy(&k);
    assert_null(k);
}

/* random.seed(0); [random.randint(0, 700 - 50 - 1) for _ in range(5)] and the same with seed 11 */
static void random_windows(void **state)
{
    (void)state;
    static const int64_t want[2][5] = {{394, 430, 41, 265, 523}, {463, 573, 476, 462, 520}};
    for (int s = 0; s < 2; s++) {
        qep_corpus *k =
            open_corpus(s ? "[calibration]\ndata = line.npy\nsamples = 5\nlength = 50\nseed = 11\n"
                          : "[calibration]\ndata = line.npy\nsamples = 5\nlength = 50\n");
        for (int i = 0; i < 5; i++) assert_int_equal(k->seqs[i].first, want[s][i]);
        check_ids(k, all_line, 0);
        qep_corpus_destroy(&k);
    }
}

static void rows(void **state)
{
    (void)state;
    qep_corpus *k =
        open_corpus("[calibration]\ndata = rows.npy\nsamples = 4\nselection = sequential\n");
    assert_int_equal(k->n, 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(k->seqs[i].row, i);
        assert_int_equal(k->seqs[i].length, 6);
    }
    check_ids(k, all_rows, 6);
    qep_corpus_destroy(&k);
    k = open_corpus("[calibration]\ndata = rows.npy\nsamples = 10\n"); /* random, but all of them */
    for (int i = 0; i < 10; i++) assert_int_equal(k->seqs[i].row, i);
    qep_corpus_destroy(&k);
    int64_t times[10] = {0};
    for (int seed = 0; seed < 200; seed++) {
        char text[100];
        snprintf(text, sizeof text,
                 "[calibration]\ndata = rows.npy\nsamples = 3\nlength = 5\nseed = %d\n", seed);
        k = open_corpus(text);
        assert_int_equal(k->n, 3);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(k->seqs[i].length, 5);
            if (i) assert_true(k->seqs[i].row > k->seqs[i - 1].row);
            times[k->seqs[i].row]++;
        }
        if (seed == 0) check_ids(k, all_rows, 6);
        qep_corpus_destroy(&k);
    }
    /* each row 60 times on average, standard deviation 6.5 */
    for (int i = 0; i < 10; i++) assert_true(times[i] > 30 && times[i] < 90);
}

static void several_files(void **state)
{
    (void)state;
    qep_corpus *k = open_corpus("[calibration]\ndata = line.npy, rows.npy, line.npy\nsamples = "
                                "8\nlength = 6\nselection = sequential\n");
    static const int files[] = {0, 0, 0, 1, 1, 1, 2, 2};
    for (int i = 0; i < 8; i++) assert_int_equal(k->seqs[i].set, files[i]);
    assert_int_equal(k->seqs[6].first, 0);
    qep_corpus_destroy(&k);
}

static void evaluation_sets(void **state)
{
    (void)state;
    qep_corpus *k = open_corpus("[calibration]\ndata = line.npy\nsamples = 3\nlength = "
                                "4\n[evaluation]\ndata = r:rows.npy, l:line.npy\ntokens = 30\n");
    assert_int_equal(k->n_sets, 2);
    assert_string_equal(k->set_names[0], "r");
    assert_string_equal(k->set_names[1], "l");
    /* as calibration: 4 tokens; one window in each row of 6, at most 7 windows in 30 tokens */
    assert_int_equal(k->n, 3 + 7 + 7);
    assert_int_equal(k->count[QEP_SEQ_CALIBRATION], 3);
    assert_int_equal(k->tokens, 4 * 17);
    assert_int_equal(k->kind_tokens[QEP_SEQ_CALIBRATION], 12);
    for (int i = 0; i < 7; i++) {
        assert_int_equal(k->seqs[3 + i].row, i);
        assert_int_equal(k->seqs[3 + i].set, 0);
        assert_int_equal(k->seqs[10 + i].first, 4 * i);
        assert_int_equal(k->seqs[10 + i].set, 1);
    }
    check_ids(k, by_kind, 6);
    qep_corpus_destroy(&k);
    k = open_corpus(
        "[evaluation]\ndata = l:line.npy\nlength = 99\n"); /* the last partial window is dropped */
    assert_int_equal(k->n, 7);
    assert_int_equal(k->count[QEP_SEQ_CALIBRATION], 0);
    qep_corpus_destroy(&k);
    k = open_corpus("[calibration]\ndata = line.npy\nsamples = 3\nlength = 100\n[evaluation]\ndata "
                    "= r:rows.npy\n"); /* rows are shorter */
    assert_int_equal(k->n, 13);
    assert_int_equal(k->seqs[3].length, 6);
    qep_corpus_destroy(&k);
    k = open_corpus("");
    assert_int_equal(k->n, 0);
    assert_int_equal(k->n_mine, 0);
    qep_corpus_destroy(&k);
}

/* Held-out sequences by the rule of data.h, the long way: a mark per place, then a look at every place. places: rows or tokens of the file, span: places of a sequence.
 * The generator goes on where the calibration draws ended. */
static void check_held_out(const qep_corpus *k, bool rows, bool random, int64_t places, int64_t span,
                           int64_t want, qep_mt19937 *r)
{
    bool used[700] = {false};
    int64_t slots[700], there = 0, taken = 0;
    const int64_t n = k->count[QEP_SEQ_CALIBRATION];
    for (int64_t i = 0; i < n; i++)
        for (int64_t t = 0; t < span; t++)
            used[(rows ? k->seqs[i].row : k->seqs[i].first) + t] = true;
    for (int64_t p = 0; p + span <= places; p++) {
        bool is_free = true;
        for (int64_t t = 0; t < span; t++) is_free = is_free && !used[p + t];
        if (!is_free) continue;
        slots[there++] = p;
        p += span - 1;
    }
    want = want < there ? want : there;
    assert_int_equal(k->count[QEP_SEQ_VALIDATION], want);
    for (int64_t i = 0; i < there && taken < want; i++) {
        if (random && qep_mt_randint(r, 0, there - i - 1) >= want - taken) continue;
        const qep_seq *q = &k->seqs[n + taken++];
        assert_int_equal(q->kind, QEP_SEQ_VALIDATION);
        assert_int_equal(rows ? q->row : q->first, slots[i]);
        assert_int_equal(rows ? q->first : q->row, 0);
        assert_int_equal(q->length, k->seqs[0].length);
    }
}

static void held_out_windows(void **state)
{
    (void)state;
    static const int lengths[] = {1, 7, 10, 50, 99}, samples[] = {1, 3, 20};
    int64_t held = 0;
    for (int random = 0; random < 2; random++)
        for (int l = 0; l < 5; l++)
            for (int s = 0; s < 3; s++)
                for (int seed = 0; seed < 3; seed++) {
                    if (!random && lengths[l] * samples[s] > 700) continue;
                    char text[200];
                    snprintf(text, sizeof text,
                             "[calibration]\ndata = line.npy\nsamples = %d\nlength = %d\nseed = "
                             "%d\nselection = %s\n",
                             samples[s], lengths[l], seed, random ? "random" : "sequential");
                    qep_corpus *without = open_corpus(text);
                    strcat(text, "validation = 16\n");
                    qep_corpus *k = open_corpus(text);
                    assert_int_equal(k->count[QEP_SEQ_CALIBRATION], samples[s]);
                    assert_memory_equal(k->seqs, without->seqs,
                                        (size_t)samples[s] * sizeof *k->seqs);
                    qep_mt19937 r;
                    qep_mt_seed(&r, (uint64_t)seed);
                    for (int i = 0; i < samples[s]; i++)
                        (void)qep_mt_randint(&r, 0, 700 - lengths[l] - 1);
                    check_held_out(k, false, random, 700, lengths[l], 16, &r);
                    held += k->count[QEP_SEQ_VALIDATION];
                    check_ids(k, all_line, 0);
                    qep_corpus_destroy(&without);
                    qep_corpus_destroy(&k);
                }
    assert_true(held > 200);
}

static void held_out_rows(void **state)
{
    (void)state;
    for (int random = 0; random < 2; random++)
        for (int samples = 1; samples <= 10; samples++) {
            char text[200];
            snprintf(text, sizeof text,
                     "[calibration]\ndata = rows.npy\nsamples = %d\nvalidation = 4\nseed = "
                     "5\nselection = %s\n",
                     samples, random ? "random" : "sequential");
            qep_corpus *k = open_corpus(text);
            qep_mt19937 r;
            qep_mt_seed(&r, 5);
            for (int i = 0; random && i <= k->seqs[samples - 1].row; i++)
                (void)qep_mt_randint(&r, 0, 10 - i - 1);
            check_held_out(k, true, random, 10, 1, 4, &r);
            assert_int_equal(k->count[QEP_SEQ_VALIDATION], samples > 6 ? 10 - samples : 4);
            check_ids(k, all_rows, 6);
            qep_corpus_destroy(&k);
        }
}

/* Files share the held-out sequences; evaluation sets come behind them. */
static void held_out_files(void **state)
{
    (void)state;
    static const int set[] = {0, 0, 1, 0, 0, 1, 1, 0};
    qep_corpus *k = open_corpus("[calibration]\ndata = line.npy, rows.npy\nsamples = 3\nvalidation = "
                                "4\nlength = 6\n[evaluation]\ndata = l:line.npy\ntokens = 6\n");
    assert_int_equal(k->n, 8);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(k->seqs[i].set, set[i]);
        assert_int_equal(k->seqs[i].kind, i < 3   ? QEP_SEQ_CALIBRATION
                                          : i < 7 ? QEP_SEQ_VALIDATION
                                                  : QEP_SEQ_EVALUATION);
    }
    assert_int_equal(k->kind_tokens[QEP_SEQ_VALIDATION], 24);
    assert_int_equal(k->tokens, 48);
    qep_corpus_destroy(&k);
}

/* The digest tells ids, kind and order; not the number of ranks (constants), not the files. */
static void digest(void **state)
{
    (void)state;
    const char *base = "[calibration]\ndata = line.npy\nsamples = 7\nlength = "
                       "10\n[evaluation]\ndata = l:line.npy\nlength = 10\n";
    qep_corpus *k = open_corpus(base), *same = open_corpus(base);
    static const char *const other[] = {
        "[calibration]\ndata = line.npy\nsamples = 7\nlength = 10\nseed = 1\n[evaluation]\ndata = "
        "l:line.npy\nlength = 10\n",
        "[calibration]\ndata = line.npy\nsamples = 7\nlength = 10\n",
        "[calibration]\ndata = line.npy\nsamples = 7\nlength = 10\n[evaluation]\ndata = "
        "l:line.npy\nlength = 11\n",
        "[calibration]\ndata = line.npy\nsamples = 8\nlength = 10\n[evaluation]\ndata = "
        "l:line.npy\nlength = 10\n",
        "[calibration]\ndata = line.npy\nsamples = 7\nvalidation = 1\nlength = "
        "10\n[evaluation]\ndata = l:line.npy\nlength = 10\n",
    };
    assert_memory_equal(k->digest, same->digest, sizeof k->digest);
    assert_true(k->digest[0] != k->digest[1]);
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        qep_corpus *o = open_corpus(other[i]);
        assert_true(o->digest[0] != k->digest[0] && o->digest[1] != k->digest[1]);
        qep_corpus_destroy(&o);
    }
    if (k->digest[0] != UINT64_C(0xb8c3af9d9937553f) ||
        k->digest[1] != UINT64_C(0x986d402e1798b2b8)) {
        fail_msg("digest 0x%llx 0x%llx on %d ranks", (unsigned long long)k->digest[0],
                 (unsigned long long)k->digest[1], qep_size(world));
    }
    qep_corpus_destroy(&k);
    qep_corpus_destroy(&same);
}

/* Shares of any number of ranks: in order, complete, and even to within one sequence. */
static void shares(void **state)
{
    (void)state;
    qep_seq seqs[40];
    for (int n = 0; n <= 40; n++) {
        for (int equal = 0; equal < 2; equal++) {
            qep_corpus k = {.seqs = seqs, .n = n};
            int64_t longest[QEP_N_SEQ_KINDS] = {0};
            for (int i = 0; i < n; i++) {
                const qep_seq_kind kind = i < n / 3       ? QEP_SEQ_CALIBRATION
                                          : i < 2 * n / 3 ? QEP_SEQ_VALIDATION
                                                          : QEP_SEQ_EVALUATION;
                seqs[i] = (qep_seq){kind, 0, 0, 0, equal ? 5 : 1 + i * i % 17};
                longest[kind] = qep_max_i64(longest[kind], seqs[i].length);
                k.count[kind]++;
                k.kind_tokens[kind] += seqs[i].length;
            }
            int64_t first = 0;
            for (int kind = 0; kind < QEP_N_SEQ_KINDS; kind++) {
                const int64_t many = k.count[kind], total = k.kind_tokens[kind];
                for (int ranks = 1; ranks <= 45; ranks++) {
                    int64_t at = first, tokens = 0;
                    for (int r = 0; r < ranks; r++) {
                        qep_corpus_part p;
                        qep_corpus_share(&k, (qep_seq_kind)kind, ranks, r, &p);
                        assert_int_equal(p.begin, at);
                        assert_int_equal(p.token_begin, tokens);
                        assert_int_equal(p.total_tokens, total);
                        at += p.count;
                        tokens += p.tokens;
                        assert_le_f(fabs((double)p.tokens - (double)total / ranks),
                                    (double)longest[kind]);
                        if (equal)
                            assert_true(p.count == many / ranks || p.count == many / ranks + 1);
                    }
                    assert_int_equal(at, first + many);
                    assert_int_equal(tokens, total);
                }
                first += many;
            }
        }
    }
}

static void refused(void **state)
{
    (void)state;
    static const struct {
        const char *rest;
        qep_status want;
        const char *say;
    } row[] = {
        {"[calibration]\ndata = absent.npy\n", QEP_E_INPUT, "calibration.data: cannot open"},
        {"[evaluation]\ndata = a:absent.npy\n", QEP_E_INPUT, "evaluation.data: cannot open"},
        {"[calibration]\ndata = text.txt\n", QEP_E_INPUT, "cannot open"},
        {"[calibration]\ndata = text.csv\n", QEP_E_INPUT, "numpy.save"},
        {"[calibration]\ndata = rows.npy\nsamples = 11\n", QEP_E_INPUT,
         "calibration.samples (11 from this file)"},
        {"[calibration]\ndata = rows.npy\nsamples = 2\nlength = 7\n", QEP_E_INPUT,
         "10 row(s) of 6 tokens"},
        {"[calibration]\ndata = line.npy\n", QEP_E_INPUT, "calibration.length (2048)"},
        {"[calibration]\ndata = line.npy\nlength = 700\n", QEP_E_INPUT, "one token more"},
        {"[calibration]\ndata = line.npy\nlength = 101\nsamples = 7\nselection = sequential\n",
         QEP_E_INPUT, "1 row(s) of 700 tokens"},
        {"[calibration]\ndata = empty.npy\nlength = 1\n", QEP_E_INPUT, "1 row(s) of 0 tokens"},
        {"[calibration]\ndata = line.npy, rows.npy\nsamples = 1\n", QEP_E_CONFIG,
         "calibration.samples = 1"},
        {"[calibration]\ndata = wild.npy\nsamples = 10\n", QEP_E_INPUT,
         "row 9, position 5: token id 1000"},
        {"[evaluation]\ndata = e:line.npy\nlength = 701\n", QEP_E_INPUT, "evaluation set e"},
        {"[evaluation]\ndata = e:line.npy\nlength = 100\ntokens = 99\n", QEP_E_INPUT,
         "within evaluation.tokens"},
        {"[evaluation]\ndata = e:empty.npy\n", QEP_E_INPUT, "not one window of 2048"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        expect_failure(row[i].rest, row[i].want, row[i].say);
    qep_config *cfg = configure("");
    qep_corpus *k;
    assert_fails(qep_corpus_open_all(world, cfg, vocab, true, NULL, &k), QEP_E_CONFIG,
                 "calibration.data is missing");
    qep_config_destroy(&cfg);
}

/* A fault on one rank is everybody's error, and leaves nothing behind. */
static void fault_on_one_rank(void **state)
{
    (void)state;
    char site[40];
    for (int read = 0; read < 2; read++) {
        snprintf(site, sizeof site, "%s:1@%d", read ? "data.read" : "data.open",
                 qep_size(world) - 1);
        setenv("QEP_FAULT", site, 1);
        qep_fault_init(qep_rank(world));
        expect_failure("[calibration]\ndata = line.npy\nsamples = 20\nlength = 10\n", QEP_E_IO,
                       "line.npy: injected fault");
    }
    unsetenv("QEP_FAULT");
    qep_fault_init(qep_rank(world));
}

static void nothing_left(void **state)
{
    (void)state;
    qep_mem_entry e[64];
    int n = qep_mem_table(e, 64);
    for (int i = 0; i < n && i < 64; i++) {
        if (strncmp(e[i].name, "data.", 5) == 0 && e[i].now)
            fail_msg("%s: %lld bytes", e[i].name, (long long)e[i].now);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(sequential_windows),
    cmocka_unit_test(random_windows),
    cmocka_unit_test(rows),
    cmocka_unit_test(several_files),
    cmocka_unit_test(evaluation_sets),
    cmocka_unit_test(held_out_windows),
    cmocka_unit_test(held_out_rows),
    cmocka_unit_test(held_out_files),
    cmocka_unit_test(digest),
    cmocka_unit_test(shares),
    cmocka_unit_test(refused),
    cmocka_unit_test(fault_on_one_rank),
    cmocka_unit_test(nothing_left),
};

int main(int argc, char **argv)
{
    world = qep_par_start(&argc, &argv);
    if (qep_rank(world) != 0 && !freopen("/dev/null", "w", stdout)) return 1;
    int64_t f = cmocka_run_group_tests(tests, write_files, remove_dir) != 0;
    qep_max_i64_all(world, &f, 1);
    qep_par_end(&world);
    return f != 0;
}
