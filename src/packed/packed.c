/* The packed linears of a directory, whatever their format. SPDX-License-Identifier: Apache-2.0 */
#include "packed_priv.h"

#include "qep/gguf.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS_AT_ONCE = 256 }; /* a multiple of the 32 rows that fill whole words */

static const qep_packed_format_ops *const formats[] = {&qep_packed_gptq, &qep_packed_ct,
                                                     &qep_packed_awq, &qep_packed_gguf};
enum { N_FORMATS = sizeof formats / sizeof formats[0] };

qep_packed_linear *qep_packed_add(qep_packed *p, const char *module)
{
    qep_packed_linear *l = &p->linears[p->n++];

    QEP_REQUIRE(p->n <= qep_st_count(p->files));
    *l = (qep_packed_linear){.module = qep_strdup("packed.linears", module)};
    return l;
}

const qep_st_tensor *qep_packed_part(const qep_packed *p, const char *module, const char *suffix)
{
    char *name = qep_strf("packed.name", "%s%s", module, suffix);
    const qep_st_tensor *t = qep_st_find(p->files, name);

    qep_free(name);
    return t;
}

qep_status qep_packed_wrong(const qep_packed *p, const qep_packed_linear *l, const char *what)
{
    return qep_fail(QEP_E_INPUT, "%s: module %s: %s", qep_st_file(p->files, l->codes_at->shard),
                    l->module, what);
}

static qep_status choose_format(qep_packed *p)
{
    const char *method = qep_json_string(qep_json_get(p->quantization, "quant_method"));
    char supported[64] = "";

    for (int i = 0; i < N_FORMATS; i++) {
        size_t used = strlen(supported);

        if (method && strcmp(method, formats[i]->method) == 0)
            p->ops = formats[i];
        snprintf(supported + used, sizeof supported - used, "%s%s", i ? ", " : "",
                 formats[i]->method);
    }
    if (p->ops)
        return QEP_OK;
    return qep_fail(QEP_E_INPUT, "%s: quantization_config: quant_method \"%s\" cannot be read; "
                    "supported: %s", p->source, method ? method : "", supported);
}

static int by_name(const void *a, const void *b)
{
    const qep_packed_linear *x = a, *y = b;

    return strcmp(x->module, y->module);
}

/* What the files hold and what the configuration says must agree. */
static qep_status check_linear(const qep_packed *p, const qep_packed_linear *l)
{
    const qep_st_tensor *weight = qep_packed_part(p, l->module, ".weight");
    bool expected;

    QEP_TRY(qep_packed_expects(p, l->module, &expected));
    if (!expected)
        return qep_fail(QEP_E_INPUT, "%s says that %s is not quantized, but there is a %s",
                        p->source, l->module, l->codes_at->name);
    if (weight && weight != l->codes_at)
        return qep_fail(QEP_E_INPUT, "%s: there are both %s and %s",
                        qep_st_file(p->files, weight->shard), weight->name, l->codes_at->name);
    return QEP_OK;
}

qep_status qep_packed_open(const qep_json *config, const char *source, const qep_st_set *files,
                           qep_packed **out)
{
    const qep_json *own = qep_st_n_files(files) > 0 ? qep_st_metadata(files, 0) : NULL;
    const qep_json *quantization = qep_json_get(config, "quantization_config");
    qep_packed *p;
    qep_status st;

    *out = NULL;
    if (qep_json_get(own, "gguf_types"))
        quantization = qep_json_get(own, "quantization");
    if (!quantization || qep_json_type(quantization) == QEP_JSON_NULL)
        return QEP_OK;
    p = qep_alloc("packed.linears", 1, sizeof *p);
    *p = (qep_packed){.quantization = quantization, .files = files, .name = "",
                      .source = qep_strdup("packed.linears", source)};
    p->linears = qep_alloc("packed.linears", qep_st_count(files), sizeof *p->linears);
    QEP_GO(st, choose_format(p));
    QEP_GO(st, p->ops->open(p));
    qsort(p->linears, (size_t)p->n, sizeof *p->linears, by_name);
    for (int64_t i = 0; i < p->n; i++)
        QEP_GO(st, check_linear(p, &p->linears[i]));
    p->quantization = NULL;
    *out = p;

done:
    if (st != QEP_OK)
        qep_packed_close(&p);
    return st;
}

static qep_status open_files(const char *dir, const qep_json *config, qep_st_set **files)
{
    qep_gguf_file *f = NULL;
    qep_status st;

    if (!qep_gguf_is_there(dir))
        return qep_st_open_dir(dir, files);
    st = qep_gguf_open(dir, &f);
    if (st == QEP_OK)
        st = qep_gguf_as_model(f, config, files);
    qep_gguf_close(&f);
    return st;
}

