/* quant: GPTQ, and the loop of all column-by-column methods in R-form on a strip of rows: state and result. LDLQ
 * form of Frantar et al. (arXiv 2210.17323) after Chee et al. (arXiv 2307.13304). The target never changes; what earlier columns
 * contribute is kept in acc, and in the published codes of its kin in move. SPDX-License-Identifier: Apache-2.0 */
#include "gptq_priv.h"

#include <string.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

enum { ROOM_ALIGN = 64 };

static void gptq_column(qep_column *c)
{
    qep_column_weigh(c);
    qep_column_round(c);
    for (int i = 0; i < QEP_STRIP; i++) c->err[i] = c->target[i] - c->q[i];
}

const qep_method qep_method_gptq = {
    .name = "gptq",
    .help = "second-order rounding (Frantar et al. 2022)",
    .reads = "bits group_size symmetric grid clip clip_steps act_order static_groups damping block_size refit sweeps",
    .needs = QEP_NEEDS_H,
    .drive = QEP_DRIVE_FACTOR,
    .bits = QEP_BITS_PACKED,
    .clips = 1u << QEP_CLIP_NONE | 1u << QEP_CLIP_MSE | 1u << QEP_CLIP_HESSIAN,
    .symmetric = true,
    .asymmetric = true,
    .groups = true,
    .column = gptq_column,
};

/* --- state --------------------------------------------------------------------------------- */

/* Most columns whose conditional weights a block needs. */
static int64_t span_of(const qep_qspec *s, int64_t cols)
{
    int64_t span = 1;
    for (int64_t c0 = 0; qep_groups_dynamic(s) && c0 < cols; c0 += qep_gptq_block_cols(s, c0, cols)) span = qep_max_i64(span, qep_gptq_block_rows(s, cols, c0));
    return span;
}

static bool target_moves(const qep_qspec *s)
{
    return s->method->moves && s->paper;
}

int qep_gptq_joint(const qep_qspec *s)
{
    return target_moves(s) ? 1 : 1 + qep_gptq_moves(s);
}

int qep_gptq_products(const qep_qspec *s)
{
    return 2 + qep_gptq_moves(s) - qep_gptq_joint(s);
}

static float fading_of(const qep_qspec *s)
{
    return s->method->fading ? (float)s->method->fading(&s->options, s->paper) : 1.0f;
}

int qep_gptq_rows_of(const qep_qspec *s, int k)
{
    return k == 0 ? qep_gptq_joint(s) : 1;
}

int qep_gptq_product_of(const qep_qspec *s, int m)
{
    return m < qep_gptq_joint(s) ? 0 : m - qep_gptq_joint(s) + 1;
}

/* Sizes of a strip's state. */
static qep_gptq sized(const qep_qspec *s, int64_t cols)
{
    return (qep_gptq){.spec = *s, .cols = cols, .groups = qep_n_groups(s, cols), .width = qep_gptq_step_width(s, cols), .span = span_of(s, cols),
                      .n_moves = qep_gptq_moves(s), .joint = qep_gptq_joint(s), .fade = fading_of(s),
                      .rule = s->method->column ? s->method->column : gptq_column};
}

typedef struct carver {
    char *base; /* NULL: it is only measured */
    int64_t used;
} carver;

/* An array on a cache line of its own. */
static void *carve(carver *m, int64_t count, size_t size)
{
    int64_t bytes = 0;
    QEP_REQUIRE(qep_mul_i64(count, (int64_t)size, &bytes));
    char *p = m->base ? m->base + m->used : NULL;
    m->used += qep_round_up(bytes, ROOM_ALIGN);
#ifdef __SANITIZE_ADDRESS__ /* which sees that an array is left by what lies between two */
    if (p) __asan_poison_memory_region(m->base + m->used, ROOM_ALIGN);
    m->used += ROOM_ALIGN;
#endif
    return p;
}

static float *carve_floats(carver *m, int64_t rows, int64_t cols)
{
    return carve(m, rows * cols, sizeof(float));
}

