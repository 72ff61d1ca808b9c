/* What quantization_config says in the compressed-tensors format (formats.md 4.3). SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_PACKED_CT_PRIV_H
#define QEP_PACKED_CT_PRIV_H

#include "packed_priv.h"

typedef struct qep_ct_settings {
    int64_t bits, group_size; /* -1: one group per row */
    bool symmetric;
} qep_ct_settings;

typedef struct qep_ct_config qep_ct_config;

/* *out is set even on failure; free it. */
qep_status qep_ct_config_read(const qep_packed *p, qep_ct_config **out);
void qep_ct_config_free(qep_ct_config *c);
/* Settings of one module; *yes false: it is not quantized ("ignore", or no target), *s is then unchanged. A target that names the module wins over one that
 * names the class Linear. */
qep_status qep_ct_settings_of(const qep_ct_config *c, const char *module, qep_ct_settings *s,
                              bool *yes);

#endif
