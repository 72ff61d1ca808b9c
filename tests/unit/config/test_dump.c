/* The dump is a complete input that dumps to itself; identity; the files in config/. Run with
 * QEP_UPDATE=1 to write config/reference.ini anew. SPDX-License-Identifier: Apache-2.0 */
#include "qep_test.h"
#include "qep/config.h"
#include <dirent.h>

#define HEAD "[model]\npath = /m\n[output]\npath = /o\n[calibration]\ndata = /c.npy\n"

static qep_config *parse(const char *text, const char *source)
{
    qep_config *c;
    if (qep_config_parse(text, source, NULL, 0, &c) != QEP_OK)
        fail_msg("%s\n%s", qep_error_text(), text);
    return c;
}

/* Dump and identity survive a round trip through the dump, read from another directory. */
static void check_fixed_point(const char *text, const char *source)
{
    int64_t blocks = qep_mem_blocks();
    qep_config *a = parse(text, source);
    char *dump = qep_config_dump(a), *identity = qep_config_identity(a);
    qep_config *b = parse(dump, "/else/where/qep_mpi.ini");
    char *again = qep_config_dump(b), *identity_again = qep_config_identity(b);
    assert_string_equal(dump, again);
    assert_string_equal(identity, identity_again);
    assert_string_equal(a->checkpoint_path, b->checkpoint_path);
    assert_int_equal(a->n_overrides, b->n_overrides);
    qep_free(dump);
    qep_free(again);
    qep_free(identity);
    qep_free(identity_again);
    qep_config_destroy(&a);
    qep_config_destroy(&b);
    assert_int_equal(qep_mem_blocks(), blocks);
}

static void fixed_points(void **state)
{
    (void)state;
    static const char *const rest[] = {
        "",
        "[quantization]\ndamping = 0.1\n[correction]\nalpha = 0.30000000000000004\ndamping = "
        "1e-300\n",
        "[quantization]\ndamping = -0\n",
        "[run]\nwalltime = 0.1\n",
        "[run]\nwalltime = 11:50:00\nthreads = 0\n[checkpoint]\nevery = 0\npath = 'a b#c'\n",
        "[evaluation]\ndata = a:x, \"b:y, z\", 'c:q \"r\"'\nlength = 5\ntokens = 77\n",
        "[override x]\nmatch = \"* # ;'\"\"\"\nbits = 2\nexclude =\nalpha = 0.7\n[override "
        "y]\nmatch = $${x}\ncorrection = none\nclip = none\nalpha = auto\n",
        "[correction]\nalpha = auto\n",
        "[solver]\ngrid = 3x1\nblock = 1\n",
        "[checkpoint]\npath = /o/checkpoint\n",
    };
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++) {
        char *text = qep_strf("test", HEAD "%s", rest[i]);
        check_fixed_point(text, "/d/run.ini");
        qep_free(text);
    }
    check_fixed_point("[model]\npath = '/m # , \"x\" $${y'''\n[output]\npath = "
                      "$$$${o\n[calibration]\ndata = \"a, b\", ' c '\n",
                      "run.ini");
    check_fixed_point("[model]\npath = m\n[output]\npath = o\n[quantization]\nmethod = none\n",
                      "x/run.ini");
}

static void dump_is_absolute(void **state)
{
    (void)state;
    qep_config *c = parse("[model]\npath = m\n[output]\npath = ../o\n[calibration]\ndata = c.npy\n",
                          "/d/run.ini");
    char *dump = qep_config_dump(c);
    assert_non_null(strstr(dump, "\npath = /d/m\n"));
    assert_non_null(strstr(dump, "\npath = /d/../o\n"));
    assert_non_null(strstr(dump, "\ndata = /d/c.npy\n"));
    assert_non_null(strstr(dump, "\npath = auto\n"));
    assert_non_null(strstr(dump, "\nshard_size = 5G\n"));
    assert_non_null(strstr(dump, "\ndamping = 0.3\n"));
    qep_free(dump);
    qep_config_destroy(&c);
}