qep_status qep_packed_open_dir(const char *dir, const qep_json *config, const char *source,
                               qep_st_set **files, qep_packed **out)
{
    *files = NULL;
    *out = NULL;
    QEP_TRY(open_files(dir, config, files));
    return qep_packed_open(config, source, *files, out);
}

void qep_packed_close(qep_packed **packed)
{
    qep_packed *p = *packed;

    if (!p)
        return;
    if (p->ops)
        p->ops->close(p);
    for (int64_t i = 0; i < p->n; i++)
        qep_free(p->linears[i].module);
    qep_free(p->linears);
    qep_free(p->source);
    qep_free(p);
    *packed = NULL;
}

const char *qep_packed_format(const qep_packed *p)
{
    return p ? p->name : "";
}

int64_t qep_packed_count(const qep_packed *p)
{
    return p ? p->n : 0;
}

const qep_packed_linear *qep_packed_at(const qep_packed *p, int64_t i)
{
    QEP_REQUIRE(p && i >= 0 && i < p->n);
    return &p->linears[i];
}

const qep_packed_linear *qep_packed_find(const qep_packed *p, const char *module)
{
    char *text;
    const qep_packed_linear *found;

    if (!p || p->n == 0)
        return NULL;
    text = qep_strdup("packed.name", module);
    found = bsearch(&(qep_packed_linear){.module = text}, p->linears, (size_t)p->n,
                    sizeof *p->linears, by_name);
    qep_free(text);
    return found;
}

qep_status qep_packed_expects(const qep_packed *p, const char *module, bool *yes)
{
    *yes = false;
    return p ? p->ops->expects(p, module, yes) : QEP_OK;
}

qep_status qep_packed_read(const qep_packed *p, const qep_packed_linear *l, int64_t row0,
                           int64_t n, uint8_t *codes, float *scales, uint8_t *zeros)
{
    QEP_REQUIRE(row0 >= 0 && n >= 0 && row0 <= l->rows && n <= l->rows - row0);
    return n == 0 ? QEP_OK : p->ops->read(p, l, row0, n, codes, scales, zeros);
}

qep_status qep_packed_groups(const qep_packed *p, const qep_packed_linear *l, int32_t *g_idx)
{
    return p->ops->groups(p, l, g_idx);
}

/* The object of ROWS_AT_ONCE rows, and as much again for the rows as they are stored. */
int64_t qep_packed_scratch(const qep_packed *p)
{
    int64_t most = 0;

    for (int64_t i = 0; i < qep_packed_count(p); i++) {
        const qep_packed_linear *l = &p->linears[i];
        int64_t n = qep_min_i64(ROWS_AT_ONCE, l->rows);
        int64_t object = n * (l->cols + l->groups * 5) + l->cols * 4;

        most = qep_max_i64(most, object + n * l->cols * l->bits / 8 + l->cols);
    }
    return most;
}

qep_status qep_packed_each(const qep_packed *p, const qep_packed_linear *l, int64_t row0, int64_t n,
                           qep_packed_rows_fn fn, void *ctx)
{
    int64_t room = qep_min_i64(n, ROWS_AT_ONCE);
    qep_packed_rows b = {.codes = qep_alloc("packed.rows", room * l->cols, 1),
                         .zeros = qep_alloc("packed.rows", room * l->groups, 1),
                         .scales = qep_alloc("packed.rows", room * l->groups, sizeof *b.scales),
                         .g_idx = qep_alloc("packed.rows", l->cols, sizeof *b.g_idx)};
    qep_status st;

    QEP_GO(st, qep_packed_groups(p, l, b.g_idx));
    for (int64_t r = 0; r < n; r += ROWS_AT_ONCE) {
        int64_t m = qep_min_i64(ROWS_AT_ONCE, n - r);

        QEP_GO(st, qep_packed_read(p, l, row0 + r, m, b.codes, b.scales, b.zeros));
        QEP_GO(st, fn(ctx, l, row0 + r, m, &b));
    }

done:
    qep_free(b.g_idx);
    qep_free(b.scales);
    qep_free(b.zeros);
    qep_free(b.codes);
    return st;
}

/* values: where those of these rows go; then behind them. */
static qep_status put_values(void *values, const qep_packed_linear *l, int64_t row0, int64_t n,
                             const qep_packed_rows *b)
{
    float **at = values;

    (void)row0;
    qep_grid_values(n, l->cols, l->groups, b->codes, b->scales, b->zeros, b->g_idx, *at);
    *at += n * l->cols;
    return QEP_OK;
}

qep_status qep_packed_values(const qep_packed *p, const qep_packed_linear *l, int64_t row0,
                             int64_t n, float *values)
{
    return qep_packed_each(p, l, row0, n, put_values, &values);
}
