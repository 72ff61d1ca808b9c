/* Driver of QuIP (arXiv 2307.13304) for one linear: W and H are rescaled and multiplied by random orthogonal matrices,
 * which makes them incoherent; then the column loop, last column to first, on one grid for the whole tensor; then all of it backwards.
 *
 *   W' = U W diag(D) V^T,   H' = V (d / tr(.) diag(1/D) H diag(1/D) + 0.01 I) V^T,   Q = U^T Q' V diag(1/D)
 *
 * U mixes the rows of the weight, which are spread over the ranks: tiles of 64 columns with all their rows go round. V mixes columns: rows of
 * W and of H where they are; H' = V (H V^T) by way of a transpose. SPDX-License-Identifier: Apache-2.0 */
#include "layer_priv.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#define ROTATE "layer.rotate"
#define FIRST_DAMPING 0.01 /* added before the rotation, relative to the mean diagonal; [quantization] damping comes on top */
#define RANGE 2.4          /* of the grid, in root mean squares */

enum { TILE = QEP_STRIP };

typedef struct transform {
    qep_rotation *U, *V;
    double *D; /* [cols] */
    int64_t rows;
} transform;

static uint64_t seed_of(const qep_set *s, int64_t side)
{
    const int64_t key[3] = {s->lead->spec.options.rotation_seed, s->lead->index, side};
    return qep_hash64(key, sizeof key, 0);
}

/* --- V: columns, where the rows are ------------------------------------------------------------ */

/* n <= TILE rows, ld apart, of f64 or f32 (the other pointer NULL) times V^T, or V when undo. */
static void rotate_rows(const qep_rotation *V, bool undo, double *x64, float *x32, int64_t ld, int64_t n, int64_t cols, double *scratch)
{
    double *x = scratch, *spare = scratch + cols * TILE;
    for (int64_t c = 0; c < cols; c++)
        for (int64_t r = 0; r < TILE; r++) x[c * TILE + r] = r >= n ? 0.0 : x64 ? x64[r * ld + c] : (double)x32[r * ld + c];
    qep_rotation_apply(V, undo, x, spare);
    for (int64_t r = 0; r < n; r++)
        for (int64_t c = 0; c < cols; c++) {
            if (x64) x64[r * ld + c] = x[c * TILE + r];
            else x32[r * ld + c] = (float)x[c * TILE + r];
        }
}

static void rotate_strips(qep_set *s, const transform *t, bool undo)
{
#pragma omp parallel
    {
        double *scratch = qep_alloc(ROTATE, 2 * s->cols * TILE, sizeof *scratch);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < s->count; i++)
            rotate_rows(t->V, undo, NULL, qep_set_row(s, s->values, i), s->cols, QEP_STRIP, s->cols, scratch);
        qep_free(scratch);
    }
}

static void rotate_matrix(qep_dmat *m, const qep_rotation *V)
{
    const int64_t d = qep_dmat_n(m), n = qep_dmat_n_rows_of(m, qep_rank(qep_dmat_comm(m)));
#pragma omp parallel
    {
        double *scratch = qep_alloc(ROTATE, 2 * d * TILE, sizeof *scratch);
#pragma omp for schedule(dynamic)
        for (int64_t l = 0; l < n; l += TILE)
            rotate_rows(V, false, qep_dmat_row(m, l), NULL, qep_dmat_ld(m), qep_min_i64(TILE, n - l), d, scratch);
        qep_free(scratch);
    }
}

/* --- U: rows, tile by tile of columns ---------------------------------------------------------- */

/* One step: every rank gets `tiles` tiles of columns from `first` on, rank by rank. */
typedef struct step {
    int64_t first, tiles;
    int64_t *row0, *n;                           /* [P] rows of each rank */
    int64_t *count, *displ, *rcount, *rdispl;    /* [P] bytes: my rows of everybody's tiles, everybody's rows of mine */
    float *mine, *all;                           /* [P, tiles, my rows, TILE]; [tiles, rows, TILE] by rank of the row */
} step;

