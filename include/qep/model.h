/* model: the architecture record of a family, the weight index, one block's weights in memory shared by a node, and running
 * a block with taps at the inputs of its linear groups.
 *
 * A decoder block is four groups of linears that read the same input (formats.md 2.2):
 *   0 qkv      reads norm(x)          produces act = attention output
 *   1 o        reads act              adds norm(o) to x
 *   2 gate_up  reads norm(x)          produces act = activation(gate) * up
 *   3 down     reads act              adds norm(down) to x
 * Each of the four norms is an RMSNorm or absent: before the sublayers only (Llama), after them only (OLMo-2), both (Gemma).
 * A block of a mixture of experts has, in place of the mlp, a router and groups 2 and 3 once per expert, each with the tokens routed to it.
 * Streams: full precision (fp) and quantized (q); the block holds both sets of weights. SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_MODEL_H
#define QEP_MODEL_H

#include "qep/json.h"
#include "qep/nn.h"
#include "qep/packed.h"
#include "qep/par.h"
#include "qep/safetensors.h"

enum { QEP_N_GROUPS = 4, QEP_N_ROLES = 7, QEP_MAX_MEMBERS = 3, QEP_MAX_BLOCKS = 4096 };
typedef enum qep_role { QEP_ROLE_Q, QEP_ROLE_K, QEP_ROLE_V, QEP_ROLE_O, QEP_ROLE_GATE, QEP_ROLE_UP, QEP_ROLE_DOWN } qep_role;
typedef enum qep_stream { QEP_STREAM_FP, QEP_STREAM_Q } qep_stream;

/* A weight matrix of a block, as its files store it: the unit that is quantized, named in settings, written and recorded. */
typedef struct qep_linear_shape {
    const char *name;   /* inside the block: "self_attn.q_proj" */
    int group;
    int64_t rows, cols; /* O, C */
    bool bias;
} qep_linear_shape;

/* What a role reads from: rows [row0, row0 + rows) of linear number `linear`. Most families store one matrix per role; Phi-3 stacks q, k, v and
 * gate, up into one each. */
typedef struct qep_role_rows {
    int linear;
    int64_t row0, rows;
} qep_role_rows;

/* RMSNorms of a block. A place without a name has none. */
typedef enum qep_norm_place {
    QEP_NORM_ATTN_IN, QEP_NORM_ATTN_OUT, /* before group 0; on the output of group 1, before it is added to x */
    QEP_NORM_MLP_IN, QEP_NORM_MLP_OUT,   /* before group 2; on the output of group 3 */
    QEP_NORM_Q, QEP_NORM_K,              /* before the rotary embedding: of each head (size = head_dim), or of the whole projection */
    QEP_N_NORMS
} qep_norm_place;
typedef struct qep_norm_shape {
    const char *name; /* inside the block, or NULL */
    int64_t size;
} qep_norm_shape;

typedef struct qep_arch {
    const char *family;             /* "llama" */
    int64_t hidden, inter, n_blocks, n_heads, n_kv_heads, head_dim, vocab, max_position;
    double eps;
    bool norm_plus_one;             /* norms multiply by 1 + w (Gemma) */
    double embed_scale;             /* factor of the embedding's rows (Gemma: sqrt(hidden) in the model's dtype); 1 */
    double logit_cap;               /* logits = cap * tanh(logits / cap); 0: not capped */
    double score_scale, score_cap;  /* attention: see qep_attention_form */
    int64_t window;                 /* keys that a query of a sliding block sees */
    uint8_t sliding[QEP_MAX_BLOCKS / 8]; /* see qep_arch_slides */
    qep_rope rope;
    bool two_ropes;                 /* sliding blocks have a rotary embedding of their own (Gemma-3): */
    qep_rope rope_local;
    qep_act act;
    bool tied;                      /* lm_head is the embedding */
    qep_dtype dtype;                /* of the checkpoint by config.json; tensors may differ. QEP_DTYPE_COUNT when it does not say: opening a model then takes the embedding's */
    qep_norm_shape norms[QEP_N_NORMS];
    int64_t n_experts, top_k, expert_inter; /* mixture of experts: their number, those of a token, columns of an expert's down; 0: none */
    bool renormalize;               /* the weights of a token's experts are divided by their sum */
    uint8_t sparse[QEP_MAX_BLOCKS / 8]; /* see qep_arch_sparse */
    int64_t n_sparse;               /* blocks with experts */
    const char *moe;                /* inside the block: "mlp", "block_sparse_moe" */
    const char *expert_parts[3];    /* names of an expert's gate, up, down */
    int n_linears;                  /* of a block without experts */
    qep_linear_shape linears[QEP_N_ROLES]; /* in the order in which they are numbered: that of the roles */
    qep_role_rows parts[QEP_N_ROLES];    /* by role */
    int group_first[QEP_N_GROUPS], group_count[QEP_N_GROUPS]; /* linears of a group are consecutive */
} qep_arch;

