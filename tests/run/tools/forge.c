/* forge: makes small models and token files for the whole-program tests, and damages them.
 *   forge model DIR [KEY=VALUE...]     a model directory (keys: see model_key)
 *   forge header FILE                  prints the JSON header of a safetensors file
 *   forge rehead FILE                  replaces that header by standard input; the data stay as they are
 *   forge poke FILE TENSOR BYTE HEX    overwrites bytes of a tensor, from its byte BYTE on
 *   forge set FILE TENSOR ROWS COLS V  changes entries of a float tensor (a vector is one row); ROWS, COLS: N, N-M or all; V: a value in
 *                                      the tensor's own type, xF (times F) or =N (as in column N)
 *   forge scan FILE...                 counts "float values, NaN or Inf among them, scales that are not positive" of these files
 *   forge npy FILE TYPE SHAPE VOCAB [INDEX=VALUE...]
 *                                      token ids of an order-2 chain: i4 i8 u2 u4 or any other numpy type; SHAPE N, RxC ...
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qep/json.h"
#include "tiny_model.h"

static int complain(const char *what, const char *name)
{
    fprintf(stderr, "forge: %s %s\n", what, name);
    return 1;
}

/* --- models ---------------------------------------------------------------------------- */

static bool model_key(tiny_model *m, const char *arg)
{
    const char *eq = strchr(arg, '=');
    if (!eq) return false;
    size_t n = (size_t)(eq - arg);
    const struct { const char *name; int64_t *to; } sizes[] = {
        {"hidden", &m->hidden}, {"inter", &m->inter}, {"blocks", &m->blocks}, {"heads", &m->heads},
        {"kv", &m->kv_heads}, {"head_dim", &m->head_dim}, {"vocab", &m->vocab},
        {"experts", &m->experts}, {"top_k", &m->top_k}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (strlen(sizes[i].name) == n && memcmp(sizes[i].name, arg, n) == 0) {
            *sizes[i].to = strtoll(eq + 1, NULL, 10);
            return true;
        }
    if (strncmp(arg, "dtype=", 6) == 0) return qep_dtype_from_name(eq + 1, &m->dtype);
    if (strncmp(arg, "tied=", 5) == 0) m->tied = eq[1] == '1';
    else if (strncmp(arg, "bias=", 5) == 0) m->bias = eq[1] == '1';
    else if (strncmp(arg, "fused=", 6) == 0) m->fused = eq[1] == '1';
    else if (strncmp(arg, "seed=", 5) == 0) m->seed = strtoull(eq + 1, NULL, 10);
    else if (strncmp(arg, "family=", 7) == 0) m->family = eq + 1;
    else if (strncmp(arg, "shards=", 7) == 0) m->shards = (int)strtol(eq + 1, NULL, 10);
    else return false;
    return true;
}

static int make_model(int argc, char **argv)
{
    tiny_model m = {.hidden = 64, .inter = 96, .blocks = 3, .heads = 4, .kv_heads = 2, .head_dim = 16, .vocab = 160,
                    .dtype = QEP_BF16, .seed = 1, .shards = 1};
    for (int i = 1; i < argc; i++)
        if (!model_key(&m, argv[i])) return complain("unknown key", argv[i]);
    return tiny_model_write(argv[0], &m) == QEP_OK ? 0 : complain("cannot make a model:", qep_error_text());
}

/* --- safetensors ------------------------------------------------------------------------- */

static char *read_stream(FILE *f, size_t *n)
{
    size_t cap = 1 << 16;
    char *text = malloc(cap + 1);
    for (*n = 0; text;) {
        size_t got = fread(text + *n, 1, cap - *n, f);
        *n += got;
        if (got == 0) break;
        if (*n == cap) text = realloc(text, (cap *= 2) + 1);
    }
    if (text) text[*n] = '\0';
    return text;
}

/* The whole file; *header bytes of JSON from byte 8 on. */
static char *read_safetensors(const char *path, size_t *n, size_t *header)
{
    FILE *f = fopen(path, "rb");
    char *all = f ? read_stream(f, n) : NULL;
    if (f) fclose(f);
    if (!all || *n < 8) return NULL;
    *header = 0;
    for (int i = 7; i >= 0; i--) *header = *header << 8 | (unsigned char)all[i];
    return *header <= *n - 8 ? all : NULL;
}

static int print_header(const char *path)
{
    size_t n, header;
    char *all = read_safetensors(path, &n, &header);
    if (!all) return complain("not a safetensors file:", path);
    fwrite(all + 8, 1, header, stdout);
    free(all);
    return 0;
}

static int replace_header(const char *path)
{
    size_t n, header, fresh;
    char *all = read_safetensors(path, &n, &header), *text = read_stream(stdin, &fresh);
    if (!all || !text) return complain("not a safetensors file:", path);
    FILE *f = fopen(path, "wb");
    if (!f) return complain("cannot write", path);
    for (int i = 0; i < 8; i++) fputc((int)(fresh >> (8 * i) & 255), f);
    fwrite(text, 1, fresh, f);
    fwrite(all + 8 + header, 1, n - 8 - header, f);
    free(text);
    free(all);
    return fclose(f) == 0 ? 0 : complain("cannot write", path);
}

/* A whole safetensors file in memory. */
typedef struct st_file {
    char *all;
    size_t n, header;
    qep_json *root;
} st_file;

static bool open_file(const char *path, st_file *f)
{
    *f = (st_file){0};
    f->all = read_safetensors(path, &f->n, &f->header);
    return f->all && qep_json_parse(f->all + 8, (int64_t)f->header, path, QEP_E_INPUT, &f->root) == QEP_OK;
}

static void close_file(st_file *f)
{
    qep_json_free(&f->root);
    free(f->all);
}

/* First byte of a tensor's data; NULL when there is no such tensor. */
static char *data_of(const st_file *f, const qep_json *tensor)
{
    const qep_json *at = qep_json_get(tensor, "data_offsets");
    return at ? f->all + 8 + f->header + qep_json_int(qep_json_at(at, 0)) : NULL;
}

static int write_back(const char *path, const st_file *f)
{
    FILE *out = fopen(path, "wb");
    if (!out || fwrite(f->all, 1, f->n, out) != f->n || fclose(out) != 0) return complain("cannot write", path);
    return 0;
}

static int poke(const char *path, const char *tensor, const char *byte, const char *hex)
{
    st_file f;
    if (!open_file(path, &f)) return complain("not a safetensors file:", path);
    char *at = data_of(&f, qep_json_get(f.root, tensor));
    if (!at) return complain("no such tensor:", tensor);
    at += strtol(byte, NULL, 10);
    for (unsigned v; sscanf(hex, "%2x", &v) == 1; hex += 2) *at++ = (char)v;
    int code = write_back(path, &f);
    close_file(&f);
    return code;
}

/* "N", "N-M" or "all" of n. */
static void part(const char *text, int64_t n, int64_t *first, int64_t *last)
{
    char *end;
    *first = 0;
    *last = n - 1;
    if (strcmp(text, "all") == 0) return;
    *first = *last = strtoll(text, &end, 10);
    if (*end == '-') *last = strtoll(end + 1, NULL, 10);
}

static bool float_type(const qep_json *tensor, qep_dtype *type)
{
    const char *name = qep_json_string(qep_json_get(tensor, "dtype"));
    return name && qep_dtype_from_name(name, type) && qep_dtype_is_float(*type);
}

static int set(char **arg)
{
    st_file f;
    if (!open_file(arg[0], &f)) return complain("not a safetensors file:", arg[0]);
    const qep_json *tensor = qep_json_get(f.root, arg[1]), *shape = qep_json_get(tensor, "shape");
    qep_dtype type;
    char *data = data_of(&f, tensor);
    if (!data || !float_type(tensor, &type)) return complain("no such tensor of floats:", arg[1]);
    const int rank = (int)qep_json_size(shape);
    const int64_t cols = qep_json_int(qep_json_at(shape, rank - 1)), rows = rank > 1 ? qep_json_int(qep_json_at(shape, 0)) : 1;
    int64_t r0, r1, c0, c1, size = qep_dtype_size(type);
    part(arg[2], rows, &r0, &r1);
    part(arg[3], cols, &c0, &c1);
    if (r1 >= rows || c1 >= cols) return complain("outside of the tensor:", arg[1]);
    const char how = arg[4][0];
    const float by = strtof(arg[4] + (how == 'x' || how == '='), NULL);
    for (int64_t r = r0; r <= r1; r++)
        for (int64_t c = c0; c <= c1; c++) {
            char *at = data + (r * cols + c) * size;
            float v = by;
            if (how == 'x') qep_to_f32(&v, at, type, 1), v *= by;
            if (how == '=') qep_to_f32(&v, data + (r * cols + (int64_t)by) * size, type, 1);
            qep_from_f32(at, type, &v, 1);
        }
    int code = write_back(arg[0], &f);
    close_file(&f);
    return code;
}

static int scan(int argc, char **argv)
{
    int64_t values = 0, bad = 0, unfit = 0;
    for (int i = 0; i < argc; i++) {
        st_file f;
        if (!open_file(argv[i], &f)) return complain("not a safetensors file:", argv[i]);
        const char *name;
        qep_json *tensor;
        for (void *it = qep_json_next(f.root, NULL, &name, &tensor); it; it = qep_json_next(f.root, it, &name, &tensor)) {
            const bool scales = strstr(name, "scale") != NULL;
            qep_dtype type;
            if (!float_type(tensor, &type)) continue;
            const char *at = data_of(&f, tensor), *end = f.all + 8 + f.header + qep_json_int(qep_json_at(qep_json_get(tensor, "data_offsets"), 1));
            for (; at < end; at += qep_dtype_size(type), values++) {
                float v;
                qep_to_f32(&v, at, type, 1);
                bad += !isfinite(v);
                unfit += scales && !(v > 0);
            }
        }
        close_file(&f);
    }
    printf("%lld %lld %lld\n", (long long)values, (long long)bad, (long long)unfit);
    return 0;
}

/* --- token ids ---------------------------------------------------------------------------- */

/* The ids follow each other with a preference, so that the activations are not all alike. */
static int64_t next_id(qep_rng *rng, int64_t last, int64_t vocab)
{
    double u = qep_rng_uniform(rng);
    return u < 0.5 ? (last * 7 + 3) % vocab : (int64_t)(qep_rng_uniform(rng) * (double)vocab) % vocab;
}

static int make_npy(int argc, char **argv)
{
    if (argc < 4) return complain("npy needs", "FILE TYPE SHAPE VOCAB");
    const char *type = argv[1];
    int64_t count = 1, vocab = strtoll(argv[3], NULL, 10), id = 0;
    int width = type[1] - '0';
    char shape[128] = "", header[256];
    size_t used = 0;
    for (char *p = argv[2]; *p; p += *p == 'x') {
        int64_t extent = strtoll(p, &p, 10);
        count *= extent;
        used += (size_t)snprintf(shape + used, sizeof shape - used, "%lld, ", (long long)extent);
    }
    FILE *f = fopen(argv[0], "wb");
    if (!f) return complain("cannot write", argv[0]);
    int n = snprintf(header, sizeof header, "{'descr': '%s%s', 'fortran_order': False, 'shape': (%s), }", strchr("<>|", type[0]) ? "" : "<",
                     type, shape);
    if (strchr("<>|", type[0])) width = type[2] - '0';
    int padded = (10 + n + 1 + 63) / 64 * 64 - 10;
    fwrite("\x93NUMPY\x01", 1, 7, f);
    fputc(0, f);
    fputc(padded & 255, f);
    fputc(padded >> 8, f);
    fprintf(f, "%-*s\n", padded - 1, header);
    qep_rng rng;
    qep_rng_seed(&rng, 7);
    for (int64_t i = 0; i < count; i++) {
        int64_t v = id = next_id(&rng, id, vocab);
        for (int a = 4; a < argc; a++)
            if (strtoll(argv[a], NULL, 10) == i) v = strtoll(strchr(argv[a], '=') + 1, NULL, 10);
        for (int b = 0; b < width; b++) fputc((int)((uint64_t)v >> (8 * b) & 255), f);
    }
    return fclose(f) == 0 ? 0 : complain("cannot write", argv[0]);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "model") == 0 && argc > 2) return make_model(argc - 2, argv + 2);
    if (strcmp(what, "header") == 0 && argc == 3) return print_header(argv[2]);
    if (strcmp(what, "rehead") == 0 && argc == 3) return replace_header(argv[2]);
    if (strcmp(what, "poke") == 0 && argc == 6) return poke(argv[2], argv[3], argv[4], argv[5]);
    if (strcmp(what, "npy") == 0) return make_npy(argc - 2, argv + 2);
    if (strcmp(what, "set") == 0 && argc == 7) return set(argv + 2);
    if (strcmp(what, "scan") == 0) return scan(argc - 2, argv + 2);
    return complain("usage: forge model|header|rehead|poke|set|scan|npy ...; not", what);
}
