/* solve: statistics of a linear group, damping, factor, correction. All distributed; nothing of size d x d on one rank.
 * d = input channels of the group. H = Xq Xq^T, C = (X - Xq) Xq^T (X: full-precision stream, Xq: quantized stream), Gamma = (R - Rq) Xq^T (R, Rq: the
 * residual streams that the group's output is added to), all per token.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_SOLVE_H
#define QEP_SOLVE_H

#include "qep/dmat.h"
#include "qep/linalg.h"

enum { QEP_SOLVE_STRIP = 64 };     /* rows of a strip: the unit in which rows of weights, and of Gamma, are dealt to ranks */

/* --- statistics ------------------------------------------------------------------------------ */

/* Where the inputs of the group come from: my calibration sequences. */
typedef struct qep_tap_source {
    void *ctx;
    int64_t n_seq;                 /* mine; may be 0 */
    int64_t max_tokens;            /* longest of all ranks' sequences */
    /* Tokens of sequence i. Called by several threads at a time. */
    int64_t (*tokens)(void *ctx, int64_t i);
    /* Fills xq[T, d] with the quantized stream's input and, unless delta is NULL, delta[T, d] = X - Xq formed in f32. Called once
     * per sequence, and again where the rank does not keep all of them: for each panel of qep_stats_all, once by qep_stats_many_all and qep_abs_means_all. */
    void (*get)(void *ctx, int64_t i, float *xq, float *delta);
    /* Fills rho[T, gamma_rows] = R - Rq, the difference in f32 of the residual streams that the group's output is added to, before it is
     * added. NULL when no Gamma is asked for. Called as often as get. */
    void (*residual)(void *ctx, int64_t i, float *rho);
} qep_tap_source;

typedef struct qep_stats_plan {
    int64_t d;
    qep_compute compute;           /* f32 products, or bf16 with f32 accumulation (inputs rounded to bf16) */
    int64_t total_tokens;          /* of all ranks' calibration sequences, >= 1 */
    bool want_c;
    int64_t gamma_rows;            /* rows of Gamma; 0: no Gamma */
    bool held;                     /* sums over held-out sequences: named "held.h", "held.c", "held.gamma" in the memory table, not "solve.h", "solve.c", "stats.gamma" */
    int64_t panel;                 /* columns per panel, multiple of QEP_STATS_TILE (memory of a node: 8 bytes x (rows of H, C, Gamma) x panel, twice where there are several panels) */
    int64_t block, n_owners;       /* of the matrices */
} qep_stats_plan;
enum { QEP_STATS_TILE = 512 };     /* rows and columns of one product's tile; the shapes of all products depend on d and T only */
int64_t qep_stats_window_bytes(const qep_stats_plan *p); /* of the window where the ranks of a node add up */
/* How many of a rank's n_seq sequences qep_stats_all keeps as the products read them: all when 3 d channels of them fit into QEP_STATS_KEPT bytes for
 * each of its threads, up to QEP_STATS_KEEPERS, else 1, and then every panel asks the source again. Whether C and Gamma are wanted does not matter, so
 * that the plan of the largest sums holds for the others. */
enum { QEP_STATS_KEPT = 256 << 20, QEP_STATS_KEEPERS = 4 };
int64_t qep_stats_sets(const qep_stats_plan *p, int64_t n_seq, int64_t max_tokens, int threads);
int64_t qep_stats_tap_bytes(const qep_stats_plan *p, int64_t sets, int64_t max_tokens, int threads); /* "stats.tap" */

/* The sums of a group. Owned by the caller: qep_stats_free_all. */
typedef struct qep_stats {
    qep_dmat *H, *C;               /* C NULL unless wanted */
    /* Gamma = (R - Rq) Xq^T per token, "stats.gamma": [my strips * 64, d], the rows of my part of the strips of QEP_SOLVE_STRIP rows (qep_partition
     * of the strips over the ranks), padding rows 0; NULL unless wanted. */
    double *gamma;
} qep_stats;