/* From config.json (transformers 4 and 5 spellings of RoPE and dtype). source: file name for messages. A family that is not in the table of families.c
 * (the message lists those that are), an unsupported feature (another activation ...): QEP_E_INPUT naming the key and what
 * is supported. */
QEP_MUST_CHECK qep_status qep_arch_parse(const qep_json *config, const char *source, qep_arch *out);
/* Block `block` sees arch.window keys only. */
bool qep_arch_slides(const qep_arch *a, int64_t block);
/* The output of group 1 or 3 is added to the residual stream as it is (no norm between, no experts that share it): only then is R - R^ of the residual streams an error that the
 * group's own rows can make up for. */
bool qep_group_adds(const qep_arch *a, int64_t block, int g);
/* Block `block` has experts. */
bool qep_arch_sparse(const qep_arch *a, int64_t block);
/* Linears are numbered block by block. In a block with experts those of attention come first, then expert by expert gate, up, down (part 0, 1, 2). */
int qep_arch_n_linears(const qep_arch *a, int64_t block);
int64_t qep_arch_linears_before(const qep_arch *a, int64_t block); /* in blocks 0 .. block - 1 */
int qep_arch_expert_linear(const qep_arch *a, int64_t expert, int part);
qep_linear_shape qep_arch_linear(const qep_arch *a, int64_t block, int linear); /* name NULL for an expert's */

typedef struct qep_model {
    qep_arch arch;
    char *path;
    char *config_text;              /* config.json, bytes as read */
    qep_st_set *files;
    qep_packed *packed;             /* the linears that are quantized; NULL: none, the model is an original (or dense output) */
    const qep_st_tensor *embed, *final_norm, *lm_head; /* lm_head == embed when tied, NULL when packed */
    uint64_t identity[2];           /* hash of config.json and of all headers and file sizes */
    uint64_t weights[2];            /* hash of all weights, after qep_model_scan_all */
} qep_model;

/* Reads config.json (root reads, all parse), opens the weight files, checks that every tensor needed is there with the right shape and a float dtype. Linears may
 * be packed, as in a finished quantized directory; their values are then those that its readers get.
 * QEP_E_INPUT naming file and tensor. Collective. */
QEP_MUST_CHECK qep_status qep_model_open_all(qep_comm *c, const char *path, qep_model **out);
void qep_model_close(qep_model **m);
/* Reads every tensor once, split over ranks, refuses NaN and Inf (file, tensor, row, column) and sets m->weights (the same for any number of
 * ranks). Collective. */
QEP_MUST_CHECK qep_status qep_model_scan_all(qep_comm *c, qep_model *m);
/* Full tensor name: "model.layers.<b>.<name>.weight" -> tensor; NULL when absent (or packed). suffix "weight" or "bias". */
const qep_st_tensor *qep_model_linear_tensor(const qep_model *m, int64_t block, int linear, const char *suffix);
/* "model.layers.<b>.<name>" into buf. */
const char *qep_model_linear_name(const qep_model *m, int64_t block, int linear, char *buf, size_t cap);
/* The norm before group g (0 or 2; there must be one) of a block with 1/scale[hidden] in its weight: *t is its tensor, stored[hidden] the new elements as
 * the tensor's type holds them; scale becomes exactly what they divide by. Local. */
