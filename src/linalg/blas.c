/* The single-thread building blocks: one BLAS or LAPACK call each, row-major.
 * SPDX-License-Identifier: Apache-2.0 */
#include <cblas.h>

#include "linalg_priv.h"

/* LAPACK has no C header everywhere; Fortran calling convention, hidden length of the character
 * argument last. */
extern void dpotrf_(const char *uplo, const int *n, double *a, const int *lda, int *info,
                    size_t uplo_len);

void qep_gemm_f32(bool trans_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                  int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc)
{
    if (m == 0 || n == 0) return;
    int before = qep_linalg_one_thread();
    cblas_sgemm(CblasRowMajor, CblasNoTrans, trans_b ? CblasTrans : CblasNoTrans, qep_int(m),
                qep_int(n), qep_int(k), alpha, a, qep_int(lda), b, qep_int(ldb), beta, c,
                qep_int(ldc));
    qep_linalg_restore_threads(before);
}

void qep_gemm_f64(bool trans_b, int64_t m, int64_t n, int64_t k, double alpha, const double *a,
                  int64_t lda, const double *b, int64_t ldb, double beta, double *c, int64_t ldc)
{
    if (m == 0 || n == 0) return;
    int before = qep_linalg_one_thread();
    cblas_dgemm(CblasRowMajor, CblasNoTrans, trans_b ? CblasTrans : CblasNoTrans, qep_int(m),
                qep_int(n), qep_int(k), alpha, a, qep_int(lda), b, qep_int(ldb), beta, c,
                qep_int(ldc));
    qep_linalg_restore_threads(before);
}

void qep_tile_tn_f32(float *c, int64_t ldc, const float *a, int64_t lda, const float *b,
                     int64_t ldb, int64_t m, int64_t n, int64_t k)
{
    if (m == 0 || n == 0) return;
    int before = qep_linalg_one_thread();
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, qep_int(m), qep_int(n), qep_int(k), 1.0F,
                a, qep_int(lda), b, qep_int(ldb), 0.0F, c, qep_int(ldc));
    qep_linalg_restore_threads(before);
}

void qep_trsm_right_f64(bool lower, bool trans, int64_t m, int64_t n, const double *t, int64_t ldt,
                        double *x, int64_t ldx)
{
    if (m == 0 || n == 0) return;
    int before = qep_linalg_one_thread();
    cblas_dtrsm(CblasRowMajor, CblasRight, lower ? CblasLower : CblasUpper,
                trans ? CblasTrans : CblasNoTrans, CblasNonUnit, qep_int(m), qep_int(n), 1.0, t,
                qep_int(ldt), x, qep_int(ldx));
    qep_linalg_restore_threads(before);
}

int64_t qep_cholesky_f64(int64_t n, double *a, int64_t lda)
{
    if (n == 0) return 0;
    int rows = qep_int(n), ld = qep_int(lda), info = 0, before = qep_linalg_one_thread();
    /* the row-major lower triangle is the column-major upper one */
    dpotrf_("U", &rows, a, &ld, &info, 1);
    qep_linalg_restore_threads(before);
    if (info < 0) QEP_BUG("dpotrf: argument %d is wrong", -info);
    return info;
}
