/* model, private: typed keys of config.json, tensor names, a weight matrix in a node's window, the
 * work object.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_MODEL_PRIV_H
#define QEP_MODEL_PRIV_H

#include "qep/model.h"

enum { QEP_NAME_CAP = 128 };

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
/* Integer in 0..max. */
qep_status qep_key_count(const qep_keys *k, const char *key, int64_t max, int64_t fallback,
                         int64_t *out);
/* Number > 0; fallback 0: required. */
qep_status qep_key_positive(const qep_keys *k, const char *key, double fallback, double *out);
qep_status qep_key_bool(const qep_keys *k, const char *key, bool fallback, bool *out);
qep_status qep_key_string(const qep_keys *k, const char *key, const char *fallback,
                          const char **out);
/* QEP_OK when absent or an object; *out is then that object (or NULL). */
qep_status qep_key_object(const qep_keys *k, const char *key, const qep_json **out);

/* --- families --- */

typedef enum qep_window_rule {
    QEP_WINDOW_NONE,    /* sliding_window is refused */
    QEP_WINDOW_ALL,     /* sliding_window, unless null, holds in all blocks */
    QEP_WINDOW_IF_USED, /* the same, only with use_sliding_window */
    QEP_WINDOW_LATE,    /* with use_sliding_window, in blocks >= max_window_layers, or by layer_types */
    QEP_WINDOW_PATTERN  /* in all blocks but each window_pattern-th, or by layer_types */
} qep_window_rule;
typedef enum qep_qk_norm { QEP_QK_NORM_NONE, QEP_QK_NORM_HEAD, QEP_QK_NORM_ALL } qep_qk_norm;

/* What a family's files leave unsaid, and what it can have at all: one row of the table in families.c. */
typedef struct qep_family {
    const char *model_type, *architecture; /* config.json: model_type, architectures[0] */
    /* defaults of its configuration class */
    double eps, theta;
    int64_t max_position, head_dim, kv_heads; /* 0: hidden / heads; heads */
    bool tied;
    /* structure */
    const char *const *norms; /* names of the first four places */
    qep_qk_norm qk_norm;
    bool plus_one, scaled_embedding;
    bool fused;              /* qkv_proj and gate_up_proj are stored stacked */
    bool qkv_bias;           /* q, k, v have biases whatever config.json says */
    bool attention_bias, mlp_bias; /* the key of that name counts */
    const char *act_key;
    qep_act act;
    /* attention and output */
    qep_window_rule window_rule;
    int64_t window, window_pattern, max_window_layers; /* defaults; window 0: none */
    bool caps_logits;        /* final_logit_softcapping counts; else it is refused */
    double score_cap, logit_cap; /* defaults; 0: none */
    double query_scalar;     /* default of query_pre_attn_scalar; 0: scores are scaled by head_dim */
    double theta_local;      /* sliding blocks have a rotary embedding of their own; 0: no */
    bool partial_rope;       /* partial_rotary_factor counts */
    /* mixture of experts; moe NULL: none */
    const char *moe, *expert_parts[3]; /* see qep_arch */
    const char *count_key, *size_key;  /* of the number of experts and of their intermediate size */
    int64_t n_experts, top_k;          /* defaults */
    bool always_renormalize;           /* else by norm_topk_prob */
} qep_family;

extern const qep_family qep_families[];
extern const int qep_n_families;
/* By model_type and architectures[0]. QEP_E_INPUT lists the families that are known. */
qep_status qep_family_find(const qep_keys *k, const qep_family **out);

/* a->rope, a->two_ropes, a->rope_local; head_dim and max_position of a are set. */
qep_status qep_arch_parse_rope(const qep_keys *top, const qep_family *f, qep_arch *a);
/* a->n_experts and what belongs to it; n_blocks is set. */
qep_status qep_arch_parse_experts(const qep_keys *k, const qep_family *f, qep_arch *a);
/* a->window and a->sliding; n_blocks is set. */
qep_status qep_arch_parse_window(const qep_keys *k, const qep_family *f, qep_arch *a);

/* --- names --- */