/* Columns from c0 on of a tile; tiles may lie beyond the last column. */
static int64_t width_of(const qep_set *s, int64_t c0)
{
    return qep_max_i64(0, qep_min_i64(TILE, s->cols - c0));
}

/* Between my strips and the part of them that goes to rank q, tile k. out: from the strips. */
static void copy_tile(qep_set *s, const step *p, int q, int64_t k, bool out)
{
    const int rank = qep_rank(s->job->comm);
    const int64_t c0 = (p->first + q * p->tiles + k) * TILE, n = width_of(s, c0);
    float *at = p->mine + (q * p->tiles + k) * p->n[rank] * TILE;
    for (int64_t r = 0; r < p->n[rank] && n > 0; r++) {
        float *row = s->values + r * s->cols + c0, *tile = at + r * TILE;
        memcpy(out ? tile : row, out ? row : tile, (size_t)n * sizeof *row);
    }
}

/* U x of tile k of mine, whose rows stand rank by rank. */
static void rotate_tile(const transform *t, const step *p, int ranks, int64_t k, bool undo, double *scratch)
{
    double *x = scratch, *spare = scratch + t->rows * TILE;
    for (int way = 0; way < 2; way++) {
        for (int q = 0; q < ranks; q++) {
            float *from = p->all + (p->row0[q] * p->tiles + k * p->n[q]) * TILE;
            double *to = x + p->row0[q] * TILE;
            for (int64_t i = 0; i < p->n[q] * TILE; i++) {
                if (way == 0) to[i] = (double)from[i];
                else from[i] = (float)to[i];
            }
        }
        if (way == 0) qep_rotation_apply(t->U, undo, x, spare);
    }
}

static void set_counts(const qep_set *s, const transform *t, step *p)
{
    const int ranks = qep_size(s->job->comm), rank = qep_rank(s->job->comm);
    const int64_t unit = p->tiles * TILE * (int64_t)sizeof(float);
    for (int q = 0; q < ranks; q++) {
        int64_t first, count;
        qep_partition(s->total_strips, ranks, q, &first, &count);
        p->row0[q] = qep_min_i64(first * QEP_STRIP, t->rows);
        p->n[q] = qep_min_i64((first + count) * QEP_STRIP, t->rows) - p->row0[q];
    }
    for (int q = 0; q < ranks; q++) {
        p->count[q] = p->n[rank] * unit;
        p->displ[q] = q * p->count[q];
        p->rcount[q] = p->n[q] * unit;
        p->rdispl[q] = p->row0[q] * unit;
    }
}

static void rotate_columns_all(qep_set *s, const transform *t, bool undo)
{
    qep_comm *c = s->job->comm;
    const int ranks = qep_size(c);
    step p = {.tiles = omp_get_max_threads()};
    qep_max_i64_all(c, &p.tiles, 1);
    p.row0 = qep_alloc(ROTATE, 6 * (int64_t)ranks, sizeof *p.row0);
    p.n = p.row0 + ranks;
    p.count = p.n + ranks, p.displ = p.count + ranks, p.rcount = p.displ + ranks, p.rdispl = p.rcount + ranks;
    set_counts(s, t, &p);
    p.mine = qep_alloc(ROTATE, ranks * p.tiles * p.n[qep_rank(c)] * TILE, sizeof *p.mine);
    p.all = qep_alloc(ROTATE, p.tiles * t->rows * TILE, sizeof *p.all);
    double *scratch = qep_alloc(ROTATE, 2 * omp_get_max_threads() * t->rows * TILE, sizeof *scratch);
    for (; p.first * TILE < s->cols; p.first += ranks * p.tiles) {
        for (int q = 0; q < ranks; q++)
            for (int64_t k = 0; k < p.tiles; k++) copy_tile(s, &p, q, k, true);
        qep_exchange_all(c, p.mine, p.count, p.displ, p.all, p.rcount, p.rdispl);
#pragma omp parallel for schedule(static)
        for (int64_t k = 0; k < p.tiles; k++)
            rotate_tile(t, &p, ranks, k, undo, scratch + 2 * omp_get_thread_num() * t->rows * TILE);
        qep_exchange_all(c, p.all, p.rcount, p.rdispl, p.mine, p.count, p.displ);
        for (int q = 0; q < ranks; q++)
            for (int64_t k = 0; k < p.tiles; k++) copy_tile(s, &p, q, k, false);
    }
    qep_free(scratch);
    qep_free(p.all);
    qep_free(p.mine);
    qep_free(p.row0);
}

