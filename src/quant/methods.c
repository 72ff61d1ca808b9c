/* quant: the table of methods. A method is described beside its kernels; here it is listed.
 * SPDX-License-Identifier: Apache-2.0 */
#include "quant_priv.h"

#include <string.h>

const qep_method qep_method_none = {
    .name = "none",
    .help = "keep the weights (evaluate only)",
    .reads = "",
    .drive = QEP_DRIVE_NONE,
    .bits = ~0u,
    .clips = ~0u,
    .symmetric = true,
    .asymmetric = true,
    .groups = true,
};

static const qep_method *const methods[] = {
    &qep_method_none,
    &qep_method_rtn,
    &qep_method_gptq,
    &qep_method_gptaq,
    &qep_method_rescomp,
    &qep_method_foem,
    &qep_method_awq,
    &qep_method_quip,
};
enum { N_METHODS = sizeof methods / sizeof methods[0] };

const qep_method *qep_method_at(int i)
{
    return i < N_METHODS ? methods[i] : NULL;
}

const qep_method *qep_method_find(const char *name)
{
    for (int i = 0; i < N_METHODS; i++)
        if (strcmp(methods[i]->name, name) == 0) return methods[i];
    return NULL;
}

bool qep_method_reads(const qep_method *m, const char *key)
{
    size_t n = strlen(key);
    for (const char *s = m->reads; *s; s += strspn(s, " ")) {
        size_t k = strcspn(s, " ");
        if (k == n && strncmp(s, key, n) == 0) return true;
        s += k;
    }
    return false;
}

int qep_method_moves(const qep_method *m, const qep_method_options *o, bool paper)
{
    return m->moves ? m->moves(o, paper) : 0;
}

unsigned qep_method_needs(const qep_method *m, const qep_method_options *o)
{
    return m->needs | (qep_method_moves(m, o, false) > 0 ? (unsigned)QEP_NEEDS_C : 0u);
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_options(const qep_method_options *a, const qep_method_options *b)
{
    return a->gptaq_alpha == b->gptaq_alpha && a->rescomp_alpha1 == b->rescomp_alpha1 && a->rescomp_alpha2 == b->rescomp_alpha2 &&
           same_text(a->rescomp_mode, b->rescomp_mode) && a->foem_alpha == b->foem_alpha && a->foem_beta == b->foem_beta &&
           same_text(a->foem_variant, b->foem_variant) && a->rotation_seed == b->rotation_seed;
}

bool qep_qspec_same(const qep_qspec *a, const qep_qspec *b)
{
    return a->method == b->method && a->bits == b->bits && a->group_size == b->group_size &&
           a->symmetric == b->symmetric && a->act_order == b->act_order &&
           a->static_groups == b->static_groups && a->clip == b->clip &&
           a->block_size == b->block_size && a->zero_min == b->zero_min &&
           a->exact_scales == b->exact_scales && a->free_range == b->free_range && a->unit_grid == b->unit_grid &&
           a->signed_grid == b->signed_grid && a->clip_steps == b->clip_steps && a->paper == b->paper && same_options(&a->options, &b->options);
}

bool qep_groups_follow_order(const qep_qspec *s)
{
    return s->method && s->method->drive == QEP_DRIVE_FACTOR && s->act_order && qep_groups_dynamic(s);
}
