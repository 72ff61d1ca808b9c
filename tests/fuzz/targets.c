/* See targets.h. SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* memfd_create */
#include "targets.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../src/data/data_priv.h"
#include "../../src/run/run_priv.h"
#include "qep/packed.h"

/* --- bytes as files ------------------------------------------------------------------------------- */

static int memory_file;       /* the input as a file without a name */
static char memory_path[32];  /* ... and with one */
static char folder[] = "/tmp/qep_fuzz.XXXXXX"; /* for what is read as a directory */

static const char *as_file(const uint8_t *data, size_t bytes)
{
    if (ftruncate(memory_file, 0) != 0 || pwrite(memory_file, data, bytes, 0) != (ssize_t)bytes) abort();
    return memory_path;
}

static char *in_folder(const char *name)
{
    return qep_path_join(folder, name);
}

static void put_file(const char *name, const void *data, size_t bytes)
{
    char *path = in_folder(name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, bytes, f) != bytes || fclose(f) != 0) abort();
    qep_free(path);
}

static void remove_file(const char *name)
{
    char *path = in_folder(name);
    (void)unlink(path);
    qep_free(path);
}

/* A shard of two tensors that an index may name, and one of each format of packed linears, whose modules a configuration's patterns may match. */
static void put_shard(const char *name)
{
    static const char header[] = "{\"a.weight\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]},"
                                 "\"b.weight\":{\"dtype\":\"I32\",\"shape\":[4],\"data_offsets\":[16,32]},"
                                 "\"model.layers.0.self_attn.q_proj.qweight\":{\"dtype\":\"I32\",\"shape\":[2,2],\"data_offsets\":[32,48]},"
                                 "\"model.layers.0.mlp.up_proj.weight_packed\":{\"dtype\":\"I32\",\"shape\":[2,2],\"data_offsets\":[48,64]}}";
    char file[8 + sizeof header - 1 + 64] = {0};
    file[0] = (char)((sizeof header - 1) & 255);
    file[1] = (char)((sizeof header - 1) >> 8);
    memcpy(file + 8, header, sizeof header - 1);
    put_file(name, file, sizeof file);
}

static void remove_folder(void)
{
    static const char *const names[] = {"model-00001-of-00001.safetensors", "model.safetensors.index.json", "model.gguf"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) remove_file(names[i]);
    rmdir(folder);
}

static void no_end(int exit_code) /* a parser must not end the job */
{
    (void)exit_code;
    abort();
}

void fuzz_start(void)
{
    qep_set_abort_hook(no_end, 0);
    memory_file = memfd_create("input", 0);
    snprintf(memory_path, sizeof memory_path, "/proc/self/fd/%d", memory_file);
    if (memory_file < 0 || !mkdtemp(folder)) abort();
    atexit(remove_folder);
}

/* A copy with a NUL behind it, of exactly the size: reading beyond is seen. */
static char *as_text(const uint8_t *data, size_t bytes)
{
    char *text = malloc(bytes + 1);
    if (!text) abort();
    if (bytes > 0) memcpy(text, data, bytes);
    text[bytes] = '\0';
    return text;
}

/* --- targets ---------------------------------------------------------------------------------------- */

static void run_ini(const uint8_t *data, size_t bytes)
{
    char *text = as_text(data, bytes);
    qep_config *c = NULL, *again = NULL;
    if (qep_config_parse(text, "/folder/job.ini", NULL, 0, &c) == QEP_OK) { /* what is written out must be read again */
        char *dump = qep_config_dump(c), *is = qep_config_identity(c);
        if (qep_config_parse(dump, "/folder/dump.ini", NULL, 0, &again) != QEP_OK) {
            fprintf(stderr, "%s\n%s\n", qep_error_text(), dump);
            abort();
        }
        char *was = qep_config_identity(again);
        if (strcmp(is, was) != 0) abort();
        qep_free(was);
        qep_free(is);
        qep_free(dump);
    }
    qep_config_destroy(&again);
    qep_config_destroy(&c);
    free(text);
}

/* config.json of a model: the architecture, and what is packed. */
static void run_config(const uint8_t *data, size_t bytes)
{
    qep_json *j = NULL;
    qep_arch arch;
    qep_st_set *files = NULL;
    qep_packed *packed = NULL;
    char *text = as_text(data, bytes), *shard = in_folder("model-00001-of-00001.safetensors");
    put_shard("model-00001-of-00001.safetensors");
    if (qep_json_parse(text, (int64_t)bytes, "config.json", QEP_E_INPUT, &j) == QEP_OK) {
        (void)!qep_arch_parse(j, "config.json", &arch);
        if (qep_st_open_file(shard, &files) == QEP_OK) (void)!qep_packed_open(j, "config.json", files, &packed);
    }
    qep_packed_close(&packed);
    qep_st_close(&files);
    qep_json_free(&j);
    qep_free(shard);
    free(text);
}

static void read_some(const qep_st_set *s)
{
    for (int64_t i = 0; i < qep_st_count(s) && i < 4; i++) {
        const qep_st_tensor *t = qep_st_at(s, i);
        const int64_t n = qep_min_i64(t->bytes, 4096);
        char *dst = malloc((size_t)n + 1);
        if (dst) (void)!qep_st_read(s, t, t->bytes - n, n, dst);
        free(dst);
    }
}

