/* The state of a run and its phases. Every phase is collective; its status is equal on all ranks.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_RUN_PRIV_H
#define QEP_RUN_PRIV_H

#include <string.h>

#include "qep/data.h"
#include "qep/eval.h"
#include "qep/layer.h"
#include "qep/store.h"
#include "qep/tasks.h"

/* --- command line (args.c) ----------------------------------------------------------- */

typedef enum qep_restart { QEP_RESTART_AUTO, QEP_RESTART_YES, QEP_RESTART_NO } qep_restart;
/* --ranks, --ranks-per-node, --network, --flops, --storage, --trace: another machine, for --dry-run. Numbers 0: not given. */
typedef struct qep_elsewhere {
    int ranks, per_node;
    double latency, bandwidth, flops[3], storage;
    const char *trace; /* directory for SimGrid's traces; NULL: none */
} qep_elsewhere;
/* (elsewhere.c) */
QEP_MUST_CHECK qep_status qep_elsewhere_option(qep_elsewhere *e, const char *option, const char *value);
bool qep_is_option(const char *arg, const char *name); /* arg is NAME or NAME=value */
bool qep_elsewhere_knows(const char *option);
QEP_MUST_CHECK qep_status qep_elsewhere_check(qep_elsewhere *e, bool dry_run);

typedef struct qep_args {
    const char *config;
    const char *sets[64];
    int n_sets;
    qep_restart restart;
    bool dry_run, version, help;
    const char *check, *report, *convert, *format, *output;
    qep_elsewhere elsewhere;
} qep_args;
QEP_MUST_CHECK qep_status qep_args_parse(int argc, char **argv, qep_args *out);
void qep_print_help(void);
void qep_print_version(void);

/* --- timers (timers.c) ---------------------------------------------------------------- */

typedef enum qep_phase {
    QEP_PHASE_OPEN, QEP_PHASE_LOAD, QEP_PHASE_FORWARD, QEP_PHASE_STATISTICS, QEP_PHASE_CORRECTION, QEP_PHASE_QUANTIZE,
    QEP_PHASE_WRITE, QEP_PHASE_CHECKPOINT, QEP_PHASE_EVALUATION, QEP_PHASE_PUBLISH, QEP_N_PHASES
} qep_phase;
const char *qep_phase_name(qep_phase p);
/* Between begin and end this rank is in the phase, and so are the parts that it times (qep_part_begin); then in the outer phase again, if there is one. */
typedef struct qep_timing {
    qep_meter begin;
    const char *outer;
} qep_timing;
struct qep_run;
qep_timing qep_phase_begin(qep_phase p);
void qep_phase_end(struct qep_run *r, qep_phase p, const qep_timing *t);
/* Seconds by part and of what rank 0 does alone, for summary.json. Collective. */
qep_json *qep_run_parts_json_all(const struct qep_run *r);
qep_json *qep_run_one_rank_json(void);

/* --- stop requests (stop.c) ------------------------------------------------------------ */

typedef struct qep_stop {
    double start_s, walltime_s;   /* monotonic start; 0: no limit */
    double longest_block_s, longest_save_s; /* so far; a save: of a checkpoint */
    char *stop_file;
} qep_stop;
typedef enum qep_request { QEP_GO_ON, QEP_CHECKPOINT_NOW, QEP_CHECKPOINT_AND_STOP, QEP_STOP_NOW } qep_request;
void qep_stop_install(void); /* signal handlers */
void qep_stop_remove(void);  /* back to the system's */
/* What the ranks agree to do. at_block_end: also looks at the STOP file and the wall time. Collective. */
qep_request qep_stop_poll_all(qep_comm *c, const qep_stop *s, bool at_block_end);
const char *qep_stop_reason(void); /* text for the log, of the last poll */

/* --- records --------------------------------------------------------------------------- */

