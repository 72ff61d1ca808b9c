/* model, private: typed keys of config.json, tensor names, a weight matrix in a node's window, the
 * work object.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_MODEL_PRIV_H
#define QEP_MODEL_PRIV_H

#include "qep/model.h"

enum { QEP_NAME_CAP = 128, QEP_N_NORMS = 2 };

/* --- keys of config.json: null counts as absent; a wrong type or value is QEP_E_INPUT --- */

typedef struct qep_keys {
    const qep_json *object; /* NULL: every key is absent */
    const char *source;     /* file, for messages */
    const char *prefix;     /* of the keys in messages: "" or "rope_scaling." */
} qep_keys;

/* The value, or NULL when absent or null. */
const qep_json *qep_key(const qep_keys *k, const char *key);
/* Integer in 1..max; fallback 0: the key is required. */
qep_status qep_key_size(const qep_keys *k, const char *key, int64_t max, int64_t fallback,
                        int64_t *out);
/* Number > 0; fallback 0: required. */
qep_status qep_key_positive(const qep_keys *k, const char *key, double fallback, double *out);
qep_status qep_key_bool(const qep_keys *k, const char *key, bool fallback, bool *out);
qep_status qep_key_string(const qep_keys *k, const char *key, const char *fallback,
                          const char **out);
/* QEP_OK when absent or an object; *out is then that object (or NULL). */
qep_status qep_key_object(const qep_keys *k, const char *key, const qep_json **out);

/* out->type and its parameters; out->dim = head_dim. theta: default of the family. */
qep_status qep_arch_parse_rope(const qep_keys *top, double theta, int64_t head_dim, qep_rope *out);

/* --- names --- */

extern const char qep_module_embed[], qep_module_final_norm[], qep_module_lm_head[];
/* "<module>.weight" -> tensor; NULL when absent. */
const qep_st_tensor *qep_model_weight_tensor(const qep_model *m, const char *module);
/* "model.layers.<block>.<norm>.weight"; n: 0 before attention, 1 before the mlp. */
const char *qep_model_norm_name(int64_t block, int n, char *buf, size_t cap);
/* Tensors that every block has, found in the files; opening has checked that they are there. */
const qep_st_tensor *qep_model_norm_tensor(const qep_model *m, int64_t block, int n);
/* Finds all tensors, checks shapes and types, sets embed, final_norm, lm_head and arch.tied. Local.
 */
qep_status qep_model_check_tensors(qep_model *m);

/* --- a weight matrix [rows, cols] in the compute type, inside a window shared by a node --- */

typedef struct qep_weight {
    qep_window *window; /* borrowed */
    int64_t offset;     /* bytes from the window's start, a multiple of 64 */
    int64_t rows, cols;
    qep_dtype type; /* QEP_F32 or QEP_BF16 */
} qep_weight;

qep_dtype qep_compute_dtype(qep_compute compute);
int64_t qep_weight_bytes(int64_t rows, int64_t cols, qep_compute compute); /* rounded up to 64 */
/* Reads rows [row0, row0 + n) of a module's weight, plain or packed, into w, and into copy too
 * unless it is NULL. Local. */
qep_status qep_weight_load(const qep_model *m, const char *module, const qep_weight *w,
                           const qep_weight *copy, int64_t row0, int64_t n);
void qep_weight_put(const qep_weight *w, int64_t row0, int64_t n, const float *values);
/* Rank r of c has put rows [begin[r], begin[r] + count[r]): all nodes get all rows. Collective. */
void qep_weight_share_all(qep_comm *c, const qep_weight *w, const int64_t *begin,
                          const int64_t *count);
/* y[T, rows] = x[T, cols] * w^T; x in w's type. */
void qep_weight_product(const qep_weight *w, const void *x, int64_t T, float *y);

/* --- block and work --- */

struct qep_block {
    qep_comm *comm;         /* borrowed */
    const qep_model *model; /* borrowed */
    qep_compute compute;
    bool with_q;
    int64_t index;         /* -1: nothing loaded */
    qep_window *window[2]; /* by stream */
    qep_weight linears[2][QEP_N_ROLES];
    float *norms[QEP_N_NORMS];  /* [hidden], in the window of the fp stream, like the biases */
    float *biases[QEP_N_ROLES]; /* [rows]; NULL without */
};

struct qep_work {
    qep_compute compute;
    int64_t max_tokens;
    float *y;                   /* products of one tile: both streams, all members of a group */
    uint16_t *rounded;          /* bf16: the input of a group for one tile */
    float *attention;           /* scratch of qep_attention */
    float *rope_cos, *rope_sin; /* [max_tokens, rope.dim / 2] from position 0 */
    double *token_sums;         /* [max_tokens, 2]: sums of each token for qep_out_error */
};

/* Tokens of one tile of group g's products: the whole sequence where attention follows, else even
 * parts of at most 512 (a function of T only), so that gate and up of two streams need not be held
 * for all tokens. */
int64_t qep_work_tile(int g, int64_t T);
/* x[n] as a product's input: itself, or rounded to bf16 in w. */
const void *qep_work_input(qep_work *w, const float *x, int64_t n);

#endif
