/* A run as a walk: open, plan, resume, blocks, head, publish, report.
 * SPDX-License-Identifier: Apache-2.0 */
#include "run_priv.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* Makes the output directory ours: created, locked, with a log. */
static qep_status take_output(qep_run *r)
{
    char *log = qep_path_join(r->cfg->output_path, "qep_mpi.log"), *dir = qep_path_dir(r->checkpoint);
    qep_status st = qep_dir_make(r->cfg->output_path);
    if (st == QEP_OK) st = qep_dir_make(dir);
    if (st == QEP_OK) st = qep_run_lock(r);
    if (st == QEP_OK) st = qep_log_file(log);
    qep_free(dir);
    qep_free(log);
    return st;
}

static qep_status take_output_all(qep_run *r)
{
    return qep_agree_all(r->comm, qep_rank(r->comm) == 0 ? QEP_ALONE("directory", take_output(r)) : QEP_OK);
}

/* For tests of stopping and restarting on models that take no time: QEP_TEST_BLOCK_SLEEP=seconds after each block, QEP_TEST_SAVE_SLEEP
 * after each checkpoint. */
static void test_sleep(const char *variable)
{
    const char *text = getenv(variable);
    double s = text ? strtod(text, NULL) : 0;
    struct timespec t = {(time_t)s, (long)((s - (double)(time_t)s) * 1e9)};
    while (s > 0 && nanosleep(&t, &t) != 0 && errno == EINTR) continue;
}

/* save_s: of its checkpoint; negative: none was written. */
static void log_progress(const qep_run *r, double block_s, double save_s)
{
    char left[32], took[32], saved[32], text[64] = "";
    int64_t n = r->model->arch.n_blocks, done = r->next_block;
    double mean = r->block_seconds / (double)r->blocks_here;
    if (save_s >= 0) snprintf(text, sizeof text, ", checkpoint in %s", qep_format_seconds(save_s, saved, sizeof saved));
    qep_info("block %lld/%lld done in %s%s, %s left", (long long)done, (long long)n, qep_format_seconds(block_s, took, sizeof took), text,
             qep_format_seconds(mean * (double)(n - done), left, sizeof left));
}

/* *seconds of the slowest rank; they count as the block's in the time that is left. */
static qep_status save_all(qep_run *r, double *seconds)
{
    const double t0 = qep_now_s();
    QEP_TRY(qep_run_save_all(r));
    test_sleep("QEP_TEST_SAVE_SLEEP");
    *seconds = qep_now_s() - t0;
    qep_max_f64_all(r->comm, seconds, 1);
    r->block_seconds += *seconds;
    r->stop.longest_save_s = fmax(r->stop.longest_save_s, *seconds);
    return QEP_OK;
}

/* What was made of weights that somebody wrote over must not be saved. */
static qep_status check_weights_all(const qep_run *r)
{
    return qep_agree_all(r->comm, qep_st_unchanged(r->model->files));
}

/* Saves when it is time or asked for; QEP_E_STOPPED when the run is to end here. */
static qep_status after_block_all(qep_run *r, double block_s)
{
    QEP_TRY(check_weights_all(r));
    int64_t every = r->cfg->checkpoint_every;
    qep_request rq = qep_stop_poll_all(r->comm, &r->stop, true);
    bool last = r->next_block == r->model->arch.n_blocks, due = every > 0 && (r->next_block % every == 0 || last);
    double save_s = -1;
    const qep_status saved = rq != QEP_STOP_NOW && (rq != QEP_GO_ON || due) ? save_all(r, &save_s) : QEP_OK;
    log_progress(r, block_s, save_s);
    QEP_TRY(saved);
    if (rq == QEP_STOP_NOW)
        return qep_fail(QEP_E_STOPPED, "stopped after block %lld (%s); what was done since the last checkpoint will be done again",
                        (long long)r->next_block, qep_stop_reason());
    if (rq == QEP_CHECKPOINT_NOW) qep_info("checkpoint written after block %lld, going on: %s", (long long)r->next_block, qep_stop_reason());
    if (rq == QEP_CHECKPOINT_AND_STOP && qep_rank(r->comm) == 0) unlink(r->stop.stop_file); /* the request is fulfilled */
    if (rq == QEP_CHECKPOINT_AND_STOP)
        return qep_fail(QEP_E_STOPPED, "checkpoint written after block %lld, stopping: %s", (long long)r->next_block, qep_stop_reason());
    return QEP_OK;
}

