/* Names of the tensors of a Llama-shaped model (formats.md 2.2).
 * SPDX-License-Identifier: Apache-2.0 */
#include "model_priv.h"

#include <inttypes.h>

const char qep_module_embed[] = "model.embed_tokens";
const char qep_module_final_norm[] = "model.norm";
const char qep_module_lm_head[] = "lm_head";

const qep_st_tensor *qep_model_weight_tensor(const qep_model *m, const char *module)
{
    char name[QEP_NAME_CAP];
    const int n = snprintf(name, sizeof name, "%s.weight", module);
    QEP_REQUIRE(n > 0 && (size_t)n < sizeof name);
    return qep_st_find(m->files, name);
}

static const char *const norms[QEP_N_NORMS] = {"input_layernorm", "post_attention_layernorm"};

const char *qep_model_linear_name(const qep_model *m, int64_t block, qep_role role, char *buf,
                                  size_t cap)
{
    const int n =
        snprintf(buf, cap, "model.layers.%" PRId64 ".%s", block, m->arch.linears[role].name);
    QEP_REQUIRE(n > 0 && (size_t)n < cap);
    return buf;
}

const char *qep_model_norm_name(int64_t block, int n, char *buf, size_t cap)
{
    const int length = snprintf(buf, cap, "model.layers.%" PRId64 ".%s.weight", block, norms[n]);
    QEP_REQUIRE(length > 0 && (size_t)length < cap);
    return buf;
}

const qep_st_tensor *qep_model_linear_tensor(const qep_model *m, int64_t block, qep_role role,
                                             const char *suffix)
{
    char module[QEP_NAME_CAP], name[QEP_NAME_CAP];
    qep_model_linear_name(m, block, role, module, sizeof module);
    const int n = snprintf(name, sizeof name, "%s.%s", module, suffix);
    QEP_REQUIRE(n > 0 && (size_t)n < sizeof name);
    return qep_st_find(m->files, name);
}

const qep_st_tensor *qep_model_norm_tensor(const qep_model *m, int64_t block, int n)
{
    char name[QEP_NAME_CAP];
    return qep_st_find(m->files, qep_model_norm_name(block, n, name, sizeof name));
}