extern const char qep_module_embed[], qep_module_final_norm[], qep_module_lm_head[];
/* "<module>.weight" -> tensor; NULL when absent. */
const qep_st_tensor *qep_model_weight_tensor(const qep_model *m, const char *module);
/* "model.layers.<block>.<moe>.gate.weight" of a block with experts. */
const char *qep_model_router_name(const qep_model *m, int64_t block, char *buf, size_t cap);
/* "model.layers.<block>.<norm>.weight" of a place that has a norm. */
const char *qep_model_norm_name(const qep_model *m, int64_t block, int place, char *buf, size_t cap);
/* Found in the files; opening has checked that it is there. */
const qep_st_tensor *qep_model_norm_tensor(const qep_model *m, int64_t block, int place);
/* w[n] of a norm as it multiplies: 1 + w where the family has it so. */
qep_status qep_model_read_norm(const qep_model *m, const qep_st_tensor *t, int64_t n, float *w);
/* Fused experts become tensors of their own. QEP_E_INPUT names a layout that is not known. Local. */
qep_status qep_model_split_experts(qep_model *m);
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
/* Part number `part` of so many of a module's weight will be read soon (qep_st_expect). */
void qep_weight_expect(const qep_model *m, const char *module, int parts, int part);
/* Reads rows [row0, row0 + n) of a module's weight, plain or packed, into w, and into copy too
 * unless it is NULL. Local. */
qep_status qep_weight_load(const qep_model *m, const char *module, const qep_weight *w,
                           const qep_weight *copy, int64_t row0, int64_t n);
void qep_weight_put(const qep_weight *w, int64_t row0, int64_t n, const float *values);
/* Rank r of c has put rows [begin[r], begin[r] + count[r]): all nodes get all rows. Collective. */
void qep_weight_share_all(qep_comm *c, const qep_weight *w, const int64_t *begin,
                          const int64_t *count);
/* y[T, n] = x[T, cols] * (rows [row0, row0 + n) of w)^T; x in w's type. linear: to be computed beside others. */
qep_linear qep_weight_linear(const qep_weight *w, int64_t row0, int64_t n, const void *x, int64_t T, float *y);
void qep_weight_product(const qep_weight *w, int64_t row0, int64_t n, const void *x, int64_t T, float *y);

/* --- block and work --- */

struct qep_block {
    qep_comm *comm;         /* borrowed */
    const qep_model *model; /* borrowed */
    qep_compute compute;
    bool with_q;
    int64_t index;         /* -1: nothing loaded */
    qep_window *window[2]; /* by stream */
    qep_weight linears[2][QEP_N_ROLES];
    qep_weight *experts[2]; /* [3 n_experts]: gate, up, down of each; NULL without */
    float *router;          /* [n_experts, hidden], in the window of the fp stream */
    float *norms[QEP_N_NORMS];  /* by place, NULL without; in the window of the fp stream, like the biases */
    float *biases[QEP_N_ROLES]; /* [rows]; NULL without */
};

/* Tables of a rotary embedding, [max_tokens, dim / 2] from position 0, for sequences of one length class. */
typedef struct qep_rotary {
    const qep_rope *rope; /* of the arch that the work object was made for: borrowed */
    int64_t length_class;
    float *cos_, *sin_;
} qep_rotary;

struct qep_work {
    qep_compute compute;
    int64_t max_tokens;
    float *y;                   /* products of one tile: both streams, all members of a group */
    uint16_t *rounded[2];       /* bf16: the input of a group for one tile, by stream */
    float *attention;           /* scratch of qep_attention */
    qep_rotary rotary[2];       /* of full and of sliding blocks; the second only where it differs */
    float *logits;              /* of the router, [max_tokens, n_experts] */
    float *rows_in, *rows_out, *rows_act; /* tokens of one expert: [max_tokens, hidden] twice, [max_tokens, expert_inter] */
    int32_t *expert;            /* [max_tokens, top_k], like weight */
    float *weight;
    double *token_sums;         /* [max_tokens, 2]: sums of each token for qep_out_error */
};

/* Tokens of one tile of group g's products: the whole sequence where attention follows, else even
 * parts of at most 512 (a function of T only), so that gate and up of two streams need not be held
 * for all tokens. */
int64_t qep_work_tile(int g, int64_t T);
/* The tables for a sequence of T tokens in a full (sliding 0) or sliding block. */
const qep_rotary *qep_work_rotary(qep_work *w, bool sliding, int64_t T);
/* Sums of (fp - q)^2 and fp^2 over n tokens of `rows` outputs, added to err in an order fixed by n and rows. scratch[2 n]. */
void qep_add_error(const float *fp, const float *q, int64_t n, int64_t rows, double *scratch, qep_out_error *err);
/* x[n] as a product's input: itself, or rounded to bf16 in w, in the place of a stream. */
const void *qep_work_input(qep_work *w, int s, const float *x, int64_t n);

#endif
