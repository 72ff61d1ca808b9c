/* Command line of the benchmark.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

const char bench_usage[] =
    "bench_parts [--preset tiny|small|7b] [--hidden N] [--inter N] [--heads N] [--kv N]\n"
    "            [--vocab N] [--tokens N] [--sequences N] [--bits 2|3|4|8] [--group N|-1]\n"
    "            [--threads N] [--samples N] [--compute f32|bf16|both] [--only TEXT]\n"
    "            [--dir DIR] [--json FILE]\n"
    "Times each part of a quantization on one block of the given shape and prints its rate\n"
    "beside the machine's ceiling, measured in the same run.\n"
    "  --tokens N      of one sequence (--sequences: of the whole job)\n"
    "  --threads N     of each rank; else OMP_NUM_THREADS, else its share of the cores\n"
    "  --samples N     repetitions of a part at most; the median counts\n"
    "  --only TEXT     parts whose name begins with TEXT\n"
    "  --dir DIR       temporary files (build/bench)\n"
    "  --json FILE     results, one line per part (build/bench.jsonl)\n";

typedef struct preset {
    const char *name;
    int64_t hidden, inter, heads, kv, vocab, tokens, sequences;
} preset;
static const preset presets[] = {{"tiny", 256, 768, 4, 2, 1024, 256, 4},
                                 {"small", 1024, 2816, 8, 8, 32000, 2048, 4},
                                 {"7b", 4096, 11008, 32, 32, 32000, 2048, 4}};

static qep_status use_preset(bench_options *o, const char *name)
{
    for (size_t i = 0; i < sizeof presets / sizeof presets[0]; i++) {
        const preset *p = &presets[i];
        if (strcmp(p->name, name) != 0) continue;
        o->hidden = p->hidden;
        o->inter = p->inter;
        o->heads = p->heads;
        o->kv = p->kv;
        o->vocab = p->vocab;
        o->tokens = p->tokens;
        o->sequences = p->sequences;
        return QEP_OK;
    }
    return qep_fail(QEP_E_CONFIG, "--preset %s: not one of tiny, small, 7b", name);
}

static qep_status set_number(const char *option, const char *text, int64_t low, int64_t *out)
{
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno != 0 || *end != '\0' || end == text || v < low || v > INT32_MAX)
        return qep_fail(QEP_E_CONFIG, "%s %s: not an integer from %lld up", option, text,
                        (long long)low);
    *out = v;
    return QEP_OK;
}

static qep_status set_compute(bench_options *o, const char *text)
{
    const bool both = strcmp(text, "both") == 0;
    o->f32 = both || strcmp(text, "f32") == 0;
    o->bf16 = both || strcmp(text, "bf16") == 0;
    return o->f32 || o->bf16
               ? QEP_OK
               : qep_fail(QEP_E_CONFIG, "--compute %s: not one of f32, bf16, both", text);
}

static qep_status set_one(bench_options *o, const char *option, const char *value)
{
    const struct {
        const char *name;
        int64_t *number, low;
        const char **text;
    } table[] = {{"--hidden", &o->hidden, 1, NULL},
                 {"--inter", &o->inter, 1, NULL},
                 {"--heads", &o->heads, 1, NULL},
                 {"--kv", &o->kv, 1, NULL},
                 {"--vocab", &o->vocab, 2, NULL},
                 {"--tokens", &o->tokens, 2, NULL},
                 {"--sequences", &o->sequences, 1, NULL},
                 {"--bits", &o->bits, 2, NULL},
                 {"--group", &o->group, -1, NULL},
                 {"--threads", &o->threads, 1, NULL},
                 {"--samples", &o->samples, 1, NULL},
                 {"--only", NULL, 0, &o->only},
                 {"--dir", NULL, 0, &o->dir},
                 {"--json", NULL, 0, &o->json}};
    if (strcmp(option, "--preset") == 0) return use_preset(o, value);
    if (strcmp(option, "--compute") == 0) return set_compute(o, value);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (strcmp(table[i].name, option) != 0) continue;
        if (table[i].number) return set_number(option, value, table[i].low, table[i].number);
        *table[i].text = value;
        return QEP_OK;
    }
    return qep_fail(QEP_E_CONFIG, "unknown option %s; --help lists them", option);
}

static qep_status check(const bench_options *o)
{
    if (o->hidden % o->heads != 0 || o->hidden / o->heads % 2 != 0)
        return qep_fail(QEP_E_CONFIG,
                        "--hidden %lld: --heads %lld of an even size do not fit into it",
                        (long long)o->hidden, (long long)o->heads);
    if (o->heads % o->kv != 0)
        return qep_fail(QEP_E_CONFIG, "--kv %lld does not divide --heads %lld", (long long)o->kv,
                        (long long)o->heads);
    if (o->bits > 4 && o->bits != 8)
        return qep_fail(QEP_E_CONFIG, "--bits %lld: not one of 2, 3, 4, 8", (long long)o->bits);
    if (o->group == 0)
        return qep_fail(QEP_E_CONFIG, "--group 0: a number of columns, or -1 for whole rows");
    return QEP_OK;
}

int64_t bench_group_size(const bench_options *o, int64_t cols)
{
    return o->group > 0 && o->group < cols && cols % o->group == 0 ? o->group : -1;
}

qep_status bench_options_parse(int argc, char **argv, bench_options *o)
{
    *o = (bench_options){.bits = 4,
                         .group = 128,
                         .samples = 5,
                         .f32 = true,
                         .bf16 = true,
                         .dir = "build/bench",
                         .json = "build/bench.jsonl"};
    QEP_TRY(use_preset(o, "small"));
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            o->help = true;
            return QEP_OK;
        }
        if (i + 1 == argc)
            return qep_fail(QEP_E_CONFIG,
                            "%s needs a value, or is not an option; --help lists them", argv[i]);
        QEP_TRY(set_one(o, argv[i], argv[i + 1]));
        i++;
    }
    return check(o);
}
