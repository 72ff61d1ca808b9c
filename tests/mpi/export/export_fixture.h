/* A tiny source model, an output directory and made-up quantization results, the same on all ranks.
 * SPDX-License-Identifier: Apache-2.0 */
#include <sys/stat.h>
#include <unistd.h>
#include "qep_test.h"
#include "tiny_model.h"
#include "qep/export.h"
#include "qep/json.h"

static qep_comm *world;

static const char *const roles[7] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                                     "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};

typedef struct fixture {
    char *dir, *source, *out, *config;
    qep_st_set *files;
    qep_export_linear *linears;
    int64_t n_linears;
    qep_export_request rq;
} fixture;

static inline bool is_root(void) { return qep_rank(world) == 0; }

/* Local work of root between collectives. */
#define root_ok(expr) assert_ok(qep_agree_all(world, is_root() ? (expr) : QEP_OK))

static inline void put_text(const char *dir, const char *name, const char *text)
{
    char *path = qep_path_join(dir, name);
    root_ok(qep_file_write(path, text, (int64_t)strlen(text)));
    qep_free(path);
}

static inline bool has_file(const char *dir, const char *name)
{
    char *path = qep_path_join(dir, name);
    bool yes = qep_file_exists(path);
    qep_free(path);
    qep_barrier_all(world); /* before anybody changes it */
    return yes;
}

static inline uint64_t file_hash(const char *dir, const char *name)
{
    char *path = qep_path_join(dir, name), *text = NULL;
    int64_t bytes = 0;
    assert_ok(qep_agree_all(world, qep_file_read(path, INT64_MAX, QEP_E_INPUT, &text, &bytes)));
    uint64_t h = qep_hash64(text, (size_t)bytes, 1);
    qep_free(text);
    qep_free(path);
    return h;
}

static inline qep_qspec spec_of(int bits, int64_t group, bool sym, bool act)
{
    return (qep_qspec){.method = &qep_method_gptq, .bits = bits, .group_size = group, .symmetric = sym,
                       .act_order = act, .block_size = 128, .zero_min = 1};
}

static inline void set_linear(fixture *f, int64_t i, const char *module)
{
    qep_export_linear *l = &f->linears[i];
    char name[160];
    snprintf(name, sizeof name, "%s.weight", module);
    l->module = qep_strdup("test", module);
    l->weight = qep_st_find(f->files, name);
    if (!l->weight) l->weight = qep_st_find(f->files, "model.embed_tokens.weight"); /* tied */
    snprintf(name, sizeof name, "%s.bias", module);
    l->bias = qep_st_find(f->files, name);
    l->rows = l->weight->shape[0];
    l->cols = l->weight->shape[1];
    l->quantized = true;
}

/* head: lm_head is one of the linears. */
static inline fixture open_fixture(const tiny_model *m, bool head, qep_qspec spec)
{
    fixture f = {0};
    const char *tmp = getenv("TMPDIR");
    f.dir = qep_strf("test", "%s/qep_export_XXXXXX", tmp ? tmp : "/tmp");
    int64_t bytes = (int64_t)strlen(f.dir);
    bool made = !is_root() || mkdtemp(f.dir);
    assert_all(world, made);
    qep_bcast_text_all(world, 0, &f.dir, &bytes);
    f.source = qep_path_join(f.dir, "source");
    f.out = qep_path_join(f.dir, "out");
    root_ok(tiny_model_write(f.source, m));
    char *path = qep_path_join(f.source, "config.json");
    assert_ok(qep_agree_all(world, qep_file_read(path, INT64_MAX, QEP_E_INPUT, &f.config, &bytes)));
    qep_free(path);
    assert_ok(qep_agree_all(world, qep_st_open_dir(f.source, &f.files)));
    f.n_linears = 7 * m->blocks + (head ? 1 : 0);
    f.linears = qep_alloc("test", f.n_linears, sizeof *f.linears);
    for (int64_t i = 0; i < f.n_linears; i++) {
        char module[128];
        snprintf(module, sizeof module, "model.layers.%d.%s", (int)(i / 7), roles[i % 7]);
        set_linear(&f, i, i < 7 * m->blocks ? module : "lm_head");
        f.linears[i].spec = spec;
    }
    f.rq = (qep_export_request){.format = "gptq", .source_dir = f.source, .config_text = f.config, .files = f.files,
                                .linears = f.linears, .n_linears = f.n_linears, .tied = m->tied, .n_heads = m->heads, .n_kv_heads = m->kv_heads,
                                .output_dir = f.out, .shard_bytes = 50000, .dense_dtype = m->dtype,
                                .meta_json = "{\"quantizer\": [\"qep_mpi:0\"], \"alpha\": 0.5}", .damping = 0.01};
    return f;
}

static inline void close_fixture(fixture *f)
{
    qep_st_close(&f->files);
    for (int64_t i = 0; i < f->n_linears; i++) qep_free(f->linears[i].module);
    qep_free(f->linears);
    qep_barrier_all(world);
    if (is_root()) tiny_remove_dir(f->dir);
    qep_free(f->config);
    qep_free(f->out);
    qep_free(f->source);
    qep_free(f->dir);
}

