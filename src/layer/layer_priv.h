/* One set: the members of a group that share their settings and are handled together.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_LAYER_PRIV_H
#define QEP_LAYER_PRIV_H

#include "qep/layer.h"

/* Strips that are being written at a time (more than 4 threads: 4 for each), and threads that read or write: bounds the scratch. */
enum { QEP_WRITE_STRIPS = 16, QEP_FILE_THREADS = 16 };

typedef struct qep_strip {
    int member;       /* index into the job's members */
    int64_t row0, n;  /* rows [row0, row0 + n) of the member, n <= QEP_STRIP */
} qep_strip;

typedef struct qep_set {
    const qep_layer_job *job;
    const qep_layer_member *members; /* all of the job */
    const bool *in;                  /* [n_members] member of this set */
    int n_members;
    const qep_layer_member *lead;    /* first member: its settings are those of the set */
    int64_t cols, groups;
    int64_t total_strips, total_rows;
    int64_t first, count;            /* my strips of the stacked ones */
    qep_strip *strips;               /* [count] */
    const uint8_t *dead;             /* [cols] or NULL */
    int64_t n_dead;
    float *w;                        /* [count * QEP_STRIP, cols]: rows as stored, padding rows 0 */
    float *target;                   /* the same, corrected */
    float *values;                   /* owned, [count * QEP_STRIP, cols]: what the codes stand for, when scales and zeros alone do not tell; NULL: they do */
    double scale_ratio;              /* exponent of the channel scales (AWQ); NAN: none */
    float *wc, *y;                   /* for the figures: W C, or Y = W C (H + lambda I)^-1 and not W C (figures.c); both NULL without C */
    double lambda;                   /* of y */
    uint8_t *codes, *zeros;          /* [count * QEP_STRIP, cols], [.., groups] */
    float *scales;                   /* [count * QEP_STRIP, groups] */
    int32_t *g_idx;                  /* [cols] */
    double damping, alpha, residual, correction_damping; /* used */
    int attempts;
    bool fallback;
} qep_set;

/* Which strips are mine, and memory for them. */
void qep_set_open(qep_set *s);
void qep_set_close(qep_set *s);
/* Strip number `i` of the stacked ones. */
qep_strip qep_set_strip(const qep_set *s, int64_t i);
/* Reads my rows. Local. */
QEP_MUST_CHECK qep_status qep_set_read(qep_set *s);
/* target from w: QEP's correction when the settings ask for it, else the weights. Collective. */
QEP_MUST_CHECK qep_status qep_set_correct_all(qep_set *s);
/* codes, scales, zeros, g_idx from target, by the method's driver. Collective. */
QEP_MUST_CHECK qep_status qep_set_quantize_all(qep_set *s);
/* Where the result of strip i belongs. */
qep_qstrip qep_set_result(const qep_set *s, int64_t i);
/* Driver of QEP_DRIVE_FACTOR; bytes of its window; its part of the plan for `strips` strips. */
QEP_MUST_CHECK qep_status qep_drive_factor_all(qep_set *s);
/* The loop itself, with the grids of q, on rows like the target's: columns in the order perm, factor of H; dead as in qep_gptq_create. */
QEP_MUST_CHECK qep_status qep_factor_loop_all(qep_set *s, const qep_qspec *q, float *rows, const qep_dmat *H, const int32_t *perm, const uint8_t *dead);
/* Drivers of QEP_DRIVE_SCALED and, for sets of one member, QEP_DRIVE_ROTATED. */
QEP_MUST_CHECK qep_status qep_drive_scaled_all(qep_set *s);
QEP_MUST_CHECK qep_status qep_drive_rotated_all(qep_set *s);
void qep_drive_scaled_plan(const qep_qspec *spec, const qep_layer_shape *shape, qep_layer_bytes *b);
void qep_drive_rotated_plan(const qep_qspec *spec, const qep_layer_shape *shape, qep_layer_bytes *b);
int64_t qep_drive_factor_window(const qep_qspec *spec, int64_t cols);
void qep_drive_factor_plan(const qep_qspec *spec, const qep_layer_shape *shape, qep_layer_bytes *b);
/* The same polished on the objective tr((Q - W*) (H + mu I) (Q - W*)^T), as refit and sweeps ask. Collective. */
void qep_set_polish_all(qep_set *s);
/* Bytes that takes at most. */
int64_t qep_set_polish_bytes(const qep_linear_config *cfg, const qep_qspec *spec, int64_t strips, int64_t cols, int threads);
/* alpha = auto: s->alpha, s->residual and s->correction_damping from the held-out sequences. Collective. */
QEP_MUST_CHECK qep_status qep_set_fit_all(qep_set *s);
/* records[]: gaps and max_scale of the set's members. Collective. */
void qep_set_figures_all(qep_set *s, qep_layer_record *records);
/* My rows into the output files, the digest and the sink; then shares every member's rows. Collective. */
QEP_MUST_CHECK qep_status qep_set_write_all(qep_set *s);

/* Rows of the members that have been put into the sink go to everybody. Collective. */
void qep_set_share_all(const qep_set *s);
/* A copy of my rows of a member's result. */
qep_layer_kept *qep_set_keep(const qep_set *s, int member);

/* Columns of dead channels of rows like the target's [count * QEP_STRIP, cols] become 0. */
void qep_set_clear_dead(const qep_set *s, float *rows);

static inline float *qep_set_row(const qep_set *s, float *rows, int64_t strip)
{
    return rows + strip * QEP_STRIP * s->cols;
}

#endif
