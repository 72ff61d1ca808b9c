/* quant: the steps of the column-by-column methods. A step is several blocks of columns: a strip stays in the second-level cache while it
 * goes through them, and the columns to the right are read and written once a step, not once a block. Every sum is the chain of fused
 * multiply-adds that single blocks would give. SPDX-License-Identifier: Apache-2.0 */
#include "gptq_priv.h"

#include <omp.h>

enum {
    STEP = 512,                  /* columns of a step, or one block where that is wider */
    CHUNK = 16 * QEP_PANEL_COLS, /* columns to the right that stay in the second-level cache, and so do their packed panels, while all blocks of a step reach them */
};

int qep_gptq_moves(const qep_qspec *s)
{
    return qep_method_moves(s->method, &s->options, s->paper);
}

bool qep_gptq_pulls(const qep_qspec *s)
{
    return s->method->pulls && s->method->pulls(&s->options, s->paper);
}

/* Blocks end where a dynamic group begins, so that its grid knows all columns before it. The published codes' blocks do not. */
static bool blocks_end_at_groups(const qep_qspec *s)
{
    return qep_groups_dynamic(s) && !s->paper;
}

/* Groups that begin in a step's later blocks end in it: their grids need all their columns up to date. */
int64_t qep_gptq_step_width(const qep_qspec *s, int64_t cols)
{
    const int64_t unit = blocks_end_at_groups(s) ? s->group_size : s->block_size;
    int64_t width = qep_gptq_pulls(s) ? s->block_size : qep_max_i64(1, STEP / unit) * unit;
    if (qep_groups_dynamic(s) && width % s->group_size != 0 && s->group_size % width != 0) width = s->block_size;
    return qep_min_i64(width, cols);
}

int64_t qep_gptq_block_cols(const qep_qspec *s, int64_t c0, int64_t end)
{
    const int64_t n = qep_min_i64(s->block_size, end - c0);
    return blocks_end_at_groups(s) ? qep_min_i64(n, s->group_size - c0 % s->group_size) : n;
}

int64_t qep_gptq_n_steps(const qep_qspec *s, int64_t cols)
{
    return qep_ceil_div(cols, qep_gptq_step_width(s, cols));
}

/* Rows from c0 to `end`, or on to the end of the last dynamic group that begins between them. */
static int64_t rows_until(const qep_qspec *s, int64_t cols, int64_t c0, int64_t end)
{
    if (!qep_groups_dynamic(s)) return end - c0;
    int64_t last = (end - 1) / s->group_size * s->group_size;
    if (last < c0) return end - c0;
    return qep_max_i64(end, qep_min_i64(last + s->group_size, cols)) - c0;
}

int64_t qep_gptq_block_rows(const qep_qspec *s, int64_t cols, int64_t c0)
{
    return rows_until(s, cols, c0, c0 + qep_gptq_block_cols(s, c0, cols));
}

int64_t qep_gptq_step_cols(const qep_qspec *s, int64_t cols, int64_t step)
{
    int64_t width = qep_gptq_step_width(s, cols);
    return qep_min_i64(width, cols - step * width);
}

void qep_gptq_step_rows(const qep_qspec *s, int64_t cols, int64_t step, int64_t *row0, int64_t *n_rows)
{
    *row0 = step * qep_gptq_step_width(s, cols);
    *n_rows = rows_until(s, cols, *row0, *row0 + qep_gptq_step_cols(s, cols, step));
}

/* --- packed panels --------------------------------------------------------------------------- */

/* One block of a step: columns [c0, c0 + n), the step ends at `end`. Offsets in floats of its packed panels: for its own columns, and of each product for
 * those behind it inside the step and beyond it. */
typedef struct place {
    int64_t c0, n, end;
    int64_t near, inside[1 + QEP_MAX_MOVES], beyond[1 + QEP_MAX_MOVES];
    int64_t next; /* offset behind them */
} place;

static place first_place(const qep_qspec *s, int64_t cols, int64_t step)
{
    int64_t c0 = step * qep_gptq_step_width(s, cols);
    return (place){.c0 = c0, .end = c0 + qep_gptq_step_cols(s, cols, step)};
}

/* The next block of the step into p; false behind the last. */
static bool next_place(const qep_qspec *s, int64_t cols, place *p)
{
    p->c0 += p->n;
    if (p->c0 >= p->end) return false;
    p->n = qep_gptq_block_cols(s, p->c0, p->end);
    p->near = p->next;
    p->next += qep_gptq_pulls(s) ? 0 : qep_gptq_near_size(s, p->n); /* which has its own way inside a block */
    for (int k = 0; k < qep_gptq_products(s); k++) {
        p->inside[k] = p->next;
        p->beyond[k] = p->inside[k] + qep_panel_packed(p->n * qep_gptq_rows_of(s, k), p->end - p->c0 - p->n);
        p->next = p->beyond[k] + qep_panel_packed(p->n * qep_gptq_rows_of(s, k), cols - p->end);
    }
    return true;
}

int64_t qep_gptq_packed_bytes(const qep_qspec *s, int64_t cols)
{
    place p = first_place(s, cols, 0);
    while (next_place(s, cols, &p)) continue;
    return p.next * (int64_t)sizeof(float);
}

void qep_gptq_pack_matrix(const qep_qspec *s, int m, float *packed, const float *b, int64_t ld, int64_t rows, int64_t cols, int part, int parts)
{
    const int k = qep_gptq_product_of(s, m);
    qep_panel_pack_woven_f32(packed, b, ld, rows, cols, k == 0 ? m : 0, qep_gptq_rows_of(s, k), part, parts);
}

