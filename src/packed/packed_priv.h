/* packed, inside: what a format has to provide. SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_PACKED_PRIV_H
#define QEP_PACKED_PRIV_H

#include "qep/packed.h"

/* A format is a value of quant_method. */
typedef struct qep_packed_format_ops {
    const char *method;
    /* Reads p->quantization; sets p->name and p->state; adds the linears (qep_packed_add). */
    qep_status (*open)(qep_packed *p);
    void (*close)(qep_packed *p); /* frees p->state, which may be NULL or half made */
    qep_status (*expects)(const qep_packed *p, const char *module, bool *yes);
    /* As the public functions; the range is checked. */
    qep_status (*read)(const qep_packed *p, const qep_packed_linear *l, int64_t row0, int64_t n,
                       uint8_t *codes, float *scales, uint8_t *zeros);
    qep_status (*groups)(const qep_packed *p, const qep_packed_linear *l, int32_t *g_idx);
} qep_packed_format_ops;

extern const qep_packed_format_ops qep_packed_gptq, qep_packed_ct, qep_packed_awq, qep_packed_gguf;

struct qep_packed {
    const qep_packed_format_ops *ops;
    const char *name;              /* static */
    char *source;                  /* file name of the configuration */
    const qep_json *quantization;  /* while it is being opened */
    const qep_st_set *files;
    void *state;                   /* the format's */
    qep_packed_linear *linears;    /* [n], room for as many as there are tensors; by name */
    int64_t n;
};

/* --- packed.c ---------------------------------------------------------------------------- */

/* Linear `module` (copied) is one more; the caller fills in the rest. */
qep_packed_linear *qep_packed_add(qep_packed *p, const char *module);
/* Tensor `module + suffix`; NULL when absent. */
const qep_st_tensor *qep_packed_part(const qep_packed *p, const char *module, const char *suffix);
/* QEP_E_INPUT: "FILE: module M: what". */
qep_status qep_packed_wrong(const qep_packed *p, const qep_packed_linear *l, const char *what);

/* --- parts.c: what formats share ----------------------------------------------------------- */

bool qep_packed_has_shape(const qep_st_tensor *t, qep_dtype dtype, int rank, int64_t d0,
                          int64_t d1);
/* Bytes [byte0, byte0 + n) of each row of a matrix. */
qep_status qep_packed_columns(const qep_packed *p, const qep_st_tensor *t, int64_t byte0,
                              int64_t n, void *dst);
/* Every scale is finite and positive. */
qep_status qep_packed_check_scales(const qep_packed *p, const qep_packed_linear *l,
                                   const float *scales, int64_t n);
/* Columns [row0, row0 + n) of F16 scales [groups, rows]. */
qep_status qep_packed_scales_by_group(const qep_packed *p, const qep_packed_linear *l,
                                      int64_t row0, int64_t n, float *scales);
/* Zero points of rows [row0, row0 + n), stored less `offset` and packed along the rows, by_group [groups, rows * bits / 32] or
 * [rows * bits / 32, groups]. QEP_E_INPUT: one is outside of the codes' range, or not in the middle of a symmetric one. */
qep_status qep_packed_zeros(const qep_packed *p, const qep_packed_linear *l, bool by_group, int offset,
                            int64_t row0, int64_t n, uint8_t *zeros);
/* g_idx of groups that lie side by side. */
void qep_packed_groups_in_order(const qep_packed_linear *l, int32_t *g_idx);
/* Adds a linear for each tensor, or for one, if its name ends with suffix, and lets `find` fill in the rest. */
typedef qep_status (*qep_packed_find_fn)(const qep_packed *p, qep_packed_linear *l);
qep_status qep_packed_add_tensor(qep_packed *p, const qep_st_tensor *t, const char *suffix,
                                 qep_packed_find_fn find);
qep_status qep_packed_add_all(qep_packed *p, const char *suffix, qep_packed_find_fn find);

/* --- keys.c: members of an object of the configuration ------------------------------------ */

qep_status qep_packed_int(const qep_packed *p, const qep_json *o, const char *key, int64_t *v);
qep_status qep_packed_bool(const qep_packed *p, const qep_json *o, const char *key, bool *v);
qep_status qep_packed_bad_key(const qep_packed *p, const char *key, const char *want);

/* --- pattern.c: regular expressions that a configuration brings along ---------------------- */

typedef struct qep_packed_pattern qep_packed_pattern;

/* key: where it stands, for messages. *out is set even on failure; close it (NULL allowed). QEP_E_INPUT: it is not one, or too large. */
qep_status qep_packed_pattern_open(const qep_packed *p, const char *key, const char *text,
                                   qep_packed_pattern **out);
void qep_packed_pattern_close(qep_packed_pattern *r);
/* Python's re.match: it holds from the first character on, not necessarily up to the last. QEP_E_INPUT: too much work to tell. */
qep_status qep_packed_pattern_match(const qep_packed_pattern *r, const char *module, bool *yes);

#endif
