/* The list of linears with their effective settings, and the plan of the output made from it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "run_priv.h"

#include <math.h>
#include <string.h>

int64_t qep_run_linear_index(const qep_run *r, int64_t block, int linear)
{
    return qep_arch_linears_before(&r->model->arch, block) + linear;
}

/* The codes of GPTAQ and ResComp damp the H that k, v, q (and up, gate) share in place, one after the other: 1, 2.01, 3.03 % of its mean. */
static double damping_of_member(const char *module, double damping)
{
    static const struct {
        const char *tail;
        int before; /* members that come first */
    } members[] = {{".v_proj", 1}, {".q_proj", 2}, {".gate_proj", 1}};
    const char *tail = strrchr(module, '.');
    for (size_t i = 0; tail && i < sizeof members / sizeof members[0]; i++)
        if (strcmp(tail, members[i].tail) == 0) return pow(1 + damping, members[i].before + 1) - 1;
    return damping;
}

bool qep_run_keeps_range(const qep_run *r, int64_t linear)
{
    const qep_role_rows *parts = r->model->arch.parts;
    int k;
    if (qep_run_block_of(r, linear, &k) < 0) return false;
    return k != parts[QEP_ROLE_V].linear && (k == parts[QEP_ROLE_Q].linear || k == parts[QEP_ROLE_K].linear);
}

int64_t qep_run_block_of(const qep_run *r, int64_t linear, int *k)
{
    const qep_arch *a = &r->model->arch;
    int64_t low = 0, high = a->n_blocks; /* the block is in [low, high) */
    if (linear >= qep_arch_linears_before(a, a->n_blocks)) return -1;
    while (high - low > 1) {
        const int64_t middle = (low + high) / 2;
        if (qep_arch_linears_before(a, middle) <= linear) low = middle;
        else high = middle;
    }
    *k = (int)(linear - qep_arch_linears_before(a, low));
    return low;
}

static void set_linear(qep_run *r, int64_t i, const char *module, const qep_st_tensor *weight, const qep_st_tensor *bias,
                       int64_t rows, int64_t cols, bool to_stream, int zero_min)
{
    qep_export_linear *l = &r->linears[i];
    qep_linear_config *cfg = &r->linear_cfg[i];
    qep_config_linear(r->cfg, module, cfg);
    if (!to_stream) cfg->residual = 0;
    l->module = qep_strdup("run.linears", module);
    l->weight = weight;
    l->bias = bias;
    l->rows = rows;
    l->cols = cols;
    l->spec = qep_layer_spec(cfg, zero_min);
    l->spec.paper = l->spec.exact_scales = qep_run_as_published(r);
    if (l->spec.paper && l->spec.method->damps_again && !l->spec.act_order) cfg->damping = damping_of_member(module, cfg->damping);
    if (l->spec.group_size == cols) l->spec.group_size = -1; /* one group per row */
    l->quantized = l->spec.method->drive != QEP_DRIVE_NONE;
}

/* Left as it is, whatever its section says. */
static void leave_alone(qep_run *r, int64_t i)
{
    r->linear_cfg[i].method = qep_method_find("none")->name;
    r->linears[i].spec = qep_layer_spec(&r->linear_cfg[i], 0);
    r->linears[i].quantized = false;
}

static qep_status check_blocks(const qep_run *r)
{
    int64_t last = qep_ranges_last(r->cfg->blocks), n = r->model->arch.n_blocks;
    if (last < n) return QEP_OK;
    return qep_fail(QEP_E_CONFIG, "quantization.blocks = %s names block %lld; the model has the blocks 0 to %lld", r->cfg->blocks,
                    (long long)last, (long long)(n - 1));
}

static void list_linears(qep_run *r)
{
    const qep_model *m = r->model;
    int zero_min = qep_export_zero_min(r->cfg->format);
    r->n_linears = qep_arch_linears_before(&m->arch, m->arch.n_blocks) + (r->cfg->lm_head ? 1 : 0);
    r->linears = qep_alloc("run.linears", r->n_linears, sizeof *r->linears);
    r->linear_cfg = qep_alloc("run.linears", r->n_linears, sizeof *r->linear_cfg);
    r->records = qep_alloc("run.linears", r->n_linears, sizeof *r->records);
    for (int64_t b = 0; b < m->arch.n_blocks; b++)
        for (int k = 0; k < qep_arch_n_linears(&m->arch, b); k++) {
            char name[256];
            const qep_linear_shape s = qep_arch_linear(&m->arch, b, k);
            qep_model_linear_name(m, b, k, name, sizeof name);
            set_linear(r, qep_run_linear_index(r, b, k), name, qep_model_linear_tensor(m, b, k, "weight"),
                       s.bias ? qep_model_linear_tensor(m, b, k, "bias") : NULL, s.rows, s.cols,
                       qep_group_adds(&m->arch, b, s.group), zero_min);
            if (!qep_ranges_hold(r->cfg->blocks, b)) leave_alone(r, qep_run_linear_index(r, b, k));
        }
    if (r->cfg->lm_head)
        set_linear(r, r->n_linears - 1, "lm_head", m->lm_head, NULL, m->arch.vocab, m->arch.hidden, false, zero_min);
    for (int64_t i = 0; i < r->n_linears; i++) r->quantizes = r->quantizes || r->linears[i].quantized;
}

