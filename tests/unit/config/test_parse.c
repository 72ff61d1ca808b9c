/* Right configurations: defaults, every type of value, the grammar's corners, precedence.
 * SPDX-License-Identifier: Apache-2.0 */
#include "qep_test.h"
#include "qep/config.h"
#include <unistd.h>

#define HEAD "[model]\npath = /m\n[output]\npath = /o\n[calibration]\ndata = /c.npy\n"

static qep_config *parse(const char *text, const char *const *sets, int n)
{
    qep_config *c;
    assert_ok(qep_config_parse(text, "/dir/run.ini", sets, n, &c));
    return c;
}

static void end(qep_config **c)
{
    qep_config_destroy(c);
    assert_null(*c);
    assert_int_equal(qep_mem_blocks(), 0);
}

static void defaults(void **state)
{
    (void)state;
    qep_config *c = parse(HEAD, NULL, 0);
    assert_string_equal(c->model_path, "/m");
    assert_string_equal(c->output_path, "/o");
    assert_string_equal(c->source, "/dir/run.ini");
    assert_string_equal(c->format, "gptq");
    assert_true(c->shard_size == INT64_C(5000000000));
    assert_false(c->overwrite);
    assert_int_equal(c->n_calibration_data, 1);
    assert_string_equal(c->calibration_data[0], "/c.npy");
    assert_int_equal(c->samples, 128);
    assert_int_equal(c->length, 0);
    assert_string_equal(c->selection, "random");
    assert_int_equal(c->seed, 0);
    assert_string_equal(c->linear.method, "gptq");
    assert_int_equal(c->linear.bits, 4);
    assert_int_equal(c->linear.group_size, 128);
    assert_false(c->linear.symmetric);
    assert_true(c->linear.act_order);
    assert_true(c->linear.static_groups);
    assert_string_equal(c->linear.clip, "auto");
    assert_int_equal(c->linear.refit, 2);
    assert_int_equal(c->linear.sweeps, 4);
    assert_le_f(fabs(c->linear.damping - 0.3), 0);
    assert_int_equal(c->linear.block_size, 128);
    assert_int_equal(c->linear.options.rotation_seed, 0);
    assert_string_equal(c->linear.correction, "qep");
    assert_le_f(fabs(c->linear.alpha - 1.0), 0);
    assert_le_f(fabs(c->linear.correction_damping - 0.01), 0);
    assert_le_f(fabs(c->linear.residual - 0.5), 0);
    assert_string_equal(c->linear.exclude, "");
    assert_string_equal(c->compat, "none");
    assert_false(c->lm_head);
    assert_int_equal(c->n_overrides, 0);
    assert_int_equal(c->n_evaluation, 0);
    assert_int_equal(c->evaluation_length, 0);
    assert_int_equal(c->evaluation_tokens, 0);
    assert_string_equal(c->checkpoint_path, "/o/checkpoint");
    assert_int_equal(c->checkpoint_every, 1);
    assert_int_equal(c->checkpoint_keep, 2);
    assert_string_equal(c->compute, "bf16");
    assert_int_equal(c->threads, 0);
    assert_le_f(fabs(c->walltime_s), 0);
    assert_true(c->reproducible);
    assert_string_equal(c->activations, "auto");
    assert_string_equal(c->on_failure, "repair");
    assert_string_equal(c->log_level, "info");
    assert_int_equal(c->grid, 0);
    assert_int_equal(c->solver_block, 64);
    end(&c);
}

