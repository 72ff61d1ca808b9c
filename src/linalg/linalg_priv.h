/* Private to linalg: the fixed tiling, the CPU's level and the bf16 product of one thread.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_LINALG_PRIV_H
#define QEP_LINALG_PRIV_H

#include "qep/linalg.h"

/* --- tiles ------------------------------------------------------------------------- */

/* Edge of a tile of y[T, O]. 512 x 512 costs one core 10 % against one call for everything (each
 * call packs its operands anew), 128 x 128 about 25 %; smaller problems take smaller tiles so that
 * several threads have work. */
typedef struct qep_tiles {
    int64_t rows, cols;     /* of a full tile */
    int64_t n_rows, n_cols; /* number of tiles along each side */
} qep_tiles;
/* A function of the problem's sizes only: this is what keeps the bits free of the number of
 * threads. */
qep_tiles qep_tiles_of(int64_t T, int64_t O);

/* --- vector level of CPUs and of OpenBLAS core types ---------------------------------- */

typedef enum qep_simd { QEP_SIMD_OTHER, QEP_SIMD_AVX2, QEP_SIMD_AVX512 } qep_simd;
qep_simd qep_cpu_simd(void);
bool qep_cpu_has_bf16(void);
/* Core OpenBLAS runs with ("SkylakeX"), NULL when the BLAS is another one. */
const char *qep_blas_core(void);
/* True when the BLAS uses narrower vectors than the CPU has. */
bool qep_blas_core_is_slow(void);

/* --- symbols that only some BLAS libraries have ---------------------------------------- */

typedef void (*qep_any_function)(void);
/* NULL when no loaded library defines it. */
qep_any_function qep_find_function(const char *name);

/* --- threads ------------------------------------------------------------------------- */

/* Around calls of BLAS and LAPACK: the calling thread's OpenMP setting becomes 1 and is put back. OpenBLAS's openmp build follows that setting at every
 * call, whatever openblas_set_num_threads was told, and its factorizations change their bits with it. */
int qep_linalg_one_thread(void);
void qep_linalg_restore_threads(int before);

/* --- bf16 product ------------------------------------------------------------------- */

/* One operand: element (i, j) is at data[i * row + j * col]; one of the strides is 1. */
typedef struct qep_bf16_view {
    const uint16_t *data;
    int64_t row, col;
} qep_bf16_view;

/* c[m, n] = a[m, k] * b[k, n], f32 sums, calling thread alone. Sizes above 0. Thread-safe. */
void qep_product_bf16(float *c, int64_t ldc, qep_bf16_view a, qep_bf16_view b, int64_t m, int64_t n,
                      int64_t k);
/* The same without oneDNN: blocks converted to f32, then BLAS. For CPUs where oneDNN has no bf16
 * matmul. */
void qep_product_bf16_by_f32(float *c, int64_t ldc, qep_bf16_view a, qep_bf16_view b, int64_t m,
                             int64_t n, int64_t k, float *work);
/* Floats of `work`. */
#define QEP_BF16_BLOCK 256
#define QEP_BF16_WORK ((size_t)2 * QEP_BF16_BLOCK * QEP_BF16_BLOCK)

#endif
