/* --convert DIR --format F: a finished output laid out anew in another format. Codes, scales, zero points and g_idx stay as they are, and the
 * digest of the result is compared with the source's. SPDX-License-Identifier: Apache-2.0 */
#include "run_priv.h"

#include "qep/packed.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_AT_ONCE = 256 }; /* of values that are compared */

typedef struct conversion {
    qep_comm *comm;
    const char *dir, *format;
    qep_run output_of;     /* holds the settings of [output], and the lock */
    const char *output;
    char *config_text;     /* without quantization_config */
    char *meta;
    double damping;
    bool tied;
    qep_json *config;
    qep_st_set *files;
    qep_packed *packed;
    qep_export_linear *linears; /* [n], by name: the packed ones and all other weight matrices */
    const qep_packed_linear **sources; /* [n]; NULL: not packed */
    int64_t n, n_packed;
    uint64_t digest[2];    /* of the source */
} conversion;

/* --- what there is ------------------------------------------------------------------------------ */

/* config.json as root has it, and the files. Collective. */
static qep_status open_all(conversion *v)
{
    char *path = qep_path_join(v->dir, "config.json"), *text = NULL;
    int64_t bytes = 0;
    qep_status st = QEP_OK;
    if (qep_rank(v->comm) == 0) st = qep_file_read(path, INT64_C(1) << 26, QEP_E_INPUT, &text, &bytes);
    QEP_GO(st, qep_agree_all(v->comm, st));
    qep_bcast_text_all(v->comm, 0, &text, &bytes);
    st = qep_json_parse(text, bytes, path, QEP_E_INPUT, &v->config);
    if (st == QEP_OK) st = qep_packed_open_dir(v->dir, v->config, path, &v->files, &v->packed);
    if (st == QEP_OK && qep_packed_count(v->packed) == 0)
        st = qep_fail(QEP_E_CONFIG, "%s holds no packed codes (a dense output or a model as it came), so there is nothing to lay out anew; "
                                    "quantize the model with [output] format = %s instead", v->dir, v->format);
    for (int64_t i = 0; i < qep_packed_count(v->packed) && st == QEP_OK; i++)
        if (qep_packed_at(v->packed, i)->differences)
            st = qep_fail(QEP_E_CONFIG, "%s: of %s the GGUF file keeps code - zero alone, or rounded values, which no other format can be made of; convert the "
                                        "output that it came from", v->dir, qep_packed_at(v->packed, i)->module);
    st = qep_agree_all(v->comm, st);
done:
    qep_free(text);
    qep_free(path);
    return st;
}

static int by_name(const void *a, const void *b)
{
    const qep_export_linear *x = a, *y = b;
    return strcmp(x->module, y->module);
}

static void add_packed(conversion *v, const qep_packed_linear *p)
{
    char *bias = qep_strf("run.convert", "%s.bias", p->module);
    v->linears[v->n++] = (qep_export_linear){
        .module = qep_strdup("run.convert", p->module), .weight = p->codes_at, .bias = qep_st_find(v->files, bias),
        .replaced = {p->codes_at, p->scales_at, p->zeros_at, p->groups_at, p->shape_at},
        .rows = p->rows, .cols = p->cols, .quantized = true,
        .spec = {.method = &qep_method_gptq, .bits = p->bits, .group_size = p->groups == 1 ? -1 : p->cols / p->groups,
                 .symmetric = p->symmetric, .act_order = p->any_order}};
    qep_free(bias);
}

/* A weight matrix that stays as it is; embeddings are none, nor are blocks. */
static void add_plain(conversion *v, const qep_st_tensor *t)
{
    static const char tail[] = ".weight";
    size_t n = strlen(t->name), k = sizeof tail - 1;
    if (t->rank != 2 || !qep_dtype_is_float(t->dtype) || n <= k || strcmp(t->name + n - k, tail) != 0 || strstr(t->name, "embed")) return;
    v->linears[v->n++] = (qep_export_linear){.module = qep_strf("run.convert", "%.*s", (int)(n - k), t->name), .weight = t,
                                             .rows = t->shape[0], .cols = t->shape[1]};
}

