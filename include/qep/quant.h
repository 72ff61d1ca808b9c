/* quant: grids, clip search and the row kernels of the quantizers; packing. No MPI, no I/O: functions of pointers and
 * sizes. Rows are independent, so every kernel works on a strip of QEP_STRIP rows; a strip's result does not depend
 * on which other strips the process has. SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_QUANT_H
#define QEP_QUANT_H

#include "qep/tensor.h"

enum { QEP_STRIP = 64 }; /* rows of a strip; the unit of ownership of rows */

typedef enum qep_clip { QEP_CLIP_NONE, QEP_CLIP_MSE, QEP_CLIP_HESSIAN } qep_clip;

/* --- methods ----------------------------------------------------------------------------- */

/* What a method works on besides the target rows. H = Xq Xq^T and C = (X - Xq) Xq^T: statistics of the group (solve.h). A method that
 * needs C corrects for the error of the layers before by itself, so no correction may stand in front of it. */
typedef enum qep_need {
    QEP_NEEDS_H = 1,
    QEP_NEEDS_C = 2
} qep_need;

/* Who drives the method (layer: one driver each). */
typedef enum qep_drive {
    QEP_DRIVE_NONE,      /* the weights stay */
    QEP_DRIVE_ROWS,      /* strips on their own: qep_rtn_strip */
    QEP_DRIVE_FACTOR,    /* column by column while a factor of H streams by: qep_gptq_* */
    QEP_DRIVE_SCALED,    /* a scale for each input channel, found for all members together, then rows: qep_awq_* */
    QEP_DRIVE_ROTATED,   /* one linear at a time, transformed on both sides, column by column there: qep_rotation_*, qep_quip_*, qep_gptq_* */
    QEP_N_DRIVES
} qep_drive;

/* Keys of single methods. Texts are static names. */
typedef struct qep_method_options {
    double gptaq_alpha;       /* weight of P */
    double rescomp_alpha1, rescomp_alpha2; /* of P, of R */
    const char *rescomp_mode; /* auto | allw | org */
    double foem_alpha, foem_beta;
    const char *foem_variant; /* paper | next */
    int64_t rotation_seed;    /* of quip's random transforms */
} qep_method_options;

typedef struct qep_column qep_column; /* quant's own: one column of a strip on its way */
typedef struct qep_gptq qep_gptq;     /* a strip on its way through the columns */
struct qep_gptq_block;

/* One method of quantization: everything the program knows of it outside of its kernels. Choices and checks of the configuration, --help,
 * reference.ini, statistics, plan and records are made from this. */
typedef struct qep_method {
    const char *name;    /* [quantization] method; modules.csv */
    const char *help;    /* a clause */
    const char *reads;   /* keys of [quantization] that it reads, separated by blanks */
    unsigned needs;      /* qep_need */
    qep_drive drive;
    unsigned bits;       /* bit b is set when codes of b bits are possible */
    unsigned clips;      /* bit per qep_clip */
    bool symmetric, asymmetric; /* grids */
    bool groups;         /* several scales in a row */
    bool damps_again;    /* its published code adds the damping to the shared H once more for each member of a group (without act_order) */
    /* Of methods that go through qep_gptq_*: */
    void (*column)(qep_column *c);  /* rounds a column and says what goes on to later ones; NULL: as GPTQ */
    double (*fading)(const qep_method_options *o, bool paper); /* f; NULL: 1 */
    int (*moves)(const qep_method_options *o, bool paper); /* matrices of C that it needs beside R; NULL: none */
    const char *moves_key; /* key of its own whose value of 0 means no such matrix; NULL: none has that meaning */
    bool (*pulls)(const qep_method_options *o, bool paper); /* all weights to come are drawn back in front of each step (qep_gptq_pull); NULL: never */
    void (*block)(qep_gptq *g, int64_t c0, int64_t n, const struct qep_gptq_block *b); /* then: the columns of a block, in place of `column` */
    const char *dense_only; /* why no packed format can hold the result; NULL: they can */
} qep_method;

extern const qep_method qep_method_none, qep_method_rtn, qep_method_gptq, qep_method_gptaq, qep_method_rescomp, qep_method_foem,
    qep_method_awq, qep_method_quip;

/* The table: i from 0; NULL behind the last. */
const qep_method *qep_method_at(int i);
const qep_method *qep_method_find(const char *name); /* NULL: there is none */
/* True when key is one of the words of m->reads. */
bool qep_method_reads(const qep_method *m, const char *key);
/* What it needs with these options; how many matrices of C. */
unsigned qep_method_needs(const qep_method *m, const qep_method_options *o);
int qep_method_moves(const qep_method *m, const qep_method_options *o, bool paper);

