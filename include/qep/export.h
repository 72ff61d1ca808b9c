/* export: from quantized linears (codes, scales, zeros, g_idx: the single truth) to the files of an output directory. Formats: gptq (v1), gptq_v2,
 * compressed-tensors, awq, gguf and dense; each is a pure re-layout. Names, shapes and offsets are fixed before the run; ranks write their rows in place into
 * NAME.partial files; publishing is a rename. formats.md 1.4, 3, 9. SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_EXPORT_H
#define QEP_EXPORT_H

#include "qep/config.h"
#include "qep/par.h"
#include "qep/quant.h"
#include "qep/safetensors.h"

/* What the writer has to know of each linear of the model, in model order. */
typedef struct qep_export_linear {
    char *module;                 /* "model.layers.0.self_attn.q_proj" */
    const qep_st_tensor *weight;  /* source tensor */
    const qep_st_tensor *bias;    /* or NULL */
    const qep_st_tensor *replaced[5]; /* of a packed source: the tensors that the output's take the place of; NULLs allowed */
    int64_t rows, cols;
    bool quantized;               /* false: copied as it is */
    qep_qspec spec;
} qep_export_linear;

typedef struct qep_export_request {
    const char *format;           /* "gptq" | "gptq_v2" | "compressed-tensors" | "awq" | "gguf" | "dense" */
    const char *source_dir;       /* model directory */
    const char *config_text;      /* its config.json */
    const qep_st_set *files;      /* [keep] */
    const qep_export_linear *linears; int64_t n_linears; /* [keep]; all linears in the digest's order (see qep_export_check_all), lm_head last when it is a candidate */
    bool tied;                    /* lm_head is the embedding: a quantized one is written on its own, and untied */
    int64_t n_heads, n_kv_heads;  /* for what a serving engine can split; 0: not known */
    const char *output_dir;
    int64_t shard_bytes;
    qep_dtype dense_dtype;        /* dtype of dense weights: the model's own (BF16, F16, F32) */
    const char *meta_json;        /* provenance object text for quantization_config.meta, or NULL */
    double damping;               /* for the config's damp_percent */
} qep_export_request;

typedef struct qep_export qep_export;

/* Checks what the format can hold (bits, shapes, group divides K, act_order, equal settings where engines fuse ...) and that some known engine loads it:
 * QEP_E_CONFIG naming module, reason and way out. Plans the layout. Touches no file. Local, same on all ranks. */
QEP_MUST_CHECK qep_status qep_export_plan(const qep_export_request *rq, qep_export **out);
/* Marks the files as those of one run (16 hexadecimal digits of its identity): only files with the same mark are taken up by a resumed run. Before open. */
void qep_export_set_stamp(qep_export *e, const char *stamp);
void qep_export_destroy(qep_export **e);
int64_t qep_export_disk_bytes(const qep_export *e);   /* weights, index, configuration; the side files (a few MiB) come on top */
const qep_st_layout *qep_export_layout(const qep_export *e);
/* Logs, before the work, which engines will load the output, which not and why, over how many ranks they can split it, and what becomes of lm_head. */
void qep_export_describe(const qep_export *e);
/* The table behind it, one line a row: format, bits, grid, group_size, act_order, shape, experts, overrides, engine; qep_free. */
char *qep_export_engines_text(void);
/* QEP_E_CONFIG with the names to choose from when there is no such format. */
QEP_MUST_CHECK qep_status qep_export_check_format(const char *name);
/* Zero points below this cannot be stored (1 for gptq v1 asymmetric). */
int qep_export_zero_min(const char *format);
/* bits per weight stored, over the quantized linears, scales and zeros included (g_idx not). */
double qep_export_bits_per_weight(const qep_export *e);

/* Directory checks before work: exists or can be made, writable, no weights of another model there unless overwrite or our own partial
 * files (resume). QEP_E_CONFIG / QEP_E_IO / QEP_E_RESOURCE (free space below what is needed, names both figures). Root looks, all agree. Creates the directory only when `create`.
 * overwrite is remembered for qep_export_publish_all, which then removes the weights of the former output. Collective. */