static void list_linears(conversion *v)
{
    int64_t room = qep_st_count(v->files);
    v->linears = qep_alloc("run.convert", room, sizeof *v->linears);
    v->sources = qep_alloc("run.convert", room, sizeof *v->sources);
    v->n_packed = qep_packed_count(v->packed);
    for (int64_t i = 0; i < v->n_packed; i++) add_packed(v, qep_packed_at(v->packed, i));
    for (int64_t i = 0; i < qep_st_count(v->files); i++) add_plain(v, qep_st_at(v->files, i));
    qsort(v->linears, (size_t)v->n, sizeof *v->linears, by_name);
    for (int64_t i = 0; i < v->n; i++) v->sources[i] = qep_packed_find(v->packed, v->linears[i].module);
}

/* --- rows of the object ---------------------------------------------------------------------------- */

/* What the values of a linear ask of a format. */
typedef struct demand {
    int64_t has_zero, off_middle, ordered, inexact; /* 0 or 1: a zero point 0; one that is not 2^(bits - 1); a g_idx not in order; a scale that F16 does not hold */
} demand;

/* Where the pieces of linear i go. */
typedef struct pieces {
    int64_t i;
    demand *demands; /* [n] */
    qep_export *made;
} pieces;

/* My rows of all packed linears, in units of 32. Local. */
static qep_status each_piece(const conversion *v, qep_packed_rows_fn f, pieces *to)
{
    qep_status st = QEP_OK;
    for (to->i = 0; to->i < v->n && st == QEP_OK; to->i++) {
        const qep_packed_linear *l = v->sources[to->i];
        int64_t first, units;
        if (!l) continue;
        qep_partition(qep_ceil_div(l->rows, 32), qep_size(v->comm), qep_rank(v->comm), &first, &units);
        int64_t from = qep_min_i64(first * 32, l->rows), end = qep_min_i64((first + units) * 32, l->rows);
        st = qep_packed_each(v->packed, l, from, end - from, f, to);
    }
    return st;
}

static qep_status look_at_piece(void *ctx, const qep_packed_linear *l, int64_t row0, int64_t n, const qep_packed_rows *o)
{
    const pieces *to = ctx;
    demand *d = &to->demands[to->i];
    (void)row0;
    for (int64_t k = 0; k < n * l->groups; k++) {
        d->has_zero |= o->zeros[k] == 0;
        d->off_middle |= o->zeros[k] != 1 << (l->bits - 1);
        d->inexact |= qep_f16_to_f32(qep_f32_to_f16(o->scales[k])) != o->scales[k];
    }
    for (int64_t k = 0; k < l->cols; k++) d->ordered |= o->g_idx[k] != k / (l->cols / l->groups);
    return QEP_OK;
}

static qep_status check_demand(const conversion *v, const qep_export_linear *l, const demand *d)
{
    if (d->has_zero && qep_export_zero_min(v->format) > 0)
        return qep_fail(QEP_E_CONFIG, "%s has a zero point 0, which the %s format cannot hold (it stores zero - 1); convert to gptq_v2, "
                                      "compressed-tensors or, with 4 bits, awq", l->module, v->format);
    if (d->inexact && strcmp(v->format, "dense") != 0)
        return qep_fail(QEP_E_CONFIG, "%s has a scale that F16 does not hold exactly; %s stores F16 scales", l->module, v->format);
    return QEP_OK;
}

/* Reads everything once: what the format must hold is known before anything is written. Collective. */
static qep_status look_all(conversion *v)
{
    demand *d = qep_alloc("run.convert", v->n, sizeof *d);
    qep_status st = qep_agree_all(v->comm, each_piece(v, look_at_piece, &(pieces){.demands = d}));
    bool symmetric = true;
    if (st == QEP_OK) qep_max_i64_all(v->comm, &d->has_zero, v->n * (int64_t)(sizeof *d / sizeof(int64_t)));
    for (int64_t i = 0; i < v->n; i++) symmetric = symmetric && !d[i].off_middle;
    for (int64_t i = 0; i < v->n && st == QEP_OK; i++) {
        qep_export_linear *l = &v->linears[i];
        if (!l->quantized) continue;
        l->spec.symmetric = l->spec.symmetric || symmetric; /* awq does not say so */
        l->spec.act_order = d[i].ordered;
        st = check_demand(v, l, &d[i]);
    }
    qep_free(d);
    return st;
}

