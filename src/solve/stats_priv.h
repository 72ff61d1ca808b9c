/* solve, private: one run over the statistics of a group. T tokens of a sequence, d channels.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_STATS_PRIV_H
#define QEP_STATS_PRIV_H

#include "qep/solve.h"
#include <stdatomic.h>

/* The left factors of the three sums, and of H also the right one of all. */
typedef enum qep_stats_kind { QEP_STATS_H, QEP_STATS_C, QEP_STATS_GAMMA, QEP_STATS_KINDS } qep_stats_kind;

/* A channel with this exponent is scaled before the products. Those of the others, and their sums over 2^22 tokens, stay below 2^103, and what is lost
 * below 2^-126 is less than 2^-42 of the product of the two channels' largest. */
static inline bool qep_stats_is_scaled(int e)
{
    return e < -40 || e > 40;
}

/* One factor of the products. What they read of a sequence, in the type of the computation, is kept for all of my sequences, or there is room for one. */
typedef struct qep_tap {
    int64_t width;    /* channels: d, or gamma_rows; 0: not wanted */
    float *all;       /* owned: [sequences kept, or 1 for bf16][max tokens, width] */
    uint16_t *all_bf16; /* owned: [sequences kept][max tokens, width]; NULL unless compute is bf16 */
    float *x;         /* of the sequence at hand, as the source gives them, then in f32 scaled in place */
    uint16_t *bf16;   /* the same rounded, then scaled */
    int32_t *exp;     /* owned: [width] exponent e of each channel, |x| < 2^e; 0 when the channel is zero throughout */
    double *unit;     /* owned: [width] 2^-e for channels that go into the products as they are, 1 for those that are scaled by 2^-e before */
} qep_tap;

/* Sums in the node's window, to which all its ranks add, a tile at a time under a lock. */
typedef struct qep_stats_room {
    qep_window *window;           /* borrowed */
    atomic_int *locks;            /* in the window, as are the sums */
    int64_t *sums;
} qep_stats_room;

/* Bytes of a window for so many sums, of the whole node. */
int64_t qep_stats_room_bytes(int64_t sums);
/* The window, with zeros as the first `sums` of them. Collective. */
qep_stats_room qep_stats_room_open_all(const qep_comm *c, qep_window *w, int64_t sums);
/* The lock of a tile whose first sum is *tile: others may have the same. */
atomic_int *qep_stats_lock(const qep_stats_room *r, const int64_t *tile);
void qep_stats_unlock(atomic_int *lock);

typedef struct qep_stats_run {
    qep_comm *comm;               /* borrowed */
    const qep_stats_plan *plan;   /* borrowed */
    const qep_tap_source *source; /* borrowed */
    qep_tap tap[QEP_STATS_KINDS]; /* quantized stream, difference of the streams, difference of the residual streams */
    float *leaf;                  /* owned: [threads, TILE * TILE] f32 products; before, the maxima of each thread */
    int64_t sets;                 /* sequences that there is room for */
    bool raw, scaled;             /* all of mine are there, as the source gives them (rounded where they are of bf16), or scaled */
    int unit_exp;                 /* s: sums count in units of 2^(e_i + e_j - s) */
    qep_stats_room room;
    qep_sum *under_way;           /* owned: of the panel before; NULL: none */
} qep_stats_run;

/* Buffers for a plan, for so many sequences (qep_stats_sets, or 1); r->plan and r->source may be changed for others with the same d, compute, want_c and
 * gamma_rows (qep_stats_turn_to). */
qep_stats_run qep_stats_run_create(qep_comm *c, const qep_stats_plan *p, const qep_tap_source *src, int64_t sets);
void qep_stats_run_destroy(qep_stats_run *r);
void qep_stats_turn_to(qep_stats_run *r, const qep_stats_plan *p, const qep_tap_source *src);

/* Pass 1: max[channels], the largest magnitude of each channel of all factors one after the other, widened by my sequences, which stay in the taps, raw, where
 * there is room for all. Stops at the first bad one: QEP_E_NUMERIC when an input is not finite in the type of the products. Local. */
int64_t qep_stats_channels(const qep_stats_plan *p);
QEP_MUST_CHECK qep_status qep_stats_maxima(qep_stats_run *r, float *max);
/* The taps' exponents and units from the maxima over all ranks. */
void qep_stats_exponents(qep_stats_run *r, const float *max);

/* The node's sums of rows [row0, rows) of one matrix, columns [col0, col0 + width). */
typedef struct qep_panel {
    qep_dmat *m;     /* borrowed: where the result goes; NULL for Gamma, and where the matrix is another rank's */
    double *gamma;   /* borrowed: my rows of Gamma */
    const qep_tap *left; /* borrowed: its channels are the rows */
    bool lower;      /* only tiles on and below the diagonal */
    int64_t rows, row0, col0, width;
    int64_t *sum;    /* borrowed, in the room: [rows - row0, width], rows ordered by owner */
    int64_t *place;  /* owned, [rows]: position of a row in sum; NULL: in order from row0 on */
    int64_t *count, *displ; /* owned, [P]: sums of each owner; NULL with place */
} qep_panel;

/* Pass 2: adds my sequences' products to the panels, while the sums under way go on. */
void qep_stats_add(qep_stats_run *r, const qep_panel *p, int64_t n_panels);
/* My n entries of a panel's sums over all ranks, as f64 per token, to where they go: sum 2^(e_i + e_j - s) / tokens, with two roundings, of the
 * conversion and of the division. They become zeros. */
void qep_stats_deliver(const qep_stats_run *r, const qep_panel *p, int64_t *sums, int64_t n);
/* H, from its diagonal on, and what else out has, panel by panel. Collective. */
void qep_stats_panels_all(qep_stats_run *r, const qep_stats *out);

/* Where sequence i begins in what a tap keeps. */
int64_t qep_stats_kept_at(const qep_stats_run *r, const qep_tap *t, int64_t i);
/* Sequence i becomes the one at hand; get: into the taps, unscaled. */
void qep_stats_turn_to_sequence(qep_stats_run *r, int64_t i);
void qep_stats_get(qep_stats_run *r, int64_t i);
/* What the products read of the sequence at hand, T tokens, as qep_stats_get left it: rounded where they are of bf16; and scaled. */
void qep_stats_round(const qep_stats_run *r, int64_t T);
void qep_stats_scale(const qep_stats_run *r, int64_t T);

/* sum[i] += leaf[i] * unit * units[i] rounded to the nearest whole number, ties to even. Both units are powers of two; |leaf[i]| times both < 2^63. */
void qep_stats_add_fixed(int64_t *restrict sum, const float *restrict leaf, int64_t n, double unit, const double *restrict units);

/* Sums that there is room for: of one panel, or of two, so that one goes over the nodes while the next is formed. */
int64_t qep_stats_n_sums(const qep_stats_plan *p);

/* Rows of Gamma that rank `rank` of `size` owns: [*row0, *row0 + result). */
int64_t qep_stats_gamma_rows(const qep_stats_plan *p, int size, int rank, int64_t *row0);

#endif
