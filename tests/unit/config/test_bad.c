/* Wrong configurations: each is refused, and the message names the place and what to write instead.
 * SPDX-License-Identifier: Apache-2.0 */
#include "qep_test.h"
#include "qep/config.h"

#define HEAD "[model]\npath = m\n[output]\npath = o\n[calibration]\ndata = c.npy\n" /* six lines   \
                                                                                     */

typedef struct bad {
    const char *text;
    const char *where; /* start of the message */
    const char *say;   /* somewhere in it */
} bad;

static const bad table[] = {
    /* --- syntax --- */
    {"path = m\n", "bad.ini:1: path: ", "[section]"},
    {"\n\n[model\npath = m\n", "bad.ini:3: ", "closing bracket"},
    {"[model] x\n", "bad.ini:1: ", "comment"},
    {"[]\n", "bad.ini:1: []", "[override NAME]"},
    {"[mo del]\n", "bad.ini:1: [mo del]", "letters"},
    {"[model]\n# c\njust words\n", "bad.ini:3: ", "key = value"},
    {"[model]\n= 3\n", "bad.ini:2: ", "one word"},
    {"[model]\na key = 3\n", "bad.ini:2: ", "one word"},
    {"[model]\npath = \"m\n", "bad.ini:2: model.path: ", "quote is not closed"},
    {"[model]\npath = 'm' x\n", "bad.ini:2: model.path: ", "after the closing quote"},
    {"[model]\npath = a\001b\n", "bad.ini:2: ", "control character 0x01 in column 9"},
    {"[model]\npath = m\n[output]\npath = o\n[model]\n", "bad.ini:5: [model]", "line 1"},
    {"[override a]\nmatch = x\n[override  a ]\n", "bad.ini:3: [override a]", "line 1"},
    {"[model]\npath = m\npath = n\n", "bad.ini:3: model.path: ", "line 2"},
    /* --- unknown sections and keys --- */
    {"[quantisation]\nbits = 4\n", "bad.ini:1: quantisation: ", "did you mean [quantization]?"},
    {"[zzz]\n", "bad.ini:1: zzz: ", "Sections: model, output"},
    {"[override]\nbits = 4\n", "bad.ini:1: override: ", "[override NAME]"},
    {"[quantization]\nbit = 4\n", "bad.ini:2: quantization.bit: ", "did you mean bits?"},
    {"[quantization]\ngruop_size = 4\n",
     "bad.ini:2: quantization.gruop_size: ", "did you mean group_size?"},
    {"[quantization]\nBits = 4\n", "bad.ini:2: quantization.Bits: ", "did you mean bits?"},
    {"[output]\ncalibration.data = c.txt\n", "bad.ini:2: output.calibration.data: ", "in front of the first [section]"},
    {"[run]\nseed = 4\n", "bad.ini:2: run.seed: ", "seed belongs into [calibration]"},
    {"[calibration]\nholdout = 16\n",
     "bad.ini:2: calibration.holdout: ", "Keys of [calibration]: data, field"},
    {"[correction]\nalpha = -1\n", "bad.ini:2: correction.alpha: -1", "a number from 0 to 2 or auto"},
    {"[correction]\nresidues = 0.5\n", "bad.ini:2: correction.residues: ", "did you mean residual?"},
    {"[correction]\nresidual = 2.5\n", "bad.ini:2: correction.residual: 2.5", "a number from 0 to 2"},
    {"[correction]\nbeta = 1\n",
     "bad.ini:2: correction.beta: ", "Keys of [correction]: method, alpha, damping, residual, exclude"},
    {"[quantization]\nsweeps = -1\n", "bad.ini:2: quantization.sweeps: -1", "0 .. 1000"},
    {"[quantization]\nrefit = 1.5\n", "bad.ini:2: quantization.refit: 1.5", "0 .. 1000"},
    {"[evaluation]\ntask = a:b\n", "bad.ini:2: evaluation.task: ", "did you mean tasks?"},
    {"[override a]\nlm_head = yes\n",
     "bad.ini:2: override a.lm_head: ", "cannot be set per module"},
    {"[override a]\nseed = 1\n", "bad.ini:2: override a.seed: ", "[calibration]"},
    /* --- values --- */
    {"[quantization]\nmethod = omniquant\n",
     "bad.ini:2: quantization.method: ", "allowed: none, rtn, gptq, gptaq, rescomp, foem, awq, quip"},
    {"[quantization]\nmethod =\n",
     "bad.ini:2: quantization.method: ", "missing; allowed: none, rtn, gptq, gptaq, rescomp, foem, awq, quip"},
    {"[quantization]\nbits = 5\n", "bad.ini:2: quantization.bits: 5", "allowed: 2, 3, 4, 8"},
    {"[quantization]\nbits = 4.0\n", "bad.ini:2: quantization.bits: 4.0", "allowed: 2, 3, 4, 8"},
    {"[quantization]\nbits = 99999999999999999999\n",
     "bad.ini:2: quantization.bits: ", "allowed: 2, 3, 4, 8"},
    {"[quantization]\ngroup_size = 0\n", "bad.ini:2: quantization.group_size: 0",
     "1 .. 16777216 or -1"},
    {"[quantization]\ngroup_size = -2\n", "bad.ini:2: quantization.group_size: -2", "or -1"},
    {"[quantization]\nsymmetric = maybe\n", "bad.ini:2: quantization.symmetric: maybe", "yes, no"},
    {"[quantization]\nclip = 0.9\n", "bad.ini:2: quantization.clip: 0.9", "auto, none, mse, hessian"},
    {"[quantization]\ndamping = -0.1\n", "bad.ini:2: quantization.damping: -0.1", "from 0"},
    {"[quantization]\ndamping = nan\n", "bad.ini:2: quantization.damping: nan", "a number"},
    {"[quantization]\ndamping = 1e999\n", "bad.ini:2: quantization.damping: ", "a number"},
    {"[quantization]\ndamping = 0x1p-3\n", "bad.ini:2: quantization.damping: ", "a number"},
    {"[quantization]\ndamping = 0.01 0.02\n", "bad.ini:2: quantization.damping: ", "a number"},
    {"[quantization]\nblock_size = 0\n", "bad.ini:2: quantization.block_size: 0", "1 .. 65536"},
    {"[correction]\nalpha = automatic\n", "bad.ini:2: correction.alpha: automatic", "from 0 to 2"},
    {"[correction]\nalpha = 2.01\n", "bad.ini:2: correction.alpha: 2.01", "from 0 to 2"},
    {"[correction]\nalpha = -0.5\n", "bad.ini:2: correction.alpha: -0.5", "from 0 to 2"},
    {"[correction]\nalpha = inf\n", "bad.ini:2: correction.alpha: inf", "from 0 to 2"},
    {"[correction]\nmethod = gptq\n", "bad.ini:2: correction.method: gptq", "none, qep"},
    {"[correction]\nexclude = a,,b\n", "bad.ini:2: correction.exclude: ", "empty"},
    {"[quantization]\nblocks = 3-1\n", "bad.ini:2: quantization.blocks: 3-1 ", "0-9, 12 or all"},
    {"[quantization]\nblocks = 0, all\n", "bad.ini:2: quantization.blocks: all ", "0-9, 12"},
    {"[quantization]\nblocks = -1\n", "bad.ini:2: quantization.blocks: -1 ", "0-9, 12"},
    {"[quantization]\nblocks =\n", "bad.ini:2: quantization.blocks: ", "0-9, 12"},
    {"[correction]\nexclude = a b\n", "bad.ini:2: correction.exclude: a b", "letters"},
    {"[output]\nformat = exl2\n", "bad.ini:2: output.format: exl2", "gptq, gptq_v2"},
    {"[output]\nshard_size = 5GB\n", "bad.ini:2: output.shard_size: 5GB", "5G"},
    {"[output]\nshard_size = 0\n", "bad.ini:2: output.shard_size: 0", "5G"},
    {"[output]\nshard_size = 9223372036854775807K\n", "bad.ini:2: output.shard_size: ", "5G"},
    {"[output]\noverwrite = 2\n", "bad.ini:2: output.overwrite: 2", "yes, no"},
    {"[calibration]\nsamples = 0\n", "bad.ini:2: calibration.samples: 0", "1 .. "},
    {"[calibration]\nsamples = ten\n", "bad.ini:2: calibration.samples: ten", "1 .. "},
    {"[calibration]\nlength = -1\n", "bad.ini:2: calibration.length: -1", "or auto"},
    {"[calibration]\nselection = shuffled\n", "bad.ini:2: calibration.selection: shuffled",
     "random, random-new, sequential, packed"},
    {"[calibration]\nseed = -1\n", "bad.ini:2: calibration.seed: -1", "0 or more"},
    {"[calibration]\nvalidation = -1\n", "bad.ini:2: calibration.validation: -1", "0 .. 16777216"},
    {"[calibration]\ndata = a.npy, \"b\n", "bad.ini:2: calibration.data: ", "quote is not closed"},
    {"[evaluation]\ndata = file.npy\n", "bad.ini:2: evaluation.data: file.npy", "name:file"},
    {"[evaluation]\ndata = a:\n", "bad.ini:2: evaluation.data: a:", "name:file"},
    {"[evaluation]\ndata = :f\n", "bad.ini:2: evaluation.data: :f", "name:file"},
    {"[evaluation]\ndata = a b:f\n", "bad.ini:2: evaluation.data: a b:f", "letters"},
    {"[evaluation]\ndata = a:f, b:g, a:h\n",
     "bad.ini:2: evaluation.data: ", "the name a is there twice"},
    {"[evaluation]\nlength = 1\n", "bad.ini:2: evaluation.length: 1", "2 .. "},
    {"[checkpoint]\nkeep = 3\n", "bad.ini:2: checkpoint.keep: 3", "1 .. 2"},
    {"[checkpoint]\nevery = -1\n", "bad.ini:2: checkpoint.every: -1", "or never"},
    {"[run]\ncompute = f16\n", "bad.ini:2: run.compute: f16", "bf16, f32"},
    {"[run]\nthreads = -1\n", "bad.ini:2: run.threads: -1", "or auto"},
    {"[run]\nwalltime = 1:60:00\n", "bad.ini:2: run.walltime: 1:60:00", "H:MM:SS"},
    {"[run]\nwalltime = -5\n", "bad.ini:2: run.walltime: -5", "or none"},
    {"[run]\nlog_level = verbose\n", "bad.ini:2: run.log_level: verbose",
     "error, warn, info, debug"},
    {"[solver]\ngrid = 2x2\n", "bad.ini:2: solver.grid: 2x2", "bits of the result would depend"},
    {"[solver]\ngrid = 1x4\n", "bad.ini:2: solver.grid: 1x4", "Px1"},
    {"[solver]\ngrid = 0x1\n", "bad.ini:2: solver.grid: 0x1", "Px1"},
    {"[solver]\ngrid = 4\n", "bad.ini:2: solver.grid: 4", "Px1"},
    {"[solver]\nblock = 0\n", "bad.ini:2: solver.block: 0", "1 .. 65536"},
    {"[model]\npath = ${QEP_TEST_NOT_SET}/m\n",
     "bad.ini:2: model.path: ", "QEP_TEST_NOT_SET is not set"},
    {"[model]\npath = ${\n", "bad.ini:2: model.path: ", "${NAME}"},
    {"[model]\npath = ${A-B}\n", "bad.ini:2: model.path: ", "${NAME}"},
    {"[model]\npath = ${QEP_TEST_CONTROL}\n", "bad.ini:2: model.path: ", "control character 0x0a"},
    {"[model]\npath =\n", "bad.ini:2: model.path: ", "missing"},
    {"[model]\npath = # nothing\n", "bad.ini:2: model.path: ", "missing"},
    {"[override a]\nmethod = qep\n", "bad.ini:2: override a.method: ", "correction = qep"},
    {"[override a]\nbits = 7\n", "bad.ini:2: override a.bits: 7", "2, 3, 4, 8"},
    {"[override a]\nmatch =\n", "bad.ini:2: override a.match: ", "glob"},
    /* --- combinations --- */
    {"[output]\npath = o\n", "bad.ini: model.path: ", "--set model.path="},
    {"[model]\npath = m\n", "bad.ini: output.path: ", "--set output.path="},
    {"[model]\npath = m\n[output]\npath = ./m\n", "bad.ini:4: output.path: ", "own directory"},
    {"[model]\npath = m\n[output]\npath = o\n", "bad.ini: calibration.data: ", "missing"},
    {"[model]\npath = m\n[output]\npath = o\n[quantization]\nmethod = rtn\n",
     "bad.ini: calibration.data: ", "missing"},
    {"[model]\npath = m\n[output]\npath = o\n[quantization]\nmethod = none\n[override a]\nmatch = "
     "*\nmethod = gptq\n",
     "bad.ini: calibration.data: ", "missing"},
    {"[model]\npath = m\n[output]\npath = o\n[calibration]\ndata =\n",
     "bad.ini:6: calibration.data: ", "missing"},
    {HEAD "[quantization]\ncompat = paper\n", "bad.ini:8: quantization.compat: ", "format = dense"},
    {HEAD "[quantization]\nmethod = rtn\nclip = hessian\n",
     "bad.ini:9: quantization.clip: ", "forms no Hessian"},
    {HEAD "[quantization]\nclip = hessian\n[override a]\nmatch = *.q_proj\nmethod = rtn\n",
     "bad.ini:11: override a.method: ", "forms no Hessian"},
    {HEAD "[quantization]\nmethod = gptaq\n", "bad.ini:8: quantization.method: ", "count that error twice"},
    {HEAD "[quantization]\nmethod = rescomp\n[correction]\nmethod = qep\n", "bad.ini:10: correction.method: ",
     "count that error twice"},
    {HEAD "[quantization]\nmethod = foem\nfoem_alpha = .25\n[correction]\nmethod = qep\n", "bad.ini:11: correction.method: ",
     "set correction.method = none, or foem_alpha = 0"},
    {HEAD "[override a]\nmatch = *.q_proj\nmethod = gptaq\n", "bad.ini:9: override a.method: ", "count that error twice"},
    {"[model]\npath = m\n[output]\npath = o\n[calibration]\ndata = c\nvalidation = 0\n[correction]\nalpha = auto\n",
     "bad.ini:7: calibration.validation: ", "held-out"},
    {HEAD "[quantization]\nmethod = quip\nclip = none\n",
     "bad.ini:8: quantization.method: ", "has no groups; set group_size = -1 and [output] format = dense"},
    {HEAD "[quantization]\nmethod = quip\ngroup_size = -1\nclip = mse\n",
     "bad.ini:10: quantization.clip: ", "no clip = mse"},
    {HEAD "[quantization]\nmethod = quip\ngroup_size = -1\nclip = none\nsymmetric = yes\n",
     "bad.ini:11: quantization.symmetric: ", "has only asymmetric grids"},
    {HEAD "[quantization]\nsymmetric = yes\ngrid = free\n", "bad.ini:9: quantization.grid: ", "a symmetric grid has not"},
    {HEAD "[quantization]\nrotation_seed = -1\n", "bad.ini:8: quantization.rotation_seed: -1", "0 or more"},
    {HEAD "[override a]\nbits = 8\n", "bad.ini:7: override a: ", "match is missing"},
    {HEAD "[override a]\nmatch = *\n", "bad.ini:7: override a: ", "changes nothing"},
};