/* --- settings ---------------------------------------------------------------------------- */

/* Settings of one linear. */
typedef struct qep_qspec {
    const qep_method *method; /* from the table */
    int bits;             /* 2, 3, 4, 8 */
    int64_t group_size;   /* columns per group; -1: one group per row; divides the columns or is -1 */
    bool symmetric;       /* zero = 2^(bits-1), s = 2 max|w| / (2^bits - 1) (G-sym) */
    bool act_order;       /* columns in order of falling diag H */
    bool static_groups;   /* groups fixed on the original columns before the loop */
    qep_clip clip;
    int64_t block_size;   /* columns per lazy block, >= 1 */
    int zero_min;         /* smallest zero point that the output format can hold: 1 for gptq v1, else 0 */
    bool free_range;      /* asymmetric: the weights' own range, with or without 0 in it (A-asym, the grid of AWQ's code) */
    bool signed_grid;     /* symmetric: scale max|w| / (2^(bits-1) - 1) (Q-sym): the outermost code on the largest weight */
    int64_t clip_steps;   /* clip = mse: shrink 1 - i/clip_steps down to 0.2; 0: 100 */
    bool unit_grid;       /* the target is in code units already: scale 1, zero 0 */
    bool exact_scales;    /* scales stay f32 as in the published codes (compat = paper), no rounding to f16 */
    bool paper;           /* compat = paper: what the published codes do where it is not what their papers say */
    qep_method_options options;
} qep_qspec;

int64_t qep_n_groups(const qep_qspec *s, int64_t cols); /* G >= 1 */
bool qep_qspec_same(const qep_qspec *a, const qep_qspec *b);
/* Groups are formed in processing order: a channel's group is not its number / group_size (g_idx). */
bool qep_groups_follow_order(const qep_qspec *s);

/* --- grids ------------------------------------------------------------------------------- */

/* Scale and zero of n weights w (stride 1). Asymmetric: G-asym with 0 always in the range; scale is
 * rounded to f16 (qep_f16_scale) before anything is derived from it. weight: NULL or n non-negative importances (clip
 * = hessian). clip = mse: shrink p = 1 - i/100, i = 0..79, error sum |q - w|^2.4, strict best, p = 1 first; clip = hessian: p = 1, 0.96 .. 0.40,
 * asymmetric grids with the zero points z(p), z(p) - 1 and z(p) + 1 that exist, error sum weight * (q - w)^2 (weight NULL: as mse). All-zero
 * weights: scale of [-1, 1]. */
void qep_grid_find(const qep_qspec *s, const float *w, const float *weight, int64_t n, float *scale, int *zero);
/* clamp(rint(w / scale) + zero, 0, 2^bits - 1), half to even; the one rounding used everywhere. */
int qep_grid_code(int bits, float w, float scale, int zero);
/* scale * (code - zero), exact in f32 (11-bit scale times 9-bit integer). */
static inline float qep_grid_value(int code, float scale, int zero) { return scale * (float)(code - zero); }
/* Values [n, cols] of n rows: codes [n, cols], scales and zeros [n, groups], g_idx [cols] = group of each column. */
void qep_grid_values(int64_t n, int64_t cols, int64_t groups, const uint8_t *codes, const float *scales, const uint8_t *zeros,
                     const int32_t *g_idx, float *values);

/* --- one strip ----------------------------------------------------------------------------- */

/* Result of a strip of QEP_STRIP rows (rows beyond the matrix are padding), original column order. Caller owns arrays. */
typedef struct qep_qstrip {
    uint8_t *codes;   /* [QEP_STRIP, cols] */
    float *scales;    /* [QEP_STRIP, G], values that f16 holds exactly */
    uint8_t *zeros;   /* [QEP_STRIP, G] */
} qep_qstrip;

/* RTN: w [QEP_STRIP, cols] row-major f32. weight as in qep_grid_find per column or NULL. */
void qep_rtn_strip(const qep_qspec *s, const float *w, const float *weight, int64_t cols, qep_qstrip *out);

