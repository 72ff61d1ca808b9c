/* The plan: which tensors the output has, in the order of the source.
 * SPDX-License-Identifier: Apache-2.0 */
#include "export_priv.h"

#include <string.h>

/* Name of a part in the file; NULL: the format has none for it. qep_free. */
static char *part_name(const qep_export *e, const qep_export_linear *l, const qep_part *p)
{
    char *name = qep_strf("export.name", "%s%s", l->module, p->suffix), *theirs;

    if (!e->format->name_of)
        return name;
    theirs = e->format->name_of(e, name);
    qep_free(name);
    return theirs;
}

/* Tensors that take the place of P.weight [N, K]. */
static qep_status add_linear(qep_export *e, const qep_export_linear *l)
{
    qep_part parts[QEP_MAX_PARTS];
    int n = e->format->parts(e, l, parts);

    for (int k = 0; k < n && !parts[k].shared; k++) {
        char *name = part_name(e, l, &parts[k]);
        qep_status st =
            name ? qep_st_layout_add(e->layout, name, parts[k].dtype, parts[k].rank, parts[k].shape)
                 : qep_fail(QEP_E_CONFIG, "output.format = %s: its name of %s is not known; choose "
                            "another format", e->format->name, l->module);

        qep_free(name);
        if (st != QEP_OK)
            return st;
    }
    return QEP_OK;
}

/* A tensor that is not quantized. */
static qep_status add_copy(qep_export *e, const qep_st_tensor *t, bool bias)
{
    qep_copied *c = &e->copies[e->n_copies];
    char *name = NULL;
    qep_status st = QEP_OK;

    *c = (qep_copied){.src = t, .at = qep_st_layout_count(e->layout), .dtype = t->dtype};
    if (bias && e->format->f16_bias)
        c->dtype = QEP_F16;
    if (e->format->copied)
        st = e->format->copied(e, t, &name, c);
    if (st == QEP_OK)
        st = qep_st_layout_add(e->layout, name ? name : t->name, c->dtype, t->rank, t->shape);
    e->n_copies += st == QEP_OK;
    qep_free(name);
    return st;
}

static qep_status add_tensors(qep_export *e)
{
    bool *added = qep_alloc("export.plan", e->n_linears, sizeof *added);
    int64_t n = qep_st_count(e->files);
    qep_status st = QEP_OK;
    qep_owners owners;

    qep_owners_list(e, &owners);
    e->copies = qep_alloc("export.plan", n, sizeof *e->copies);
    for (int64_t k = 0; k < n; k++) {
        const qep_st_tensor *t = qep_st_at(e->files, k);
        const qep_owner *owner = qep_owner_of(&owners, t);

        if (owner && !owner->is_bias) {
            if (!added[owner->linear])
                QEP_GO(st, add_linear(e, &e->linears[owner->linear]));
            added[owner->linear] = true;
            continue;
        }
        QEP_GO(st, add_copy(e, t, owner != NULL));
    }
    for (int64_t i = 0; i < e->n_linears; i++) /* a tied head has no weight of its own */
        if (e->linears[i].quantized && !added[i])
            QEP_GO(st, add_linear(e, &e->linears[i]));

done:
    qep_owners_free(&owners);
    qep_free(added);
    return st;
}

/* Pointers into the layout hold only once it is finished. */
static void find_tensors(qep_export *e)
{
    for (int64_t k = 0; k < e->n_copies; k++)
        e->copies[k].dst = qep_st_layout_at(e->layout, e->copies[k].at);
    for (int64_t i = 0; i < e->n_linears; i++) {
        const qep_export_linear *l = &e->linears[i];
        qep_part parts[QEP_MAX_PARTS];
        int n = l->quantized ? e->format->parts(e, l, parts) : 0;

        for (int k = 0; k < n; k++) {
            char *name = part_name(e, l, &parts[k]);

            e->places[i].part[k] = qep_st_layout_find(e->layout, name);
            qep_free(name);
        }
    }
}

