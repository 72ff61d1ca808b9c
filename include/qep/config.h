/* config: the schema of keys, the parsed configuration, its dump. Everything a user can set is one row of one table (type, default, range,
 * help), from which parsing, validation, --help text, config/reference.ini and qep_mpi.ini are made. No MPI: rank 0 reads the
 * text, every rank parses the same bytes. SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_CONFIG_H
#define QEP_CONFIG_H

#include "qep/quant.h"

enum { QEP_ALPHA_AUTO = -1 };

/* Settings of a linear: [quantization] and [correction], overridable per module by [override NAME]. Text values are static names. */
typedef struct qep_linear_config {
    const char *method;       /* name of a method in the table of quant.h */
    int64_t bits;             /* 2, 3, 4, 8 */
    int64_t group_size;       /* -1 or >= 1 */
    bool symmetric, act_order, static_groups;
    const char *clip;         /* auto | none | mse | hessian */
    int64_t clip_steps;       /* of clip = mse */
    const char *grid;         /* zero | free | signed */
    int64_t refit, sweeps;    /* rounds of scale refit; sweeps over the codes in a round */
    double damping;           /* relative to mean diag H */
    int64_t block_size;
    qep_method_options options; /* keys of single methods */
    const char *correction;   /* qep | none */
    double alpha;             /* [0, 2], or QEP_ALPHA_AUTO: fitted */
    double correction_damping; /* lambda relative to mean diag H */
    double residual;          /* beta; of linears that add to the residual stream */
    char *exclude;            /* comma list of names of linears that are not corrected, e.g. "down_proj"; globs on the module name's tail */
} qep_linear_config;

typedef struct qep_override {
    char *name, *match;       /* glob on the module's full name (model.layers.3.self_attn.q_proj) */
    uint64_t set;             /* which keys the section sets (bit per row of the schema's overridable keys) */
    qep_linear_config values;
    int line;
} qep_override;

typedef struct qep_named_file { char *name, *path; } qep_named_file;

typedef struct qep_config {
    char *model_path;                       /* [model] path */
    char *output_path;                      /* [output] path */
    const char *format;                     /* gptq | dense */
    int64_t shard_size;                     /* bytes */
    bool overwrite;
    char **calibration_data; int64_t n_calibration_data; /* FILE or FILE*WEIGHT, resolved: see qep_data_weight */
    int64_t samples;
    char *field;                            /* of jsonl objects */
    const char *documents;                  /* of .txt files: file | blocks */
    const char *bos;                        /* auto | yes | no */
    int64_t length;                         /* 0: auto (2048 for one-dimensional sources, the rows of [samples, length] arrays) */
    const char *selection;                  /* random | random-new | sequential | packed */
    int64_t seed;
    char *save_tokens;                      /* HDF5 file for the ids of this run; NULL: none */
    int64_t validation;                     /* held-out sequences */
    qep_linear_config linear;               /* [quantization] + [correction] */
    const char *compat;                     /* none | paper */
    const char *final_norm;                 /* auto | yes | no */
    bool lm_head;
    char *blocks;                           /* all, or ranges: "0-9, 12" (qep_ranges_hold) */
    qep_override *overrides; int64_t n_overrides;
    qep_named_file *evaluation; int64_t n_evaluation; /* [evaluation] data = name:file, ... */
    const char *join;                       /* between the documents of an evaluation set: blank-line | newline | space | none */
    int64_t evaluation_length;              /* 0: as calibration */
    int64_t evaluation_tokens;              /* limit per set, 0: all */
    qep_named_file *tasks; int64_t n_tasks; /* [evaluation] tasks = name:file, ... */
    const char *tasks_bos;                  /* auto | yes | no */
    int64_t task_examples;                  /* of each task, 0: all */
    char *checkpoint_path;                  /* default <output>/checkpoint; the file is <path>.h5 */
    int64_t checkpoint_every, checkpoint_keep; /* every 0: never */
    const char *compute;                    /* bf16 | f32 */
    int64_t threads;                        /* 0: OMP_NUM_THREADS, else cores / ranks of the node */
    double walltime_s;                      /* 0: none */
    bool reproducible;
    const char *activations;                /* auto | keep | recompute */
    const char *on_failure;                 /* repair | abort */
    const char *log_level;
    int64_t grid;                           /* [solver] grid: 0 auto, else owners P of a Px1 grid */
    int64_t solver_block;
    char *source;                           /* name of the file, for messages */
} qep_config;

/* text: the file's text; source: its path (relative paths resolve against its directory; values from the command line against the working
 * directory). sets: n_sets strings "section.key=value" from the command line (win over the file). Unknown or duplicate keys and sections, bad values,
 * impossible combinations: QEP_E_CONFIG with source:line, key, and what is allowed. ${NAME} is taken from the environment (unset: error). */
QEP_MUST_CHECK qep_status qep_config_parse(const char *text, const char *source, const char *const *sets, int n_sets, qep_config **out);
void qep_config_destroy(qep_config **c);
/* Effective settings of a module (full name "model.layers.3.mlp.down_proj"): defaults, then every matching override in file order.
 * Pointers inside are borrowed from c. Correction is "none" when the name is excluded. */
void qep_config_linear(const qep_config *c, const char *module, qep_linear_config *out);
/* Once the names of the linears are known: every override matches one of them (a glob that matches none is a slip), and overlapping
 * overrides give no impossible combination. QEP_E_CONFIG. */
QEP_MUST_CHECK qep_status qep_config_check_modules(const qep_config *c, const char *const *modules, int64_t n);
/* Lines for a warning: keys of [quantization] with another value than the default that no method of [quantization] or of an override reads, and keys of
 * [correction] where correction is none everywhere, so that they change nothing. NULL when there are none. qep_free. */
char *qep_config_unread(const qep_config *c);
/* The complete effective configuration as INI text, usable as input again (absolute paths). qep_free. */
char *qep_config_dump(const qep_config *c);
/* Only the keys that the result depends on (not: threads, walltime, paths of output and checkpoint, log level, evaluation of ranks ...), one "section.key = value" a line,
 * sorted: part of a checkpoint's identity. qep_free. */
char *qep_config_identity(const qep_config *c);
/* Every key with type, default, range and help as a commented INI file: config/reference.ini. qep_free. */
char *qep_config_reference(void);
/* Lines for --help: section.key (default): help. qep_free. */
char *qep_config_help(void);
/* An item of calibration.data: its weight (1 when it has none, 0 when what follows the last * is no positive number), and the length of the file's name. */
double qep_data_weight(const char *item, size_t *name_length);
/* True when the glob (with * and ?) matches all of name. */
bool qep_glob(const char *pattern, const char *name);
/* n lies in one of the ranges; "all" holds everything. */
bool qep_ranges_hold(const char *ranges, int64_t n);
/* Largest number named; -1 for "all". */
int64_t qep_ranges_last(const char *ranges);
/* "H:MM:SS", "MM:SS" or seconds. QEP_E_CONFIG. */
QEP_MUST_CHECK qep_status qep_parse_duration(const char *text, double *seconds);

#endif
