/* export, inside: the plan of an output and what its parts share.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_EXPORT_PRIV_H
#define QEP_EXPORT_PRIV_H

#include "qep/export.h"
#include "qep/json.h"

#define QEP_PARTIAL ".partial"
#define QEP_OLD ".old" /* the former output while a new one is published */
#define QEP_CONFIG_NAME "config.json"
#define QEP_QUANTIZE_NAME "quantize_config.json"
#define QEP_SUMS_NAME "qep_mpi.json" /* checksums of all tensors and small files */
#define QEP_INDEX_NAME "model.safetensors.index.json"

/* A tensor that stands in a file for a quantized linear. */
enum { QEP_MAX_PARTS = 4 };
typedef struct qep_part {
    const char *suffix; /* module + suffix is its name */
    qep_dtype dtype;
    int rank;
    int64_t shape[3];
    bool beside; /* says where things are, and is not counted among the bits of the weights */
    bool shared; /* with an earlier linear, which has planned it */
} qep_part;

/* Where the parts of a quantized linear go, in the order in which its format lists them. */
typedef struct qep_place {
    const qep_st_tensor *part[QEP_MAX_PARTS];
} qep_place;

/* Rows [row0, row0 + n) of linear i on their way into the files. */
typedef struct qep_rows {
    qep_export *e;
    const qep_export_linear *l;
    int64_t i, row0, n, groups;
    const uint8_t *codes;  /* [n, cols] */
    const float *scales;   /* [n, groups] */
    const uint8_t *zeros;  /* [n, groups] */
    const int32_t *g_idx;  /* [cols] */
} qep_rows;

typedef struct qep_copied {
    const qep_st_tensor *src, *dst;
    int64_t at;      /* number of dst in the layout */
    qep_dtype dtype; /* of dst; another one than of src: converted */
    int64_t heads;   /* > 0: rows in the order of qep_st_interleaved */
    float more;      /* added to the values */
} qep_copied;

/* One output format: a file format_*.c and a row of the table in formats.c. */
typedef struct qep_format {
    const char *name;
    bool packed;   /* holds codes; else their values in a float type */
    bool f16_bias; /* biases of quantized linears become F16; else they stay as they are */
    bool fuses;    /* read by engines that run q k v and gate up as one matrix each */
    bool stacks;   /* has all experts of a layer in one tensor for each of their parts */
    int zero_min;  /* smallest zero point that it can hold */
    /* Can it hold this linear? QEP_E_CONFIG says why not. NULL: any. */
    qep_status (*check)(const qep_export_request *rq, const qep_export_linear *l);
    /* The tensors of a linear; their number. */
    int (*parts)(const qep_export *e, const qep_export_linear *l, qep_part *out);
    qep_status (*put)(const qep_rows *r);
    /* quantization_config; NULL: the format has none. */
    qep_json *(*config)(const qep_export_request *rq);
    bool config_alone; /* the same object goes to quantize_config.json too, for older loaders */
    bool has_meta;     /* and its readers let us add an object "meta" */
    /* A container of its own; all NULL: safetensors under the source's names. */
    qep_status (*begin)(qep_export *e, const qep_json *config); /* before the tensors are planned */
    qep_status (*copied)(qep_export *e, const qep_st_tensor *src, char **name, qep_copied *c);
    char *(*name_of)(const qep_export *e, const char *name);    /* of a part; qep_free */
    qep_status (*finish)(qep_export *e, const qep_export_request *rq);
    /* values [n, cols] become what the file holds of them. */
    void (*values)(const qep_export_linear *l, int64_t n, float *values);
} qep_format;

struct qep_export {
    const qep_format *format;
    char *source_dir, *output_dir;
    const qep_st_set *files;
    const qep_export_linear *linears;
    int64_t n_linears, n_heads, n_kv_heads;
    bool tied, head_untied, head_quantized;
    const struct qep_gguf_arch *arch; /* gguf: the family */
    qep_json *config;                 /* gguf: config.json of the source */
    float *extra;   /* data of the layout's first tensor, which has no source; NULL: none */
    double worst;   /* largest difference of a value that is not held exactly */
    qep_dtype dense_dtype;
    qep_st_layout *layout;
    qep_place *places; /* [n_linears] */
    qep_copied *copies;
    int64_t n_copies;
    char *config_text, *quantize_text, *index_text; /* all but the first may be NULL */
    qep_json *sums; /* what qep_mpi.json will hold; the small files come in when they have been copied. Root only */
    bool overwrite; /* as qep_export_check_dir_all was told */
    qep_st_writer *writer; /* NULL: not open */
};