/* |W X - V Xq|^2 / |W X|^2 for V = W, W rounded to nearest, the corrected weights before rounding, the result; NAN when not known. */
typedef struct qep_errors {
    double uncorrected, before, corrected, after;
} qep_errors;

typedef struct qep_record { /* one linear */
    bool done;
    qep_layer_record layer;
    qep_errors error, held;           /* on the calibration and on the held-out sequences */
    int64_t tokens;                   /* that the linear was quantized with */
    double borrowed;                  /* share of H that is the whole layer's, for an expert with few tokens; else 0 */
} qep_record;

/* --- the run ----------------------------------------------------------------------------- */

typedef struct qep_task_figures { /* one task */
    qep_task_answer *answers[2];  /* [n_choices], by stream; the second NULL without quantization */
} qep_task_figures;

typedef struct qep_norm_fit { /* of the final norm; index 0 before, 1 after */
    bool kept;
    double calibration[2], held[2];   /* mean KL(original || quantized) per token; held NAN without held-out sequences */
    int evaluations;                  /* 0: not fitted */
} qep_norm_fit;

typedef struct qep_run {
    qep_comm *comm;
    int ranks, per_node;            /* the job's; of a plan for another machine: its ranks, and how many share a node (0: as this job's do) */
    qep_args args;
    qep_config *cfg;
    qep_model *model;
    qep_tasks *tasks;               /* NULL: none */
    const char *tasks_rule;         /* in words, for log and report: whose, and how BOS comes in */
    qep_corpus *corpus;
    qep_compute compute;
    int threads;
    bool quantizes;                 /* some linear is quantized: there is a second stream and an output */
    bool keep_act;                  /* FFN activations are kept between gate_up and down */
    bool keep_h;                    /* H's rows are kept once per node while codes are polished, not streamed each time */
    bool apart;                     /* experts may be worked on by one rank each: see qep_run_experts_apart */
    qep_linear_config *linear_cfg;  /* [n_linears] effective settings */
    qep_export_linear *linears;     /* [n_linears]: block by block in role order, lm_head last when it is a candidate */
    int64_t n_linears;
    qep_export *output;             /* NULL when nothing is quantized */
    char *checkpoint;               /* path of the file */
    char *identity;                 /* text: what the result depends on */
    char stamp[QEP_ST_STAMP + 1];   /* its hash: in summary.json and in the output's files */
    double expected_s;              /* the plan's estimate */
    int64_t planned_peak;           /* bytes of this rank */

    /* my sequences: calibration, validation, evaluation. The first two kinds go through a block group by group, their activations are kept between groups;
     * evaluation sequences go through it at its end. */
    int64_t n_mine, n_calibration, n_grouped; /* n_grouped: calibration and validation */
    int64_t *seq_tokens, *seq_offset; /* [n_mine]; offset in tokens into the streams */
    float *x_fp, *x_q;              /* [my tokens, hidden] residual streams; x_q NULL without quantization */
    float *act_fp, *act_q;          /* [my calibration and validation tokens, act columns]: produced by groups 0 and 2 */
    float *in_fp, *in_q;            /* [max tokens, widest group]: one sequence's group input */
    float *one_fp, *one_q;          /* [max tokens, act columns]: one sequence's act (evaluation; recomputation) */
    qep_block *block;
    qep_work *work;
    qep_window *stream, *stream_alone; /* of the job; of this rank, with apart */
    qep_layer_kept *kept;           /* a result that the next group may still divide (fold.c), or NULL */

    /* progress, saved in checkpoints */
    int64_t next_block;
    uint64_t digest[2];             /* my rows' sums of this job; the checkpoint holds the total */
    uint64_t digest_base[2];        /* total of earlier jobs (on every rank) */
    qep_record *records;            /* [n_linears] */
    double *growth;                 /* [n_blocks][QEP_N_SEQ_KINDS][2]: sum |x - xq|^2, sum |x|^2 */
    qep_norm_fit norm_fit;          /* behind the last block */
    qep_eval_figures *figures;      /* [n_sets] after evaluation */
    qep_task_figures *task_figures; /* [tasks->n] after evaluation */
    qep_meter phase[QEP_N_PHASES];  /* mine, this job */
    double seconds_before;          /* wall seconds of earlier jobs */
    double start_s;
    double block_seconds;           /* of blocks done in this job, with their checkpoints */
    int64_t blocks_here;
    qep_stop stop;
    int lock_fd[2];                 /* of the output and of the checkpoint; 0: none */
} qep_run;

