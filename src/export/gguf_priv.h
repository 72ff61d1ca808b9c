/* GGUF, inside of export: types, names, metadata (formats.md 6; ggml docs/gguf.md). SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_GGUF_PRIV_H
#define QEP_GGUF_PRIV_H

#include "export_priv.h"

#include "qep/gguf.h"

/* --- gguf_types.c --------------------------------------------------------------------------- */

/* The block type for a linear; *exact: it holds the codes exactly. cols a multiple of 32. */
const qep_gguf_block *qep_gguf_type_of(const qep_export_linear *l, bool *exact);
int64_t qep_gguf_row_bytes(const qep_export_linear *l);
/* One row into blocks of a type that holds it exactly. */
void qep_gguf_exact_row(const qep_export_linear *l, const uint8_t *codes, const float *scales,
                        const uint8_t *zeros, uint8_t *out);
/* values [cols] become what Q8_0 holds of them; out (NULL allowed): the blocks. Returns the largest difference. */
double qep_gguf_round_row(float *values, int64_t cols, uint8_t *out);

/* --- gguf_text.c: growing bytes of the header, little-endian -------------------------------------- */

typedef struct qep_gguf_text {
    char *p;
    int64_t n, cap;
    int64_t n_keys;
} qep_gguf_text;

void qep_gguf_put(qep_gguf_text *t, const void *p, int64_t n);
void qep_gguf_u32(qep_gguf_text *t, uint32_t v);
void qep_gguf_u64(qep_gguf_text *t, uint64_t v);
void qep_gguf_string(qep_gguf_text *t, const char *s);
/* Keys with their values. */
void qep_gguf_key_u32(qep_gguf_text *t, const char *key, int64_t v);
void qep_gguf_key_f32(qep_gguf_text *t, const char *key, double v);
void qep_gguf_key_bool(qep_gguf_text *t, const char *key, bool v);
void qep_gguf_key_string(qep_gguf_text *t, const char *key, const char *v);
enum { QEP_GGUF_ARRAY_I32 = 5, QEP_GGUF_ARRAY_F32 = 6, QEP_GGUF_ARRAY_STRING = 8 };
/* The head of an array; its n elements follow. */
void qep_gguf_key_array(qep_gguf_text *t, const char *key, int type, int64_t n);

/* --- format_gguf.c ------------------------------------------------------------------------------ */

void qep_gguf_describe(const qep_export *e);
/* Logs how far a value is from what is stored, of those written in this job. Collective. */
void qep_gguf_tell_rounding_all(qep_comm *c, const qep_export *e);

/* --- gguf_meta.c ----------------------------------------------------------------------------------- */

/* All keys of the model and of its tokenizer. QEP_E_CONFIG, QEP_E_INPUT. */
qep_status qep_gguf_metadata(const qep_export_request *rq, const qep_json *config,
                             const qep_gguf_arch *a, qep_gguf_text *t);
/* QEP_E_CONFIG: a mixture of experts that llama.cpp would compute in another way. */
qep_status qep_gguf_check_experts(const qep_json *config, const qep_gguf_arch *a);
/* rope_freqs.weight for rope_type llama3: n factors; NULL: none is needed. qep_free. */
float *qep_gguf_rope_factors(const qep_json *config, int64_t *n);

#endif