/* Collective. First the exact largest magnitude of each channel over all sequences of all ranks, which fixes the power-of-two scale
 * e_i of channel i; then panels of columns: the f32 product of each sequence (the leaf) is added as int64 in units of 2^(e_i + e_j - s), s = 62 - ceil(log2(total tokens)),
 * to the sums of the node's ranks in w (at least qep_stats_window_bytes, not in use), and these go to the owners of the rows while the next panel is
 * formed. Same bits for any split of the sequences.
 * Gamma the same way, its rows summed to the owners of the strips; no rank holds more than a panel of its columns beside its own rows.
 * Result: H (full symmetric), C, Gamma, divided by total_tokens. QEP_E_NUMERIC when an input is not finite in the type of the products. */
QEP_MUST_CHECK qep_status qep_stats_all(qep_comm *c, const qep_stats_plan *p, const qep_tap_source *src, qep_window *w, qep_stats *out);
void qep_stats_free_all(qep_stats *s);

/* One of many groups with the same d, compute and want_c, without Gamma, none of them held out, whose sums one rank is to have. */
typedef struct qep_stats_part {
    qep_stats_plan plan;           /* panel and n_owners are not looked at */
    qep_tap_source source;         /* all parts have the same number of sequences and the same max_tokens; a sequence may have no tokens for a part */
    int owner;
    qep_stats *out;                /* on the owner: H and C over qep_comm_alone(c), to be freed there; NULLs elsewhere */
} qep_stats_part;
/* The sums of qep_stats_all, bit for bit, of n groups; whole matrices, so for small d. In rounds of qep_stats_many_at_once: the messages of a
 * round are those of one group. w: at least qep_stats_many_bytes for a round, not in use. Collective. */
QEP_MUST_CHECK qep_status qep_stats_many_all(qep_comm *c, const qep_stats_part *parts, int64_t n, int64_t room, qep_window *w);
int64_t qep_stats_many_at_once(const qep_stats_plan *p, int64_t room); /* parts whose sums fit into `room` bytes; at least 1 */
int64_t qep_stats_many_sums(const qep_stats_plan *p); /* of one part, 8 bytes each */
int64_t qep_stats_many_bytes(const qep_stats_plan *p, int64_t n); /* of the window, for a round of n parts */
int64_t qep_stats_gamma_bytes(const qep_stats_plan *p, int ranks, int rank); /* "stats.gamma" */
int64_t qep_stats_gamma_most(const qep_stats_plan *p, int ranks);            /* rows of the rank that has most */

/* --- sums of columns, exact: the same bits for any split of the rows -------------------------------- */

/* mean[n, d] = mean |xq| of each channel of n groups over the tokens of all ranks; 0 where there are none. Two passes over the sequences of
 * src[n], the messages of one group. Collective. */
void qep_abs_means_all(qep_comm *c, const qep_tap_source *src, int64_t n, int64_t d, double *mean);
/* out[d] = sum over all ranks of x^2 in each column; x [n_rows, d] mine, total_rows of all ranks (padding counts or not). Collective. */
void qep_column_squares_all(qep_comm *c, int64_t n_rows, int64_t total_rows, int64_t d, const float *x, double *out);

/* out[d] = sum over all ranks of the columns of x [n_rows, d], mine; total_rows of all ranks. Each value is rounded to 2^-61 of total_rows times its column's
 * largest; NAN for a column with a value that is not finite. Collective. */
void qep_column_sums_all(qep_comm *c, int64_t n_rows, int64_t total_rows, int64_t d, const double *x, double *out);

/* --- a smooth function of many variables ------------------------------------------------------ */