static void wrong_files(void **state)
{
    (void)state;
    setenv("QEP_TEST_CONTROL", "a\nb", 1);
    unsetenv("QEP_TEST_NOT_SET");
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const bad *b = &table[i];
        qep_config *c = (qep_config *)&c;
        qep_error_clear();
        qep_status st = qep_config_parse(b->text, "bad.ini", NULL, 0, &c);
        const char *said = qep_error_text();
        if (st != QEP_E_CONFIG || c) fail_msg("row %d is taken: %s", (int)i, b->text);
        if (strncmp(said, b->where, strlen(b->where)) != 0)
            fail_msg("row %d: \"%s\" does not start with \"%s\"", (int)i, said, b->where);
        if (!strstr(said, b->say)) fail_msg("row %d: \"%s\" lacks \"%s\"", (int)i, said, b->say);
        assert_int_equal(qep_mem_blocks(), 0);
    }
}

static const bad set_table[] = {
    {"bits=3", "--set bits=3: ", "section.key=value"},
    {"quantization.bits", "--set quantization.bits: ", "section.key=value"},
    {".bits=3", "--set .bits=3: ", "section.key=value"},
    {"quantization.=3", "--set quantization.=3: ", "section.key=value"},
    {"quantization.bits=5", "--set quantization.bits=5: ", "allowed: 2, 3, 4, 8"},
    {"quantization.bit=4", "--set quantization.bit=4: ", "did you mean bits?"},
    {"quantisation.bits=4", "--set quantisation.bits=4: ", "[quantization]"},
    {"a b.bits=4", "--set a b.bits=4: ", "not a section"},
    {"override new.bits=8", "bad.ini: override new: ", "match is missing"},
    {"override old.bits=9", "--set override old.bits=9: ", "2, 3, 4, 8"},
    {"output.path=${QEP_TEST_NOT_SET}", "--set output.path=${QEP_TEST_NOT_SET}: ", "not set"},
    {"calibration.data=", "--set calibration.data=: ", "missing"},
    {"quantization.method=rtn", "--set quantization.method=rtn: ", "Hessian"},
};