/* Changes that a resumed run may have, and changes that it may not. */
static void identity(void **state)
{
    (void)state;
    static const struct {
        const char *rest;
        bool same;
    } row[] = {
        {"[run]\nthreads = 3\nwalltime = 10\nlog_level = debug\nactivations = keep\non_failure = "
         "abort\n",
         true},
        {"[checkpoint]\npath = /x\nevery = 5\nkeep = 1\n", true},
        {"[solver]\ngrid = 4x1\n", true},
        {"[quantization]\nbits = 4\n", true},
        {"[quantization]\nbits = 3\n", false},
        {"[quantization]\nlm_head = yes\n", false},
        {"[correction]\nalpha = 0.5\n", false},
        {"[correction]\nexclude = down_proj\n", false},
        {"[run]\ncompute = f32\n", false},
        {"[solver]\nblock = 128\n", false},
        {"[override a]\nmatch = *\nbits = 4\n", false},
    };
    qep_config *c = parse(HEAD, "/d/run.ini");
    char *base = qep_config_identity(c);
    assert_null(strstr(base, "path"));
    assert_non_null(strstr(base, "\nquantization.bits = 4\n"));
    for (const char *line = base; *line;) { /* sorted */
        const char *next = strchr(line, '\n') + 1;
        if (*next) assert_true(strncmp(line, next, (size_t)(next - line)) < 0);
        line = next;
    }
    qep_config_destroy(&c);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char *text = qep_strf("test", HEAD "%s", row[i].rest);
        c = parse(text, "/e/run.ini");
        char *other = qep_config_identity(c);
        if ((strcmp(base, other) == 0) != row[i].same) fail_msg("%s", row[i].rest);
        qep_free(other);
        qep_free(text);
        qep_config_destroy(&c);
    }
    /* names of overrides do not count, their order does */
    qep_config *x =
        parse(HEAD "[override a]\nmatch = *\nbits = 2\n[override b]\nmatch = *\nbits = 8\n", "x");
    qep_config *y =
        parse(HEAD "[override c]\nmatch = *\nbits = 2\n[override a]\nmatch = *\nbits = 8\n", "x");
    qep_config *z =
        parse(HEAD "[override b]\nmatch = *\nbits = 8\n[override a]\nmatch = *\nbits = 2\n", "x");
    char *ix = qep_config_identity(x), *iy = qep_config_identity(y), *iz = qep_config_identity(z);
    assert_string_equal(ix, iy);
    assert_string_not_equal(ix, iz);
    qep_free(ix);
    qep_free(iy);
    qep_free(iz);
    qep_config_destroy(&x);
    qep_config_destroy(&y);
    qep_config_destroy(&z);
    qep_free(base);
}

static char *read_text(const char *path)
{
    char *text;
    int64_t n;
    assert_ok(qep_file_read(path, 1 << 20, QEP_E_INPUT, &text, &n));
    return text;
}

static void reference_file(void **state)
{
    (void)state;
    char *want = qep_config_reference();
    if (getenv("QEP_UPDATE"))
        assert_ok(qep_file_write("config/reference.ini", want, (int64_t)strlen(want)));
    char *have = read_text("config/reference.ini");
    if (strcmp(want, have) != 0)
        fail_msg(
            "config/reference.ini differs from the table of keys; run this test with QEP_UPDATE=1");
    for (const char *line = have; *line;) {
        const char *next = strchr(line, '\n') + 1;
        assert_true(next - line <= 121);
        line = next;
    }
    /* all its values are the defaults: only what has no default is written in a short file */
    qep_config *a = parse(have, "/d/reference.ini");
    qep_config *b = parse("[model]\npath = model\n[output]\npath = "
                          "model-quantized\n[calibration]\ndata = calibration.npy\n",
                          "/d/x.ini");
    char *da = qep_config_dump(a), *db = qep_config_dump(b);
    assert_string_equal(da, db);
    qep_free(da);
    qep_free(db);
    qep_config_destroy(&a);
    qep_config_destroy(&b);
    qep_free(want);
    qep_free(have);
    assert_int_equal(qep_mem_blocks(), 0);
}