/* Reading configuration, model and tokens (open.c). Writes nothing. */
QEP_MUST_CHECK qep_status qep_run_open_all(qep_run *r);
void qep_run_close_all(qep_run *r);
/* Two jobs on one output or one checkpoint would destroy each other: the second is refused, QEP_E_CONFIG (lock.c). Held until the process ends; unlock takes
 * the files away. Root calls them. */
#define QEP_LOCK_NAME "qep_mpi.lock"
QEP_MUST_CHECK qep_status qep_run_lock(qep_run *r);
void qep_run_unlock(const qep_run *r);
int qep_run_threads(qep_comm *c, int64_t configured); /* threads.c */
/* The variables that text and --set name, as root has them, on every rank (environment.c). Collective. */
QEP_MUST_CHECK qep_status qep_run_share_environment_all(qep_comm *c, const char *text, const qep_args *args);
/* [evaluation] tasks (tasks.c): opens them with the model's tokenizer; takes the log-likelihoods out of my sequences' figures; their part of
 * summary.json, tasks.csv and lines of the log. */
QEP_MUST_CHECK qep_status qep_run_open_tasks_all(qep_run *r);
int64_t qep_run_first_predicted(const qep_run *r, int64_t i); /* of my sequence i */
void qep_run_score_tasks_all(qep_run *r, const qep_eval_figures *mine);
qep_json *qep_run_tasks_json(const qep_run *r);
char *qep_run_tasks_csv(const qep_run *r); /* qep_free */
void qep_run_log_tasks(const qep_run *r);
void qep_run_close_tasks(qep_run *r);
/* Linears, export plan (linears.c). */
QEP_MUST_CHECK qep_status qep_run_list_linears_all(qep_run *r);
/* Query and key projections: AWQ's code narrows no ranges there. */
bool qep_run_keeps_range(const qep_run *r, int64_t linear);
/* The linear's block, and its number *k there; -1 for lm_head. */
int64_t qep_run_block_of(const qep_run *r, int64_t linear, int *k);
int64_t qep_run_linear_index(const qep_run *r, int64_t block, int linear);
int qep_run_node_of(const qep_run *r, int rank); /* of 0 .. ranks - 1 */
int qep_run_n_nodes(const qep_run *r);
bool qep_run_leads_node(const qep_run *r, int rank); /* first rank of its node */
/* Memory, work and time (plan.c); logs it. QEP_E_RESOURCE when a node's memory cannot hold it. */
QEP_MUST_CHECK qep_status qep_run_plan_all(qep_run *r);
/* Streams and buffers; both streams = the embeddings of my sequences (streams.c). */
void qep_run_start_streams_all(qep_run *r);
QEP_MUST_CHECK qep_status qep_run_embed_all(qep_run *r);
/* One decoder block, all of it (block.c). QEP_E_STOPPED when asked to stop at once. */
QEP_MUST_CHECK qep_status qep_run_block_all(qep_run *r, int64_t b);
/* Columns per token of the activations kept between two groups, and of the widest for one sequence (streams.c). */
int64_t qep_run_kept_act(const qep_arch *a, bool keep_act);
int64_t qep_run_widest_act(const qep_arch *a);
int64_t qep_run_stream_bytes(const qep_run *r, bool keep_act); /* "solve.stream": sums of statistics, then matrices that pass by */
/* Groups 2 and 3 of a block with experts and both streams through them (experts.c). QEP_E_STOPPED as above. */
QEP_MUST_CHECK qep_status qep_run_experts_all(qep_run *r, int64_t b);
/* QEP_E_NUMERIC when a stream is not finite (finite.c); names stream, sequence, token and channel. Collective. */
QEP_MUST_CHECK qep_status qep_run_check_streams_all(const qep_run *r);
/* QEP_E_NUMERIC when an evaluation's sums, which are equal on all ranks, are not finite. Local. */
QEP_MUST_CHECK qep_status qep_run_check_figures(const qep_run *r);
/* One rank for each expert in a group of so many columns, instead of all ranks for one after the other: while its matrices are small, [solver]
 * grid leaves it open, and the plan finds room. */
