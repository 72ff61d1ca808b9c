/* Opening a model directory: config.json through one rank, the headers of the weight files on every
 * rank.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model_priv.h"

static const char config_name[] = "config.json";
static const int64_t max_config_bytes = INT64_C(1) << 24;

static qep_status read_config_all(qep_comm *c, const char *file, char **text, int64_t *bytes)
{
    qep_status st = QEP_OK;
    if (qep_rank(c) == 0) st = QEP_ALONE("configuration", qep_file_read(file, max_config_bytes, QEP_E_INPUT, text, bytes));
    if (st != QEP_OK)
        st = qep_context(st, "[model] path must name a directory with %s and safetensors files",
                         config_name);
    st = qep_agree_all(c, st);
    if (st == QEP_OK) qep_bcast_text_all(c, 0, text, bytes);
    return st;
}

static qep_status open_here(qep_model *m, const char *file, int64_t config_bytes)
{
    qep_status st;
    qep_json *config = NULL;
    QEP_GO(st, qep_json_parse(m->config_text, config_bytes, file, QEP_E_INPUT, &config));
    QEP_GO(st, qep_arch_parse(config, file, &m->arch));
    QEP_GO(st, qep_packed_open_dir(m->path, config, file, &m->files, &m->packed));
    QEP_GO(st, qep_model_split_experts(m));
    QEP_GO(st, qep_model_check_tensors(m));
    m->identity[0] = qep_hash64(m->config_text, (size_t)config_bytes, 0);
    m->identity[1] = qep_st_identity(m->files);
done:
    qep_json_free(&config);
    return st;
}

/* Node-local copies of a model may be stale on one node; its weights would mix with those of the
 * others. */
static qep_status same_files_all(qep_comm *c, const qep_model *m)
{
    uint64_t root[2] = {m->identity[0], m->identity[1]};
    qep_bcast_all(c, 0, root, sizeof root);
    qep_status st = QEP_OK;
    if (root[1] != m->identity[1])
        st = qep_fail(
            QEP_E_INPUT,
            "%s: the weight files that %s sees differ from those that rank 0 sees; all nodes must "
            "see the same model",
            m->path, qep_host(c));
    return qep_agree_all(c, st);
}

qep_status qep_model_open_all(qep_comm *c, const char *path, qep_model **out)
{
    qep_status st;
    int64_t bytes = 0;
    *out = NULL;
    qep_model *m = qep_alloc("model.model", 1, sizeof *m);
    char *file = qep_path_join(path, config_name);
    m->path = qep_strdup("model.model", path);
    QEP_GO(st, read_config_all(c, file, &m->config_text, &bytes));
    QEP_GO(st, qep_agree_all(c, open_here(m, file, bytes)));
    QEP_GO(st, same_files_all(c, m));
    *out = m;
done:
    qep_free(file);
    if (st != QEP_OK) qep_model_close(&m);
    return st;
}

void qep_model_close(qep_model **model)
{
    qep_model *m = *model;
    if (!m) return;
    qep_packed_close(&m->packed);
    qep_st_close(&m->files);
    qep_free(m->config_text);
    qep_free(m->path);
    qep_free(m);
    *model = NULL;
}