/* --- W and H there ------------------------------------------------------------------------------- */

/* Columns of my rows times D, or divided by it. */
static void rescale(qep_set *s, const double *D, bool undo)
{
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < s->count * QEP_STRIP; r++)
        for (int64_t c = 0; c < s->cols; c++) {
            float *v = &s->values[r * s->cols + c];
            *v = (float)(undo ? (double)*v / D[c] : (double)*v * D[c]);
        }
}

static transform open_transform_all(qep_set *s, double *diag)
{
    transform t = {.rows = s->total_rows};
    double *squares = qep_alloc(ROTATE, s->cols, sizeof *squares);
    t.D = qep_alloc(ROTATE, s->cols, sizeof *t.D);
    qep_set_clear_dead(s, s->values);
    qep_column_squares_all(s->job->comm, s->count * QEP_STRIP, s->total_strips * QEP_STRIP, s->cols, s->values, squares);
    qep_dmat_diag_all(s->job->H, diag);
    for (int64_t c = 0; c < s->cols; c++)
        if (s->dead[c]) diag[c] = 0.0; /* H has been given a diagonal for other methods' factors */
    qep_quip_rescale(diag, squares, s->cols, t.D);
    t.U = qep_rotation_create(t.rows, seed_of(s, 0));
    t.V = qep_rotation_create(s->cols, seed_of(s, 1));
    qep_free(squares);
    return t;
}

static void close_transform(transform *t)
{
    qep_rotation_destroy(&t->U);
    qep_rotation_destroy(&t->V);
    qep_free(t->D);
}

/* d / tr(.) diag(1/D) H diag(1/D), rows where they are. diag: H's own, 0 for dead channels. */
static void scale_matrix(qep_set *s, const double *D, const double *diag, qep_dmat *m)
{
    const int rank = qep_rank(s->job->comm);
    double trace = 0.0;
    for (int64_t c = 0; c < s->cols; c++) trace += diag[c] / (D[c] * D[c]);
    if (trace == 0.0) trace = 1.0;
    qep_dmat_copy(m, s->job->H);
    for (int64_t l = 0; l < qep_dmat_n_rows_of(m, rank); l++) {
        const int64_t i = qep_dmat_row_of(m, rank, l);
        double *row = qep_dmat_row(m, l);
        row[i] = diag[i];
        for (int64_t c = 0; c < s->cols; c++) row[c] *= (double)s->cols / trace / (D[i] * D[c]);
    }
}

static qep_dmat *rotated_matrix_all(qep_set *s, const transform *t, const double *diag)
{
    const qep_dmat *H = s->job->H;
    qep_dmat *half = qep_dmat_create_all(s->job->comm, "solve.rotated", s->cols, qep_dmat_block(H), qep_dmat_n_owners(H));
    scale_matrix(s, t->D, diag, half);
    rotate_matrix(half, t->V);
    qep_dmat *m = qep_dmat_create_all(s->job->comm, "solve.rotated", s->cols, qep_dmat_block(H), qep_dmat_n_owners(H));
    qep_dmat_transpose_all(m, half);
    qep_dmat_destroy_all(&half);
    rotate_matrix(m, t->V);
    qep_dmat_add_diag(m, FIRST_DAMPING);
    return m;
}