/* The m'th matrix's rows of block p. b: from the block's first row and column on. */
static void pack_block(const qep_qspec *s, int64_t cols, const place *p, int m, const float *b, int64_t ld, float *packed, int part, int parts)
{
    const int k = qep_gptq_product_of(s, m);
    const int64_t inside = p->end - p->c0 - p->n;
    if (!qep_gptq_pulls(s)) qep_gptq_pack_near(s, p->n, m, b, ld, packed + p->near, part, parts);
    qep_gptq_pack_matrix(s, m, packed + p->inside[k], b + p->n, ld, p->n, inside, part, parts);
    qep_gptq_pack_matrix(s, m, packed + p->beyond[k], b + p->n + inside, ld, p->n, cols - p->end, part, parts);
}

void qep_gptq_pack(const qep_qspec *s, int64_t cols, int64_t step, const qep_gptq_block *b, float *packed, int part, int parts)
{
    place p = first_place(s, cols, step);
    const int64_t row0 = p.c0;
    while (next_place(s, cols, &p))
        for (int m = 0; m <= qep_gptq_moves(s); m++) {
            const int64_t ld = m == 0 ? b->ldr : b->ldp;
            pack_block(s, cols, &p, m, (m == 0 ? b->r : b->p[m - 1]) + (p.c0 - row0) * (ld + 1), ld, packed, part, parts);
        }
}

/* --- one step ---------------------------------------------------------------------------------- */

/* What block p, whose errors begin at column `done` of the step's, leaves to columns [from, from + n), whose packed panels begin at at[]. */
static void update(qep_gptq *g, const place *p, int64_t done, const float *packed, const int64_t *at, int64_t skip, int64_t from, int64_t n)
{
    const int64_t to = from * QEP_STRIP, err = done * QEP_STRIP, rows = p->n * g->joint;
    qep_panel_update_f32(g->acc + to, qep_gptq_power(g->fade, p->n), g->err + err * g->joint, rows, packed + at[0] + skip * rows, 0, n);
    for (int m = 0; g->move && m < g->n_moves; m++)
        qep_panel_update_f32(g->move + to, 1.0f, g->out[m] + err, p->n, packed + at[m + 1] + skip * p->n, 0, n);
}

static void quantize_block(qep_gptq *g, const place *p, int64_t done, const qep_gptq_block *b)
{
    qep_gptq_block own = {.r = b->r + done * (b->ldr + 1), .ldr = b->ldr, .ldp = b->ldp, .packed = b->packed + p->near};
    for (int m = 0; m < g->n_moves; m++) own.p[m] = b->p[m] + done * (b->ldp + 1);
    qep_gptq_grids_of_block(g, p->c0, p->n, qep_gptq_block_rows(&g->spec, g->cols, p->c0), own.r, own.ldr);
    if (qep_gptq_pulls(&g->spec)) g->spec.method->block(g, p->c0, p->n, &own);
    else qep_gptq_columns(g, p->c0, p->n, done, &own);
    update(g, p, done, b->packed, p->inside, 0, p->c0 + p->n, p->end - p->c0 - p->n);
}

static void quantize_step(qep_gptq *g, int64_t step, const qep_gptq_block *b)
{
    QEP_REQUIRE(step == g->next_step);
    const place first = first_place(&g->spec, g->cols, step);
    place p = first;
    while (next_place(&g->spec, g->cols, &p)) quantize_block(g, &p, p.c0 - first.c0, b);
    g->next_step++;
}

/* What the step leaves to n columns, the first of them the skip'th behind its end. */
static void update_beyond(qep_gptq *g, int64_t step, const qep_gptq_block *b, int64_t skip, int64_t n)
{
    const place first = first_place(&g->spec, g->cols, step);
    place p = first;
    while (next_place(&g->spec, g->cols, &p)) update(g, &p, p.c0 - first.c0, b->packed, p.beyond, skip, p.end + skip, n);
}

/* `count` strips beside each other: a chunk's packed panels are in the second-level cache for all of them. */
static void step_beside(qep_gptq *const *g, int64_t count, int64_t step, const qep_gptq_block *b)
{
    const int64_t end = first_place(&g[0]->spec, g[0]->cols, step).end, beyond = g[0]->cols - end;
    for (int64_t i = 0; i < count; i++) quantize_step(g[i], step, b);
    for (int64_t c = 0; c < beyond; c += CHUNK)
        for (int64_t i = 0; i < count; i++) update_beyond(g[i], step, b, c, qep_min_i64(CHUNK, beyond - c));
    for (int64_t i = 0; i < count && qep_gptq_pulls(&g[i]->spec); i++) qep_foem_pulled(g[i], end);
}

/* Two strips at a time; one by one at the end, so that the threads end together. */
static int64_t pairs_of(int64_t strips, int threads)
{
    return qep_max_i64(0, strips - 2 * (int64_t)threads) / 2;
}

int64_t qep_gptq_turns(int64_t strips, int threads)
{
    return strips - pairs_of(strips, threads);
}

void qep_gptq_turn(int64_t strips, int threads, int64_t i, int64_t *first, int64_t *count)
{
    const int64_t pairs = pairs_of(strips, threads);
    *first = i + qep_min_i64(i, pairs);
    *count = i < pairs ? 2 : 1;
}

void qep_gptq_step(qep_gptq *const *g, int64_t strips, int64_t step, const qep_gptq_block *b)
{
    const int threads = omp_get_max_threads();
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < qep_gptq_turns(strips, threads); i++) {
        int64_t first, n;
        qep_gptq_turn(strips, threads, i, &first, &n);
        step_beside(g + first, n, step, b);
    }
}
