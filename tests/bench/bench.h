/* The benchmark: what its files share. Every part is timed on all ranks at once (barrier, run,
 * longest rank) and compared with a ceiling of this machine that was measured in the same run.
 * Speed is printed, never asserted.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_H
#define BENCH_H

#include "qep/layer.h"
#include "qep/model.h"

typedef struct bench_options {
    int64_t hidden, inter, heads, kv, vocab;
    int64_t tokens, sequences; /* of one sequence; of the whole job */
    int64_t bits, group, threads;
    int64_t samples;        /* repetitions of a part at most */
    bool f32, bf16;         /* compute types to time */
    const char *only;       /* parts whose name begins with this; NULL: all */
    const char *dir, *json; /* folder for temporary files; file of results */
    bool help;
} bench_options;

/* QEP_E_CONFIG names the option. */
QEP_MUST_CHECK qep_status bench_options_parse(int argc, char **argv, bench_options *o);
extern const char bench_usage[];
/* Group size for a linear of `cols` columns: --group where it divides them, else -1. */
int64_t bench_group_size(const bench_options *o, int64_t cols);

/* Ceilings: name, index of the arithmetic peak that belongs to it (itself: none). */
#define BENCH_FLOORS(X)                              \
    X(BENCH_FMA_F32, "fma f32", BENCH_FMA_F32)       \
    X(BENCH_FMA_F64, "fma f64", BENCH_FMA_F64)       \
    X(BENCH_FMA_BF16, "fma bf16", BENCH_FMA_BF16)    \
    X(BENCH_GEMM_F32, "gemm f32", BENCH_FMA_F32)     \
    X(BENCH_GEMM_F64, "gemm f64", BENCH_FMA_F64)     \
    X(BENCH_GEMM_BF16, "gemm bf16", BENCH_FMA_BF16)  \
    X(BENCH_MEMORY, "memory", BENCH_MEMORY)          \
    X(BENCH_WRITE, "file write", BENCH_WRITE)        \
    X(BENCH_SYNC, "write+fsync", BENCH_SYNC)         \
    X(BENCH_READ, "file read", BENCH_READ)
typedef enum bench_floor {
#define X(id, name, peak) id,
    BENCH_FLOORS(X)
#undef X
    BENCH_N_FLOORS
} bench_floor;

typedef struct bench {
    qep_comm *comm;
    bool root;
    bench_options opt;
    int threads;
    char *work_dir;                 /* made at the start, removed at the end */
    double ceiling[BENCH_N_FLOORS]; /* GFLOP/s or GB/s of the whole job; 0: not measurable */
    FILE *json;                     /* root */
    qep_model *model;               /* random, one block */
    int64_t n_seq;                  /* my sequences */
    int64_t total_tokens;           /* of all ranks */
    double last_s;                  /* median of the part timed last; NAN when it was not asked for */
} bench;

/* One row of the table. */
typedef struct bench_part bench_part;
struct bench_part {
    const char *name, *compute;
    double work; /* FLOP or bytes of all ranks together */
    bench_floor floor;
    /* prepare: before every repetition, not timed; NULL: nothing. Both collective. */
    qep_status (*prepare)(bench *b, void *ctx);
    qep_status (*run)(bench *b, void *ctx);
    void *ctx;
};

/* Measures all ceilings and prints the machine. Collective. */
QEP_MUST_CHECK qep_status bench_machine_all(bench *b);
const char *bench_floor_name(bench_floor f);
bool bench_floor_is_flop(bench_floor f);
bench_floor bench_floor_peak(bench_floor f);

/* Times a part (median), prints its row and its line of JSON. Collective. */
QEP_MUST_CHECK qep_status bench_time_all(bench *b, const bench_part *p);
/* The same; f32_work of p->work is f32 in any compute type (attention), and its floor is the
 * product in f32. */
QEP_MUST_CHECK qep_status bench_time_mixed_all(bench *b, const bench_part *p, double f32_work);
/* Is the part asked for (--only), or any part of a section, which begins the names of its parts? */
bool bench_wants(const bench *b, const char *name);
bool bench_wants_section(const bench *b, const char *section);
void bench_print_head(const bench *b);

/* Reproducible noise of the given standard deviation, near normal. Local. */
void bench_fill(float *x, int64_t n, double scale, uint64_t seed);
float *bench_noise(int64_t n, double scale, uint64_t seed); /* qep_free */

/* A linear group for the solver and the quantizers: gate_up (inputs: hidden) or down (inputs:
 * inter). */
typedef struct bench_group {
    const char *name;
    int64_t d, rows; /* input channels, stacked rows of all members */
    qep_qspec spec;
    float *fp, *q;               /* [n_seq * tokens, d]: inputs of both streams */
    int64_t total_strips, count; /* of all ranks, mine */
    float *w, *target;           /* [count * QEP_STRIP, d] */
    qep_window *stream;
    qep_dmat *H, *C;
    qep_dmat *Lr; /* factor for GPTQ; perm, rdiag: with it */
    qep_dmat *S;  /* for GPTAQ and its kin */
    int32_t *perm;
    float *rdiag;
} bench_group;
QEP_MUST_CHECK qep_status bench_group_open_all(bench *b, int g, bench_group *out);
void bench_group_close_all(bench_group *g);

/* The parts, file by file. Collective. */
QEP_MUST_CHECK qep_status bench_kernels_all(bench *b); /* forward: one stream's kernels */
QEP_MUST_CHECK qep_status bench_streams_all(bench *b); /* forward: groups in both streams, head */
QEP_MUST_CHECK qep_status bench_solve_all(bench *b,
                                          bench_group *g); /* statistics, factor, correction */
QEP_MUST_CHECK qep_status bench_quantize_all(bench *b, bench_group *g); /* grids, rtn, GPTQ */
QEP_MUST_CHECK qep_status bench_transforms_all(bench *b, bench_group *g); /* AWQ, QuIP */
QEP_MUST_CHECK qep_status bench_output_all(bench *b); /* rows into the output files */
QEP_MUST_CHECK qep_status bench_files_all(bench *b);  /* checkpoint, weights, embedding */
QEP_MUST_CHECK qep_status bench_text_all(bench *b);   /* tokenizer */

#endif