/* Column by column in R-form: H + mu I = R R^T, R upper, in processing order. GPTQ:
 *   w_j = W*_j + sum_{i<j} (W*_i - Q_i) R_ij / R_jj ,  Q_j = grid(w_j).
 * The other methods of this family differ in what goes on to later columns (their kernels: gptaq.c, rescomp.c, foem.c):
 *   w_j = W*_j + sum_{i<j} f^(j-1-i) (err_i R_ij + use_i S_ij) / R_jj,
 * err_i, use_i and the factor f are the method's, S = P R. This is their published U-form: with e_i U_ii = w_i - q'_i the weights after column i are
 * W - e_i U_i + use_i P_i, and U R = I (gptaq.c). With `paper`, whose codes take other weights beyond a block than inside it, use_i P_ij moves the target:
 *   w_j = T_j + A_j / R_jj,  T_j = W*_j + sum_{i<j} use_i P_ij,  A_j = sum_{i<j} err_i R_ij,  err_i from T_i.
 * Factor and S or P arrive in blocks of rows, so that they need not sit on one rank. One state per strip. A column's sums are chains of fused
 * multiply-adds in rising i, err_i R_ij before use_i S_ij, so that with f = 1 block_size does not change a bit. A dynamic group's grid
 * comes from its weights given all columns before it; with `paper` from those given the blocks before the one it starts in, as in the published codes
 * (block_size then is part of the method). */
/* target: [QEP_STRIP, cols] row-major in original order (copied). perm[j] = original column processed j-th, NULL: identity.
 * rdiag [cols]: R_jj in processing order (weights of the hessian clip, known before the loop).
 * dead [cols], original order, or NULL: columns whose weights become 0 behind the grids made here (those of whole rows: the published codes do it in that order).
 * The term that draws weights back to where they came from knows them still.
 * room: qep_gptq_bytes(s, cols) bytes of zeros from a cache line on, in which all of the state lies; borrowed. */
qep_gptq *qep_gptq_create(const qep_qspec *s, const float *target, int64_t cols, const int32_t *perm, const float *rdiag,
                          const uint8_t *dead, void *room);
int64_t qep_gptq_bytes(const qep_qspec *s, int64_t cols);
/* A step: as many whole blocks of block_size columns as 512 columns have, at least one (the number does not change a bit). How many steps; the
 * columns of one; and which rows of R it needs: [*row0, *row0 + *n_rows), at least those of its own columns, more when a dynamic group
 * reaches beyond them (its grid needs the conditional weights of all its columns). */
int64_t qep_gptq_n_steps(const qep_qspec *s, int64_t cols);
int64_t qep_gptq_step_cols(const qep_qspec *s, int64_t cols, int64_t step);
void qep_gptq_step_rows(const qep_qspec *s, int64_t cols, int64_t step, int64_t *row0, int64_t *n_rows);
/* What a step gets. Column c of r and p is column row0 + c of R and of S = P R (gptaq.c) or, in the published codes, of P, in processing order;
 * cols - row0 columns each. */
enum { QEP_MAX_MOVES = 2 };
typedef struct qep_gptq_block {
    const float *r;                 /* rows row0 .. of R as qep_gptq_step_rows says, [.., ldr] */
    int64_t ldr;
    const float *p[QEP_MAX_MOVES];  /* the step's own rows of the method's matrices (qep_method_moves of them), [.., ldp] */
    int64_t ldp;
    const float *packed;            /* made from these by qep_gptq_pack, for all strips */
} qep_gptq_block;
int qep_gptq_moves(const qep_qspec *s); /* matrices beside R */
int64_t qep_gptq_packed_bytes(const qep_qspec *s, int64_t cols);
/* The part'th of `parts` shares of `packed`, so that the ranks of a node can divide the work; all threads of the rank work on it. */
void qep_gptq_pack(const qep_qspec *s, int64_t cols, int64_t step, const qep_gptq_block *b, float *packed, int part, int parts);
/* All weights to come are drawn back by b (W - W*) (H_> + mu I)^-1 in front of each step (FOEM's published code, foem_published.c): before qep_gptq_step every
 * strip is shown R's rows from the step's first column on, in blocks of any height, twice: from the first to the last, then back, with `back`. r: rows
 * row0 .. row0 + n - 1 from column row0 on, [n, ldr] f64. */
bool qep_gptq_pulls(const qep_qspec *s);
void qep_gptq_pull(qep_gptq *g, bool back, int64_t row0, int64_t n, const double *r, int64_t ldr);
/* Steps in order 0, 1, ..., of all of a rank's strips, which have the same settings; all threads of the rank work on them. Bits do not depend on threads nor on
 * what lies beside a strip. */