/* --- the new output ----------------------------------------------------------------------------------- */

static void describe_source(conversion *v)
{
    const qep_json *q = qep_json_get(v->config, "quantization_config");
    const qep_json *damping = qep_json_get(q, "damp_percent"), *tied = qep_json_get(v->config, "tie_word_embeddings");
    qep_json *meta = qep_json_get(q, "meta") ? qep_json_copy(qep_json_get(q, "meta")) : qep_json_new_object();
    v->damping = damping ? qep_json_real(damping) : 0.01;
    v->tied = tied && qep_json_bool(tied);
    qep_json_set(meta, "converted_from", qep_json_new_string(qep_packed_format(v->packed)));
    v->meta = qep_json_text(meta, false);
    qep_json_free(&meta);
    qep_json_remove(v->config, "quantization_config");
    v->config_text = qep_json_text(v->config, true);
}

/* The type of the model's other weights: that of the embedding. */
static qep_dtype model_dtype(const conversion *v)
{
    for (int64_t i = 0; i < qep_st_count(v->files); i++) {
        const qep_st_tensor *t = qep_st_at(v->files, i);
        if (strstr(t->name, "embed_tokens.weight") && qep_dtype_is_float(t->dtype)) return t->dtype;
    }
    return QEP_BF16;
}

static int64_t config_int(const conversion *v, const char *key)
{
    const qep_json *j = qep_json_get(v->config, key);
    return j ? qep_json_int(j) : 0;
}

static qep_status plan(const conversion *v, qep_export **out)
{
    const qep_export_request rq = {.format = v->format, .source_dir = v->dir, .config_text = v->config_text, .files = v->files,
                                   .linears = v->linears, .n_linears = v->n, .tied = v->tied,
                                   .n_heads = config_int(v, "num_attention_heads"), .n_kv_heads = config_int(v, "num_key_value_heads"),
                                   .output_dir = v->output, .shard_bytes = v->output_of.cfg->shard_size, .dense_dtype = model_dtype(v),
                                   .meta_json = v->meta, .damping = v->damping};
    return qep_export_plan(&rq, out);
}

static qep_status put_piece(void *ctx, const qep_packed_linear *l, int64_t row0, int64_t n, const qep_packed_rows *o)
{
    const pieces *to = ctx;
    (void)l;
    return qep_export_put_rows(to->made, to->i, row0, n, o->codes, o->scales, o->zeros, o->g_idx);
}

static qep_status write_all(conversion *v, qep_export *e)
{
    char stamp[QEP_ST_STAMP + 1];
    snprintf(stamp, sizeof stamp, "%016" PRIx64, v->digest[0]);
    qep_export_set_stamp(e, stamp);
    qep_export_describe(e);
    QEP_TRY(qep_export_check_dir_all(v->comm, e, v->output_of.cfg->overwrite, true));
    QEP_TRY(qep_agree_all(v->comm, qep_rank(v->comm) == 0 ? qep_run_lock(&v->output_of) : QEP_OK));
    QEP_TRY(qep_export_check_dir_all(v->comm, e, v->output_of.cfg->overwrite, true)); /* another job may have finished there while we waited for its lock */
    QEP_TRY(qep_export_discard_all(v->comm, e)); /* what a conversion that was cut short has left */
    QEP_TRY(qep_export_open_all(v->comm, e, false));
    QEP_TRY(qep_export_copy_all(v->comm, e));
    QEP_TRY(qep_agree_all(v->comm, each_piece(v, put_piece, &(pieces){.made = e})));
    return qep_export_publish_all(v->comm, e);
}

/* A small file of the source, as it is; where there is none, none of a former output stays. Root. */
static qep_status copy_file(const conversion *v, const char *name)
{
    char *from = qep_path_join(v->dir, name), *to = qep_path_join(v->output, name), *text = NULL;
    int64_t bytes = 0;
    qep_status st = QEP_OK;
    if (qep_file_exists(from)) {
        st = qep_file_read(from, INT64_C(1) << 30, QEP_E_INPUT, &text, &bytes);
        if (st == QEP_OK) st = qep_file_write(to, text, bytes);
    } else {
        st = qep_file_remove(to);
    }
    qep_free(text);
    qep_free(to);
    qep_free(from);
    return st;
}