static void run_safetensors(const uint8_t *data, size_t bytes)
{
    qep_st_set *s = NULL;
    if (qep_st_open_file(as_file(data, bytes), &s) == QEP_OK) read_some(s);
    qep_st_close(&s);
}

static void run_index(const uint8_t *data, size_t bytes)
{
    qep_st_set *s = NULL;
    put_shard("model-00001-of-00001.safetensors");
    put_file("model.safetensors.index.json", data, bytes);
    if (qep_st_open_dir(folder, &s) == QEP_OK) read_some(s);
    qep_st_close(&s);
    remove_file("model.safetensors.index.json");
}

static void run_gguf(const uint8_t *data, size_t bytes)
{
    static const char config[] = "{\"model_type\": \"llama\", \"num_attention_heads\": 2, \"num_key_value_heads\": 1, "
                                 "\"quantization_config\": {\"quant_method\": \"gguf\"}}";
    qep_json *j = NULL;
    qep_st_set *s = NULL;
    qep_packed *packed = NULL;
    remove_file("model-00001-of-00001.safetensors");
    put_file("model.gguf", data, bytes);
    if (qep_json_parse(config, sizeof config - 1, "config.json", QEP_E_INPUT, &j) == QEP_OK)
        (void)!qep_packed_open_dir(folder, j, "config.json", &s, &packed);
    qep_packed_close(&packed);
    qep_st_close(&s);
    qep_json_free(&j);
    remove_file("model.gguf");
}

static void run_npy(const uint8_t *data, size_t bytes)
{
    qep_npy a;
    int64_t ids[64];
    (void)as_file(data, bytes);
    if (qep_npy_open("ids.npy", memory_file, &a) != QEP_OK) return;
    const int64_t n = qep_min_i64(a.rows * a.length, 64);
    (void)!qep_npy_read("ids.npy", memory_file, &a, a.rows * a.length - n, n, ids);
}

static void run_tokenizer(const uint8_t *data, size_t bytes)
{
    static const char sample[] = "Hello  World, it's 3.14 \xc3\xa9t\xc3\xa9 \xe4\xbd\xa0\n\t<s> \xff\xf0\x9f\x98\x80 ab";
    qep_tokenizer *t = NULL;
    int32_t *ids = NULL;
    int64_t n = 0, length = 0;
    char *text = as_text(data, bytes), *back = NULL;
    if (qep_tokenizer_parse(text, (int64_t)bytes, "tokenizer.json", &t) == QEP_OK &&
        qep_tokenizer_encode(t, sample, sizeof sample - 1, true, &ids, &n) == QEP_OK)
        (void)!qep_tokenizer_decode(t, ids, n, false, &back, &length);
    qep_free(back);
    qep_free(ids);
    qep_tokenizer_close(&t);
    free(text);
}

static void run_jsonl(const uint8_t *data, size_t bytes)
{
    char *text = as_text(data, bytes), *field = NULL;
    for (int kind = QEP_DOCUMENT_FILE; kind <= QEP_DOCUMENT_LINES; kind++) {
        qep_document_index x;
        qep_document_index_start(&x, (qep_document_kind)kind);
        qep_document_index_feed(&x, text, (int64_t)bytes);
        qep_document_index_end(&x);
        for (int64_t i = 0; i < x.n; i++) {
            if (x.begin[i] < 0 || x.end[i] < x.begin[i] || x.end[i] > (int64_t)bytes) abort();
            qep_utf8_tally u = {0};
            qep_utf8_feed(&u, text + x.begin[i], x.end[i] - x.begin[i]);
            qep_utf8_end(&u);
            if (u.wrong < 0 || u.wrong > u.characters || u.characters > x.end[i] - x.begin[i]) abort();
            if (kind != QEP_DOCUMENT_LINES) continue;
            if (qep_jsonl_text(text + x.begin[i], x.end[i] - x.begin[i], "text", "a.jsonl:1", &field) == QEP_OK) qep_free(field);
        }
        qep_document_index_free(&x);
    }
    free(text);
}

/* The record of progress in a checkpoint; its datasets are covered by checksums (tests/mpi/store/test_damage.c). */
static void run_state(const uint8_t *data, size_t bytes)
{
    enum { BLOCKS = 2, LINEARS = 3 };
    char *text = as_text(data, bytes), path[] = "checkpoint.h5";
    qep_model model = {.arch = {.n_blocks = BLOCKS}};
    qep_record records[LINEARS] = {{0}};
    double growth[BLOCKS * QEP_N_SEQ_KINDS * 2] = {0};
    qep_run r = {.model = &model, .checkpoint = path, .n_linears = LINEARS, .records = records, .growth = growth};
    if (qep_run_state_parse(&r, text) == QEP_OK && (r.next_block < 0 || r.next_block > BLOCKS)) abort();
    free(text);
}

const fuzz_target fuzz_targets[] = {{"ini", run_ini},   {"config", run_config},       {"safetensors", run_safetensors}, {"index", run_index}, {"gguf", run_gguf},
                                    {"npy", run_npy},   {"tokenizer", run_tokenizer}, {"jsonl", run_jsonl},             {"state", run_state}, {NULL, NULL}};

const fuzz_target *fuzz_find(const char *name)
{
    for (const fuzz_target *t = fuzz_targets; t->name; t++)
        if (strcmp(t->name, name) == 0) return t;
    return NULL;
}
