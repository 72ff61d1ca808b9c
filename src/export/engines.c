/* Says at the start which programs will load a gptq output (formats.md 3.7): vLLM since its change
 * #38288 takes symmetric 4 and 8 bit only, llama.cpp's converter 2, 4 and 8 bit.
 * SPDX-License-Identifier: Apache-2.0 */
#include "export_priv.h"

typedef struct qep_finding {
    const char *module; /* the first one, NULL: none */
    int64_t n;
} qep_finding;

static void note(qep_finding *f, const qep_export_linear *l, bool found)
{
    if (!found)
        return;
    if (f->n++ == 0)
        f->module = l->module;
}

static bool odd_group(const qep_export_linear *l)
{
    qep_settings s = qep_settings_of(l);
    int64_t width = qep_settings_width(&s, l->cols);

    return width != l->cols && width != 32 && width != 64 && width != 128;
}

void qep_export_warn_engines(const qep_export_request *rq)
{
    qep_finding grid = {0}, three = {0}, group = {0}, shape = {0};

    for (int64_t i = 0; i < rq->n_linears; i++) {
        const qep_export_linear *l = &rq->linears[i];

        if (!l->quantized)
            continue;
        note(&grid, l, !l->spec.symmetric || l->spec.bits < 4);
        note(&three, l, l->spec.bits == 3);
        note(&group, l, odd_group(l));
        note(&shape, l, l->rows % 64 != 0 || l->cols % 128 != 0);
    }
    if (grid.n > 0)
        qep_warn("%s and %lld more are asymmetric or have 2 or 3 bits: GPTQModel and transformers "
                 "load them, recent vLLM and SGLang do not (they take symmetric = yes with 4 or 8 "
                 "bits)", grid.module, (long long)grid.n - 1);
    if (three.n > 0)
        qep_warn("%s and %lld more have 3 bits: llama.cpp's converter does not read them",
                 three.module, (long long)three.n - 1);
    if (group.n > 0)
        qep_warn("%s and %lld more have a group_size other than -1, 32, 64, 128: the fast kernels "
                 "of vLLM and SGLang do not take it", group.module, (long long)group.n - 1);
    if (shape.n > 0)
        qep_warn("%s and %lld more have rows not a multiple of 64 or columns not a multiple of "
                 "128: older versions of the Marlin kernels do not take them", shape.module,
                 (long long)shape.n - 1);
    if (rq->tied_head_quantized)
        qep_warn("lm_head was tied to the embedding and is quantized: it is written on its own "
                 "(tie_word_embeddings = false); some engines do not load a quantized lm_head");
}
