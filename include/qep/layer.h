/* layer: one linear group from its statistics to codes, figures, output rows and the quantized stream's weights.
 * Rows of W are independent once the factor exists: strips of QEP_STRIP rows of all members, stacked, are dealt to the ranks as
 * contiguous runs; every rank reads, corrects, quantizes and writes its own strips. SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_LAYER_H
#define QEP_LAYER_H

#include "qep/export.h"
#include "qep/solve.h"

/* The weights are corrected in front of the quantizer. */
bool qep_layer_corrects(const qep_linear_config *s);
/* qep_need bits of the method and the correction together; H, C of them. */
unsigned qep_layer_needs(const qep_linear_config *s);
bool qep_layer_needs_h(const qep_linear_config *s);
bool qep_layer_needs_c(const qep_linear_config *s);
/* Nothing in the settings makes a difference: two such linears of a group are handled together. */
bool qep_layer_same(const qep_linear_config *a, const qep_qspec *x, const qep_linear_config *b, const qep_qspec *y);
bool qep_layer_needs_gamma(const qep_linear_config *s);
bool qep_layer_fits(const qep_linear_config *s); /* alpha = auto */
/* The published code writes corrected weights back into the model, in its type, before they are rounded. */
bool qep_layer_rounds(const qep_qspec *spec, qep_dtype published);
/* Translation of the configuration into the quantizer's settings; zero_min from qep_export_zero_min. */
qep_qspec qep_layer_spec(const qep_linear_config *s, int zero_min);

typedef struct qep_layer_member {
    int64_t index;               /* number of the linear in the export request and in the digest */
    const char *module;          /* borrowed: full name */
    const qep_st_tensor *weight; /* [rows, cols] */
    int64_t rows, cols;
    qep_linear_config cfg;       /* effective settings; method none: skipped */
    qep_qspec spec;
    bool keep_range;             /* awq: no search for a narrower range (query and key projections) */
} qep_layer_member;

/* What is recorded of a member (one line of modules.csv). Equal on all ranks. */
typedef struct qep_layer_record {
    double alpha, residual, correction_damping, damping; /* used; NAN where there is none */
    int attempts;                /* of the factor that needed most */
    bool fallback;               /* a ladder had to raise its damping */
    int64_t n_dead;              /* input channels without signal */
    /* per token, on the calibration and on the held-out sequences: J(W) - J(Q), J(round(W)) - J(Q) and J(W*) - J(Q), J(V) = |W X - V Xq|^2; NAN
     * without C */
    struct qep_layer_gap { double uncorrected, before, corrected; } gap, held_gap;
    double max_scale;
    int64_t n_cut;               /* scales that f16 cannot hold: cut to 65504 or raised to 2^-14 */
    double scale_ratio;          /* awq: exponent of the channel scales that was chosen, 0 .. 0.95; NAN: not scaled */
    double seconds;
} qep_layer_record;

/* Who takes the values of the quantized rows: the block's or the head's quantized weights. */
typedef struct qep_layer_sink {
    void *ctx;
    void (*put)(void *ctx, int member, int64_t row0, int64_t n, const float *values); /* local; several threads at once, disjoint rows */
    void (*share_all)(void *ctx, int member, const int64_t *begin, const int64_t *count);        /* collective; arrays [P] */
} qep_layer_sink;

/* AWQ divides the inputs of a group by a scale for each channel and multiplies its weights; somebody has to divide the inputs. */
typedef struct qep_layer_fold {
    void *ctx;
    const int32_t *least, *most; /* [cols]: scales are powers of two, with exponents in these bounds; NULL: any scale */
    /* The chosen scale [cols] goes into what feeds the group; on return it is what that, as stored, really divides by. Collective. NULL: the values
     * of the weights hold it (dense output). */
    qep_status (*apply_all)(void *ctx, float *scale);
    /* NULL, or who judges the scales by what comes out of the whole module, as the published code does. The members' rows with the weights of a candidate have been
     * put into the sink and shared; candidate < 0: with the target, whose output is what *error is the squared distance from. Equal on all ranks. Collective. */
    void (*judge_all)(void *ctx, int candidate, double *error);
} qep_layer_fold;