static void wrong_command_lines(void **state)
{
    (void)state;
    const char *file =
        HEAD "[quantization]\nclip = hessian\n[override old]\nmatch = *\nclip = mse\n";
    for (size_t i = 0; i < sizeof set_table / sizeof *set_table; i++) {
        const bad *b = &set_table[i];
        qep_config *c;
        qep_status st = qep_config_parse(file, "bad.ini", &b->text, 1, &c);
        const char *said = qep_error_text();
        if (st != QEP_E_CONFIG || c) fail_msg("row %d is taken: %s", (int)i, b->text);
        /* the clip line of the file is at fault as much as the method of the command line */
        bool clash = strcmp(b->text, "quantization.method=rtn") == 0;
        const char *where = clash ? "bad.ini:8: quantization.clip: " : b->where;
        if (strncmp(said, where, strlen(where)) != 0)
            fail_msg("row %d: \"%s\" does not start with \"%s\"", (int)i, said, where);
        if (!strstr(said, b->say)) fail_msg("row %d: \"%s\" lacks \"%s\"", (int)i, said, b->say);
        assert_int_equal(qep_mem_blocks(), 0);
    }
}

static void wrong_durations(void **state)
{
    (void)state;
    static const char *const words[] = {"",
                                        "x",
                                        "1:",
                                        ":30",
                                        "1:2",
                                        "1:2:3",
                                        "1:00:60",
                                        "1:00:00:00",
                                        "-1",
                                        "nan",
                                        "inf",
                                        "1e13",
                                        "1:00:0x",
                                        "-1:00",
                                        "+1:00",
                                        "1:000",
                                        "99999999999999999999:00",
                                        " 5",
                                        "5 "};
    double s;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (qep_parse_duration(words[i], &s) != QEP_E_CONFIG)
            fail_msg("\"%s\" is taken as %g s", words[i], s);
    }
    assert_fails(qep_parse_duration("soon", &s), QEP_E_CONFIG, "H:MM:SS");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(wrong_files),
                                       cmocka_unit_test(wrong_command_lines),
                                       cmocka_unit_test(wrong_durations)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