void qep_gptq_step(qep_gptq *const *g, int64_t strips, int64_t step, const qep_gptq_block *b);
/* After the last step: result in original column order; g_idx[cols] (may be NULL) = group of each original column,
 * equal for all rows. *loss [QEP_STRIP] (may be NULL): sum_j (w_j - q_j)^2 R_jj^2, f64; for GPTQ the row's tr((Q-W*)(H+mu I)(Q-W*)^T). */
void qep_gptq_finish(const qep_gptq *g, qep_qstrip *out, int32_t *g_idx, double *loss);
/* Plain reference for tests: whole R [cols, cols] f64 row-major, f64 arithmetic, any number of rows, any group and block. */
void qep_gptq_ref(const qep_qspec *s, const double *target, int64_t rows, int64_t cols, const int32_t *perm,
                  const double *R, uint8_t *codes, float *scales, uint8_t *zeros, int32_t *g_idx);

/* --- AWQ (arXiv 2306.00978) ----------------------------------------------------- */

/* Candidates of the two searches: scales mean|x|^(k/20), k = 0 .. 19 (0: none); ranges (1 - i/20) max|w|, i = 0 .. 9 (0: all). */
enum { QEP_AWQ_RATIOS = 20, QEP_AWQ_CLIPS = 10 };
/* s_c = max(x_mean_c^(ratio/20), 1e-4) / sqrt(max s * min s). x_mean [cols] >= 0; scale [cols] > 0. */
void qep_awq_scales(const double *x_mean, int64_t cols, int ratio, float *scale);
float qep_awq_shrink(int candidate); /* 1 - candidate / 20 */
/* e[QEP_STRIP, n] = Qz(clamp(W diag(s), +-shrink max|W diag(s)|)) diag(1/s) - W on columns [c0, c0 + n), whole groups; Qz: rounding to nearest on a grid of its own
 * for each row and group, as the result will be stored. w [QEP_STRIP, cols]. */
void qep_awq_error(const qep_qspec *s, const float *w, int64_t cols, const float *scale, float shrink, int64_t c0, int64_t n, float *e);
/* sum[r * stride] += e_r[row0 .. row0 + rows) H' e_r^T for the QEP_STRIP rows of e [QEP_STRIP, n]; h: those rows of H', [rows, ldh] f32. */
void qep_quadratic_add(const float *e, int64_t n, const float *h, int64_t ldh, int64_t row0, int64_t rows, double *sum, int64_t stride);
/* limit[QEP_STRIP, G]: shrink max|w s| of the candidate with the smallest error, the widest in a tie; errors [QEP_AWQ_CLIPS, QEP_STRIP, G]. */
void qep_awq_limits(const qep_qspec *s, const float *w, int64_t cols, const float *scale, const double *errors, float *limit);
/* Codes of clamp(W diag(s), +-limit) rounded to nearest; limit [QEP_STRIP, G] or NULL. The result's value times 1/s_c stands for W. */
void qep_awq_strip(const qep_qspec *s, const float *w, int64_t cols, const float *scale, const float *limit, qep_qstrip *out);

/* --- incoherence (QuIP, arXiv 2307.13304, section 4) -------------------------------- */

/* Random orthogonal n x n matrix R = P (A kron B) P' from a seed: A [p, p] and B [n/p, n/p] Haar distributed, P and P' uniform permutations. The prime factors of n
 * in rising order go to p and n/p in turn, as in QuIP's code. Never formed: applying it costs n (p + n/p) products per column. Equal on all ranks. */
typedef struct qep_rotation qep_rotation;
qep_rotation *qep_rotation_create(int64_t n, uint64_t seed);
void qep_rotation_destroy(qep_rotation **r);
int64_t qep_rotation_bytes(int64_t n);         /* "quantize.rotation" */
int64_t qep_rotation_largest(int64_t n);       /* max(p, n / p): the side of the larger dense factor */
enum { QEP_ROTATION_MOST = 4096 };             /* larger ones take minutes to make and are refused before work starts */
/* x[n, QEP_STRIP] <- R x, or R^T x when transposed; scratch: the same size. Shapes depend on n only. */
void qep_rotation_apply(const qep_rotation *r, bool transposed, double *x, double *scratch);
/* D_c = (h_c / colsq_c)^(1/4), h_c = diag_c / max diag and colsq_c = sum_r W_rc^2 at least 1e-8 each (QuIP's rescaling). */
void qep_quip_rescale(const double *diag, const double *colsq, int64_t cols, double *D);
/* Weight -> code units, and back: clamp((w/s + 1) / 2 * maxq, 0, maxq); s (2 c / maxq - 1). s = 2.4 rms + 1e-16. n values in place.
 * paper: the value rounded to f16, which the published code does before it undoes the rotation. */