/* The source's figures hold for what has the same codes. Root. */
static qep_status write_summary(const conversion *v, const qep_export *e)
{
    char *from = qep_path_join(v->dir, "summary.json"), *to = qep_path_join(v->output, "summary.json"), *json, *text;
    qep_json *o = NULL, *c = qep_json_new_object();
    qep_status st = QEP_OK;
    char hex[40];
    if (!qep_file_exists(from) || qep_json_load(from, QEP_E_INPUT, &o) != QEP_OK) o = qep_json_new_object();
    qep_error_clear();
    snprintf(hex, sizeof hex, "%016" PRIx64 "%016" PRIx64, v->digest[0], v->digest[1]);
    qep_json_set(c, "path", qep_json_new_string(v->dir));
    qep_json_set(c, "format", qep_json_new_string(qep_packed_format(v->packed)));
    qep_json_set(o, "converted_from", c);
    qep_json_set(o, "bits_per_weight", qep_json_new_real(qep_export_bits_per_weight(e)));
    qep_json_set(o, "digest", qep_json_new_string(hex));
    json = qep_json_text(o, true);
    text = qep_strf("run.convert", "%s\n", json);
    st = qep_file_write(to, text, (int64_t)strlen(text));
    qep_free(text);
    qep_free(json);
    qep_json_free(&o);
    qep_free(to);
    qep_free(from);
    return st;
}

static qep_status write_own(const conversion *v, const qep_export *e)
{
    static const char *const names[] = {"qep_mpi.ini", "modules.csv", "tasks.csv", "report.html"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) QEP_TRY(copy_file(v, names[i]));
    return write_summary(v, e);
}

/* My rows of one linear in both: the same values, unless they were rounded. */
static qep_status compare_values(const conversion *v, const qep_packed *made, const qep_packed_linear *l)
{
    const qep_packed_linear *was = qep_packed_find(v->packed, l->module);
    int64_t first, mine, most = qep_min_i64(ROWS_AT_ONCE, l->rows) * l->cols;
    float *a = qep_alloc("run.convert", most, sizeof *a), *b = qep_alloc("run.convert", most, sizeof *b);
    qep_status st = QEP_OK;
    QEP_REQUIRE(was && was->rows == l->rows && was->cols == l->cols);
    qep_partition(l->rows, qep_size(v->comm), qep_rank(v->comm), &first, &mine);
    for (int64_t row = first; row < first + mine; row += ROWS_AT_ONCE) {
        int64_t n = qep_min_i64(ROWS_AT_ONCE, first + mine - row);
        QEP_GO(st, qep_packed_values(v->packed, was, row, n, a));
        QEP_GO(st, qep_packed_values(made, l, row, n, b));
        for (int64_t k = 0; k < n * l->cols && !l->rounded; k++)
            if (a[k] != b[k]) {
                st = qep_fail(QEP_E_INTERNAL, "%s: %s: a weight of row %lld does not read back as in %s", v->output, l->module,
                              (long long)(row + k / l->cols), v->dir);
                goto done;
            }
    }
done:
    qep_free(b);
    qep_free(a);
    return st;
}

/* Of a format that does not keep all codes: the weights are those of the source. Collective. */
static qep_status compare_values_all(const conversion *v)
{
    qep_st_set *files = NULL;
    qep_packed *made = NULL;
    int64_t rounded = 0, n;
    qep_status st = qep_packed_open_dir(v->output, v->config, v->output, &files, &made);
    n = qep_packed_count(made);
    for (int64_t i = 0; i < n && st == QEP_OK; i++) {
        rounded += qep_packed_at(made, i)->rounded;
        st = compare_values(v, made, qep_packed_at(made, i));
    }
    st = qep_agree_all(v->comm, st);
    if (st == QEP_OK)
        qep_info("%s: %lld quantized linears in the %s format, %lld with the weights of %s, %lld rounded", v->output, (long long)n, v->format,
                 (long long)(n - rounded), v->dir, (long long)rounded);
    qep_packed_close(&made);
    qep_st_close(&files);
    return st;
}

