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
#define QEP_INDEX_NAME "model.safetensors.index.json"

/* Where a quantized linear goes; the pointers that its format does not use are NULL. */
typedef struct qep_place {
    const qep_st_tensor *qweight, *qzeros, *scales, *g_idx; /* gptq */
    const qep_st_tensor *weight;                            /* dense */
} qep_place;

typedef struct qep_copied {
    const qep_st_tensor *src, *dst;
    bool to_f16; /* the bias of a packed linear; all others are copied as bytes */
} qep_copied;

struct qep_export {
    bool gptq; /* else dense */
    char *source_dir, *output_dir;
    const qep_st_set *files;
    const qep_export_linear *linears;
    int64_t n_linears;
    qep_dtype dense_dtype;
    qep_st_layout *layout;
    qep_place *places; /* [n_linears] */
    qep_copied *copies;
    int64_t n_copies;
    char *config_text, *quantize_text, *index_text; /* the last two may be NULL */
    bool overwrite; /* as qep_export_check_dir_all was told */
    qep_st_writer *writer; /* NULL: not open */
};

/* --- names.c ---------------------------------------------------------------------------- */

bool qep_ends_with(const char *s, const char *tail);
/* name == module + suffix */
bool qep_is_part(const char *name, const char *module, const char *suffix);
/* Tensor `module + suffix` of the planned layout, of an open set; NULL when absent. */
const qep_st_tensor *qep_planned_part(const qep_st_layout *l, const char *module,
                                      const char *suffix);
const qep_st_tensor *qep_stored_part(const qep_st_set *s, const char *module, const char *suffix);
/* The seven linears of a block, in the order in which linears are numbered. */
enum { QEP_BLOCK_LINEARS = 7 };
extern const char *const qep_block_linears[QEP_BLOCK_LINEARS];

/* --- rules.c, engines.c ------------------------------------------------------------------- */

/* Can the format hold what is asked for? QEP_E_CONFIG names module, reason and way out. */
qep_status qep_export_rules(const qep_export_request *rq);
/* Warns which engines will not load the output. */
void qep_export_warn_engines(const qep_export_request *rq);

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
qep_settings qep_settings_common(const qep_export_linear *l, int64_t n);

/* --- config_json.c ------------------------------------------------------------------------- */

/* Makes config_text and quantize_text of e. QEP_E_INPUT when a given text is not a JSON object. */
qep_status qep_export_make_config(const qep_export_request *rq, qep_export *e);

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

/* --- aside.c: the former output while a new one is published --------------------------------- */

/* Everything that the new output replaces or makes obsolete: NAME -> NAME.old. */
qep_status qep_set_aside(const qep_export *e, const qep_side *side);
/* NAME.old -> NAME: publishing failed, or was cut short and another run begins. */
qep_status qep_put_back_old(const qep_export *e);
/* The new output is complete. */
qep_status qep_remove_old(const qep_export *e);

/* --- stored.c, readback.c --------------------------------------------------------------------- */

typedef struct qep_stored_config {
    char *path;
    qep_json *root;
    const qep_json *quantization; /* NULL: dense */
    const qep_json *dynamic;      /* NULL: none */
    qep_settings base;
    bool lm_head, tied;
    int64_t n_blocks;
} qep_stored_config;

/* config.json of a finished output from its text. QEP_E_INPUT. */
qep_status qep_stored_parse(const char *path, const char *text, int64_t bytes,
                            qep_stored_config *out);
void qep_stored_free(qep_stored_config *c);
/* Settings of one module, its "dynamic" entry included; *quantized false for "-:" entries. */
qep_status qep_stored_settings(const qep_stored_config *c, const char *module, qep_settings *s,
                               bool *quantized);
/* Checks one packed linear; adds the digest of rows [part of parts) to digest. Local. */
qep_status qep_stored_linear(const qep_st_set *files, const char *module, const qep_settings *s,
                             int64_t linear, int part, int parts, uint64_t digest[2]);

#endif