void qep_quip_to_codes(float *w, int64_t n, double s, int bits);
float qep_quip_value(int code, double s, int bits, bool paper);

/* --- polish: codes and scales on one objective -----------------------------------------------
 * J(Q) = tr((Q - W*) A (Q - W*)^T), A = H + mu I, columns in original order, q_rj = s_rg (c_rj - z_rg) with g = g_idx[j]. Rows are independent. Both
 * steps work on G = (Q - W*) A, half the gradient of J by Q, which the caller forms by a product (qep_polish_miss times A) and which
 * the sweep keeps up to date. A arrives in blocks of rows.
 *
 * f32 is enough for G: with A >= mu I an entry's rounding error is below 2^-24 sqrt(d) sqrt(A_ii A_jj) |Q - W*|, and A_ii / A_jj <= d / mu (relative
 * mu), so a move decided wrongly has a step within 1e-3 of a tie, where both codes are equally good. Sums over a row (J, M, its
 * solution) are f64. */

enum { QEP_POLISH_COLS = 64 }; /* columns of A's rows that one step takes at most */
/* One strip. All borrowed; codes and scales are changed in place, zeros stay. */
typedef struct qep_polish {
    const qep_qspec *spec;
    int64_t cols, groups;
    const int32_t *g_idx;  /* [cols] */
    qep_qstrip q;
    float *grad;           /* [QEP_STRIP, cols]: G */
} qep_polish;

/* miss[QEP_STRIP, cols] = Q - W*. */
void qep_polish_miss(const qep_polish *p, const float *target, float *miss);
/* J of each row [QEP_STRIP] = G (Q - W*)^T, for a G that is up to date. */
void qep_polish_objective(const qep_polish *p, const float *target, double *objective);
/* Columns c0 .. c0+n-1 of a coordinate-descent sweep, one after the other:
 *   c_j <- clamp(rint(c_j - G_j / (A_jj s_g)), 0, 2^bits - 1), the minimiser of J over the codes of entry j alone,  G <- G + (change of q_j) A_j.
 * J never grows. a: rows c0 .. of A [n, lda], all columns; n <= QEP_POLISH_COLS. Returns how many codes moved. */
int64_t qep_polish_sweep(const qep_polish *p, int64_t c0, int64_t n, const float *a, int64_t lda);
/* Least squares for the scales of fixed codes: with k_g = codes less zero, 0 outside group g, q = sum_g s_g k_g and
 * J is least where M (s' - s) = -v,  M_gh = k_g A k_h^T,  v_g = G k_g^T.
 * normal [QEP_STRIP, groups, groups] f64, zeros at first: M's lower triangle is collected while A's rows pass by (columns that share a group should be
 * neighbours: each run of one group is one product). scratch: [QEP_STRIP, cols]. */
void qep_polish_collect(const qep_polish *p, int64_t c0, int64_t n, const float *a, int64_t lda, float *scratch, double *normal);
/* Solves for the scales of every row, rounds them as they are stored, leaves those outside [0.2, 5] of the old one, and takes the row's new scales only
 * if its J falls. G is out of date for rows that changed; returns their number. */
int64_t qep_polish_scales(const qep_polish *p, const double *normal);

/* --- packing (formats.md 3.2): little-endian bit stream ---------------------------------------- */

int64_t qep_packed_words(int64_t n, int bits);                                   /* ceil(n * bits / 32) */
void qep_pack_bits(uint32_t *words, const uint8_t *codes, int64_t stride, int64_t n, int bits); /* codes[k * stride] */
void qep_unpack_bits(uint8_t *codes, int64_t stride, const uint32_t *words, int64_t n, int bits);

/* --- digest ----------------------------------------------------------------------------------- */

/* Hash pair of one row's codes, scales (as f16 bits) and zeros, keyed by linear and row number; the digest of a run is the sum
 * modulo 2^64 over all rows, so it does not depend on who owns which row. g_idx: group of each column. */
void qep_digest_row(uint64_t sum[2], int64_t linear, int64_t row, const uint8_t *codes, const float *scales,
                    const uint8_t *zeros, const int32_t *g_idx, int64_t cols, int64_t groups);

#endif