/* The new files give the digest of the old ones. Collective. */
static qep_status compare_all(conversion *v)
{
    uint64_t digest[2];
    int64_t n = 0;
    QEP_TRY(qep_export_check_all(v->comm, v->output, digest, &n));
    if (n > 0 && digest[0] == 0 && digest[1] == 0) return compare_values_all(v);
    if (strcmp(v->format, "dense") == 0) {
        qep_info("%s: %lld linears as dense weights (their values rounded to the model's type)", v->output, (long long)v->n_packed);
        return QEP_OK;
    }
    if (digest[0] != v->digest[0] || digest[1] != v->digest[1])
        return qep_fail(QEP_E_INTERNAL, "%s does not read back with the digest of %s", v->output, v->dir);
    qep_info("%s: %lld quantized linears in the %s format, digest as in %s", v->output, (long long)n, v->format, v->dir);
    return QEP_OK;
}

/* Of the keys of a run those of [output] hold for a conversion too; they come by --set. */
static qep_status read_settings(conversion *v, const qep_args *args)
{
    QEP_TRY(qep_export_check_format(v->format));
    size_t end = strlen(v->dir);
    while (end > 1 && v->dir[end - 1] == '/') end--;
    char *output = args->output ? qep_strdup("run.convert", args->output) : qep_strf("run.convert", "%.*s-%s", (int)end, v->dir, v->format);
    char *text = qep_strf("run.convert", "model.path = %s\noutput.path = %s\nquantization.method = none\ncorrection.method = none\n"
                                         "calibration.validation = 0\nevaluation.data = none:none.npy\n", v->dir, output);
    qep_status st = QEP_OK;
    for (int i = 0; i < args->n_sets && st == QEP_OK; i++)
        if (strncmp(args->sets[i], "output.overwrite=", 17) != 0 && strncmp(args->sets[i], "output.shard_size=", 18) != 0)
            st = qep_fail(QEP_E_CONFIG, "--set %s: of a conversion only output.overwrite and output.shard_size can be set", args->sets[i]);
    if (st == QEP_OK) st = qep_config_parse(text, "--convert", args->sets, args->n_sets, &v->output_of.cfg);
    if (st == QEP_OK) v->output = v->output_of.cfg->output_path;
    v->output_of.comm = v->comm;
    qep_free(text);
    qep_free(output);
    return st;
}

static qep_status convert_all(conversion *v)
{
    qep_export *e = NULL;
    qep_status st = QEP_OK;
    int64_t n;
    QEP_TRY(qep_run_verify_all(v->comm, v->dir, v->digest, &n));
    QEP_TRY(open_all(v));
    list_linears(v);
    QEP_TRY(look_all(v));
    describe_source(v);
    QEP_GO(st, plan(v, &e));
    QEP_GO(st, write_all(v, e));
    QEP_GO(st, compare_all(v));
    QEP_GO(st, qep_agree_all(v->comm, qep_rank(v->comm) == 0 ? write_own(v, e) : QEP_OK));
    if (qep_rank(v->comm) == 0) qep_run_unlock(&v->output_of);
done:
    qep_export_destroy(&e);
    return st;
}

qep_status qep_run_convert_all(qep_comm *c, const qep_args *args)
{
    conversion v = {.comm = c, .dir = args->convert, .format = args->format};
    if (!args->format)
        return qep_fail(QEP_E_CONFIG, "--convert %s: say into which format with --format NAME, for example --format compressed-tensors", args->convert);
    qep_status st = read_settings(&v, args);
    if (st == QEP_OK) st = convert_all(&v);
    for (int64_t i = 0; i < v.n; i++) qep_free(v.linears[i].module);
    qep_free(v.linears);
    qep_free(v.sources);
    qep_packed_close(&v.packed);
    qep_st_close(&v.files);
    qep_json_free(&v.config);
    qep_free(v.config_text);
    qep_free(v.meta);
    qep_config_destroy(&v.output_of.cfg);
    return st;
}