typedef struct qep_minimum {
    int64_t n;
    double (*value)(void *ctx, const double *x, double *slope); /* and its slope[n] at x[n]; may be collective */
    void *ctx;
    double first_step;  /* largest change of a variable in the first step, before anything is known of the curvature */
    double tolerance;   /* ends when a step lowers the value by less than this share of it */
    int evaluations;    /* at most */
} qep_minimum;
/* x[n]: start in, best found out, never with a higher value: L-BFGS with halved steps. *first, *last: values there. Returns the evaluations made. The calling
 * thread works alone, in a fixed order: ranks whose values and slopes have the same bits get the same x. */
int qep_minimize(const qep_minimum *m, double *x, double *first, double *last);
int64_t qep_minimize_bytes(int64_t n); /* scratch "solve.minimize" */

/* --- damping, factor ------------------------------------------------------------------------- */

typedef struct qep_ladder {
    double damping;    /* in: relative to mean(diag H); out: what was used */
    bool repair;       /* on a failed factor: damping *= 10 (from at least 1e-3), until > 1 */
    double shift;      /* out: what that adds to the diagonal, lambda: damping mean(diag H) */
    int attempts;      /* out: 1 when the first factor worked */
    int64_t minor;     /* out: last failing minor, 0 when none */
} qep_ladder;

/* dead[d] = diag H_i == 0; such channels get H_ii = mean of the living diagonal (scale-free), or `fixed` if that is > 0 (the published
 * codes: 1, whatever the scale of H). *n_dead, *mean: mean of the living diagonal (0 when all are dead: then H becomes the identity and *mean 1). Collective. */
void qep_dead_all(qep_dmat *H, double fixed, uint8_t *dead, int64_t *n_dead, double *mean);

/* Order of processing: identity, or falling diagonal of H, ties by index (act_order). perm[d]. diag[d] from qep_dmat_diag_all. */
void qep_processing_order(const double *diag, int64_t d, bool act_order, int32_t *perm);

/* *L = lower factor of H + damping * mean * I. *mean = mean(diag H). H is unchanged. w: at least qep_stream_bytes(d), not in use.
 * QEP_E_NUMERIC when no rung of the ladder works. Collective. */
QEP_MUST_CHECK qep_status qep_factor_all(const qep_dmat *H, qep_ladder *ladder, qep_window *w, qep_dmat **L);
/* *Lr = lower factor of the reversed, permuted H + damping * mean * I, i.e. R = J Lr J is upper with R R^T = (H + mu I)[perm, perm]; fetch its rows with flip = true.
 * rdiag[d] (f32, on every rank): R_jj in processing order. Collective. */
QEP_MUST_CHECK qep_status qep_factor_r_all(const qep_dmat *H, const int32_t *perm, qep_ladder *ladder, qep_window *w, qep_dmat **Lr, float *rdiag);

/* --- rows: every rank works on its own strips of QEP_SOLVE_STRIP rows, the matrix streams by in blocks of rows -------- */

/* A matrix whose f32 rows are kept (qep_dmat_keep_rows_all) is read there by the functions on f32: no messages, the same bits. */

int64_t qep_stream_bytes(int64_t d);  /* size of the streaming window: "solve.stream" */
enum {
    QEP_STREAM_ROWS = 128,   /* of a block */
    QEP_STREAM_BUNDLE = 512  /* rows that are fetched at a time, whole blocks, and the depth of the products; backwards (qep_form_s_all, qep_s_to_p_all): one block */
};

/* y[n_strips * 64, d] += a[n_strips * 64, d] * M (ld d), in f64 or f32; a is f32. An entry is one chain of fused multiply-adds: bits do not depend on who owns which strip. n_strips may be 0.
 * w: window of at least qep_stream_bytes(d). Collective. */
