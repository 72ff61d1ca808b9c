/* From the configuration file to a model, tokens and buffers sizes; and back.
 * SPDX-License-Identifier: Apache-2.0 */
#include "run_priv.h"

#include <string.h>
#include <unistd.h>

/* The file's text from root, parsed by every rank. */
static qep_status read_config_all(qep_run *r)
{
    char *text = NULL;
    int64_t bytes = 0;
    qep_status st = QEP_OK;
    if (qep_rank(r->comm) == 0)
        st = QEP_ALONE("configuration", qep_file_read(r->args.config, 16 << 20, QEP_E_CONFIG, &text, &bytes));
    st = qep_agree_all(r->comm, st);
    if (st == QEP_OK) {
        qep_bcast_text_all(r->comm, 0, &text, &bytes);
        if ((int64_t)strlen(text) != bytes)
            st = qep_fail(QEP_E_CONFIG, "%s: holds a NUL byte; this is not a text file", r->args.config);
    }
    if (st == QEP_OK) st = qep_run_share_environment_all(r->comm, text, &r->args);
    if (st == QEP_OK) {
        st = qep_agree_all(r->comm, qep_config_parse(text, r->args.config, r->args.sets, r->args.n_sets, &r->cfg));
    }
    qep_free(text);
    return st;
}

static qep_log_level level_of(const char *name)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    for (int i = 0; i < 4; i++)
        if (strcmp(name, names[i]) == 0) return (qep_log_level)i;
    return QEP_LOG_INFO;
}

/* Lengths and offsets of my sequences in the streams. */
static void index_sequences(qep_run *r)
{
    const qep_corpus *c = r->corpus;
    r->n_calibration = c->part[QEP_SEQ_CALIBRATION].count;
    r->n_grouped = r->n_calibration + c->part[QEP_SEQ_VALIDATION].count;
    r->n_mine = c->n_mine;
    r->seq_tokens = qep_alloc("run.sequences", r->n_mine + 1, sizeof *r->seq_tokens);
    r->seq_offset = qep_alloc("run.sequences", r->n_mine + 1, sizeof *r->seq_offset);
    int64_t at = 0;
    for (int k = 0; k < QEP_N_SEQ_KINDS; k++)
        for (int64_t i = 0; i < c->part[k].count; i++) {
            r->seq_tokens[at] = c->seqs[c->part[k].begin + i].length;
            r->seq_offset[at + 1] = r->seq_offset[at] + r->seq_tokens[at];
            at++;
        }
}

static bool needs_calibration(const qep_run *r)
{
    if (r->quantizes && strcmp(r->cfg->final_norm, "yes") == 0) return true;
    for (int64_t i = 0; i < r->n_linears; i++)
        if (qep_layer_needs_h(&r->linear_cfg[i])) return true;
    return false;
}

/* alpha = auto is fitted on sequences that calibration leaves free: the data must have some. Experts see too few of them. */
static qep_status check_fit(const qep_run *r)
{
    const qep_arch *a = &r->model->arch;
    for (int64_t b = 0; b < a->n_blocks; b++)
        for (int k = 0; k < qep_arch_n_linears(a, b) && qep_arch_sparse(a, b); k++) {
            int64_t i = qep_run_linear_index(r, b, k);
            if (qep_arch_linear(a, b, k).group >= 2 && r->linears[i].quantized && qep_layer_fits(&r->linear_cfg[i]))
                return qep_fail(QEP_E_CONFIG, "%s: correction.alpha = auto is not there for experts; set alpha for them in an [override]",
                                r->linears[i].module);
        }
    for (int64_t i = 0; i < r->n_linears; i++)
        if (r->linears[i].quantized && qep_layer_fits(&r->linear_cfg[i]) && r->corpus->kind_tokens[QEP_SEQ_VALIDATION] == 0)
            return qep_fail(QEP_E_CONFIG,
                            "correction.alpha = auto is fitted on held-out sequences, and calibration.data has none beside the %lld samples of the "
                            "calibration: set calibration.samples lower, give more data, or set correction.alpha to a number",
                            (long long)r->corpus->count[QEP_SEQ_CALIBRATION]);
    return QEP_OK;
}

