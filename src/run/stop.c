/* Requests to stop or to checkpoint: signals, the STOP file, the wall time. A signal handler only sets a flag; the ranks agree at fixed
 * points where their state is consistent. SPDX-License-Identifier: Apache-2.0 */
#define _POSIX_C_SOURCE 200809L
#include "run_priv.h"

#include <signal.h>
#include <string.h>

static volatile sig_atomic_t got_usr1, got_usr2, got_term;
static char reason[96];

static void on_signal(int sig)
{
    if (sig == SIGUSR1) got_usr1 = 1;
    if (sig == SIGUSR2) got_usr2 = 1;
    if (sig == SIGTERM || sig == SIGINT) got_term = 1;
}

static void handle_by(void (*handler)(int))
{
    struct sigaction a;
    memset(&a, 0, sizeof a);
    a.sa_handler = handler;
    a.sa_flags = SA_RESTART;
    sigaction(SIGUSR1, &a, NULL);
    sigaction(SIGUSR2, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
    sigaction(SIGINT, &a, NULL);
}

void qep_stop_install(void)
{
    handle_by(on_signal);
    signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes: the write fails with EFBIG instead, and the message names the file */
}

void qep_stop_remove(void)
{
    handle_by(SIG_DFL);
}

const char *qep_stop_reason(void)
{
    return reason;
}

/* True when another block with the checkpoint behind it (the longest so far, half as much again in reserve) would not fit any more after the
 * checkpoint that is due now. */
static bool time_is_up(const qep_stop *s)
{
    if (s->walltime_s <= 0) return false;
    return qep_now_s() - s->start_s + s->longest_save_s + 1.5 * (s->longest_block_s + s->longest_save_s) > s->walltime_s;
}

qep_request qep_stop_poll_all(qep_comm *c, const qep_stop *s, bool at_block_end)
{
    /* bits: what this rank knows */
    int64_t know[5] = {got_term, got_usr1, got_usr2, 0, 0};
    bool mine = know[2] != 0;
    if (at_block_end && qep_rank(c) == 0) {
        know[3] = qep_file_exists(s->stop_file);
        know[4] = time_is_up(s);
    }
    qep_max_i64_all(c, know, 5);
    static const char *const why[5] = {"signal TERM or INT", "signal USR1", "signal USR2", "file STOP", "wall time is nearly over"};
    static const qep_request what[5] = {QEP_STOP_NOW, QEP_CHECKPOINT_AND_STOP, QEP_CHECKPOINT_NOW, QEP_CHECKPOINT_AND_STOP,
                                        QEP_CHECKPOINT_AND_STOP};
    static const int order[5] = {0, 1, 3, 4, 2}; /* strongest first */
    for (int i = 0; i < 5; i++) {
        int k = order[i];
        if (!know[k] || (!at_block_end && k != 0)) continue;
        if (k == 2 && mine) got_usr2 = 0; /* one that came meanwhile is kept for the next poll */
        snprintf(reason, sizeof reason, "%s", why[k]);
        return what[k];
    }
    return QEP_GO_ON;
}