/* --- names.c ---------------------------------------------------------------------------- */

bool qep_ends_with(const char *s, const char *tail);
/* name == module + suffix */
bool qep_is_part(const char *name, const char *module, const char *suffix);
/* Length of "PARENT.experts" of a linear of an expert; 0: it is none. */
size_t qep_mixture_length(const char *module);
/* vLLM asks for the settings of linears that it runs as one under the name of the whole: "PARENT.qkv_proj" for "PARENT.q_proj", gate_up_proj for gate_proj, "PARENT.experts" for
 * the first part of the first expert (get_dynamic_override and is_layer_skipped of its loaders). NULL: for any other module. qep_free. */
char *qep_fused_name(const char *module);
/* Tensor `module + suffix` of the planned layout; NULL when absent. */
const qep_st_tensor *qep_planned_part(const qep_st_layout *l, const char *module,
                                      const char *suffix);

/* --- modules.c: the linears of a finished output ---------------------------------------------- */

typedef struct qep_modules {
    char **names; /* in the order in which linears are numbered; the last is lm_head, whether it is quantized or not */
    int64_t n, room;
} qep_modules;

void qep_modules_list(const qep_st_set *files, int64_t n_blocks, qep_modules *m);
void qep_modules_free(qep_modules *m);

/* --- formats.c, format_*.c ------------------------------------------------------------------ */

extern const qep_format qep_format_gptq, qep_format_gptq_v2, qep_format_ct, qep_format_awq,
    qep_format_dense, qep_format_gguf;
/* Rows [row0, row0 + n) of linear i of dense output, by value (format_dense.c). */
qep_status qep_dense_put(qep_export *e, int64_t i, int64_t row0, int64_t n, const float *values);
/* The format of that name. QEP_E_CONFIG lists those that there are. */
qep_status qep_format_find(const char *name, const qep_format **out);

/* --- pack_rows.c: what packed formats share ------------------------------------------------- */

/* The scales as F16, by row [n, G] or by group [G, n]. QEP_E_NUMERIC: not a positive F16. */
qep_status qep_rows_scales(const qep_rows *r, bool by_group, uint16_t *out);
/* The same by group, into columns [row0, row0 + n) of that part of the linear, F16 [G, rows]. */
qep_status qep_rows_put_scales(const qep_rows *r, int part);
/* The zero points less `minus`, by row. QEP_E_INTERNAL: not a number of the format's range. */
qep_status qep_rows_zeros(const qep_rows *r, int minus, uint8_t *out);
/* The configuration was written down before the run: what it says of g_idx must hold. */
qep_status qep_rows_check_g_idx(const qep_rows *r);

/* --- rules.c, engines.c ------------------------------------------------------------------- */

/* Can the format hold what is asked for? QEP_E_CONFIG names module, reason and way out. */
qep_status qep_export_rules(const qep_export_request *rq, const qep_format *f);
/* Some engine loads this linear in the format. */
bool qep_engines_take(const char *format, const qep_export_linear *l);
/* "it can be stored as ...": the formats and engines for the linear's settings. text. */
const char *qep_engines_instead(const qep_export_linear *l, char *text, size_t cap);
/* Logs which engines load the output, and which do not and why. */
void qep_engines_describe(const qep_export *e);

/* --- serving.c ----------------------------------------------------------------------------- */

/* A serving engine can split the output over so many ranks; else why says what is against it. */
bool qep_serving_fits(const qep_export *e, int64_t ranks, char *why, size_t cap);
void qep_serving_describe(const qep_export *e);

/* --- settings.c: what a gptq configuration says of a module ------------------------------- */

typedef struct qep_settings {
    int64_t bits, group_size; /* -1: one group per row */
    bool sym, desc_act;
} qep_settings;

qep_settings qep_settings_of(const qep_export_linear *l);
/* Columns of a group; group sizes -1 and >= cols mean the same. */
int64_t qep_settings_width(const qep_settings *s, int64_t cols);
/* A linear of `cols` columns is stored in the same way under both. */
bool qep_settings_same(const qep_settings *a, const qep_settings *b, int64_t cols);
/* The settings that most of the quantized linears have (the first of them in a tie). */
/* The quantized linears' tensors, by address (owners.c): weight, bias, and what stands for them in a packed source. */
typedef struct qep_owner {
    const qep_st_tensor *tensor;
    int64_t linear;
    bool is_bias;
} qep_owner;
typedef struct qep_owners {
    qep_owner *at; /* owned */
    int64_t n;
} qep_owners;
void qep_owners_list(const qep_export *e, qep_owners *o);
void qep_owners_free(qep_owners *o);
const qep_owner *qep_owner_of(const qep_owners *o, const qep_st_tensor *t); /* NULL: the tensor is nobody's */