QEP_MUST_CHECK qep_status qep_model_fold_norm(const qep_model *m, int64_t block, int g, float *scale, const qep_st_tensor **t, float *stored);
/* The final norm's weight w[hidden], as it multiplies: stored[hidden] the elements as its tensor's type holds them, w becomes what they multiply by. */
void qep_model_round_final_norm(const qep_model *m, float *w, float *stored);
/* x[T, hidden] f32 = embedding rows of ids times arch.embed_scale, read from the file (nothing of size vocab x hidden in memory). Local. */
QEP_MUST_CHECK qep_status qep_model_embed(const qep_model *m, const int32_t *ids, int64_t T, float *x);

/* --- one block ------------------------------------------------------------------------------------- */

typedef struct qep_block qep_block;
/* Windows for one block: weights of both streams in the compute type (f32 or bf16), norms and biases in f32. "model.block.fp", "model.block.q". with_q = false: no quantized stream. Collective. */
qep_block *qep_block_create_all(qep_comm *c /* [keep] */, const qep_model *m /* [keep] */, qep_compute compute, bool with_q);
void qep_block_destroy_all(qep_block **b);
void qep_block_bytes(const qep_arch *a, qep_compute compute, int64_t *fp, int64_t *q); /* per node, for the plan */
/* Reads block number `index` into the fp weights (ranks of a node read slices); the q weights become equal to them. Collective. */
QEP_MUST_CHECK qep_status qep_block_load_all(qep_block *b, int64_t index);
/* Block number `index` will be loaded soon: the operating system may fetch its linears from the files meanwhile. Local; a hint, cannot fail. */
void qep_block_expect(const qep_block *b, int64_t index);
int64_t qep_block_index(const qep_block *b);
/* Puts rows [row0, row0 + n) of a linear (f32 values) into my node's q weights in the compute type; then, when every rank has put its rows,
 * qep_block_share_all spreads them to all nodes. begin/count: rows of this linear that each rank has put (size P).
 * Before the first put, no rank of the node may still be running this linear in the q stream (any collective in between will do). */
void qep_block_put_rows(qep_block *b, int linear, int64_t row0, int64_t n, const float *values);
void qep_block_share_all(qep_block *b, int linear, const int64_t *begin, const int64_t *count);

/* The same for whole experts in group 2 (gate and up) or 3 (down): rank r has put all rows of expert number expert[r] there (size P; -1: none). Collective. */
void qep_block_share_experts_all(qep_block *b, int g, const int64_t *expert);

/* Scratch for running one sequence at a time: "model.work". max_tokens: longest sequence. Local. */
typedef struct qep_work qep_work;
qep_work *qep_work_create(const qep_arch *a, qep_compute compute, int64_t max_tokens);
void qep_work_destroy(qep_work **w);
int64_t qep_work_bytes(const qep_arch *a, qep_compute compute, int64_t max_tokens);

/* Columns of group g's input (hidden, heads * head_dim, hidden, inter) and, for groups 0 and 2, of the act it produces. */
int64_t qep_group_cols(const qep_arch *a, int g);
int64_t qep_group_act_cols(const qep_arch *a, int g); /* 0 for groups 1 and 3 */

/* Input of group g (0 and 2) for one sequence: out[T, hidden] = RMSNorm of x, or x itself in families without that norm. (Groups 1 and 3 read act itself.) Norms are the same in both streams. Local. */
void qep_block_norm(const qep_block *b, int g, const float *x, int64_t T, float *out);

/* --- experts: of a loaded block with experts ------------------------------------------------------------ */