/* Settings that change nothing are slips. */
static void warn_of_unread(const qep_run *r)
{
    char *line = qep_config_unread(r->cfg);
    if (line) qep_warn("%s", line);
    qep_free(line);
}

/* The longest sequence must be one that the model was made for. */
static void warn_of_length(const qep_run *r)
{
    if (r->corpus->max_length > r->model->arch.max_position)
        qep_warn("sequences of %lld tokens are longer than the model's max_position_embeddings = %lld",
                 (long long)r->corpus->max_length, (long long)r->model->arch.max_position);
}

qep_status qep_run_open_all(qep_run *r)
{
    qep_timing t0 = qep_phase_begin(QEP_PHASE_OPEN);
    QEP_TRY(read_config_all(r));
    r->compute = strcmp(r->cfg->compute, "f32") == 0 ? QEP_COMPUTE_F32 : QEP_COMPUTE_BF16;
    r->threads = qep_run_threads(r->comm, r->cfg->threads);
    qep_linalg_start(r->threads);
    qep_linalg_set_reproducible(r->cfg->reproducible);
    qep_log_start(qep_rank(r->comm) == 0, level_of(r->cfg->log_level));
    qep_info("qep_mpi %s on %d ranks, %d nodes, %d threads per rank", qep_version, qep_size(r->comm), qep_n_nodes(r->comm), r->threads);
    qep_info("%s", qep_linalg_describe());
    if (qep_linalg_warning()) qep_warn("%s", qep_linalg_warning());
    warn_of_unread(r);
    QEP_TRY(qep_model_open_all(r->comm, r->cfg->model_path, &r->model));
    if (r->model->packed)
        qep_info("%s is quantized: %lld linears in the %s format", r->model->path, (long long)qep_packed_count(r->model->packed),
                 qep_packed_format(r->model->packed));
    QEP_TRY(qep_run_list_linears_all(r));
    QEP_TRY(qep_run_open_tasks_all(r));
    QEP_TRY(qep_corpus_open_all(r->comm, r->cfg, r->model->arch.vocab, needs_calibration(r), r->tasks, &r->corpus));
    if (r->tasks) qep_tasks_drop_ids(r->tasks);
    QEP_TRY(check_fit(r));
    index_sequences(r);
    warn_of_length(r);
    r->growth = qep_alloc("run.records", r->model->arch.n_blocks * QEP_N_SEQ_KINDS * 2, sizeof *r->growth);
    r->figures = qep_alloc("run.records", r->corpus->n_sets, sizeof *r->figures);
    r->checkpoint = qep_strf("run.checkpoint", "%s.h5", r->cfg->checkpoint_path);
    r->stop = (qep_stop){.start_s = r->start_s, .walltime_s = r->cfg->walltime_s,
                         .stop_file = qep_path_join(r->cfg->output_path, "STOP")};
    qep_phase_end(r, QEP_PHASE_OPEN, &t0);
    return QEP_OK;
}

void qep_run_close_all(qep_run *r)
{
    qep_window_destroy_all(&r->stream);
    qep_window_destroy_all(&r->stream_alone);
    qep_block_destroy_all(&r->block);
    qep_work_destroy(&r->work);
    float *const buffers[] = {r->x_fp, r->x_q, r->act_fp, r->act_q, r->in_fp, r->in_q, r->one_fp, r->one_q};
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) qep_free(buffers[i]);
    qep_export_destroy(&r->output);
    for (int64_t i = 0; r->linears && i < r->n_linears; i++) qep_free(r->linears[i].module);
    qep_free(r->linears);
    qep_free(r->linear_cfg);
    qep_free(r->records);
    qep_free(r->growth);
    qep_free(r->figures);
    qep_free(r->seq_tokens);
    qep_free(r->seq_offset);
    qep_free(r->checkpoint);
    qep_free(r->identity);
    qep_free(r->stop.stop_file);
    qep_run_close_tasks(r);
    qep_corpus_destroy(&r->corpus);
    qep_model_close(&r->model);
    qep_config_destroy(&r->cfg);
    for (int i = 0; i < 2; i++)
        if (r->lock_fd[i] > 0) close(r->lock_fd[i]);
}