static void help_names_every_key(void **state)
{
    (void)state;
    char *help = qep_config_help();
    static const char *const some[] = {"model.path (none, must be set)",
                                       "quantization.bits (4)",
                                       "correction.exclude (empty)",
                                       "override NAME.match",
                                       "solver.grid (auto)",
                                       "calibration.data (none)"};
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) assert_non_null(strstr(help, some[i]));
    qep_free(help);
}

/* Texts of the papers, drawn from as each one's own code does: GPTAQ's and ResComp's tables by another rule. */
static void check_texts(const qep_config *c, const char *name)
{
    const bool fresh = strncmp(name, "gptaq-", 6) == 0 || strncmp(name, "rescomp-", 8) == 0 || strncmp(name, "gptq-signed-", 12) == 0;
    assert_string_equal(c->selection, fresh ? "random-new" : "random");
    assert_int_equal(c->n_calibration_data, 1);
    assert_string_equal(qep_path_base(c->calibration_data[0]), "c4-train.00000-of-01024.json.gz");
    assert_int_equal(c->n_evaluation, 1);
    assert_string_equal(qep_path_base(c->evaluation[0].path), "wikitext2_test.txt");
}

static int check_directory(const char *dir)
{
    DIR *d = opendir(dir);
    assert_non_null(d);
    int n = 0;
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        const char *dot = strrchr(e->d_name, '.');
        if (!dot || strcmp(dot, ".ini") != 0) continue;
        char *path = qep_path_join(dir, e->d_name);
        char *text = read_text(path);
        qep_config *c = parse(text, path);
        qep_linear_config l;
        qep_config_linear(c, "model.layers.0.mlp.down_proj", &l);
        char *unread = qep_config_unread(c);
        if (unread) fail_msg("%s: %s", path, unread);
        /* the name tells the settings: ...-int3-g128.ini */
        const char *bits = strstr(e->d_name, "-int"), *group = strstr(e->d_name, "-g");
        if (bits) assert_int_equal(c->linear.bits, bits[4] - '0');
        if (strstr(dir, "paper")) {
            const char *g = bits ? strstr(bits, "-g") : group;
            assert_int_equal(c->linear.group_size, g ? atoi(g + 2) : -1);
            assert_int_equal(strncmp(e->d_name, "qep-", 4) == 0,
                             strcmp(c->linear.correction, "qep") == 0);
            assert_string_equal(l.correction, "none");
            const char *method = e->d_name + (strncmp(e->d_name, "qep-", 4) == 0 ? 4 : 0);
            assert_true(strlen(c->linear.method) == strcspn(method, "-"));
            assert_int_equal(strncmp(c->linear.method, method, strcspn(method, "-")), 0);
            if (qep_method_reads(qep_method_find(c->linear.method), "act_order"))
                assert_int_equal(strstr(e->d_name, "-actorder") != NULL, c->linear.act_order);
            assert_int_equal(strstr(e->d_name, "-mse") != NULL, strcmp(c->linear.clip, "mse") == 0);
            assert_int_equal(strstr(e->d_name, "-signed") != NULL, strcmp(c->linear.grid, "signed") == 0);
            check_texts(c, e->d_name);
        }
        qep_config_destroy(&c);
        qep_free(text);
        qep_free(path);
        n++;
    }
    closedir(d);
    return n;
}

static void shipped_files_parse(void **state)
{
    (void)state;
    assert_true(check_directory("config") >= 6);
    assert_true(check_directory("config/paper") >= 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(fixed_points),
                                       cmocka_unit_test(dump_is_absolute),
                                       cmocka_unit_test(identity),
                                       cmocka_unit_test(reference_file),
                                       cmocka_unit_test(help_names_every_key),
                                       cmocka_unit_test(shipped_files_parse)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
