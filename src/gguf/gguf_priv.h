/* gguf, inside. SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_GGUF_PRIV_H
#define QEP_GGUF_PRIV_H

#include "qep/gguf.h"

/* --- names.c ------------------------------------------------------------------------------------- */

typedef struct qep_gguf_pair {
    const char *ours, *theirs;
} qep_gguf_pair;

enum { QEP_GGUF_TABLES = 4 };

struct qep_gguf_arch {
    const char *model_type, *name;
    bool permutes;    /* rows of q and k are in llama.cpp's order */
    float norms_more; /* added to the weights of norms */
    const qep_gguf_pair *tables[QEP_GGUF_TABLES]; /* names in a block */
};

/* The inverse of qep_gguf_name. expert: whose name, where place->is_expert. NULL: not part of the model. qep_free. */
char *qep_gguf_our_name(const qep_gguf_arch *a, const qep_json *config, const char *name,
                        int64_t expert, qep_gguf_place *place);

/* --- file.c ---------------------------------------------------------------------------------------- */

struct qep_gguf_file {
    char *path;
    int64_t bytes;
    qep_st_tensor *tensors; /* slowest dimension first; blocks: U8, the last dimension in bytes */
    int64_t *types;
    int64_t n;              /* tensors whose names are there to be freed */
    char *settings;         /* value of QEP_GGUF_SETTINGS_KEY; NULL: none */
};

#endif
