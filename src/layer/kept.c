/* The result of one linear, kept until the next group has found scales for its input channels, which are this linear's output rows: a row's
 * grid divided by a power of two gives the same codes, and values that are exactly the old ones divided.
 * SPDX-License-Identifier: Apache-2.0 */
#include "layer_priv.h"

#include <math.h>

#define KEPT "layer.kept"

struct qep_layer_kept {
    int64_t index, rows, cols, groups;
    int64_t row0, n;         /* my rows */
    uint8_t *codes, *zeros;  /* owned: [n, cols], [n, groups] */
    float *scales;           /* owned: [n, groups] */
    int32_t *g_idx;          /* owned: [cols] */
};

int64_t qep_layer_kept_bytes(const qep_qspec *spec, int64_t rows, int64_t cols)
{
    return rows * (cols + 5 * qep_n_groups(spec, cols)) + cols * (int64_t)sizeof(int32_t);
}

static void *copy_of(const void *from, int64_t n, size_t size)
{
    void *p = qep_alloc(KEPT, n, size);
    qep_copy(p, from, n * (int64_t)size);
    return p;
}

qep_layer_kept *qep_set_keep(const qep_set *s, int member)
{
    const qep_layer_member *m = &s->members[member];
    qep_layer_kept *k = qep_alloc(KEPT, 1, sizeof *k);
    *k = (qep_layer_kept){.index = m->index, .rows = m->rows, .cols = s->cols, .groups = s->groups};
    int64_t i = 0;
    while (i < s->count && s->strips[i].member != member) i++;
    const int64_t at = i * QEP_STRIP;
    if (i < s->count) k->row0 = s->strips[i].row0;
    for (; i < s->count && s->strips[i].member == member; i++) k->n += s->strips[i].n;
    k->codes = copy_of(s->codes + at * s->cols, k->n * s->cols, 1);
    k->zeros = copy_of(s->zeros + at * s->groups, k->n * s->groups, 1);
    k->scales = copy_of(s->scales + at * s->groups, k->n * s->groups, sizeof *k->scales);
    k->g_idx = copy_of(s->g_idx, s->cols, sizeof *k->g_idx);
    return k;
}

void qep_layer_kept_free(qep_layer_kept **kept)
{
    qep_layer_kept *k = *kept;
    if (!k) return;
    qep_free(k->codes);
    qep_free(k->zeros);
    qep_free(k->scales);
    qep_free(k->g_idx);
    qep_free(k);
    *kept = NULL;
}

void qep_layer_kept_bounds_all(const qep_layer_kept *k, qep_comm *c, int32_t *least, int32_t *most)
{
    double *range = qep_alloc(KEPT, 2 * k->rows, sizeof *range); /* lowest and highest scale of each row */
    for (int64_t r = 0; r < k->n; r++)
        for (int64_t g = 0; g < k->groups; g++) {
            const double v = (double)k->scales[r * k->groups + g];
            double *row = range + 2 * (k->row0 + r);
            row[0] = g == 0 ? v : fmin(row[0], v);
            row[1] = fmax(row[1], v);
        }
    qep_sum_f64_all(c, range, 2 * k->rows); /* one rank's value plus zeros: exact */
    for (int64_t r = 0; r < k->rows; r++) {
        /* scale / 2^e is a normal f16: 2^-14 .. 65504 */
        most[r] = (int32_t)floor(log2(range[2 * r]) + 14.0);
        least[r] = (int32_t)ceil(log2(range[2 * r + 1]) - 15.0);
    }
    qep_free(range);
}

/* Sum of the rows' hashes, as they go into the digest. */
static void add_digest(const qep_layer_kept *k, uint64_t sum[2])
{
    for (int64_t r = 0; r < k->n; r++)
        qep_digest_row(sum, k->index, k->row0 + r, k->codes + r * k->cols, k->scales + r * k->groups, k->zeros + r * k->groups, k->g_idx,
                       k->cols, k->groups);
}

qep_status qep_layer_kept_divide_all(qep_layer_kept *k, qep_comm *c, qep_export *output, const float *divisor, uint64_t digest[2],
                                     double *max_scale)
{
    uint64_t before[2] = {0, 0}, after[2] = {0, 0};
    qep_status st = QEP_OK;
    add_digest(k, before);
    *max_scale = 0.0;
    for (int64_t r = 0; r < k->n; r++)
        for (int64_t g = 0; g < k->groups; g++) {
            float *v = &k->scales[r * k->groups + g];
            *v /= divisor[k->row0 + r];
            *max_scale = fmax(*max_scale, (double)*v);
        }
    add_digest(k, after);
    for (int i = 0; i < 2; i++) digest[i] += after[i] - before[i];
    for (int64_t r = 0; r < k->n && st == QEP_OK; r += QEP_STRIP * QEP_WRITE_STRIPS)
        st = qep_export_put_rows(output, k->index, k->row0 + r, qep_min_i64(QEP_STRIP * QEP_WRITE_STRIPS, k->n - r), k->codes + r * k->cols,
                                 k->scales + r * k->groups, k->zeros + r * k->groups, k->g_idx);
    qep_max_f64_all(c, max_scale, 1);
    return qep_agree_all(c, st);
}
