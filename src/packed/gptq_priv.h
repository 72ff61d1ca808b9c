/* What quantization_config says in the gptq format (formats.md 3.6). SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_PACKED_GPTQ_PRIV_H
#define QEP_PACKED_GPTQ_PRIV_H

#include "packed_priv.h"

typedef struct qep_gptq_settings {
    int64_t bits, group_size; /* -1: one group per row */
    bool sym, desc_act;
} qep_gptq_settings;

typedef struct qep_gptq_rule qep_gptq_rule; /* an entry of "dynamic" */

typedef struct qep_gptq_config {
    int zero_offset; /* zero = field + zero_offset: v1 1, v2 0 */
    bool lm_head;
    qep_gptq_settings base;
    qep_gptq_rule *rules;
    int64_t n_rules;
} qep_gptq_config;

/* *out is set even on failure; free it. */
qep_status qep_gptq_config_read(const qep_packed *p, qep_gptq_config **out);
void qep_gptq_config_free(qep_gptq_config *c);
/* Settings of one module by the first rule that matches it; *yes false: it is not quantized. */
qep_status qep_gptq_settings_of(const qep_gptq_config *c, const char *module, qep_gptq_settings *s,
                                bool *yes);

#endif