static void every_key(void **state)
{
    (void)state;
    qep_config *c =
        parse("[model]\npath = /m\n[output]\npath = /o\nformat = dense\nshard_size = "
              "250M\noverwrite = on\n"
              "[calibration]\ndata = /a.npy, b.h5:/ids\nsamples = 7\nlength = "
              "33\nselection = sequential\nseed = 9000000000\n"
              "[quantization]\nmethod = gptq\nbits = 3\ngroup_size = -1\nsymmetric = 1\nact_order "
              "= off\nstatic_groups = false\n"
              "clip = hessian\nrefit = 3\nsweeps = 9\ndamping = 2.5e-2\nblock_size = 17\ncompat = paper\nlm_head = true\n"
              "[correction]\nmethod = none\nalpha = .5\ndamping = 1\nresidual = .25\nexclude = down_proj ,mlp.*\n"
              "[evaluation]\ndata = w2:/w.npy, t-1.x:/t.h5:/ids\nlength = 64\ntokens = 1000\n"
              "[checkpoint]\npath = /ck/a\nevery = never\nkeep = 1\n"
              "[run]\ncompute = f32\nthreads = 5\nwalltime = 1:02:03\nreproducible = "
              "0\nactivations = keep\non_failure = abort\n"
              "log_level = debug\n[solver]\ngrid = 12x1\nblock = 128\n",
              NULL, 0);
    assert_string_equal(c->format, "dense");
    assert_int_equal(c->shard_size, 250000000);
    assert_true(c->overwrite);
    assert_int_equal(c->n_calibration_data, 2);
    assert_string_equal(c->calibration_data[1], "/dir/b.h5:/ids");
    assert_int_equal(c->samples, 7);
    assert_int_equal(c->length, 33);
    assert_string_equal(c->selection, "sequential");
    assert_true(c->seed == INT64_C(9000000000));
    assert_int_equal(c->linear.bits, 3);
    assert_int_equal(c->linear.group_size, -1);
    assert_true(c->linear.symmetric);
    assert_false(c->linear.act_order);
    assert_false(c->linear.static_groups);
    assert_string_equal(c->linear.clip, "hessian");
    assert_int_equal(c->linear.refit, 3);
    assert_int_equal(c->linear.sweeps, 9);
    assert_le_f(fabs(c->linear.damping - 0.025), 0);
    assert_int_equal(c->linear.block_size, 17);
    assert_string_equal(c->compat, "paper");
    assert_true(c->lm_head);
    assert_string_equal(c->linear.correction, "none");
    assert_le_f(fabs(c->linear.alpha - 0.5), 0);
    assert_le_f(fabs(c->linear.correction_damping - 1.0), 0);
    assert_le_f(fabs(c->linear.residual - 0.25), 0);
    assert_string_equal(c->linear.exclude, "down_proj, mlp.*");
    assert_int_equal(c->n_evaluation, 2);
    assert_string_equal(c->evaluation[0].name, "w2");
    assert_string_equal(c->evaluation[1].name, "t-1.x");
    assert_string_equal(c->evaluation[1].path, "/t.h5:/ids");
    assert_int_equal(c->evaluation_length, 64);
    assert_int_equal(c->evaluation_tokens, 1000);
    assert_string_equal(c->checkpoint_path, "/ck/a");
    assert_int_equal(c->checkpoint_every, 0);
    assert_int_equal(c->checkpoint_keep, 1);
    assert_string_equal(c->compute, "f32");
    assert_int_equal(c->threads, 5);
    assert_le_f(fabs(c->walltime_s - 3723), 0);
    assert_false(c->reproducible);
    assert_string_equal(c->activations, "keep");
    assert_string_equal(c->on_failure, "abort");
    assert_string_equal(c->log_level, "debug");
    assert_int_equal(c->grid, 12);
    assert_int_equal(c->solver_block, 128);
    end(&c);
}

static void grammar(void **state)
{
    (void)state;
    static const struct {
        const char *text, *path;
    } row[] = {
        {"path = /a", "/a"},
        {"path=/a", "/a"},
        {"\t path\t=\t/a\t ", "/a"},
        {"path = /a # b", "/a"},
        {"path = /a\t; b", "/a"},
        {"path = /a#b;c", "/a#b;c"},
        {"path = \"/a # b ; c\" # d", "/a # b ; c"},
        {"path = '/a \"b\"'", "/a \"b\""},
        {"path = \"/a \"\"b\"\"\"", "/a \"b\""},
        {"path = ' /a'", "/dir/ /a"},
        {"path = /bob's", "/bob's"},
        {"path = /a = b", "/a = b"},
        {"path = /a, b", "/a, b"},
        {"path = rel/x", "/dir/rel/x"},
        {"path = ./rel", "/dir/rel"},
        {"path = .", "/dir"},
        {"path = ../up", "/dir/../up"},
        {"path = ${QEP_TEST_ROOT}/m", "/r oot/m"},
        {"path = '${QEP_TEST_ROOT}'", "/r oot"},
        {"path = /x/$${QEP_TEST_ROOT}", "/x/${QEP_TEST_ROOT}"},
        {"path = /x/$HOME$", "/x/$HOME$"},
        {"path = ${QEP_TEST_HASH}", "/h #1, \"q\""},
        {"path = /\xc3\xa9t\xc3\xa9", "/\xc3\xa9t\xc3\xa9"},
    };
    setenv("QEP_TEST_ROOT", "/r oot", 1);
    setenv("QEP_TEST_HASH", "/h #1, \"q\"", 1);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        for (int crlf = 0; crlf < 2; crlf++) {
            const char *nl = crlf ? "\r\n" : "\n";
            char *text = qep_strf("test",
                                  "\xEF\xBB\xBF# first%s%s  [ output ] ; c%spath = "
                                  "/o%s[calibration]%sdata = /c.npy%s[model]%s%s%s",
                                  nl, nl, nl, nl, nl, nl, nl, row[i].text, crlf ? "\r\n" : "");
            qep_config *c = parse(text, NULL, 0);
            assert_string_equal(c->model_path, row[i].path);
            qep_free(text);
            end(&c);
        }
    }
}