/* --- results out of nothing --------------------------------------------------------------------- */

typedef struct result {
    int64_t rows, cols, groups;
    uint8_t *codes, *zeros;
    float *scales;
    int32_t *g_idx;
} result;

static inline uint64_t word(int64_t what, int64_t i, int64_t k)
{
    const int64_t key[3] = {what, i, k};
    return qep_hash64(key, sizeof key, 77);
}

static inline result make_result(const qep_export_linear *l, int64_t i)
{
    const qep_qspec *s = &l->spec;
    result r = {.rows = l->rows, .cols = l->cols, .groups = qep_n_groups(s, l->cols)};
    int64_t width = l->cols / r.groups;
    r.codes = qep_alloc("test", r.rows * r.cols, 1);
    r.zeros = qep_alloc("test", r.rows * r.groups, 1);
    r.scales = qep_alloc("test", r.rows * r.groups, sizeof *r.scales);
    r.g_idx = qep_alloc("test", r.cols, sizeof *r.g_idx);
    for (int64_t k = 0; k < r.rows * r.cols; k++) r.codes[k] = (uint8_t)(word(1, i, k) & ((1u << s->bits) - 1));
    for (int64_t k = 0; k < r.rows * r.groups; k++) {
        r.scales[k] = qep_f16_scale((float)(word(2, i, k) % 1000 + 1) / 8192.0f);
        r.zeros[k] = (uint8_t)(s->symmetric ? 1u << (s->bits - 1)
                                            : (unsigned)s->zero_min + word(3, i, k) % ((1u << s->bits) - (unsigned)s->zero_min));
    }
    for (int64_t k = 0; k < r.cols; k++) { /* act-order: column k is processed at place (k * 5 + 1) % cols */
        bool act = s->act_order && !s->static_groups;
        r.g_idx[k] = (int32_t)((act ? (k * 5 + 1) % r.cols : k) / width);
    }
    return r;
}

static inline void free_result(result *r)
{
    qep_free(r->codes);
    qep_free(r->zeros);
    qep_free(r->scales);
    qep_free(r->g_idx);
}

/* All quantized linears, units of 32 rows dealt out unevenly, or everything by the last rank. */
static inline qep_status put_all(qep_export *e, const fixture *f, bool alone)
{
    for (int64_t i = 0; i < f->n_linears; i++) {
        if (!f->linears[i].quantized) continue;
        result r = make_result(&f->linears[i], i);
        int64_t step = alone ? r.rows : 32;
        for (int64_t row = 0; row < r.rows; row += step) {
            int64_t n = qep_min_i64(step, r.rows - row);
            int owner = alone ? qep_size(world) - 1 : (int)((row / 32 * 5 + i + 1) / 2 % qep_size(world));
            if (owner != qep_rank(world)) continue;
            qep_status st = qep_export_put_rows(e, i, row, n, r.codes + row * r.cols, r.scales + row * r.groups,
                                                r.zeros + row * r.groups, r.g_idx);
            if (st != QEP_OK) {
                free_result(&r);
                return st;
            }
        }
        free_result(&r);
    }
    return QEP_OK;
}

static inline void digest_of(const fixture *f, uint64_t d[2])
{
    d[0] = d[1] = 0;
    for (int64_t i = 0; i < f->n_linears; i++) {
        if (!f->linears[i].quantized) continue;
        result r = make_result(&f->linears[i], i);
        for (int64_t row = 0; row < r.rows; row++)
            qep_digest_row(d, i, row, r.codes + row * r.cols, r.scales + row * r.groups, r.zeros + row * r.groups, r.g_idx,
                           r.cols, r.groups);
        free_result(&r);
    }
}

/* Everything from plan to publish; the first failing step's status. */
static inline qep_status write_output(const fixture *f, bool overwrite, bool resume, bool alone)
{
    qep_export *e = NULL;
    qep_status st = QEP_OK;
    QEP_GO(st, qep_export_plan(&f->rq, &e));
    QEP_GO(st, qep_export_check_dir_all(world, e, overwrite, true));
    QEP_GO(st, qep_export_open_all(world, e, resume));
    if (!resume) {
        QEP_GO(st, qep_export_copy_all(world, e));
        QEP_GO(st, qep_agree_all(world, put_all(e, f, alone)));
        QEP_GO(st, qep_agree_all(world, qep_export_sync(e)));
    }
    st = qep_export_publish_all(world, e);
done:
    qep_export_destroy(&e);
    return st;
}

/* The output reads back with the digest of the results. */
static inline void check_digest(const fixture *f, const char *dir)
{
    uint64_t want[2], got[2];
    int64_t n = 0, quantized = 0;
    digest_of(f, want);
    assert_ok(qep_export_check_all(world, dir, got, &n));
    for (int64_t i = 0; i < f->n_linears; i++) quantized += f->linears[i].quantized;
    assert_all(world, got[0] == want[0] && got[1] == want[1] && n == quantized);
}

static const tiny_model small = {.hidden = 96, .inter = 160, .blocks = 2, .heads = 3, .kv_heads = 1, .vocab = 64,
                                 .dtype = QEP_BF16, .bias = true, .seed = 5, .shards = 3};
