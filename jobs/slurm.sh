#!/bin/bash
# One run of qep_mpi under Slurm, over as many jobs as it takes:  QEP_CONFIG=my.ini sbatch jobs/slurm.sh
# Ten minutes before the time limit Slurm signals this script, the program writes a checkpoint behind the block it is at and
# ends with exit code 75, and the job goes back into the queue; the same command line then goes on from the checkpoint.
# Choose the 600 seconds longer than a block takes (the log tells). Options of sbatch win over the lines below.
# To end a run for good: scancel. SPDX-License-Identifier: Apache-2.0
#SBATCH --job-name=qep_mpi
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --signal=B:USR1@600
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=qep_mpi-%j.out

# QEP_PROGRAM, QEP_CONFIG, QEP_OPTIONS: what runs. QEP_MPIRUN: launcher, for example "srun --mpi=pmix".
# QEP_REQUEUE=no: do not go back into the queue (jobs/slurm-chain.sh).
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}"
export SRUN_CPUS_PER_TASK="${SRUN_CPUS_PER_TASK:-$OMP_NUM_THREADS}"
launcher=${QEP_MPIRUN:-mpirun --map-by slot:PE=$OMP_NUM_THREADS --bind-to core}
# module load gcc openmpi ...

# A signal ends the wait, not the program: wait until the launcher is gone.
ended=no
trap 'echo "$(date +%T) time is nearly over: USR1"; kill -USR1 $pid' USR1
trap 'echo "$(date +%T) the job is ended: TERM"; ended=yes; kill -TERM $pid' TERM

# shellcheck disable=SC2086 # launcher and options are lists of words
$launcher "${QEP_PROGRAM:-qep_mpi}" "${QEP_CONFIG:-config.ini}" ${QEP_OPTIONS:-} &
pid=$!
wait $pid
while kill -0 $pid 2>/dev/null; do wait $pid; done
wait $pid
code=$?
echo "$(date +%T) qep_mpi ended with exit code $code"

# Not after TERM: scancel means that the run is not wanted any more.
if [ $code = 75 ] && [ $ended = no ] && [ "${QEP_REQUEUE:-yes}" = yes ]; then
    scontrol requeue "$SLURM_JOB_ID" || echo "this job cannot be requeued; submit it again to go on" >&2
fi
exit $code