bool qep_run_experts_apart(const qep_run *r, int64_t cols);
/* Experts of a batch in such a group: a whole number for each rank, or all; 1 when they are not apart. Their sums go round within so many bytes. */
int64_t qep_run_experts_batch(const qep_run *r, int64_t cols);
int64_t qep_run_experts_stream(const qep_run *r); /* "experts.stream": the window of a rank that works alone; 0: there is none */
#define QEP_EXPERTS_ROOM ((int64_t)256 << 20)
/* QEP_E_STOPPED when the job is asked to stop at once (block.c). Collective. */
QEP_MUST_CHECK qep_status qep_run_obey_all(qep_run *r, int64_t b);
/* The experts' outputs added to the streams of my sequence i (experts.c). */
void qep_run_experts_sequence(qep_run *r, int64_t i);
/* The ids of this run in [calibration] save_tokens, when that is set (save_tokens.c). */
QEP_MUST_CHECK qep_status qep_run_save_tokens_all(qep_run *r);
/* Final norm, lm_head, figures (head.c). */
QEP_MUST_CHECK qep_status qep_run_head_all(qep_run *r);
/* The final norm's weight (final_norm.c): is it fitted; fitted, put into the head and the output, r->norm_fit. scratch: qep_eval_slope_bytes. Collective. */
bool qep_run_fits_norm(const qep_run *r);
QEP_MUST_CHECK qep_status qep_run_fit_norm_all(qep_run *r, qep_head *head, float *scratch);
int64_t qep_run_norm_bytes(const qep_run *r, int64_t sequences); /* "run.norm" of a rank with so many calibration or held-out sequences, whichever are more */
double qep_run_norm_products(const qep_run *r);                  /* tokens times products with the head, of the whole run; 0: not fitted */
/* compat = paper. */
static inline bool qep_run_as_published(const qep_run *r)
{
    return strcmp(r->cfg->compat, "paper") == 0;
}
/* delta[n] = X - Xq of a group's inputs, in f32 (group.c). delta may be fp. */
void qep_run_difference(const qep_run *r, const float *fp, const float *q, int64_t n, float *delta);
/* The group's statistics and quantization for any taps (group.c). members: n indices into r->linears; held: the held-out sequences; full: the taps with X in place
 * of Xq, for what goes by the full-precision stream alone (NULL: nothing does). */
QEP_MUST_CHECK qep_status qep_run_group_all(qep_run *r, const int64_t *members, int n, const qep_tap_source *taps, const qep_tap_source *held,
                                              const qep_tap_source *full, const qep_layer_sink *sink);
