/* quant: GPTQ in R-form on a strip of rows: state, blocks, result. methods.md 2.2; LDLQ form of
 * Frantar et al. (arXiv 2210.17323) after Chee et al. (arXiv 2307.13304). The target never
 * changes; what earlier blocks contribute is kept in acc, one matrix product of fixed shape per
 * block. SPDX-License-Identifier: Apache-2.0 */
#include "gptq_priv.h"

#include "qep/linalg.h"

#include <string.h>

#define STRIPS "quantize.strips"

const qep_method qep_method_gptq = {
    .name = "gptq",
    .help = "second-order rounding (Frantar et al. 2022)",
    .reads = "bits group_size symmetric clip act_order static_groups damping block_size",
    .needs = QEP_NEEDS_H,
    .drive = QEP_DRIVE_FACTOR,
    .bits = QEP_BITS_PACKED,
    .clips = 1u << QEP_CLIP_NONE | 1u << QEP_CLIP_MSE | 1u << QEP_CLIP_HESSIAN,
    .symmetric = true,
    .asymmetric = true,
    .groups = true,
};

/* --- steps --------------------------------------------------------------------------------- */

static int64_t block_cols(const qep_qspec *s, int64_t cols)
{
    return qep_min_i64(s->block_size, cols);
}

int64_t qep_gptq_n_steps(const qep_qspec *s, int64_t cols)
{
    return qep_ceil_div(cols, s->block_size);
}

void qep_gptq_step_rows(const qep_qspec *s, int64_t cols, int64_t step, int64_t *row0,
                        int64_t *n_rows)
{
    int64_t c0 = step * s->block_size;
    int64_t end = qep_min_i64(c0 + s->block_size, cols);
    *row0 = c0;
    *n_rows = end - c0;
    if (!qep_groups_dynamic(s)) return;
    /* start of the last group that begins before end */
    int64_t last = (end - 1) / s->group_size * s->group_size;
    if (last < c0) return;
    *n_rows = qep_max_i64(*n_rows, qep_min_i64(last + s->group_size, cols) - c0);
}

/* --- state --------------------------------------------------------------------------------- */

/* Sizes of the state's arrays. ld: room for the padded columns of every step; an odd number of
 * cache lines, so that the rows of a block do not fall into the same cache sets. */
typedef struct sizes {
    int64_t cols, groups, block, ld, span;
} sizes;

static sizes sizes_of(const qep_qspec *s, int64_t cols)
{
    sizes z = {
        .cols = cols,
        .groups = qep_n_groups(s, cols),
        .block = block_cols(s, cols),
        .ld = qep_round_up(cols, QEP_GPTQ_PAD) + QEP_GPTQ_PAD + 16,
        .span = 1,
    };
    for (int64_t i = 0; qep_groups_dynamic(s) && i < qep_gptq_n_steps(s, cols); i++) {
        int64_t row0 = 0, rows = 0;
        qep_gptq_step_rows(s, cols, i, &row0, &rows);
        z.span = qep_max_i64(z.span, rows);
    }
    return z;
}

int64_t qep_gptq_bytes(const qep_qspec *s, int64_t cols)
{
    sizes z = sizes_of(s, cols);
    int64_t floats = QEP_STRIP * (2 * z.ld + z.span + 4 * z.block + 2 * z.groups) + 2 * cols;
    int64_t ints = 2 * cols, bytes = cols * QEP_STRIP, doubles = QEP_STRIP;
    return (int64_t)sizeof(qep_gptq) + floats * (int64_t)sizeof(float) +
           ints * (int64_t)sizeof(int32_t) + doubles * (int64_t)sizeof(double) + bytes;
}

static float *new_floats(int64_t rows, int64_t cols)
{
    int64_t n = 0;
    QEP_REQUIRE(qep_mul_i64(rows, cols, &n));
    return qep_alloc(STRIPS, n, sizeof(float));
}

static void allocate(qep_gptq *g)
{
    g->perm = qep_alloc(STRIPS, g->cols, sizeof(int32_t));
    g->group_of = qep_alloc(STRIPS, g->cols, sizeof(int32_t));
    g->rdiag = new_floats(1, g->cols);
    g->weight = new_floats(1, g->cols);
    g->target = new_floats(QEP_STRIP, g->ld);
    g->acc = new_floats(QEP_STRIP, g->ld);
    g->cond = new_floats(QEP_STRIP, g->span);
    g->target_p = new_floats(g->block, QEP_STRIP);
    g->acc_p = new_floats(g->block, QEP_STRIP);
    g->err_p = new_floats(g->block, QEP_STRIP);
    g->err = new_floats(QEP_STRIP, g->block);
    g->scales = new_floats(g->groups, QEP_STRIP);
    g->zeros = new_floats(g->groups, QEP_STRIP);
    g->codes = qep_alloc(STRIPS, g->cols * QEP_STRIP, 1);
    g->loss = qep_alloc(STRIPS, QEP_STRIP, sizeof(double));
}

