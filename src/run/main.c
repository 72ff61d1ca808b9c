/* Starts MPI, runs, prints the outcome, chooses the exit code. The only file with main.
 * SPDX-License-Identifier: Apache-2.0 */
#include "run_priv.h"

/* How it ended, for the user. Root only. */
static void print_outcome(qep_status st)
{
    if (st == QEP_E_STOPPED) {
        qep_info("%s", qep_error_text());
        qep_info("qep_mpi: stopped cleanly; submit the same command again to go on (exit code %d)", qep_status_exit_code(st));
        return;
    }
    qep_log(QEP_LOG_ERROR, "%s", qep_error_text());
    qep_log(QEP_LOG_ERROR, "qep_mpi: %s (exit code %d)", qep_status_text(st), qep_status_exit_code(st));
    qep_debug("error raised at %s", qep_error_where());
}

int main(int argc, char **argv)
{
    qep_linalg_fix_core_type(argv);
    qep_stop_install(); /* a signal while MPI starts must not end the job in disorder */
    qep_comm *comm = qep_par_start(&argc, &argv);
    bool root = qep_rank(comm) == 0;
    qep_args args;
    qep_log_start(root, QEP_LOG_INFO);
    qep_status st = qep_args_parse(argc, argv, &args);
    if (args.check || args.report || args.convert || args.dry_run) qep_stop_remove(); /* nothing to save: Ctrl-C ends them */
    if (st == QEP_OK && args.help) {
        if (root) qep_print_help();
    } else if (st == QEP_OK && args.version) {
        qep_linalg_start(1);
        if (root) qep_print_version();
    } else if (st == QEP_OK && args.check) {
        qep_linalg_start(1);
        st = qep_run_check_all(comm, args.check);
    } else if (st == QEP_OK && args.convert) {
        st = qep_run_convert_all(comm, &args);
    } else if (st == QEP_OK && args.report) {
        st = qep_run_show_all(comm, args.report);
    } else if (st == QEP_OK) {
        st = qep_run_all(comm, &args);
    }
    if (st != QEP_OK && root) print_outcome(st);
    qep_log_close();
    if (qep_any_all(comm, qep_stuck())) qep_end_job(qep_status_exit_code(st));
    qep_par_end(&comm);
    return qep_status_exit_code(st);
}
