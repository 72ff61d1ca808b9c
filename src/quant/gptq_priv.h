/* quant, private: the state of the column-by-column methods for one strip, and its inner parts.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_GPTQ_PRIV_H
#define QEP_GPTQ_PRIV_H

#include "quant_priv.h"

#include "qep/linalg.h"

_Static_assert((int)QEP_STRIP == (int)QEP_PANEL_ROWS, "a strip is a panel");

/* Columns are in processing order everywhere inside. "Panel" is [columns, QEP_STRIP]: the SIMD
 * lane is the row. */
struct qep_gptq {
    qep_qspec spec;
    int64_t cols, groups, next_step;
    int64_t width;     /* columns of a step, at most cols */
    int64_t span;      /* of cond: most columns whose conditional weights a block needs */
    int n_moves;
    float fade;        /* f */
    void (*rule)(qep_column *c); /* the method's, or GPTQ's for methods that go by its loop */
    int32_t *perm;     /* [cols], identity when the caller gave none */
    int32_t *group_of; /* [cols] group of each processed column */
    float *rdiag;      /* [cols] */
    float *target;     /* panel [cols]: W* */
    float *acc;        /* panel [cols]: what err R and use S of the columns done leave, faded up to the last of them */
    float *move;       /* panel [cols]: M, how far a published code has moved the target; NULL: it stays where it is */
    int joint;         /* matrices that add to acc: R, and the method's unless they add to move */
    float *cond;       /* [QEP_STRIP, span]: conditional weights of groups that start in a block */
    float *cond_panel; /* panel [span]: their scratch */
    float *weight;     /* [cols]: importances for the hessian clip */
    float *err;        /* panel [width * joint]: what each column leaves by R, and by each of the method's matrices in turn */
    float *use[QEP_MAX_MOVES], *out[QEP_MAX_MOVES]; /* with move: panels [width], inside the block, beyond it; else NULL */
    float *scales;     /* panel [groups] */
    float *zeros;      /* panel [groups] */
    uint8_t *codes;    /* panel [cols] */
    double *loss;      /* [QEP_STRIP] */
    double *pull;      /* panel [cols]: how far the columns behind the step go back; NULL: the method does not pull */
    double *inner;     /* scratch of a pulling block: qep_foem_inner doubles */
};

/* One column of a strip. All arrays: [QEP_STRIP]. */
struct qep_column {
    const qep_qspec *spec;
    const qep_method_options *options;
    float r_jj, max_code;
    bool first;                /* of its block */
    const float *target, *acc; /* W*_j, A_j */
    const float *scale, *zero;
    const float *last_scale, *last_zero; /* grid of the block's last column; published ResComp clamps by it */
    float *move;               /* M_j; NULL: 0 */
    float *w, *q;              /* scratch: the weight before rounding, its value on the grid */
    float *err;                /* out */
    float *use[QEP_MAX_MOVES]; /* out: what the matrix's row is multiplied by inside the block */
    float *out[QEP_MAX_MOVES]; /* out: and beyond it; the same array as use unless `move` is there */
    uint8_t *code;
    double *loss;
};

/* goal[QEP_STRIP] = W* + M, what the error is taken from. */
void qep_column_goal(const qep_column *c, float *goal);
/* w = W* + M + A / R_jj. */
void qep_column_weigh(qep_column *c);
/* code, q and loss of w. */
void qep_column_round(qep_column *c);

/* Column j of the block from c0 on, n columns, that `done` columns of its step precede. scratch: 2 QEP_STRIP. */
qep_column qep_gptq_column(struct qep_gptq *g, int64_t c0, int64_t n, int64_t done, int64_t j, float *scratch);
/* FOEM as published: a block of n columns; doubles of its scratch. After the step: the columns from c1 on. */
void qep_foem_block(struct qep_gptq *g, int64_t c0, int64_t n, const qep_gptq_block *b);
int64_t qep_foem_inner(int64_t n);
void qep_foem_pulled(struct qep_gptq *g, int64_t c1);

enum { QEP_GPTQ_NEAR = 32 }; /* columns that spread one by one, and then together to the rest */
/* panel_k <- fade panel_k + a row_k for n columns to the right of a; a: [QEP_STRIP]. */
void qep_gptq_spread(float *restrict panel, float fade, const float *restrict a, const float *restrict row, int64_t n);
float qep_gptq_power(float f, int64_t n); /* f^n */
/* How a rank's strips go through a step: turns of two strips, one at the end so that its threads end together. The i'th turn: *count strips from *first on. */
int64_t qep_gptq_turns(int64_t strips, int threads);
void qep_gptq_turn(int64_t strips, int threads, int64_t i, int64_t *first, int64_t *count);
/* Columns of a step (the last may have fewer): whole blocks. */
int64_t qep_gptq_step_width(const qep_qspec *s, int64_t cols);
/* Columns of the block from c0 on, in a step that ends at `end`. */
int64_t qep_gptq_block_cols(const qep_qspec *s, int64_t c0, int64_t end);
/* Rows of R that the block from column c0 on needs: its own, more when a dynamic group reaches beyond it. */
int64_t qep_gptq_block_rows(const qep_qspec *s, int64_t cols, int64_t c0);
/* Matrices that add to acc, R first. Their rows go in turn, r_0 s_0 r_1 s_1 .., so that a sum is one chain in the order of the columns, whatever the blocks. */
int qep_gptq_joint(const qep_qspec *s);
/* Products that a block is: one with all joint rows, and one for each matrix that adds to move. Which of them matrix m (0: R) is in, and how many rows a
 * column has in the k'th. */
int qep_gptq_products(const qep_qspec *s);
int qep_gptq_product_of(const qep_qspec *s, int m);
int qep_gptq_rows_of(const qep_qspec *s, int k);
/* The rows of matrix m among those of its product, as panels of columns; b: [rows, ld]. */
void qep_gptq_pack_matrix(const qep_qspec *s, int m, float *packed, const float *b, int64_t ld, int64_t rows, int64_t cols, int part, int parts);
/* Quantizes columns c0 .. c0+n-1 one after the other, a block that `done` columns of its step precede; leaves its err and out at columns done .. of the
 * step's, faded up to its last column. b: R and S or P from row and column c0 on; packed: by
 * qep_gptq_pack_near for this block. */
void qep_gptq_columns(struct qep_gptq *g, int64_t c0, int64_t n, int64_t done, const qep_gptq_block *b);
/* Packed panels by which each QEP_GPTQ_NEAR columns of a block of n reach its columns behind them: floats, and the m'th matrix's share (b as for the
 * block). */
int64_t qep_gptq_near_size(const qep_qspec *s, int64_t n);
void qep_gptq_pack_near(const qep_qspec *s, int64_t n, int m, const float *b, int64_t ld, float *packed, int part, int parts);

/* Grids that do not depend on the loop: one group per row, or static groups. target: original
 * column order, [QEP_STRIP, cols]. */
void qep_gptq_grids_before(struct qep_gptq *g, const float *target);
/* Grids of the groups that start in columns c0 .. c0+n-1. rows: columns c0 .. c0+rows-1 of R are
 * given. */
void qep_gptq_grids_of_block(struct qep_gptq *g, int64_t c0, int64_t n, int64_t rows,
                             const float *r, int64_t ldr);

#endif