qep_settings qep_settings_common(const qep_export_linear *l, int64_t n);
/* Adds bits, group_size, sym, desc_act, lm_head and dynamic (what differs, by module) to an object. */
void qep_settings_put(const qep_export_request *rq, qep_json *q);

/* --- config_json.c ------------------------------------------------------------------------- */

bool qep_head_quantized(const qep_export_request *rq);
/* Names of all modules with a weight matrix that stays as it is, lm_head last; embeddings not. */
qep_json *qep_unquantized_modules(const qep_export_request *rq);
/* Makes config_text and quantize_text of e. QEP_E_INPUT when a given text is not a JSON object. */
qep_status qep_export_make_config(const qep_export_request *rq, qep_export *e);

/* --- sums.c: checksums of all tensors, and the list of all ------------------------------------ */

enum {
    QEP_SUM_TEXT = 33,      /* bytes of a checksum as text */
    QEP_SUM_CHUNK = 1 << 20 /* bytes that are hashed at a time */
};
void qep_sums_text(const uint64_t sum[2], char text[QEP_SUM_TEXT]);
/* Of a chunk of n bytes, the first of them number `at` of what is summed. */
void qep_sums_hash(const char *chunk, int64_t n, int64_t at, uint64_t hash[2]);
/* Reads what is written and makes e->sums. No writer is open on any rank. Collective. */
qep_status qep_sums_make_all(qep_comm *c, qep_export *e);
/* Compares the tensors of a finished output, as they are stored, and its small files with its qep_mpi.json. QEP_E_INPUT names what differs. *found false: there
 * is no such list. Collective. */
qep_status qep_sums_check_all(qep_comm *c, const char *dir, qep_st_set *stored, bool *found);

/* --- shards.c: files under their planned and their final names ------------------------------ */

/* OUTPUT/name + suffix; qep_free. */
char *qep_output_path(const qep_export *e, const char *name, const char *suffix);
/* Shard i exists under its final name with exactly the planned tensors and this run's stamp. */
bool qep_shard_is_final(const qep_export *e, int i);
/* A publishing was cut short: config.json.partial, the last file to be renamed, is there. */
bool qep_publish_was_cut(const qep_export *e);
/* One file of the output, name.partial -> name, or back. Fault site "export.rename". */
qep_status qep_rename_final(const qep_export *e, const char *name);
qep_status qep_rename_file(const char *from, const char *to);
/* NAME is removed when NAME.partial is gone: publishing has renamed it. */
qep_status qep_remove_published(const qep_export *e, const char *name);
/* Shards that were renamed before a publishing was cut short get their .partial name back. */
qep_status qep_unpublish(const qep_export *e);

/* --- side.c: tokenizer and other small files of the source ----------------------------------- */

typedef struct qep_side {
    char **names; /* sorted */
    int64_t n, bytes;
} qep_side;

qep_status qep_side_list(const qep_export *e, qep_side *out);
void qep_side_free(qep_side *s);
/* SOURCE/name -> OUTPUT/name.partial, synced. Fault site "export.side". */
qep_status qep_side_copy(const qep_export *e, const char *name);

/* --- side_sums.c: checksums of the small files ------------------------------------------------ */

/* files["NAME"] = checksum of each OUTPUT/NAME.partial. */
qep_status qep_side_sums(const qep_export *e, const qep_side *side, qep_json *files);
/* Compares those in dir; files: NULL in lists of earlier versions; sums: where the list is. QEP_E_INPUT names the one that is missing or differs. */
qep_status qep_side_sums_check(const char *dir, const qep_json *files, const char *sums);

/* --- aside.c: the former output while a new one is published --------------------------------- */

/* Everything that the new output replaces or makes obsolete: NAME -> NAME.old. */
qep_status qep_set_aside(const qep_export *e, const qep_side *side);
/* NAME.old -> NAME: publishing failed, or was cut short and another run begins. */
qep_status qep_put_back_old(const qep_export *e);
/* The new output is complete. */
qep_status qep_remove_old(const qep_export *e);

#endif