/* The arrays of g in the room, behind g itself. */
static void lay_out(qep_gptq *g, carver *m)
{
    const bool moving = target_moves(&g->spec);
    g->perm = carve(m, g->cols, sizeof(int32_t));
    g->group_of = carve(m, g->cols, sizeof(int32_t));
    g->rdiag = carve_floats(m, 1, g->cols);
    g->weight = carve_floats(m, 1, g->cols);
    g->target = carve_floats(m, g->cols, QEP_STRIP);
    g->acc = carve_floats(m, g->cols, QEP_STRIP);
    g->cond = carve_floats(m, QEP_STRIP, g->span);
    g->cond_panel = carve_floats(m, g->span, QEP_STRIP);
    g->err = carve_floats(m, g->width * g->joint, QEP_STRIP);
    if (moving) g->move = carve_floats(m, g->cols, QEP_STRIP);
    for (int k = 0; moving && k < g->n_moves; k++) {
        g->use[k] = carve_floats(m, g->width, QEP_STRIP);
        g->out[k] = carve_floats(m, g->width, QEP_STRIP);
    }
    g->scales = carve_floats(m, g->groups, QEP_STRIP);
    g->zeros = carve_floats(m, g->groups, QEP_STRIP);
    g->codes = carve(m, g->cols * QEP_STRIP, 1);
    g->loss = carve(m, QEP_STRIP, sizeof(double));
    if (!qep_gptq_pulls(&g->spec)) return;
    g->pull = carve(m, g->cols * QEP_STRIP, sizeof(double));
    g->inner = carve(m, qep_foem_inner(g->width), sizeof(double));
}

int64_t qep_gptq_bytes(const qep_qspec *s, int64_t cols)
{
    qep_gptq g = sized(s, cols);
    carver m = {NULL, 0};
    (void)carve(&m, 1, sizeof g);
    lay_out(&g, &m);
    return m.used;
}

/* A method that pulls keeps where the weights came from. */
static void clear_dead(qep_gptq *g, const uint8_t *dead)
{
    for (int64_t j = 0; j < g->cols; j++) {
        if (!dead[g->perm[j]]) continue;
        for (int64_t k = j * QEP_STRIP; k < (j + 1) * QEP_STRIP; k++) {
            if (qep_gptq_pulls(&g->spec)) g->move[k] = -g->target[k];
            else g->target[k] = 0.0f;
        }
    }
}

qep_gptq *qep_gptq_create(const qep_qspec *s, const float *target, int64_t cols, const int32_t *perm, const float *rdiag, const uint8_t *dead, void *room)
{
    QEP_REQUIRE(cols >= 1 && s->block_size >= 1);
    carver m = {room, 0};
    qep_gptq *g = carve(&m, 1, sizeof *g);
    *g = sized(s, cols);
    lay_out(g, &m);
    int64_t width = qep_group_cols(s, cols);
    for (int64_t j = 0; j < cols; j++) {
        g->perm[j] = perm ? perm[j] : (int32_t)j;
        g->group_of[j] = (int32_t)((s->static_groups ? g->perm[j] : j) / width);
    }
    memcpy(g->rdiag, rdiag, (size_t)cols * sizeof(float));
    for (int64_t r0 = 0; r0 < QEP_STRIP; r0 += 16)
        for (int64_t j = 0; j < cols; j++)
            for (int64_t r = r0; r < r0 + 16; r++) g->target[j * QEP_STRIP + r] = target[r * cols + g->perm[j]];
    qep_gptq_grids_before(g, target);
    if (dead) clear_dead(g, dead);
    return g;
}

/* --- result -------------------------------------------------------------------------------- */

/* Codes panel -> [QEP_STRIP, cols] in original order: whole columns are moved, then turned in tiles that stay in the first-level cache. acc, not needed any
 * more, holds what is between. */
static void codes_in_order(const qep_gptq *g, uint8_t *codes)
{
    uint8_t *moved = (uint8_t *)(void *)g->acc;
    for (int64_t j = 0; j < g->cols; j++) memcpy(moved + (int64_t)g->perm[j] * QEP_STRIP, g->codes + j * QEP_STRIP, QEP_STRIP);
    for (int64_t j0 = 0; j0 < g->cols; j0 += 128) {
        const int64_t j1 = qep_min_i64(j0 + 128, g->cols);
        for (int64_t i = 0; i < QEP_STRIP; i++)
            for (int64_t j = j0; j < j1; j++) codes[i * g->cols + j] = moved[j * QEP_STRIP + i];
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