/* The sums of the taps' sequences, by the plan. */
QEP_MUST_CHECK qep_status qep_run_statistics_all(qep_run *r, const qep_stats_plan *plan, const qep_tap_source *taps, qep_stats *sums);
/* What is summed over `tokens` tokens of d channels; and for a group, over the calibration or the held-out sequences. */
qep_stats_plan qep_run_stats_plan(const qep_run *r, int64_t d, int64_t tokens, bool want_c, bool keep_act);
qep_stats_plan qep_run_group_plan(const qep_run *r, const int64_t *members, int n, bool held, bool keep_act);
/* Which statistics the members need. */
void qep_run_needs(const qep_run *r, const int64_t *members, int n, bool *want_h, bool *want_c);
/* Members of a group with what is known of their inputs. */
typedef struct qep_run_members {
    const int64_t *index; /* [n] into r->linears */
    int n;
    const qep_stats *sums, *held; /* parts may be NULL */
    const qep_dmat *search; /* awq: H of what its searches go by; NULL: that of the sums */
    const double *means;  /* [cols] of qep_abs_means_all, unless qep_run_fold_kind is NONE */
    const qep_layer_sink *sink;
    bool alone;           /* this rank works on them by itself: the sums are over qep_comm_alone, and nothing is collective but the sink's share_all */
} qep_run_members;
/* Correction, quantization and output of members whose statistics are there. Fills their records. */
QEP_MUST_CHECK qep_status qep_run_members_all(qep_run *r, const qep_run_members *m);
/* Scales of a group's input channels (fold.c). */
typedef enum qep_fold_kind { QEP_FOLD_NONE, QEP_FOLD_VALUES, QEP_FOLD_NORM, QEP_FOLD_ROWS } qep_fold_kind;
typedef struct qep_run_fold {
    qep_run *r;
    int64_t linear;    /* first of the group */
    int32_t *bounds;   /* owned */
    qep_layer_fold hooks;
    int judged;        /* group whose module is judged (judge.c) */
    float *reference, *output; /* owned: what comes out of it, of my sequences and of one */
    bool last;         /* nobody wants r->kept after this group */
} qep_run_fold;
/* AWQ as published goes by the full-precision stream (compat = paper); this linear does. */
bool qep_run_awq_as_published(const qep_run *r, int64_t linear);
/* A group has such linears, and others or a correction that want H of the quantized stream: it has two (group.c). */
bool qep_run_searches_apart(const qep_run *r, const int64_t *members, int n);
/* Sets f's hook that judges scales for group g (0: attention, 2: MLP) of the block at hand; and frees what it has. Bytes for the plan: "run.judge". */
void qep_run_judge_open(qep_run_fold *f, int g);
void qep_run_judge_close(qep_run_fold *f);
int64_t qep_run_judge_bytes(const qep_run *r, int rank);
int64_t qep_run_judged_tokens(const qep_run *r); /* of all ranks */
/* *why: the reason for QEP_FOLD_NONE when there is an awq member, else NULL. */
qep_fold_kind qep_run_fold_kind(const qep_run *r, const int64_t *members, int n, const char **why);
/* Sets job's fold, keep and kept. Collective. */
void qep_run_fold_begin_all(qep_run *r, const int64_t *members, int n, qep_run_fold *f, qep_layer_job *job);
void qep_run_fold_end(qep_run_fold *f);
bool qep_run_judges(const qep_run *r, const int64_t *members, int n); /* AWQ's scales of this group are judged so */
int64_t qep_run_fold_bytes(const qep_run *r, const int64_t *members, int rank); /* "layer.kept" */
void qep_run_describe_rope(const qep_run *r);          /* logs the rotary embeddings, and at which lengths they are taken (rope.c) */
void qep_run_describe_folds(const qep_run *r);          /* logs what is not scaled, and why */
/* Columns per panel of the statistics: the sums do not depend on it, but all ranks must use the same. As many as fit into a budget, which is larger where
 * activations are recomputed, as that is done once per panel; on several nodes at least a few panels (group.c). */