static qep_status blocks_all(qep_run *r)
{
    while (r->next_block < r->model->arch.n_blocks) {
        double t0 = qep_now_s();
        QEP_TRY(qep_run_block_all(r, r->next_block));
        r->next_block++;
        test_sleep("QEP_TEST_BLOCK_SLEEP");
        double s = qep_now_s() - t0;
        qep_max_f64_all(r->comm, &s, 1);
        r->block_seconds += s;
        r->blocks_here++;
        r->stop.longest_block_s = fmax(r->stop.longest_block_s, s);
        QEP_TRY(after_block_all(r, s));
    }
    return QEP_OK;
}

/* Output files: made anew, or those that a checkpoint counts on. */
static qep_status open_output_all(qep_run *r, bool resumed)
{
    if (!r->output) return QEP_OK;
    if (!resumed) QEP_TRY(qep_export_discard_all(r->comm, r->output)); /* what an abandoned run left */
    QEP_TRY(qep_export_open_all(r->comm, r->output, resumed));
    qep_timing t0 = qep_phase_begin(QEP_PHASE_WRITE);
    qep_part_begin("copies");
    if (!resumed) QEP_TRY(qep_export_copy_all(r->comm, r->output));
    qep_part_end();
    qep_phase_end(r, QEP_PHASE_WRITE, &t0);
    return QEP_OK;
}

/* TERM and INT are obeyed between the long steps; the last checkpoint counts. */
static qep_status obey_all(qep_run *r, const char *where)
{
    if (qep_stop_poll_all(r->comm, &r->stop, false) != QEP_STOP_NOW) return QEP_OK;
    return qep_fail(QEP_E_STOPPED, "stopped %s: %s", where, qep_stop_reason());
}

static qep_status finish_all(qep_run *r)
{
    QEP_TRY(obey_all(r, "before the evaluation"));
    QEP_TRY(qep_run_head_all(r));
    QEP_TRY(check_weights_all(r));
    QEP_TRY(obey_all(r, "before publishing"));
    qep_timing t0 = qep_phase_begin(QEP_PHASE_PUBLISH);
    if (r->output) QEP_TRY(qep_export_publish_all(r->comm, r->output));
    QEP_TRY(qep_run_write_csv_all(r, true));
    qep_phase_end(r, QEP_PHASE_PUBLISH, &t0);
    QEP_TRY(qep_run_report_all(r));
    QEP_TRY(qep_store_remove_all(r->comm, r->checkpoint));
    if (qep_rank(r->comm) == 0) qep_run_unlock(r);
    return QEP_OK;
}

/* There is a checkpoint to go on from: what stands in the output directory may then be our own, even when an earlier job ended
 * between publishing and its last act. (A checkpoint of another run is refused before anything is written, and files of another
 * run carry another stamp.) */
static bool going_on(const qep_run *r)
{
    return r->args.restart != QEP_RESTART_NO && qep_file_exists(r->checkpoint);
}

static bool has_file(const qep_run *r, const char *name)
{
    char *path = qep_path_join(r->cfg->output_path, name);
    bool yes = qep_file_exists(path);
    qep_free(path);
    return yes;
}

/* Without a quantized model, only the program's own files would be replaced. Root. */
static qep_status check_figures_only(const qep_run *r)
{
    if (r->cfg->overwrite || going_on(r) || !(has_file(r, "summary.json") || has_file(r, "config.json"))) return QEP_OK;
    return qep_fail(QEP_E_CONFIG, "%s holds the result of another run: set [output] overwrite = yes or choose another path",
                    r->cfg->output_path);
}

static qep_status check_output_all(qep_run *r)
{
    bool root = qep_rank(r->comm) == 0;
    if (!r->output) return qep_agree_all(r->comm, root ? check_figures_only(r) : QEP_OK);
    bool mine = qep_any_all(r->comm, root && going_on(r));
    return qep_export_check_dir_all(r->comm, r->output, r->cfg->overwrite || mine, false);
}

static bool has_result_all(qep_run *r)
{
    return qep_any_all(r->comm, qep_rank(r->comm) == 0 && r->args.restart != QEP_RESTART_NO && has_file(r, "summary.json"));
}