/* Tensors, files, offsets. */
static qep_status lay_out(qep_export *e, const qep_export_request *rq)
{
    qep_json *config = NULL;
    qep_status st = QEP_OK;

    QEP_GO(st, qep_json_parse(rq->config_text, (int64_t)strlen(rq->config_text), QEP_CONFIG_NAME,
                              QEP_E_INPUT, &config));
    if (e->format->begin)
        QEP_GO(st, e->format->begin(e, config));
    QEP_GO(st, add_tensors(e));
    if (!e->format->finish)
        QEP_GO(st, qep_st_layout_finish(e->layout, rq->shard_bytes));
    find_tensors(e);
    if (e->format->finish)
        st = e->format->finish(e, rq);

done:
    qep_json_free(&config);
    return st;
}

qep_status qep_export_plan(const qep_export_request *rq, qep_export **out)
{
    const qep_format *format;
    qep_status st = QEP_OK;
    qep_export *e;

    *out = NULL;
    QEP_TRY(qep_format_find(rq->format, &format));
    QEP_TRY(qep_export_rules(rq, format));
    e = qep_alloc("export.plan", 1, sizeof *e);
    e->format = format;
    e->source_dir = qep_strdup("export.plan", rq->source_dir);
    e->output_dir = qep_strdup("export.plan", rq->output_dir);
    e->files = rq->files;
    e->linears = rq->linears;
    e->n_linears = rq->n_linears;
    e->n_heads = rq->n_heads;
    e->n_kv_heads = rq->n_kv_heads;
    e->tied = rq->tied;
    e->head_quantized = qep_head_quantized(rq);
    e->head_untied = rq->tied && e->head_quantized;
    e->dense_dtype = rq->dense_dtype;
    e->layout = qep_st_layout_create();
    e->places = qep_alloc("export.plan", e->n_linears, sizeof *e->places);
    QEP_REQUIRE(format->packed || qep_dtype_is_float(e->dense_dtype));
    QEP_GO(st, qep_export_make_config(rq, e));
    QEP_GO(st, lay_out(e, rq));
    e->index_text = qep_st_layout_index_text(e->layout);
    *out = e;

done:
    if (st != QEP_OK)
        qep_export_destroy(&e);
    return st;
}

void qep_export_destroy(qep_export **e)
{
    if (!*e)
        return;
    /* An error of the last sync is met in publish; here only a run that failed is left behind. */
    (void)!qep_st_writer_close(&(*e)->writer);
    qep_st_layout_destroy(&(*e)->layout);
    qep_free((*e)->source_dir);
    qep_free((*e)->output_dir);
    qep_free((*e)->places);
    qep_free((*e)->copies);
    qep_free((*e)->config_text);
    qep_free((*e)->quantize_text);
    qep_free((*e)->index_text);
    qep_free((*e)->extra);
    qep_json_free(&(*e)->config);
    qep_json_free(&(*e)->sums);
    qep_free(*e);
    *e = NULL;
}

static int64_t text_bytes(const char *text)
{
    return text ? (int64_t)strlen(text) : 0;
}

int64_t qep_export_disk_bytes(const qep_export *e)
{
    int64_t bytes =
        text_bytes(e->config_text) + text_bytes(e->quantize_text) + text_bytes(e->index_text);

    for (int i = 0; i < qep_st_layout_n_files(e->layout); i++)
        bytes += qep_st_layout_file_bytes(e->layout, i);
    return bytes;
}

const qep_st_layout *qep_export_layout(const qep_export *e)
{
    return e->layout;
}

double qep_export_bits_per_weight(const qep_export *e)
{
    double bits = 0, weights = 0;

    for (int64_t i = 0; i < e->n_linears; i++) {
        const qep_export_linear *l = &e->linears[i];
        qep_part parts[QEP_MAX_PARTS];
        int n = l->quantized ? e->format->parts(e, l, parts) : 0;

        weights += n > 0 ? (double)l->rows * (double)l->cols : 0;
        for (int k = 0; k < n; k++)
            bits += parts[k].beside || parts[k].shared ? 0 : 8.0 * (double)e->places[i].part[k]->bytes;
    }
    return weights > 0 ? bits / weights : 0;
}

void qep_export_set_stamp(qep_export *e, const char *stamp)
{
    qep_st_layout_set_stamp(e->layout, stamp);
}
