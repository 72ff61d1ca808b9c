/* linalg: serial and threaded dense kernels on plain arrays; the only door to BLAS, LAPACK and oneDNN. No MPI.
 * Law of this module (same bits): inside any call BLAS runs on one thread; parallelism is our own OpenMP loop over
 * tiles whose shapes depend on the problem's sizes only, never on the number of threads. bf16 products go through
 * oneDNN's matmul. All row-major. Leading dimensions in elements. Sizes may be 0. SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_LINALG_H
#define QEP_LINALG_H

#include "qep/base.h"

typedef enum qep_compute { QEP_COMPUTE_F32, QEP_COMPUTE_BF16 } qep_compute;

/* threads >= 1: OpenMP threads of this process; sets BLAS to one thread (openblas_set_num_threads through dlsym).
 * Local. Call once before anything else. */
void qep_linalg_start(int threads);
/* run.reproducible: no lets ScaLAPACK factor the distributed matrices, with all threads of a rank; the last bits then depend on the numbers of ranks and
 * threads. Default yes. Local; the same on all ranks. */
void qep_linalg_set_reproducible(bool yes);
bool qep_linalg_is_reproducible(void);
int qep_linalg_threads(void);
/* One line: BLAS library, core type, oneDNN version and ISA. */
const char *qep_linalg_describe(void);
/* NULL, or a warning for the log: e.g. the CPU has AVX-512 but OpenBLAS was told Haswell through OPENBLAS_CORETYPE. */
const char *qep_linalg_warning(void);
/* If OpenBLAS runs kernels slower than the CPU allows, executes the program again: without OPENBLAS_CORETYPE if that asked for them, else
 * with a core of the CPU's vectors there (an OpenBLAS older than the CPU falls back to Prescott, at a fifth of the speed). Returns when nothing is to be
 * done. Must run before MPI starts. Guarded against loops by the environment (QEP_REEXEC = 1, 2). */
void qep_linalg_fix_core_type(char **argv);

/* y[T, O] = x[T, C] * w[O, C]^T (+ y when accumulate). f32 through BLAS in tiles of tokens x outputs. */
void qep_linear_f32(float *y, int64_t ldy, const float *x, int64_t ldx, const float *w, int64_t T, int64_t C, int64_t O, bool accumulate);
/* The same with bf16 inputs and f32 result (oneDNN matmul, f32 accumulation). */
void qep_linear_bf16(float *y, int64_t ldy, const uint16_t *x, int64_t ldx, const uint16_t *w, int64_t T, int64_t C, int64_t O);
/* Several of them side by side, rows dense: x[T, C], w[O, C], both float, or both bf16. The tiles of all are one list, which many threads share out more
 * evenly than a product's; the bits are those of one after the other. n <= QEP_MAX_LINEARS. */
typedef struct qep_linear {
    bool bf16;
    float *y;
    const void *x, *w;
    int64_t T, C, O;
} qep_linear;
enum { QEP_MAX_LINEARS = 8 };
void qep_linears(const qep_linear *list, int n);
/* The way back: g[T, C] = r[T, O] * w[O, C], in the same tiles. */
void qep_linear_back_f32(float *g, const float *r, const float *w, int64_t T, int64_t C, int64_t O);
void qep_linear_back_bf16(float *g, const uint16_t *r, const uint16_t *w, int64_t T, int64_t C, int64_t O);

/* c[m, n] = a^T b with a: [k, m] ld lda, b: [k, n] ld ldb; single thread, one library call (called from the
 * caller's own parallel loop over tiles). c has ld ldc. */
void qep_tile_tn_f32(float *c, int64_t ldc, const float *a, int64_t lda, const float *b, int64_t ldb, int64_t m, int64_t n, int64_t k);
void qep_tile_tn_bf16(float *c, int64_t ldc, const uint16_t *a, int64_t lda, const uint16_t *b, int64_t ldb, int64_t m, int64_t n, int64_t k);

/* Single-thread building blocks, one library call each. c[m,n] = alpha a[m,k] op(b) + beta c; trans_b: b is [n,k]. */
void qep_gemm_f32(bool trans_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc);
void qep_gemm_f64(bool trans_b, int64_t m, int64_t n, int64_t k, double alpha, const double *a, int64_t lda, const double *b, int64_t ldb, double beta, double *c, int64_t ldc);
/* Rows solved against a triangular matrix t[n, n] (row-major, ld ldt): x[m, n] <- x * t^-1 or x * t^-T.
 * lower: t's lower triangle is read, else its upper. */
void qep_trsm_right_f64(bool lower, bool trans, int64_t m, int64_t n, const double *t, int64_t ldt, double *x, int64_t ldx);
/* Panels: [columns, QEP_PANEL_ROWS], the SIMD lane is the row. panel[cols, 64] <- keep panel + sum_i b_ij a_i for a: [k, 64]; keep = 0: whatever
 * is in the panel. Every entry is one chain of fused multiply-adds in rising i: the same bits for any blocking and on any vector unit, and fast although
 * there are only 64 rows.
 * b: [k, cols] row-major with ldb > 0, or packed with ldb = 0. Runs on the calling thread. */