int64_t qep_run_panel(const qep_run *r, int64_t d, bool want_c, bool keep_act);
/* How often the statistics ask for the inputs of a sequence, on the ranks that have most of them. */
double qep_run_tap_passes(const qep_run *r, const qep_stats_plan *p);
/* |W X - Q Xq|^2 and |W X|^2 of a member, summed over the sequences of a kind. */
typedef struct qep_error_sums {
    double diff, ref;
} qep_error_sums;
/* The errors of the members from their sums [n][2]: calibration, held out; and their log lines (records.c). */
void qep_run_record_errors_all(qep_run *r, const int64_t *members, int n, qep_error_sums (*sums)[2]);
/* Those sums from the figures of my sequences [n][n_mine]. Collective. */
void qep_run_error_sums_all(const qep_run *r, int n, const double *diff, const double *ref, qep_error_sums (*sums)[2]);
/* modules.csv; under the name modules.csv.partial until the result is published. */
QEP_MUST_CHECK qep_status qep_run_write_csv_all(qep_run *r, bool published);
/* Checkpoints (checkpoint.c). */
QEP_MUST_CHECK qep_status qep_run_save_all(qep_run *r);
/* Decides by --restart and what is on disk; sets next_block and streams. *resumed. QEP_E_CHECKPOINT when it does not match. */
QEP_MUST_CHECK qep_status qep_run_resume_all(qep_run *r, bool *resumed);
/* QEP_E_CHECKPOINT with --restart yes when there is no checkpoint. Collective. */
QEP_MUST_CHECK qep_status qep_run_demand_checkpoint_all(qep_run *r);
/* A generation of the checkpoint, or an unfinished one, is there; and it is this run's: by its identity or, when it is damaged, by its place in the
 * output directory. */
bool qep_run_has_checkpoint_all(qep_run *r);
bool qep_run_owns_checkpoint_all(qep_run *r);
bool qep_run_finished_all(qep_run *r); /* an output of this very run is already complete */
/* The run's tokens in a checkpoint: attribute "token ids", datasets "sequences" [n, 5] and "documents" [files, 1] (checkpoint_tokens.c).
 * check: QEP_E_CHECKPOINT when its sequences are not this run's; says when they come from other places. */
QEP_MUST_CHECK qep_status qep_run_put_tokens_all(qep_run *r, qep_store *s);
QEP_MUST_CHECK qep_status qep_run_check_tokens_all(qep_run *r, qep_store *s);

/* What the result depends on, and the comparison with a checkpoint's (identity.c): QEP_E_CHECKPOINT lists the differences. */
void qep_run_set_identity(qep_run *r); /* after the scan of the weights: r->identity, r->stamp */
QEP_MUST_CHECK qep_status qep_run_identity_compare(const qep_run *r, const char *saved);
/* Progress saved as JSON text (state.c). */
char *qep_run_state_text(const qep_run *r, const uint64_t digest[2]);
QEP_MUST_CHECK qep_status qep_run_state_parse(qep_run *r, const char *text);
void qep_run_total_digest_all(qep_run *r, uint64_t total[2]);
/* summary.json, qep_mpi.ini, report.html (report.c). */
QEP_MUST_CHECK qep_status qep_run_report_all(qep_run *r);
/* Planned against measured bytes: peaks of all ranks, and rank 0 by name (report_memory.c). Collective. */
qep_json *qep_run_memory_json_all(qep_run *r);
/* --report DIR: tables on standard output (show.c). Collective. */
QEP_MUST_CHECK qep_status qep_run_show_all(qep_comm *c, const char *dir);
/* Everything of --check but the evaluation; digest and packed linears of the directory (check.c). */
QEP_MUST_CHECK qep_status qep_run_verify_all(qep_comm *c, const char *dir, uint64_t digest[2], int64_t *n);
/* --convert DIR --format F [--output DIR2] (convert.c). */
QEP_MUST_CHECK qep_status qep_run_convert_all(qep_comm *c, const qep_args *args);
/* --check DIR (check.c). */
QEP_MUST_CHECK qep_status qep_run_check_all(qep_comm *c, const char *dir);
/* The whole of it (run.c). */
QEP_MUST_CHECK qep_status qep_run_all(qep_comm *c, const qep_args *args);

#endif
