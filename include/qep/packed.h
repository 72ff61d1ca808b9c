/* packed: the quantized linears of a finished model directory, read back into the one object that all formats are re-layouts of (codes, scales,
 * zeros, g_idx; formats.md 0) and to values. What is packed how is said by config.json's quantization_config. Formats: gptq (v1 and v2),
 * compressed-tensors (pack-quantized), awq (GEMM), gguf (our own files). No
 * MPI: every rank may open the same directory. SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_PACKED_H
#define QEP_PACKED_H

#include "qep/json.h"
#include "qep/quant.h"
#include "qep/safetensors.h"

typedef struct qep_packed_linear {
    char *module;        /* "model.layers.0.self_attn.q_proj" */
    int64_t rows, cols;  /* of the weight */
    int64_t groups;      /* scales per row */
    int bits;            /* of a code */
    bool symmetric;      /* all zeros are 2^(bits - 1) */
    bool any_order;      /* g_idx may be other than column / (cols / groups) */
    bool differences;    /* gguf: the file keeps code - zero alone; codes and zeros have another zero point than those that were chosen */
    bool rounded;        /* gguf: not even that; the values were rounded to other codes and scales */
    /* where it is stored; NULL: the format has no such tensor */
    const qep_st_tensor *codes_at, *scales_at, *zeros_at, *groups_at, *shape_at;
} qep_packed_linear;

typedef struct qep_packed qep_packed;

/* All packed linears among `files`, described by `config` (config.json as read from the file `source`): their tensors are there, with shapes and dtypes that fit,
 * and the configuration agrees that they are quantized. *out NULL and QEP_OK when there is no quantization_config: nothing is packed. All functions
 * below take NULL as a directory without packed linears. QEP_E_INPUT names file, key or module; another program's format is refused by name. Local. */
QEP_MUST_CHECK qep_status qep_packed_open(const qep_json *config, const char *source, const qep_st_set *files /* [keep] */, qep_packed **out);
/* All weight files of a model directory, safetensors or one GGUF output, and the packed linears among them. *files is set whenever they could be opened. */
QEP_MUST_CHECK qep_status qep_packed_open_dir(const char *dir, const qep_json *config, const char *source, qep_st_set **files, qep_packed **out);
void qep_packed_close(qep_packed **p);
const char *qep_packed_format(const qep_packed *p);                    /* "gptq", "gptq_v2", "compressed-tensors", "awq", "gguf"; "" for NULL */
int64_t qep_packed_count(const qep_packed *p);
const qep_packed_linear *qep_packed_at(const qep_packed *p, int64_t i); /* in order of their names */
const qep_packed_linear *qep_packed_find(const qep_packed *p, const char *module); /* NULL: not packed */
/* Does the configuration say that this linear is quantized? (Of linears that are there, qep_packed_open has checked it.) QEP_E_INPUT: a pattern of the
 * configuration is too much work. */
QEP_MUST_CHECK qep_status qep_packed_expects(const qep_packed *p, const char *module, bool *yes);

/* Rows [row0, row0 + n), any range inside the linear: codes [n, cols], scales [n, groups], zeros [n, groups], columns in original order. Scales that are not
 * finite and positive and zeros outside of the codes' range are QEP_E_INPUT. Local, scratch "packed.rows". */
QEP_MUST_CHECK qep_status qep_packed_read(const qep_packed *p, const qep_packed_linear *l, int64_t row0, int64_t n,
                                          uint8_t *codes, float *scales, uint8_t *zeros);
/* g_idx [cols]: group of each column. QEP_E_INPUT for a group that does not exist or an order that the configuration does not allow. Local. */
QEP_MUST_CHECK qep_status qep_packed_groups(const qep_packed *p, const qep_packed_linear *l, int32_t *g_idx);
/* The object of n rows of a linear. */
typedef struct qep_packed_rows {
    uint8_t *codes, *zeros; /* [n, cols], [n, groups] */
    float *scales;          /* [n, groups] */
    int32_t *g_idx;         /* [cols] */
} qep_packed_rows;

/* What is done with rows [row0, row0 + n), which are there until it returns. */
typedef qep_status (*qep_packed_rows_fn)(void *ctx, const qep_packed_linear *l, int64_t row0, int64_t n, const qep_packed_rows *rows);
/* qep_packed_groups, also for n = 0, then fn for rows [row0, row0 + n) as qep_packed_read gives them, up to 256 at a time, until one fails. Local, scratch "packed.rows". */
QEP_MUST_CHECK qep_status qep_packed_each(const qep_packed *p, const qep_packed_linear *l, int64_t row0, int64_t n, qep_packed_rows_fn fn, void *ctx);
/* values [n, cols] of rows [row0, row0 + n): scale * (code - zero), the same bits as qep_export_values gives the quantized stream. Local, scratch "packed.rows". */
QEP_MUST_CHECK qep_status qep_packed_values(const qep_packed *p, const qep_packed_linear *l, int64_t row0, int64_t n, float *values);
/* Most bytes of "packed.rows" that qep_packed_each and qep_packed_values take for any of the linears. */
int64_t qep_packed_scratch(const qep_packed *p);

#endif