/* The grid's half width: RANGE times the root mean square of the whole rotated tensor, rows added in their order. */
static double range_all(const qep_set *s)
{
    double *rows = qep_alloc(ROTATE, s->total_rows, sizeof *rows), sum = 0.0;
    for (int64_t i = 0; i < s->count; i++)
        for (int64_t r = 0; r < s->strips[i].n; r++)
            for (int64_t c = 0; c < s->cols; c++) {
                const double v = (double)s->values[(i * QEP_STRIP + r) * s->cols + c];
                rows[s->strips[i].row0 + r] += v * v;
            }
    qep_sum_f64_all(s->job->comm, rows, s->total_rows); /* one rank's value plus zeros: exact */
    for (int64_t r = 0; r < s->total_rows; r++) sum += rows[r];
    qep_free(rows);
    return RANGE * sqrt(sum / ((double)s->total_rows * (double)s->cols)) + 1e-16;
}

/* Rotated values. */
static void decode(qep_set *s, double range)
{
    const qep_qspec *q = &s->lead->spec;
    for (int64_t k = 0; k < s->count * QEP_STRIP * s->cols; k++) s->values[k] = qep_quip_value(s->codes[k], range, q->bits, q->paper);
    const float width = (float)(2.0 * range / ((1 << q->bits) - 1));
    for (int64_t r = 0; r < s->count * QEP_STRIP; r++) s->scales[r] = width;
}

qep_status qep_drive_rotated_all(qep_set *s)
{
    qep_qspec spec = s->lead->spec;
    double *diag = qep_alloc(ROTATE, s->cols, sizeof *diag);
    int32_t *perm = qep_alloc(ROTATE, s->cols, sizeof *perm);
    const int64_t n = s->count * QEP_STRIP * s->cols;
    s->values = qep_alloc("layer.rows", n, sizeof *s->values); /* W', then Q', then Q */
    qep_copy(s->values, s->target, n * (int64_t)sizeof *s->values);
    transform t = open_transform_all(s, diag);
    for (int64_t j = 0; j < s->cols; j++) perm[j] = (int32_t)(s->cols - 1 - j);
    rescale(s, t.D, false);
    rotate_strips(s, &t, false);
    rotate_columns_all(s, &t, false);
    const double range = range_all(s);
    qep_quip_to_codes(s->values, s->count * QEP_STRIP * s->cols, range, spec.bits);
    qep_dmat *H = rotated_matrix_all(s, &t, diag);
    spec.unit_grid = true;
    qep_status st = qep_factor_loop_all(s, &spec, s->values, H, perm, NULL);
    qep_dmat_destroy_all(&H);
    if (st == QEP_OK) {
        decode(s, range);
        rotate_columns_all(s, &t, true);
        rotate_strips(s, &t, true);
        rescale(s, t.D, true);
        qep_set_clear_dead(s, s->values);
    }
    close_transform(&t);
    qep_free(perm);
    qep_free(diag);
    return st;
}

void qep_drive_rotated_plan(const qep_qspec *spec, const qep_layer_shape *shape, qep_layer_bytes *b)
{
    const int64_t d = shape->cols, f = (int64_t)sizeof(float), lasting = d * (2 * (int64_t)sizeof(double) + (int64_t)sizeof(int32_t));
    const int64_t pass = 2 * TILE * (int64_t)sizeof(double) * shape->threads; /* per row or column of a tile */
    const int64_t mine = qep_min_i64(shape->strips * QEP_STRIP, shape->rows);
    const int64_t tiles = shape->threads * TILE * f * (shape->ranks * mine + shape->rows);
    qep_drive_factor_plan(spec, shape, b);
    b->rotate = lasting + qep_max_i64(pass * d, pass * shape->rows + tiles);
    b->rotation = qep_rotation_bytes(shape->rows) + qep_rotation_bytes(d);
    b->rows += shape->strips * QEP_STRIP * d * f;
    b->writing /= 2; /* by value: no copy of the values */
}