enum { QEP_PANEL_ROWS = 64, QEP_PANEL_COLS = 6 /* columns of b that are worked on together */ };
void qep_panel_update_f32(float *panel, float keep, const float *a, int64_t k, const float *b, int64_t ldb, int64_t cols);
void qep_panel_update_f64(double *panel, double keep, const double *a, int64_t k, const double *b, int64_t ldb, int64_t cols);
/* panel += a B for k of the `rows` rows of a packed B: b points to the first of them in the first panel. On the calling thread. */
void qep_panel_add_f32(float *panel, const float *a, int64_t k, const float *b, int64_t rows, int64_t cols);
void qep_panel_add_f64(double *panel, const double *a, int64_t k, const double *b, int64_t rows, int64_t cols);
static inline int64_t qep_panel_packed(int64_t rows, int64_t cols) { return rows * qep_round_up(cols, QEP_PANEL_COLS); } /* entries */
/* b[rows, cols] row-major -> [ceil(cols / 6)][rows][6], zeros behind the last column: the part'th of `parts` shares of it (0, 1: all). All threads
 * work on it. turned: b is [cols, rows]. */
void qep_panel_pack_f32(float *packed, const float *b, int64_t ldb, int64_t rows, int64_t cols, int part, int parts);
void qep_panel_pack_f64(double *packed, const double *b, int64_t ldb, int64_t rows, int64_t cols, int part, int parts);
void qep_panel_pack_turned_f32(float *packed, const float *b, int64_t ldb, int64_t rows, int64_t cols, int part, int parts);
void qep_panel_pack_turned_f64(double *packed, const double *b, int64_t ldb, int64_t rows, int64_t cols, int part, int parts);
/* Rows of several matrices in turn: row i of this one, number `which` (0 ..) of `of`, becomes row i of + which of rows * of. */
void qep_panel_pack_woven_f32(float *packed, const float *b, int64_t ldb, int64_t rows, int64_t cols, int64_t which, int64_t of, int part, int parts);
/* n <= 64 rows, ld apart, as a panel, zeros in the lanes behind them; and back. On the calling thread. */
void qep_panel_from_rows_f32(float *panel, const float *rows, int64_t n, int64_t ld, int64_t cols);
void qep_panel_to_rows_f32(float *rows, int64_t n, int64_t ld, const float *panel, int64_t cols);
void qep_panel_from_rows_f64(double *panel, const double *rows, int64_t n, int64_t ld, int64_t cols);
void qep_panel_to_rows_f64(double *rows, int64_t n, int64_t ld, const double *panel, int64_t cols);
void qep_panel_to_rows_negated_f64(double *rows, int64_t n, int64_t ld, const double *panel, int64_t cols);
/* x[cols, 64] <- -x L^-T (forward) or -x L^-1 (backward) for the lower triangle l[cols, cols], which is given as panels too: its transpose packed (forward),
 * or itself (backward). On the calling thread. */
void qep_panel_forward_f64(double *x, int64_t cols, const double *packed, const double *l, int64_t ldl);
void qep_panel_backward_f64(double *x, int64_t cols, const double *packed, const double *l, int64_t ldl);
/* In place: the lower triangle of a[n, n] becomes L with A = L L^T; what is right of it is not looked at and becomes 0. Returns 0, or the 1-based order of the
 * first leading minor whose pivot is not a positive number (contents then undefined). The chain of an entry runs over the columns before it, so a part of a
 * larger factor has that one's bits. All threads of the rank work on it. qep_panel_cholesky_bytes: of its scratch "dmat.factor". */
int64_t qep_panel_cholesky_f64(double *a, int64_t lda, int64_t n);
int64_t qep_panel_cholesky_bytes(int64_t n);
/* The same by a certain unit, for tests. best: the fastest that this machine has; those before it work too. */
typedef enum qep_panel_unit { QEP_PANEL_PLAIN, QEP_PANEL_AVX2, QEP_PANEL_AVX512 } qep_panel_unit;
qep_panel_unit qep_panel_best_unit(void);
void qep_panel_update_by_f32(qep_panel_unit unit, float *panel, float keep, const float *a, int64_t k, const float *b, int64_t ldb, int64_t cols);
void qep_panel_update_by_f64(qep_panel_unit unit, double *panel, double keep, const double *a, int64_t k, const double *b, int64_t ldb, int64_t cols);

/* In place lower Cholesky, row-major; 0 or the 1-based order of the leading minor that is not positive. */
int64_t qep_cholesky_f64(int64_t n, double *a, int64_t lda);

/* Measured ceilings for the benchmark: GFLOP/s of independent FMA chains, per process with `threads` threads. */
double qep_peak_f32_gflops(double seconds);
double qep_peak_f64_gflops(double seconds);
double qep_peak_bf16_gflops(double seconds); /* 0 when the CPU has no bf16 dot product */

#endif