/* The result of a linear whose rows feed the next group. */
typedef struct qep_layer_kept qep_layer_kept;
int64_t qep_layer_kept_bytes(const qep_qspec *spec, int64_t rows, int64_t cols); /* "layer.kept", of a rank with so many of its rows */
void qep_layer_kept_free(qep_layer_kept **k);
/* Exponents e for which each row's scales / 2^e stay normal f16 numbers: [rows] each. Collective. */
void qep_layer_kept_bounds_all(const qep_layer_kept *k, qep_comm *c, int32_t *least, int32_t *most);
/* Scales of row r / divisor[r] (powers of two within the bounds), written again; the digest is corrected. *max_scale: largest of all ranks. Collective. */
QEP_MUST_CHECK qep_status qep_layer_kept_divide_all(qep_layer_kept *k, qep_comm *c, qep_export *output, const float *divisor, uint64_t digest[2], double *max_scale);

typedef struct qep_layer_job {
    qep_comm *comm;
    const qep_st_set *files;
    qep_export *output;
    qep_window *stream;          /* at least qep_layer_stream_bytes */
    qep_layer_sink sink;
    const double *means;         /* [cols] of qep_abs_means_all; with fold only, else NULL */
    qep_dmat *H, *C;             /* NULL when no member needs them. H: dead channels are given their diagonal; C may be overwritten */
    const qep_dmat *search;      /* awq: H of the inputs that its searches go by; NULL: H */
    const double *gamma;         /* my rows of Gamma (qep_stats) when the members, then one only, need it */
    const qep_stats *held;       /* the same sums over the held-out sequences; H NULL when there are none or no member needs C */
    const qep_layer_fold *fold;  /* awq: where scales of this group's input channels go; NULL: nowhere, there are none */
    int64_t keep;                /* index of the linear whose result is wanted in *kept, < 0: none */
    qep_layer_kept **kept;
    bool repair;                 /* run.on_failure = repair */
    bool keep_h;                 /* from the polishing to the figures H's rows are kept once per node (qep_dmat_keep_rows_all): "quantize.h" */
    double published_h;          /* the published codes' H over ours: 2 tokens / sequences (they divide 2 sum x x^T by the number of sequences) */
    qep_dtype published_type;    /* the type in which the published codes hold corrected weights (compat = paper): that of the products */
    uint64_t *digest;            /* [2], this rank's sums are added to */
    qep_meter *correct, *quantize, *write; /* added to */
} qep_layer_job;

/* All members have the same cols and share H and C. QEP_E_NUMERIC when a factor fails for good; I/O errors. Collective. */
QEP_MUST_CHECK qep_status qep_layer_quantize_all(const qep_layer_job *job, const qep_layer_member *members, int n, qep_layer_record *records);

/* Window size that a linear of `cols` columns needs. */
int64_t qep_layer_stream_bytes(const qep_qspec *spec, int64_t cols);
/* For the plan, which counts what passes by: floats from row to row of a step of the column loop with so many columns left; strips whose normal matrices
 * (refit) are collected in one pass over H; the settings are polished at all. */
int64_t qep_layer_row_stride(int64_t cols);
int64_t qep_layer_polish_batch(int64_t groups);
bool qep_layer_polishes(const qep_linear_config *cfg, const qep_qspec *spec);
/* Scratch of a rank that owns `strips` strips of a set, for the plan: by name of the allocation. */
typedef struct qep_layer_bytes {
    int64_t rows;          /* "layer.rows": weights, target, codes, scales, zeros */
    int64_t wc;            /* "layer.figures", with C: W C or Y, kept from the correction to the figures */
    int64_t figures;       /* "layer.figures", with C: while the figures are made */
    int64_t fit;           /* "layer.fit": while alpha = auto is fitted */
    int64_t writing;       /* "export.rows": at most, while rows are written */
    int64_t strips;        /* "quantize.strips": the state of the column-by-column methods while they run */
    int matrices;          /* "solve.p": d x d matrices besides H, C and the factor */
    int64_t polish;        /* "quantize.polish": at most, while codes and scales are polished */
    int64_t search;        /* "layer.search": AWQ's two searches */
    int64_t rotate;        /* "layer.rotate": QuIP's rows and columns on their way through the transforms */
    int64_t rotation;      /* "quantize.rotation": the transforms' factors */
} qep_layer_bytes;
/* The set's shape as the plan needs it: strips of this rank and rows of all ranks. */
typedef struct qep_layer_shape {
    int64_t strips, rows, cols;
    int ranks, threads;
    bool with_c;
} qep_layer_shape;
qep_layer_bytes qep_layer_plan(const qep_linear_config *cfg, const qep_qspec *spec, const qep_layer_shape *shape);

#endif
