/* What MPI reports as an error ends the job: after a failed call the state of MPI is undefined,
 * so there is nothing to go on with. SPDX-License-Identifier: Apache-2.0 */
#include "par_priv.h"

static void report(int rank, int code)
{
    char host[MPI_MAX_PROCESSOR_NAME] = "?", text[MPI_MAX_ERROR_STRING] = "?";
    int len = 0;
    MPI_Get_processor_name(host, &len);
    MPI_Error_string(code, text, &len);
    qep_last_words("qep_mpi: rank %d (%s): MPI error %d: %s\n"
                   "The job ends here. If other ranks report a lost connection or a killed process, look at their messages first.",
                   rank, host, code, text);
    qep_par_abort(qep_status_exit_code(QEP_E_INTERNAL));
}

void qep_par_comm_error(MPI_Comm *comm, int *code, ...)
{
    int rank = -1;
    if (*comm != MPI_COMM_NULL) MPI_Comm_rank(*comm, &rank);
    report(rank, *code);
}

void qep_par_win_error(MPI_Win *win, int *code, ...)
{
    int rank = -1;
    MPI_Group group;
    if (*win != MPI_WIN_NULL && MPI_Win_get_group(*win, &group) == MPI_SUCCESS) {
        MPI_Group_rank(group, &rank);
        MPI_Group_free(&group);
    }
    report(rank, *code);
}