void qep_rows_times_f64_all(const qep_dmat *M, int64_t n_strips, const float *a, double *y, qep_window *w);
void qep_rows_times_f32_all(const qep_dmat *M, int64_t n_strips, const float *a, float *y, qep_window *w);
int64_t qep_rows_pieces_bytes(int64_t d, int64_t n_strips, bool f64);           /* scratch of all these, "solve.pieces" */
int64_t qep_rows_turned_bytes(int64_t d, int64_t count, int threads, bool f64); /* "solve.turned"; of qep_dmat_solve_all beside: a strip more */
/* form[n_strips * 64] = a H a^T of each row a, H symmetric: half the products of a H, in f32, added up in f64. a comes back as it was. Collective. */
void qep_rows_forms_all(const qep_dmat *H, int64_t n_strips, float *a, double *form, qep_window *w);
/* x[count * 64, d] <- x (L L^T)^-1. Collective. */
void qep_rows_solve_all(const qep_dmat *L, int64_t count, double *x, qep_window *w);
/* M <- M (L L^T)^-1, M's own rows as right-hand sides. Collective. */
void qep_dmat_solve_all(qep_dmat *M, const qep_dmat *L, qep_window *w);

/* S = (C' R^-T) o SU with C' = C[perm, perm], SU the strict upper triangle, and P = S R^-1 = ((C' L) o SU) L^T, L = R^-T: P_i,>i = C'_i,>i (H'_>i)^-1,
 * H' = (H + mu I)[perm, perm] = R R^T (GPTAQ, arXiv 2504.02692, Theorem 4.2). Each a triangular solve for C's rows, from the row's own block on: d^3 / 3.
 * C is kept, S becomes P. Lr as from qep_factor_r_all. Same bits for any number of ranks. Collective. */
qep_dmat *qep_form_s_all(const qep_dmat *C, const int32_t *perm, const qep_dmat *Lr, const char *name, qep_window *w);
void qep_s_to_p_all(qep_dmat *S, const qep_dmat *Lr, qep_window *w);

/* Every block of rows of M passes by, first to last: visit(ctx, row0, n, block, ld) on every rank, block[n, ld] f32 with columns [0, d) of rows
 * [row0, row0 + n), n <= QEP_STREAM_ROWS. w: at least qep_stream_bytes(d). Collective. */
typedef void qep_rows_visit(void *ctx, int64_t row0, int64_t n, const float *block, int64_t ld);
void qep_rows_stream_all(const qep_dmat *M, qep_rows_visit *visit, void *ctx, qep_window *w);

/* The correction: out = W + (alpha W C + beta Gamma) (H + lambda I)^-1 for my strips: QEP (arXiv 2504.09629, Prop. 5.1 and Eq. 6) and, with gamma, the
 * term of the residual stream (arXiv 2512.01546 on LoaQ). L: factor of H + lambda I.
 * w_rows, out: [n_strips * 64, d] f32 (may be the same array); gamma: the same shape in f64 or NULL. total_rows: rows of all linears of the group over all ranks:
 * chooses between forming M = C (H + lambda I)^-1 once (qep_correct_by_matrix; C is overwritten by M; W M in f32, all else in f64) and solving for the rows. alpha[i]: factor of
 * strip i (0 without gamma: the strip is left alone). beside: NULL, or zeros of w_rows' shape (another array), which take what the correction comes by, whatever
 * alpha: Y = W C (H + lambda I)^-1 = W M where M is formed, else W C. Scratch "solve.rows", for M only without beside. Collective. */
void qep_correct_rows_all(qep_dmat *C, const qep_dmat *L, int64_t total_rows, int64_t n_strips, const double *alpha,
                          const float *w_rows, const double *gamma, double beta, float *out, float *beside, qep_window *w);
bool qep_correct_by_matrix(int64_t total_rows, int64_t d, bool gamma); /* M is formed: more rows than d, and no gamma */
/* What the correction at alpha = 1 is solved from (qep_rows_solve_all), whatever lambda: y[n_strips * 64, d], zeros, becomes W C + beta Gamma. gamma may be
 * NULL. Collective. */
void qep_correction_sides_all(const qep_dmat *C, int64_t n_strips, const float *w_rows, const double *gamma, double beta, double *y, qep_window *w);

#endif
