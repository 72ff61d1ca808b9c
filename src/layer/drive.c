/* Codes of my strips: one driver per way in which a method works; and the driver for methods whose strips need nothing but themselves.
 * SPDX-License-Identifier: Apache-2.0 */
#include "layer_priv.h"

qep_qstrip qep_set_result(const qep_set *s, int64_t i)
{
    return (qep_qstrip){.codes = s->codes + i * QEP_STRIP * s->cols,
                        .scales = s->scales + i * QEP_STRIP * s->groups,
                        .zeros = s->zeros + i * QEP_STRIP * s->groups};
}

static qep_status drive_rows_all(qep_set *s)
{
    const qep_qspec *q = &s->lead->spec;
    int64_t per = q->group_size < 0 ? s->cols : q->group_size;
    for (int64_t c = 0; c < s->cols; c++) s->g_idx[c] = (int32_t)(c / per);
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < s->count; i++) {
        qep_qstrip out = qep_set_result(s, i);
        qep_rtn_strip(q, qep_set_row(s, s->target, i), NULL, s->cols, &out);
    }
    return QEP_OK;
}

typedef struct driver {
    qep_status (*run_all)(qep_set *s);
    int64_t (*window)(const qep_qspec *spec, int64_t cols); /* bytes of the stream window; NULL: none of its own */
    void (*plan)(const qep_qspec *spec, const qep_layer_shape *shape, qep_layer_bytes *b); /* adds what it allocates; NULL: nothing */
} driver;

static const driver drivers[QEP_N_DRIVES] = {
    [QEP_DRIVE_ROWS] = {drive_rows_all, NULL, NULL},
    [QEP_DRIVE_FACTOR] = {qep_drive_factor_all, qep_drive_factor_window, qep_drive_factor_plan},
    [QEP_DRIVE_SCALED] = {qep_drive_scaled_all, NULL, qep_drive_scaled_plan},
    [QEP_DRIVE_ROTATED] = {qep_drive_rotated_all, qep_drive_factor_window, qep_drive_rotated_plan},
};

qep_status qep_set_quantize_all(qep_set *s)
{
    return drivers[s->lead->spec.method->drive].run_all(s);
}

int64_t qep_layer_stream_bytes(const qep_qspec *spec, int64_t cols)
{
    const driver *d = &drivers[spec->method->drive];
    return qep_max_i64(qep_stream_bytes(cols), d->window ? d->window(spec, cols) : 0);
}

qep_layer_bytes qep_layer_plan(const qep_linear_config *cfg, const qep_qspec *spec, const qep_layer_shape *shape)
{
    const driver *d = &drivers[spec->method->drive];
    int64_t cols = shape->cols, mine = shape->strips * QEP_STRIP, groups = qep_n_groups(spec, cols);
    int64_t written = qep_min_i64(shape->strips, QEP_WRITE_STRIPS) * QEP_STRIP;
    qep_layer_bytes b = {.rows = mine * (cols * 9 + groups * 5), .writing = written * cols * 8};
    if (shape->with_c) {
        b.wc = mine * cols * 4;
        b.figures = mine * cols * 4;
    }
    if (qep_layer_fits(cfg)) b.fit = mine * cols * 24;
    if (d->plan) d->plan(spec, shape, &b);
    b.polish = qep_set_polish_bytes(cfg, spec, shape->strips, cols, shape->threads);
    return b;
}
