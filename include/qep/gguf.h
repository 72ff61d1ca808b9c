/* gguf: what GGUF files are made of (ggml docs/gguf.md, formats.md 6): block types, the names that llama.cpp gives to tensors, and a reader of our own files that
 * shows them as the tensors of the model they hold. No MPI: every rank may open the same file. SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_GGUF_H
#define QEP_GGUF_H

#include "qep/safetensors.h"

#define QEP_GGUF_FILE "model.gguf"
#define QEP_GGUF_SETTINGS_KEY "qep_mpi.quantization" /* settings of all linears, as gptq's quantization_config has them */

/* --- blocks.c: blocks of 32 or 256 weights of one row ------------------------------------------ */

typedef enum qep_gguf_type {
    QEP_GGUF_F32 = 0, QEP_GGUF_F16 = 1, QEP_GGUF_Q4_0 = 2, QEP_GGUF_Q5_0 = 6, QEP_GGUF_Q8_0 = 8,
    QEP_GGUF_Q2_K = 10, QEP_GGUF_Q3_K = 11, QEP_GGUF_Q4_K = 12, QEP_GGUF_BF16 = 30
} qep_gguf_type;

typedef struct qep_gguf_block {
    qep_gguf_type id;
    const char *name;
    int64_t weights, bytes;
    int bits, zero;   /* of a code as it is stored; its zero point, -1: stored in each block */
} qep_gguf_block;

/* NULL: not one of our block types. */
const qep_gguf_block *qep_gguf_block_of(int64_t id);
/* The smallest type for a linear of groups of `width` columns. *exact: it holds code - zero and scale; else it is Q8_0 and gets the values rounded. */
const qep_gguf_block *qep_gguf_block_for(int bits, bool symmetric, bool any_order, int64_t width, bool *exact);
/* One block: codes [weights] with scale (an F16 number) and zero. For a type with a fixed zero point only code - zero is kept. */
void qep_gguf_put_block(const qep_gguf_block *t, const uint8_t *codes, float scale, int zero, uint8_t *out);
/* Back: codes less than 2^bits, whose zero point is *zero. False: a block as put_block never writes it. */
bool qep_gguf_get_block(const qep_gguf_block *t, const uint8_t *in, uint8_t *codes, float *scale, int *zero);

/* --- names.c ------------------------------------------------------------------------------------- */

typedef struct qep_gguf_arch qep_gguf_arch; /* a family */

/* By model_type of config.json. QEP_E_CONFIG lists the families that are known. */
QEP_MUST_CHECK qep_status qep_gguf_find_arch(const qep_json *config, const qep_gguf_arch **out);
const char *qep_gguf_arch_name(const qep_gguf_arch *a); /* general.architecture */
int64_t qep_gguf_n_experts(const qep_json *config);     /* of a layer; 0: the model has none */

/* A tensor of the model as it is stored. */
typedef struct qep_gguf_place {
    int64_t heads;  /* > 0: rows in the order of qep_st_interleaved */
    float more;     /* stored values are so much larger */
    bool is_expert; /* the experts of a layer lie one behind the other in a tensor [experts, rows, cols] */
    int64_t expert; /* it is this one of them */
} qep_gguf_place;

/* "model.layers.3.mlp.up_proj.weight" -> "blk.3.ffn_up.weight", "model.layers.3.mlp.experts.5.up_proj.weight" -> "blk.3.ffn_up_exps.weight", and how it lies there; NULL: unknown.
 * config: for the numbers of heads. qep_free. */
char *qep_gguf_name(const qep_gguf_arch *a, const qep_json *config, const char *name, qep_gguf_place *place);

/* --- file.c, set.c: reading ---------------------------------------------------------------------- */

typedef struct qep_gguf_file qep_gguf_file;

/* DIR holds a GGUF output: model.gguf, and no safetensors files that would come first. */
bool qep_gguf_is_there(const char *dir);
/* Header and tensor infos of DIR/model.gguf: every tensor of a known type, inside the file, aligned, no holes, exact length. QEP_E_INPUT, QEP_E_IO. */
QEP_MUST_CHECK qep_status qep_gguf_open(const char *dir, qep_gguf_file **out);
void qep_gguf_close(qep_gguf_file **f);
/* The tensors as they are stored, under llama.cpp's names. */
QEP_MUST_CHECK qep_status qep_gguf_stored(const qep_gguf_file *f, qep_st_set **out);
/* The tensors of the model, under the names and in the row order of its safetensors files. Quantized ones are U8 [rows, bytes of a row]; the set's metadata then has
 * "gguf_types", an object of the quantized tensors' types, and "quantization", the settings. config: config.json. */
QEP_MUST_CHECK qep_status qep_gguf_as_model(const qep_gguf_file *f, const qep_json *config, qep_st_set **out);

#endif