QEP_MUST_CHECK qep_status qep_export_check_dir_all(qep_comm *c, qep_export *e, bool overwrite, bool create);
/* Creates (fresh) or reuses (resume; QEP_E_CHECKPOINT if they do not match) the .partial files and opens them on every rank. Collective. */
QEP_MUST_CHECK qep_status qep_export_open_all(qep_comm *c, qep_export *e, bool resume);
/* Copies all tensors that are not quantized, split over ranks, with a buffer "export.copy". Collective. */
enum { QEP_EXPORT_COPY_BYTES = 8 << 20 };
QEP_MUST_CHECK qep_status qep_export_copy_all(qep_comm *c, qep_export *e);
/* Rows [row0, row0 + n) of linear number i: codes [n, cols], scales [n, G], zeros [n, G], in original column order, g_idx [cols]. row0 a multiple of 32, n too unless
 * the rows end there. Local. */
QEP_MUST_CHECK qep_status qep_export_put_rows(qep_export *e, int64_t i, int64_t row0, int64_t n, const uint8_t *codes, const float *scales,
                                              const uint8_t *zeros, const int32_t *g_idx);
/* Value that a reader of the file gets: scale * (code - zero), rounded to the dense dtype in dense output. values [n, cols]. Used for the quantized stream, so that what is evaluated is what is stored. */
void qep_export_values(const qep_export *e, int64_t i, int64_t n, const uint8_t *codes, const float *scales, const uint8_t *zeros, const int32_t *g_idx, float *values);
/* For methods whose codes, scales and zeros alone do not tell the values. values [n, cols] as a reader of the file gets them: rounded to the dense dtype in dense output. */
void qep_export_round(const qep_export *e, const float *from, int64_t n, float *values);
bool qep_export_is_packed(const qep_export *e); /* false: dense output */
/* Rows of a linear of dense output, by value. Local. */
QEP_MUST_CHECK qep_status qep_export_put_values(qep_export *e, int64_t i, int64_t row0, int64_t n, const float *values);
/* New elements [n] of a tensor of the source that is copied, in its own type; after qep_export_copy_all. Local, by one rank. */
QEP_MUST_CHECK qep_status qep_export_put_copied(qep_export *e, const qep_st_tensor *source, const float *values, int64_t n);
/* fsync of my shard files (before a checkpoint is sealed). Local. */
QEP_MUST_CHECK qep_status qep_export_sync(qep_export *e);
/* Writes config.json, quantize_config.json, index and side files (copied bytes) as .partial, syncs, then renames everything; old weight files that are not part of the new
 * output are removed last (overwrite). extra files of the program (log, csv ...) are left alone. Collective. */
QEP_MUST_CHECK qep_status qep_export_publish_all(qep_comm *c, qep_export *e);
/* Removes our .partial files (a run started anew). Root. */
QEP_MUST_CHECK qep_status qep_export_discard_all(qep_comm *c, qep_export *e);

/* --- reading back (--check DIR) ------------------------------------------------------------------------ */

/* Opens a finished output, unpacks every quantized tensor, recomputes the digest, checks shapes, config against tensors, g_idx, zeros, scales (finite, > 0),
 * and that all other floats are finite. digest[2] as qep_digest_row's sum; *n_linears: packed linears. Number of a linear in the digest: its place among the model's linears, quantized or
 * not, block by block in the order q k v o gate up down (q k v or gate up stacked in one matrix count once; experts one after the other, each gate up down),
 * lm_head after the last block. Dense output holds no codes: digest 0, *n_linears 0; so is the digest of a gguf output that keeps code - zero alone of some linear. Split over ranks. Collective. */
QEP_MUST_CHECK qep_status qep_export_check_all(qep_comm *c, const char *dir, uint64_t digest[2], int64_t *n_linears);

#endif