/* Experts of each token by in[T, hidden], the normed stream: expert, weight [T, top_k]. The router's product is f32 in both streams. Local. */
void qep_block_route(const qep_block *b, const float *in, int64_t T, int32_t *expert, float *weight, qep_work *w);
/* act[n, expert_inter] = activation(gate) * up of n tokens in[n, hidden] in one expert. Local. */
void qep_block_expert_act(const qep_block *b, qep_stream s, int64_t expert, const float *in, int64_t n, float *act, qep_work *w);
/* x[T, hidden] += the experts' outputs for in[T, hidden] by the stream's own routing, expert by expert. Local. */
void qep_block_experts(const qep_block *b, qep_stream s, const float *in, int64_t T, float *x, qep_work *w);

/* Sums of one linear over a sequence for the error figures: f64. Bias not included. */
typedef struct qep_out_error { double diff, ref; } qep_out_error; /* sum |W x - Q xq|^2, sum |W x|^2 */

/* Runs the linears of group g and what follows them on one sequence in both streams.
 * in_fp, in_q: [T, cols of g]; g = 0, 2: act_fp, act_q [T, act cols] are written; g = 1, 3: x_fp, x_q [T, hidden] are added to.
 * fp or q part is skipped when its in_ pointer is NULL (then err is not touched). err[members of g] is added to when both run (NULL: no sums wanted).
 * Uses rope positions 0..T-1; T is the length that dynamic and longrope look at. Local. */
void qep_block_advance(const qep_block *b, int g, int64_t T, const float *in_fp, const float *in_q,
                       float *x_fp, float *x_q, float *act_fp, float *act_q, qep_out_error *err, qep_work *w);

/* Error sums of an expert's linears in group 2 (err[2]: gate, up) or 3 (err[1]: down) over n tokens, as qep_block_advance's. Local. */
void qep_block_expert_errors(const qep_block *b, int64_t expert, int g, int64_t n, const float *in_fp, const float *in_q, qep_out_error *err, qep_work *w);

/* --- the head ---------------------------------------------------------------------------------------- */

typedef struct qep_head qep_head; /* final norm and lm_head weights: "model.head" per node, vocab x hidden in the compute type */
int64_t qep_head_bytes(const qep_arch *a, qep_compute compute, qep_stream s); /* per node: "model.head", "model.head.q" */
QEP_MUST_CHECK qep_status qep_head_load_all(qep_comm *c, const qep_model *m, qep_compute compute, bool with_q, qep_head **out);
void qep_head_destroy_all(qep_head **h);
void qep_head_put_rows(qep_head *h, int64_t row0, int64_t n, const float *values);
void qep_head_share_all(qep_head *h, const int64_t *begin, const int64_t *count);
/* w[hidden]: what the quantized stream's final norm multiplies by from now on; until then both streams have the model's. Collective. */
void qep_head_set_norm_all(qep_head *h, const float *w);
const float *qep_head_norm_weight(const qep_head *h, qep_stream s); /* [hidden], as it multiplies (1 + w where the family has it so) */
void qep_head_norm(const qep_head *h, qep_stream s, const float *x, int64_t T, float *out); /* final RMSNorm */
/* y[T, vocab] = product of normed rows a[T, hidden] with the head; stream Q uses the quantized head when there is one. T small (chunks). */
void qep_head_product(const qep_head *h, qep_stream s, const float *a, int64_t T, float *y, qep_work *w);
/* The same, capped where the family does that: the model's logits. */
void qep_head_logits(const qep_head *h, qep_stream s, const float *a, int64_t T, float *logits, qep_work *w);
/* g[T, hidden] = r[T, vocab] times the head's weight: slopes with respect to qep_head_product's y become those with respect to its a. scratch: T * vocab
 * bf16 numbers, used where the weights are bf16. */
void qep_head_back(const qep_head *h, qep_stream s, const float *r, int64_t T, void *scratch, float *g);

#endif
