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

const char *qep_model_linear_name(const qep_model *m, int64_t block, int linear, char *buf,
                                  size_t cap)
{
    const qep_arch *a = &m->arch;
    const char *name = qep_arch_linear(a, block, linear).name;
    const int i = linear - a->group_first[2];
    const int n = name ? snprintf(buf, cap, "model.layers.%" PRId64 ".%s", block, name)
                       : snprintf(buf, cap, "model.layers.%" PRId64 ".%s.experts.%d.%s", block, a->moe,
                                  i / 3, a->expert_parts[i % 3]);
    QEP_REQUIRE(n > 0 && (size_t)n < cap);
    return buf;
}

const char *qep_model_router_name(const qep_model *m, int64_t block, char *buf, size_t cap)
{
    const int n = snprintf(buf, cap, "model.layers.%" PRId64 ".%s.gate.weight", block, m->arch.moe);
    QEP_REQUIRE(n > 0 && (size_t)n < cap);
    return buf;
}

const char *qep_model_norm_name(const qep_model *m, int64_t block, int place, char *buf, size_t cap)
{
    const int length = snprintf(buf, cap, "model.layers.%" PRId64 ".%s.weight", block,
                                m->arch.norms[place].name);
    QEP_REQUIRE(length > 0 && (size_t)length < cap);
    return buf;
}

const qep_st_tensor *qep_model_linear_tensor(const qep_model *m, int64_t block, int linear,
                                             const char *suffix)
{
    char module[QEP_NAME_CAP], name[QEP_NAME_CAP];
    qep_model_linear_name(m, block, linear, module, sizeof module);
    const int n = snprintf(name, sizeof name, "%s.%s", module, suffix);
    QEP_REQUIRE(n > 0 && (size_t)n < sizeof name);
    return qep_st_find(m->files, name);
}

const qep_st_tensor *qep_model_norm_tensor(const qep_model *m, int64_t block, int place)
{
    char name[QEP_NAME_CAP];
    return qep_st_find(m->files, qep_model_norm_name(m, block, place, name, sizeof name));
}

qep_status qep_model_read_norm(const qep_model *m, const qep_st_tensor *t, int64_t n, float *w)
{
    QEP_TRY(qep_st_read_rows_f32(m->files, t, 0, n, w));
    for (int64_t i = 0; m->arch.norm_plus_one && i < n; i++) w[i] += 1.0F;
    return QEP_OK;
}
