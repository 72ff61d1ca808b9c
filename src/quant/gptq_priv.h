/* quant, private: the state of GPTQ for one strip, and its two inner parts.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_GPTQ_PRIV_H
#define QEP_GPTQ_PRIV_H

#include "quant_priv.h"

/* Columns are in processing order everywhere inside. "Panel" is [columns, QEP_STRIP]: the SIMD
 * lane is the row. */
struct qep_gptq {
    qep_qspec spec;
    int64_t cols, groups, next_step;
    int64_t block;     /* columns of a block, at most cols */
    int64_t ld;        /* of target and acc */
    int64_t span;      /* of cond: most columns whose conditional weights a step needs */
    int32_t *perm;     /* [cols], identity when the caller gave none */
    int32_t *group_of; /* [cols] group of each processed column */
    float *rdiag;      /* [cols] */
    float *target;     /* [QEP_STRIP, ld]: W* */
    float *acc;        /* [QEP_STRIP, ld]: sum_i (W*_i - Q_i) R_ij, i in finished blocks */
    float *cond;       /* [QEP_STRIP, span]: conditional weights of groups that start in a block */
    float *weight;     /* [cols]: importances for the hessian clip */
    float *target_p, *acc_p, *err_p; /* panels [block, QEP_STRIP] of the current block */
    float *err;        /* [QEP_STRIP, block]: err_p transposed, for the product */
    float *scales;     /* panel [groups, QEP_STRIP] */
    float *zeros;      /* panel [groups, QEP_STRIP] */
    uint8_t *codes;    /* panel [cols, QEP_STRIP] */
    double *loss;      /* [QEP_STRIP] */
};

/* Quantizes columns c0 .. c0+n-1 one after the other: reads target_p, updates acc_p inside the
 * block, leaves W* - Q in err_p, codes and loss. r: row c0 of R on, [n, ldr], column 0 is column
 * c0 of R. */
void qep_gptq_columns(struct qep_gptq *g, int64_t c0, int64_t n, const float *r, int64_t ldr);

/* Grids that do not depend on the loop: one group per row, or static groups. target: original
 * column order. */
void qep_gptq_grids_before(struct qep_gptq *g, const float *target);
/* Grids of the groups that start in columns c0 .. c0+n-1. rows: columns c0 .. c0+rows-1 of R are
 * given. */
void qep_gptq_grids_of_block(struct qep_gptq *g, int64_t c0, int64_t n, int64_t rows,
                             const float *r, int64_t ldr);

#endif