qep_gptq *qep_gptq_create(const qep_qspec *s, const float *target, int64_t cols,
                          const int32_t *perm, const float *rdiag)
{
    QEP_REQUIRE(cols >= 1 && s->block_size >= 1);
    sizes z = sizes_of(s, cols);
    qep_gptq *g = qep_alloc(STRIPS, 1, sizeof *g);
    g->spec = *s;
    g->cols = cols;
    g->groups = z.groups;
    g->block = z.block;
    g->ld = z.ld;
    g->span = z.span;
    allocate(g);
    int64_t width = qep_group_cols(s, cols);
    for (int64_t j = 0; j < cols; j++) {
        g->perm[j] = perm ? perm[j] : (int32_t)j;
        g->group_of[j] = (int32_t)((s->static_groups ? g->perm[j] : j) / width);
    }
    memcpy(g->rdiag, rdiag, (size_t)cols * sizeof(float));
    for (int64_t r = 0; r < QEP_STRIP; r++)
        for (int64_t j = 0; j < cols; j++) g->target[r * g->ld + j] = target[r * cols + g->perm[j]];
    qep_gptq_grids_before(g, target);
    return g;
}

void qep_gptq_destroy(qep_gptq **g)
{
    qep_gptq *p = *g;
    if (!p) return;
    void *owned[] = {p->perm, p->group_of, p->rdiag, p->weight, p->target, p->acc, p->cond,
                     p->target_p, p->acc_p, p->err_p, p->err, p->scales, p->zeros, p->codes,
                     p->loss, p};
    for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++) qep_free(owned[i]);
    *g = NULL;
}

/* --- one block ------------------------------------------------------------------------------- */

/* panel[n, QEP_STRIP] = transpose of columns c0 .. of m[QEP_STRIP, ld]. */
static void to_panel(float *panel, const float *m, int64_t ld, int64_t c0, int64_t n)
{
    for (int64_t k = 0; k < n; k++)
        for (int64_t i = 0; i < QEP_STRIP; i++) panel[k * QEP_STRIP + i] = m[i * ld + c0 + k];
}

static void from_panel(float *m, int64_t ld, const float *panel, int64_t n)
{
    for (int64_t k = 0; k < n; k++)
        for (int64_t i = 0; i < QEP_STRIP; i++) m[i * ld + k] = panel[k * QEP_STRIP + i];
}

void qep_gptq_step(qep_gptq *g, int64_t step, const float *r, int64_t ldr)
{
    QEP_REQUIRE(step == g->next_step);
    int64_t c0 = 0, rows = 0;
    qep_gptq_step_rows(&g->spec, g->cols, step, &c0, &rows);
    int64_t n = qep_min_i64(g->block, g->cols - c0);
    int64_t width = qep_round_up(g->cols - c0, QEP_GPTQ_PAD); /* columns of r that are used */
    QEP_REQUIRE(ldr >= width);

    qep_gptq_grids_of_block(g, c0, n, rows, r, ldr);
    to_panel(g->target_p, g->target, g->ld, c0, n);
    to_panel(g->acc_p, g->acc, g->ld, c0, n);
    qep_gptq_columns(g, c0, n, r, ldr);
    if (c0 + n < g->cols) {
        from_panel(g->err, g->block, g->err_p, n);
        qep_gemm_f32(false, QEP_STRIP, width - n, n, 1.0f, g->err, g->block, r + n, ldr, 1.0f,
                     g->acc + c0 + n, g->ld);
    }
    g->next_step++;
}

/* Codes panel -> [QEP_STRIP, cols] in original order, in tiles of columns that stay in the
 * first-level cache. */
static void codes_in_order(const qep_gptq *g, uint8_t *codes)
{
    for (int64_t j0 = 0; j0 < g->cols; j0 += 128) {
        int64_t j1 = qep_min_i64(j0 + 128, g->cols);
        for (int64_t i = 0; i < QEP_STRIP; i++)
            for (int64_t j = j0; j < j1; j++)
                codes[i * g->cols + g->perm[j]] = g->codes[j * QEP_STRIP + i];
    }
}

void qep_gptq_finish(const qep_gptq *g, qep_qstrip *out, int32_t *g_idx, double *loss)
{
    QEP_REQUIRE(g->next_step == qep_gptq_n_steps(&g->spec, g->cols));
    codes_in_order(g, out->codes);
    for (int64_t j = 0; g_idx && j < g->cols; j++) g_idx[g->perm[j]] = g->group_of[j];
    for (int64_t k = 0; k < g->groups; k++)
        for (int64_t i = 0; i < QEP_STRIP; i++) {
            out->scales[i * g->groups + k] = g->scales[k * QEP_STRIP + i];
            out->zeros[i * g->groups + k] = (uint8_t)(int)g->zeros[k * QEP_STRIP + i];
        }
    if (loss) memcpy(loss, g->loss, QEP_STRIP * sizeof(double));
}
