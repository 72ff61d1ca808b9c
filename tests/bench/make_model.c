/* Writes a random Llama-shaped model directory of any shape, and token ids for it, for trials of
 * the program at sizes that no bundled model has.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tiny_model.h"

static const char usage[] =
    "make_model DIR [--shape 7b|13b|70b|405b] [--hidden 256] [--inter 704] [--blocks 2] [--heads 4] [--kv 4]\n"
    "               [--head-dim 0: hidden / heads] [--vocab 1024] [--dtype bf16|f16|f32]\n"
    "               [--tied 0|1] [--shards 1] [--seed 0]\n"
    "               [--max-positions 2048] [--outline 0|1]\n"
    "               [--tokens FILE.npy] [--samples 16] [--length 256]\n"
    "Writes config.json and safetensors with random weights into DIR, and random token ids\n"
    "[samples, length] into FILE.npy. --shape: that of Llama-2-7B and its relatives; options behind it\n"
    "change single sizes (--shape 7b --blocks 1). --outline 1: the files have their sizes but take no\n"
    "room, all weights are zero; for plans (--dry-run --ranks) of models that do not fit here.\n";

typedef struct options {
    tiny_model model;
    int64_t samples, length, shards, seed, tied, outline;
    const char *dir, *tokens;
} options;

static qep_status set_dtype(options *o, const char *text)
{
    o->model.dtype = strcmp(text, "bf16") == 0  ? QEP_BF16
                     : strcmp(text, "f16") == 0 ? QEP_F16
                                                : QEP_F32;
    if (o->model.dtype == QEP_F32 && strcmp(text, "f32") != 0)
        return qep_fail(QEP_E_CONFIG, "--dtype %s: not one of bf16, f16, f32", text);
    return QEP_OK;
}

static qep_status set_shape(options *o, const char *name)
{
    static const struct {
        const char *name;
        int64_t hidden, inter, blocks, heads, kv_heads, vocab;
    } shapes[] = {{"7b", 4096, 11008, 32, 32, 32, 32000},
                  {"13b", 5120, 13824, 40, 40, 40, 32000},
                  {"70b", 8192, 28672, 80, 64, 8, 32000},
                  {"405b", 16384, 53248, 126, 128, 8, 128256}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        if (strcmp(shapes[i].name, name) != 0) continue;
        o->model.hidden = shapes[i].hidden;
        o->model.inter = shapes[i].inter;
        o->model.blocks = shapes[i].blocks;
        o->model.heads = shapes[i].heads;
        o->model.kv_heads = shapes[i].kv_heads;
        o->model.vocab = shapes[i].vocab;
        return QEP_OK;
    }
    return qep_fail(QEP_E_CONFIG, "--shape %s: not one of 7b, 13b, 70b, 405b", name);
}

static qep_status set_one(options *o, const char *option, const char *value)
{
    tiny_model *m = &o->model;
    const struct {
        const char *name;
        int64_t *number, low;
    } table[] = {
        {"--hidden", &m->hidden, 1}, {"--inter", &m->inter, 1},     {"--blocks", &m->blocks, 1},
        {"--heads", &m->heads, 1},   {"--kv", &m->kv_heads, 1},     {"--head-dim", &m->head_dim, 0},
        {"--vocab", &m->vocab, 1},   {"--shards", &o->shards, 1},   {"--seed", &o->seed, 0},
        {"--tied", &o->tied, 0},     {"--samples", &o->samples, 1}, {"--length", &o->length, 1},
        {"--outline", &o->outline, 0}, {"--max-positions", &m->max_positions, 1}};
    if (strcmp(option, "--dtype") == 0) return set_dtype(o, value);
    if (strcmp(option, "--shape") == 0) return set_shape(o, value);
    if (strcmp(option, "--tokens") == 0) {
        o->tokens = value;
        return QEP_OK;
    }
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        char *end;
        if (strcmp(table[i].name, option) != 0) continue;
        errno = 0;
        *table[i].number = strtoll(value, &end, 10);
        if (errno != 0 || end == value || *end != '\0' || *table[i].number < table[i].low ||
            *table[i].number > INT32_MAX)
            return qep_fail(QEP_E_CONFIG, "%s %s: not an integer from %lld up", option, value,
                            (long long)table[i].low);
        return QEP_OK;
    }
    return qep_fail(QEP_E_CONFIG, "unknown option %s", option);
}

static qep_status parse(int argc, char **argv, options *o)
{
    *o = (options){.model = {.hidden = 256,
                             .inter = 704,
                             .blocks = 2,
                             .heads = 4,
                             .kv_heads = 4,
                             .vocab = 1024,
                             .dtype = QEP_BF16},
                   .samples = 16,
                   .length = 256,
                   .shards = 1};
    if (argc < 2 || argv[1][0] == '-')
        return qep_fail(QEP_E_CONFIG, "the first argument is the directory");
    o->dir = argv[1];
    for (int i = 2; i < argc; i += 2) {
        if (i + 1 == argc) return qep_fail(QEP_E_CONFIG, "%s needs a value", argv[i]);
        QEP_TRY(set_one(o, argv[i], argv[i + 1]));
    }
    o->model.shards = qep_int(o->shards);
    o->model.seed = (uint64_t)o->seed;
    o->model.tied = o->tied != 0;
    o->model.outline = o->outline != 0;
    if (o->model.heads % o->model.kv_heads != 0)
        return qep_fail(QEP_E_CONFIG, "--kv does not divide --heads");
    if (o->model.head_dim == 0 && o->model.hidden % o->model.heads != 0)
        return qep_fail(QEP_E_CONFIG, "--heads does not divide --hidden; give --head-dim");
    return QEP_OK;
}

/* NumPy format 1.0: magic, version, length of the dictionary (padded so that the data starts at a
 * multiple of 64), data. */
static qep_status write_tokens(const options *o)
{
    enum { HEAD = 128 };
    const int64_t n = o->samples * o->length;
    char *file = qep_alloc("model", HEAD + n * (int64_t)sizeof(int32_t), 1);
    qep_rng r;
    memset(file, ' ', HEAD);
    memcpy(file, "\x93NUMPY\x01\x00\x76\x00", 10); /* 0x76 = HEAD - 10 */
    const int used = snprintf(file + 10, HEAD - 10,
                              "{'descr': '<i4', 'fortran_order': False, 'shape': (%lld, %lld), }",
                              (long long)o->samples, (long long)o->length);
    file[10 + used] = ' ';
    file[HEAD - 1] = '\n';
    qep_rng_seed(&r, (uint64_t)o->seed + 1);
    for (int64_t i = 0; i < n; i++) {
        const int32_t id = (int32_t)(qep_rng_u64(&r) % (uint64_t)o->model.vocab);
        memcpy(file + HEAD + i * (int64_t)sizeof id, &id, sizeof id);
    }
    qep_status st = qep_file_write(o->tokens, file, HEAD + n * (int64_t)sizeof(int32_t));
    qep_free(file);
    return st;
}

int main(int argc, char **argv)
{
    options o;
    qep_status st = parse(argc, argv, &o);
    if (st != QEP_OK) fprintf(stderr, "%s", usage);
    if (st == QEP_OK) st = tiny_model_write(o.dir, &o.model);
    if (st == QEP_OK && o.tokens) st = write_tokens(&o);
    if (st != QEP_OK) fprintf(stderr, "make_model: %s\n", qep_error_text());
    return qep_status_exit_code(st);
}