static void long_lines(void **state)
{
    (void)state;
    enum { n = 100000 };
    char *name = qep_alloc("test", n + 1, 1);
    memset(name, 'x', n);
    char *text = qep_strf("test", HEAD "[evaluation]\ndata = a:/%s, \"b:/%s\"\n", name, name);
    qep_config *c = parse(text, NULL, 0);
    assert_int_equal(strlen(c->evaluation[0].path), n + 1);
    assert_int_equal(strlen(c->evaluation[1].path), n + 1);
    qep_free(text);
    qep_free(name);
    end(&c);
}

static void lists(void **state)
{
    (void)state;
    qep_config *c = parse("[model]\npath = /m\n[output]\npath = /o\n[calibration]\ndata = /a , "
                          "\"/b, c\",'/d # e' # f\n"
                          "[evaluation]\ndata = \"x:/p, q\",y:/r's\n",
                          NULL, 0);
    assert_int_equal(c->n_calibration_data, 3);
    assert_string_equal(c->calibration_data[0], "/a");
    assert_string_equal(c->calibration_data[1], "/b, c");
    assert_string_equal(c->calibration_data[2], "/d # e");
    assert_string_equal(c->evaluation[0].path, "/p, q");
    assert_string_equal(c->evaluation[1].path, "/r's");
    end(&c);
}

static void command_line_wins(void **state)
{
    (void)state;
    char cwd[4096];
    assert_non_null(getcwd(cwd, sizeof cwd));
    const char *sets[] = {"quantization.bits=2",         "quantization.bits=8",
                          "correction.exclude=",         "model.path=here",
                          "override v.w.match=*.v_proj", "override v.w.bits=3",
                          "override old.bits=2",         "evaluation.data=a:b, c:d",
                          "output.path=/p # q"};
    qep_config *c = parse(HEAD "[quantization]\nbits = 3\n[correction]\nexclude = "
                               "down_proj\n[override old]\nmatch = *\nbits = 8\n",
                          sets, (int)(sizeof sets / sizeof *sets));
    assert_int_equal(c->linear.bits, 8);
    assert_string_equal(c->linear.exclude, "");
    char *here = qep_path_join(cwd, "here");
    assert_string_equal(c->model_path, here);
    qep_free(here);
    assert_string_equal(c->output_path, "/p # q");
    assert_int_equal(c->n_overrides, 2);
    assert_string_equal(c->overrides[1].name, "v.w");
    assert_int_equal(c->overrides[1].values.bits, 3);
    assert_int_equal(c->overrides[0].values.bits, 2);
    assert_int_equal(c->n_evaluation, 2);
    end(&c);
}

static void calibration_may_be_absent(void **state)
{
    (void)state;
#define NO_DATA "[model]\npath = /m\n[output]\npath = /o\n[quantization]\n"
    static const char *const fine[] = {
        NO_DATA "method = none\n", NO_DATA "method = rtn\n[correction]\nmethod = none\n",
        NO_DATA "method = none\n[override a]\nmatch = *\nmethod = rtn\ncorrection = none\n"};
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
        qep_config *c = parse(fine[i], NULL, 0);
        assert_int_equal(c->n_calibration_data, 0);
        end(&c);
    }
    qep_config *c =
        parse(HEAD "[quantization]\nmethod = rtn\n", NULL, 0); /* rtn with correction: legitimate */
    assert_string_equal(c->linear.correction, "qep");
    end(&c);
}

static void checkpoint_names(void **state)
{
    (void)state;
    static const struct {
        const char *line, *path;
    } row[] = {{"path = auto", "/o/checkpoint"},
               {"path = /x/auto", "/x/auto"},
               {"path = y.h5", "/dir/y"},
               {"path = y.h5.h5", "/dir/y"},
               {"path = .h5", "/dir/.h5"}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char *text = qep_strf("test", HEAD "[checkpoint]\n%s\n", row[i].line);
        qep_config *c = parse(text, NULL, 0);
        assert_string_equal(c->checkpoint_path, row[i].path);
        qep_free(text);
        end(&c);
    }
}

static void durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double s;
    } row[] = {{"0", 0},       {"90", 90},          {"1.5", 1.5},
               {"00:00", 0},   {"1:30", 90},        {"90:00", 5400},
               {"0:00:01", 1}, {"11:50:00", 42600}, {"100:00:00", 360000}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        double s = NAN;
        assert_ok(qep_parse_duration(row[i].text, &s));
        assert_le_f(fabs(s - row[i].s), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(every_key),
        cmocka_unit_test(grammar),
        cmocka_unit_test(long_lines),
        cmocka_unit_test(lists),
        cmocka_unit_test(command_line_wins),
        cmocka_unit_test(calibration_may_be_absent),
        cmocka_unit_test(checkpoint_names),
        cmocka_unit_test(durations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