/* *done: another job finished this very run while we waited for its lock. */
static qep_status work_all(qep_run *r, bool *done)
{
    bool resumed = false;
    QEP_TRY(take_output_all(r));
    *done = has_result_all(r) && qep_run_finished_all(r);
    if (*done) return QEP_OK;
    QEP_TRY(check_output_all(r)); /* once more: it may have been another run */
    QEP_TRY(qep_run_save_tokens_all(r));
    const qep_timing t0 = qep_phase_begin(QEP_PHASE_OPEN);
    qep_part_begin("streams");
    qep_run_start_streams_all(r);
    QEP_TRY(qep_run_resume_all(r, &resumed));
    if (resumed) qep_info("resuming behind block %lld/%lld", (long long)r->next_block, (long long)r->model->arch.n_blocks);
    if (!resumed) QEP_TRY(qep_run_embed_all(r));
    qep_part_end();
    qep_phase_end(r, QEP_PHASE_OPEN, &t0);
    QEP_TRY(obey_all(r, "before the first block"));
    QEP_TRY(open_output_all(r, resumed));
    QEP_TRY(blocks_all(r));
    return finish_all(r);
}

static qep_status may_begin_all(qep_run *r)
{
    QEP_TRY(qep_run_demand_checkpoint_all(r));
    return check_output_all(r);
}

/* The weights are read before anything is written: a NaN is found now, and their hash belongs to the run's identity. The output
 * directory is looked at first, unless it may hold the finished result of this very run. */
static qep_status prepare_all(qep_run *r, bool *done)
{
    if (r->args.elsewhere.ranks > 0) return qep_run_plan_all(r); /* neither this machine's disks nor the values of the weights matter */
    const bool again = has_result_all(r);
    if (!again) QEP_TRY(may_begin_all(r));
    const qep_timing t0 = qep_phase_begin(QEP_PHASE_OPEN);
    qep_part_begin("plan");
    QEP_TRY(qep_run_plan_all(r));
    qep_part_end();
    qep_part_begin("scan");
    QEP_TRY(qep_model_scan_all(r->comm, r->model));
    qep_part_end();
    qep_phase_end(r, QEP_PHASE_OPEN, &t0);
    qep_run_set_identity(r);
    *done = again && qep_run_finished_all(r);
    return again && !*done ? may_begin_all(r) : QEP_OK;
}

/* A job that ended between its last file and its last act left its checkpoint or its lock beside the finished result: they go now, unless
 * another job is at work here. */
static qep_status tidy_all(qep_run *r)
{
    bool root = qep_rank(r->comm) == 0, checkpoint = qep_run_has_checkpoint_all(r);
    if (!qep_any_all(r->comm, root && (checkpoint || has_file(r, QEP_LOCK_NAME)))) return QEP_OK;
    if (qep_agree_all(r->comm, root ? qep_run_lock(r) : QEP_OK) != QEP_OK) {
        qep_info("%s: what a job left beside the result stays: %s", r->cfg->output_path, qep_error_text());
        qep_error_clear();
        return QEP_OK;
    }
    if (checkpoint && qep_run_owns_checkpoint_all(r)) QEP_TRY(qep_store_remove_all(r->comm, r->checkpoint));
    if (root) qep_run_unlock(r);
    return QEP_OK;
}

static qep_status run_opened_all(qep_run *r)
{
    bool done = false;
    QEP_TRY(qep_run_open_all(r));
    QEP_TRY(prepare_all(r, &done));
    if (!done && !r->args.dry_run) QEP_TRY(work_all(r, &done));
    if (done)
        qep_info("%s already holds the finished result of this very configuration; nothing to do (--restart no with [output] overwrite = yes does it again)",
                 r->cfg->output_path);
    if (!r->args.dry_run) return done ? tidy_all(r) : QEP_OK;
    if (!done && qep_any_all(r->comm, qep_rank(r->comm) == 0 && going_on(r))) qep_info("a run would go on from %s, if it is of this run", r->checkpoint);
    qep_info("dry run: nothing was written");
    return QEP_OK;
}

qep_status qep_run_all(qep_comm *c, const qep_args *args)
{
    qep_run r = {.comm = c, .ranks = args->elsewhere.ranks > 0 ? args->elsewhere.ranks : qep_size(c), .per_node = args->elsewhere.per_node, .args = *args, .start_s = qep_now_s()};
    qep_status st = run_opened_all(&r);
    char took[32];
    if (st == QEP_OK) qep_info("qep_mpi: finished normally in %s", qep_format_seconds(qep_now_s() - r.start_s, took, sizeof took));
    qep_run_close_all(&r);
    return st;
}
