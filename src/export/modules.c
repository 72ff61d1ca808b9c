/* The linears of a finished output, in the order in which linears are numbered: block by block, in a block attention before the mlp, an
 * mlp of experts expert by expert; lm_head last. Which there are is read off the tensors' names.
 * SPDX-License-Identifier: Apache-2.0 */
#include "export_priv.h"

#include <string.h>

enum { MOST_NAMES = 4 };
typedef struct names {
    const char *at[MOST_NAMES + 1];
} names;

static const names attention = {{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"}},
                   attention_stacked = {{"self_attn.qkv_proj", "self_attn.o_proj"}},
                   mlp = {{"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}},
                   mlp_stacked = {{"mlp.gate_up_proj", "mlp.down_proj"}};

/* By router: the parts of an expert. */
static const struct {
    const char *router, *experts;
    names parts;
} mixtures[] = {
    {"block_sparse_moe.gate.weight", "block_sparse_moe.experts", {{"w1", "w3", "w2"}}},
    {"mlp.gate.weight", "mlp.experts", {{"gate_proj", "up_proj", "down_proj"}}},
};

/* Some tensor of the module is stored, under whatever suffix. */
static bool is_stored(const qep_st_set *files, const char *block, const char *name)
{
    static const char *const suffixes[] = {".weight", ".qweight", ".weight_packed"};
    bool found = false;

    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes && !found; i++) {
        char *tensor = qep_strf("export.name", "%s.%s%s", block, name, suffixes[i]);

        found = qep_st_find(files, tensor) != NULL;
        qep_free(tensor);
    }
    return found;
}

static void add(qep_modules *m, char *name)
{
    if (m->n == m->room) {
        char **old = m->names;

        m->room = 2 * m->room + 64;
        m->names = qep_alloc("export.modules", m->room, sizeof *m->names);
        if (m->n > 0)
            memcpy(m->names, old, (size_t)m->n * sizeof *old);
        qep_free(old);
    }
    m->names[m->n++] = name;
}

static void add_names(qep_modules *m, const char *parent, const names *list)
{
    for (const char *const *name = list->at; *name; name++)
        add(m, qep_strf("export.modules", "%s.%s", parent, *name));
}

/* False: no mlp of experts. */
static bool add_experts(qep_modules *m, const qep_st_set *files, const char *block)
{
    for (size_t i = 0; i < sizeof mixtures / sizeof *mixtures; i++) {
        char *name = qep_strf("export.name", "%s.%s", block, mixtures[i].router);
        const qep_st_tensor *router = qep_st_find(files, name);

        qep_free(name);
        for (int64_t e = 0; router && e < router->shape[0]; e++) {
            char *parent = qep_strf("export.name", "%s.%s.%lld", block, mixtures[i].experts, (long long)e);

            add_names(m, parent, &mixtures[i].parts);
            qep_free(parent);
        }
        if (router)
            return true;
    }
    return false;
}

void qep_modules_list(const qep_st_set *files, int64_t n_blocks, qep_modules *m)
{
    *m = (qep_modules){.n = 0};
    for (int64_t b = 0; b < n_blocks; b++) {
        char *block = qep_strf("export.name", "model.layers.%lld", (long long)b);

        add_names(m, block, is_stored(files, block, attention_stacked.at[0]) ? &attention_stacked : &attention);
        if (!add_experts(m, files, block))
            add_names(m, block, is_stored(files, block, mlp_stacked.at[0]) ? &mlp_stacked : &mlp);
        qep_free(block);
    }
    add(m, qep_strdup("export.modules", "lm_head"));
}

void qep_modules_free(qep_modules *m)
{
    for (int64_t i = 0; i < m->n; i++)
        qep_free(m->names[i]);
    qep_free(m->names);
    *m = (qep_modules){.n = 0};
}
