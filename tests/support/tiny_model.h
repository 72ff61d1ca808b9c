/* A small model directory, Llama-shaped or of another family, for tests: config.json and safetensors with random weights.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TINY_MODEL_H
#define TINY_MODEL_H

#include "qep/tensor.h"

typedef struct tiny_model {
    const char *family; /* model_type; NULL: llama */
    const char *keys;   /* of config.json in place of the family's own ("  \"key\": value,\n" ...), of which tensors do not depend; NULL: those */
    int64_t hidden, inter, blocks, heads, kv_heads;
    int64_t head_dim; /* 0: hidden / heads */
    int64_t vocab;
    qep_dtype dtype;  /* F32, F16 or BF16 */
    bool tied;        /* no lm_head.weight */
    bool bias;        /* biases of q, k, v and o (attention_bias) */
    int64_t experts, top_k; /* of a mixture; 0: 5 and 2 */
    bool fused;       /* the experts of a layer are stored in two tensors: gate and up, down; the same weights as one by one */
    uint64_t seed;    /* equal seeds give equal weights */
    int shards;       /* at least 1; about so many files */
    int64_t max_positions; /* 0: 2048 */
    bool outline;     /* headers and sizes only, weights all zero and without room on disk: for plans of large models */
} tiny_model;

/* Makes DIR with its files; one process calls it. */
QEP_MUST_CHECK qep_status tiny_model_write(const char *dir, const tiny_model *m);
/* Removes a directory and everything in it; a missing one is fine. */
void tiny_remove_dir(const char *dir);

#endif