/* Sizes with a large prime factor have transforms with a large dense factor. */
static qep_status check_rotations(const qep_run *r)
{
    for (int64_t i = 0; i < r->n_linears; i++) {
        const qep_export_linear *l = &r->linears[i];
        if (l->spec.method->drive != QEP_DRIVE_ROTATED) continue;
        const int64_t side = qep_max_i64(qep_rotation_largest(l->rows), qep_rotation_largest(l->cols));
        if (side > QEP_ROTATION_MOST)
            return qep_fail(QEP_E_CONFIG, "%s: method = %s: a weight of [%lld, %lld] needs a dense orthogonal factor of side %lld (at most %d): its "
                            "sizes have too large prime factors; give the module another method in an [override ...]",
                            l->module, l->spec.method->name, (long long)l->rows, (long long)l->cols, (long long)side, QEP_ROTATION_MOST);
    }
    return QEP_OK;
}

static qep_status check_modules(const qep_run *r)
{
    const char **names = qep_alloc("run.linears", r->n_linears, sizeof *names);
    for (int64_t i = 0; i < r->n_linears; i++) names[i] = r->linears[i].module;
    qep_status st = qep_config_check_modules(r->cfg, names, r->n_linears);
    qep_free(names);
    return st;
}

/* Provenance for quantization_config.meta. */
static char *meta_text(const qep_run *r)
{
    qep_json *m = qep_json_new_object();
    const qep_linear_config *l = &r->cfg->linear;
    qep_json_set(m, "quantizer", qep_json_new_string("qep_mpi"));
    qep_json_set(m, "version", qep_json_new_string(qep_version));
    qep_json_set(m, "method", qep_json_new_string(l->method));
    qep_json_set(m, "correction", qep_json_new_string(l->correction));
    qep_json_set(m, "alpha", l->alpha == QEP_ALPHA_AUTO ? qep_json_new_string("auto") : qep_json_new_real(l->alpha));
    qep_json_set(m, "correction_damping", qep_json_new_real(l->correction_damping));
    char *text = qep_json_text(m, false);
    qep_json_free(&m);
    return text;
}

/* Codes of codes would answer no question; a quantized model is for method = none. */
static qep_status refuse_packed(const qep_run *r)
{
    if (qep_packed_count(r->model->packed) == 0) return QEP_OK;
    return qep_fail(QEP_E_INPUT, "%s is quantized already (%s, %lld linears, the first is %s): quantize the original model, or set [quantization] "
                    "method = none to evaluate this one", r->model->path, qep_packed_format(r->model->packed),
                    (long long)qep_packed_count(r->model->packed), qep_packed_at(r->model->packed, 0)->module);
}

qep_status qep_run_list_linears_all(qep_run *r)
{
    QEP_TRY(check_blocks(r));
    list_linears(r);
    QEP_TRY(check_modules(r));
    QEP_TRY(check_rotations(r));
    if (!r->quantizes) return QEP_OK;
    QEP_TRY(refuse_packed(r));
    char *meta = meta_text(r);
    const qep_arch *a = &r->model->arch;
    qep_export_request rq = {.format = r->cfg->format,
                             .source_dir = r->cfg->model_path,
                             .config_text = r->model->config_text,
                             .files = r->model->files,
                             .linears = r->linears,
                             .n_linears = r->n_linears,
                             .tied = a->tied,
                             .n_heads = a->n_heads,
                             .n_kv_heads = a->n_kv_heads,
                             .output_dir = r->cfg->output_path,
                             .shard_bytes = r->cfg->shard_size,
                             .dense_dtype = qep_run_as_published(r) ? QEP_F32 : a->dtype,
                             .meta_json = meta,
                             .damping = r->cfg->linear.damping};
    qep_status st = qep_export_plan(&rq, &r->output);
    qep_free(meta);
    return st;
}
